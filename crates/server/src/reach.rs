//! How this server is reached: by people, by its own media server, and by nobody at all, which it says at start.

use std::net::{IpAddr, SocketAddr};

use plenum_api::Origin;
use tracing::warn;

use crate::config::Config;

/// Where people reach the server, as far as the configuration tells.
pub(crate) fn shown_url(config: &Config) -> String {
    url_of(config, config.listen)
}

/// The same, of the address that is really listened on.
pub(crate) fn url_of(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if config.tls.cert.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", reachable(address))
}

/// An address to which this machine can connect.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port()),
        _ => address,
    }
}

/// Where browsers find the media server's signalling. It is told to them by a worker that knows nothing of their request, so
/// it cannot follow the name that they used for this server: only configuration can say that name (`public_url`). Without
/// it, it is the address that is listened on; and of a server that listens on all of them, the first that is told for media
/// too, because who does not reach that address gets no media anyway.
pub(crate) fn media_url(config: &Config, address: SocketAddr, candidates: &[IpAddr]) -> String {
    if let Some(url) = &config.livekit.public_url {
        return url.clone();
    }
    let address = match (address.ip().is_unspecified(), candidates.first()) {
        (true, Some(candidate)) => SocketAddr::new(*candidate, address.port()),
        _ => address,
    };
    origin(&url_of(config, address)).websocket()
}

/// An origin that we wrote ourselves.
pub(crate) fn origin(url: &str) -> Origin {
    Origin::parse(url).expect("an address or a checked public_url")
}

/// Says, with the key, why people may come and still not see or hear each other.
pub(crate) fn warn_about(config: &Config, candidates: Option<&[IpAddr]>) {
    for warning in warnings(config, candidates) {
        warn!("{warning}");
    }
}

/// `candidates`: the addresses that the embedded media server tells, if there is one.
fn warnings(config: &Config, candidates: Option<&[IpAddr]>) -> Vec<String> {
    let mut warnings = Vec::new();
    let only_here = config.listen.ip().is_loopback();
    let for_others = match &config.public_url {
        Some(url) => !is_local(origin(url).host()),
        None => !only_here || !config.proxy.trusted.is_empty(),
    };
    if !for_others {
        return warnings;
    }
    match &config.public_url {
        None => warnings.push(
            "public_url is not set: set it to the https address that people open. Browsers give camera and microphone only \
             to https pages, and find the media server only at that name"
                .to_owned(),
        ),
        Some(url) if !url.starts_with("https://") => warnings.push(
            "public_url is not https: browsers give camera and microphone only to https pages".to_owned(),
        ),
        Some(_) => {}
    }
    let Some(candidates) = candidates else { return warnings };
    if only_here {
        warnings.push(format!(
            "listen is {}, an address of this machine only, so media is offered to this machine only: nobody else gets \
             sound or picture. Set listen to 0.0.0.0:{} (and let only the proxy reach that port)",
            config.listen,
            config.listen.port()
        ));
    } else if config.media.node_ip.is_none() && candidates.iter().all(is_private) {
        let found: Vec<String> = candidates.iter().map(ToString::to_string).collect();
        warnings.push(format!(
            "media.node_ip is not set and only private addresses are found ({}): people outside this network get no sound \
             or picture. Set media.node_ip to the public address of this machine, or media.stun_servers to find it",
            found.join(", ")
        ));
    }
    warnings
}

fn is_local(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

fn is_private(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // RFC 6598: addresses that carriers share among customers.
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(public_url: Option<&str>, listen: &str, candidates: &[&str]) -> String {
        let config = Config {
            public_url: public_url.map(str::to_owned),
            listen: listen.parse().unwrap(),
            ..Config::default()
        };
        let candidates: Vec<IpAddr> = candidates.iter().map(|one| one.parse().unwrap()).collect();
        warnings(&config, Some(&candidates)).join("\n")
    }

    #[test]
    fn what_keeps_people_from_seeing_each_other_is_said_with_its_key() {
        assert_eq!(warned(None, "127.0.0.1:8080", &["127.0.0.1"]), "");
        assert_eq!(warned(Some("http://localhost:8080"), "127.0.0.1:8080", &["127.0.0.1"]), "");
        assert_eq!(
            warned(Some("https://meet.example.org"), "0.0.0.0:8080", &["10.0.0.1", "2001:db8::1"]),
            ""
        );
        assert!(warned(None, "0.0.0.0:8080", &["203.0.113.1"]).starts_with("public_url is not set"));
        let behind = warned(Some("http://meet.example.org"), "127.0.0.1:8080", &["127.0.0.1"]);
        assert!(behind.contains("public_url is not https") && behind.contains("listen is 127.0.0.1:8080"));
        let private = warned(
            Some("https://meet.example.org"),
            "0.0.0.0:8080",
            &["192.168.1.2", "100.64.0.1", "fd00::1"],
        );
        assert!(private.starts_with("media.node_ip is not set"), "{private}");
    }

    #[test]
    fn media_is_where_people_come_or_where_media_is() {
        let url = |config: &Config, candidates: &[IpAddr]| media_url(config, config.listen, candidates);
        let mut config = Config::default();
        let here = "192.168.1.2".parse().unwrap();
        assert_eq!(url(&config, &[here]), "ws://127.0.0.1:8080");
        config.listen = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(url(&config, &[here]), "ws://192.168.1.2:8080");
        config.public_url = Some("https://meet.example.org/".to_owned());
        assert_eq!(url(&config, &[here]), "wss://meet.example.org");
        config.livekit.public_url = Some("wss://sfu.example.org".to_owned());
        assert_eq!(url(&config, &[here]), "wss://sfu.example.org");
    }
}
