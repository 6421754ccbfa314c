//! The two tokens of a participant: plugNmeet's, for this server, and LiveKit's, for media.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use livekit_api::access_token::{AccessToken, AccessTokenError, VideoGrants};
use plenum_meeting::{MediaAccess, MediaRights, RoomId, UserId, state::UnixMs};
use serde::{Deserialize, Serialize};

/// Validity of a join token.
pub const TOKEN_VALIDITY: Duration = Duration::from_secs(600);
/// A token may be renewed this long after its end (plugnmeet.md §2.1).
const RENEWAL_GRACE: Duration = Duration::from_secs(3 * 3600);
/// Clocks of two machines may differ by this.
const LEEWAY: Duration = Duration::from_secs(60);
/// A media token only has to live until the connection is made.
const MEDIA_TOKEN_VALIDITY: Duration = Duration::from_secs(60);
/// Longest token that is looked at.
const TOKEN_LEN_MAX: usize = 4096;

/// What a participant's token says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Which room.
    pub room: RoomId,
    /// Who.
    pub user: UserId,
    /// Shown to others.
    pub name: String,
    /// As of when the token was made; rights come from the record.
    pub is_admin: bool,
    /// The run of the room it was made for.
    pub sid: String,
    /// The seat it was made for: a person who joins anew has another one, and the older token is worth nothing.
    pub seat: String,
}

/// Why a token was not taken. The texts are plugNmeet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// None was given.
    #[error("notifications.auth-header-missing")]
    Missing,
    /// Not ours, or not well-formed.
    #[error("notifications.invalid-token")]
    Invalid,
    /// Over.
    #[error("notifications.token-expired")]
    Expired,
}

/// Makes and reads participants' tokens.
#[derive(Clone)]
pub struct Tokens {
    key: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    iss: String,
    sub: String,
    nbf: u64,
    exp: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    room_id: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_admin: bool,
    /// Plenum's own.
    #[serde(default)]
    room_sid: String,
    /// Plenum's own.
    #[serde(default)]
    seat_sid: String,
}

impl Tokens {
    /// From the API key (the issuer) and secret.
    #[must_use]
    pub fn new(key: &str, secret: &str) -> Self {
        Self {
            key: key.to_owned(),
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
        }
    }

    /// A token that ends at `ends_at`.
    #[must_use]
    pub fn make(&self, claims: &Claims, ends_at: UnixMs) -> String {
        let wire = Wire {
            iss: self.key.clone(),
            sub: claims.user.to_string(),
            nbf: ends_at.saturating_sub(millis(TOKEN_VALIDITY)) / 1000,
            exp: ends_at / 1000,
            name: claims.name.clone(),
            user_id: claims.user.to_string(),
            room_id: claims.room.to_string(),
            is_admin: claims.is_admin,
            room_sid: claims.sid.clone(),
            seat_sid: claims.seat.clone(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &wire, &self.encoding)
            .expect("HS256 signs any JSON")
    }

    /// Reads a token that holds now.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.read(token, LEEWAY)
    }

    /// Reads a token that is to be renewed: it may be over for a while.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify_for_renewal(&self, token: &str) -> Result<Claims, TokenError> {
        self.read(token, RENEWAL_GRACE)
    }

    fn read(&self, token: &str, leeway: Duration) -> Result<Claims, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > TOKEN_LEN_MAX {
            return Err(TokenError::Invalid);
        }
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = leeway.as_secs();
        rules.validate_nbf = true;
        rules.set_issuer(&[&self.key]);
        rules.set_required_spec_claims(&["exp", "iss", "sub", "nbf"]);
        let wire = jsonwebtoken::decode::<Wire>(token, &self.decoding, &rules)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        if wire.sub != wire.user_id {
            return Err(TokenError::Invalid);
        }
        Ok(Claims {
            room: RoomId::parse(&wire.room_id, "room_id").map_err(|_| TokenError::Invalid)?,
            user: UserId::parse(&wire.user_id, "user_id").map_err(|_| TokenError::Invalid)?,
            name: wire.name,
            is_admin: wire.is_admin,
            sid: wire.room_sid,
            seat: wire.seat_sid,
        })
    }
}

