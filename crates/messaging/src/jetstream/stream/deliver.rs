//! Delivering messages to those who wait for them.

use super::Stream;
use crate::{
    jetstream::{
        ConsumerId, Context, Effect, Inbox, Publication,
        consumer::{AckPolicy, Consumer, Redelivery},
        headers,
    },
    protocol::status_headers,
};

/// What one turn of a consumer may deliver. Then others have a turn, and sockets a chance to drain.
const TURN_MESSAGES: usize = 256;
const TURN_BYTES: usize = 1 << 20;

impl Stream {
    /// Runs the next consumer that may have something to deliver, and says which.
    pub(crate) fn run_one(&mut self, cx: &mut Context<'_>) -> Option<ConsumerId> {
        let id = self.ready.pop_front()?;
        let Some(consumer) = self.consumers.get_mut(&id) else { return Some(id) };
        consumer.is_ready = false;
        if !consumer.paused(cx.now) {
            let again = if consumer.config.is_push() { self.run_push(id, cx) } else { self.run_pull(id, cx) };
            if again {
                self.wake(id);
            }
        }
        self.arm(id, cx.now);
        Some(id)
    }

    fn run_pull(&mut self, id: ConsumerId, cx: &mut Context<'_>) -> bool {
        let (mut messages, mut bytes) = (0, 0);
        loop {
            if messages >= TURN_MESSAGES || bytes >= TURN_BYTES {
                return true;
            }
            let account = self.account;
            let Some(consumer) = self.consumers.get_mut(&id) else { return false };
            let Some(request) = consumer.pulls.front() else { return false };
            match cx.inboxes.state(account, &request.reply) {
                Inbox::Ready => {}
                // The broker wakes the consumer when the client has caught up.
                Inbox::Busy => return false,
                Inbox::Absent => {
                    consumer.pulls.pop();
                    consumer.idle_since = cx.now;
                    continue;
                }
            }
            let Some((seq, count)) = self.next_message(id, cx) else {
                self.end_no_wait(id, cx);
                return false;
            };
            let Some((publication, size)) = self.compose(id, seq, count) else { continue };
            let Some(consumer) = self.consumers.get_mut(&id) else { return false };
            let Some(request) = consumer.pulls.front() else { return false };
            if request.max_bytes.is_some_and(|max| size as u64 > max) {
                let refused = consumer.pulls.pop();
                consumer.idle_since = cx.now;
                put_back(consumer, seq, count);
                if let Some(refused) = refused {
                    self.send_status(
                        &refused.reply,
                        409,
                        "Message Size Exceeds MaxBytes",
                        &refused.rest(),
                        cx,
                    );
                }
                continue;
            }
            let inbox = request.reply.clone();
            request.batch -= 1;
            request.delivered += 1;
            if let Some(max) = &mut request.max_bytes {
                *max -= size as u64;
            }
            if let Some(beat) = &mut request.heartbeat {
                beat.restart(cx.now);
            }
            let is_over = request.batch == 0 || request.max_bytes == Some(0);
            let finished = if is_over {
                consumer.idle_since = cx.now;
                consumer.pulls.pop()
            } else {
                consumer.pulls.rotate();
                None
            };
            self.send(id, seq, count, inbox, publication, cx);
            if let Some(finished) = finished.filter(|f| f.max_bytes.is_some_and(|left| left > 0)) {
                self.send_status(&finished.reply, 409, "Batch Completed", &finished.rest(), cx);
            }
            messages += 1;
            bytes += size;
        }
    }

    /// Answers the requests that do not want to wait.
    fn end_no_wait(&mut self, id: ConsumerId, cx: &mut Context<'_>) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        // With an expiry a request waits for its first message, but not for a second.
        let over = consumer.pulls.take_if(|r| r.no_wait && (r.expires.is_none() || r.delivered > 0));
        if !over.is_empty() {
            consumer.idle_since = cx.now;
        }
        for request in over {
            if request.delivered > 0 && request.expires.is_some() {
                self.send_status(&request.reply, 408, "Request Timeout", &request.rest(), cx);
            } else {
                self.send_status(&request.reply, 404, "No Messages", &[], cx);
            }
        }
    }

    fn run_push(&mut self, id: ConsumerId, cx: &mut Context<'_>) -> bool {
        let (mut messages, mut bytes) = (0, 0);
        loop {
            if messages >= TURN_MESSAGES || bytes >= TURN_BYTES {
                return true;
            }
            let Some(consumer) = self.consumers.get(&id) else { return false };
            if !consumer.push.is_active || consumer.push.is_stalled() {
                return false;
            }
            let inbox = consumer.config.deliver_subject.clone();
            if cx.inboxes.state(self.account, &inbox) != Inbox::Ready {
                return false;
            }
            let Some((seq, count)) = self.next_message(id, cx) else { return false };
            let Some((publication, size)) = self.compose(id, seq, count) else { continue };
            self.send(id, seq, count, inbox.clone(), publication, cx);
            let stream = self.config.name.clone();
            let account = self.account;
            let Some(consumer) = self.consumers.get_mut(&id) else { return false };
            consumer.push.sent(&consumer.config, cx.now);
            let name = &consumer.name;
            let rng = &mut *cx.rng;
            let question = consumer.push.count(size as u64, &consumer.config, || {
                format!("$JS.FC.{stream}.{name}.{}", crate::random_token(rng, 4))
            });
            if let Some(reply) = question {
                cx.effects.push_back(Effect::Publish(Publication {
                    account,
                    subject: inbox,
                    shown: None,
                    reply: Some(reply),
                    headers: status_headers(100, "FlowControl Request", &[]).into(),
                    payload: bytes::Bytes::new(),
                }));
            }
            messages += 1;
            bytes += size;
        }
    }

