//! What clients are told of the relay.

use std::net::SocketAddr;

use livekit_protocol as proto;

use super::Secret;

/// Addresses of the relay, and what makes credentials for it.
#[derive(Debug, Clone)]
pub struct Announcement {
    plain: Vec<String>,
    tls: Option<String>,
    secret: Secret,
}

impl Announcement {
    /// `plain`: addresses where the relay is reached over UDP and TCP. `tls`: name and port of the relay over TLS.
    /// Where there is TLS, TCP without is not told: whatever lets the one through lets the other.
    pub fn new(plain: &[SocketAddr], tls: Option<(&str, u16)>, secret: Secret) -> Self {
        let over = |transport: &'static str| {
            plain.iter().map(move |address| format!("turn:{address}?transport={transport}"))
        };
        let plain =
            if tls.is_some() { over("udp").collect() } else { over("udp").chain(over("tcp")).collect() };
        let tls = tls.map(|(domain, port)| format!("turns:{domain}:{port}?transport=tcp"));
        Self { plain, tls, secret }
    }

    /// Whether the relay is reached over TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// For a participant, with credentials from now on. `only_tls`: nothing else gets through to it.
    pub fn ice_servers(&self, sid: &str, unix_s: u64, only_tls: bool) -> Vec<proto::IceServer> {
        let plain = self.plain.iter().filter(|_| !(only_tls && self.has_tls()));
        let urls: Vec<String> = plain.chain(&self.tls).cloned().collect();
        if urls.is_empty() {
            return Vec::new();
        }
        let credentials = self.secret.issue(sid, unix_s);
        vec![proto::IceServer { urls, username: credentials.username, credential: credentials.password }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(tls: Option<(&str, u16)>, only_tls: bool) -> Vec<String> {
        let plain = ["192.0.2.1:3478", "[2001:db8::1]:3478"].map(|text| text.parse().expect("an address"));
        let announcement = Announcement::new(&plain, tls, Secret::new(&[1; 32]));
        announcement.ice_servers("PA_a", 1_000, only_tls).remove(0).urls
    }

    #[test]
    fn clients_are_told_each_way_once() {
        let udp = ["turn:192.0.2.1:3478?transport=udp", "turn:[2001:db8::1]:3478?transport=udp"];
        let tcp = ["turn:192.0.2.1:3478?transport=tcp", "turn:[2001:db8::1]:3478?transport=tcp"];
        let tls = "turns:turn.example.org:5349?transport=tcp";
        assert_eq!(urls(None, false), [udp, tcp].concat());
        assert_eq!(urls(None, true), [udp, tcp].concat(), "better than nothing");
        assert_eq!(urls(Some(("turn.example.org", 5349)), false), [&udp[..], &[tls]].concat());
        assert_eq!(urls(Some(("turn.example.org", 5349)), true), [tls]);
        assert_eq!(Announcement::new(&[], None, Secret::new(&[1; 32])).ice_servers("PA_a", 0, false), []);
    }
}
