//! One participant: a task that carries messages and datagrams between a [`Client`] and the network.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use plenum_client::{
    Client, ClientError, Event, Incoming, Picture, Side, Signalling, Sound, StreamTally, data_sent, decode,
    encode, user_payload,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{
    absence::Absence,
    clock::Clock,
    opening::{Signal, open},
    socket::Socket,
    source::Source,
};

/// Whoever is not connected after this long is counted as failed.
const JOIN_WITHIN: Duration = Duration::from_secs(20);
/// Time for goodbye.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// Delays that one participant keeps; later ones are not looked at.
const SAMPLES_MAX: usize = 100_000;

/// What everybody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// People come.
    Joining,
    /// What comes from now on counts.
    Measuring,
    /// Nothing counts any more, and everybody leaves.
    Ended,
}

/// Who somebody is.
pub(super) struct Role {
    pub(super) token: String,
    pub(super) sources: Vec<Source>,
    pub(super) subscribes: bool,
    /// Tracks that are to come.
    pub(super) tracks: usize,
    /// Publishers are there: the first picture's time is that of a newcomer.
    pub(super) times_first_picture: bool,
}

/// Facts that everybody shares.
pub(super) struct Shared {
    /// `ws://host:port`
    pub(super) url: String,
    pub(super) local: IpAddr,
    /// Others of this machine, for a server on it.
    pub(super) more: Vec<IpAddr>,
    pub(super) signalling: Signalling,
    pub(super) clock: Clock,
}

/// Delays in microseconds.
#[derive(Debug, Default)]
pub(super) struct Delays {
    pub(super) sound: Vec<u32>,
    /// First packets of pictures, which servers have no reason to hold.
    pub(super) first: Vec<u32>,
    /// Other packets of pictures, which a pacer may hold.
    pub(super) rest: Vec<u32>,
    pub(super) data: Vec<u32>,
}

/// What became of somebody.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Ended before the others, and did not come back.
    pub(super) lost: Option<String>,
    /// Why somebody had to come again, and how long it took until media and data could flow.
    pub(super) returns: Vec<(String, Duration)>,
    /// From the first request until the first picture was whole.
    pub(super) first_picture: Option<Duration>,
    pub(super) waits_for_picture: bool,
    pub(super) tracks: usize,
    pub(super) tracks_expected: usize,
    /// While it was measured.
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) missing: u64,
    pub(super) repeated: u64,
    pub(super) opened: u64,
    pub(super) damaged: u64,
    pub(super) data: u64,
    pub(super) sent: u64,
    pub(super) delays: Delays,
    pub(super) srtp_profile: Option<&'static str>,
    /// How long after its time the latest packet was sent.
    pub(super) late: Duration,
}

pub(super) struct Participant {
    shared: Arc<Shared>,
    token: String,
    subscribes: bool,
    client: Client,
    sockets: [Option<Socket>; 2],
    sources: Vec<Source>,
    phase: Phase,
    /// Of the present session.
    start: Instant,
    absence: Absence,
    /// Why the present absence began.
    sent_away: Option<String>,
    /// Counts when the measurement began.
    before: HashMap<u32, StreamTally>,
    before_repeated: u64,
    outcome: Outcome,
}

/// Plays somebody until the end. Whether they came is told by `joined` as soon as it is known.
pub(super) async fn play(
    shared: Arc<Shared>,
    role: Role,
    joined: mpsc::UnboundedSender<Result<Duration, String>>,
    mut phase: watch::Receiver<Phase>,
) -> Outcome {
    let start = Instant::now();
    let entered = timeout(JOIN_WITHIN, Box::pin(Participant::enter(shared, role))).await;
    let (mut participant, mut signal) = match entered {
        Ok(Ok(entered)) => entered,
        Ok(Err(reason)) => {
            let _ = joined.send(Err(reason));
            return Outcome::default();
        }
        Err(_) => {
            let _ = joined.send(Err("the server did not answer the first request in time".to_owned()));
            return Outcome::default();
        }
    };
    participant.start = start;
    let mut joined = Some(joined);
    loop {
        let ended = participant.live(&mut signal, &mut phase, &mut joined).await;
        participant.count();
        let Err(reason) = ended else { break };
        if let Some(joined) = joined {
            let _ = joined.send(Err(reason));
            break;
        }
        match Box::pin(participant.come_again(reason, &mut phase)).await {
            Some(another) => signal = another,
            None => break,
        }
    }
    participant.outcome.lost = participant.sent_away.take();
    let goodbye = async {
        participant.client.leave(Instant::now());
        let _ = participant.flush(&mut signal).await;
        let _ = signal.close(None).await;
    };
    let _ = timeout(LEAVE_WITHIN, goodbye).await;
    participant.outcome
}