/// When a token made now ends.
#[must_use]
pub fn token_end(now: UnixMs) -> UnixMs {
    now + millis(TOKEN_VALIDITY)
}

/// Attribute of participants that a meeting let in: [`plenum_meeting::state::Person::media_seat`]. Others are guests of
/// outside callers with LiveKit keys of their own.
pub(crate) const SEAT: &str = "plenum.seat";

/// A media token with exactly the rights that hold now.
pub(crate) fn media_token(
    key: &str,
    secret: &str,
    room: &RoomId,
    user: &UserId,
    access: &MediaAccess,
) -> Result<String, AccessTokenError> {
    let sources = sources(access.rights);
    AccessToken::with_api_key(key, secret)
        .with_identity(user.as_str())
        .with_name(&access.name)
        .with_ttl(MEDIA_TOKEN_VALIDITY)
        .with_attributes([(SEAT, access.seat.as_str())])
        .with_grants(VideoGrants {
            room_join: true,
            room: room.to_string(),
            can_publish: Some(!sources.is_empty()),
            can_publish_sources: sources.into_iter().map(str::to_owned).collect(),
            can_subscribe: Some(true),
            can_publish_data: Some(access.rights.data),
            hidden: access.rights.hidden,
            ..VideoGrants::default()
        })
        .to_jwt()
}

fn sources(rights: MediaRights) -> Vec<&'static str> {
    [
        (rights.microphone, "microphone"),
        (rights.camera, "camera"),
        (rights.screen, "screen_share"),
        (rights.screen, "screen_share_audio"),
    ]
    .into_iter()
    .filter_map(|(allowed, source)| allowed.then_some(source))
    .collect()
}

/// Secure randomness that may cross threads.
pub(crate) fn rng() -> rand::rngs::StdRng {
    use rand::SeedableRng as _;
    rand::rngs::StdRng::from_rng(&mut rand::rng())
}

/// This machine's clock.
#[must_use]
pub fn now() -> UnixMs {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            room: RoomId::parse("r", "room_id").unwrap(),
            user: UserId::parse("u", "user_id").unwrap(),
            name: "Ann".into(),
            is_admin: true,
            sid: "s".into(),
            seat: "t".into(),
        }
    }

    #[test]
    fn a_token_is_read_back_by_its_maker_only() {
        let tokens = Tokens::new("key", "secret");
        let token = tokens.make(&claims(), token_end(now()));
        assert_eq!(tokens.verify(&token), Ok(claims()));
        assert_eq!(Tokens::new("key", "other").verify(&token), Err(TokenError::Invalid));
        assert_eq!(Tokens::new("other", "secret").verify(&token), Err(TokenError::Invalid));
        assert_eq!(tokens.verify(""), Err(TokenError::Missing));
        assert_eq!(tokens.verify("a.b.c"), Err(TokenError::Invalid));
    }

    #[test]
    fn an_old_token_can_only_be_renewed() {
        let tokens = Tokens::new("key", "secret");
        let old = tokens.make(&claims(), now() - 3_600_000);
        assert_eq!(tokens.verify(&old), Err(TokenError::Expired));
        assert_eq!(tokens.verify_for_renewal(&old), Ok(claims()));
        let older = tokens.make(&claims(), now() - 4 * 3_600_000);
        assert_eq!(tokens.verify_for_renewal(&older), Err(TokenError::Expired));
    }

    #[test]
    fn a_media_token_names_what_may_be_sent() {
        let rights =
            MediaRights { microphone: true, camera: false, screen: false, data: false, hidden: false };
        let none = MediaRights { microphone: false, ..rights };
        let access = |rights| MediaAccess { name: "Ann".into(), seat: "s".into(), rights };
        let c = claims();
        let grants = |rights| {
            let token = media_token("k", "secret", &c.room, &c.user, &access(rights)).unwrap();
            livekit_api::access_token::Claims::from_unverified(&token).unwrap().video
        };
        assert_eq!(grants(rights).can_publish_sources, ["microphone"]);
        assert!(grants(rights).can_publish());
        // An empty list would mean "everything" to a media server, so publishing as a whole is off.
        assert!(!grants(none).can_publish());
        assert!(!grants(rights).room_admin);
    }
}
