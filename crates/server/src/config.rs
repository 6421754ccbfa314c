//! Configuration: defaults, a YAML file, the environment; checked once, before anything starts.
//!
//! Every key is also `PLENUM_` and its path in capitals, sections joined by two underscores: `media.udp_port` is
//! `PLENUM_MEDIA__UDP_PORT`. The value is read as YAML.

mod ports;
mod secrets;
mod show;
mod turn;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use nkeys::{KeyPair, KeyPairType, XKey};
use serde::{Deserialize, Serialize};
use serde_yaml_ng::{Mapping, Value};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

pub(crate) use ports::Ports;
pub(crate) use secrets::Secrets;
use show::is_hidden;
pub(crate) use show::show;
pub(crate) use turn::{Fallbacks, Turn};

/// A configuration that cannot be used; the text names the key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(pub(crate) String);

impl ConfigError {
    pub(crate) fn key(key: &str, problem: impl std::fmt::Display) -> Self {
        Self(format!("configuration: {key}: {problem}"))
    }
}

/// As written; every key with its default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Address and port of the one HTTP server.
    pub(crate) listen: SocketAddr,
    /// Folder of everything that lasts.
    pub(crate) data: PathBuf,
    /// Where browsers reach this server: `https://meet.example.org`.
    pub(crate) public_url: Option<String>,
    pub(crate) tls: Tls,
    pub(crate) proxy: Proxy,
    pub(crate) api: ApiKey,
    pub(crate) media: Media,
    pub(crate) messaging: Messaging,
    pub(crate) nats: Nats,
    pub(crate) livekit: Livekit,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    /// A stop takes at most this long.
    #[serde(with = "humantime_text")]
    pub(crate) shutdown_grace: Duration,
}

/// A certificate, when no proxy in front has one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// PEM file with the chain.
    pub(crate) cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub(crate) key: Option<PathBuf>,
}

/// A proxy in front.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Proxy {
    /// Its addresses or networks: only they may say `X-Forwarded-Host`, `X-Forwarded-Proto` and `X-Forwarded-For`.
    pub(crate) trusted: Vec<Network>,
}

/// Credentials of the server-side API; generated when absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApiKey {
    pub(crate) key: Option<String>,
    pub(crate) secret: Option<String>,
}

/// The embedded media server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Media {
    /// The UDP port of all media, or one for each media thread.
    pub(crate) udp_port: Ports,
    /// For clients whose network blocks UDP.
    pub(crate) tcp_port: u16,
    /// The address told to clients, when it is not one of this machine's.
    pub(crate) node_ip: Option<IpAddr>,
    /// STUN servers that are asked for that address, `host:port`; only without `node_ip`.
    pub(crate) stun_servers: Vec<String>,
    /// Further API keys, for callers of the LiveKit API: name to secret.
    pub(crate) keys: BTreeMap<String, String>,
    /// A media thread that works a larger part of its time takes no new rooms; 1 for no bound.
    pub(crate) load_ceiling: f32,
    /// When a stop was asked for, rooms go on for at most this long, before everybody is told to come again.
    #[serde(with = "humantime_text")]
    pub(crate) drain_deadline: Duration,
    pub(crate) turn: Turn,
}

/// The embedded broker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Messaging {
    /// NATS over TCP; a free loopback port when absent.
    pub(crate) listen: Option<SocketAddr>,
}

/// An external NATS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Nats {
    /// `nats://host:port`, several of one cluster; empty: the embedded broker.
    pub(crate) urls: Vec<String>,
    /// WebSocket addresses for browsers; empty: through this server's `/nats`.
    pub(crate) ws_urls: Vec<String>,
    /// Account of participants.
    pub(crate) account: String,
    /// Account of this server.
    pub(crate) service_account: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// Instead of user and password.
    pub(crate) nkey_seed: Option<String>,
    pub(crate) sys_user: Option<String>,
    pub(crate) sys_password: Option<String>,
    /// Account seed that signs the auth callout's answers.
    pub(crate) issuer_seed: Option<String>,
    /// Curve seed that its requests are sealed to.
    pub(crate) xkey_seed: Option<String>,
    /// Copies of each stream.
    pub(crate) replicas: usize,
}

