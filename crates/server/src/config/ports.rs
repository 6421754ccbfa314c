//! One port, or several in a row.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Ports of media, one for each media thread: `7882`, or `7882-7885`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    last: u16,
}

impl Ports {
    /// One.
    pub(crate) const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// How many.
    pub(crate) fn count(self) -> u16 {
        self.last - self.first + 1
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

/// What is expected.
const HINT: &str = "must be a port between 1 and 65535, or a range of them such as 7882-7885";

impl FromStr for Ports {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0).ok_or(());
        let ports = Self { first: port(first)?, last: port(last)? };
        if ports.first <= ports.last { Ok(ports) } else { Err(()) }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.count() {
            1 => serializer.serialize_u16(self.first),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
            /// As livekit-server takes it too.
            Row {
                #[serde(default)]
                start: u16,
                #[serde(default)]
                end: u16,
            },
        }
        let text = match Written::deserialize(deserializer) {
            Ok(Written::Number(port)) => port.to_string(),
            Ok(Written::Text(text)) => text,
            Ok(Written::Row { start, end }) if start == 0 || end == 0 => start.max(end).to_string(),
            Ok(Written::Row { start, end }) => format!("{start}-{end}"),
            Err(_) => return Err(de::Error::custom(HINT)),
        };
        text.parse().map_err(|()| de::Error::custom(HINT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_or_a_range_is_read_and_written() {
        for text in ["7882", "7882-7885"] {
            let ports: Ports = serde_yaml_ng::from_str(text).unwrap();
            assert_eq!((ports.to_string().as_str(), ports.first), (text, 7882));
            assert_eq!(serde_yaml_ng::to_string(&ports).unwrap().trim(), text);
        }
        let ports: Ports = serde_yaml_ng::from_str("{start: 7882, end: 7885}").unwrap();
        assert_eq!(ports.count(), 4);
        assert_eq!(ports.iter().collect::<Vec<_>>(), [7882, 7883, 7884, 7885]);
        for text in
            ["0", "{start: 0}", "{start: 2, end: 1}", "65536", "many", "7885-7882", "1-", "-1", "[1]", "1.5"]
        {
            let error = serde_yaml_ng::from_str::<Ports>(text).unwrap_err().to_string();
            assert!(error.contains(HINT), "{text}: {error}");
        }
    }
}
