//! Routing: from a subject in an account to everybody who gets the message.

use std::sync::Arc;

use rand::RngExt;

use super::{
    Broker, Timer,
    account::Target,
    connection::{Connection, Phase},
};
use crate::{
    config::ResponseType,
    jetstream::{
        Incoming,
        api::{self, API_PREFIX},
    },
    protocol::{self, status_headers},
    random_token,
    time::Timestamp,
};

/// A request may pass through this many imports. More is a circle.
const MAX_HOPS: u8 = 4;

/// Replies that were made up for requests through imports start with this.
pub(super) const RESPONSE_PREFIX: &str = "_R_.";

/// How long a request through an import waits for its single answer.
const RESPONSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);
const RESPONSE_SWEEP: std::time::Duration = std::time::Duration::from_secs(30);

/// Requests through imports of one connection that may wait for one answer each, and inboxes for which answers may still
/// come. The oldest is given up for a new one. A browser has a few of each; more would let one guest use up
/// [`crate::Limits::max_pending_responses`], which is for everybody.
const MAX_SINGLE_RESPONSES: usize = 256;
const MAX_STREAM_RESPONSES: usize = 256;

/// A message on its way.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a str,
    /// What receivers see as subject, when it is another one.
    pub(super) shown: Option<&'a str>,
    pub(super) reply: Option<&'a str>,
    pub(super) headers: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn plain(subject: &'a str, payload: &'a [u8]) -> Message<'a> {
        Message { subject, shown: None, reply: None, headers: b"", payload }
    }
}

/// Where the answers to a request through an import go.
pub(super) struct Response {
    /// Where the made-up reply is used.
    pub(super) exporter: usize,
    /// Where the request came from, with its real reply.
    pub(super) importer: usize,
    pub(super) reply: Box<str>,
    kind: ResponseType,
    /// Whose request it is.
    origin: Option<u64>,
    /// When the one answer is overdue. Many answers may come as long as somebody listens.
    until: Timestamp,
}

impl Broker {
    /// Delivers a message to everybody in the account. True when there was somebody.
    pub(super) fn route(
        &mut self,
        account: usize,
        message: &Message<'_>,
        origin: Option<u64>,
        now: Timestamp,
    ) -> bool {
        self.route_hop(account, message, origin, now, 0)
    }

    fn route_hop(
        &mut self,
        account: usize,
        message: &Message<'_>,
        origin: Option<u64>,
        now: Timestamp,
        hops: u8,
    ) -> bool {
        if message.subject.starts_with(RESPONSE_PREFIX) && self.respond(account, message, origin, now, hops) {
            return true;
        }
        let found = self.accounts[account].subs.find(message.subject);
        let mut anybody = false;
        let mut imported = false;
        for target in &found.plain {
            match *target {
                Target::Client { connection, slot, import } => {
                    anybody |= self.deliver(connection, slot, import, message, origin, now);
                }
                Target::Stream { stream, import } => {
                    self.store(account, stream, import, message, now);
                    anybody = true;
                }
                Target::Service(number) => {
                    imported = true;
                    anybody |= self.forward(account, number, message, origin, now, hops);
                }
                Target::JetStream => {
                    // What an account imports is not for its own JetStream.
                    let elsewhere = imported || found.plain.iter().any(|t| matches!(t, Target::Service(_)));
                    anybody |= !elsewhere && self.jetstream_request(account, message, now);
                }
                Target::System => anybody |= self.system_request(account, message, origin, now),
            }
        }
        for (_, members) in &found.queues {
            let start = self.rng.random_range(0..members.len());
            for at in 0..members.len() {
                if let Target::Client { connection, slot, import } = members[(start + at) % members.len()]
                    && self.deliver(connection, slot, import, message, origin, now)
                {
                    anybody = true;
                    break;
                }
            }
        }
        anybody
    }

