//! The two pillars, embedded or external. What the rest of the server needs of them is the same either way.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::Router;
use nkeys::{KeyPair, XKey};
use plenum_control::{
    CalloutKeys, Login, MediaConfig,
    layout::{PARTICIPANTS, SERVICE, SHARES, SYSTEM, Share},
};
use plenum_media_server::{self as media_server, BindScope, Setting, Webhook};
use plenum_messaging_server::{
    self as messaging_server, AccountConfig, AuthCalloutConfig, Credentials, Export, Import, Limits,
    ResponseType, UserConfig,
};
use tracing::info;

use crate::{
    config::{Config, Secrets},
    reach::media_url,
    tunnel,
};

/// Logins and keys of the broker: as configured, else as generated.
pub(crate) struct BrokerKeys {
    pub(crate) service: Login,
    pub(crate) system_user: String,
    pub(crate) system_password: String,
    pub(crate) callout: CalloutKeys,
}

/// Where control reaches the broker, and how browsers do.
pub(crate) struct Messaging {
    pub(crate) urls: Vec<String>,
    pub(crate) keys: BrokerKeys,
    /// `/nats`.
    pub(crate) router: Router,
    /// `None`: external.
    pub(crate) embedded: Option<messaging_server::Server>,
}

/// Where control reaches the media server, and how browsers do.
pub(crate) struct Media {
    pub(crate) config: MediaConfig,
    /// `/rtc…` and, embedded, `/twirp/…`.
    pub(crate) router: Router,
    /// `None`: external.
    pub(crate) embedded: Option<media_server::Server>,
}

impl BrokerKeys {
    pub(crate) fn of(config: &Config, secrets: &Secrets) -> Self {
        let nats = &config.nats;
        let or = |value: &Option<String>, other: &str| value.clone().unwrap_or_else(|| other.to_owned());
        let service = match &nats.nkey_seed {
            Some(seed) => Login::Nkey(seed.clone()),
            None => Login::Password {
                user: or(&nats.user, "svc"),
                password: or(&nats.password, &secrets.broker_password),
            },
        };
        Self {
            service,
            system_user: or(&nats.sys_user, "sys"),
            system_password: or(&nats.sys_password, &secrets.broker_system_password),
            callout: CalloutKeys {
                issuer_seed: or(&nats.issuer_seed, &secrets.issuer_seed),
                xkey_seed: or(&nats.xkey_seed, &secrets.xkey_seed),
            },
        }
    }

    pub(crate) fn system(&self) -> Login {
        Login::Password { user: self.system_user.clone(), password: self.system_password.clone() }
    }
}

impl Messaging {
    pub(crate) async fn start(config: &Config, secrets: &Secrets, data: PathBuf) -> Result<Self> {
        let keys = BrokerKeys::of(config, secrets);
        if !config.nats.urls.is_empty() {
            let urls = config.nats.urls.clone();
            let router = tunnel::nats(&urls);
            return Ok(Self { urls, keys, router, embedded: None });
        }
        let listen = config.messaging.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let broker = broker_config(&keys, listen, data)?;
        let server = messaging_server::Server::start(broker).await.map_err(|error| match error {
            messaging_server::StartError::Listen { .. } => {
                anyhow::Error::new(error).context("configuration: messaging.listen")
            }
            _ => anyhow::Error::new(error).context("the embedded broker"),
        })?;
        info!(messaging.address = %server.local_addr(), "The embedded broker speaks NATS");
        let router = Router::new().nest("/nats", server.websocket());
        let local = match server.local_addr() {
            address if address.ip().is_unspecified() => {
                SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
            }
            address => address,
        };
        Ok(Self { urls: vec![format!("nats://{local}")], keys, router, embedded: Some(server) })
    }
}

