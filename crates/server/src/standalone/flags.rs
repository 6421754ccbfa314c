//! livekit-server's command line and environment.
//!
//! It has some flags by name, and one for every key of its configuration: `--rtc.tcp_port 7881`, or `LIVEKIT_RTC_TCP_PORT`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::ValueParser};
use serde_yaml_ng::{Mapping, Value};

use super::keys::{Holds, KEYS};
use crate::config::{ConfigError, put};

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// YAML file with the configuration.
    pub(super) config: Option<PathBuf>,
    /// The same as text; it is used instead of the file.
    pub(super) config_body: Option<String>,
    /// See [`super::config`].
    pub(super) dev: bool,
    /// When a stop was asked for, rooms go on for at most this long.
    pub(super) drain_deadline: Duration,
    /// Values by key.
    settings: BTreeMap<&'static str, Vec<String>>,
}

/// Flags with a name of their own: the key, the environment variable, the explanation.
const NAMED: &[(&str, &str, Option<&str>, &str)] = &[
    ("bind", "bind_addresses", None, "Address to listen on; several by several flags [default: all]"),
    ("keys", "keys", Some("LIVEKIT_KEYS"), "API keys: \"key: secret\""),
    ("key-file", "key_file", None, "YAML file of API keys, which only its owner may read"),
    ("node-ip", "rtc.node_ip", Some("NODE_IP"), "The address that clients are told"),
    ("udp-port", "rtc.udp_port", Some("UDP_PORT"), "The one UDP port for all media [default: 7882]"),
    ("region", "region", Some("LIVEKIT_REGION"), "Where this server stands; clients are told"),
    ("redis-host", "redis.address", Some("REDIS_HOST"), "Not supported"),
    ("redis-password", "redis.password", Some("REDIS_PASSWORD"), "Not supported"),
    (
        "turn-cert",
        "turn.cert_file",
        Some("LIVEKIT_TURN_CERT"),
        "PEM file with the certificate for TURN over TLS",
    ),
    ("turn-key", "turn.key_file", Some("LIVEKIT_TURN_KEY"), "PEM file with its private key"),
];

/// The configuration as a whole in the environment.
const BODY_VARIABLE: &str = "LIVEKIT_CONFIG";

impl Options {
    /// Puts what flags and environment say over the file; flags win.
    pub(super) fn put_over(
        &self,
        tree: &mut Mapping,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        for (key, holds, _) in scalars() {
            let variable = format!("LIVEKIT_{}", key.to_uppercase().replace('.', "_"));
            if let Some(text) = environment.get(&variable) {
                set(tree, key, *holds, std::slice::from_ref(text))?;
            }
        }
        for (_, key, variable, _) in NAMED {
            if let Some(text) = variable.and_then(|variable| environment.get(variable)) {
                set(tree, key, holds(key), std::slice::from_ref(text))?;
            }
        }
        for (key, texts) in &self.settings {
            set(tree, key, holds(key), texts)?;
        }
        Ok(())
    }

    /// The configuration as text, which comes before a file.
    pub(super) fn body<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let variable = || environment.get(BODY_VARIABLE).map(String::as_str);
        self.config_body.as_deref().or_else(variable).filter(|body| !body.is_empty())
    }
}

/// Keys that flags can set.
fn scalars() -> impl Iterator<Item = &'static (&'static str, Holds, super::keys::Use)> {
    // The names of these have a flag already.
    let named = |key: &str| ["keys", "region", "key_file"].contains(&key);
    KEYS.iter().filter(move |(key, holds, _)| *holds != Holds::More && !named(key))
}

fn holds(key: &str) -> Holds {
    KEYS.iter().find(|(known, ..)| *known == key).map_or(Holds::Text, |(_, holds, _)| *holds)
}

fn set(tree: &mut Mapping, key: &str, holds: Holds, texts: &[String]) -> Result<(), ConfigError> {
    let path: Vec<&str> = key.split('.').collect();
    let last = texts.last().map(String::as_str).unwrap_or_default();
    let value = match holds {
        Holds::Text => Value::from(last),
        Holds::Number | Holds::Switch => serde_yaml_ng::from_str(last).unwrap_or_else(|_| Value::from(last)),
        // What is wrong with it may be a piece of a secret.
        Holds::Names => serde_yaml_ng::from_str(last)
            .ok()
            .filter(Value::is_mapping)
            .ok_or_else(|| ConfigError::key(key, "must be \"key: secret\", with the space"))?,
        Holds::More => {
            let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
            words.filter(|word| !word.is_empty()).map(Value::from).collect::<Vec<_>>().into()
        }
    };
    put(tree, &path, value)
}

impl Args for Options {
    fn augment_args(command: Command) -> Command {
        let mut command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(ValueParser::path_buf())
                    .help("YAML file with livekit-server's configuration keys"),
            )
            .arg(
                Arg::new("config-body")
                    .long("config-body")
                    .value_name("YAML")
                    .help("The same as text [env: LIVEKIT_CONFIG]"),
            )
            .arg(Arg::new("dev").long("dev").action(ArgAction::SetTrue).help(
                "For development: debug logs, and without keys the well-known devkey and secret, on loopback only",
            ));
        command = command.arg(
            Arg::new("drain-deadline")
                .long("drain-deadline")
                .value_name("TIME")
                .value_parser(humantime::parse_duration)
                .default_value("0s")
                .help("After SIGTERM rooms go on for at most this long, without new ones; then clients are told to reconnect"),
        );
        for (flag, key, variable, help) in NAMED {
            let help = match variable {
                Some(variable) => format!("{help} [env: {variable}]"),
                None => (*help).to_owned(),
            };
            let hidden = help.starts_with("Not supported");
            command = command.arg(
                Arg::new(*flag)
                    .long(*flag)
                    .action(ArgAction::Append)
                    .value_name("VALUE")
                    .help(help)
                    .hide(hidden),
            );
            debug_assert!(key.starts_with(char::is_alphabetic));
        }
        for (key, holds, _) in scalars() {
            let mut arg = Arg::new(*key).long(*key).action(ArgAction::Append).hide(true);
            if *holds == Holds::Switch {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            }
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = NAMED.iter().map(|(flag, key, ..)| (*flag, *key));
        let keys = scalars().map(|(key, ..)| (*key, *key));
        let mut settings = BTreeMap::new();
        // A flag with a name of its own comes last, and counts.
        for (flag, key) in keys.chain(names) {
            if let Some(values) = matches.get_many::<String>(flag) {
                settings.insert(key, values.cloned().collect());
            }
        }
        Ok(Self {
            config: matches.get_one("config").cloned(),
            config_body: matches.get_one("config-body").cloned(),
            dev: matches.get_flag("dev"),
            drain_deadline: matches.get_one("drain-deadline").copied().unwrap_or_default(),
            settings,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
