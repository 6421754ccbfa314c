//! A broker with its surroundings: clients that read what they are sent, a disk in memory, and a clock that stands still
//! until it is moved.

use std::{collections::BTreeMap, time::Duration};

use plenum_messaging::{
    AccountConfig, Broker, BrokerConfig, CloseReason, ConnectionId, Damaged, Limits, LogOp, Output, Progress,
    Received, Recovered, StreamId, Timestamp, Transport, UserConfig,
};
use serde_json::Value;

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// One account with streams, one user in it, and the system.
pub(crate) fn config() -> BrokerConfig {
    BrokerConfig {
        server_name: "test".into(),
        accounts: vec![
            AccountConfig { name: "SYS".into(), ..AccountConfig::default() },
            AccountConfig {
                name: "APP".into(),
                jetstream: true,
                users: vec![UserConfig::password("app", "s")],
                ..AccountConfig::default()
            },
        ],
        system_account: "SYS".into(),
        auth_callout: None,
        limits: Limits::default(),
    }
}

/// The segments of all streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) streams: BTreeMap<StreamId, BTreeMap<u64, Vec<u8>>>,
}

impl Disk {
    pub(crate) fn carry_out(&mut self, stream: StreamId, op: &LogOp) {
        match op {
            LogOp::Append { segment, data } => {
                self.streams.entry(stream).or_default().entry(*segment).or_default().extend_from_slice(data);
            }
            LogOp::Drop { segment } => {
                let dropped = self.streams.get_mut(&stream).and_then(|segments| segments.remove(segment));
                assert!(dropped.is_some(), "segment {segment} was never written");
            }
            LogOp::Remove => {
                self.streams.remove(&stream);
            }
        }
    }
}

/// An operation of the log that the disk has been told of.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) stream: StreamId,
    pub(crate) op: LogOp,
    pub(crate) position: u64,
}

/// What the disk does with operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Everything is on the disk at once.
    AtOnce,
    /// Nothing is, until [`World::sync`].
    Held,
    /// Everything fails.
    Failing,
}

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) now: Timestamp,
    pub(crate) disk: Disk,
    pub(crate) writing: Writing,
    /// Written and not yet said to be on the disk.
    pub(crate) held: Vec<Written>,
    /// All operations so far.
    pub(crate) journal: Vec<Written>,
    heard: BTreeMap<ConnectionId, Vec<u8>>,
    /// Clients that read nothing.
    stuck: Vec<ConnectionId>,
    closed: BTreeMap<ConnectionId, CloseReason>,
    resumed: Vec<ConnectionId>,
    inboxes: u64,
}

impl World {
    pub(crate) fn new(config: BrokerConfig) -> World {
        World::with_disk(config, Disk::default(), START).expect("nothing is on the disk")
    }

    /// A broker that starts with what is on the disk.
    pub(crate) fn with_disk(config: BrokerConfig, disk: Disk, now: Timestamp) -> Result<World, Damaged> {
        let limits = config.limits.clone();
        let mut broker = Broker::new(config, [7; 32]).expect("a good configuration");
        let mut disk = disk;
        for (id, segments) in &mut disk.streams {
            let mut recovery = Broker::recovery(&limits, *id);
            let count = segments.len();
            for (at, (number, data)) in segments.iter_mut().enumerate() {
                let correct = recovery.segment(*number, data, at + 1 == count)?;
                data.truncate(usize::try_from(correct).expect("a segment is small"));
            }
            let recovered = broker.recover(recovery, now);
            assert!(matches!(recovered, Recovered::Stream | Recovered::Incomplete), "{recovered:?}");
        }
        let mut world = World {
            broker,
            now,
            disk,
            writing: Writing::AtOnce,
            held: Vec::new(),
            journal: Vec::new(),
            heard: BTreeMap::new(),
            stuck: Vec::new(),
            closed: BTreeMap::new(),
            resumed: Vec::new(),
            inboxes: 0,
        };
        world.settle();
        Ok(world)
    }

    /// The same broker after a crash that lost what was not on the disk.
    pub(crate) fn restart(self, config: BrokerConfig) -> World {
        World::with_disk(config, self.disk, self.now).expect("the log is whole")
    }

