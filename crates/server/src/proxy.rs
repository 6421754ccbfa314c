//! Where a request comes from and how it reached us. What a proxy in front says is believed only from a trusted proxy; from
//! others it is removed.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use plenum_api::{ClientAddress, Origin};

use crate::config::Network;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is known of the way to us.
pub(crate) struct Front {
    /// Proxies that are believed.
    pub(crate) trusted: Vec<Network>,
    /// This server speaks TLS itself.
    pub(crate) tls: bool,
}

/// Puts [`Origin`] and [`ClientAddress`] into the request's extensions.
pub(crate) async fn forwarded(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let uri = request.uri().clone();
    let (origin, client) = front.read(peer.ip().to_canonical(), &uri, request.headers_mut());
    if let Some(origin) = origin {
        request.extensions_mut().insert(origin);
    }
    request.extensions_mut().insert(ClientAddress(client));
    request.extensions_mut().insert(plenum_messaging_server::ClientAddress(client));
    next.run(request).await
}

impl Front {
    fn read(&self, peer: IpAddr, uri: &Uri, headers: &mut HeaderMap) -> (Option<Origin>, IpAddr) {
        let mut secure = self.tls;
        let mut client = peer;
        if self.trusts(peer) {
            // Of a list, the last value is the one that the trusted proxy wrote.
            if let Some(proto) = last(headers, &FORWARDED_PROTO) {
                secure = proto.eq_ignore_ascii_case("https");
            }
            if let Some(host) =
                last(headers, &FORWARDED_HOST).and_then(|host| HeaderValue::from_str(host).ok())
            {
                headers.insert(header::HOST, host);
            }
            client = self.client(peer, headers);
        } else {
            headers.remove(FORWARDED_HOST);
            headers.remove(FORWARDED_PROTO);
            headers.remove(FORWARDED_FOR);
        }
        // HTTP/2 names the authority in the address and has no `Host` of its own.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = host.or(uri.authority().map(Authority::as_str));
        (authority.and_then(|authority| Origin::new(secure, authority)), client)
    }

    /// The nearest address that no trusted proxy has.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let named = headers.get_all(FORWARDED_FOR);
        let named: Vec<&str> =
            named.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
        let mut client = peer;
        for address in named.into_iter().rev() {
            let Ok(address) = address.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.0.contains(&address))
    }
}

fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(front: &Front, peer: &str, uri: &str, headers: &[(&'static str, &str)]) -> (String, String) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let (origin, client) = front.read(peer.parse().unwrap(), &uri.parse().unwrap(), &mut map);
        (origin.map(|origin| origin.http()).unwrap_or_default(), client.to_string())
    }

    fn behind_a_proxy() -> Front {
        Front { trusted: vec![Network("10.0.0.0/8".parse().unwrap())], tls: false }
    }

    #[test]
    fn a_trusted_proxy_says_how_and_from_where() {
        let said = [
            ("host", "127.0.0.1:8080"),
            ("x-forwarded-host", "meet.example.org"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "1.2.3.4, 203.0.113.9, 10.0.0.7"),
        ];
        let (origin, client) = read(&behind_a_proxy(), "10.0.0.1", "/", &said);
        assert_eq!(origin, "https://meet.example.org");
        // 1.2.3.4 is what the client wrote itself.
        assert_eq!(client, "203.0.113.9");
    }

    #[test]
    fn nobody_else_does() {
        let said = [
            ("host", "a:1"),
            ("x-forwarded-host", "b"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "1.2.3.4"),
        ];
        let (origin, client) = read(&behind_a_proxy(), "203.0.113.9", "/", &said);
        assert_eq!((origin.as_str(), client.as_str()), ("http://a:1", "203.0.113.9"));
    }

    #[test]
    fn http2_names_the_authority_in_its_address() {
        let front = Front { trusted: Vec::new(), tls: true };
        assert_eq!(
            read(&front, "203.0.113.9", "https://meet.example.org/x", &[]).0,
            "https://meet.example.org"
        );
        assert_eq!(read(&front, "203.0.113.9", "/x", &[("host", "a b")]).0, "");
    }
}