impl Participant {
    async fn enter(shared: Arc<Shared>, role: Role) -> Result<(Self, Signal), String> {
        let mut sources = role.sources;
        let opened = Box::pin(open(&shared, &role.token, role.subscribes, &mut sources)).await?;
        let outcome = Outcome {
            waits_for_picture: role.times_first_picture,
            tracks_expected: role.tracks,
            ..Outcome::default()
        };
        let participant = Self {
            shared,
            token: role.token,
            subscribes: role.subscribes,
            client: opened.client,
            sockets: opened.sockets,
            sources,
            phase: Phase::Joining,
            start: Instant::now(),
            absence: Absence::default(),
            sent_away: None,
            before: HashMap::new(),
            before_repeated: 0,
            outcome,
        };
        Ok((participant, opened.signal))
    }

    /// Begins another session; `None` when it is too late, or all is over.
    async fn come_again(&mut self, reason: String, phases: &mut watch::Receiver<Phase>) -> Option<Signal> {
        self.sent_away.get_or_insert(reason);
        loop {
            let wait = self.absence.next_wait(Instant::now(), rand::random())?;
            let over = phases.wait_for(|phase| *phase == Phase::Ended);
            if timeout(wait, over).await.is_ok() {
                self.phase = Phase::Ended;
                return None;
            }
            let opening = Box::pin(open(&self.shared, &self.token, self.subscribes, &mut self.sources));
            if let Ok(Ok(opened)) = timeout(JOIN_WITHIN, opening).await {
                (self.client, self.sockets) = (opened.client, opened.sockets);
                (self.before, self.before_repeated) = (HashMap::new(), 0);
                self.phase = *phases.borrow_and_update();
                self.start = Instant::now();
                return Some(opened.signal);
            }
        }
    }

