//! A session as its client sees it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::fuzz::{Client, PORT, Said, transaction};
use super::{NoRelay, Peers, Reaction, Transport};
use crate::stun::{Class, Message, Writer, attribute, method, read_address};

const MEDIA: &str = "10.0.0.5:7882";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn client() -> Client {
    let media = ["10.0.0.5:7882", "[2001:db8::5]:7882"].map(|text| (address(text), address(text)));
    let allow = ["198.51.100.0/24".parse().expect("a network")];
    Client::new(Peers::new(media, allow, [], []), Transport::Datagram, Instant::now())
}

fn allocated() -> Client {
    let mut client = client();
    assert_eq!(code(&client.allocate()), None);
    client
}

/// One attribute, as it stands in a message.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    Writer::new(&mut message, Class::Request, 0, transaction(0)).attribute(kind, value);
    message.split_off(20)
}

fn peer(client: &Client, text: &str) -> Vec<u8> {
    let mut message = Vec::new();
    let transaction = transaction(client.transactions_so_far() + 1);
    Writer::new(&mut message, Class::Request, 0, transaction)
        .address(attribute::XOR_PEER_ADDRESS, address(text));
    message.split_off(20)
}

/// The error code of a reply; `None` of a success.
fn code(reply: &[u8]) -> Option<u16> {
    let reply = Message::parse(reply).expect("a reply is a message");
    match (reply.class, reply.attribute(attribute::ERROR_CODE)) {
        (Class::Success, None) => None,
        (Class::Error, Some([_, _, hundreds, rest, ..])) => {
            Some(u16::from(*hundreds) * 100 + u16::from(*rest))
        }
        _ => panic!("neither success nor error"),
    }
}

fn asked(client: &mut Client, method: u16, attributes: &[u8]) -> Option<u16> {
    code(&client.request(method, attributes).reply.expect("requests are answered"))
}

fn permit(client: &mut Client, text: &str) -> Option<u16> {
    let peer = peer(client, text);
    asked(client, method::CREATE_PERMISSION, &peer)
}

fn bind(client: &mut Client, number: u16, text: &str) -> Option<u16> {
    let number = attribute(attribute::CHANNEL_NUMBER, &[&number.to_be_bytes()[..], &[0, 0]].concat());
    let peer = peer(client, text);
    asked(client, method::CHANNEL_BIND, &[number, peer].concat())
}

/// A Send indication.
fn send(client: &mut Client, text: &str, payload: &[u8]) -> Said {
    let mut message = Vec::new();
    Writer::new(&mut message, Class::Indication, method::SEND, transaction(0))
        .address(attribute::XOR_PEER_ADDRESS, address(text))
        .attribute(attribute::DATA, payload);
    client.say(&message)
}

fn forwarded(to: &str, payload: &[u8]) -> Said {
    Said { reply: None, forwarded: Some((address(to), payload.to_vec())) }
}

/// What the client gets when a peer sends.
fn heard(client: &Client, from: &str, payload: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    client.session.handle_peer(client.now, address(from), payload, &mut out).then_some(out)
}

#[test]
fn anybody_hears_where_they_come_from() {
    let mut client = client();
    let mut message = Vec::new();
    Writer::new(&mut message, Class::Request, method::BINDING, transaction(1));
    let reply = client.say(&message).reply.expect("an answer");
    let reply = Message::parse(&reply).expect("a message");
    let mapped = reply.attribute(attribute::XOR_MAPPED_ADDRESS).expect("the address");
    assert_eq!(read_address(mapped, &transaction(1)), Some(address("198.51.100.1:5000")));
}

