//! The configuration as it holds, with secrets hidden.

use serde_yaml_ng::Value;

use super::Config;

/// Keys whose values are never shown.
const HIDDEN: [&str; 10] = [
    "secret",
    "password",
    "nkey_seed",
    "sys_password",
    "issuer_seed",
    "xkey_seed",
    "api_secret",
    "token",
    "keys",
    "user_password",
];

/// YAML.
pub(crate) fn show(config: &Config) -> String {
    let mut tree = serde_yaml_ng::to_value(config).unwrap_or_default();
    hide(&mut tree);
    serde_yaml_ng::to_string(&tree).unwrap_or_default()
}

/// Whether a key, by its whole name, holds a secret.
pub(super) fn is_hidden(key: &str) -> bool {
    key.split(['.', '[']).any(|name| HIDDEN.contains(&name))
}

fn hide(value: &mut Value) {
    let Value::Mapping(members) = value else { return };
    for (name, value) in members.iter_mut() {
        let secret = name.as_str().is_some_and(is_hidden);
        match value {
            Value::Mapping(keys) if secret => {
                keys.iter_mut().for_each(|(_, value)| *value = "(hidden)".into());
            }
            Value::String(_) if secret => *value = "(hidden)".into(),
            other => hide(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let mut config = Config::default();
        let secret = || Some("sesame".to_owned());
        config.api.key = Some("the key".to_owned());
        config.api.secret = secret();
        config.nats.password = secret();
        config.nats.issuer_seed = secret();
        config.nats.xkey_seed = secret();
        config.nats.nkey_seed = secret();
        config.nats.sys_password = secret();
        config.livekit.api_secret = secret();
        config.metrics.token = secret();
        config.media.keys.insert("one".to_owned(), "sesame".to_owned());
        let shown = show(&config);
        assert!(!shown.contains("sesame"), "{shown}");
        assert!(shown.contains("the key") && shown.contains("one: (hidden)"));
    }
}