    async fn live(
        &mut self,
        signal: &mut Signal,
        phases: &mut watch::Receiver<Phase>,
        joined: &mut Option<mpsc::UnboundedSender<Result<Duration, String>>>,
    ) -> Result<(), String> {
        let broken = |error: &dyn std::fmt::Display| format!("the signal connection broke: {error}");
        loop {
            self.flush(signal).await.map_err(|error| broken(&error))?;
            if let Some(reason) = self.note() {
                return Err(reason);
            }
            if self.client.is_active() {
                joined.take().map(|joined| joined.send(Ok(self.start.elapsed())));
                if let (Some(away), Some(reason)) = (self.absence.end(Instant::now()), self.sent_away.take())
                {
                    self.outcome.returns.push((reason, away));
                }
            } else if self.start.elapsed() > JOIN_WITHIN {
                return Err("no media connection in time: is the server's UDP port reachable?".to_owned());
            }
            let deadline = self.next_timeout().into();
            tokio::select! {
                message = signal.next() => match message {
                    Some(Ok(Message::Binary(frame))) => {
                        if let Some(message) = decode(&frame) {
                            let handled = self.client.handle_signal(Instant::now(), message);
                            handled.map_err(|error| error.to_string())?;
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(broken(&error)),
                    None => return Err("the server closed the signal connection".to_owned()),
                },
                () = readable(self.sockets[0].as_ref()) => self.receive(Side::Publisher)?,
                () = readable(self.sockets[1].as_ref()) => self.receive(Side::Subscriber)?,
                () = sleep_until(deadline) => {}
                changed = phases.changed() => {
                    self.phase = if changed.is_ok() { *phases.borrow_and_update() } else { Phase::Ended };
                    match self.phase {
                        Phase::Joining => {}
                        Phase::Measuring => self.begin(),
                        Phase::Ended => return Ok(()),
                    }
                }
            }
            let now = Instant::now();
            if self.client.next_timeout() <= now {
                self.client.handle_timeout(now).map_err(|error| error.to_string())?;
            }
            self.send(now).map_err(|error| error.to_string())?;
        }
    }

    fn next_timeout(&self) -> Instant {
        let sources = self.sources.iter().filter(|source| source.is_on(&self.client));
        sources.map(Source::next_timeout).fold(self.client.next_timeout(), Instant::min)
    }

    fn receive(&mut self, side: Side) -> Result<(), String> {
        let Some(socket) = &self.sockets[side as usize] else { return Ok(()) };
        let now = Instant::now();
        let (client, clock) = (&mut self.client, self.shared.clock);
        let mut failed: Result<(), ClientError> = Ok(());
        let received = socket.receive(|remote, stamp, bytes| {
            let incoming = Incoming { remote, received: clock.at(stamp, now), bytes };
            if let Err(error) = client.handle_datagram(now, side, &incoming) {
                failed = Err(error);
            }
        });
        received.map_err(|error| format!("a UDP socket: {error}"))?;
        failed.map_err(|error| error.to_string())
    }

    /// Sends what sources have to send now, each packet as soon as it is made.
    fn send(&mut self, now: Instant) -> Result<(), ClientError> {
        for source in &mut self.sources {
            if !source.is_on(&self.client) {
                continue;
            }
            let late = source.begin(now);
            if self.phase == Phase::Measuring {
                self.outcome.late = self.outcome.late.max(late);
            }
            while source.send(&mut self.client)? {
                while let Some(datagram) = self.client.poll_datagram() {
                    if let Some(socket) = &self.sockets[datagram.side as usize] {
                        socket.send(datagram.remote, &datagram.bytes);
                        self.outcome.sent += u64::from(self.phase == Phase::Measuring);
                    }
                }
            }
        }
        Ok(())
    }

    async fn flush(&mut self, signal: &mut Signal) -> Result<(), tungstenite::Error> {
        while let Some(datagram) = self.client.poll_datagram() {
            if let Some(socket) = &self.sockets[datagram.side as usize] {
                socket.send(datagram.remote, &datagram.bytes);
            }
        }
        while let Some(request) = self.client.poll_signal() {
            signal.send(Message::Binary(encode(request).into())).await?;
        }
        Ok(())
    }

    /// Takes what happened; a reason if it is the end.
    fn note(&mut self) -> Option<String> {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Packet(packet) => {
                    let delays = &mut self.outcome.delays;
                    if let Some(picture) = Picture::parse(&packet.payload) {
                        let list = if picture.part == 0 { &mut delays.first } else { &mut delays.rest };
                        sample(list, self.shared.clock, packet.at, picture.sent);
                    } else if let Some(sound) = Sound::parse(&packet.payload) {
                        sample(&mut delays.sound, self.shared.clock, packet.at, sound.sent);
                    }
                }
                Event::Data { packet, .. } => {
                    if let Some(sent) = user_payload(&packet).and_then(data_sent) {
                        self.outcome.data += 1;
                        sample(&mut self.outcome.delays.data, self.shared.clock, Instant::now(), sent);
                    }
                }
                Event::KeyframeWanted { track, layer } => {
                    self.sources.iter_mut().for_each(|source| source.refresh(track, layer));
                }
                Event::Left(reason) => {
                    return Some(format!("the server ended the session: {}", reason.as_str_name()));
                }
                Event::Disconnected(_) => return Some("a media connection was closed".to_owned()),
                _ => {}
            }
        }
        None
    }

    /// What came before does not count.
    fn begin(&mut self) {
        let tally = self.client.tally();
        (self.before, self.before_repeated) = (tally.streams, tally.repeated);
        self.outcome.delays = Delays::default();
        self.outcome.data = 0;
    }

    fn count(&mut self) {
        let tally = self.client.tally();
        let outcome = &mut self.outcome;
        outcome.srtp_profile = self.client.srtp_profile();
        outcome.tracks = tally.streams.len();
        let first = tally.streams.values().filter_map(|stream| stream.first_picture).min();
        let first = first.map(|at| at.saturating_duration_since(self.start));
        outcome.first_picture = outcome.first_picture.or(first);
        if self.phase == Phase::Joining {
            return;
        }
        outcome.repeated += tally.repeated - self.before_repeated;
        for (ssrc, stream) in &tally.streams {
            let before = self.before.get(ssrc);
            let since = |value: fn(&StreamTally) -> u64| value(stream) - before.map_or(0, value);
            let (packets, expected) = (since(|stream| stream.packets), since(StreamTally::expected));
            outcome.packets += packets;
            outcome.missing += expected.saturating_sub(packets);
            outcome.bytes += since(|stream| stream.bytes);
            outcome.opened += since(|stream| stream.opened);
            outcome.damaged += since(|stream| stream.damaged);
        }
    }
}

fn sample(list: &mut Vec<u32>, clock: Clock, received: Instant, sent: Duration) {
    if list.len() < SAMPLES_MAX {
        let delay = received.saturating_duration_since(clock.start).saturating_sub(sent);
        list.push(u32::try_from(delay.as_micros()).unwrap_or(u32::MAX));
    }
}

async fn readable(socket: Option<&Socket>) {
    match socket {
        // What is wrong with it shows when it is read.
        Some(socket) => _ = socket.readable().await,
        None => std::future::pending().await,
    }
}