#[test]
fn an_allocation_needs_good_credentials() {
    let mut client = client();
    let reply = client.allocate();
    let reply = Message::parse(&reply).expect("a message");
    assert!(reply.class == Class::Success && reply.is_signed_with(&client.key));
    let relayed = reply.attribute(attribute::XOR_RELAYED_ADDRESS).expect("an address");
    let relayed = read_address(relayed, &reply.transaction).expect("an address");
    assert_eq!(relayed, SocketAddr::new(address(MEDIA).ip(), PORT));
    assert_eq!(reply.attribute(attribute::LIFETIME), Some(&[0, 0, 2, 88][..]), "ten minutes");

    let refused = |change: fn(&mut Client)| {
        let mut client = self::client();
        client.allocate();
        client.session = self::client().session;
        change(&mut client);
        let said =
            client.request(method::ALLOCATE, &attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]));
        assert!(!client.session.is_allocated(client.now));
        code(&said.reply.expect("an answer"))
    };
    assert_eq!(refused(|client| client.key = [1; 16]), Some(401), "a wrong password");
    assert_eq!(refused(|client| client.credentials.username.push('x')), Some(401), "a name of nobody's");
    assert_eq!(refused(|client| client.credentials.username = "PA_client".to_owned()), Some(401));
    assert_eq!(refused(|client| client.unix_s += 4 * 3_600 + 1), Some(438), "an old nonce");
    assert_eq!(
        refused(|client| {
            client.unix_s += 4 * 3_600 + 1;
            let mut bare = Vec::new();
            Writer::new(&mut bare, Class::Request, method::ALLOCATE, transaction(900));
            let reply = client.say(&bare).reply.expect("a challenge");
            assert_eq!(code(&reply), Some(401));
            client.nonce =
                Message::parse(&reply).and_then(|m| m.attribute(attribute::NONCE)).expect("a nonce").to_vec();
        }),
        Some(401),
        "credentials whose time is over"
    );
}

#[test]
fn what_was_made_goes_on_after_the_credentials_time() {
    let mut client = allocated();
    for _ in 0..60 {
        client.now += Duration::from_secs(599);
        client.unix_s += 599;
        if asked(&mut client, method::REFRESH, &[]) == Some(438) {
            let mut bare = Vec::new();
            Writer::new(&mut bare, Class::Request, method::REFRESH, transaction(900));
            let reply = client.say(&bare).reply.expect("a challenge");
            client.nonce =
                Message::parse(&reply).and_then(|m| m.attribute(attribute::NONCE)).expect("a nonce").to_vec();
            assert_eq!(asked(&mut client, method::REFRESH, &[]), None);
        }
    }
    assert_eq!(permit(&mut client, MEDIA), None);
    assert_eq!(send(&mut client, MEDIA, b"on"), forwarded(MEDIA, b"on"));
}

#[test]
fn what_an_allocation_may_be_is_checked() {
    let udp = attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let refused = |attributes: &[&[u8]]| {
        let mut client = client();
        client.allocate();
        client.session = self::client().session;
        asked(&mut client, method::ALLOCATE, &attributes.concat())
    };
    assert_eq!(refused(&[]), Some(400), "no transport");
    assert_eq!(refused(&[&attribute(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0])]), Some(442), "TCP");
    assert_eq!(refused(&[&udp, &attribute(attribute::EVEN_PORT, &[0])]), None);
    assert_eq!(refused(&[&udp, &attribute(attribute::EVEN_PORT, &[0x80])]), Some(508), "and the next one");
    assert_eq!(refused(&[&udp, &attribute(attribute::RESERVATION_TOKEN, &[0; 8])]), Some(508));
    assert_eq!(refused(&[&udp, &attribute(0x001a, &[])]), Some(420), "uncut packets");
    assert_eq!(refused(&[&udp, &attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0])]), Some(440));
    assert_eq!(refused(&[&udp, &attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])]), None);
    assert_eq!(refused(&[&udp, &attribute(0x8022, b"some client")]), None, "what may be ignored is");
}

#[test]
fn a_server_without_ipv6_says_so() {
    let media = (address(MEDIA), address(MEDIA));
    let mut client = Client::new(Peers::new([media], [], [], []), Transport::Datagram, Instant::now());
    client.allocate();
    client.session.expire();
    let wanted = attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let udp = attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    assert_eq!(asked(&mut client, method::ALLOCATE, &[udp, wanted].concat()), Some(440));
}

