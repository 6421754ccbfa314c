//! What clients ask for: publish, subscribe, ping, and leaving.

use super::{
    Broker, ConnectionId, Output,
    account::Target,
    connection::{Phase, Subscription, Transport, Verdict},
    route::{Message, RESPONSE_PREFIX},
};
use crate::{
    protocol::{CloseReason, Operation},
    subject,
    time::Timestamp,
};

/// A client's own name for a subscription is at most this long.
const MAX_SID: usize = 64;
const MAX_QUEUE: usize = 255;

/// The first ping comes this soon, to measure the round trip.
pub(super) const FIRST_PING: std::time::Duration = std::time::Duration::from_secs(2);

struct Publish<'a> {
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    headers: &'a [u8],
    payload: &'a [u8],
    with_headers: bool,
}

impl Broker {
    pub(super) fn operate(&mut self, id: u64, operation: Operation<'_>, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Operation::Connect(json) = operation {
            return self.connect(id, json, now);
        }
        if !connection.is_open() {
            return match operation {
                // Some clients measure the way before they log in.
                Operation::Ping => {
                    connection.answer(|out| out.extend_from_slice(b"PONG\r\n"));
                }
                Operation::Pong | Operation::Ignored => {}
                _ => self.fail(id, "Authorization Violation", CloseReason::AuthenticationFailure, now),
            };
        }
        match operation {
            Operation::Publish { subject, reply, headers, payload, with_headers } => {
                self.publish(id, &Publish { subject, reply, headers, payload, with_headers }, now);
            }
            Operation::Subscribe { subject, queue, sid } => self.subscribe(id, subject, queue, sid, now),
            Operation::Unsubscribe { sid, max } => self.unsubscribe(id, sid, max, now),
            Operation::Ping => connection.answer(|out| out.extend_from_slice(b"PONG\r\n")),
            Operation::Pong => {
                connection.pings_unanswered = 0;
                if let Some(sent) = connection.ping_sent.take() {
                    connection.rtt = now.since(sent);
                }
            }
            Operation::Error => self.close(id, CloseReason::ClientClosed, now),
            Operation::Connect(_) | Operation::Ignored => {}
        }
    }

    fn publish(&mut self, id: u64, publish: &Publish<'_>, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if publish.with_headers && !connection.options.headers {
            return self.close(id, CloseReason::MessageHeaderViolation, now);
        }
        connection.sent.messages += 1;
        connection.sent.bytes += (publish.headers.len() + publish.payload.len()) as u64;
        self.statistics.messages_in += 1;
        let account = connection.account;
        let Ok(subject) = std::str::from_utf8(publish.subject) else {
            return self.complain(id, "Invalid Publish Subject");
        };
        match connection.judge(subject, now) {
            Verdict::Allowed => {}
            Verdict::Denied => {
                return self.complain(id, &format!("Permissions Violation for Publish to \"{subject}\""));
            }
            Verdict::Invalid => return self.complain(id, "Invalid Publish Subject"),
        }
        let reply = match publish.reply {
            None => None,
            Some(reply) => match std::str::from_utf8(reply).ok().filter(|r| subject::is_publishable(r)) {
                None => return self.complain(id, "Invalid Publish Subject"),
                Some(reply) => Some(reply),
            },
        };
        if let Some(reply) = reply {
            // An answer is written with the rights of the one who answers. Without this check, a client could
            // have others write where it may not.
            let is_reserved = reply.starts_with("$JS.ACK.") || reply.starts_with(RESPONSE_PREFIX);
            if is_reserved || connection.permissions.as_ref().is_some_and(|p| !p.may_use_reply(reply)) {
                return self
                    .complain(id, &format!("Permissions Violation for Publish with Reply of \"{reply}\""));
            }
        }
        let (verbose, wants_status) = (connection.options.verbose, connection.options.no_responders);
        if verbose {
            connection.answer(|out| out.extend_from_slice(b"+OK\r\n"));
        }
        let message =
            Message { subject, shown: None, reply, headers: publish.headers, payload: publish.payload };
        let anybody = self.route(account, &message, Some(id), now);
        if let (false, true, Some(reply)) = (anybody, wants_status, reply) {
            self.no_responders(id, subject, reply);
        }
        // What streams answer goes out in the order of the requests.
        self.settle_effects(now);
    }

    /// Carries out the effects of streams without giving consumers their turn.
    fn settle_effects(&mut self, now: Timestamp) {
        while let Some(effect) = self.effects.pop_front() {
            self.perform(effect, now);
        }
    }

    fn subscribe(&mut self, id: u64, pattern: &[u8], queue: Option<&[u8]>, sid: &[u8], now: Timestamp) {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let Some(pattern) = text(pattern).filter(|p| subject::is_valid(p)) else {
            return self.complain(id, "Invalid Subject");
        };
        let queue = match queue {
            None => None,
            Some(queue) => match text(queue).filter(|q| q.len() <= MAX_QUEUE) {
                None => return self.complain(id, "Invalid Subject"),
                queue => queue,
            },
        };
        if sid.len() > MAX_SID {
            return self.complain(id, "Invalid Subject");
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut filtered = false;
        if let Some(permissions) = &connection.permissions {
            if !permissions.may_subscribe(pattern, queue) {
                let of_queue = queue.map(|q| format!(" using queue \"{q}\"")).unwrap_or_default();
                return self.complain(
                    id,
                    &format!("Permissions Violation for Subscription to \"{pattern}\"{of_queue}"),
                );
            }
            filtered = permissions.filters(pattern);
        }
        if connection.slot_of(sid).is_none() {
            if connection.subscription_count()
                >= connection.max_subscriptions.min(self.limits.max_subscriptions)
            {
                return self.complain(id, "maximum subscriptions exceeded");
            }
            let (slot, account) = (connection.next_slot(), connection.account);
            let target = Target::Client { connection: id, slot, import: None };
            let placements = self.place(account, pattern, queue, target);
            let subscription = Subscription {
                sid: sid.into(),
                subject: pattern.into(),
                queue: queue.map(Into::into),
                placements,
                delivered: 0,
                max: None,
                filtered,
            };
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.add(subscription);
            }
            self.interest_changed(account, pattern, now);
        }
        self.acknowledge_operation(id);
    }

    fn unsubscribe(&mut self, id: u64, sid: &[u8], max: Option<u64>, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(slot) = connection.slot_of(sid)
            && let Some(subscription) = connection.subscription(slot)
        {
            match max {
                Some(max) if max > subscription.delivered => subscription.max = Some(max),
                _ => self.unsubscribe_slot(id, slot, now),
            }
        }
        self.acknowledge_operation(id);
    }

    pub(super) fn unsubscribe_slot(&mut self, id: u64, slot: u32, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let account = connection.account;
        if let Some(subscription) = connection.take(slot) {
            self.unplace(&subscription.placements, subscription.queue.as_deref());
            self.interest_changed(account, &subscription.subject, now);
        }
    }

    fn acknowledge_operation(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.options.verbose
        {
            connection.answer(|out| out.extend_from_slice(b"+OK\r\n"));
        }
    }

    /// Tells a client what was wrong. The connection stays.
    pub(super) fn complain(&mut self, id: u64, text: &str) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.answer(|out| {
                for part in [&b"-ERR '"[..], text.as_bytes(), b"'\r\n"] {
                    out.extend_from_slice(part);
                }
            });
        }
        self.flush(id);
    }

    /// Tells a client what was wrong and closes its connection.
    pub(super) fn fail(&mut self, id: u64, text: &str, reason: CloseReason, now: Timestamp) {
        self.complain(id, text);
        self.close(id, reason, now);
    }

    /// Ends a connection for which more waits than it may leave unread. True when it did.
    pub(super) fn close_overrun(&mut self, id: u64, now: Timestamp) -> bool {
        let max_pending = self.limits.max_pending;
        let Some(connection) =
            self.connections.get_mut(&id).filter(|c| c.out.len() > max_pending && !c.is_closing())
        else {
            return false;
        };
        // What it has not read until now it will not get.
        connection.out = Vec::new();
        self.statistics.slow_consumers += 1;
        self.close(id, CloseReason::SlowConsumerPendingBytes, now);
        true
    }

    /// Ends a connection. What is in its outgoing buffer is still sent.
    pub(super) fn close(&mut self, id: u64, reason: CloseReason, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let was_open = match std::mem::replace(&mut connection.phase, Phase::Closing(reason)) {
            Phase::Closing(first) => {
                connection.phase = Phase::Closing(first);
                return;
            }
            Phase::Open => true,
            Phase::Greeting => false,
            Phase::Asking(_) => {
                self.asking -= 1;
                self.forget_question(id);
                false
            }
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for made_up in connection.single_responses.drain(..).chain(connection.stream_responses.drain(..)) {
            self.responses.remove(&made_up);
        }
        for slot in connection.slots() {
            self.unsubscribe_slot(id, slot, now);
        }
        self.arm_connection(id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.flush_queued = false;
        }
        self.flush(id);
        // Its reader may be waiting, and has to learn of the end.
        self.outputs.push_back(Output::Resume(ConnectionId(id)));
        if was_open {
            self.disconnected(id, reason, now);
        }
    }

    /// What has become due for a connection: an end of patience, of rights, or a ping.
    pub(super) fn connection_timeout(&mut self, id: u64, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.phase {
            Phase::Greeting if connection.deadline <= now => {
                self.fail(id, "Authentication Timeout", CloseReason::AuthenticationTimeout, now);
            }
            Phase::Asking(_) if connection.deadline <= now => {
                self.refuse(id, "the service did not answer in time", now);
            }
            Phase::Open => {
                if connection.expires.is_some_and(|at| at <= now) {
                    self.fail(id, "User Authentication Expired", CloseReason::AuthenticationExpired, now);
                } else if connection.next_ping <= now {
                    self.ping(id, now);
                }
            }
            Phase::Greeting | Phase::Asking(_) | Phase::Closing(_) => {}
        }
    }

    fn ping(&mut self, id: u64, now: Timestamp) {
        let (interval, max) = (self.limits.ping_interval, self.limits.ping_max);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.next_ping = now.plus(interval);
        // Who speaks lives, and need not be asked; but its first round trip is measured.
        let was_heard = std::mem::take(&mut connection.heard);
        if was_heard {
            connection.pings_unanswered = 0;
            if connection.ponged {
                return;
            }
        }
        if connection.pings_unanswered >= max {
            return self.fail(id, "Stale Connection", CloseReason::StaleConnection, now);
        }
        connection.ponged = true;
        connection.pings_unanswered += 1;
        connection.ping_sent = Some(now);
        connection.out.extend_from_slice(b"PING\r\n");
        self.flush(id);
    }

    pub(super) fn is_websocket(&self, id: u64) -> bool {
        self.connections.get(&id).is_some_and(|c| c.transport == Transport::WebSocket)
    }
}
