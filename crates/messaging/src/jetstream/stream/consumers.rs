//! The consumers of a stream: creating, changing, acknowledging, ending.

use serde_json::json;

use super::Stream;
use crate::{
    jetstream::{
        ConsumerId, Context, Effect,
        config::Retention,
        consumer::{
            AckPolicy, Consumer, ConsumerConfig, ConsumerRecord, DeliverPolicy, Progress, PullRequest,
            nak_delay,
        },
        error::ApiError,
        log::{MAX_BODY, Record},
    },
    protocol::status_headers,
    subject,
    time::Timestamp,
};

/// What a create request wants to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::jetstream) enum Action {
    #[default]
    #[serde(rename = "")]
    CreateOrUpdate,
    Create,
    Update,
}

impl Stream {
    pub(in crate::jetstream) fn consumer(&self, name: &str) -> Option<&Consumer> {
        self.consumers.get(self.names.get(name)?)
    }

    pub(crate) fn has_consumer(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The names of all consumers, in order of creation.
    pub(in crate::jetstream) fn consumer_names(&self) -> impl Iterator<Item = &str> {
        self.consumers.values().map(|c| c.name.as_str())
    }

    /// Creates or changes a consumer. The same configuration again changes nothing.
    pub(in crate::jetstream) fn put_consumer(
        &mut self,
        config: ConsumerConfig,
        action: Action,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Result<ConsumerId, ApiError> {
        let config = config.settle(&self.config)?;
        self.usable()?;
        if let Some(id) = self.names.get(&config.name).copied() {
            return self.update_consumer(id, config, action, cx);
        }
        if action == Action::Update {
            return Err(ApiError::consumer_missing());
        }
        let own = usize::try_from(self.config.max_consumers).unwrap_or(usize::MAX);
        if self.consumers.len() >= own.min(limit) {
            return Err(ApiError::consumer_limit());
        }
        self.check_workqueue(&config, None)?;
        let id = ConsumerId(self.next_consumer);
        self.next_consumer += 1;
        let consumer = self.new_consumer(id, config, cx.now);
        self.add_consumer(consumer, cx);
        self.count_new_interest(id);
        self.save_consumer(id);
        self.consumer_advisory("CREATED", "create", id, cx);
        self.wake(id);
        self.arm(id, cx.now);
        Ok(id)
    }

    fn new_consumer(&self, id: ConsumerId, config: ConsumerConfig, now: Timestamp) -> Consumer {
        let filters = config.filters();
        let store = &self.store;
        let next = store.last_seq + 1;
        let mut first = std::collections::BTreeSet::new();
        let start = match config.deliver_policy {
            DeliverPolicy::All => store.first_seq(),
            DeliverPolicy::Last if filters.is_empty() => store.last_matching(">").unwrap_or(next),
            DeliverPolicy::Last => {
                filters.iter().filter_map(|f| store.last_matching(f)).max().unwrap_or(next)
            }
            DeliverPolicy::New => next,
            DeliverPolicy::ByStartSequence => config.opt_start_seq.clamp(store.first_seq(), next),
            DeliverPolicy::ByStartTime => {
                config.opt_start_time.and_then(|ts| store.first_at(ts)).unwrap_or(next)
            }
            DeliverPolicy::LastPerSubject => {
                first = store.last_per_subject(&filters);
                next
            }
        };
        let pending = store.count_matching(&filters, start) + first.len() as u64;
        let mut consumer = Consumer::new(id, config, Progress::starting_at(start.max(1)), now);
        if let Some(lowest) = first.first() {
            consumer.progress.floor.seq = lowest - 1;
        }
        consumer.first = first;
        consumer.num_pending = pending;
        consumer
    }

    /// Puts a consumer, new or recovered, into all the places that know consumers.
    pub(super) fn add_consumer(&mut self, consumer: Consumer, cx: &mut Context<'_>) {
        let id = consumer.id;
        for filter in filters_or_all(&consumer.config) {
            self.filters.insert(filter, None, id);
        }
        if consumer.config.is_push() {
            cx.effects.push_back(Effect::Watch {
                account: self.account,
                subject: consumer.config.deliver_subject.clone(),
                stream: self.id,
                consumer: id,
            });
        }
        self.names.insert(consumer.name.clone(), id);
        self.consumers.insert(id, consumer);
        self.check_push_interest(id, cx);
    }

    fn update_consumer(
        &mut self,
        id: ConsumerId,
        mut config: ConsumerConfig,
        action: Action,
        cx: &mut Context<'_>,
    ) -> Result<ConsumerId, ApiError> {
        let Some(consumer) = self.consumers.get(&id) else { return Err(ApiError::consumer_not_found()) };
        if consumer.config == config {
            return Ok(id);
        }
        if action == Action::Create {
            return Err(ApiError::consumer_exists());
        }
        let old = consumer.config.clone();
        if old.is_push() && old.deliver_subject != config.deliver_subject && consumer.push.is_active {
            return Err(ApiError::consumer_in_use());
        }
        old.check_update(&config)?;
        // Where the state is kept does not change with the configuration.
        config.mem_storage = old.mem_storage;
        self.check_workqueue(&config, Some(id))?;
        if old.deliver_subject != config.deliver_subject {
            let (account, stream) = (self.account, self.id);
            let watch = |subject: &str| (account, subject.to_owned(), stream, id);
            let (account, subject, stream, consumer) = watch(&old.deliver_subject);
            cx.effects.push_back(Effect::Unwatch { account, subject, stream, consumer });
            let (account, subject, stream, consumer) = watch(&config.deliver_subject);
            cx.effects.push_back(Effect::Watch { account, subject, stream, consumer });
        }
        let refiltered = old.filters() != config.filters();
        if refiltered {
            for filter in filters_or_all(&old) {
                self.filters.remove(filter, None, id);
            }
            for filter in filters_or_all(&config) {
                self.filters.insert(filter, None, id);
            }
        }
        let store = &self.store;
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.config = config;
            if refiltered {
                consumer
                    .first
                    .retain(|seq| store.get(*seq).is_some_and(|m| consumer.config.wants(&m.subject)));
                consumer.num_pending = store
                    .count_matching(&consumer.config.filters(), consumer.progress.next_seq)
                    + consumer.first.len() as u64;
            }
        }
        if refiltered {
            self.recount_interest(cx);
        }
        self.check_push_interest(id, cx);
        self.save_consumer(id);
        self.wake(id);
        self.arm(id, cx.now);
        Ok(id)
    }

    /// In a work queue, no message may have two consumers.
    fn check_workqueue(&self, config: &ConsumerConfig, except: Option<ConsumerId>) -> Result<(), ApiError> {
        if self.config.retention != Retention::Workqueue {
            return Ok(());
        }
        let others = self.consumers.values().filter(|c| Some(c.id) != except);
        for other in others {
            let (own, theirs) = (config.filters(), other.config.filters());
            if own.is_empty() || theirs.is_empty() {
                return Err(ApiError::workqueue_unfiltered());
            }
            if own.iter().any(|a| theirs.iter().any(|b| subject::overlaps(a, b))) {
                return Err(ApiError::workqueue_overlap());
            }
        }
        Ok(())
    }

    fn count_new_interest(&mut self, id: ConsumerId) {
        if self.config.retention != Retention::Interest {
            return;
        }
        let Some(consumer) = self.consumers.get(&id) else { return };
        let from = consumer.first.first().copied().unwrap_or(consumer.progress.next_seq);
        let wanted: Vec<u64> = self
            .store
            .range(from, u64::MAX)
            .filter(|(seq, m)| consumer.config.wants(&m.subject) && consumer.needs(*seq))
            .map(|(seq, _)| seq)
            .collect();
        for seq in wanted {
            if let Some(message) = self.store.get_mut(seq) {
                message.interest += 1;
            }
        }
    }

    /// Ends a consumer on request or for lack of interest.
    pub(in crate::jetstream) fn delete_consumer(
        &mut self,
        name: &str,
        cx: &mut Context<'_>,
    ) -> Result<(), ApiError> {
        self.usable()?;
        let id = *self.names.get(name).ok_or_else(ApiError::consumer_not_found)?;
        self.drop_consumer(id, cx);
        Ok(())
    }

    pub(super) fn drop_consumer(&mut self, id: ConsumerId, cx: &mut Context<'_>) {
        self.consumer_advisory("DELETED", "delete", id, cx);
        let Some(mut consumer) = self.consumers.remove(&id) else { return };
        self.names.remove(&consumer.name);
        for filter in filters_or_all(&consumer.config) {
            self.filters.remove(filter, None, id);
        }
        if let Some(at) = consumer.armed {
            self.timers.remove(&(at, id));
        }
        if consumer.config.is_push() {
            cx.effects.push_back(Effect::Unwatch {
                account: self.account,
                subject: consumer.config.deliver_subject.clone(),
                stream: self.id,
                consumer: id,
            });
        }
        for request in consumer.pulls.drain() {
            self.send_status(&request.reply, 409, "Consumer Deleted", &[], cx);
        }
        if let (Some(log), Some(place)) = (&mut self.log, consumer.place) {
            log.release(place);
            log.note(&Record::ConsumerRemoved { name: &consumer.name }, self.store.last_seq);
        }
        if self.config.retention == Retention::Interest {
            let needed: Vec<u64> = self
                .store
                .range(0, u64::MAX)
                .filter(|(seq, m)| consumer.config.wants(&m.subject) && consumer.needs(*seq))
                .map(|(seq, _)| seq)
                .collect();
            for seq in needed {
                self.done(seq, cx);
            }
        }
    }

    /// Writes a consumer to the log, if it is one that is kept there.
    pub(super) fn save_consumer(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.dirty = false;
        let Some(log) = self.log.as_mut().filter(|_| !consumer.config.mem_storage) else { return };
        let record = ConsumerRecord {
            config: consumer.config.clone(),
            created: consumer.created,
            progress: consumer.progress.save(),
            first: consumer.first.clone(),
        };
        // Serialising plain data to memory cannot fail.
        let state = serde_json::to_vec(&record).unwrap_or_default();
        if state.len() + consumer.name.len() + 16 > MAX_BODY {
            // The older record stays: after a restart, what was acknowledged since comes again.
            return;
        }
        let place =
            log.append(&Record::Consumer { name: &consumer.name, state: &state }, self.store.last_seq);
        if let Some(old) = consumer.place.replace(place) {
            log.release(old);
        }
    }

    /// An acknowledgement for a delivery of `seq`. Answers `reply` when the client asked for it.
    pub(crate) fn acknowledge(
        &mut self,
        name: &str,
        (seq, delivery): (u64, u64),
        payload: &[u8],
        reply: Option<&str>,
        cx: &mut Context<'_>,
    ) {
        let Some(id) = self.names.get(name).copied() else { return };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if seq >= consumer.progress.next_seq && !consumer.progress.is_pending(seq) {
            return;
        }
        consumer.last_ack = Some(cx.now);
        consumer.idle_since = cx.now;
        let (verb, argument) = split_ack(payload);
        let mut next = None;
        match verb {
            b"" | b"+ACK" | b"+OK" => self.settle(id, seq, delivery, cx),
            b"+NXT" => {
                next = Some(argument.to_owned());
                self.settle(id, seq, delivery, cx);
            }
            b"+TERM" => {
                let was_pending = consumer.progress.is_pending(seq);
                let deliveries = consumer.progress.deliveries(seq);
                if was_pending {
                    let body = json!({
                        "stream": self.config.name, "consumer": name, "consumer_seq": delivery,
                        "stream_seq": seq, "deliveries": deliveries, "reason": argument,
                    });
                    self.advise(
                        format!("CONSUMER.MSG_TERMINATED.{}.{name}", self.config.name),
                        "terminated",
                        body,
                        cx,
                    );
                }
                self.settle(id, seq, delivery, cx);
            }
            b"-NAK" => {
                let delay = if argument.is_empty() { None } else { nak_delay(argument) };
                if !argument.is_empty() && delay.is_none() {
                    return;
                }
                let deliveries = consumer.progress.deliveries(seq);
                consumer.progress.refuse(seq, delay, cx.now);
                let body = json!({
                    "stream": self.config.name, "consumer": name, "consumer_seq": delivery,
                    "stream_seq": seq, "deliveries": deliveries,
                });
                self.advise(format!("CONSUMER.MSG_NAKED.{}.{name}", self.config.name), "nak", body, cx);
            }
            b"+WPI" => consumer.progress.extend(seq, &consumer.config, cx.now),
            _ => return,
        }
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.dirty = true;
        }
        self.note_dirty(cx.now);
        if let (Some(argument), Some(inbox)) = (next, reply) {
            self.pull(name, argument.as_bytes(), inbox, cx);
        } else if let Some(reply) = reply {
            self.answer(reply, Vec::new(), Vec::new(), cx);
        }
        self.wake(id);
        self.arm(id, cx.now);
    }