#[test]
fn a_request_that_comes_twice_makes_one_allocation() {
    let mut client = client();
    client.allocate();
    client.session.expire();
    let udp = attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let message = client.signed(method::ALLOCATE, transaction(70), &udp);
    let first = client.say(&message);
    assert_eq!(code(first.reply.as_ref().expect("an answer")), None);
    assert_eq!(client.say(&message), first, "the answer may have been lost");
    assert_eq!(asked(&mut client, method::ALLOCATE, &udp), Some(437), "another one");
}

#[test]
fn there_may_be_no_address_left() {
    for (why, wanted) in [(NoRelay::Quota, 486), (NoRelay::Capacity, 508)] {
        let mut client = client();
        client.allocate();
        client.session.expire();
        let udp = attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        let message = client.signed(method::ALLOCATE, transaction(70), &udp);
        let Reaction::Allocate(request) = client.session.handle_client(client.now, client.unix_s, &message)
        else {
            panic!("it is asked for")
        };
        assert_eq!(request.sid, "PA_client");
        let reply = client.session.allocated(client.now, &request, Err(why));
        assert_eq!(code(&reply), Some(wanted));
        assert!(!client.session.is_allocated(client.now));
    }
}

#[test]
fn permissions_and_channels_lead_to_allowed_peers_only() {
    let mut client = allocated();
    assert_eq!(permit(&mut client, MEDIA), None);
    assert_eq!(permit(&mut client, "10.0.0.5:1"), None, "a permission has no port");
    assert_eq!(permit(&mut client, "198.51.100.7:9"), None);
    for forbidden in ["10.0.0.6:7882", "127.0.0.1:7882", "0.0.0.0:7882", "224.0.0.1:7882", "8.8.8.8:53"] {
        assert_eq!(permit(&mut client, forbidden), Some(403), "{forbidden}");
        assert_eq!(bind(&mut client, 0x4000, forbidden), Some(403), "{forbidden}");
        assert_eq!(send(&mut client, forbidden, b"x"), Said::default(), "{forbidden}");
    }
    assert_eq!(bind(&mut client, 0x4000, "10.0.0.5:22"), Some(403), "another port of this machine");
    assert_eq!(send(&mut client, "10.0.0.5:22", b"x"), Said::default());
    for other in ["[2001:db8::5]:7882", "[::ffff:10.0.0.5]:7882"] {
        assert_eq!(permit(&mut client, other), Some(443), "{other}");
        assert_eq!(bind(&mut client, 0x4000, other), Some(443), "{other}");
        assert_eq!(send(&mut client, other, b"x"), Said::default());
    }
    // One forbidden address among allowed ones forbids all.
    let both = [peer(&client, "198.51.100.8:9"), peer(&client, "10.0.0.6:9")].concat();
    assert_eq!(asked(&mut client, method::CREATE_PERMISSION, &both), Some(403));
    assert_eq!(send(&mut client, "198.51.100.8:9", b"x"), Said::default());
    assert_eq!(asked(&mut client, method::CREATE_PERMISSION, &[]), Some(400), "nobody named");
}

#[test]
fn data_flows_with_a_permission_and_stops_without() {
    let mut client = allocated();
    assert_eq!(send(&mut client, MEDIA, b"early"), Said::default());
    assert_eq!(heard(&client, MEDIA, b"early"), None);
    assert_eq!(permit(&mut client, MEDIA), None);
    assert_eq!(send(&mut client, MEDIA, b"now"), forwarded(MEDIA, b"now"));
    let indication = heard(&client, MEDIA, b"answer").expect("it is for the client");
    let indication = Message::parse(&indication).expect("a message");
    assert_eq!((indication.class, indication.method), (Class::Indication, method::DATA));
    assert_eq!(indication.attribute(attribute::DATA), Some(&b"answer"[..]));
    assert_eq!(heard(&client, "10.0.0.5:22", b"of another port"), None);
    assert_eq!(heard(&client, "198.51.100.7:9", b"of one without permission"), None);
    client.now += Duration::from_secs(300);
    assert_eq!(send(&mut client, MEDIA, b"late"), Said::default());
    assert_eq!(heard(&client, MEDIA, b"late"), None);
}