    /// A client that has been greeted.
    pub(crate) fn connect(&mut self) -> ConnectionId {
        let id = self.broker.handle_connect(Transport::Tcp, "192.0.2.1", self.now);
        self.settle();
        let greeting = self.hear(id);
        assert!(greeting.starts_with("INFO {") || self.closed.contains_key(&id), "{greeting}");
        id
    }

    /// A client that is logged in and has heard its PONG.
    pub(crate) fn login(&mut self, user: &str) -> ConnectionId {
        let id = self.connect();
        let connect = format!(
            "CONNECT {{\"user\":\"{user}\",\"pass\":\"s\",\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}}\r\nPING\r\n"
        );
        self.send(id, &connect);
        assert_eq!(self.hear(id), "PONG\r\n");
        id
    }

    /// What became of `text`, all of which the broker takes unless it pauses or closes.
    pub(crate) fn send(&mut self, id: ConnectionId, text: &str) -> Progress {
        self.send_bytes(id, text.as_bytes()).progress
    }

    pub(crate) fn send_bytes(&mut self, id: ConnectionId, bytes: &[u8]) -> Received {
        let mut consumed = 0;
        loop {
            let received = self.broker.handle_received(id, &bytes[consumed..], self.now);
            self.settle();
            consumed += received.consumed;
            if received.progress != Progress::Again {
                return Received { consumed, progress: received.progress };
            }
        }
    }

    /// What a client was sent since the last call.
    pub(crate) fn hear(&mut self, id: ConnectionId) -> String {
        String::from_utf8(std::mem::take(self.heard.entry(id).or_default())).expect("text")
    }

    /// Why a connection was closed, if it was.
    pub(crate) fn closed(&self, id: ConnectionId) -> Option<CloseReason> {
        self.closed.get(&id).copied()
    }

    pub(crate) fn was_resumed(&mut self, id: ConnectionId) -> bool {
        let before = self.resumed.len();
        self.resumed.retain(|other| *other != id);
        self.resumed.len() < before
    }

    /// From now on a client reads nothing.
    pub(crate) fn stop_reading(&mut self, id: ConnectionId) {
        self.stuck.push(id);
    }

    /// A client reads again, and so gets what waits for it.
    pub(crate) fn read_on(&mut self, id: ConnectionId) {
        self.stuck.retain(|stuck| *stuck != id);
        self.fetch(id);
        self.settle();
    }

    /// The socket of a client breaks.
    pub(crate) fn lose(&mut self, id: ConnectionId, reason: CloseReason) {
        self.broker.handle_closed(id, reason, self.now);
        self.settle();
    }

