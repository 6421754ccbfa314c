//! STUN messages (RFC 8489 §5, §14) with the methods and attributes of TURN (RFC 8656 §17, §18), and what a machine asks a
//! STUN server about itself.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

/// First bytes of the transaction in every message of RFC 5389 and later.
pub(crate) const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
pub(crate) const HEADER_LEN: usize = 20;
/// An HMAC-SHA1.
const INTEGRITY_LEN: usize = 20;

/// Cookie and transaction id, as they stand in the header; addresses are mixed with them.
pub(crate) type Transaction = [u8; 16];
/// The key of long-term credentials: MD5 of `username:realm:password` (RFC 8489 §9.2.2).
pub(crate) type Key = [u8; 16];

/// What a message wants.
pub(crate) mod method {
    pub(crate) const BINDING: u16 = 0x001;
    pub(crate) const ALLOCATE: u16 = 0x003;
    pub(crate) const REFRESH: u16 = 0x004;
    pub(crate) const SEND: u16 = 0x006;
    pub(crate) const DATA: u16 = 0x007;
    pub(crate) const CREATE_PERMISSION: u16 = 0x008;
    pub(crate) const CHANNEL_BIND: u16 = 0x009;
}

/// What an attribute holds.
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(crate) const LIFETIME: u16 = 0x000d;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(crate) const EVEN_PORT: u16 = 0x0018;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const RESERVATION_TOKEN: u16 = 0x0022;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
}

/// The kind of a message, beside its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

impl Class {
    /// As it stands between the bits of the method.
    fn bits(self) -> u16 {
        match self {
            Self::Request => 0x000,
            Self::Indication => 0x010,
            Self::Success => 0x100,
            Self::Error => 0x110,
        }
    }
}

/// A message whose attributes all lie within it.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) method: u16,
    pub(crate) class: Class,
    pub(crate) transaction: Transaction,
    bytes: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins, or the end: what comes later was signed by nobody, and is not read.
    signed: usize,
}

impl<'a> Message<'a> {
    /// Reads a message that is `bytes`, no less and no more.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let [t1, t2, l1, l2, transaction @ ..] = *header;
        if t1 > 0x3f || usize::from(u16::from_be_bytes([l1, l2])) != rest.len() || transaction[..4] != COOKIE
        {
            return None;
        }
        let kind = u16::from_be_bytes([t1, t2]);
        let class = match kind & 0x110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        };
        let method = (kind & 0x000f) | ((kind & 0x00e0) >> 1) | ((kind & 0x3e00) >> 2);
        let mut signed = None;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let (attribute, value, tail) = split_attribute(rest)?;
            match attribute {
                attribute::MESSAGE_INTEGRITY if value.len() != INTEGRITY_LEN => return None,
                attribute::MESSAGE_INTEGRITY => _ = signed.get_or_insert(at),
                attribute::FINGERPRINT if !tail.is_empty() || value != fingerprint(bytes, at) => return None,
                _ => {}
            }
            rest = tail;
        }
        Some(Self { method, class, transaction, bytes, signed: signed.unwrap_or(bytes.len()) })
    }

    /// What was signed, or, in a message that is not, everything.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.bytes.get(HEADER_LEN..self.signed).unwrap_or_default();
        std::iter::from_fn(move || {
            let (attribute, value, tail) = split_attribute(rest)?;
            rest = tail;
            Some((attribute, value))
        })
    }

    /// The first one of that type.
    pub(crate) fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(attribute, _)| *attribute == wanted).map(|(_, value)| value)
    }

    /// The same, as text.
    pub(crate) fn text(&self, wanted: u16) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(wanted)?).ok()
    }

    /// The first attribute that the sender wants understood and that is not. DONT-FRAGMENT is one: packets may be cut.
    pub(crate) fn unknown(&self) -> Option<u16> {
        const KNOWN: [u16; 11] = [
            attribute::USERNAME,
            attribute::REALM,
            attribute::NONCE,
            attribute::CHANNEL_NUMBER,
            attribute::LIFETIME,
            attribute::XOR_PEER_ADDRESS,
            attribute::DATA,
            attribute::REQUESTED_ADDRESS_FAMILY,
            attribute::EVEN_PORT,
            attribute::REQUESTED_TRANSPORT,
            attribute::RESERVATION_TOKEN,
        ];
        // RFC 8489 §14: the upper half of all types may be ignored.
        self.attributes().map(|(kind, _)| kind).find(|kind| *kind < 0x8000 && !KNOWN.contains(kind))
    }

    /// Whether there is a signature.
    pub(crate) fn is_signed(&self) -> bool {
        self.signed < self.bytes.len()
    }

    /// Whether it was signed with that key.
    pub(crate) fn is_signed_with(&self, key: &Key) -> bool {
        let tag = self.bytes.get(self.signed + 4..self.signed + 4 + INTEGRITY_LEN);
        tag.is_some_and(|tag| {
            let right = integrity(&self.bytes[..self.signed], key);
            constant_time::verify_slices_are_equal(right.as_ref(), tag).is_ok()
        })
    }
}