impl Media {
    /// `own_url`: where this server reaches itself; `address`: where others reach it.
    pub(crate) async fn start(
        config: &Config,
        secrets: &Secrets,
        own_url: &str,
        address: SocketAddr,
    ) -> Result<Self> {
        let livekit = &config.livekit;
        let key = livekit.api_key.as_ref().unwrap_or(&secrets.media_key).clone();
        let secret = livekit.api_secret.as_ref().unwrap_or(&secrets.media_secret).clone();
        if let Some(url) = &livekit.url {
            let public_url = media_url(config, address, &[]);
            let config = MediaConfig { api_url: url.clone(), public_url, key, secret };
            return Ok(Self { config, router: tunnel::livekit(url)?, embedded: None });
        }
        let mut keys = config.media.keys.clone();
        keys.insert(key.clone(), secret.clone());
        let bind =
            if config.listen.ip().is_loopback() { BindScope::Loopback } else { BindScope::AllInterfaces };
        let server = media_server::Server::start(media_server::Config {
            udp_port: config.media.udp_port.first,
            udp_ports: config.media.udp_port.count(),
            tcp_port: Some(config.media.tcp_port),
            bind,
            node_ip: config.media.node_ip,
            stun_servers: config.media.stun_servers.clone(),
            keys,
            webhooks: vec![Webhook::new(format!("{own_url}/webhook"), key.clone())],
            load_ceiling: config.media.load_ceiling,
            turn: config.turn()?,
            ..media_server::Config::default()
        })
        .await
        .map_err(|error| {
            at_key(error, |setting| match setting {
                Setting::UdpPort => "media.udp_port",
                Setting::TcpPort => "media.tcp_port",
                Setting::NodeIp => "media.node_ip",
                Setting::Keys => "media.keys",
                Setting::Webhooks => "listen",
                Setting::TurnPort => "media.turn.udp_port",
                Setting::TurnTlsPort => "media.turn.tls_port",
            })
        })?;
        info!(media.address = %server.udp_addr(), media.candidates = ?server.candidates(), "The embedded media server listens");
        let public_url = media_url(config, address, &server.candidates());
        let config = MediaConfig { api_url: own_url.to_owned(), public_url, key, secret };
        Ok(Self { config, router: server.router(), embedded: Some(server) })
    }
}

/// Why the media server did not start, with the name of the key.
pub(crate) fn at_key(
    error: media_server::StartError,
    name: impl Fn(Setting) -> &'static str,
) -> anyhow::Error {
    match error.setting() {
        Some(setting) => anyhow::Error::new(error).context(format!("configuration: {}", name(setting))),
        None => error.into(),
    }
}

/// The broker as the meeting needs it; a stock one is configured from the same definition.
pub(crate) fn broker_config(
    keys: &BrokerKeys,
    listen: SocketAddr,
    data: PathBuf,
) -> Result<messaging_server::Config> {
    let issuer = KeyPair::from_seed(&keys.callout.issuer_seed)
        .context("nats.issuer_seed is not an account seed (SA…)")?;
    let xkey =
        XKey::from_seed(&keys.callout.xkey_seed).context("nats.xkey_seed is not a curve seed (SX…)")?;
    let service = match &keys.service {
        Login::Password { user, password } => UserConfig::password(user, password),
        Login::Nkey(seed) => {
            let key = KeyPair::from_seed(seed).context("nats.nkey_seed is not a user seed (SU…)")?;
            UserConfig { credentials: Credentials::Nkey(key.public_key()), permissions: None }
        }
    };
    let system = UserConfig::password(&keys.system_user, &keys.system_password);
    let auth_users = vec![service.name().to_owned(), system.name().to_owned()];
    let accounts =
        [(SYSTEM, vec![system], false), (SERVICE, vec![service], true), (PARTICIPANTS, vec![], false)];
    Ok(messaging_server::Config {
        listen,
        data,
        server_name: "plenum".to_owned(),
        accounts: accounts
            .into_iter()
            .map(|(name, users, jetstream)| account(name, users, jetstream))
            .collect(),
        system_account: SYSTEM.to_owned(),
        auth_callout: Some(AuthCalloutConfig {
            issuer: issuer.public_key(),
            auth_users,
            account: SERVICE.to_owned(),
            xkey: Some(xkey.public_key()),
            timeout: Duration::from_secs(5),
        }),
        limits: Limits::default(),
    })
}

fn account(name: &str, users: Vec<UserConfig>, jetstream: bool) -> AccountConfig {
    let text = |text: &&str| (*text).to_owned();
    let exports = SHARES
        .iter()
        .filter(|(from, _, _)| *from == name)
        .map(|(_, to, share)| match share {
            Share::Stream(subject) => Export::Stream { subject: text(subject), accounts: vec![text(to)] },
            Share::Service { subject, streamed, .. } => Export::Service {
                subject: text(subject),
                response: if *streamed { ResponseType::Stream } else { ResponseType::Single },
                accounts: vec![text(to)],
            },
        })
        .collect();
    let imports = SHARES
        .iter()
        .filter(|(_, to, _)| *to == name)
        .map(|(from, _, share)| match share {
            Share::Stream(subject) => {
                Import::Stream { account: text(from), subject: text(subject), to: None, prefix: None }
            }
            Share::Service { subject, to, .. } => {
                Import::Service { account: text(from), subject: text(subject), to: to.as_ref().map(text) }
            }
        })
        .collect();
    AccountConfig { name: name.to_owned(), jetstream, users, exports, imports }
}
