//! The same definition as text for nats-server, so that a real one can take this broker's place.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use plenum_messaging::{
    AccountConfig, Credentials, Export, Import, Permissions, ResponseType, Rules, UserConfig,
};

use crate::Config;

/// What nats-server has to know beyond the common definition.
#[derive(Clone, Debug)]
pub struct NatsServerPlace {
    /// Where TCP clients connect; port 0 becomes nats-server's `-1`.
    pub listen: SocketAddr,
    /// Where WebSocket clients connect, without TLS, if they may.
    pub websocket: Option<SocketAddr>,
    /// Its JetStream folder.
    pub store_dir: PathBuf,
    /// Where it writes a file with the ports it took.
    pub ports_file_dir: Option<PathBuf>,
}

/// A configuration file for nats-server 2.11 or later that behaves as `config` does here.
///
/// Two things have no counterpart there: the check of reply subjects, and bounds that only this broker has. The feature flag
/// `js_ack_fc_v2` must stay off, as it is by default: it gives acknowledgements a form that participants have no right to.
pub fn to_nats_server_conf(config: &Config, place: &NatsServerPlace) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_conf(&mut out, config, place);
    out
}

fn write_conf(out: &mut String, config: &Config, place: &NatsServerPlace) -> std::fmt::Result {
    let limits = &config.limits;
    writeln!(out, "server_name: {}", quoted(&config.server_name))?;
    writeln!(out, "listen: {}", address(place.listen))?;
    if let Some(websocket) = place.websocket {
        let listen = address(websocket);
        writeln!(
            out,
            "websocket {{ listen: {listen}, no_tls: true, same_origin: false, compression: false }}"
        )?;
    }
    if let Some(dir) = &place.ports_file_dir {
        writeln!(out, "ports_file_dir: {}", quoted(&dir.to_string_lossy()))?;
    }
    writeln!(out, "max_payload: {}", limits.max_payload)?;
    writeln!(out, "max_control_line: {}", limits.max_control_line)?;
    writeln!(out, "max_pending: {}", limits.max_pending)?;
    writeln!(out, "max_connections: {}", limits.max_connections)?;
    writeln!(out, "max_subscriptions: {}", limits.max_subscriptions)?;
    writeln!(out, "ping_interval: \"{}s\"", limits.ping_interval.as_secs())?;
    writeln!(out, "ping_max: {}", limits.ping_max)?;
    writeln!(out, "write_deadline: \"{}s\"", limits.write_deadline.as_secs())?;
    writeln!(
        out,
        "jetstream {{ store_dir: {}, max_mem: {}, max_file: {} }}",
        quoted(&place.store_dir.to_string_lossy()),
        limits.max_memory,
        limits.max_storage
    )?;
    writeln!(out, "accounts {{")?;
    for account in &config.accounts {
        write_account(out, account)?;
    }
    writeln!(out, "}}")?;
    writeln!(out, "system_account: {}", quoted(&config.system_account))?;
    if let Some(callout) = &config.auth_callout {
        writeln!(out, "authorization {{")?;
        writeln!(out, "  timeout: {}", callout.timeout.as_secs_f64())?;
        let xkey = callout.xkey.as_ref().map(|key| format!(", xkey: {}", quoted(key))).unwrap_or_default();
        writeln!(
            out,
            "  auth_callout {{ issuer: {}, auth_users: {}, account: {}{xkey} }}",
            quoted(&callout.issuer),
            list(&callout.auth_users),
            quoted(&callout.account)
        )?;
        writeln!(out, "}}")?;
    }
    Ok(())
}

fn write_account(out: &mut String, account: &AccountConfig) -> std::fmt::Result {
    writeln!(out, "  {} {{", quoted(&account.name))?;
    if account.jetstream {
        writeln!(out, "    jetstream: enabled")?;
    }
    if !account.users.is_empty() {
        writeln!(out, "    users: [")?;
        for user in &account.users {
            write_user(out, user)?;
        }
        writeln!(out, "    ]")?;
    }
    if !account.exports.is_empty() {
        writeln!(out, "    exports: [")?;
        for export in &account.exports {
            writeln!(out, "      {}", export_line(export))?;
        }
        writeln!(out, "    ]")?;
    }
    if !account.imports.is_empty() {
        writeln!(out, "    imports: [")?;
        for import in &account.imports {
            writeln!(out, "      {}", import_line(import))?;
        }
        writeln!(out, "    ]")?;
    }
    writeln!(out, "  }}")
}

fn write_user(out: &mut String, user: &UserConfig) -> std::fmt::Result {
    let who = match &user.credentials {
        Credentials::Password { user, password } => {
            format!("user: {}, password: {}", quoted(user), quoted(&password.0))
        }
        Credentials::Nkey(key) => format!("nkey: {}", quoted(key)),
    };
    let rights = user.permissions.as_ref().map(permissions).unwrap_or_default();
    writeln!(out, "      {{ {who}{rights} }}")
}

fn permissions(permissions: &Permissions) -> String {
    let rules = |rules: &Rules| {
        let mut parts = Vec::new();
        if !rules.allow.is_empty() {
            parts.push(format!("allow: {}", list(&rules.allow)));
        }
        if !rules.deny.is_empty() {
            parts.push(format!("deny: {}", list(&rules.deny)));
        }
        format!("{{ {} }}", parts.join(", "))
    };
    let mut parts = Vec::new();
    if permissions.publish != Rules::default() {
        parts.push(format!("publish: {}", rules(&permissions.publish)));
    }
    if permissions.subscribe != Rules::default() {
        parts.push(format!("subscribe: {}", rules(&permissions.subscribe)));
    }
    if let Some(responses) = permissions.allow_responses {
        let max = responses.max.map_or(-1, i64::from);
        parts.push(format!(
            "allow_responses: {{ max: {max}, expires: \"{}s\" }}",
            responses.expires.as_secs()
        ));
    }
    format!(", permissions: {{ {} }}", parts.join(", "))
}

fn export_line(export: &Export) -> String {
    let limited = |accounts: &[String]| {
        if accounts.is_empty() { String::new() } else { format!(", accounts: {}", list(accounts)) }
    };
    match export {
        Export::Service { subject, response, accounts } => {
            let response = match response {
                ResponseType::Single => "",
                ResponseType::Stream => ", response_type: stream",
            };
            format!("{{ service: {}{response}{} }}", quoted(subject), limited(accounts))
        }
        Export::Stream { subject, accounts } => {
            format!("{{ stream: {}{} }}", quoted(subject), limited(accounts))
        }
    }
}

fn import_line(import: &Import) -> String {
    let source = |account: &str, subject: &str| {
        format!("{{ account: {}, subject: {} }}", quoted(account), quoted(subject))
    };
    let named = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(", {name}: {}", quoted(value))).unwrap_or_default()
    };
    match import {
        Import::Service { account, subject, to } => {
            format!("{{ service: {}{} }}", source(account, subject), named("to", to))
        }
        Import::Stream { account, subject, to, prefix } => {
            format!(
                "{{ stream: {}{}{} }}",
                source(account, subject),
                named("to", to),
                named("prefix", prefix)
            )
        }
    }
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn address(address: SocketAddr) -> String {
    let port = if address.port() == 0 { "-1".to_owned() } else { address.port().to_string() };
    let ip = match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    format!("\"{ip}:{port}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_quotes() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\n""#);
    }
}
