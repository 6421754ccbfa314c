//! Storing a message: the checks in their order, and the acknowledgement.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use super::Stream;
use crate::{
    jetstream::{
        ConsumerId, Context,
        config::{Discard, Retention},
        error::ApiError,
        headers,
        log::{Place, Record},
        store::{Expiry, Stored},
    },
    protocol::API_LEVEL,
    subject,
    time::{Timestamp, parse_go_duration},
};

/// Header blocks of stored messages are at most this long.
const MAX_HEADERS: usize = 64 << 10;

/// Ids that are remembered for duplicates. When a window holds more, the oldest are forgotten.
const MAX_IDS: usize = 1 << 20;

/// A message on a subject of the stream.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) subject: &'a str,
    pub(crate) reply: Option<&'a str>,
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

enum Accepted {
    Stored(u64),
    Duplicate(u64),
}

/// The ids of recent messages, to know duplicates.
#[derive(Debug, Default)]
pub(super) struct MessageIds {
    seqs: HashMap<Bytes, u64>,
    order: VecDeque<(Timestamp, Bytes)>,
    /// That of the last message; empty when it had none.
    last: Bytes,
}

impl MessageIds {
    fn forget_before(&mut self, oldest: Timestamp) {
        while self.order.front().is_some_and(|(ts, _)| *ts < oldest) || self.order.len() > MAX_IDS {
            if let Some((_, id)) = self.order.pop_front() {
                self.seqs.remove(&id);
            }
        }
    }

    pub(super) fn remember(&mut self, id: Bytes, seq: u64, ts: Timestamp) {
        self.seqs.insert(id.clone(), seq);
        self.order.push_back((ts, id));
    }

    /// A message was stored, with this id or without one.
    pub(super) fn stored(&mut self, id: Option<Bytes>) {
        self.last = id.unwrap_or_default();
    }
}

