//! Carries packets between two TUN devices, each way through everybody's link.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use plenum_sim::{Conditions, InFlight, Link, Links};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

/// Longest packet that a device gives.
pub(crate) const MTU: usize = 1_500;
/// Packets on their way at most: a second at 100 Mbit/s. More are dropped, as by any real network.
const FLYING_MAX: usize = 10_000;
/// Packets that are read before others have their turn.
const BATCH: usize = 64;
/// A packet that arrives so much after its time was late: what a receiver may take for a queue.
const LATE: Duration = Duration::from_millis(5);
/// How often a thread looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Two threads, one for each way.
pub(crate) struct Carrier {
    started: Instant,
    up: Arc<Way>,
    down: Arc<Way>,
    threads: Vec<JoinHandle<()>>,
}

/// One way of everybody.
struct Way {
    /// By their address. Packets of nobody are dropped.
    links: Mutex<BTreeMap<Ipv4Addr, Link>>,
    ended: AtomicBool,
    carried: AtomicU64,
    late: AtomicU64,
    /// Where the address of somebody begins in an IPv4 header: the source's or the destination's (RFC 791 §3.1).
    offset: usize,
}

impl Carrier {
    /// Begins to carry between the server's device and people's.
    pub(crate) fn new(server: SyncDevice, people: SyncDevice) -> io::Result<Self> {
        server.set_nonblocking(true)?;
        people.set_nonblocking(true)?;
        let way = |offset| {
            let (links, ended, carried, late) = Default::default();
            Arc::new(Way { links, ended, carried, late, offset })
        };
        let (started, up, down) = (Instant::now(), way(12), way(16));
        let (server, people) = (Arc::new(server), Arc::new(people));
        let spawn = |way: &Arc<Way>, from: &Arc<SyncDevice>, to: &Arc<SyncDevice>| {
            let (way, from, to) = (way.clone(), from.clone(), to.clone());
            std::thread::spawn(move || way.carry(started, &from, &to))
        };
        let threads = vec![spawn(&up, &people, &server), spawn(&down, &server, &people)];
        Ok(Self { started, up, down, threads })
    }

    /// The links from somebody and to them are like this from now on.
    pub(crate) fn set(&self, address: Ipv4Addr, name: &str, up: Conditions, down: Conditions) {
        let now = self.started.elapsed();
        let fresh = Links::new(name, up, down);
        let set = |way: &Way, conditions: Conditions, link: Link| {
            way.links.lock().entry(address).or_insert(link).change(now, conditions);
        };
        set(&self.up, up, fresh.up);
        set(&self.down, down, fresh.down);
    }

    /// The part of all packets that this machine had no time for when they were due, 0 to 1.
    pub(crate) fn late(&self) -> f64 {
        let sum = |count: fn(&Way) -> &AtomicU64| {
            [&self.up, &self.down].map(|way| count(way).load(Ordering::Relaxed)).iter().sum::<u64>() as f64
        };
        sum(|way| &way.late) / sum(|way| &way.carried).max(1.0)
    }

    /// Packets that the links from somebody and to them have lost or dropped.
    pub(crate) fn dropped(&self, address: Ipv4Addr) -> (u64, u64) {
        let of = |way: &Way| way.links.lock().get(&address).map_or(0, Link::dropped);
        (of(&self.up), of(&self.down))
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.up.ended.store(true, Ordering::Relaxed);
        self.down.ended.store(true, Ordering::Relaxed);
        // A thread that panicked has said so.
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

impl Way {
    fn carry(&self, started: Instant, from: &SyncDevice, to: &SyncDevice) {
        // Where it cannot be had, packets are a few dozen microseconds late.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut flying = InFlight::default();
        let mut buffer = [0; MTU];
        while !self.ended.load(Ordering::Relaxed) {
            while let Some((due, packet)) = flying.pop(started.elapsed()) {
                let packet: Vec<u8> = packet;
                let is_late = started.elapsed() - due > LATE;
                self.carried.fetch_add(1, Ordering::Relaxed);
                self.late.fetch_add(is_late.into(), Ordering::Relaxed);
                // A full device drops, as any network does.
                let _ = to.send(&packet);
            }
            for _ in 0..BATCH {
                let Ok(len) = from.recv(&mut buffer) else { break };
                let now = started.elapsed();
                let packet = &buffer[..len.min(MTU)];
                if let Some(arrival) = self.arrival(now, packet).filter(|_| flying.len() < FLYING_MAX) {
                    flying.push(arrival, packet.to_vec());
                }
            }
            let next = flying.next_arrival().map(|at| at.saturating_sub(started.elapsed()));
            wait_readable(from, next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
        }
    }

    /// When a packet arrives, if it does.
    fn arrival(&self, now: Duration, packet: &[u8]) -> Option<Duration> {
        let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let address: [u8; 4] = packet.get(self.offset..self.offset + 4)?.try_into().ok()?;
        let mut links = self.links.lock();
        let link = links.get_mut(&address.into()).filter(|_| is_ipv4)?;
        link.send(now, packet.len() as u32)
    }
}

fn wait_readable(device: &SyncDevice, time: Duration) {
    let mut waits = [PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN)];
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    // A wait that was interrupted is begun again by the caller.
    let _ = poll(&mut waits, Some(&time));
}
