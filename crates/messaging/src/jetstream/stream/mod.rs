//! One stream: its messages, its consumers, its log.

mod consumers;
mod deliver;
mod publish;
mod read;
mod recover;
mod remove;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::HashMap;
use serde::Serialize;

pub(super) use consumers::Action;
pub(crate) use publish::Incoming;
pub(super) use read::GetRequest;
pub(crate) use recover::RecoveryBuilder;
pub(super) use remove::{DeleteRequest, PurgeRequest};

use super::{
    ConsumerId, Context, Effect, LogOp, Publication, StreamId,
    config::{Storage, StreamConfig},
    consumer::Consumer,
    error::ApiError,
    log::{Log, Place, Record},
    store::Store,
};
use crate::{
    protocol::{API_LEVEL, VERSION},
    sublist::Sublist,
    time::{Timestamp, ZERO_TIME},
};

/// How long acknowledgements may wait before the log knows of them. Losing them only means redelivery.
const SAVE_AFTER: std::time::Duration = std::time::Duration::from_millis(250);

pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) account: usize,
    account_name: String,
    pub(super) config: StreamConfig,
    /// The name as a JSON string, for acknowledgements.
    name_json: String,
    pub(super) created: Timestamp,
    store: Store,
    /// Absent for memory streams.
    log: Option<Log>,
    place: Place,
    ids: publish::MessageIds,
    consumers: BTreeMap<ConsumerId, Consumer>,
    names: HashMap<String, ConsumerId>,
    next_consumer: u64,
    /// Which consumers want a subject.
    filters: Sublist<ConsumerId>,
    /// Consumers that may have something to deliver.
    ready: VecDeque<ConsumerId>,
    timers: BTreeSet<(Timestamp, ConsumerId)>,
    /// Answers that wait until the log is on the disk up to a record.
    gate: VecDeque<(u64, Effect)>,
    /// Which record a message is, until it is on the disk.
    commits: VecDeque<(u64, u64)>,
    /// Consumers see messages up to here: what is not on the disk has not happened.
    committed: u64,
    /// Removals that the log does not know of yet.
    removed: Option<(u64, u64)>,
    save_at: Option<Timestamp>,
    /// What the log could not do. Nothing is stored any more.
    failed: Option<String>,
    /// The bytes that its account's use includes.
    pub(crate) counted: u64,
    /// Its entry among the broker's timers.
    pub(crate) armed: Option<Timestamp>,
}

/// What is written as the stream's own record.
#[derive(Serialize, serde::Deserialize)]
struct StreamRecord {
    account: String,
    config: StreamConfig,
    created: Timestamp,
}

impl Stream {
    /// A new stream. Its subjects are captured by the effects of [`Stream::announce`].
    pub(crate) fn create(
        id: StreamId,
        account: usize,
        account_name: &str,
        config: StreamConfig,
        segment_size: u64,
        now: Timestamp,
    ) -> Stream {
        let log = (config.storage == Storage::File).then(|| Log::new(segment_size));
        let store = Store::new(log.is_some(), config.first_seq);
        let mut stream = Stream::build(id, account, account_name, config, now, store, log);
        stream.write_config();
        stream
    }

