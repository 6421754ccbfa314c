//! livekit-server's configuration, as written and as used.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use plenum_media_server::{
    self as media_server, BindScope, Codec, Limits, PlayoutDelay, RoomDefaults, RoomOptions, TextLimits,
    Webhook,
};
use serde::Deserialize;
use serde_yaml_ng::{Mapping, Value};

use super::{
    flags::Options,
    keys::{check, text_of},
};
use crate::config::{
    self, ConfigError, Fallbacks, LogFormat, Network, Ports, check_level, check_stun_servers, read_file,
    without_blanks,
};

/// The key and secret that everybody knows; LiveKit's test suites use them.
const WELL_KNOWN: (&str, &str) = ("devkey", "secret");
/// Shorter ones can be guessed (LiveKit's advice).
const SECRET_LEN_MIN: usize = 32;

/// Our own decisions, and not those of libraries.
const DEVELOPMENT_LEVEL: &str = "info,plenum=debug,plenum_media=debug,plenum_media_server=debug";

/// As used.
pub(super) struct Config {
    /// Where HTTP is listened on; everywhere when empty.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) port: u16,
    pub(super) media: media_server::Config,
    pub(super) metrics: Option<Metrics>,
    pub(super) log_level: String,
    pub(super) log_format: LogFormat,
    /// When a stop was asked for, rooms go on for at most this long.
    pub(super) drain_deadline: Duration,
    /// What whoever runs this should know.
    pub(super) warnings: Vec<String>,
}

/// Where metrics are, on the same addresses as HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metrics {
    pub(super) port: u16,
    /// User and password.
    pub(super) login: Option<(String, String)>,
}

