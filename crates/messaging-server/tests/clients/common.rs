//! A broker with the accounts of a meeting, and clients for it.

#![allow(unreachable_pub, reason = "a module of tests has no public face")]

use std::{net::SocketAddr, path::Path, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use futures_util::StreamExt as _;
use nkeys::{KeyPair, XKey};
use plenum_messaging_server::{
    AccountConfig, AuthCalloutConfig, Config, Export, Import, Limits, ResponseType, Server, UserConfig,
};
use serde_json::{Value, json};

/// Nothing in a test takes longer than this.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Keys {
    pub issuer: KeyPair,
    pub xkey: XKey,
}

impl Keys {
    pub fn new() -> Keys {
        Keys { issuer: KeyPair::new_account(), xkey: XKey::new() }
    }
}

fn to(subject: &str) -> Option<String> {
    Some(subject.to_owned())
}

/// The accounts of a meeting: services with streams, participants without, and the system.
pub fn meeting(data: &Path, keys: Option<&Keys>) -> Config {
    let pnm = || vec!["PNM".to_owned()];
    let service = |subject: &str| Export::Service {
        subject: subject.into(),
        response: ResponseType::Single,
        accounts: pnm(),
    };
    let stream = |subject: &str| Export::Stream { subject: subject.into(), accounts: pnm() };
    let take = |subject: &str, to: Option<String>| Import::Service {
        account: "SVC".into(),
        subject: subject.into(),
        to,
    };
    let hear = |account: &str, subject: &str| Import::Stream {
        account: account.into(),
        subject: subject.into(),
        to: None,
        prefix: None,
    };
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data: data.to_owned(),
        server_name: "test".into(),
        accounts: vec![
            AccountConfig {
                name: "SYS".into(),
                users: vec![UserConfig::password("sys", "sys-secret")],
                exports: vec![Export::Stream {
                    subject: "$SYS.ACCOUNT.PNM.>".into(),
                    accounts: vec!["SVC".into()],
                }],
                ..AccountConfig::default()
            },
            AccountConfig {
                name: "SVC".into(),
                jetstream: true,
                users: vec![UserConfig::password("svc", "svc-secret")],
                imports: vec![hear("SYS", "$SYS.ACCOUNT.PNM.>")],
                exports: vec![
                    service("$JS.API.CONSUMER.INFO.rooms.*"),
                    Export::Service {
                        subject: "$JS.API.CONSUMER.MSG.NEXT.rooms.*".into(),
                        response: ResponseType::Stream,
                        accounts: pnm(),
                    },
                    service("$JS.ACK.rooms.*.*.*.*.*.*"),
                    service("sysJsWorker.>"),
                    service("sysCoreWorker.>"),
                    stream("sysPublic.*"),
                    stream("chat.*"),
                ],
            },
            AccountConfig {
                name: "PNM".into(),
                // Without a callout, tests need a participant with a password.
                users: if keys.is_some() {
                    vec![]
                } else {
                    vec![UserConfig::password("user", "user-secret")]
                },
                imports: vec![
                    take("$JS.API.CONSUMER.INFO.rooms.*", to("plenum.API.CONSUMER.INFO.rooms.*")),
                    take("$JS.API.CONSUMER.MSG.NEXT.rooms.*", to("plenum.API.CONSUMER.MSG.NEXT.rooms.*")),
                    take("$JS.ACK.rooms.*.*.*.*.*.*", None),
                    take("sysJsWorker.>", None),
                    take("sysCoreWorker.>", None),
                    hear("SVC", "sysPublic.*"),
                    hear("SVC", "chat.*"),
                ],
                ..AccountConfig::default()
            },
        ],
        system_account: "SYS".into(),
        auth_callout: keys.map(|keys| AuthCalloutConfig {
            issuer: keys.issuer.public_key(),
            auth_users: vec!["svc".into(), "sys".into()],
            account: "SVC".into(),
            xkey: Some(keys.xkey.public_key()),
            timeout: Duration::from_secs(5),
        }),
        limits: Limits::default(),
    }
}

/// A server with its folder, and a WebSocket listener beside it.
pub struct Broker {
    pub server: Server,
    pub websocket: SocketAddr,
    pub folder: tempfile::TempDir,
    http: tokio::task::JoinHandle<()>,
}

impl Broker {
    pub async fn start(keys: Option<&Keys>) -> Broker {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Broker::start_with(meeting(folder.path(), keys), folder).await
    }