    fn build(
        id: StreamId,
        account: usize,
        account_name: &str,
        config: StreamConfig,
        created: Timestamp,
        store: Store,
        log: Option<Log>,
    ) -> Stream {
        Stream {
            id,
            account,
            account_name: account_name.to_owned(),
            name_json: serde_json::Value::from(config.name.as_str()).to_string(),
            created,
            committed: if log.is_some() { store.last_seq } else { u64::MAX },
            store,
            log,
            config,
            place: Place::default(),
            ids: publish::MessageIds::default(),
            consumers: BTreeMap::new(),
            names: HashMap::new(),
            next_consumer: 0,
            filters: Sublist::default(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            gate: VecDeque::new(),
            commits: VecDeque::new(),
            removed: None,
            save_at: None,
            failed: None,
            counted: 0,
            armed: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    pub(crate) fn is_file(&self) -> bool {
        self.log.is_some()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.store.bytes
    }

    pub(crate) fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// Captures the subjects, and says that the stream exists.
    pub(crate) fn announce(&self, cx: &mut Context<'_>) {
        for subject in &self.config.subjects {
            cx.effects.push_back(Effect::Capture {
                account: self.account,
                subject: subject.clone(),
                stream: self.id,
            });
        }
    }

    /// Changes the configuration of the stream to `new`, which is settled and checked for overlaps.
    pub(crate) fn update(&mut self, mut new: StreamConfig, cx: &mut Context<'_>) -> Result<(), ApiError> {
        self.usable()?;
        self.config.check_update(&new)?;
        if new.first_seq == 0 {
            new.first_seq = self.config.first_seq;
        }
        let old = std::mem::replace(&mut self.config, new);
        for subject in old.subjects.iter().filter(|s| !self.config.subjects.contains(s)) {
            cx.effects.push_back(Effect::Release { subject: subject.clone(), stream: self.id });
        }
        for subject in self.config.subjects.iter().filter(|s| !old.subjects.contains(s)) {
            cx.effects.push_back(Effect::Capture {
                account: self.account,
                subject: subject.clone(),
                stream: self.id,
            });
        }
        if old.retention != self.config.retention {
            self.recount_interest(cx);
        }
        self.write_config();
        self.enforce_limits(cx);
        self.expire(cx);
        Ok(())
    }

    /// Ends the stream: consumers, waiting pulls, subjects.
    pub(crate) fn delete(&mut self, cx: &mut Context<'_>) {
        let all: Vec<ConsumerId> = self.consumers.keys().copied().collect();
        for id in all {
            self.drop_consumer(id, cx);
        }
        for subject in &self.config.subjects {
            cx.effects.push_back(Effect::Release { subject: subject.clone(), stream: self.id });
        }
    }

    /// The broker stops: waiting pulls are told, and everything about consumers goes to the log.
    pub(crate) fn shut_down(&mut self, cx: &mut Context<'_>) {
        let all: Vec<ConsumerId> = self.consumers.keys().copied().collect();
        for id in all {
            let Some(consumer) = self.consumers.get_mut(&id) else { continue };
            let waiting: Vec<_> = consumer.pulls.drain().collect();
            let is_dirty = consumer.dirty;
            for request in waiting {
                self.send_status(&request.reply, 409, "Server Shutdown", &request.rest(), cx);
            }
            if is_dirty {
                self.save_consumer(id);
            }
        }
    }

    fn write_config(&mut self) {
        let record = StreamRecord {
            account: self.account_name.clone(),
            config: self.config.clone(),
            created: self.created,
        };
        let Some(log) = &mut self.log else { return };
        // Serialising plain data to memory cannot fail.
        let json = serde_json::to_vec(&record).unwrap_or_default();
        let old = std::mem::replace(&mut self.place, log.append(&Record::Stream(&json), self.store.last_seq));
        log.release(old);
    }

    /// Lets `effect` happen when everything so far is on the disk. After a failure of the disk nothing new gets there, so
    /// what is said then, refusals mostly, waits for nothing.
    pub(super) fn gate(&mut self, effect: Effect, cx: &mut Context<'_>) {
        match &self.log {
            Some(log) if log.durable < log.appended && self.failed.is_none() => {
                self.gate.push_back((log.appended, effect));
            }
            _ => cx.effects.push_back(effect),
        }
    }

    /// Answers a request on `reply`, once everything so far is on the disk.
    pub(crate) fn answer(&mut self, reply: &str, headers: Vec<u8>, payload: Vec<u8>, cx: &mut Context<'_>) {
        let publication = Publication {
            account: self.account,
            subject: reply.to_owned(),
            shown: None,
            reply: None,
            headers: headers.into(),
            payload: payload.into(),
        };
        self.gate(Effect::Publish(publication), cx);
    }

    /// The log is on the disk up to record `position`.
    pub(crate) fn durable(&mut self, position: u64, cx: &mut Context<'_>) {
        let Some(log) = &mut self.log else { return };
        log.durable = log.durable.max(position);
        let durable = log.durable;
        while self.commits.front().is_some_and(|(at, _)| *at <= durable) {
            if let Some((_, seq)) = self.commits.pop_front() {
                self.committed = self.committed.max(seq);
                // Consumers were told of the message when it came; now they may have it.
                self.wake_for(seq);
            }
        }
        while self.gate.front().is_some_and(|(at, _)| *at <= durable) {
            if let Some((_, effect)) = self.gate.pop_front() {
                cx.effects.push_back(effect);
            }
        }
    }

    fn wake_for(&mut self, seq: u64) {
        let Some(message) = self.store.get(seq) else { return };
        let found = self.filters.find(&message.subject);
        for id in &found.plain {
            self.wake(*id);
        }
    }

    /// The log cannot be written any more. What waits for it is never answered, so that nobody believes it. Whether it
    /// is there after a restart, nobody knows, so messages are neither read nor changed until then.
    pub(crate) fn log_failed(&mut self, why: &str) {
        self.failed = Some(why.to_owned());
        self.gate.clear();
        self.commits.clear();
        self.removed = None;
        if let Some(log) = &mut self.log {
            log.fail();
        }
    }

    /// Has the disk refused to keep the stream?
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Refuses what needs the log once that has failed.
    pub(super) fn usable(&self) -> Result<(), ApiError> {
        match &self.failed {
            None => Ok(()),
            Some(why) => Err(ApiError::store_failed(format!("stream storage failed: {why}"))),
        }
    }

    /// The operations for the shell, and up to which record they reach.
    pub(crate) fn take_log_ops(&mut self) -> (Vec<LogOp>, u64) {
        if self.failed.is_some() {
            return (Vec::new(), 0);
        }
        self.flush_removed();
        self.reclaim();
        match &mut self.log {
            Some(log) if log.has_ops() => (log.take_ops().collect(), log.appended),
            _ => (Vec::new(), 0),
        }
    }

    /// Moves what is left of a mostly dead segment to the end of the log.
    fn reclaim(&mut self) {
        let Some(log) = &mut self.log else { return };
        let Some(old) = log.reclaim() else { return };
        let last_seq = self.store.last_seq;
        let moving: Vec<u64> = self
            .store
            .range(old.first, old.last)
            .filter(|(_, m)| m.place.segment == old.segment)
            .map(|(seq, _)| seq)
            .collect();
        for seq in moving {
            let Some(message) = self.store.get_mut(seq) else { continue };
            let record = Record::Message {
                seq,
                ts: message.ts,
                subject: &message.subject,
                headers: &message.headers,
                payload: &message.payload,
            };
            let place = log.append(&record, last_seq);
            log.release(std::mem::replace(&mut message.place, place));
        }
        if self.place.segment == old.segment {
            self.write_config();
        }
        let savers: Vec<ConsumerId> = self
            .consumers
            .values()
            .filter(|c| c.place.is_some_and(|p| p.segment == old.segment))
            .map(|c| c.id)
            .collect();
        for id in savers {
            self.save_consumer(id);
        }
        if let Some(log) = &mut self.log {
            log.reclaim();
        }
    }

    /// When something has to happen here without being asked.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let consumers = self.timers.first().map(|(at, _)| *at);
        let own = self.store.next_expiry().map(|(at, _)| at);
        let age = (!self.config.max_age.is_zero())
            .then(|| self.store.oldest_aging().map(|(_, m)| m.ts.plus(self.config.max_age.span())))
            .flatten();
        [consumers, own, age, self.save_at].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn timeout(&mut self, cx: &mut Context<'_>) {
        self.expire(cx);
        // Each consumer once, whatever it is due for next: what is due again at once is left to the next call.
        let later = self.timers.split_off(&(cx.now.plus(std::time::Duration::from_nanos(1)), ConsumerId(0)));
        for (_, id) in std::mem::replace(&mut self.timers, later) {
            if let Some(consumer) = self.consumers.get_mut(&id) {
                consumer.armed = None;
            }
            self.consumer_timeout(id, cx);
            self.arm(id, cx.now);
        }
        if self.save_at.is_some_and(|at| at <= cx.now) {
            self.save_at = None;
            let dirty: Vec<ConsumerId> = self.consumers.values().filter(|c| c.dirty).map(|c| c.id).collect();
            for id in dirty {
                self.save_consumer(id);
            }
        }
    }

    /// The configuration as answers show it.
    pub(super) fn shown_config(&self) -> serde_json::Value {
        let mut config = serde_json::to_value(&self.config).unwrap_or_default();
        let level = self.config.required_level().to_string();
        config["metadata"]["_nats.level"] = API_LEVEL.to_string().into();
        config["metadata"]["_nats.req.level"] = level.into();
        config["metadata"]["_nats.ver"] = VERSION.into();
        config
    }

    /// `state` of an info answer.
    pub(super) fn state(&self) -> serde_json::Value {
        let time = |seq: u64| match self.store.get(seq) {
            Some(message) => message.ts.to_rfc3339(),
            None => ZERO_TIME.to_owned(),
        };
        let mut state = serde_json::json!({
            "messages": self.store.len(),
            "bytes": self.store.bytes,
            "first_seq": self.store.first_seq(),
            "first_ts": time(self.store.first_seq()),
            "last_seq": self.store.last_seq,
            "last_ts": if self.store.last_ts.0 == 0 { ZERO_TIME.to_owned() } else { self.store.last_ts.to_rfc3339() },
            "consumer_count": self.consumers.len(),
        });
        if self.store.num_subjects() > 0 {
            state["num_subjects"] = self.store.num_subjects().into();
        }
        if self.store.num_deleted() > 0 {
            state["num_deleted"] = self.store.num_deleted().into();
        }
        state
    }

    pub(super) fn deleted(&self) -> Vec<u64> {
        self.store.deleted()
    }

    /// The subjects that match `filter`, with how many messages each has.
    pub(super) fn subject_counts<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
        self.store.subjects_matching(filter).map(|(subject, seqs)| (&**subject, seqs.len()))
    }

    /// `info` of create, update and info answers.
    pub(super) fn info(&self, now: Timestamp) -> serde_json::Value {
        serde_json::json!({
            "config": self.shown_config(),
            "created": self.created.to_rfc3339(),
            "state": self.state(),
            "ts": now.to_rfc3339(),
        })
    }

    /// Has some consumer possibly something to deliver?
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn note_dirty(&mut self, now: Timestamp) {
        if self.log.is_some() && self.save_at.is_none() {
            self.save_at = Some(now.plus(SAVE_AFTER));
        }
    }
}
