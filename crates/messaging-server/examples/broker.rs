//! Starts a broker from a JSON definition, for tests with clients in other languages.
//!
//! `broker DEFINITION.json DATA_DIR` listens on free loopback ports and prints one line of JSON: `nats`,
//! `websocket` and `id`. `broker DEFINITION.json DATA_DIR --nats-server-conf` prints the equal configuration for
//! nats-server instead. It ends when its standard input ends: in order, or at once after the line `kill`.

use std::{
    io::{BufRead as _, Write as _},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use plenum_messaging_server::{
    AccountConfig, AllowResponses, AuthCalloutConfig, Config, Credentials, Export, Import, Limits,
    NatsServerPlace, Permissions, ResponseType, Rules, Secret, Server, UserConfig, to_nats_server_conf,
};
use serde_json::Value;

type Problem = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [definition, data, rest @ ..] = args.as_slice() else {
        return Err("usage: broker DEFINITION.json DATA_DIR [--nats-server-conf]".into());
    };
    let definition: Value = serde_json::from_slice(&std::fs::read(definition)?)?;
    let config = read(&definition, Path::new(data))?;
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut out = std::io::stdout();
    if rest.first().is_some_and(|flag| flag == "--nats-server-conf") {
        let place = NatsServerPlace {
            listen: loopback,
            websocket: Some(loopback),
            store_dir: data.into(),
            ports_file_dir: Some(data.into()),
        };
        out.write_all(to_nats_server_conf(&config, &place).as_bytes())?;
        return Ok(());
    }
    let server = Server::start(config).await?;
    let listener = tokio::net::TcpListener::bind(loopback).await?;
    let websocket = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, server.websocket()).into_future());
    let addresses = serde_json::json!({
        "nats": format!("nats://{}", server.local_addr()), "websocket": format!("ws://{websocket}"), "id": server.id(),
    });
    writeln!(out, "{addresses}")?;
    out.flush()?;
    let ending = tokio::task::spawn_blocking(|| {
        let mut lines = std::io::stdin().lock().lines();
        while let Some(Ok(line)) = lines.next() {
            if line == "kill" {
                // As a crash would: nothing is flushed, nobody is told.
                std::process::abort();
            }
        }
    });
    ending.await?;
    server.drain(Duration::ZERO).await;
    Ok(())
}

/// Reads the definition. Its members are those of nats-server's configuration.
fn read(definition: &Value, data: &Path) -> Result<Config, Problem> {
    let mut accounts = Vec::new();
    for (name, account) in definition["accounts"].as_object().ok_or("accounts is no object")? {
        let list = |member: &str| account[member].as_array().cloned().unwrap_or_default();
        accounts.push(AccountConfig {
            name: name.clone(),
            jetstream: account["jetstream"].as_bool().unwrap_or(false),
            users: list("users").iter().map(user).collect::<Result<_, _>>()?,
            exports: list("exports").iter().map(export).collect::<Result<_, _>>()?,
            imports: list("imports").iter().map(import).collect::<Result<_, _>>()?,
        });
    }
    let callout = &definition["auth_callout"];
    let auth_callout = callout.is_object().then(|| AuthCalloutConfig {
        issuer: text(&callout["issuer"]),
        auth_users: texts(&callout["auth_users"]),
        account: text(&callout["account"]),
        xkey: callout["xkey"].as_str().map(str::to_owned),
        timeout: Duration::from_millis(callout["timeout_ms"].as_u64().unwrap_or(5000)),
    });
    let mut limits = Limits::default();
    if let Some(n) = definition["max_payload"].as_u64() {
        limits.max_payload = usize::try_from(n)?;
    }
    if let Some(n) = definition["max_pending"].as_u64() {
        limits.max_pending = usize::try_from(n)?;
    }
    Ok(Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data: data.to_owned(),
        server_name: definition["server_name"].as_str().unwrap_or("broker").to_owned(),
        accounts,
        system_account: text(&definition["system_account"]),
        auth_callout,
        limits,
    })
}

fn user(value: &Value) -> Result<UserConfig, Problem> {
    let credentials = match (value["user"].as_str(), value["nkey"].as_str()) {
        (Some(user), None) => {
            Credentials::Password { user: user.to_owned(), password: Secret(text(&value["password"])) }
        }
        (None, Some(key)) => Credentials::Nkey(key.to_owned()),
        _ => return Err("a user has either user or nkey".into()),
    };
    let rights = &value["permissions"];
    let rules = |rules: &Value| Rules { allow: texts(&rules["allow"]), deny: texts(&rules["deny"]) };
    let responses = &rights["allow_responses"];
    let permissions = rights.is_object().then(|| Permissions {
        publish: rules(&rights["publish"]),
        subscribe: rules(&rights["subscribe"]),
        allow_responses: responses.is_object().then(|| AllowResponses {
            max: responses["max"].as_u64().and_then(|n| u32::try_from(n).ok()),
            ..AllowResponses::default()
        }),
    });
    Ok(UserConfig { credentials, permissions })
}

fn export(value: &Value) -> Result<Export, Problem> {
    let accounts = texts(&value["accounts"]);
    match (value["service"].as_str(), value["stream"].as_str()) {
        (Some(subject), None) => {
            let is_stream = value["response_type"] == "stream";
            let response = if is_stream { ResponseType::Stream } else { ResponseType::Single };
            Ok(Export::Service { subject: subject.to_owned(), response, accounts })
        }
        (None, Some(subject)) => Ok(Export::Stream { subject: subject.to_owned(), accounts }),
        _ => Err("an export is either service or stream".into()),
    }
}

fn import(value: &Value) -> Result<Import, Problem> {
    let to = value["to"].as_str().map(str::to_owned);
    let prefix = value["prefix"].as_str().map(str::to_owned);
    let (service, stream) = (&value["service"], &value["stream"]);
    if service.is_object() {
        return Ok(Import::Service {
            account: text(&service["account"]),
            subject: text(&service["subject"]),
            to,
        });
    }
    if stream.is_object() {
        let (account, subject) = (text(&stream["account"]), text(&stream["subject"]));
        return Ok(Import::Stream { account, subject, to, prefix });
    }
    Err("an import is either service or stream".into())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}