#[test]
fn a_channel_is_short_for_one_peer() {
    let mut client = allocated();
    assert_eq!(bind(&mut client, 0x4001, MEDIA), None);
    assert_eq!(client.say(&[0x40, 1, 0, 2, 7, 8]), forwarded(MEDIA, &[7, 8]));
    assert_eq!(client.say(&[0x40, 1, 0, 2, 7, 8, 0, 0]), forwarded(MEDIA, &[7, 8]), "padded");
    assert_eq!(client.say(&[0x40, 1, 0, 3, 7, 8]), Said::default(), "cut");
    assert_eq!(client.say(&[0x40, 2, 0, 2, 7, 8]), Said::default(), "no channel");
    assert_eq!(heard(&client, MEDIA, &[9]), Some(vec![0x40, 1, 0, 1, 9]));
    assert_eq!(bind(&mut client, 0x4001, "198.51.100.7:9"), Some(400), "it has a peer");
    assert_eq!(bind(&mut client, 0x4002, MEDIA), Some(400), "so has the peer");
    assert_eq!(bind(&mut client, 0x3fff, "198.51.100.7:9"), Some(400), "no channel number");
    assert_eq!(bind(&mut client, 0x7fff, "198.51.100.7:9"), Some(400));
    client.now += Duration::from_secs(599);
    assert_eq!(asked(&mut client, method::REFRESH, &[]), None);
    client.now += Duration::from_secs(1);
    assert_eq!(client.say(&[0x40, 1, 0, 1, 7]), Said::default(), "its time is over");
    assert_eq!(bind(&mut client, 0x4001, "198.51.100.7:9"), None);
}

#[test]
fn in_a_stream_channel_data_is_padded() {
    let media = (address(MEDIA), address(MEDIA));
    let mut client = Client::new(Peers::new([media], [], [], []), Transport::Stream, Instant::now());
    client.allocate();
    assert_eq!(bind(&mut client, 0x4001, MEDIA), None);
    assert_eq!(heard(&client, MEDIA, &[9]), Some(vec![0x40, 1, 0, 1, 9, 0, 0, 0]));
}

#[test]
fn an_allocation_ends() {
    let mut client = allocated();
    assert_eq!(client.session.next_timeout(), Some(client.now + Duration::from_secs(600)));
    assert_eq!(permit(&mut client, MEDIA), None);
    let mut other = allocated();
    assert_eq!(permit(&mut other, MEDIA), None);
    // By the client's word …
    assert_eq!(asked(&mut client, method::REFRESH, &attribute(attribute::LIFETIME, &[0; 4])), None);
    // … or because it said nothing more.
    other.now += Duration::from_secs(600);
    for client in [&mut client, &mut other] {
        assert!(!client.session.is_allocated(client.now));
        assert_eq!(heard(client, MEDIA, b"late"), None);
        assert_eq!(send(client, MEDIA, b"late"), Said::default());
        assert_eq!(permit(client, MEDIA), Some(437));
        assert_eq!(asked(client, method::REFRESH, &[]), Some(437));
    }
}

#[test]
fn only_who_made_it_changes_it() {
    let mut client = allocated();
    let own = client.credentials.clone();
    client.credentials.username = "9999999999:PA_other".to_owned();
    client.key = super::Secret::new(&[7; 32]).key(&client.credentials.username);
    assert_eq!(asked(&mut client, method::REFRESH, &[]), Some(441));
    assert_eq!(permit(&mut client, MEDIA), Some(441));
    client.credentials = own;
    assert_eq!(permit(&mut client, MEDIA), Some(401), "signed by another");
}

#[test]
fn permissions_and_channels_are_few() {
    let mut client = allocated();
    let codes: Vec<_> = (1..=40).map(|last| permit(&mut client, &format!("198.51.100.{last}:9"))).collect();
    assert_eq!(codes.iter().filter(|code| code.is_none()).count(), 32);
    assert_eq!(codes.last(), Some(&Some(508)));
    assert_eq!(permit(&mut client, "198.51.100.1:9"), None, "one that is there is refreshed");
    let codes: Vec<_> =
        (1..=40).map(|port| bind(&mut client, 0x4000 + port, &format!("198.51.100.1:{port}"))).collect();
    assert_eq!(codes.iter().filter(|code| code.is_none()).count(), 32);
}
