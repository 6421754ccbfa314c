//! The auth callout: the question about a client, and what its answer grants.

use std::time::Duration;

use nkeys::{KeyPair, KeyPairType, XKey};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::jwt::{self, Claims};
use crate::{
    config::{AllowResponses, AuthCalloutConfig, ConfigError, Permissions, Rules},
    protocol::{ConnectOptions, VERSION},
    time::Timestamp,
};

/// Where questions are published.
pub(crate) const SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// Carries the broker's curve key beside a sealed question.
pub(crate) const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// The keys of this broker, made anew at each start.
pub(crate) struct ServerKeys {
    pub(crate) key: KeyPair,
    pub(crate) xkey: XKey,
    pub(crate) id: String,
    pub(crate) xkey_public: String,
}

impl ServerKeys {
    pub(crate) fn new(rng: &mut impl Rng) -> ServerKeys {
        let key = new_key(KeyPairType::Server, rng);
        let xkey = XKey::new_from_raw(rng.random());
        ServerKeys { id: key.public_key(), xkey_public: xkey.public_key(), key, xkey }
    }
}

fn new_key(kind: KeyPairType, rng: &mut impl Rng) -> KeyPair {
    KeyPair::new_from_raw(kind, rng.random()).expect("any 32 bytes are a seed")
}

/// The configured callout with its keys read.
pub(crate) struct Callout {
    issuer: String,
    pub(crate) auth_users: Vec<String>,
    pub(crate) account: usize,
    xkey: Option<XKey>,
    pub(crate) timeout: Duration,
}

/// A question that waits for its answer.
pub(crate) struct Question {
    /// Without it an answer to another question could be replayed here.
    user_key: String,
}

/// What is asked about.
pub(crate) struct Subject<'a> {
    pub(crate) server_name: &'a str,
    pub(crate) server_host: &'a str,
    pub(crate) client_id: u64,
    pub(crate) host: &'a str,
    pub(crate) websocket: bool,
    pub(crate) nonce: &'a str,
    pub(crate) options: &'a ConnectOptions,
}

/// What an answer grants.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) permissions: Permissions,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) max_subscriptions: Option<usize>,
    pub(crate) max_payload: Option<usize>,
}

impl Callout {
    pub(crate) fn new(config: &AuthCalloutConfig, account: usize) -> Result<Callout, ConfigError> {
        if !config.issuer.starts_with('A') || KeyPair::from_public_key(&config.issuer).is_err() {
            return Err(ConfigError::new("auth_callout.issuer", "must be a public account nkey (A…)"));
        }
        let xkey = match &config.xkey {
            None => None,
            Some(key) => Some(
                XKey::from_public_key(key)
                    .map_err(|_| ConfigError::new("auth_callout.xkey", "must be a public curve nkey (X…)"))?,
            ),
        };
        Ok(Callout {
            issuer: config.issuer.clone(),
            auth_users: config.auth_users.clone(),
            account,
            xkey,
            timeout: config.timeout,
        })
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.xkey.is_some()
    }

    /// The body of the question about `client`.
    pub(crate) fn ask(
        &self,
        keys: &ServerKeys,
        client: &Subject<'_>,
        rng: &mut impl Rng,
        now: Timestamp,
    ) -> Option<(Question, Vec<u8>)> {
        let user_key = new_key(KeyPairType::User, rng).public_key();
        let options = client.options;
        // The token is a secret; only the service itself gets to see it.
        let user = if !options.user.is_empty() {
            options.user.as_str()
        } else if !options.auth_token.is_empty() {
            "[REDACTED]"
        } else {
            options.nkey.as_str()
        };
        let kind = if client.websocket { "websocket" } else { "nats" };
        let mut server = json!({
            "name": client.server_name, "host": client.server_host, "id": keys.id, "version": VERSION,
        });
        if self.xkey.is_some() {
            server["xkey"] = keys.xkey_public.as_str().into();
        }
        let claims = Claims {
            aud: "nats-authorization-request".to_owned(),
            exp: now.plus(self.timeout).unix_seconds() + 1,
            iat: now.unix_seconds(),
            nbf: 0,
            iss: String::new(),
            jti: data_encoding::BASE32_NOPAD.encode(&rng.random::<[u8; 32]>()),
            name: String::new(),
            sub: self.issuer.clone(),
            nats: json!({
                "server_id": server,
                "user_nkey": user_key,
                "client_info": {
                    "host": client.host, "id": client.client_id, "user": user, "name": options.name,
                    "kind": "Client", "type": kind, "nonce": client.nonce,
                },
                "connect_opts": ConnectOpts::of(options),
                "type": "authorization_request",
                "version": 2,
            }),
        };
        let token = jwt::encode(claims, &keys.key)?;
        let body = match &self.xkey {
            None => token.into_bytes(),
            Some(recipient) => keys
                .xkey
                .seal_with_nonce(token.as_bytes(), recipient, rng.random::<[u8; 24]>().into())
                .ok()?,
        };
        Some((Question { user_key }, body))
    }