    /// Lets time pass, with everything that becomes due on the way.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now.plus(span);
        let mut calls = 0;
        while let Some(due) = self.broker.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.broker.handle_timeout(self.now);
            self.settle();
            calls += 1;
            assert!(calls < 100_000, "something is due again and again");
        }
        self.now = end;
    }

    /// One answer to a request, as its headers and its body.
    pub(crate) fn ask(&mut self, id: ConnectionId, subject: &str, body: &str) -> (String, String) {
        self.ask_with(id, subject, "", body).unwrap_or_else(|| panic!("nobody answered {subject}"))
    }

    /// The same, if an answer came. `headers` are lines, each with its end.
    pub(crate) fn ask_with(
        &mut self,
        id: ConnectionId,
        subject: &str,
        headers: &str,
        body: &str,
    ) -> Option<(String, String)> {
        self.inboxes += 1;
        let (sid, inbox) = (format!("r{}", self.inboxes), format!("inbox.{}", self.inboxes));
        self.send(id, &format!("SUB {inbox} {sid}\r\n"));
        self.send(id, &publish(subject, Some(&inbox), headers, body));
        let heard = self.hear(id);
        self.send(id, &format!("UNSUB {sid}\r\n"));
        let (mine, others): (Vec<_>, Vec<_>) =
            messages(&heard).into_iter().partition(|message| message.sid == sid);
        // What is not the answer is still to be heard.
        for other in others {
            self.heard.entry(id).or_default().extend_from_slice(other.raw.as_bytes());
        }
        mine.into_iter().next().map(|message| (message.headers, message.body))
    }

    /// The answer of the JetStream API.
    pub(crate) fn api(&mut self, id: ConnectionId, verb: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (_, answer) = self.ask(id, &format!("$JS.API.{verb}"), &body);
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Everything that was written is on the disk.
    pub(crate) fn sync(&mut self) {
        let mut positions = BTreeMap::new();
        let mut removed = Vec::new();
        for Written { stream, op, position } in std::mem::take(&mut self.held) {
            self.disk.carry_out(stream, &op);
            match op {
                LogOp::Remove => removed.push(stream),
                LogOp::Append { .. } | LogOp::Drop { .. } => {
                    positions.insert(stream, position);
                }
            }
        }
        for (stream, position) in positions {
            self.broker.handle_durable(stream, position, self.now);
        }
        for stream in removed {
            self.broker.handle_removed(stream, Ok(()), self.now);
        }
        self.settle();
    }

    /// Does what the broker asks for until it asks for nothing more.
    fn settle(&mut self) {
        loop {
            let mut failed = Vec::new();
            while let Some(output) = self.broker.poll_output() {
                match output {
                    Output::Flush(id) => self.fetch(id),
                    Output::Resume(id) => self.resumed.push(id),
                    Output::Log { stream, op, position } => {
                        let written = Written { stream, op, position };
                        self.journal.push(written.clone());
                        match self.writing {
                            Writing::Failing if written.op != LogOp::Remove => failed.push(stream),
                            _ => self.held.push(written),
                        }
                    }
                }
            }
            for stream in failed {
                self.broker.handle_log_failed(stream, "no space left", self.now);
            }
            if self.writing != Writing::Held && !self.held.is_empty() {
                self.sync();
            }
            // A deadline in the past means that work was left over.
            match self.broker.next_deadline() {
                Some(due) if due < START => self.broker.handle_timeout(self.now),
                _ => break,
            }
        }
    }

    fn fetch(&mut self, id: ConnectionId) {
        if self.stuck.contains(&id) || self.closed.contains_key(&id) {
            return;
        }
        let mut bytes = Vec::new();
        let closing = self.broker.take_output(id, &mut bytes);
        self.heard.entry(id).or_default().extend_from_slice(&bytes);
        if let Some(reason) = closing {
            self.closed.insert(id, reason);
            self.broker.handle_closed(id, reason, self.now);
        }
    }
}

/// The bytes of a publish.
pub(crate) fn publish(subject: &str, reply: Option<&str>, headers: &str, body: &str) -> String {
    let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
    if headers.is_empty() {
        return format!("PUB {subject}{reply} {}\r\n{body}\r\n", body.len());
    }
    let block = format!("NATS/1.0\r\n{headers}\r\n");
    format!("HPUB {subject}{reply} {} {}\r\n{block}{body}\r\n", block.len(), block.len() + body.len())
}

/// A message as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) subject: String,
    pub(crate) sid: String,
    pub(crate) reply: Option<String>,
    pub(crate) headers: String,
    pub(crate) body: String,
    raw: String,
}

/// All messages in what a client heard.
pub(crate) fn messages(mut text: &str) -> Vec<Heard> {
    let mut found = Vec::new();
    while let Some((line, rest)) = text.split_once("\r\n") {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<usize>().expect("a size");
        let (head, total, numbers) = match words[0] {
            "MSG" => (0, number(words[words.len() - 1]), 1),
            "HMSG" => (number(words[words.len() - 2]), number(words[words.len() - 1]), 2),
            _ => {
                text = rest;
                continue;
            }
        };
        let len = line.len() + 2 + total + 2;
        found.push(Heard {
            subject: words[1].into(),
            sid: words[2].into(),
            reply: (words.len() == 4 + numbers).then(|| words[3].into()),
            headers: rest[..head].into(),
            body: rest[head..total].into(),
            raw: text[..len].into(),
        });
        text = &text[len..];
    }
    found
}
