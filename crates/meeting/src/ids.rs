//! Names from outside, parsed once. Each is safe inside a subject, a key and a log line.

use std::fmt;

/// Longest room or user id, in bytes. plugNmeet's SQL columns hold 64.
pub const ID_LEN_MAX: usize = 64;

/// Why a name was refused; `field` says which one it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty.
    #[error("{field} is required")]
    Missing {
        /// Name of the member in the request.
        field: &'static str,
    },
    /// More than [`ID_LEN_MAX`] bytes.
    #[error("{field} is longer than {ID_LEN_MAX} characters")]
    TooLong {
        /// Name of the member in the request.
        field: &'static str,
    },
    /// Other characters than letters, digits, `-` and `_`.
    #[error("{field} should only contain ASCII letters (a-z A-Z), digits (0-9) or -_")]
    Grammar {
        /// Name of the member in the request.
        field: &'static str,
    },
    /// A pattern that plugNmeet keeps for itself.
    #[error("{field} is reserved for internal use only")]
    Reserved {
        /// Name of the member in the request.
        field: &'static str,
    },
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(String);

        impl $name {
            /// Parses a name given in the request member `field`.
            ///
            /// # Errors
            /// Empty, too long, other characters than `[a-zA-Z0-9-_]`, or a reserved pattern.
            pub fn parse(text: &str, field: &'static str) -> Result<Self, IdError> {
                check(text, field).map(|()| Self(text.to_owned()))
            }

            /// The name itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id! {
    /// A room, chosen by the caller; also the media room's name and a token of message subjects.
    RoomId
}
id! {
    /// A person in a room; also the media identity and a token of message subjects.
    UserId
}

impl UserId {
    /// Refuses what plugNmeet keeps for its own participants. Callers of the public API may not use these names.
    ///
    /// # Errors
    /// [`IdError::Reserved`].
    pub fn parse_public(text: &str, field: &'static str) -> Result<Self, IdError> {
        const NAMES: [&str; 2] = ["RECORDER_BOT", "RTMP_BOT"];
        const PREFIXES: [&str; 4] = ["ingres_", "sip_", "pnm_agent-", "pnm_tts_agent-"];
        let reserved = NAMES.contains(&text)
            || PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            || text.ends_with("-native");
        if reserved { Err(IdError::Reserved { field }) } else { Self::parse(text, field) }
    }
}

fn check(text: &str, field: &'static str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Missing { field });
    }
    if text.len() > ID_LEN_MAX {
        return Err(IdError::TooLong { field });
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(IdError::Grammar { field });
    }
    // plugNmeet builds storage keys from these two (plugnmeet.md §0); its tools would misread such names.
    if text.contains("-FIELD_") || text.starts_with("user_") {
        return Err(IdError::Reserved { field });
    }
    Ok(())
}

/// Number of shards that rooms are spread over. Never changes: it is part of stored keys.
pub const SHARDS: u8 = 16;

/// A sixteenth of all rooms; one server at a time works on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shard(u8);

impl Shard {
    /// The shard of a room: FNV-1a 64 of its id, modulo [`SHARDS`].
    #[must_use]
    pub fn of(room: &RoomId) -> Self {
        // Offset basis and prime: draft-eastlake-fnv, 64 bit.
        let hash = room.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self((hash % u64::from(SHARDS)) as u8)
    }

    /// All shards, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// 0 to 15.
    #[must_use]
    pub fn index(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let check =
            |text: &str| RoomId::parse(text, "room_id").map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(check("room-1_A"), Ok(()));
        assert_eq!(check(""), Err("room_id is required".into()));
        assert_eq!(
            check("a.b"),
            Err("room_id should only contain ASCII letters (a-z A-Z), digits (0-9) or -_".into())
        );
        assert_eq!(check("user_1"), Err("room_id is reserved for internal use only".into()));
        assert!(check(&"a".repeat(65)).is_err());
        assert!(UserId::parse_public("sip_1", "user_id").is_err());
        assert!(UserId::parse_public("bo-native", "user_id").is_err());
    }

    /// The shard is part of stored keys and of the subjects told to clients.
    #[test]
    fn shards_never_change() {
        let shard = |id: &str| Shard::of(&RoomId::parse(id, "room_id").unwrap()).index();
        // FNV-1a 64 test vectors: "a" is af63dc4c8601ec8c, "foobar" is 85944171f73967e8.
        assert_eq!(shard("a"), 0xc);
        assert_eq!(shard("foobar"), 0x8);
    }
}