    fn settle(&mut self, id: ConsumerId, seq: u64, delivery: u64, cx: &mut Context<'_>) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let policy = consumer.config.ack_policy;
        let done = consumer.progress.acknowledge(seq, delivery, policy);
        for seq in done {
            let wanted = policy != AckPolicy::All
                || self
                    .store
                    .get(seq)
                    .is_some_and(|m| self.consumers.get(&id).is_some_and(|c| c.config.wants(&m.subject)));
            if wanted {
                self.done(seq, cx);
            }
        }
    }

    /// A pull request.
    pub(crate) fn pull(&mut self, name: &str, payload: &[u8], reply: &str, cx: &mut Context<'_>) {
        let Some(id) = self.names.get(name).copied() else { return };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.config.is_push() {
            return self.send_status(reply, 409, "Consumer is push based", &[], cx);
        }
        consumer.idle_since = cx.now;
        let request = match PullRequest::parse(payload, reply, &consumer.config, cx.now) {
            Ok(request) => request,
            Err((code, text)) => return self.send_status(reply, code, &text, &[], cx),
        };
        if request.no_wait {
            let available = consumer.num_pending + consumer.progress.redeliveries() as u64;
            if available == 0 && request.expires.is_none() {
                return self.send_status(reply, 404, "No Messages", &[], cx);
            }
            if available > 0 && available < consumer.pulls.wanted() {
                return self.send_status(reply, 408, "Requests Pending", &[], cx);
            }
        }
        if consumer.pulls.len() as i64 >= consumer.config.max_waiting {
            // Requests whose client is gone make room.
            let account = self.account;
            consumer
                .pulls
                .take_if(|r| cx.inboxes.state(account, &r.reply) == crate::jetstream::Inbox::Absent);
            if consumer.pulls.len() as i64 >= consumer.config.max_waiting {
                if request.heartbeat.is_none() {
                    self.send_status(reply, 409, "Exceeded MaxWaiting", &[], cx);
                }
                return;
            }
        }
        consumer.pulls.push(request);
        self.wake(id);
        self.arm(id, cx.now);
    }

