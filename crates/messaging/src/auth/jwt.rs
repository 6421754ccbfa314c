//! NATS JWTs, version 2: ed25519 signatures by nkeys over `header.claims`.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::time::Timestamp;

/// Nothing of ours comes near this; it bounds what is decoded.
const MAX_LEN: usize = 1 << 20;

/// The registered claims around the `nats` object.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims<N> {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) aud: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) exp: i64,
    #[serde(default)]
    pub(crate) iat: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) nbf: i64,
    #[serde(default)]
    pub(crate) iss: String,
    #[serde(default)]
    pub(crate) jti: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) sub: String,
    pub(crate) nats: N,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    #[error("not three parts of base64url with JSON")]
    Malformed,
    #[error("header is not typ JWT, alg ed25519-nkey")]
    Algorithm,
    #[error("issuer {0:?} is no public key of the kind that may issue this")]
    Issuer(String),
    #[error("signature does not match")]
    Signature,
    #[error("expired or not valid yet")]
    Time,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    typ: String,
    #[serde(default)]
    alg: String,
}

/// The token for `claims`, signed by `signer`, who becomes the issuer.
pub(crate) fn encode<N: Serialize>(mut claims: Claims<N>, signer: &KeyPair) -> Option<String> {
    claims.iss = signer.public_key();
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = BASE64URL_NOPAD.encode(&serde_json::to_vec(&claims).ok()?);
    let signed = format!("{header}.{body}");
    let signature = BASE64URL_NOPAD.encode(&signer.sign(signed.as_bytes()).ok()?);
    Some(format!("{signed}.{signature}"))
}

/// The claims of `token`, after its signature by an issuer whose key starts with `issuer_prefix`, and its times.
pub(crate) fn decode<N: DeserializeOwned>(
    token: &str,
    issuer_prefix: char,
    now: Timestamp,
) -> Result<Claims<N>, JwtError> {
    if token.len() > MAX_LEN {
        return Err(JwtError::Malformed);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JwtError::Malformed);
    };
    let open = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JwtError::Malformed);
    let head: Header = serde_json::from_slice(&open(header)?).map_err(|_| JwtError::Malformed)?;
    if !head.typ.eq_ignore_ascii_case("jwt") || !head.alg.eq_ignore_ascii_case("ed25519-nkey") {
        return Err(JwtError::Algorithm);
    }
    let claims: Claims<N> = serde_json::from_slice(&open(body)?).map_err(|_| JwtError::Malformed)?;
    if !claims.iss.starts_with(issuer_prefix) {
        return Err(JwtError::Issuer(claims.iss));
    }
    let key = KeyPair::from_public_key(&claims.iss).map_err(|_| JwtError::Issuer(claims.iss.clone()))?;
    let signed = &token.as_bytes()[..header.len() + 1 + body.len()];
    key.verify(signed, &open(signature)?).map_err(|_| JwtError::Signature)?;
    let now = now.unix_seconds();
    if (claims.exp > 0 && now > claims.exp) || claims.nbf > now {
        return Err(JwtError::Time);
    }
    Ok(claims)
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPairType;
    use serde_json::{Value, json};

    use super::*;

    fn claims(exp: i64) -> Claims<Value> {
        Claims {
            aud: "PNM".into(),
            exp,
            iat: 1,
            nbf: 0,
            iss: String::new(),
            jti: "x".into(),
            name: "n".into(),
            sub: "U".into(),
            nats: json!({"type": "user"}),
        }
    }

    #[test]
    fn only_the_issuers_unchanged_token_in_time_is_believed() {
        let pair = KeyPair::new_from_raw(KeyPairType::Account, [3; 32]).expect("32 bytes are a seed");
        let token = encode(claims(100), &pair).expect("has its seed");
        let at = |s: i64| Timestamp(s * 1_000_000_000);
        let back = decode::<Value>(&token, 'A', at(50)).expect("valid");
        assert_eq!((back.aud.as_str(), back.iss), ("PNM", pair.public_key()));
        assert_eq!(decode::<Value>(&token, 'A', at(101)).err(), Some(JwtError::Time));
        assert!(matches!(decode::<Value>(&token, 'N', at(50)), Err(JwtError::Issuer(_))));
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[1] = BASE64URL_NOPAD.encode(&serde_json::to_vec(&claims(999)).expect("plain data"));
        assert!(decode::<Value>(&parts.join("."), 'A', at(50)).is_err());
        assert_eq!(decode::<Value>("a.b", 'A', at(50)).err(), Some(JwtError::Malformed));
    }
}