/// An external LiveKit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Livekit {
    /// `http(s)://host:port`; absent: the embedded media server.
    pub(crate) url: Option<String>,
    /// `ws(s)://…` for browsers; absent: through this server's `/rtc`.
    pub(crate) public_url: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) api_secret: Option<String>,
}

/// Prometheus metrics; off when both are absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// An address of their own, without a token.
    pub(crate) listen: Option<SocketAddr>,
    /// On the HTTP port under `/metrics`, with this bearer token.
    pub(crate) token: Option<String>,
}

/// Logs, on standard error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,plenum_control=debug`.
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// An address or a network.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Network(pub(crate) ipnet::IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<ipnet::IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from))
            .map(Self)
            .map_err(|_| format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data: PathBuf::from("./plenum-data"),
            public_url: None,
            tls: Tls::default(),
            proxy: Proxy::default(),
            api: ApiKey::default(),
            media: Media::default(),
            messaging: Messaging::default(),
            nats: Nats::default(),
            livekit: Livekit::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            udp_port: Ports::one(7882),
            tcp_port: 7881,
            node_ip: None,
            stun_servers: Vec::new(),
            keys: BTreeMap::new(),
            load_ceiling: plenum_media_server::DEFAULT_CEILING,
            drain_deadline: Duration::ZERO,
            turn: Turn::default(),
        }
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            ws_urls: Vec::new(),
            account: plenum_control::layout::PARTICIPANTS.to_owned(),
            service_account: plenum_control::layout::SERVICE.to_owned(),
            user: None,
            password: None,
            nkey_seed: None,
            sys_user: None,
            sys_password: None,
            issuer_seed: None,
            xkey_seed: None,
            replicas: 1,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// Reads file and environment; `overrides` are the command line's.
    ///
    /// # Errors
    /// Names the key and what would be right.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
        overrides: &[(&str, Value)],
    ) -> Result<Self, ConfigError> {
        let mut tree = match file {
            Some(path) => read_file(path)?,
            None => Mapping::new(),
        };
        let variables = variables(environment)?;
        for (name, text) in &variables {
            let path: Vec<&str> = name.split("__").collect();
            let value = serde_yaml_ng::from_str(text).map_err(|error| {
                let problem = if is_hidden(&path.join(".")) { String::new() } else { format!(": {error}") };
                ConfigError::key(&path.join("."), format!("{} is not YAML{problem}", variable(name)))
            })?;
            put(&mut tree, &path, value)?;
        }
        for (key, value) in overrides {
            put(&mut tree, &[key], value.clone())?;
        }
        without_blanks(&mut tree);
        let config: Self = serde_path_to_error::deserialize(Value::Mapping(tree)).map_err(|error| {
            let path = error.path().to_string();
            let key = if path == "." { "top level".to_owned() } else { path };
            let problem = error.into_inner().to_string();
            // The value itself may be the secret, or a piece of it.
            let problem = match problem.split_once("expected ") {
                Some((_, wanted)) if is_hidden(&key) => format!("must be {wanted}; put text into quotes"),
                _ => problem,
            };
            let from = variables.iter().map(|(name, _)| name).find(|name| name.replace("__", ".") == key);
            match from {
                Some(name) => ConfigError::key(&key, format!("{}: {problem}", variable(name))),
                None => ConfigError::key(&key, problem),
            }
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let secret = |key: &str, value: &Option<String>| match value {
            Some(secret) if secret.len() < 32 => Err(ConfigError::key(
                key,
                "must have at least 32 characters; remove it to have one generated",
            )),
            _ => Ok(()),
        };
        if let Some(url) = &self.public_url
            && plenum_api::Origin::parse(url).is_none()
        {
            let hint = "must be https://host or http://host, without a path";
            return Err(ConfigError::key("public_url", hint));
        }
        match (&self.tls.cert, &self.tls.key) {
            (Some(_), None) => {
                return Err(ConfigError::key("tls.key", "is missing: tls.cert alone is not enough"));
            }
            (None, Some(_)) => {
                return Err(ConfigError::key("tls.cert", "is missing: tls.key alone is not enough"));
            }
            _ => {}
        }
        match (&self.api.key, &self.api.secret) {
            (Some(_), None) => return Err(ConfigError::key("api.secret", "is missing: api.key is set")),
            (None, Some(_)) => return Err(ConfigError::key("api.key", "is missing: api.secret is set")),
            _ => {}
        }
        secret("api.secret", &self.api.secret)?;
        secret("metrics.token", &self.metrics.token)?;
        for (name, value) in &self.media.keys {
            secret(&format!("media.keys.{name}"), &Some(value.clone()))?;
        }
        if self.media.tcp_port == 0 {
            return Err(ConfigError::key("media.tcp_port", "must be between 1 and 65535"));
        }
        check_stun_servers("media.stun_servers", &self.media.stun_servers)?;
        if !(self.media.load_ceiling > 0.0 && self.media.load_ceiling <= 1.0) {
            return Err(ConfigError::key("media.load_ceiling", "must be above 0 and at most 1"));
        }
        if self.media.tcp_port == self.listen.port() {
            return Err(ConfigError::key("media.tcp_port", "must differ from the port of listen"));
        }
        let media = self.media.udp_port.iter().map(|port| ("media.udp_port", port));
        let others = [("listen", self.listen.port()), ("media.tcp_port", self.media.tcp_port)];
        let taken: Vec<_> = media.chain(others).collect();
        self.media.turn.check("media.turn", &self.turn_fallbacks(), &taken)?;
        if !(1..=5).contains(&self.nats.replicas) {
            return Err(ConfigError::key("nats.replicas", "must be between 1 and 5"));
        }
        check_level(&self.log.level)?;
        if self.shutdown_grace > Duration::from_secs(3600) {
            return Err(ConfigError::key("shutdown_grace", "must be at most 1h"));
        }
        if self.media.drain_deadline > Duration::from_secs(24 * 3600) {
            return Err(ConfigError::key("media.drain_deadline", "must be at most 24h"));
        }
        self.check_external()
    }

    /// What the relay takes from other keys: it is the same server, by the same name.
    fn turn_fallbacks(&self) -> Fallbacks<'_> {
        let url = self.public_url.as_deref().unwrap_or_default();
        let authority = url.split_once("://").map_or("", |(_, authority)| authority.trim_end_matches('/'));
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        Fallbacks {
            domain: Some(host).filter(|host| !host.is_empty()),
            certificate: self.tls.cert.as_deref().zip(self.tls.key.as_deref()),
        }
    }

    /// The relay, as the media server takes it.
    ///
    /// # Errors
    /// Names the key of a file that cannot be used.
    pub(crate) fn turn(&self) -> Result<plenum_media_server::Turn, ConfigError> {
        self.media.turn.used("media.turn", &self.turn_fallbacks())
    }

    /// With an external pillar nothing is generated: what is missing is named.
    fn check_external(&self) -> Result<(), ConfigError> {
        let needs = |section: &str, key: &str, value: &Option<String>| match value {
            Some(value) if !value.is_empty() => Ok(()),
            _ => Err(ConfigError::key(key, format!("is needed because {section} is set"))),
        };
        if !self.nats.urls.is_empty() {
            let nats = &self.nats;
            if nats.nkey_seed.is_none() {
                needs("nats.urls", "nats.user", &nats.user)?;
                needs("nats.urls", "nats.password", &nats.password)?;
            }
            needs("nats.urls", "nats.sys_user", &nats.sys_user)?;
            needs("nats.urls", "nats.sys_password", &nats.sys_password)?;
            needs("nats.urls", "nats.issuer_seed", &nats.issuer_seed)?;
            needs("nats.urls", "nats.xkey_seed", &nats.xkey_seed)?;
            // Every server on the same broker signs and checks the same tokens.
            needs("nats.urls", "api.key", &self.api.key)?;
            needs("nats.urls", "api.secret", &self.api.secret)?;
            for (account, is, key) in [
                (&nats.account, plenum_control::layout::PARTICIPANTS, "nats.account"),
                (&nats.service_account, plenum_control::layout::SERVICE, "nats.service_account"),
            ] {
                if account != is {
                    return Err(ConfigError::key(key, format!("only {is} is supported for now")));
                }
            }
            for url in &nats.urls {
                if url.contains('@') {
                    let hint = "must be without a login; that is nats.user and nats.password";
                    return Err(ConfigError::key("nats.urls", hint));
                }
                let authority = url.strip_prefix("nats://").unwrap_or_default();
                if plenum_api::Origin::new(false, authority.trim_end_matches('/')).is_none() {
                    return Err(ConfigError::key("nats.urls", format!("{url:?} must be nats://host:port")));
                }
            }
        }
        let public = self.livekit.public_url.iter().map(|url| ("livekit.public_url", url));
        for (key, url) in self.nats.ws_urls.iter().map(|url| ("nats.ws_urls", url)).chain(public) {
            if plenum_api::Origin::of_websocket(url).is_none() {
                return Err(ConfigError::key(key, format!("{url:?} must be wss://host or ws://host:port")));
            }
        }
        let seeds = [
            ("nats.issuer_seed", &self.nats.issuer_seed, "an account seed (SA…)", KeyPairType::Account),
            ("nats.nkey_seed", &self.nats.nkey_seed, "a user seed (SU…)", KeyPairType::User),
        ];
        for (key, seed, what, kind) in seeds {
            let is_right =
                |seed: &str| KeyPair::from_seed(seed).is_ok_and(|pair| pair.key_pair_type() == kind);
            if seed.as_ref().is_some_and(|seed| !is_right(seed)) {
                return Err(ConfigError::key(key, format!("must be {what}")));
            }
        }
        if self.nats.xkey_seed.as_ref().is_some_and(|seed| XKey::from_seed(seed).is_err()) {
            return Err(ConfigError::key("nats.xkey_seed", "must be a curve seed (SX…)"));
        }
        if let Some(url) = &self.livekit.url {
            if plenum_api::Origin::parse(url).is_none() {
                return Err(ConfigError::key("livekit.url", "must be http(s)://host:port"));
            }
            needs("livekit.url", "livekit.api_key", &self.livekit.api_key)?;
            needs("livekit.url", "livekit.api_secret", &self.livekit.api_secret)?;
        }
        Ok(())
    }
}