    /// A client answered a question about flow.
    pub(crate) fn flow_confirmed(&mut self, name: &str, subject: &str) {
        let Some(id) = self.names.get(name).copied() else { return };
        if let Some(consumer) = self.consumers.get_mut(&id)
            && consumer.push.confirm(subject)
        {
            self.wake(id);
        }
    }

    /// Pauses a consumer, or lets it go on when `until` is absent or past.
    pub(in crate::jetstream) fn pause_consumer(
        &mut self,
        name: &str,
        until: Option<Timestamp>,
        cx: &mut Context<'_>,
    ) -> Result<bool, ApiError> {
        self.usable()?;
        let id = *self.names.get(name).ok_or_else(ApiError::consumer_not_found)?;
        let Some(consumer) = self.consumers.get_mut(&id) else { return Err(ApiError::consumer_not_found()) };
        consumer.config.pause_until = until;
        let paused = consumer.paused(cx.now);
        self.save_consumer(id);
        self.wake(id);
        self.arm(id, cx.now);
        Ok(paused)
    }

    /// What has become due for one consumer.
    pub(super) fn consumer_timeout(&mut self, id: ConsumerId, cx: &mut Context<'_>) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let now = cx.now;
        consumer.progress.expire(now);
        let over = consumer.pulls.take_if(|r| r.expires.is_some_and(|at| at <= now));
        if !over.is_empty() {
            consumer.idle_since = now;
        }
        let mut beats = Vec::new();
        for request in consumer.pulls.iter_mut() {
            if let Some(beat) = request.heartbeat.as_mut().filter(|b| b.next <= now) {
                beat.restart(now);
                beats.push(request.reply.clone());
            }
        }
        for request in over {
            self.send_status(&request.reply, 408, "Request Timeout", &request.rest(), cx);
        }
        for reply in beats {
            self.send_status(&reply, 100, "Idle Heartbeat", &[], cx);
        }
        self.push_heartbeat(id, cx);
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.idle_end().is_some_and(|end| end <= now) {
            self.drop_consumer(id, cx);
            return;
        }
        self.wake(id);
    }