/// Type and value of the first attribute, and what follows. `None` at the end, or where it is cut.
fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([t1, t2, l1, l2], rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([*l1, *l2]));
    let value = rest.get(..len)?;
    // Some leave the padding of the last one out.
    let tail = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_be_bytes([*t1, *t2]), value, tail))
}

/// HMAC of a message that ends here, as if MESSAGE-INTEGRITY were in its length already (RFC 8489 §14.5).
fn integrity(before: &[u8], key: &Key) -> hmac::Tag {
    let mut context =
        hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_slice()));
    let len = before.len() - HEADER_LEN + 4 + INTEGRITY_LEN;
    context.update(&before[..2]);
    context.update(&(len as u16).to_be_bytes());
    context.update(&before[4..]);
    context.sign()
}

/// The checksum that tells STUN from other protocols, over what is before `at` (RFC 8489 §14.7).
fn fingerprint(bytes: &[u8], at: usize) -> [u8; 4] {
    (crc32fast::hash(&bytes[..at]) ^ 0x5354_554e).to_be_bytes()
}

/// An address out of an attribute `XOR-…-ADDRESS`.
pub(crate) fn read_address(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let (&[_, family, p1, p2], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p1, p2]) ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    let ip = match family {
        1 => IpAddr::from(mixed(<[u8; 4]>::try_from(address).ok()?, transaction)),
        2 => IpAddr::from(mixed(<[u8; 16]>::try_from(address).ok()?, transaction)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn mixed<const N: usize>(mut address: [u8; N], transaction: &Transaction) -> [u8; N] {
    address.iter_mut().zip(transaction).for_each(|(byte, other)| *byte ^= other);
    address
}

/// Writes a message at the end of a buffer.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: Transaction,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, class: Class, method: u16, transaction: Transaction) -> Self {
        let start = out.len();
        let kind = class.bits() | (method & 0x000f) | ((method & 0x0070) << 1) | ((method & 0x0f80) << 2);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&transaction);
        Self { out, start, transaction }
    }

    pub(crate) fn attribute(self, attribute: u16, value: &[u8]) -> Self {
        self.out.extend_from_slice(&attribute.to_be_bytes());
        self.out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        self.append(&[0; 3][..value.len().next_multiple_of(4) - value.len()])
    }

    pub(crate) fn address(self, attribute: u16, address: SocketAddr) -> Self {
        let port = (address.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]])).to_be_bytes();
        let transaction = self.transaction;
        match address.ip() {
            IpAddr::V4(ip) => {
                let ip = mixed(ip.octets(), &transaction);
                self.attribute(attribute, &[&[0, 1], port.as_slice(), &ip].concat())
            }
            IpAddr::V6(ip) => {
                let ip = mixed(ip.octets(), &transaction);
                self.attribute(attribute, &[&[0, 2], port.as_slice(), &ip].concat())
            }
        }
    }

    /// Attributes that are written already.
    pub(crate) fn append(self, attributes: &[u8]) -> Self {
        self.out.extend_from_slice(attributes);
        let len = self.out.len() - self.start - HEADER_LEN;
        self.out[self.start + 2..self.start + 4].copy_from_slice(&(len as u16).to_be_bytes());
        self
    }

    pub(crate) fn sign(self, key: &Key) {
        let tag = integrity(&self.out[self.start..], key);
        self.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref());
    }
}

/// Asks a STUN server where a message seems to come from. `id`: random.
pub fn binding_request(id: [u8; 12]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes, Class::Request, method::BINDING, transaction(id)).append(&[]);
    bytes
}

/// What the server has answered to the request of that id; `None` if this is something else.
pub fn mapped_address(bytes: &[u8], id: [u8; 12]) -> Option<SocketAddr> {
    let message = Message::parse(bytes)?;
    let is_answer = (message.class, message.method) == (Class::Success, method::BINDING);
    let value = message.attribute(attribute::XOR_MAPPED_ADDRESS)?;
    let is_ours = message.transaction == transaction(id);
    if is_answer && is_ours { read_address(value, &message.transaction) } else { None }
}