    /// The message whose turn it is and for which time, if one may be delivered now. It is not marked as delivered yet.
    fn next_message(&mut self, id: ConsumerId, cx: &mut Context<'_>) -> Option<(u64, u32)> {
        let consumer = self.consumers.get_mut(&id)?;
        while let Some(redelivery) = consumer.progress.next_redelivery(consumer.config.max_deliver) {
            match redelivery {
                Redelivery::Deliver { seq, count } if self.store.get(seq).is_some() => {
                    return Some((seq, count));
                }
                Redelivery::Deliver { seq, .. } => {
                    consumer.progress.settle(seq);
                }
                Redelivery::Exhausted { seq, deliveries } => {
                    let subject = format!("CONSUMER.MAX_DELIVERIES.{}.{}", self.config.name, consumer.name);
                    let body = serde_json::json!({
                        "stream": self.config.name, "consumer": consumer.name,
                        "stream_seq": seq, "deliveries": deliveries,
                    });
                    let account = self.account;
                    cx.effects.push_back(Effect::Advisory { account, subject, kind: "max_deliver", body });
                }
            }
        }
        let config = &consumer.config;
        // As many wait for acknowledgements as may.
        if config.ack_policy != AckPolicy::None && consumer.progress.pending_len() >= config.pending_bound() {
            return None;
        }
        if consumer.num_pending == 0 {
            return None;
        }
        if let Some(seq) = consumer.first.first().copied() {
            return (seq <= self.committed).then_some((seq, 1));
        }
        match self.store.next_matching(&config.filters(), consumer.progress.next_seq) {
            Some((seq, _)) => (seq <= self.committed).then_some((seq, 1)),
            None => {
                consumer.num_pending = 0;
                None
            }
        }
    }

    /// The delivery of `seq` and its size as pull requests count it. Without the acknowledgement subject,
    /// whose numbers are known when it is sent.
    fn compose(&self, id: ConsumerId, seq: u64, count: u32) -> Option<(Publication, usize)> {
        let consumer = self.consumers.get(&id)?;
        let message = self.store.get(seq)?;
        let (block, payload) = if consumer.config.headers_only {
            let size = message.payload.len().to_string();
            (headers::with_fields(&message.headers, &[("Nats-Msg-Size", &size)]).into(), bytes::Bytes::new())
        } else {
            (message.headers.clone(), message.payload.clone())
        };
        let delivery = consumer.progress.delivered + 1;
        let left = if count > 1 { consumer.num_pending } else { consumer.num_pending.saturating_sub(1) };
        let reply = format!(
            "$JS.ACK.{}.{}.{count}.{seq}.{delivery}.{}.{left}",
            self.config.name, consumer.name, message.ts.0
        );
        let size = message.subject.len() + reply.len() + block.len() + payload.len();
        let publication = Publication {
            account: self.account,
            subject: String::new(),
            shown: Some(message.subject.to_string()),
            reply: Some(reply),
            headers: block,
            payload,
        };
        Some((publication, size))
    }

    fn send(
        &mut self,
        id: ConsumerId,
        seq: u64,
        count: u32,
        inbox: String,
        publication: Publication,
        cx: &mut Context<'_>,
    ) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if count == 1 {
            consumer.num_pending = consumer.num_pending.saturating_sub(1);
            if !consumer.first.remove(&seq) {
                consumer.progress.next_seq = seq + 1;
            }
        }
        consumer.progress.deliver(seq, count, &consumer.config, cx.now);
        consumer.last_delivery = Some(cx.now);
        consumer.dirty = true;
        let is_done = consumer.config.ack_policy == AckPolicy::None;
        cx.effects.push_back(Effect::Publish(Publication { subject: inbox, ..publication }));
        if is_done {
            self.done(seq, cx);
        }
        self.note_dirty(cx.now);
    }

    /// Looks whether the deliver subject of a push consumer is subscribed.
    pub(crate) fn check_push_interest(&mut self, id: ConsumerId, cx: &mut Context<'_>) {
        let account = self.account;
        let Some(consumer) = self.consumers.get_mut(&id).filter(|c| c.config.is_push()) else { return };
        let group = &consumer.config.deliver_group;
        let queue = (!group.is_empty()).then_some(group.as_str());
        let is_active = cx.inboxes.subscribed(account, &consumer.config.deliver_subject, queue);
        if is_active == consumer.push.is_active {
            return;
        }
        consumer.push.is_active = is_active;
        consumer.push.reset();
        if is_active {
            consumer.push.sent(&consumer.config, cx.now);
            self.wake(id);
        } else {
            consumer.idle_since = cx.now;
        }
        self.arm(id, cx.now);
    }

    pub(super) fn push_heartbeat(&mut self, id: ConsumerId, cx: &mut Context<'_>) {
        let last_seq = self.store.last_seq;
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if !consumer.push.heartbeat_due(cx.now) {
            return;
        }
        consumer.push.sent(&consumer.config, cx.now);
        let mut fields = vec![
            ("Nats-Last-Consumer", consumer.progress.delivered.to_string()),
            ("Nats-Last-Stream", last_seq.min(consumer.progress.next_seq.saturating_sub(1)).to_string()),
        ];
        if let Some(question) = consumer.push.unanswered() {
            fields.push(("Nats-Consumer-Stalled", question.to_owned()));
        }
        let inbox = consumer.config.deliver_subject.clone();
        self.send_status(&inbox, 100, "Idle Heartbeat", &fields, cx);
    }
}

/// A message that was to be delivered stays where it was.
fn put_back(consumer: &mut Consumer, seq: u64, count: u32) {
    if count > 1 {
        consumer.progress.put_back(seq);
    }
}
