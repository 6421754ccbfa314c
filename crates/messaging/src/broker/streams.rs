//! Streams inside the broker: their surroundings, their effects, their recovery.

use hashbrown::HashMap;
use serde_json::Value;

use super::{
    Broker, Output, Timer,
    account::{Account, Placement, Target},
    connection::Connection,
    route::{Message, Response},
};
use crate::{
    config::Limits,
    jetstream::{Context, Damaged, Effect, Inbox, Inboxes, LogOp, RecoveryBuilder, Stream, StreamId},
    random_token,
    time::Timestamp,
};

/// Bytes that may wait for a client before consumers stop delivering to it. Well below `max_pending`, so
/// that a large batch slows down instead of ending the connection.
const BUSY_SHARE: usize = 8;

/// What streams may see of the broker.
struct View<'a> {
    accounts: &'a mut Vec<Account>,
    connections: &'a HashMap<u64, Connection>,
    responses: &'a HashMap<Box<str>, Response>,
    busy_at: usize,
    /// Who was found busy.
    busy: Option<u64>,
}

impl Inboxes for View<'_> {
    fn state(&mut self, account: usize, subject: &str) -> Inbox {
        let (account, subject) = match self.responses.get(subject) {
            Some(response) if response.exporter == account => (response.importer, &*response.reply),
            _ => (account, subject),
        };
        let found = self.accounts[account].subs.find(subject);
        if found.is_empty() {
            return Inbox::Absent;
        }
        for target in found.plain.iter().chain(found.queues.iter().flat_map(|(_, members)| members)) {
            if let Target::Client { connection, .. } = target
                && self.connections.get(connection).is_some_and(|c| c.out.len() > self.busy_at)
            {
                self.busy = Some(*connection);
                return Inbox::Busy;
            }
        }
        Inbox::Ready
    }

    fn subscribed(&mut self, account: usize, subject: &str, queue: Option<&str>) -> bool {
        let (plain, queues) = self.accounts[account].subs.exact(subject);
        match queue {
            None => !plain.is_empty() || !queues.is_empty(),
            Some(queue) => queues.iter().any(|(name, _)| &**name == queue),
        }
    }
}