/// Our own variables, in order, their names without prefix and in small letters. Others are none of our business, whatever
/// they hold.
fn variables(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy();
        let Some(key) = name.strip_prefix("PLENUM_") else { continue };
        let Ok(value) = value.into_string() else {
            return Err(ConfigError(format!("configuration: {name} is not UTF-8 text")));
        };
        variables.push((key.to_lowercase(), value));
    }
    variables.sort();
    Ok(variables)
}

/// As it stands in the environment.
fn variable(name: &str) -> String {
    format!("PLENUM_{}", name.to_uppercase())
}

/// Takes keys and sections away of which only the name is there: they have their defaults.
pub(crate) fn without_blanks(section: &mut Mapping) {
    section.retain(|_, value| !value.is_null());
    for (_, value) in section.iter_mut() {
        if let Value::Mapping(section) = value {
            without_blanks(section);
        }
    }
}

/// A word that is no level would be read as the name of a module, and silence everything.
pub(crate) fn check_level(level: &str) -> Result<(), ConfigError> {
    let plain = level.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    let wrong = plain.into_iter().any(|part| part.parse::<LevelFilter>().is_err());
    if wrong || level.trim().is_empty() || EnvFilter::try_new(level).is_err() {
        let hint =
            "must be error, warn, info, debug, trace or off, or directives such as info,plenum_control=debug";
        return Err(ConfigError::key("log.level", hint));
    }
    Ok(())
}

