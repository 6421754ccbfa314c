//! The JWTs of NATS's auth callout: signed with nkeys instead of a usual algorithm.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What the broker asks.
#[derive(Debug, Deserialize)]
pub(crate) struct AuthRequest {
    pub(crate) nats: AuthRequestBody,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AuthRequestBody {
    pub(crate) server_id: ServerId,
    pub(crate) user_nkey: String,
    pub(crate) client_info: ClientInfo,
    #[serde(default)]
    pub(crate) connect_opts: ConnectOptions,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ServerId {
    pub(crate) id: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ClientInfo {
    #[serde(default)]
    pub(crate) id: u64,
}

/// Not printable: it holds a token.
#[derive(Deserialize, Default)]
pub(crate) struct ConnectOptions {
    #[serde(default)]
    pub(crate) auth_token: String,
    #[serde(default)]
    pub(crate) name: String,
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectOptions")
    }
}

/// Reads a request; its signature must be the broker's that it names.
pub(crate) fn read_request(jwt: &str) -> Option<AuthRequest> {
    let mut parts = jwt.split('.');
    let (header, body, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
    let issuer = KeyPair::from_public_key(claims["iss"].as_str()?).ok()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    issuer.verify(format!("{header}.{body}").as_bytes(), &signature).ok()?;
    serde_json::from_value(claims).ok()
}

/// What a participant's connection may do.
#[derive(Debug)]
pub(crate) struct UserGrant<'a> {
    pub(crate) user_nkey: &'a str,
    pub(crate) account: &'a str,
    pub(crate) name: String,
    pub(crate) publish: Vec<String>,
    pub(crate) subscribe: Vec<String>,
}

/// The answer: a user JWT, or why not.
pub(crate) fn respond(
    issuer: &KeyPair,
    server_id: &str,
    user_nkey: &str,
    grant: Result<UserGrant<'_>, String>,
    now_s: u64,
) -> String {
    let nats = match grant {
        Ok(grant) => {
            json!({"jwt": user_jwt(issuer, grant, now_s), "type": "authorization_response", "version": 2})
        }
        Err(error) => json!({"error": error, "type": "authorization_response", "version": 2}),
    };
    sign(issuer, json!({"aud": server_id, "sub": user_nkey, "nats": nats}), now_s)
}

/// A browser has about ten; the broker's index grows with each.
const MAX_SUBSCRIPTIONS: u32 = 128;

fn user_jwt(issuer: &KeyPair, grant: UserGrant<'_>, now_s: u64) -> String {
    let claims = json!({
        "sub": grant.user_nkey,
        "aud": grant.account,
        "name": grant.name,
        "nats": {
            "pub": {"allow": grant.publish},
            "sub": {"allow": grant.subscribe},
            "subs": MAX_SUBSCRIPTIONS,
            "data": -1,
            "payload": -1,
            "type": "user",
            "version": 2,
        },
    });
    sign(issuer, claims, now_s)
}

fn sign(issuer: &KeyPair, mut claims: Value, now_s: u64) -> String {
    claims["iat"] = now_s.into();
    claims["iss"] = issuer.public_key().into();
    // NATS names a JWT by the hash of its claims.
    let hash = Sha256::digest(claims.to_string().as_bytes());
    claims["jti"] = data_encoding::BASE32_NOPAD.encode(&hash).into();
    #[derive(Serialize)]
    struct Header {
        typ: &'static str,
        alg: &'static str,
    }
    let header = serde_json::to_vec(&Header { typ: "JWT", alg: "ed25519-nkey" }).expect("two texts are JSON");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = issuer.sign(signed.as_bytes()).expect("the issuer was made from a seed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