impl Broker {
    /// Does something with a stream and everything around it. False when the stream does not exist.
    pub(super) fn with_stream(
        &mut self,
        id: StreamId,
        now: Timestamp,
        work: impl FnOnce(&mut Stream, &mut Context<'_>),
    ) -> bool {
        let mut view = View {
            accounts: &mut self.accounts,
            connections: &self.connections,
            responses: &self.responses,
            busy_at: self.limits.max_pending / BUSY_SHARE,
            busy: None,
        };
        let mut cx = Context { now, rng: &mut self.rng, effects: &mut self.effects, inboxes: &mut view };
        let Some(stream) = self.jetstream.streams.get_mut(&id) else { return false };
        work(stream, &mut cx);
        self.touch(id);
        true
    }

    pub(super) fn touch(&mut self, id: StreamId) {
        if self.touched.last() != Some(&id) && !self.touched.contains(&id) {
            self.touched.push(id);
        }
    }

    /// Does something with JetStream as a whole. `name` is the stream that it may work on.
    pub(super) fn with_jetstream<T>(
        &mut self,
        account: usize,
        name: &str,
        now: Timestamp,
        work: impl FnOnce(&mut crate::jetstream::api::JetStream, &str, &mut Context<'_>) -> T,
    ) -> T {
        let mut view = View {
            accounts: &mut self.accounts,
            connections: &self.connections,
            responses: &self.responses,
            busy_at: self.limits.max_pending / BUSY_SHARE,
            busy: None,
        };
        let mut cx = Context { now, rng: &mut self.rng, effects: &mut self.effects, inboxes: &mut view };
        let account_name = &self.config.accounts[account].name;
        let result = work(&mut self.jetstream, account_name, &mut cx);
        if let Some(id) = self.jetstream.stream_named(account, name).map(|s| s.id) {
            self.touch(id);
        }
        self.remove_logs();
        result
    }

    /// Has the logs of deleted streams deleted.
    fn remove_logs(&mut self) {
        for (stream, op) in self.jetstream.take_removals() {
            self.outputs.push_back(Output::Log { stream, op, position: 0 });
        }
    }

    /// Gives one consumer of a stream its turn.
    pub(super) fn run_consumer(&mut self, id: StreamId, now: Timestamp) {
        let mut view = View {
            accounts: &mut self.accounts,
            connections: &self.connections,
            responses: &self.responses,
            busy_at: self.limits.max_pending / BUSY_SHARE,
            busy: None,
        };
        let mut cx = Context { now, rng: &mut self.rng, effects: &mut self.effects, inboxes: &mut view };
        let Some(stream) = self.jetstream.streams.get_mut(&id) else { return };
        let consumer = stream.run_one(&mut cx);
        let busy = view.busy;
        if let (Some(consumer), Some(busy)) = (consumer, busy)
            && let Some(connection) = self.connections.get_mut(&busy)
            && !connection.stalled.contains(&(id, consumer))
        {
            connection.stalled.push((id, consumer));
        }
        self.touch(id);
    }

    /// After work on streams: what they wrote goes out, and their timers are set.
    pub(super) fn finish_streams(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            self.jetstream.count(id);
            let Some(stream) = self.jetstream.streams.get_mut(&id) else { continue };
            let (ops, position) = stream.take_log_ops();
            for op in ops {
                self.outputs.push_back(Output::Log { stream: id, op, position });
            }
            if stream.has_ready() && !self.ready.contains(&id) {
                self.ready.push_back(id);
            }
            let deadline = stream.deadline();
            if deadline != stream.armed {
                if let Some(old) = stream.armed {
                    self.timers.remove(&(old, Timer::Stream(id)));
                }
                stream.armed = deadline;
                if let Some(at) = deadline {
                    self.timers.insert((at, Timer::Stream(id)));
                }
            }
        }
    }

    /// Carries out what a stream asked for.
    pub(super) fn perform(&mut self, effect: Effect, now: Timestamp) {
        match effect {
            Effect::Publish(p) => {
                let message = Message {
                    subject: &p.subject,
                    shown: p.shown.as_deref(),
                    reply: p.reply.as_deref(),
                    headers: &p.headers,
                    payload: &p.payload,
                };
                self.route(p.account, &message, None, now);
            }
            Effect::Advisory { account, subject, kind, body } => {
                self.advise(account, &subject, kind, body, now);
            }
            Effect::Capture { account, subject, stream } => {
                let placements = self.place(account, &subject, None, Target::Stream { stream, import: None });
                self.captures.entry(stream).or_default().push((subject, placements));
            }
            Effect::Release { subject, stream } => {
                let captures = self.captures.entry(stream).or_default();
                let at = captures.iter().position(|(s, _)| *s == subject);
                let taken = at.map(|at| captures.swap_remove(at));
                if captures.is_empty() {
                    self.captures.remove(&stream);
                }
                if let Some((_, placements)) = taken {
                    self.unplace(&placements, None);
                }
            }
            Effect::Watch { account, subject, stream, consumer } => {
                self.accounts[account].watched.entry(subject).or_default().push((stream, consumer));
            }
            Effect::Unwatch { account, subject, stream, consumer } => {
                if let Some(list) = self.accounts[account].watched.get_mut(&subject) {
                    list.retain(|entry| *entry != (stream, consumer));
                    if list.is_empty() {
                        self.accounts[account].watched.remove(&subject);
                    }
                }
            }
        }
    }

    fn advise(&mut self, account: usize, subject: &str, kind: &str, mut body: Value, now: Timestamp) {
        let subject = format!("$JS.EVENT.ADVISORY.{subject}");
        if self.accounts[account].subs.find(&subject).is_empty() {
            return;
        }
        body["type"] = format!("io.nats.jetstream.advisory.v1.{kind}").into();
        body["id"] = random_token(&mut self.rng, 22).into();
        body["timestamp"] = now.to_rfc3339().into();
        let payload = body.to_string();
        let message = Message::plain(&subject, payload.as_bytes());
        self.route(account, &message, None, now);
    }

    /// Somebody subscribed or left `subject`: push consumers that deliver there want to know.
    pub(super) fn interest_changed(&mut self, account: usize, subject: &str, now: Timestamp) {
        let Some(list) = self.accounts[account].watched.get(subject) else { return };
        for (stream, consumer) in list.clone() {
            self.with_stream(stream, now, |stream, cx| stream.check_push_interest(consumer, cx));
        }
    }

    /// Starts to read the log of a stream. The segments follow, then [`Broker::recover`].
    pub fn recovery(limits: &Limits, id: StreamId) -> Recovery {
        Recovery { id, builder: RecoveryBuilder::new(id, limits.segment_size) }
    }

    /// Takes in a stream whose log has been read. To be called before any client is accepted. Streams of
    /// accounts that are not configured, or have no streams any more, are left alone.
    pub fn recover(&mut self, recovery: Recovery, now: Timestamp) -> Recovered {
        self.jetstream.reserve(recovery.id);
        let Some(name) = recovery.builder.account() else {
            self.outputs.push_back(Output::Log { stream: recovery.id, op: LogOp::Remove, position: 0 });
            return Recovered::Incomplete;
        };
        let Some(account) = self.accounts.iter().position(|a| a.name == name && a.jetstream) else {
            return Recovered::UnknownAccount(name);
        };
        let mut view = View {
            accounts: &mut self.accounts,
            connections: &self.connections,
            responses: &self.responses,
            busy_at: 0,
            busy: None,
        };
        let mut cx = Context { now, rng: &mut self.rng, effects: &mut self.effects, inboxes: &mut view };
        let Some(stream) = recovery.builder.finish(account, &mut cx) else { return Recovered::Incomplete };
        self.jetstream.adopt(stream, &mut cx);
        self.remove_logs();
        self.touch(recovery.id);
        self.work(now);
        Recovered::Stream
    }
}

/// What came of reading a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// A stream.
    Stream,
    /// The creation of the stream never got to the disk; what there is of it is removed.
    Incomplete,
    /// The log belongs to an account that is not configured. It is not touched.
    UnknownAccount(String),
}

/// The log of one stream while it is read at the start.
pub struct Recovery {
    id: StreamId,
    builder: RecoveryBuilder,
}

impl Recovery {
    /// Reads the next segment, in the order of their numbers. Gives the length of its correct part: what the
    /// last segment has beyond it is to be cut off before anything else is written.
    pub fn segment(&mut self, number: u64, data: &[u8], is_last: bool) -> Result<u64, Damaged> {
        self.builder.segment(number, data, is_last)
    }
}

/// Where the subjects of streams are placed.
pub(super) type Captures = HashMap<StreamId, Vec<(String, Vec<Placement>)>>;