    /// What `answer` grants, or why it grants nothing.
    pub(crate) fn judge(
        &self,
        keys: &ServerKeys,
        question: &Question,
        answer: &[u8],
        websocket: bool,
        now: Timestamp,
    ) -> Result<Grant, String> {
        let opened;
        let text = match &self.xkey {
            // A service may answer in clear although the question was sealed; the signatures decide.
            Some(sender) if !answer.starts_with(b"eyJ") => {
                opened = keys.xkey.open(answer, sender).map_err(|_| "answer is sealed with another key")?;
                &opened
            }
            _ => answer,
        };
        let text = std::str::from_utf8(text).map_err(|_| "answer is not text")?;
        let response: Claims<Response> = jwt::decode(text, 'A', now).map_err(|e| format!("answer: {e}"))?;
        if response.iss != self.issuer {
            return Err("answer has another issuer".into());
        }
        if response.sub != question.user_key || response.aud != keys.id {
            return Err("answer belongs to another question".into());
        }
        if response.nats.r#type != "authorization_response" {
            return Err("answer is no authorization_response".into());
        }
        if !response.nats.error.is_empty() {
            return Err("the service refused".into());
        }
        let user: Claims<User> =
            jwt::decode(&response.nats.jwt, 'A', now).map_err(|e| format!("user token: {e}"))?;
        if user.iss != self.issuer || user.sub != question.user_key {
            return Err("user token belongs to another issuer or client".into());
        }
        user.nats.refuse_unsupported(websocket)?;
        let expires = (user.exp > 0).then(|| Timestamp(user.exp.saturating_mul(1_000_000_000)));
        let limit = |n: i64| usize::try_from(n).ok().filter(|n| *n > 0);
        let permissions = user.nats.permissions();
        permissions.check()?;
        Ok(Grant {
            account: user.aud,
            name: user.name,
            permissions,
            expires,
            max_subscriptions: limit(user.nats.subs),
            max_payload: limit(user.nats.payload),
        })
    }
}

/// The CONNECT options as the question repeats them: absent when empty.
#[derive(Serialize)]
struct ConnectOpts<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    jwt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    nkey: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sig: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    auth_token: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pass: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    protocol: i64,
}

impl<'a> ConnectOpts<'a> {
    fn of(options: &'a ConnectOptions) -> ConnectOpts<'a> {
        ConnectOpts {
            jwt: &options.jwt,
            nkey: &options.nkey,
            sig: &options.sig,
            auth_token: &options.auth_token,
            user: &options.user,
            pass: &options.pass,
            name: &options.name,
            lang: &options.lang,
            version: &options.version,
            protocol: options.protocol,
        }
    }
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    jwt: String,
    #[serde(default)]
    error: String,
}

/// The `nats` object of a user token.
#[derive(Deserialize)]
#[serde(default)]
struct User {
    r#type: String,
    version: i64,
    r#pub: List,
    sub: List,
    resp: Option<Resp>,
    subs: i64,
    payload: i64,
    src: Vec<String>,
    times: Vec<serde_json::Value>,
    allowed_connection_types: Vec<String>,
    issuer_account: String,
    proxy_required: bool,
}

impl Default for User {
    fn default() -> Self {
        User {
            r#type: String::new(),
            version: 0,
            r#pub: List::default(),
            sub: List::default(),
            resp: None,
            subs: -1,
            payload: -1,
            src: Vec::new(),
            times: Vec::new(),
            allowed_connection_types: Vec::new(),
            issuer_account: String::new(),
            proxy_required: false,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List {
    allow: Vec<String>,
    deny: Vec<String>,
}

#[derive(Deserialize)]
struct Resp {
    #[serde(default)]
    max: i64,
    #[serde(default)]
    ttl: i64,
}

impl User {
    /// A restriction that this broker cannot keep is no grant.
    fn refuse_unsupported(&self, websocket: bool) -> Result<(), String> {
        if self.r#type != "user" || self.version > 2 {
            return Err("user token is not of type user, version 2".into());
        }
        if !self.issuer_account.is_empty() {
            return Err("user token: issuer_account must be empty".into());
        }
        if !self.src.is_empty() || !self.times.is_empty() || self.proxy_required {
            return Err("user token: src, times and proxy_required are not supported".into());
        }
        let own = if websocket { "WEBSOCKET" } else { "STANDARD" };
        let types = &self.allowed_connection_types;
        if !types.is_empty() && !types.iter().any(|t| t.eq_ignore_ascii_case(own)) {
            return Err(format!("user token: connection type {own} is not allowed"));
        }
        Ok(())
    }

    fn permissions(&self) -> Permissions {
        let rules = |list: &List| Rules { allow: list.allow.clone(), deny: list.deny.clone() };
        Permissions {
            publish: rules(&self.r#pub),
            subscribe: rules(&self.sub),
            allow_responses: self.resp.as_ref().map(|resp| AllowResponses {
                max: match resp.max {
                    n if n < 0 => None,
                    0 => Some(1),
                    n => Some(u32::try_from(n).unwrap_or(u32::MAX)),
                },
                expires: match u64::try_from(resp.ttl) {
                    Ok(ttl) if ttl > 0 => Duration::from_nanos(ttl),
                    _ => AllowResponses::default().expires,
                },
            }),
        }
    }
}
