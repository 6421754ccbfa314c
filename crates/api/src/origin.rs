//! How a browser reaches this server, and from where. What the request says is set right by whoever knows the proxies in
//! front (the server's middleware), and put into the request's extensions.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};

use crate::Api;

/// Scheme and authority of an address, such as `https://meet.example.org`; no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    authority: String,
}

impl Origin {
    /// From its two parts. `None` when the authority is none.
    #[must_use]
    pub fn new(secure: bool, authority: &str) -> Option<Self> {
        is_authority(authority).then(|| Self { secure, authority: authority.to_owned() })
    }

    /// Reads `http(s)://host[:port]`, with or without a final slash. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (secure, rest) = match text.split_once("://")? {
            ("https", rest) => (true, rest),
            ("http", rest) => (false, rest),
            _ => return None,
        };
        Self::new(secure, rest.strip_suffix('/').unwrap_or(rest))
    }

    /// The origin of a WebSocket's address: `ws(s)://host[:port]` with any path, in characters that a header may hold.
    #[must_use]
    pub fn of_websocket(text: &str) -> Option<Self> {
        let (secure, rest) = match text.split_once("://")? {
            ("wss", rest) => (true, rest),
            ("ws", rest) => (false, rest),
            _ => return None,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_path = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte));
        is_path.then(|| Self::new(secure, authority)).flatten()
    }

    /// `http(s)://…`.
    #[must_use]
    pub fn http(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }

    /// `ws(s)://…`.
    #[must_use]
    pub fn websocket(&self) -> String {
        format!("{}://{}", if self.secure { "wss" } else { "ws" }, self.authority)
    }

    /// Whether it is https.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }
}

fn is_authority(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte))
}

/// As configured, else as the request came, else as the server guesses.
impl FromRequestParts<Api> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let configured = api.config.public_url.as_ref();
        Ok(configured.or(parts.extensions.get()).unwrap_or(&api.config.fallback_url).clone())
    }
}

/// The address of whoever is calling, past the proxies that are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let told = parts.extensions.get().copied();
        let socket = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| Self(peer.0.ip()));
        Ok(told.or_else(socket).unwrap_or(Self(Ipv4Addr::UNSPECIFIED.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_no_path_and_no_surprises() {
        let read = |text: &str| Origin::parse(text).map(|origin| origin.websocket());
        assert_eq!(read("https://meet.example.org/"), Some("wss://meet.example.org".into()));
        assert_eq!(read("http://[::1]:8080"), Some("ws://[::1]:8080".into()));
        for wrong in ["meet.example.org", "ftp://a", "https://", "https://a/b", "https://a b", "https://u@h"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_websocket_may_have_a_path_but_nothing_that_changes_a_header() {
        let read = |text: &str| Origin::of_websocket(text).map(|origin| origin.http());
        assert_eq!(read("wss://sfu.example.org/path"), Some("https://sfu.example.org".into()));
        assert_eq!(read("ws://127.0.0.1:7880"), Some("http://127.0.0.1:7880".into()));
        for wrong in ["https://a", "wss://büro.example", "wss://a; script-src *", "wss://a/b c", "wss://a/;x"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hosts_have_no_port() {
        for (text, host) in [("http://a:80", "a"), ("http://a", "a"), ("http://[::1]:8080", "[::1]")] {
            assert_eq!(Origin::parse(text).unwrap().host(), host);
        }
    }
}