    /// Puts a consumer on the list of those to run.
    pub(crate) fn wake(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id)
            && !consumer.is_ready
        {
            consumer.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// Keeps the consumer's timer where its next deadline is.
    pub(super) fn arm(&mut self, id: ConsumerId, now: Timestamp) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let deadline = consumer.deadline(now);
        if deadline == consumer.armed {
            return;
        }
        if let Some(old) = consumer.armed {
            self.timers.remove(&(old, id));
        }
        consumer.armed = deadline;
        if let Some(at) = deadline {
            self.timers.insert((at, id));
        }
    }

    /// A status message instead of a delivery.
    pub(super) fn send_status(
        &mut self,
        inbox: &str,
        code: u16,
        text: &str,
        fields: &[(&'static str, String)],
        cx: &mut Context<'_>,
    ) {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let headers = status_headers(code, text, &fields);
        cx.effects.push_back(Effect::Publish(crate::jetstream::Publication {
            account: self.account,
            subject: inbox.to_owned(),
            shown: None,
            reply: None,
            headers: headers.into(),
            payload: bytes::Bytes::new(),
        }));
    }

    pub(super) fn advise(
        &self,
        subject: String,
        kind: &'static str,
        body: serde_json::Value,
        cx: &mut Context<'_>,
    ) {
        cx.effects.push_back(Effect::Advisory { account: self.account, subject, kind, body });
    }

    fn consumer_advisory(&self, event: &str, action: &str, id: ConsumerId, cx: &mut Context<'_>) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let subject = format!("CONSUMER.{event}.{}.{}", self.config.name, consumer.name);
        let body = json!({"stream": self.config.name, "consumer": consumer.name, "action": action});
        self.advise(subject, "consumer_action", body, cx);
    }

    /// `info` of a consumer's answers.
    pub(in crate::jetstream) fn consumer_info(
        &self,
        consumer: &Consumer,
        now: Timestamp,
    ) -> serde_json::Value {
        let progress = &consumer.progress;
        let mut config = serde_json::to_value(&consumer.config).unwrap_or_default();
        let level = u8::from(consumer.config.pause_until.is_some()).to_string();
        config["metadata"]["_nats.level"] = crate::protocol::API_LEVEL.to_string().into();
        config["metadata"]["_nats.req.level"] = level.into();
        config["metadata"]["_nats.ver"] = crate::protocol::VERSION.into();
        let mut info = json!({
            "stream_name": self.config.name,
            "name": consumer.name,
            "created": consumer.created.to_rfc3339(),
            "config": config,
            "delivered": {
                "consumer_seq": progress.delivered,
                "stream_seq": consumer.first.first().copied().unwrap_or(progress.next_seq).saturating_sub(1),
            },
            "ack_floor": {"consumer_seq": progress.floor.delivery, "stream_seq": progress.floor.seq},
            "num_ack_pending": progress.pending_len(),
            "num_redelivered": progress.redelivered_len(),
            "num_waiting": consumer.pulls.len(),
            "num_pending": consumer.num_pending,
            "ts": now.to_rfc3339(),
        });
        if let Some(at) = consumer.last_delivery {
            info["delivered"]["last_active"] = at.to_rfc3339().into();
        }
        if let Some(at) = consumer.last_ack {
            info["ack_floor"]["last_active"] = at.to_rfc3339().into();
        }
        if consumer.config.is_push() && consumer.push.is_active {
            info["push_bound"] = true.into();
        }
        if consumer.paused(now) {
            info["paused"] = true.into();
            let left = consumer.config.pause_until.map_or(0, |until| until.0 - now.0);
            info["pause_remaining"] = left.into();
        }
        info
    }
}

pub(super) fn filters_or_all(config: &ConsumerConfig) -> Vec<&str> {
    let filters = config.filters();
    if filters.is_empty() { vec![">"] } else { filters }
}

fn split_ack(payload: &[u8]) -> (&[u8], &str) {
    let end = payload.iter().position(|b| *b == b' ' || *b == b'{').unwrap_or(payload.len());
    let (verb, argument) = payload.split_at(end);
    (verb, std::str::from_utf8(argument).unwrap_or_default().trim())
}