/// As written. Keys that are not here were refused before ([`super::keys`]).
#[derive(Deserialize)]
#[serde(default)]
struct Written {
    port: u16,
    bind_addresses: Vec<IpAddr>,
    keys: BTreeMap<String, Value>,
    key_file: Option<PathBuf>,
    region: String,
    log_level: String,
    logging: Logging,
    prometheus: Prometheus,
    rtc: Rtc,
    room: Room,
    limit: Limit,
    enable_data_tracks: bool,
    node_selector: NodeSelector,
    webhook: Hooks,
    turn: Turn,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Turn {
    enabled: bool,
    domain: String,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    tls_port: u16,
    udp_port: u16,
    external_tls: bool,
    allow_restricted_peer_cidrs: Vec<Network>,
    deny_peer_cidrs: Vec<Network>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Logging {
    level: String,
    json: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Prometheus {
    port: u16,
    username: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(default)]
struct Rtc {
    udp_port: Ports,
    tcp_port: u16,
    node_ip: Option<IpAddr>,
    use_external_ip: bool,
    stun_servers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Room {
    auto_create: bool,
    empty_timeout: u32,
    departure_timeout: u32,
    max_participants: u32,
    enabled_codecs: Option<Vec<EnabledCodec>>,
    enable_remote_unmute: bool,
    enable_full_room_in_webhooks: bool,
    playout_delay: Playout,
    room_configurations: BTreeMap<String, RoomOptions>,
}

/// In milliseconds.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Playout {
    enabled: bool,
    min: u32,
    max: u32,
}

#[derive(Deserialize)]
struct EnabledCodec {
    mime: String,
}

#[derive(Deserialize)]
#[serde(default)]
struct Limit {
    max_metadata_size: usize,
    max_attributes_size: usize,
    max_participant_name_length: usize,
}

#[derive(Deserialize)]
#[serde(default)]
struct NodeSelector {
    cpu_load_limit: f32,
}

impl Default for NodeSelector {
    fn default() -> Self {
        Self { cpu_load_limit: media_server::DEFAULT_CEILING }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Hooks {
    urls: Vec<String>,
    api_key: String,
    filter_params: Filter,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Filter {
    include_events: BTreeSet<String>,
    exclude_events: BTreeSet<String>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            port: 7880,
            bind_addresses: Vec::new(),
            keys: BTreeMap::new(),
            key_file: None,
            region: String::new(),
            log_level: String::new(),
            logging: Logging::default(),
            prometheus: Prometheus::default(),
            rtc: Rtc::default(),
            room: Room::default(),
            limit: Limit::default(),
            enable_data_tracks: true,
            node_selector: NodeSelector::default(),
            webhook: Hooks::default(),
            turn: Turn::default(),
        }
    }
}

impl Default for Rtc {
    fn default() -> Self {
        // LiveKit's port where one is enough, as with `--dev`.
        Self {
            udp_port: Ports::one(7882),
            tcp_port: 7881,
            node_ip: None,
            use_external_ip: false,
            stun_servers: Vec::new(),
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        let RoomDefaults { auto_create, empty_timeout, departure_timeout, max_participants, .. } =
            RoomDefaults::default();
        Self {
            auto_create,
            empty_timeout,
            departure_timeout,
            max_participants,
            enabled_codecs: None,
            enable_remote_unmute: false,
            enable_full_room_in_webhooks: false,
            playout_delay: Playout::default(),
            room_configurations: BTreeMap::new(),
        }
    }
}

impl Default for Limit {
    fn default() -> Self {
        let TextLimits { name, metadata, attributes } = TextLimits::default();
        Self {
            max_metadata_size: metadata,
            max_attributes_size: attributes,
            max_participant_name_length: name,
        }
    }
}

impl Config {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// Names the key and what would be right.
    pub(super) fn load(
        options: &Options,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let mut tree = match (options.body(environment), &options.config) {
            (Some(body), _) => read_body(body)?,
            (None, Some(file)) => read_file(file)?,
            (None, None) => Mapping::new(),
        };
        options.put_over(&mut tree, environment)?;
        check(&tree)?;
        without_blanks(&mut tree);
        let written: Written = serde_path_to_error::deserialize(Value::Mapping(tree)).map_err(|error| {
            let path = error.path().to_string();
            let problem = error.into_inner().to_string();
            // A value there may be a secret, or a piece of one.
            let told =
                if path.contains("key") || path.contains("password") { "has a wrong type" } else { &problem };
            ConfigError::key(&path, told)
        })?;
        written.used(options)
    }
}

impl Written {
    fn used(self, options: &Options) -> Result<Config, ConfigError> {
        let dev = options.dev;
        let mut warnings = Vec::new();
        let mut addresses = self.bind_addresses.clone();
        let mut keys = self.api_keys()?;
        if keys.is_empty() && dev {
            keys.insert(WELL_KNOWN.0.to_owned(), WELL_KNOWN.1.to_owned());
        }
        if keys.is_empty() {
            let hint = "no API key is set; give one with --keys \"key: secret\", or start with --dev";
            return Err(ConfigError::key("keys", hint));
        }
        let well_known = keys.values().any(|secret| secret == WELL_KNOWN.1);
        if well_known {
            if !dev {
                let hint = "the secret is known to everybody: make one of your own, or start with --dev";
                return Err(ConfigError::key("keys", hint));
            }
            if addresses.iter().any(|address| !address.is_loopback()) {
                let hint = "must be a loopback address: the secret is known to everybody; or give other keys";
                return Err(ConfigError::key("bind_addresses", hint));
            }
            if addresses.is_empty() {
                addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
            }
            warnings.push(format!(
                "INSECURE: everybody knows the API key \"{}\" and its secret \"{}\". Programs of this machine, and \
                 pages in its browsers, can do anything here. For development only",
                WELL_KNOWN.0, WELL_KNOWN.1
            ));
        }
        for (key, secret) in &keys {
            if secret.len() < SECRET_LEN_MIN && !dev {
                warnings.push(format!(
                    "keys.{key}: the secret has fewer than {SECRET_LEN_MIN} characters and may be guessed"
                ));
            }
        }
        let level = match (self.logging.level.as_str(), self.log_level.as_str()) {
            ("", "") if dev => DEVELOPMENT_LEVEL,
            ("", "") => "info",
            ("", level) | (level, _) => level,
        };
        check_level(level)
            .map_err(|_| ConfigError::key("logging.level", "must be debug, info, warn or error"))?;
        let metrics = match (self.prometheus.port, &self.prometheus.username, &self.prometheus.password) {
            (0, _, _) => None,
            (port, user, password) if user.is_empty() == password.is_empty() => {
                let login = (!user.is_empty()).then(|| (user.clone(), password.clone()));
                Some(Metrics { port, login })
            }
            _ => {
                return Err(ConfigError::key("prometheus", "username and password belong together"));
            }
        };
        Ok(Config {
            port: self.port,
            metrics,
            log_level: level.to_owned(),
            log_format: if self.logging.json { LogFormat::Json } else { LogFormat::Text },
            drain_deadline: options.drain_deadline,
            warnings,
            media: media_server::Config {
                udp_port: self.rtc.udp_port.first,
                udp_ports: self.rtc.udp_port.count(),
                tcp_port: (self.rtc.tcp_port != 0).then_some(self.rtc.tcp_port),
                // A proxy may stand before HTTP, but not before media; only what everybody knows stays inside.
                bind: if well_known { BindScope::Loopback } else { BindScope::AllInterfaces },
                node_ip: self.rtc.node_ip,
                stun_servers: stun_servers(&self.rtc)?,
                webhooks: self.webhooks(&keys)?,
                keys,
                limits: Limits {
                    texts: TextLimits {
                        name: self.limit.max_participant_name_length,
                        metadata: self.limit.max_metadata_size,
                        attributes: self.limit.max_attributes_size,
                    },
                    data_tracks_per_participant: match self.enable_data_tracks {
                        true => Limits::default().data_tracks_per_participant,
                        false => 0,
                    },
                    ..Limits::default()
                },
                load_ceiling: match self.node_selector.cpu_load_limit {
                    limit if limit > 0.0 && limit <= 1.0 => limit,
                    _ => {
                        let hint = "must be above 0 and at most 1";
                        return Err(ConfigError::key("node_selector.cpu_load_limit", hint));
                    }
                },
                rooms: RoomDefaults {
                    auto_create: self.room.auto_create,
                    empty_timeout: self.room.empty_timeout,
                    departure_timeout: self.room.departure_timeout,
                    max_participants: self.room.max_participants,
                    remote_unmute: self.room.enable_remote_unmute,
                    full_room_in_webhooks: self.room.enable_full_room_in_webhooks,
                    playout_delay: match self.room.playout_delay {
                        Playout { enabled: true, min, max } => PlayoutDelay::new(min, max),
                        Playout { enabled: false, .. } => None,
                    },
                },
                codecs: codecs(self.room.enabled_codecs.as_deref())?,
                turn: self.turn()?,
                presets: self.room.room_configurations,
                region: self.region,
                ..media_server::Config::default()
            },
            addresses,
        })
    }

    /// Those of the file, or of the configuration.
    fn api_keys(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let wrong =
            |key: &str| ConfigError::key(&format!("keys.{key}"), "must be a text; put it into quotes");
        let written = match &self.key_file {
            Some(file) => read_keys(file)?,
            None => self.keys.clone(),
        };
        let text = |(key, secret): (String, Value)| match text_of(&secret) {
            Some(secret) if !secret.is_empty() => Ok((key, secret)),
            _ => Err(wrong(&key)),
        };
        written.into_iter().map(text).collect()
    }

    /// livekit-server reaches every public peer; here all peers but our own media are the operator's to allow.
    fn turn(&self) -> Result<media_server::Turn, ConfigError> {
        let written = &self.turn;
        if !written.enabled {
            return Ok(media_server::Turn::default());
        }
        let port = |port: u16| Some(port).filter(|port| *port != 0);
        let turn = config::Turn {
            udp_port: port(written.udp_port),
            tls_port: port(written.tls_port),
            domain: Some(written.domain.clone()).filter(|domain| !domain.is_empty()),
            cert_file: written.cert_file.clone(),
            key_file: written.key_file.clone(),
            external_tls: written.external_tls,
            allow: written.allow_restricted_peer_cidrs.clone(),
            deny: written.deny_peer_cidrs.clone(),
        };
        if turn.udp_port.is_none() && turn.tls_port.is_none() {
            return Err(ConfigError::key("turn", "is enabled: set udp_port, or tls_port and domain"));
        }
        let media = self.rtc.udp_port.iter().map(|port| ("rtc.udp_port", port));
        let taken: Vec<_> = media.chain([("port", self.port), ("rtc.tcp_port", self.rtc.tcp_port)]).collect();
        let none = Fallbacks::default();
        turn.check("turn", &none, &taken)?;
        turn.used("turn", &none)
    }

    fn webhooks(&self, keys: &BTreeMap<String, String>) -> Result<Vec<Webhook>, ConfigError> {
        let hooks = &self.webhook;
        if hooks.urls.is_empty() {
            return Ok(Vec::new());
        }
        if !keys.contains_key(&hooks.api_key) {
            return Err(ConfigError::key(
                "webhook.api_key",
                "must be one of keys: webhooks are signed with it",
            ));
        }
        let one = |url: &String| Webhook {
            url: url.clone(),
            api_key: hooks.api_key.clone(),
            include: hooks.filter_params.include_events.clone(),
            exclude: hooks.filter_params.exclude_events.clone(),
        };
        Ok(hooks.urls.iter().map(one).collect())
    }
}

fn read_body(body: &str) -> Result<Mapping, ConfigError> {
    match serde_yaml_ng::from_str(body) {
        Ok(Value::Mapping(tree)) => Ok(tree),
        Ok(Value::Null) => Ok(Mapping::new()),
        // What is wrong with it may be a piece of a secret.
        _ => {
            Err(ConfigError("LIVEKIT_CONFIG or --config-body must be `key: value` lines of YAML".to_owned()))
        }
    }
}

fn read_keys(file: &Path) -> Result<BTreeMap<String, Value>, ConfigError> {
    let wrong = |problem: String| ConfigError::key("key_file", format!("{} {problem}", file.display()));
    let about = std::fs::metadata(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if about.permissions().mode() & 0o007 != 0 {
        return Err(wrong("can be read by everybody: chmod o= it".to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    serde_yaml_ng::from_str(&text).map_err(|_| wrong("must be `key: secret` lines".to_owned()))
}

/// A number; LiveKit takes a range too.
/// Those that are asked. A server of somebody else is asked only if it is named.
fn stun_servers(rtc: &Rtc) -> Result<Vec<String>, ConfigError> {
    check_stun_servers("rtc.stun_servers", &rtc.stun_servers)?;
    if !rtc.use_external_ip || rtc.node_ip.is_some() {
        return Ok(Vec::new());
    }
    if rtc.stun_servers.is_empty() {
        let hint =
            "needs rtc.stun_servers, or rtc.node_ip in place of both: no server is asked that is not named";
        return Err(ConfigError::key("rtc.use_external_ip", hint));
    }
    Ok(rtc.stun_servers.clone())
}

/// In the order of preference.
fn codecs(written: Option<&[EnabledCodec]>) -> Result<Vec<Codec>, ConfigError> {
    let Some(written) = written else { return Ok(Codec::DEFAULT.to_vec()) };
    let mut codecs = Vec::new();
    for EnabledCodec { mime } in written {
        // Retransmissions come with every video codec.
        if mime.to_lowercase().ends_with("/rtx") {
            continue;
        }
        let codec = Codec::named(mime);
        codecs.push(
            codec.ok_or_else(|| ConfigError::key("room.enabled_codecs", format!("{mime:?} is not known")))?,
        );
    }
    Ok(codecs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "keys: {key: 0123456789abcdef0123456789abcdef}\n";

    fn load(yaml: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
        use clap::{Args as _, FromArgMatches as _};
        let command = Options::augment_args(clap::Command::new("media"));
        let all = ["media", "--config-body", yaml].into_iter().chain(flags.iter().copied());
        let matches = command.try_get_matches_from(all).map_err(|error| error.to_string())?;
        let options = Options::from_arg_matches(&matches).unwrap();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::load(&options, &environment).map_err(|error| error.to_string())
    }

    fn error(yaml: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
        load(yaml, environment, flags).err().expect("refused")
    }

    #[test]
    fn livekits_keys_and_flags_are_understood() {
        let yaml = format!(
            "{KEYS}port: 1\nrtc: {{udp_port: 2, tcp_port: 3, node_ip: 192.0.2.1}}\n\
             webhook: {{urls: ['http://h/'], api_key: key, filter_params: {{exclude_events: [track_published]}}}}\n\
             room: {{auto_create: false, max_participants: 9, enabled_codecs: [{{mime: video/VP8}}, {{mime: audio/opus}}, {{mime: video/rtx}}]}}\n\
             limit: {{max_metadata_size: 7}}\nprometheus: {{port: 4, username: u, password: p}}\nlog_level: warn"
        );
        let config = load(&yaml, &[], &[]).unwrap();
        assert_eq!((config.port, config.media.udp_port, config.media.tcp_port), (1, 2, Some(3)));
        assert_eq!(config.media.node_ip, "192.0.2.1".parse().ok());
        assert_eq!(config.media.webhooks[0].exclude.len(), 1);
        assert!(!config.media.rooms.auto_create && config.media.rooms.max_participants == 9);
        assert_eq!(config.media.codecs, [Codec::Vp8, Codec::Opus]);
        assert_eq!(config.media.limits.texts.metadata, 7);
        assert_eq!(config.log_level, "warn");
        let login = Some(("u".to_owned(), "p".to_owned()));
        assert_eq!(config.metrics, Some(Metrics { port: 4, login }));
        assert!(config.warnings.is_empty() && config.addresses.is_empty());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let environment = [("LIVEKIT_PORT", "2"), ("LIVEKIT_RTC_TCP_PORT", "2"), ("NODE_IP", "192.0.2.2")];
        let environment = environment.into_iter().chain([("LIVEKIT_URL", "ws://other"), ("UDP_PORT", "2")]);
        let environment: Vec<_> = environment.collect();
        let yaml = format!("{KEYS}port: 1\nrtc: {{udp_port: 1}}");
        let flags = ["--port", "3", "--rtc.tcp_port=0", "--bind", "127.0.0.1", "--bind", "::1"];
        let config = load(&yaml, &environment, &flags).unwrap();
        assert_eq!((config.port, config.media.udp_port, config.media.tcp_port), (3, 2, None));
        assert_eq!(config.media.node_ip, "192.0.2.2".parse().ok());
        assert_eq!(config.addresses.len(), 2);
        assert_eq!(config.media.bind, BindScope::AllInterfaces, "a proxy may stand before HTTP");
        let keys = [("LIVEKIT_KEYS", "one: 0123456789abcdef0123456789abcdef")];
        assert_eq!(load("", &keys, &[]).unwrap().media.keys.len(), 1);
        let switched = load(KEYS, &[], &["--room.auto_create=false", "--room.enable_remote_unmute"]).unwrap();
        assert!(!switched.media.rooms.auto_create && switched.media.rooms.remote_unmute);
    }

    #[test]
    fn the_well_known_secret_stays_on_this_machine() {
        let config = load("", &[], &["--dev"]).unwrap();
        assert_eq!(config.media.keys.get("devkey").map(String::as_str), Some("secret"));
        assert_eq!(config.media.bind, BindScope::Loopback);
        assert!(config.addresses.iter().all(IpAddr::is_loopback) && config.addresses.len() == 2);
        assert!(config.warnings[0].starts_with("INSECURE"));
        assert_eq!(config.log_level, DEVELOPMENT_LEVEL);
        assert!(error("", &[], &["--dev", "--bind", "0.0.0.0"]).contains("must be a loopback address"));
        assert!(error("", &[], &["--keys", "devkey: secret"]).contains("known to everybody"));
        assert!(load("", &[], &["--dev", "--keys", "devkey: secret"]).is_ok());
        let own = load(KEYS, &[], &["--dev"]).unwrap();
        assert_eq!((own.media.bind, own.media.keys.len()), (BindScope::AllInterfaces, 1));
    }

    #[test]
    fn errors_name_the_key_and_no_secret() {
        assert!(error("", &[], &[]).contains("keys: no API key is set"));
        assert!(error(KEYS, &[("REDIS_HOST", "redis:6379")], &[]).contains("redis: is not supported"));
        assert!(
            error(&format!("{KEYS}rtc: {{udp_port: 9-1}}"), &[], &[])
                .contains("rtc.udp_port: must be a port between 1 and 65535, or a range")
        );
        assert!(
            error(&format!("{KEYS}rtc: {{use_external_ip: true}}"), &[], &[])
                .contains("rtc.use_external_ip: needs rtc.stun_servers")
        );
        assert!(
            error(&format!("{KEYS}rtc: {{stun_servers: [stun.example.org]}}"), &[], &[])
                .contains("rtc.stun_servers: stun.example.org must be host:port")
        );
        assert!(
            error(&format!("{KEYS}node_selector: {{cpu_load_limit: 2}}"), &[], &[])
                .contains("node_selector.cpu_load_limit: must be above 0")
        );
        assert!(error(&format!("{KEYS}rtc: {{tcp_port: many}}"), &[], &[]).contains("rtc.tcp_port"));
        assert!(error(&format!("{KEYS}bind_addresses: [here]"), &[], &[]).contains("bind_addresses[0]"));
        assert!(
            error(&format!("{KEYS}webhook: {{urls: ['http://h'], api_key: x}}"), &[], &[])
                .contains("webhook.api_key")
        );
        assert!(
            error(&format!("{KEYS}room: {{enabled_codecs: [{{mime: video/theora}}]}}"), &[], &[])
                .contains("theora")
        );
        assert!(error(&format!("{KEYS}logging: {{level: verbose}}"), &[], &[]).contains("logging.level"));
        for wrong in ["sesame", "key:sesame", "[sesame]", "key: [sesame]"] {
            let told = error("", &[("LIVEKIT_KEYS", wrong)], &[]);
            assert!(told.contains("keys") && !told.contains("sesame"), "{told}");
        }
        let short = load("keys: {key: 12345}", &[], &[]).unwrap();
        assert!(short.warnings[0].contains("keys.key") && short.media.keys["key"] == "12345");
    }

    #[test]
    fn a_key_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.yaml");
        std::fs::write(&file, "one: 0123456789abcdef0123456789abcdef").unwrap();
        let flag = file.display().to_string();
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(error("", &[], &["--key-file", &flag]).contains("can be read by everybody"));
        mode(0o600);
        assert!(load("", &[], &["--key-file", &flag]).unwrap().media.keys.contains_key("one"));
    }
}
