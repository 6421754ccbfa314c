//! The least that forwarding can cost: encrypts and sends, and does nothing else.
//! `cargo bench -p plenum-media-server --bench floor -- --destinations 20`
//!
//! The same packets to as many receivers as a row of `benches/media.mjs` has, with the server's own SRTP, send queue and
//! batching. Another process on the second core reads and discards. Prints JSON.
//!
//! With `--echo-core 0`: the least that forwarding can take on an idle machine, there and back through a process on that
//! core that only answers. Most of it is waking up.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plenum_media::rtp::{Header, write_header};
use plenum_media::sending::{Path, PathProtocol, SendQueue};
use plenum_media::srtp::{Resend, SrtpKeys, SrtpSender};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

/// What is sent; the defaults are a camera of 720p.
struct Shape {
    destinations: usize,
    /// Streams to each of them.
    tracks: usize,
    /// Packets of a picture, sent at once.
    parts: usize,
    /// Bytes of each.
    len: usize,
    interval: Duration,
    time: Duration,
}

fn main() {
    // Cargo's own argument.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let given: HashMap<&str, u64> = words
        .chunks_exact(2)
        .map(|pair| (pair[0].trim_start_matches("--"), pair[1].parse().expect("a number")))
        .collect();
    let number = |name: &str, default: u64| given.get(name).copied().unwrap_or(default);
    if let Some(sockets) = given.get("sink") {
        discard(*sockets as usize);
        return;
    }
    if given.contains_key("echo") {
        echo();
    }
    if let Some(core) = given.get("echo-core") {
        idle_loopback(&core.to_string());
        return;
    }
    let shape = Shape {
        destinations: number("destinations", 20) as usize,
        tracks: number("tracks", 1) as usize,
        parts: number("parts", 7) as usize,
        len: number("len", 1_012) as usize,
        interval: Duration::from_micros(number("interval-us", 33_333)),
        time: Duration::from_millis(number("time-ms", 5_000)),
    };
    let core = given.get("sink-core").map(u64::to_string);
    let sink = Sink::start("--sink", shape.destinations, core.as_deref());
    run(&shape, &sink.ports);
}

#[expect(clippy::print_stdout, reason = "the numbers are what this program is for")]
fn run(shape: &Shape, ports: &[u16]) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("sockets can be set");
    let state = UdpSocketState::new(UdpSockRef::from(&socket)).expect("a socket");
    let mut receivers: Vec<Receiver> = ports.iter().map(|port| Receiver::new(*port)).collect();
    let payload = vec![0x55; shape.len];
    let mut queue = SendQueue::default();
    let (start, before, mut sent, mut calls) = (Instant::now(), cpu(), 0u64, 0u64);
    // Streams take turns within an interval, as cameras that know nothing of each other.
    let step = shape.interval / shape.tracks as u32;
    let mut next = start;
    for turn in 0.. {
        if start.elapsed() >= shape.time {
            break;
        }
        next += step;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        for receiver in &mut receivers {
            receiver.write((turn % shape.tracks) as u32, shape.parts, &payload, &mut queue);
        }
        let segments = state.max_gso_segments().min(16);
        for (bytes, size, path) in queue.runs(segments) {
            let count = bytes.len().div_ceil(size) as u64;
            let transmit = Transmit {
                destination: path.remote,
                ecn: None,
                contents: bytes,
                segment_size: (count > 1).then_some(size),
                src_ip: None,
            };
            if state.try_send(UdpSockRef::from(&socket), &transmit).is_ok() {
                sent += count;
            }
            calls += 1;
        }
        queue.clear();
    }
    let cpu = cpu().saturating_sub(before);
    println!(
        "{{\"packets\": {sent}, \"calls\": {calls}, \"gso_segments\": {}, \"cpu_s\": {:.2}, \"cpu_us_per_packet\": {:.3}}}",
        state.max_gso_segments(),
        cpu.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / sent as f64
    );
}

/// Somebody who gets packets.
struct Receiver {
    path: Path,
    srtp: SrtpSender,
    sequence: u64,
}