fn transaction(id: [u8; 12]) -> Transaction {
    let mut transaction = [0; 16];
    transaction[..4].copy_from_slice(&COOKIE);
    transaction[4..].copy_from_slice(&id);
    transaction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.4: a request with long-term authentication.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x60\x21\x12\xa4\x42\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
        \x00\x06\x00\x12\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9\x00\x00\
        \x00\x15\x00\x1cf//499k954d6OL34oL9FSTvy64sA\x00\x14\x00\x0bexample.org\x00\
        \x00\x08\x00\x14\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66";

    fn sample_key(password: &str) -> Key {
        use md5::Digest;
        md5::Md5::digest(format!("\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}:example.org:{password}"))
            .into()
    }

    #[test]
    fn the_rfcs_sample_is_read_and_its_signature_holds() {
        let message = Message::parse(SAMPLE).expect("well-formed");
        assert_eq!((message.method, message.class), (method::BINDING, Class::Request));
        assert_eq!(message.text(attribute::REALM), Some("example.org"));
        assert_eq!(message.text(attribute::NONCE), Some("f//499k954d6OL34oL9FSTvy64sA"));
        assert!(message.is_signed() && message.is_signed_with(&sample_key("TheMatrIX")));
        assert!(!message.is_signed_with(&sample_key("TheMatrIx")));
    }

    #[test]
    fn what_was_written_is_read() {
        let transaction = *b"\x21\x12\xa4\x42abcdefghijkl";
        let mut out = b"before".to_vec();
        let addresses: [SocketAddr; 2] =
            ["192.0.2.1:7882".parse().expect("right"), "[2001:db8::1]:7882".parse().expect("right")];
        let mut writer = Writer::new(&mut out, Class::Success, method::CREATE_PERMISSION, transaction);
        for address in addresses {
            writer = writer.address(attribute::XOR_PEER_ADDRESS, address);
        }
        writer.attribute(attribute::NONCE, b"odd").sign(&[1; 16]);
        let message = Message::parse(&out[6..]).expect("well-formed");
        assert_eq!((message.method, message.class), (method::CREATE_PERMISSION, Class::Success));
        assert!(message.is_signed_with(&[1; 16]) && !message.is_signed_with(&[2; 16]));
        assert_eq!(message.text(attribute::NONCE), Some("odd"));
        let read = message
            .attributes()
            .filter(|(kind, _)| *kind == attribute::XOR_PEER_ADDRESS)
            .map(|(_, value)| read_address(value, &transaction).expect("an address"));
        assert_eq!(read.collect::<Vec<_>>(), addresses);
    }

    #[test]
    fn a_machine_learns_where_it_is_seen() {
        let id = *b"abcdefghijkl";
        let request = binding_request(id);
        let message = Message::parse(&request).expect("well-formed");
        assert_eq!((message.method, message.class), (method::BINDING, Class::Request));
        let seen: SocketAddr = "203.0.113.9:7882".parse().expect("right");
        let mut answer = Vec::new();
        Writer::new(&mut answer, Class::Success, method::BINDING, message.transaction)
            .address(attribute::XOR_MAPPED_ADDRESS, seen);
        assert_eq!(mapped_address(&answer, id), Some(seen));
        assert_eq!(mapped_address(&answer, *b"abcdefghijkx"), None, "of another request");
        assert_eq!(mapped_address(&request, id), None, "not an answer");
    }

    #[test]
    fn what_is_cut_or_changed_is_not_a_message() {
        assert!(Message::parse(&SAMPLE[..SAMPLE.len() - 1]).is_none());
        assert!(Message::parse(&[SAMPLE, b"x"].concat()).is_none());
        let mut with_cookie = SAMPLE.to_vec();
        with_cookie[4] ^= 1;
        assert!(Message::parse(&with_cookie).is_none());
        // A fingerprint, right and wrong.
        let mut marked = SAMPLE.to_vec();
        marked[3] += 8;
        let sum = fingerprint(&marked, SAMPLE.len());
        marked.extend_from_slice(&[0x80, 0x28, 0, 4]);
        marked.extend_from_slice(&sum);
        assert!(Message::parse(&marked).is_some_and(|m| m.is_signed_with(&sample_key("TheMatrIX"))));
        *marked.last_mut().expect("not empty") ^= 1;
        assert!(Message::parse(&marked).is_none());
    }

    #[test]
    fn what_follows_the_signature_is_not_read() {
        let mut longer = SAMPLE.to_vec();
        longer[3] += 8;
        longer.extend_from_slice(&[0, 0x0d, 0, 4, 0, 0, 0, 1]);
        let message = Message::parse(&longer).expect("well-formed");
        assert_eq!(message.attribute(attribute::LIFETIME), None);
    }
}
