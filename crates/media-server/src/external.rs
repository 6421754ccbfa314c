//! The address under which the world sees this machine, as a STUN server says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use plenum_media::stun::{binding_request, mapped_address};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::{Config, socket};

/// A server is asked this often …
const TRIES: usize = 3;
/// … and has this long for an answer each time.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest answer that is read.
const ANSWER_LEN: usize = 1500;

/// What the first server says that answers; `None`, with a warning, if none does.
pub(crate) async fn address(config: &Config) -> Option<IpAddr> {
    for server in &config.stun_servers {
        match ask(config, server).await {
            Ok(seen) => {
                if config.udp_port != 0 && seen.port() != config.udp_port {
                    tracing::warn!(
                        udp.port = config.udp_port,
                        "This machine is behind address translation that changes ports: forward the UDP port to it"
                    );
                }
                return Some(seen.ip());
            }
            Err(error) => tracing::warn!(server, %error, "A STUN server does not answer"),
        }
    }
    if !config.stun_servers.is_empty() {
        tracing::warn!(
            "No STUN server has told the address of this machine: clients are told those of its interfaces. \
             Check the servers and that UDP gets out, or set the address itself"
        );
    }
    None
}

/// Asks from the media port, before it is open for media: address translation may treat each port in its own way.
async fn ask(config: &Config, server: &str) -> std::io::Result<SocketAddr> {
    let own = socket::bind(config.bind, config.udp_port, 1)?.remove(0);
    let is_ipv6 = own.local_addr()?.is_ipv6();
    let own = UdpSocket::from_std(own)?;
    let id = rand::random();
    let request = binding_request(id);
    let mut answer = [0; ANSWER_LEN];
    for server in lookup_host(server).await?.filter(|server| is_ipv6 || server.is_ipv4()).take(TRIES) {
        let to = match server.ip() {
            IpAddr::V4(ip) if is_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), server.port()),
            _ => server,
        };
        for _ in 0..TRIES {
            if own.send_to(&request, to).await.is_err() {
                break;
            }
            let wait = async {
                loop {
                    let (len, from) = own.recv_from(&mut answer).await?;
                    if let Some(seen) = mapped_address(&answer[..len], id).filter(|_| from == to) {
                        return Ok::<_, std::io::Error>(seen);
                    }
                }
            };
            if let Ok(Ok(seen)) = timeout(PATIENCE, wait).await {
                return Ok(SocketAddr::new(seen.ip().to_canonical(), seen.port()));
            }
        }
    }
    Err(std::io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BindScope, interfaces};

    /// A config that asks a server at that address.
    fn asking(servers: Vec<String>) -> Config {
        Config { stun_servers: servers, bind: BindScope::Loopback, udp_port: 0, ..Config::default() }
    }

    #[tokio::test]
    async fn what_a_server_says_is_told() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = server.local_addr().expect("bound").to_string();
        let answering = tokio::spawn(async move {
            let mut request = [0; ANSWER_LEN];
            for number in 0.. {
                let Ok((len, from)) = server.recv_from(&mut request).await else { return };
                // Something else first, and the first request is lost.
                let _ = server.send_to(b"something else", from).await;
                if number == 0 {
                    continue;
                }
                let mut answer = request[..len].to_vec();
                (answer[0], answer[3]) = (1, 12);
                // 203.0.113.9:7882, mixed with the cookie.
                answer.extend_from_slice(&[0, 0x20, 0, 8, 0, 1, 0x1e ^ 0x21, 0xca ^ 0x12]);
                answer.extend_from_slice(&[203 ^ 0x21, 0x12, 113 ^ 0xa4, 9 ^ 0x42]);
                let _ = server.send_to(&answer, from).await;
            }
        });
        let told = interfaces::addresses(&asking(vec![address])).await.expect("an address");
        assert_eq!(told, ["203.0.113.9".parse::<IpAddr>().expect("an address")]);
        answering.abort();
    }

    #[tokio::test]
    async fn without_an_answer_it_is_what_the_interfaces_say() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let servers = vec!["absent.invalid:3478".into(), silent.local_addr().expect("bound").to_string()];
        tokio::time::pause();
        let told = interfaces::addresses(&asking(servers)).await.expect("an address");
        assert_eq!(told, ["127.0.0.1".parse::<IpAddr>().expect("an address")]);
    }
}
