//! Credentials as coturn's REST API makes them: the name says until when, the password proves that we gave it.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use rand::Rng;

use crate::stun::Key;

/// What names and passwords are for.
pub(super) const REALM: &str = "plenum";
/// With these an allocation can be made for four hours (livekit-server's value for TURN servers of others); one that was
/// made goes on for as long as its client refreshes it.
pub(super) const LIFE_S: u64 = 4 * 3_600;
/// Longest name that is looked at; ours have 26 characters.
const NAME_LEN_MAX: usize = 64;

/// What passwords are made with. It may be as short-lived as the process: whoever comes again gets new ones.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a client shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `<Unix seconds>:<participant sid>`
    pub username: String,
    /// Base64.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Secret {
    /// From 32 random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        // SHA-1, because that is what a coturn that stands in for us computes.
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, bytes))
    }

    /// A new one.
    pub fn generate(rng: &mut dyn Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self::new(&bytes)
    }

    /// Credentials for a participant, from now on.
    pub fn issue(&self, sid: &str, unix_s: u64) -> Credentials {
        let username = format!("{}:{sid}", unix_s + LIFE_S);
        let password = self.password(&username);
        Credentials { username, password }
    }

    fn password(&self, username: &str) -> String {
        STANDARD.encode(hmac::sign(&self.0, username.as_bytes()))
    }

    /// What requests of that user are signed with.
    pub(super) fn key(&self, username: &str) -> Key {
        Md5::digest(format!("{username}:{REALM}:{}", self.password(username))).into()
    }
}

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// In Unix seconds.
    pub(super) expires_at: u64,
    /// Which participant.
    pub(super) sid: String,
}

impl User {
    pub(super) fn parse(username: &str) -> Option<Self> {
        let (expires_at, sid) = username.split_once(':').filter(|_| username.len() <= NAME_LEN_MAX)?;
        Some(Self { expires_at: expires_at.parse().ok()?, sid: sid.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_coturn_computes() {
        let secret = Secret(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"north"));
        // printf 1433895918:fran | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(secret.password("1433895918:fran"), "u3Y4ctbFbUKEjk+28gZyEjLoN8s=");
    }

    #[test]
    fn the_name_says_who_and_until_when() {
        let credentials = Secret::new(&[1; 32]).issue("PA_abc", 1_000);
        assert_eq!(credentials.username, "15400:PA_abc");
        let user = User::parse(&credentials.username).expect("ours");
        assert_eq!(user, User { expires_at: 15_400, sid: "PA_abc".to_owned() });
        assert_ne!(credentials.password, Secret::new(&[2; 32]).issue("PA_abc", 1_000).password);
        for other in ["", "PA_abc", "x:PA_abc", "-1:PA_abc", &format!("1:{}", "x".repeat(NAME_LEN_MAX))] {
            assert_eq!(User::parse(other), None, "{other}");
        }
        assert!(!format!("{credentials:?}").contains(&credentials.password));
    }
}