impl Stream {
    /// Takes a message, and answers the publisher once it is on the disk. `room` is how many bytes the
    /// account may still use.
    pub(crate) fn publish(&mut self, message: Incoming<'_>, room: u64, cx: &mut Context<'_>) {
        let outcome = self.accept(message, room, cx);
        let Some(reply) = message.reply else { return };
        if self.config.no_ack {
            return;
        }
        let name = &self.name_json;
        let body = match outcome {
            Ok(Accepted::Stored(seq)) => format!(r#"{{"stream":{name},"seq":{seq}}}"#),
            Ok(Accepted::Duplicate(seq)) => format!(r#"{{"stream":{name},"seq":{seq},"duplicate":true}}"#),
            Err(error) => serde_json::json!({"error": error, "stream": self.name(), "seq": 0}).to_string(),
        };
        self.answer(reply, Vec::new(), body.into_bytes(), cx);
    }

    fn accept(
        &mut self,
        message: Incoming<'_>,
        room: u64,
        cx: &mut Context<'_>,
    ) -> Result<Accepted, ApiError> {
        self.usable()?;
        if self.config.sealed {
            return Err(ApiError::sealed());
        }
        let block = message.headers;
        // Most messages have no headers, so all of their checks are behind one.
        let (id, rollup) = if block.is_empty() { (None, None) } else { self.check_headers(&message)? };
        self.ids.forget_before(cx.now.minus(self.config.duplicate_window.span()));
        if let Some(id) = id
            && let Some(seq) = self.ids.seqs.get(id)
        {
            return Ok(Accepted::Duplicate(*seq));
        }
        if let Some(expected) = headers::get(block, "Nats-Expected-Last-Msg-Id")
            && self.ids.last != expected
        {
            return Err(ApiError::wrong_last_id(String::from_utf8_lossy(&self.ids.last)));
        }
        if rollup.is_some() && !self.config.allow_rollup_hdrs {
            return Err(ApiError::rollup_denied());
        }
        let len = block.len() + message.payload.len();
        if self.config.max_msg_size >= 0 && len as i64 > self.config.max_msg_size {
            return Err(ApiError::message_too_large());
        }
        if block.len() > MAX_HEADERS {
            return Err(ApiError::headers_too_large());
        }
        let size = self.store.size_of(message.subject.len(), block.len(), message.payload.len());
        if size > room {
            return Err(if self.is_file() { ApiError::no_storage() } else { ApiError::no_memory() });
        }
        let ts = cx.now.max(self.store.last_ts);
        let interested = self.filters.find(message.subject);
        if self.config.retention == Retention::Interest && interested.plain.is_empty() {
            let seq = self.skip(ts);
            if let Some(id) = id {
                self.ids.remember(Bytes::copy_from_slice(id), seq, ts);
            }
            return Ok(Accepted::Stored(seq));
        }
        if self.config.discard == Discard::New {
            self.check_room(message.subject, size)?;
        }
        let expiry = self.expiry_of(block, ts)?;
        let seq = self.store.last_seq + 1;
        let kept = headers::without_status(block);
        self.insert(
            seq,
            ts,
            message.subject,
            kept.into(),
            message.payload,
            expiry,
            interested.plain.len() as u32,
        );
        let id = id.map(Bytes::copy_from_slice);
        if let Some(id) = id.clone() {
            self.ids.remember(id, seq, ts);
        }
        self.ids.stored(id);
        for consumer in &interested.plain {
            self.tell(*consumer, seq);
        }
        match rollup {
            Some(Rollup::Subject) => self.purge_older(message.subject, seq, cx),
            Some(Rollup::All) => self.purge_older(">", seq, cx),
            None => {}
        }
        self.enforce_limits_after(message.subject, cx);
        Ok(Accepted::Stored(seq))
    }

    fn check_headers<'m>(
        &self,
        message: &Incoming<'m>,
    ) -> Result<(Option<&'m [u8]>, Option<Rollup>), ApiError> {
        let (mut id, mut rollup) = (None, None);
        let mut expected_last = None;
        let mut expected_subject = None;
        let mut expected_subject_filter = None;
        for (name, value) in headers::fields(message.headers) {
            let number = || std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok());
            match name {
                b"Nats-Incr" => return Err(ApiError::counters_disabled()),
                b"Nats-Batch-Id" => return Err(ApiError::batch_disabled()),
                b"Nats-Schedule" => return Err(ApiError::schedules_disabled()),
                b"Nats-Stream-Source" => return Err(ApiError::source_header()),
                b"Nats-Required-Api-Level" if number().is_none_or(|n| n > u64::from(API_LEVEL)) => {
                    return Err(ApiError::api_level());
                }
                b"Nats-Expected-Stream" if value != self.config.name.as_bytes() => {
                    return Err(ApiError::expected_stream());
                }
                b"Nats-TTL" if !self.config.allow_msg_ttl => return Err(ApiError::ttl_disabled()),
                b"Nats-Msg-Id" if !value.is_empty() => id = Some(value),
                b"Nats-Rollup" => {
                    rollup = Some(match value {
                        b"sub" => Rollup::Subject,
                        b"all" => Rollup::All,
                        _ => {
                            return Err(ApiError::rollup_value(format!(
                                "{:?}",
                                String::from_utf8_lossy(value)
                            )));
                        }
                    });
                }
                b"Nats-Expected-Last-Sequence" => {
                    expected_last = Some(number().ok_or_else(ApiError::bad_request)?);
                }
                b"Nats-Expected-Last-Subject-Sequence" => {
                    expected_subject = Some(number().ok_or_else(ApiError::bad_request)?);
                }
                b"Nats-Expected-Last-Subject-Sequence-Subject" => {
                    let text = std::str::from_utf8(value).ok().filter(|s| subject::is_valid(s));
                    expected_subject_filter = Some(text.ok_or_else(ApiError::bad_request)?);
                }
                _ => {}
            }
        }
        if let Some(expected) = expected_subject {
            let last = match expected_subject_filter {
                Some(filter) => self.store.last_matching(filter),
                None => self.store.of_subject(message.subject).and_then(|seqs| seqs.back().copied()),
            };
            if last.unwrap_or(0) != expected {
                return Err(ApiError::wrong_last_sequence(last.unwrap_or(0)));
            }
        }
        if let Some(expected) = expected_last
            && self.store.last_seq != expected
        {
            return Err(ApiError::wrong_last_sequence(self.store.last_seq));
        }
        Ok((id, rollup))
    }

