//! Configurations of the stock servers that can take a pillar's place: `plenum config nats-server` and `livekit-server`.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::Result;
use plenum_control::Login;
use plenum_messaging_server::{NatsServerPlace, to_nats_server_conf};

use crate::{
    config::{Config, Secrets},
    pillars::{BrokerKeys, broker_config},
    reach::shown_url,
};

/// For `nats-server -c`. What `plenum` needs to use it is in the comment on top.
pub(crate) fn nats_server(config: &Config, secrets: &Secrets) -> Result<String> {
    let keys = BrokerKeys::of(config, secrets);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 4222));
    let broker = broker_config(&keys, listen, "./nats-data".into())?;
    let place =
        NatsServerPlace { listen, websocket: None, store_dir: "./nats-data".into(), ports_file_dir: None };
    let mut text = String::new();
    writeln!(text, "# nats-server for Plenum. Then start Plenum with these, and keep both private:")?;
    writeln!(text, "#   PLENUM_NATS__URLS='[\"nats://{listen}\"]'")?;
    let login = match &keys.service {
        Login::Password { user, password } => vec![("USER", user), ("PASSWORD", password)],
        Login::Nkey(seed) => vec![("NKEY_SEED", seed)],
    };
    let others = [
        ("SYS_USER", &keys.system_user),
        ("SYS_PASSWORD", &keys.system_password),
        ("ISSUER_SEED", &keys.callout.issuer_seed),
        ("XKEY_SEED", &keys.callout.xkey_seed),
    ];
    for (key, value) in login.into_iter().chain(others) {
        writeln!(text, "#   PLENUM_NATS__{key}={value}")?;
    }
    writeln!(text, "# The same on every server of this broker, since one checks what another signed:")?;
    writeln!(text, "#   PLENUM_API__KEY={}", config.api.key.as_ref().unwrap_or(&secrets.api_key))?;
    writeln!(text, "#   PLENUM_API__SECRET={}", config.api.secret.as_ref().unwrap_or(&secrets.api_secret))?;
    text.push_str(&to_nats_server_conf(&broker, &place));
    Ok(text)
}

/// For `livekit-server --config`.
pub(crate) fn livekit_server(config: &Config, secrets: &Secrets) -> String {
    let key = config.livekit.api_key.as_ref().unwrap_or(&secrets.media_key);
    let secret = config.livekit.api_secret.as_ref().unwrap_or(&secrets.media_secret);
    let mut keys = format!("  {key}: {}\n", quoted(secret));
    for (name, secret) in &config.media.keys {
        let _ = writeln!(keys, "  {name}: {}", quoted(secret));
    }
    let node_ip = config.media.node_ip.map(|ip| format!("  node_ip: {ip}\n")).unwrap_or_default();
    format!(
        "# livekit-server for Plenum. Then start Plenum with these, and keep both files private:\n\
         #   PLENUM_LIVEKIT__URL=http://127.0.0.1:7880\n\
         #   PLENUM_LIVEKIT__API_KEY={key}\n\
         #   PLENUM_LIVEKIT__API_SECRET={secret}\n\
         port: 7880\n\
         bind_addresses: [\"127.0.0.1\"]\n\
         rtc:\n  udp_port: {}\n  tcp_port: {}\n  use_external_ip: false\n{node_ip}\
         keys:\n{keys}\
         webhook:\n  api_key: {key}\n  urls: [\"{}/webhook\"]\n",
        config.media.udp_port,
        config.media.tcp_port,
        shown_url(config),
    )
}

/// A text of both NATS's configuration and YAML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