pub(crate) fn read_file(path: &Path) -> Result<Mapping, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{} cannot be read: {error}", path.display())))?;
    match serde_yaml_ng::from_str(&text) {
        Ok(Value::Mapping(tree)) => Ok(tree),
        Ok(Value::Null) => Ok(Mapping::new()),
        Ok(_) => Err(ConfigError(format!("{}: must be `key: value` lines", path.display()))),
        Err(error) => Err(ConfigError(format!("{}: {error}", path.display()))),
    }
}

/// Sets a key, by its path.
pub(crate) fn put(tree: &mut Mapping, path: &[&str], value: Value) -> Result<(), ConfigError> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        tree.insert((*first).into(), value);
        return Ok(());
    }
    let section = tree.entry((*first).into()).or_insert(Value::Null);
    if section.is_null() {
        *section = Value::Mapping(Mapping::new());
    }
    match section {
        Value::Mapping(section) => put(section, rest, value),
        _ => Err(ConfigError::key(first, "is a section in one place and a value in another")),
    }
}

mod humantime_text {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let value = serde_yaml_ng::Value::deserialize(from)?;
        let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        duration.ok_or_else(|| D::Error::custom("must be a duration such as 10s or 2m"))
    }
}

/// STUN servers are few, and each has a name and a port.
///
/// # Errors
/// Names the key, and what is wrong.
pub(crate) fn check_stun_servers(key: &str, servers: &[String]) -> Result<(), ConfigError> {
    const MOST: usize = 8;
    let is_right = |server: &String| {
        let parts = server.rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
    };
    if servers.len() > MOST {
        return Err(ConfigError::key(key, format!("at most {MOST} are asked")));
    }
    match servers.iter().find(|server| !is_right(server)) {
        Some(server) => Err(ConfigError::key(key, format!("{server} must be host:port"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plenum.yaml");
        std::fs::write(&file, yaml).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Config::load(Some(&file), environment, &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn environment_wins_over_the_file_and_is_yaml() {
        let config = load(
            "listen: 127.0.0.1:1\nmedia: {udp_port: 2000}",
            &[
                ("PLENUM_LISTEN", "127.0.0.1:2"),
                ("PLENUM_MEDIA__KEYS", "one: 0123456789abcdef0123456789abcdef"),
                ("PLENUM_SHUTDOWN_GRACE", "1m"),
                ("HOME", "/"),
            ],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.media.udp_port, Ports::one(2000));
        assert_eq!(config.media.keys["one"], "0123456789abcdef0123456789abcdef");
        assert_eq!(config.shutdown_grace, Duration::from_secs(60));
    }

    #[test]
    fn errors_name_the_key_and_what_would_be_right() {
        let error = |yaml: &str, environment: &[(&str, &str)]| load(yaml, environment).unwrap_err();
        assert!(error("medai: {}", &[]).contains("unknown field `medai`"));
        assert!(error("media: {udp: 1}", &[]).contains("media.udp"), "{}", error("media: {udp: 1}", &[]));
        assert!(error("", &[("PLENUM_MEDIA__UDP", "1")]).contains("media.udp"));
        assert!(
            error("media: {udp_port: many}", &[])
                .starts_with("configuration: media.udp_port: must be a port")
        );
        assert!(
            error("media: {udp_port: 0}", &[]).contains("media.udp_port: must be a port between 1 and 65535")
        );
        assert!(error("media: {tcp_port: 0}", &[]).contains("media.tcp_port: must be between 1 and 65535"));
        assert!(
            error("media: {udp_port: 3470-3480, turn: {udp_port: 3478}}", &[])
                .contains("media.turn.udp_port: must differ from the port of media.udp_port")
        );
        assert!(
            error("media: {stun_servers: [stun.example.org]}", &[])
                .contains("media.stun_servers: stun.example.org must be host:port")
        );
        assert!(error("media: {load_ceiling: 0}", &[]).contains("media.load_ceiling: must be above 0"));
        assert!(
            error("media: {drain_deadline: 2d}", &[]).contains("media.drain_deadline: must be at most 24h")
        );
        assert!(error("public_url: meet.example.org", &[]).contains("public_url: must be https://host"));
        assert!(error("tls: {cert: a.pem}", &[]).contains("tls.key: is missing"));
        assert!(
            error("nats: {urls: ['nats://h:1']}", &[])
                .contains("nats.user: is needed because nats.urls is set")
        );
        assert!(error("livekit: {url: 'http://h'}", &[]).contains("livekit.api_key: is needed"));
        assert!(
            error("shutdown_grace: soon", &[]).contains("shutdown_grace: must be a duration such as 10s")
        );
        assert!(error("shutdown_grace: 30", &[]).contains("shutdown_grace: must be a duration such as 10s"));
        assert!(error("proxy: {trusted: [home]}", &[]).contains("proxy.trusted[0]"));
        for level in ["verbose", "inof", "info,warnn", ""] {
            assert!(
                error("", &[("PLENUM_LOG__LEVEL", &format!("{level:?}"))]).contains("log.level: must be")
            );
        }
    }

    #[test]
    fn an_error_in_the_environment_names_the_variable() {
        let error = |name: &str, value: &str| load("", &[(name, value)]).unwrap_err();
        assert!(error("PLENUM_MEDAI", "1").contains("PLENUM_MEDAI: unknown field"));
        assert!(error("PLENUM_MEDIA__TCP_PORT", "many").contains("PLENUM_MEDIA__TCP_PORT: invalid type"));
        assert!(error("PLENUM_MEDIA__UDP_PORT", "many").contains("PLENUM_MEDIA__UDP_PORT: must be a port"));
        assert!(error("PLENUM_LISTEN", "[").contains("PLENUM_LISTEN is not YAML"));
    }

    #[test]
    fn a_mistyped_secret_is_not_repeated() {
        let digits = "12345678901234567";
        for (name, value) in [
            ("PLENUM_MEDIA__KEYS", "name sesame"),
            ("PLENUM_API__SECRET", digits),
            ("PLENUM_METRICS__TOKEN", "[sesame]"),
            ("PLENUM_NATS__PASSWORD", "{sesame: x"),
            ("PLENUM_NATS__ISSUER_SEED", "sesame"),
            ("PLENUM_NATS__URLS", "[\"nats://user:sesame@host:4222\"]"),
        ] {
            let external = "nats: {urls: ['nats://h:1'], user: u, password: p, sys_user: s, sys_password: p, issuer_seed: x, xkey_seed: x}\n\
                            api: {key: k, secret: 0123456789abcdef0123456789abcdef}";
            let error = load(external, &[(name, value)]).unwrap_err();
            assert!(!error.contains("sesame") && !error.contains(digits), "{name}: {error}");
        }
        assert!(load("", &[("PLENUM_API__SECRET", digits)]).unwrap_err().contains("put text into quotes"));
    }

    #[test]
    fn a_section_without_keys_has_its_defaults() {
        let config =
            load("media:\n  # udp_port: 1\nlisten:\nlog: {level: }", &[("PLENUM_MEDIA__TCP_PORT", "99")]);
        let config = config.unwrap();
        assert_eq!((config.media.udp_port, config.media.tcp_port), (Ports::one(7882), 99));
        assert_eq!(config.log.level, "info");
    }

    #[test]
    fn addresses_that_reach_a_header_are_addresses() {
        let error = |name: &str, value: &str| load("", &[(name, value)]).unwrap_err();
        for wrong in ["wss://büro.example", "'wss://a; script-src *'", "https://a"] {
            assert!(error("PLENUM_NATS__WS_URLS", &format!("[{wrong}]")).contains("nats.ws_urls"));
            assert!(error("PLENUM_LIVEKIT__PUBLIC_URL", wrong).contains("livekit.public_url"));
        }
        assert!(load("", &[("PLENUM_LIVEKIT__PUBLIC_URL", "wss://sfu.example.org/path")]).is_ok());
    }

    #[test]
    fn servers_on_one_broker_share_the_api_secret() {
        let issuer = KeyPair::new_account().seed().unwrap();
        let xkey = XKey::new().seed().unwrap();
        let nats = format!(
            "nats: {{urls: ['nats://h:1'], user: u, password: p, sys_user: s, sys_password: p, issuer_seed: {issuer}, xkey_seed: {xkey}}}\n"
        );
        assert!(load(&nats, &[]).unwrap_err().contains("api.key: is needed because nats.urls is set"));
        load(&format!("{nats}api: {{key: k, secret: 0123456789abcdef0123456789abcdef}}"), &[]).unwrap();
    }

    #[test]
    fn what_is_not_ours_may_be_anything() {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = || OsString::from_vec(vec![0xff, 0xfe]);
        assert!(Config::load(None, [(odd(), odd()), ("OTHER".into(), odd())].into_iter(), &[]).is_ok());
        let error = Config::load(None, [("PLENUM_DATA".into(), odd())].into_iter(), &[]).unwrap_err();
        assert!(error.to_string().contains("PLENUM_DATA is not UTF-8"), "{error}");
    }
}
