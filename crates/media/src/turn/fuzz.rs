//! The fuzz target, and the small client that it and the tests have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Credentials, MESSAGE_LEN_MAX, Peers, Reaction, Relay, Secret, Session, Transport, frame_len};
use crate::stun::{Class, HEADER_LEN, Key, Message, Transaction, Writer, attribute, method};

pub(super) const UNIX_S: u64 = 1_700_000_000;
/// The port that every allocation gets.
pub(super) const PORT: u16 = 50_000;

/// A client in front of a session, which answers at once.
pub(super) struct Client {
    pub(super) session: Session,
    pub(super) credentials: Credentials,
    pub(super) key: Key,
    pub(super) now: Instant,
    pub(super) unix_s: u64,
    pub(super) nonce: Vec<u8>,
    transactions: u64,
}

impl Client {
    /// With good credentials, and nothing said yet.
    pub(super) fn new(peers: Peers, transport: Transport, now: Instant) -> Self {
        let secret = Secret::new(&[7; 32]);
        let credentials = secret.issue("PA_client", UNIX_S);
        let relay = Arc::new(Relay::new(secret.clone(), &[8; 32], peers));
        let address = SocketAddr::from(([198, 51, 100, 1], 5000));
        Self {
            session: Session::new(relay, address, transport),
            key: secret.key(&credentials.username),
            credentials,
            now,
            unix_s: UNIX_S,
            nonce: Vec::new(),
            transactions: 0,
        }
    }

    /// Gets a nonce, and a relayed address.
    pub(super) fn allocate(&mut self) -> Vec<u8> {
        self.transactions += 1;
        let mut bare = Vec::new();
        Writer::new(&mut bare, Class::Request, method::ALLOCATE, transaction(self.transactions));
        if let Some(challenge) = self.say(&bare).reply {
            let challenge = Message::parse(&challenge).expect("a reply is a message");
            self.nonce = challenge.attribute(attribute::NONCE).unwrap_or_default().to_vec();
        }
        let udp: &[u8] = &[0, 0x19, 0, 4, 17, 0, 0, 0];
        self.request(method::ALLOCATE, udp).reply.expect("requests are answered")
    }

    /// Signs a request with these attributes, as they stand, and sends it.
    pub(super) fn request(&mut self, method: u16, attributes: &[u8]) -> Said {
        self.transactions += 1;
        let message = self.signed(method, transaction(self.transactions), attributes);
        self.say(&message)
    }

    /// A signed request.
    pub(super) fn signed(&self, method: u16, transaction: Transaction, attributes: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        Writer::new(&mut message, Class::Request, method, transaction)
            .attribute(attribute::USERNAME, self.credentials.username.as_bytes())
            .attribute(attribute::REALM, super::credentials::REALM.as_bytes())
            .attribute(attribute::NONCE, &self.nonce)
            .append(attributes)
            .sign(&self.key);
        message
    }

    /// How many requests it has sent.
    #[cfg(test)]
    pub(super) fn transactions_so_far(&self) -> u64 {
        self.transactions
    }

    /// Sends a message as it stands.
    pub(super) fn say(&mut self, message: &[u8]) -> Said {
        match self.session.handle_client(self.now, self.unix_s, message) {
            Reaction::Nothing => Said::default(),
            Reaction::Reply { bytes, .. } => Said { reply: Some(bytes), forwarded: None },
            Reaction::Forward { to, payload } => {
                assert!(payload.len() < message.len(), "nothing grows on its way");
                Said { reply: None, forwarded: Some((to, payload.to_vec())) }
            }
            Reaction::Allocate(request) => {
                let reply = self.session.allocated(self.now, &request, Ok(PORT));
                Said { reply: Some(reply), forwarded: None }
            }
        }
    }
}

/// What a message led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) reply: Option<Vec<u8>>,
    pub(super) forwarded: Option<(SocketAddr, Vec<u8>)>,
}

pub(super) fn transaction(number: u64) -> Transaction {
    let mut transaction = *b"\x21\x12\xa4\x42............";
    transaction[8..].copy_from_slice(&number.to_be_bytes());
    transaction
}

/// Body of the fuzz target `turn`: whatever a stranger, a client and a peer send does no harm, and nothing leaves for an
/// address that is not allowed. The input is a list of steps: a byte that says what happens, a length in two bytes, and
/// as many bytes. `epoch`: any time.
pub fn fuzz(epoch: Instant, input: &[u8]) {
    let media = SocketAddr::from(([192, 0, 2, 1], 7882));
    let mut client = Client::new(Peers::new([(media, media)], [], [], []), Transport::Stream, epoch);
    let mut rest = input;
    while let [what, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (bytes, after) = tail.split_at(len);
        rest = after;
        if let Ok(Some(len)) = frame_len(bytes) {
            assert!(len <= MESSAGE_LEN_MAX + 3);
        }
        let said = match what % 5 {
            0 => client.say(bytes),
            1 => Said { reply: Some(client.allocate()), forwarded: None },
            2 => client.request(u16::from(what / 5) % 12, &bytes[..len / 4 * 4]),
            3 => {
                let seconds = 60 * u64::from(bytes.first().copied().unwrap_or_default());
                client.now += Duration::from_secs(seconds);
                client.unix_s += seconds;
                Said::default()
            }
            _ => {
                let mut out = Vec::new();
                let from = if what / 5 % 2 == 0 { media } else { SocketAddr::from(([192, 0, 2, 1], 53)) };
                if client.session.handle_peer(client.now, from, bytes, &mut out) {
                    assert_eq!(from, media);
                    assert!(matches!(frame_len(&out), Ok(Some(len)) if len == out.len()));
                }
                Said::default()
            }
        };
        if let Some(reply) = said.reply {
            assert!(reply.len() >= HEADER_LEN && Message::parse(&reply).is_some());
        }
        assert!(said.forwarded.is_none_or(|(to, _)| to == media));
    }
}
