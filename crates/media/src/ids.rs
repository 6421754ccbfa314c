//! Names of rooms, people, tracks and connections, each a type of its own.

use std::fmt;

use rand::{Rng, RngExt};

/// LiveKit's alphabet for random identifiers: 57 characters that cannot be mistaken for one another.
const ALPHABET: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Longest name of a room and longest identity, in bytes (LiveKit's default limits).
pub const MAX_NAME_LEN: usize = 256;

/// `prefix` followed by twelve random characters.
pub fn random_sid(prefix: &str, rng: &mut dyn Rng) -> String {
    let mut sid = String::with_capacity(prefix.len() + 12);
    sid.push_str(prefix);
    push_random(&mut sid, 12, rng);
    sid
}

/// Appends `len` random characters of the identifier alphabet.
pub fn push_random(to: &mut String, len: usize, rng: &mut dyn Rng) {
    for _ in 0..len {
        to.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
}

/// A name that came from outside and does not fit its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is missing.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// The name is longer than [`MAX_NAME_LEN`] bytes.
    #[error("{0} is longer than {MAX_NAME_LEN} bytes")]
    TooLong(&'static str),
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Takes the name if it is neither empty nor longer than [`MAX_NAME_LEN`].
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                match name.len() {
                    0 => Err(NameError::Empty($what)),
                    len if len > MAX_NAME_LEN => Err(NameError::TooLong($what)),
                    _ => Ok(Self(name)),
                }
            }

            /// The name as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_name!(
    /// What a room is called; rooms are unique by it.
    RoomName,
    "room name"
);
checked_name!(
    /// Who somebody is within a room; participants are unique by it.
    Identity,
    "identity"
);

/// Which machine; 0 is this one. Relays between machines come later, the handles already carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NodeId(pub u16);

/// Which media thread of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShardId(pub u16);

/// A room instance; a room that is made again under the same name gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// Where a participant's two connections live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerHandle {
    /// The machine.
    pub node: NodeId,
    /// The media thread that owns the connections.
    pub shard: ShardId,
    /// Unique among all peers that this process ever had.
    pub key: u64,
}

/// A published track within the media threads; unique for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(pub u64);

/// One subscription of one peer; unique for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DownKey(pub u64);

/// The two ICE secrets of one side of one connection.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Public name; for ours the first two characters are the shard in hexadecimal, so that a datagram finds it.
    pub ufrag: String,
    /// Secret that signs connectivity checks.
    pub pwd: String,
}

impl IceCredentials {
    /// Fresh credentials for a connection on `shard`: 14 random characters of name (82 bits), 24 of secret (140 bits).
    pub fn generate(shard: ShardId, rng: &mut dyn Rng) -> Self {
        let mut ufrag = format!("{:02x}", shard.0 & 0xff);
        push_random(&mut ufrag, 14, rng);
        let mut pwd = String::new();
        push_random(&mut pwd, 24, rng);
        Self { ufrag, pwd }
    }

    /// The shard that a local ufrag names.
    pub fn shard_of(ufrag: &[u8]) -> Option<ShardId> {
        let hex = std::str::from_utf8(ufrag.get(..2)?).ok()?;
        u16::from_str_radix(hex, 16).ok().map(ShardId)
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(RoomName::new(""), Err(NameError::Empty("room name")));
        assert_eq!(Identity::new("x".repeat(257)), Err(NameError::TooLong("identity")));
        assert_eq!(Identity::new("ünïcode").map(|i| i.to_string()), Ok("ünïcode".into()));
    }

    #[test]
    fn a_ufrag_names_its_shard() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let credentials = IceCredentials::generate(ShardId(11), &mut rng);
        assert_eq!(IceCredentials::shard_of(credentials.ufrag.as_bytes()), Some(ShardId(11)));
        assert_eq!(IceCredentials::shard_of(b"zz"), None);
        assert!(!format!("{credentials:?}").contains(&credentials.pwd));
    }
}
