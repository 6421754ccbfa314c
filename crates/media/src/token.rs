//! Access tokens: JWTs signed with HMAC-SHA-256 that say who somebody is and what they may do.
//!
//! Checked here rather than by a JWT library because time is an argument of this crate.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use livekit_protocol::RoomConfiguration;
use serde::{Deserialize, Serialize};

/// Longest token that is looked at, in bytes; room for the metadata that LiveKit's tokens may carry.
pub const MAX_TOKEN_LEN: usize = 1024 * 1024;

/// How far clocks of token makers may differ from ours, in seconds (as LiveKit).
const LEEWAY_S: u64 = 60;

/// API keys and their secrets.
#[derive(Clone, Default)]
pub struct ApiKeys(BTreeMap<String, String>);

impl ApiKeys {
    /// Keys by name.
    pub fn new(keys: BTreeMap<String, String>) -> Self {
        Self(keys)
    }

    /// The secret of a key.
    pub fn secret(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The first key and its secret; refreshed tokens are signed with it.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.0.iter().next().map(|(key, secret)| (key.as_str(), secret.as_str()))
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a token says. Field names are LiveKit's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    /// The API key whose secret signed the token.
    pub iss: String,
    /// The identity of the bearer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// Stands in for `sub` where that is missing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Not valid before, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Not valid after, in Unix seconds; a token without it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// Display name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Free text shown to everybody in the room.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Free key-value pairs shown to everybody in the room.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// What the bearer is: `standard`, `egress`, `agent`, ….
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Hash of the body that a webhook's token belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// More about what the bearer is: `cloud_agent`, `forwarded`, ….
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind_details: Vec<String>,
    /// The name of a configuration that a room gets whose first participant the bearer is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room_preset: String,
    /// Such a configuration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<RoomConfiguration>,
    /// What the bearer may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// What the bearer may do with telephones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip: Option<SipGrant>,
}

/// What the bearer of a token may do with telephones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipGrant {
    /// May manage trunks and rules.
    #[serde(skip_serializing_if = "is_false")]
    pub admin: bool,
    /// May call.
    #[serde(skip_serializing_if = "is_false")]
    pub call: bool,
}

/// What the bearer of a token may do. Absent booleans of the `can_…` kind have defaults of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    /// May create and delete rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// May list rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// May moderate `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// May join `room`.
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// The room that the grant is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// May publish tracks; yes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// May receive tracks; yes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// May send data packets; as `can_publish` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// Sources that may be published; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    /// May change own name, metadata and attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Is not shown to others.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Records the room.
    #[serde(skip_serializing_if = "is_false")]
    pub recorder: bool,
    /// Is an agent.
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
    /// Receives metrics packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    /// May control sessions of agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    /// May record rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_record: bool,
    /// May manage ingress.
    #[serde(skip_serializing_if = "is_false")]
    pub ingress_admin: bool,
    /// The room to which participants of `room` may be forwarded or moved.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_room: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url, or not JSON within.
    #[error("access token is malformed")]
    Malformed,
    /// Signed in another way than HMAC-SHA-256.
    #[error("access token: only the algorithm HS256 is accepted")]
    Algorithm,
    /// The issuer is no API key of this server.
    #[error("access token: unknown API key in iss")]
    UnknownKey,
    /// The signature does not fit.
    #[error("access token: signature is wrong")]
    Signature,
    /// Too late.
    #[error("access token: expired (exp)")]
    Expired,
    /// Too early.
    #[error("access token: not valid yet (nbf)")]
    NotYet,
}

/// Checks a token and returns what it says. `now` is Unix time in seconds.
pub fn verify(token: &str, keys: &ApiKeys, now: u64) -> Result<Claims, TokenError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, body) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header: Header = part(header)?;
    if header.alg != "HS256" {
        return Err(TokenError::Algorithm);
    }
    let mut claims: Claims = part(body)?;
    let secret = keys.secret(&claims.iss).ok_or(TokenError::UnknownKey)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::verify(&key, signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)?;
    match claims.exp {
        Some(exp) if now <= exp.saturating_add(LEEWAY_S) => {}
        _ => return Err(TokenError::Expired),
    }
    if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(LEEWAY_S)) {
        return Err(TokenError::NotYet);
    }
    if claims.sub.is_empty() {
        claims.sub = std::mem::take(&mut claims.jti);
    }
    Ok(claims)
}

fn part<T: for<'a> Deserialize<'a>>(encoded: &str) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

/// Signs `claims` for the key named in `claims.iss`.
pub fn sign(claims: &Claims, secret: &str) -> String {
    let body = serde_json::to_vec(claims).expect("claims are plain data with string keys");
    let mut token = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(body));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature.as_ref()));
    token
}

/// The token that goes with a webhook: it carries the hash of `body` and lives five minutes.
pub fn sign_webhook(body: &[u8], api_key: &str, secret: &str, now: u64) -> String {
    let claims = Claims {
        iss: api_key.to_owned(),
        nbf: Some(now),
        exp: Some(now + 300),
        sha256: STANDARD.encode(digest::digest(&digest::SHA256, body)),
        ..Claims::default()
    };
    sign(&claims, secret)
}

/// Body of the fuzz target `jwt`: whatever comes in, verification answers and never panics.
pub fn fuzz(input: &[u8]) {
    let keys = ApiKeys::new(BTreeMap::from([("devkey".to_owned(), "secret".to_owned())]));
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(claims) = verify(text, &keys, 1_700_000_000)
    {
        assert_eq!(claims.iss, "devkey");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ApiKeys {
        ApiKeys::new(BTreeMap::from([("devkey".to_owned(), "a secret".to_owned())]))
    }

    fn claims() -> Claims {
        Claims {
            iss: "devkey".into(),
            sub: "alice".into(),
            exp: Some(2_000),
            video: Some(VideoGrant { room_join: true, room: "r".into(), ..VideoGrant::default() }),
            ..Claims::default()
        }
    }

    #[test]
    fn a_signed_token_verifies() {
        let token = sign(&claims(), "a secret");
        assert_eq!(verify(&token, &keys(), 1_000), Ok(claims()));
    }

    #[test]
    fn every_wrong_token_is_named() {
        let good = sign(&claims(), "a secret");
        let check = |token: &str, now, error| assert_eq!(verify(token, &keys(), now), Err(error), "{token}");
        check(&sign(&claims(), "another"), 1_000, TokenError::Signature);
        check(&good, 2_061, TokenError::Expired);
        check(&sign(&Claims { exp: None, ..claims() }, "a secret"), 1_000, TokenError::Expired);
        check(&sign(&Claims { nbf: Some(1_500), ..claims() }, "a secret"), 1_000, TokenError::NotYet);
        check(&sign(&Claims { iss: "x".into(), ..claims() }, "a secret"), 1_000, TokenError::UnknownKey);
        check(&good[..good.len() - 5], 1_000, TokenError::Malformed);
        check("", 1_000, TokenError::Malformed);
        check("a.b.c", 1_000, TokenError::Malformed);
        let unsigned = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#),
            good.split('.').nth(1).expect("a token has three parts")
        );
        check(&unsigned, 1_000, TokenError::Algorithm);
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", keys()), r#"{"devkey"}"#);
    }
}
