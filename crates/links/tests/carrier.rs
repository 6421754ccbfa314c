//! The links in real time do what the model says: as fast, as late, and with as much lost, in both ways.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use plenum_links::{Network, SERVER};
use plenum_media::bwe::Bitrate;
use plenum_sim::Conditions;

/// IP and UDP.
const HEADERS: usize = 28;
const PORT: u16 = 9_000;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A network of two people, or nothing where none can be made; in CI that is a failure.
fn network() -> Option<Network> {
    match Network::new(2) {
        Ok(network) => Some(network),
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            eprintln!("SKIPPED: {reason}");
            None
        }
    }
}

/// Sends packets of `len` bytes, headers and all, each `interval` later, and gives how long each that came took. `Down` is
/// from the server.
fn send(
    network: &Network,
    down: bool,
    nth: u8,
    packets: u32,
    len: usize,
    interval: Duration,
) -> Vec<Duration> {
    let person = Network::address(nth);
    let (receiver, at, sender, from) = match down {
        true => (&network.people, person, &network.server, SERVER),
        false => (&network.server, SERVER, &network.people, person),
    };
    let socket = |address: Ipv4Addr, port| Ok(UdpSocket::bind((address, port))?);
    let receiver = receiver.run(|| socket(at, PORT)).expect("a socket");
    let sender = sender.run(|| socket(from, 0)).expect("a socket");
    // Longer than any queue and any delay here.
    receiver.set_read_timeout(Some(ms(1_500))).expect("a socket");
    let start = Instant::now();
    let sending = std::thread::spawn(move || {
        for nth in 0..packets {
            std::thread::sleep((start + interval * nth).saturating_duration_since(Instant::now()));
            let mut bytes = vec![0; len - HEADERS];
            bytes[..8].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_be_bytes());
            sender.send_to(&bytes, (at, PORT)).expect("it is sent");
        }
    });
    let mut took = Vec::new();
    let mut buffer = [0; 2_048];
    loop {
        match receiver.recv_from(&mut buffer) {
            Ok((count, _)) => {
                assert_eq!(count, len - HEADERS, "whole packets");
                let sent = u64::from_be_bytes(buffer[..8].try_into().expect("eight bytes"));
                took.push(start.elapsed() - Duration::from_nanos(sent));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    sending.join().expect("all were sent");
    took
}

/// The quickest. What is slower may say more about a busy machine than about the link.
fn quickest(times: &[Duration]) -> Duration {
    times.iter().copied().min().expect("something came")
}

/// Measures until it is as it should be: a busy machine may be late for a whole measurement, but not always.
fn measures(mut measure: impl FnMut() -> Result<(), String>) {
    /// Measurements.
    const TRIES: usize = 5;
    let failed: Vec<String> = (0..TRIES).map_while(|_| measure().err()).collect();
    assert!(failed.len() < TRIES, "{failed:?}");
}

fn ensure(holds: bool, otherwise: String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise) }
}

#[test]
fn packets_take_as_long_as_the_link_says_each_way_and_for_everybody_alone() {
    let Some(network) = network() else { return };
    let slow = Conditions { delay: ms(80), ..Conditions::PERFECT };
    network.set_links(0, "alice", Conditions::PERFECT, slow);
    network.set_links(1, "bob", slow, Conditions::PERFECT);
    for (down, nth, delay) in [(false, 0, ms(15)), (true, 0, ms(80)), (false, 1, ms(80)), (true, 1, ms(15))] {
        measures(|| {
            let took = send(&network, down, nth, 50, 500, ms(5));
            ensure(took.len() == 50, format!("nothing is to be lost, and {} came", took.len()))?;
            let quickest = quickest(&took);
            assert!(quickest >= delay, "nothing comes early: {quickest:?}");
            ensure(quickest < delay + ms(5), format!("{quickest:?} and not {delay:?}"))
        });
    }
}

#[test]
fn a_link_carries_its_rate_and_its_queue_drops_the_rest() {
    let Some(network) = network() else { return };
    network.set_links(0, "alice", Conditions { rate: None, ..Conditions::PERFECT }, Conditions::kbps(1_000));
    measures(|| {
        // 2,000 kbit/s for two seconds: half of it, and the 300 ms that the queue holds.
        let before = network.dropped(0).1;
        let took = send(&network, true, 0, 500, 1_000, ms(4));
        let (came, dropped) = (took.len(), network.dropped(0).1 - before);
        ensure(came as u64 + dropped == 500, format!("{came} came and {dropped} were dropped of 500"))?;
        let last = quickest(&took[came.saturating_sub(20)..]);
        ensure((270..=310).contains(&came), format!("{came} of 500"))?;
        ensure((ms(310)..ms(350)).contains(&last), format!("a full queue and 30 ms: {last:?}"))
    });
    // From now on twice as much: nothing waits, and all of it comes.
    network.set_links(0, "alice", Conditions::PERFECT, Conditions::kbps(4_000));
    measures(|| {
        let took = send(&network, true, 0, 250, 1_000, ms(4));
        ensure(took.len() == 250, format!("{} of 250", took.len()))?;
        let quickest = quickest(&took);
        assert!(quickest >= ms(32), "2 ms for 8 kbit, and 30: {quickest:?}");
        ensure(quickest < ms(37), format!("{quickest:?}"))
    });
}

#[test]
fn as_much_is_lost_as_the_link_says_and_strangers_have_no_link() {
    let Some(network) = network() else { return };
    assert_eq!(send(&network, false, 1, 20, 200, ms(1)).len(), 0, "bob has no link yet");
    let lossy = Conditions { rate: Some(Bitrate::kbps(10_000)), loss: 0.2, ..Conditions::PERFECT };
    network.set_links(0, "alice", lossy, Conditions::PERFECT);
    measures(|| {
        let before = network.dropped(0).0;
        let came = send(&network, false, 0, 1_000, 200, ms(1)).len() as u64;
        let lost = network.dropped(0).0 - before;
        assert!((160..240).contains(&lost), "{lost} of 1,000");
        ensure(came + lost == 1_000, format!("{came} came and {lost} were lost of 1,000"))
    });
}