    /// Writes a message into the buffer of one client.
    fn deliver(
        &mut self,
        id: u64,
        slot: u32,
        import: Option<u16>,
        message: &Message<'_>,
        origin: Option<u64>,
        now: Timestamp,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if !matches!(connection.phase, Phase::Open) || (origin == Some(id) && !connection.options.echo) {
            return false;
        }
        let mut shown = message.shown.unwrap_or(message.subject);
        // What the client subscribed, and what its rights speak of.
        let mut local = message.subject;
        let (renamed, renamed_local);
        if let Some(import) = import {
            let map = &self.accounts[connection.account].streams[usize::from(import)].map;
            let (Some(name), Some(local_name)) = (map.apply(shown), map.apply(local)) else { return false };
            (renamed, renamed_local) = (name, local_name);
            (shown, local) = (&renamed, &renamed_local);
        }
        let with_headers = connection.options.headers;
        let permissions = connection.permissions.clone();
        let Some(subscription) = connection.subscription(slot) else { return false };
        if subscription.filtered && permissions.as_ref().is_some_and(|p| p.withholds(local)) {
            return false;
        }
        subscription.delivered += 1;
        let is_last = subscription.max.is_some_and(|max| subscription.delivered >= max);
        let sid = std::mem::take(&mut subscription.sid);
        let headers = if with_headers { message.headers } else { b"" };
        protocol::message(&mut connection.out, shown, &sid, message.reply, headers, message.payload);
        if let Some(subscription) = connection.subscription(slot) {
            subscription.sid = sid;
        }
        connection.received.messages += 1;
        connection.received.bytes += (message.headers.len() + message.payload.len()) as u64;
        if let (Some(reply), Some(permissions)) = (message.reply, permissions)
            && let Some(allowed) = permissions.allow_responses
            && !permissions.may_publish(reply)
        {
            note_answerable(connection, reply, allowed, now);
        }
        self.statistics.messages_out += 1;
        if is_last {
            self.unsubscribe_slot(id, slot, now);
        }
        self.close_overrun(id, now);
        self.flush(id);
        true
    }

    /// Gives a message to a stream.
    fn store(
        &mut self,
        account: usize,
        stream: crate::jetstream::StreamId,
        import: Option<u16>,
        message: &Message<'_>,
        now: Timestamp,
    ) {
        let Some((owner, file)) = self.jetstream.streams.get(&stream).map(|s| (s.account, s.is_file()))
        else {
            return;
        };
        let renamed = import
            .and_then(|import| self.accounts[owner].streams[usize::from(import)].map.apply(message.subject));
        let subject = renamed.as_deref().unwrap_or(message.subject);
        let room = self.jetstream.room(owner, file);
        // A publisher of another account expects no answer from here.
        let reply = message.reply.filter(|_| owner == account);
        let incoming = Incoming { subject, reply, headers: message.headers, payload: message.payload };
        self.with_stream(stream, now, |stream, cx| stream.publish(incoming, room, cx));
        self.jetstream.count(stream);
    }

    /// Sends a request on to the account that it is imported from.
    fn forward(
        &mut self,
        account: usize,
        number: u16,
        message: &Message<'_>,
        origin: Option<u64>,
        now: Timestamp,
        hops: u8,
    ) -> bool {
        if hops >= MAX_HOPS {
            return false;
        }
        let import = Arc::clone(&self.accounts[account].services[usize::from(number)]);
        let Some(there) = import.map.apply(message.subject) else { return false };
        let made_up = match message.reply {
            None => None,
            Some(reply) => {
                match self.expect_response(account, import.exporter, reply, import.response, origin, now) {
                    Some(made_up) => Some(made_up),
                    None => return false,
                }
            }
        };
        let forwarded = Message { subject: &there, shown: None, reply: made_up.as_deref(), ..*message };
        let anybody = self.route_hop(import.exporter, &forwarded, origin, now, hops + 1);
        if !anybody
            && import.response == ResponseType::Single
            && let Some(made_up) = made_up
        {
            self.forget_response(&made_up);
        }
        anybody
    }

    /// Makes up a reply for the other account. `None` when too many requests wait already.
    fn expect_response(
        &mut self,
        importer: usize,
        exporter: usize,
        reply: &str,
        kind: ResponseType,
        origin: Option<u64>,
        now: Timestamp,
    ) -> Option<Box<str>> {
        if let Some(connection) = origin.and_then(|id| self.connections.get_mut(&id)) {
            if kind == ResponseType::Stream {
                // A client that asks again and again for one inbox needs one name for it.
                let responses = &self.responses;
                let is_same =
                    |r: &Response| r.exporter == exporter && r.importer == importer && *r.reply == *reply;
                let mut known = connection.stream_responses.iter();
                if let Some(same) = known.find(|made_up| responses.get(*made_up).is_some_and(is_same)) {
                    return Some(same.clone());
                }
            }
            let (list, max) = match kind {
                ResponseType::Single => (&mut connection.single_responses, MAX_SINGLE_RESPONSES),
                ResponseType::Stream => (&mut connection.stream_responses, MAX_STREAM_RESPONSES),
            };
            if list.len() >= max
                && let Some(oldest) = list.pop_front()
            {
                self.responses.remove(&oldest);
            }
        }
        if self.responses.len() >= self.limits.max_pending_responses {
            self.statistics.responses_refused += 1;
            return None;
        }
        if !self.sweeping {
            self.sweeping = true;
            self.timers.insert((now.plus(RESPONSE_SWEEP), Timer::Responses));
        }
        let made_up: Box<str> = format!("{RESPONSE_PREFIX}{}", random_token(&mut self.rng, 22)).into();
        let until = now.plus(RESPONSE_TIMEOUT);
        let response = Response { exporter, importer, reply: reply.into(), kind, origin, until };
        self.responses.insert(made_up.clone(), response);
        if let Some(connection) = origin.and_then(|id| self.connections.get_mut(&id)) {
            match kind {
                ResponseType::Single => connection.single_responses.push_back(made_up.clone()),
                ResponseType::Stream => connection.stream_responses.push_back(made_up.clone()),
            }
        }
        Some(made_up)
    }