    pub async fn start_with(config: Config, folder: tempfile::TempDir) -> Broker {
        let server = Server::start(config).await.expect("the configuration is good");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let websocket = listener.local_addr().expect("bound");
        let router = server.websocket();
        let http = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serves until aborted");
        });
        Broker { server, websocket, folder, http }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.server.local_addr())
    }

    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.websocket)
    }

    /// A client with a static login.
    pub async fn client(&self, user: &str) -> async_nats::Client {
        self.connect(user, async_nats::ConnectOptions::new()).await
    }

    pub async fn connect(&self, user: &str, options: async_nats::ConnectOptions) -> async_nats::Client {
        options
            .user_and_password(user.into(), format!("{user}-secret"))
            .request_timeout(Some(PATIENCE))
            .connect(self.url())
            .await
            .expect("the login is good")
    }

    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.client("svc").await)
    }

    pub async fn stop(self) -> tempfile::TempDir {
        self.http.abort();
        self.server.drain(Duration::ZERO).await;
        self.folder
    }
}

/// Signs claims as a NATS JWT.
pub fn sign(mut claims: Value, signer: &KeyPair) -> String {
    claims["iss"] = signer.public_key().into();
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
    let signed = format!("{header}.{body}");
    let signature = BASE64URL_NOPAD.encode(&signer.sign(signed.as_bytes()).expect("has its seed"));
    format!("{signed}.{signature}")
}

/// The claims of a NATS JWT, unchecked.
pub fn claims(token: &str) -> Value {
    let body = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(body.as_bytes()).expect("base64url")).expect("JSON")
}

/// Answers the auth callout as a stock service does. `decide` sees the request's `nats` object and gives the
/// user claims (`aud`, `name`, `nats.pub`, …), or a reason against it.
pub async fn serve_callout(
    client: async_nats::Client,
    keys: std::sync::Arc<Keys>,
    decide: impl Fn(&Value) -> Result<Value, String> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let mut requests = client.queue_subscribe("$SYS.REQ.USER.AUTH", "q".into()).await.expect("subscribed");
    client.flush().await.expect("connected");
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let server =
                request.headers.as_ref().and_then(|h| h.get("Nats-Server-Xkey")).expect("a curve key");
            let server = XKey::from_public_key(server.as_str()).expect("a public curve key");
            let opened = keys.xkey.open(&request.payload, &server).expect("sealed for us");
            let question = claims(std::str::from_utf8(&opened).expect("a token"));
            let nats = &question["nats"];
            let mut response = json!({
                "aud": nats["server_id"]["id"], "sub": nats["user_nkey"], "iat": 1, "jti": "x",
                "nats": {"type": "authorization_response", "version": 2},
            });
            match decide(nats) {
                Ok(mut user) => {
                    user["sub"] = nats["user_nkey"].clone();
                    user["nats"]["type"] = "user".into();
                    user["nats"]["version"] = 2.into();
                    for unlimited in ["subs", "data", "payload"] {
                        user["nats"][unlimited] = (-1).into();
                    }
                    response["nats"]["jwt"] = sign(user, &keys.issuer).into();
                }
                Err(why) => response["nats"]["error"] = why.into(),
            }
            let token = sign(response, &keys.issuer);
            let sealed = keys.xkey.seal(token.as_bytes(), &server).expect("has its seed");
            let reply = request.reply.expect("a question wants an answer");
            client.publish(reply, sealed.into()).await.expect("connected");
        }
    })
}

/// The rights of a participant as meeting-on-pillars gives them.
pub fn participant(room: &str, user: &str) -> Value {
    let durable = format!("{room}_{user}");
    json!({
        "aud": "PNM", "name": format!(r#"{{"room":"{room}","user":"{user}"}}"#),
        "nats": {
            "pub": {"allow": [
                format!("plenum.API.CONSUMER.INFO.rooms.{durable}"),
                format!("plenum.API.CONSUMER.MSG.NEXT.rooms.{durable}"),
                format!("$JS.ACK.rooms.{durable}.*.*.*.*.*"),
                format!("sysJsWorker.3.{room}.{user}"),
                format!("sysCoreWorker.{room}.{user}"),
                format!("whiteboard.{room}"),
            ]},
            "sub": {"allow": [
                format!("_INBOX.{room}.{user}.>"),
                format!("sysPublic.{room}"), format!("chat.{room}"), format!("whiteboard.{room}"),
            ]},
        },
    })
}

/// Waits for something that must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}