    fn check_room(&self, subject: &str, size: u64) -> Result<(), ApiError> {
        let config = &self.config;
        let mut freed = (0, 0);
        if config.max_msgs_per_subject > 0
            && let Some(seqs) = self.store.of_subject(subject)
            && seqs.len() as i64 >= config.max_msgs_per_subject
        {
            if config.discard_new_per_subject {
                return Err(ApiError::store_failed("maximum messages per subject exceeded"));
            }
            // The oldest of the subject makes room.
            let oldest = seqs.front().and_then(|seq| self.store.get(*seq));
            freed = oldest.map_or((0, 0), |m| {
                (1, self.store.size_of(m.subject.len(), m.headers.len(), m.payload.len()))
            });
        }
        if config.max_msgs > 0 && self.store.len() as i64 - freed.0 >= config.max_msgs {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        if config.max_bytes > 0 && (self.store.bytes + size).saturating_sub(freed.1) as i64 > config.max_bytes
        {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        Ok(())
    }

    pub(super) fn expiry_of(&self, block: &[u8], ts: Timestamp) -> Result<Expiry, ApiError> {
        let Some(value) = headers::get_str(block, "Nats-TTL") else { return Ok(Expiry::Stream) };
        if value.is_empty() {
            return Ok(Expiry::Stream);
        }
        if value.eq_ignore_ascii_case("never") {
            return Ok(Expiry::Never);
        }
        let span = match value.parse::<u64>() {
            Ok(seconds) => std::time::Duration::from_secs(seconds),
            Err(_) => parse_go_duration(value).ok_or_else(ApiError::ttl_invalid)?,
        };
        if span.is_zero() {
            return Ok(Expiry::Stream);
        }
        if span < std::time::Duration::from_secs(1) {
            return Err(ApiError::ttl_invalid());
        }
        Ok(Expiry::At(ts.plus(span)))
    }

    /// Uses up a sequence without a message.
    fn skip(&mut self, ts: Timestamp) -> u64 {
        self.store.last_seq += 1;
        self.store.last_ts = ts;
        let seq = self.store.last_seq;
        if let Some(log) = &mut self.log {
            log.use_up_to(seq);
        }
        seq
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a message, which has no owner yet")]
    pub(super) fn insert(
        &mut self,
        seq: u64,
        ts: Timestamp,
        subject: &str,
        headers: Bytes,
        payload: &[u8],
        expiry: Expiry,
        interest: u32,
    ) {
        let mut place = Place::default();
        if let Some(log) = &mut self.log {
            let record = Record::Message { seq, ts, subject, headers: &headers, payload };
            place = log.append(&record, self.store.last_seq);
            self.commits.push_back((log.appended, seq));
        }
        let stored = Stored {
            subject: self.store.intern(subject),
            ts,
            headers,
            payload: Bytes::copy_from_slice(payload),
            place,
            expiry,
            interest,
        };
        self.store.insert(seq, stored);
    }

    /// Tells a consumer of a new message that its filters match.
    pub(super) fn tell(&mut self, id: ConsumerId, seq: u64) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.arrived(seq);
        if self.log.is_none() {
            self.wake(id);
        }
    }
}

#[derive(Clone, Copy)]
enum Rollup {
    Subject,
    All,
}