    /// Gives up a request through an import.
    fn forget_response(&mut self, made_up: &str) -> Option<Response> {
        let response = self.responses.remove(made_up)?;
        if let Some(connection) = response.origin.and_then(|id| self.connections.get_mut(&id)) {
            let list = match response.kind {
                ResponseType::Single => &mut connection.single_responses,
                ResponseType::Stream => &mut connection.stream_responses,
            };
            if let Some(at) = list.iter().position(|name| **name == *made_up) {
                list.remove(at);
            }
        }
        Some(response)
    }

    /// Carries an answer back to the account of the request. False when nobody waits for it.
    fn respond(
        &mut self,
        account: usize,
        message: &Message<'_>,
        origin: Option<u64>,
        now: Timestamp,
        hops: u8,
    ) -> bool {
        let Some(response) = self.responses.get(message.subject).filter(|r| r.exporter == account) else {
            return false;
        };
        if hops >= MAX_HOPS {
            return false;
        }
        let importer = response.importer;
        let reply = match response.kind {
            ResponseType::Single => match self.forget_response(message.subject) {
                Some(response) => response.reply,
                None => return false,
            },
            ResponseType::Stream => response.reply.clone(),
        };
        let answer = Message { subject: &reply, ..*message };
        self.route_hop(importer, &answer, origin, now, hops + 1);
        true
    }

    /// Gives up requests whose answer is overdue, or whose client no longer listens.
    pub(super) fn expire_responses(&mut self, now: Timestamp) {
        let accounts = &mut self.accounts;
        let over: Vec<Box<str>> = self
            .responses
            .iter()
            .filter(|(_, response)| match response.kind {
                ResponseType::Single => response.until <= now,
                ResponseType::Stream => accounts[response.importer].subs.find(&response.reply).is_empty(),
            })
            .map(|(made_up, _)| made_up.clone())
            .collect();
        for made_up in over {
            self.forget_response(&made_up);
        }
        self.sweeping = !self.responses.is_empty();
        if self.sweeping {
            self.timers.insert((now.plus(RESPONSE_SWEEP), Timer::Responses));
        }
    }

    fn jetstream_request(&mut self, account: usize, message: &Message<'_>, now: Timestamp) -> bool {
        let subject = message.subject;
        if let Some(verb) = subject.strip_prefix(API_PREFIX) {
            if !self.accounts[account].jetstream {
                if let Some(reply) = message.reply {
                    self.effects.push_back(api::not_enabled(account, verb, reply));
                }
                return true;
            }
            let name = api::stream_of(&verb.splitn(5, '.').collect::<Vec<_>>());
            return self.with_jetstream(account, name, now, |jetstream, account_name, cx| {
                let body = (message.headers, message.payload);
                jetstream.request((account, account_name), verb, body, message.reply, cx)
            });
        }
        if let Some(rest) = subject.strip_prefix("$JS.ACK.") {
            let name = rest.split('.').next().unwrap_or_default();
            return self.with_jetstream(account, name, now, |jetstream, _, cx| {
                jetstream.acknowledge(account, rest, message.payload, message.reply, cx)
            });
        }
        let name = subject.split('.').nth(2).unwrap_or_default();
        self.with_jetstream(account, name, now, |jetstream, _, _| jetstream.flow_confirmed(account, subject))
    }

    /// Tells a client that nobody is there for its request.
    pub(super) fn no_responders(&mut self, id: u64, subject: &str, reply: &str) {
        let max_pending = self.limits.max_pending;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let headers = status_headers(503, "", &[("Nats-Subject", subject)]);
        for sid in connection.matching_sids(reply) {
            connection.answer(|out| protocol::message(out, reply, &sid, None, &headers, b""));
            if connection.out.len() > max_pending {
                break;
            }
        }
        self.flush(id);
    }
}

/// Replies that one client may answer at a time.
const MAX_ANSWERABLE: usize = 4096;

fn note_answerable(
    connection: &mut Connection,
    reply: &str,
    allowed: crate::config::AllowResponses,
    now: Timestamp,
) {
    if connection.answerable.len() >= MAX_ANSWERABLE {
        connection.answerable.retain(|_, (_, until)| *until > now);
    }
    if connection.answerable.len() < MAX_ANSWERABLE {
        connection.answerable.insert(reply.into(), (allowed.max, now.plus(allowed.expires)));
    }
}