impl Receiver {
    fn new(port: u16) -> Self {
        let keys = SrtpKeys::new(dimpl_profile(), &[port as u8; 88]).expect("long enough");
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        let path = Path { protocol: PathProtocol::Udp, local: None, remote };
        Self { path, srtp: keys.contexts(false).0, sequence: 0 }
    }

    fn write(&mut self, track: u32, parts: usize, payload: &[u8], queue: &mut SendQueue) {
        for part in 0..parts {
            let header = Header {
                payload_type: 96,
                marker: part + 1 == parts,
                sequence: self.sequence as u16,
                timestamp: self.sequence as u32,
                ssrc: track + 1,
                mid: None,
                transport: Some((3, self.sequence as u16)),
                playout_delay: None,
                dependency: None,
            };
            queue.write(self.path, |bytes| {
                let start = bytes.len();
                let len = write_header(bytes, &header);
                bytes.extend_from_slice(payload);
                self.srtp.protect_rtp(bytes, start, len, self.sequence, Resend::No).ok()
            });
            self.sequence += 1;
        }
    }
}

/// AES-256-GCM, which browsers and Plenum agree on.
fn dimpl_profile() -> dimpl::SrtpProfile {
    dimpl::SrtpProfile::AEAD_AES_256_GCM
}

/// The process that reads.
struct Sink {
    child: std::process::Child,
    ports: Vec<u16>,
}

impl Sink {
    fn start(mode: &str, sockets: usize, core: Option<&str>) -> Self {
        let program = std::env::current_exe().expect("this program has a file");
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", core]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let child = command.args([mode, &sockets.to_string()]).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("this program starts again");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it says its ports");
        let ports = line.split_whitespace().map(|port| port.parse().expect("a port")).collect();
        Self { child, ports }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::print_stdout, reason = "the ports are what the sender waits for")]
fn discard(count: usize) {
    let mut poll = mio::Poll::new().expect("the system has one");
    let mut sockets = Vec::new();
    for token in 0..count {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("sockets can be set");
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).expect("a socket");
        let mut socket = mio::net::UdpSocket::from_std(socket);
        let interest = mio::Interest::READABLE;
        poll.registry().register(&mut socket, mio::Token(token), interest).expect("sockets can be watched");
        sockets.push((socket, state));
    }
    let port = |socket: &mio::net::UdpSocket| socket.local_addr().expect("it is bound").port().to_string();
    println!("{}", sockets.iter().map(|(socket, _)| port(socket)).collect::<Vec<_>>().join(" "));
    let mut buffers = vec![vec![0; 65_536]; BATCH_SIZE];
    let mut events = mio::Events::with_capacity(1_024);
    loop {
        poll.poll(&mut events, None).expect("the system has one");
        for event in &events {
            let (socket, state) = &sockets[event.token().0];
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            while state.recv(UdpSockRef::from(socket), &mut slices, &mut metas).is_ok() {}
        }
    }
}

#[expect(clippy::print_stdout, reason = "the port is what the sender waits for")]
fn echo() -> ! {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    println!("{}", socket.local_addr().expect("it is bound").port());
    let mut buffer = [0; 1_500];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).expect("somebody sends");
        socket.send_to(&buffer[..len], from).expect("loopback takes it");
    }
}

#[expect(clippy::print_stdout, reason = "the numbers are what this program is for")]
fn idle_loopback(core: &str) {
    const PACKETS: usize = 300;
    let other = Sink::start("--echo", 1, Some(core));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect(("127.0.0.1", other.ports[0])).expect("an address");
    socket.set_nonblocking(true).expect("sockets can be set");
    let mut times: Vec<Duration> = Vec::with_capacity(PACKETS);
    for _ in 0..PACKETS {
        std::thread::sleep(Duration::from_millis(10));
        let sent = Instant::now();
        socket.send(&[0; 1_000]).expect("loopback takes it");
        // Awake all the time: only the other one is to be woken.
        while socket.recv(&mut [0; 1_500]).is_err() {
            std::hint::spin_loop();
        }
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times[(PACKETS - 1) * part / 100].as_micros();
    println!("{{\"p50\": {}, \"p99\": {}, \"max\": {}}}", at(50), at(99), at(100));
}

/// Processor time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split_whitespace().collect();
    let ticks = |at: usize| fields[at - 3].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}
