//! How messages leave a stream: limits, age, purges, deletes, and being done with.

use serde::Deserialize;
use serde_json::json;

use super::Stream;
use crate::{
    jetstream::{
        Context, Effect,
        config::{Discard, Retention},
        error::ApiError,
        headers,
        log::Record,
        store::Expiry,
    },
    subject,
    time::{Timestamp, go_duration},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::jetstream) struct PurgeRequest {
    filter: String,
    seq: u64,
    keep: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::jetstream) struct DeleteRequest {
    seq: u64,
    /// Whether bytes are overwritten makes no difference here: they go with their segment.
    #[serde(rename = "no_erase")]
    _no_erase: bool,
}

/// Messages that one turn expires. More are left to the next, so that nobody waits long.
const EXPIRE_BATCH: usize = 4096;

impl Stream {
    /// Removes one message and tells everybody who counts on it.
    pub(super) fn remove(&mut self, seq: u64, cx: &mut Context<'_>) -> bool {
        let Some(message) = self.store.remove(seq) else { return false };
        if let Some(log) = &mut self.log {
            log.release(message.place);
            match &mut self.removed {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => {
                    self.flush_removed();
                    self.removed = Some((seq, seq));
                }
            }
        }
        let found = self.filters.find(&message.subject);
        for id in &found.plain {
            let Some(consumer) = self.consumers.get_mut(id) else { continue };
            if let Some(deliveries) = consumer.gone(seq) {
                consumer.dirty = true;
                let body = json!({
                    "stream": self.config.name, "consumer": consumer.name, "consumer_seq": consumer.progress.delivered,
                    "stream_seq": seq, "deliveries": deliveries, "reason": "Unacknowledged message was deleted",
                });
                cx.effects.push_back(Effect::Advisory {
                    account: self.account,
                    subject: format!("CONSUMER.MSG_TERMINATED.{}.{}", self.config.name, consumer.name),
                    kind: "terminated",
                    body,
                });
            }
        }
        true
    }

    pub(super) fn flush_removed(&mut self) {
        if let (Some(log), Some((first, last))) = (&mut self.log, self.removed.take()) {
            log.note(&Record::Removed { first, last }, self.store.last_seq);
        }
    }

    /// Removes what the limits no longer allow after a message on `subject`.
    pub(super) fn enforce_limits_after(&mut self, subject: &str, cx: &mut Context<'_>) {
        if self.config.max_msgs_per_subject > 0 {
            self.enforce_subject(subject, cx);
        }
        if self.config.discard == Discard::Old {
            self.enforce_totals(cx);
        }
    }

    /// Removes what the limits do not allow, over the whole stream.
    pub(super) fn enforce_limits(&mut self, cx: &mut Context<'_>) {
        if self.config.max_msgs_per_subject > 0 {
            let limit = self.config.max_msgs_per_subject as usize;
            let over: Vec<_> = self
                .store
                .subjects_matching(">")
                .filter(|(_, seqs)| seqs.len() > limit)
                .map(|(subject, _)| std::sync::Arc::clone(subject))
                .collect();
            for subject in over {
                self.enforce_subject(&subject, cx);
            }
        }
        self.enforce_totals(cx);
    }

    fn enforce_subject(&mut self, subject: &str, cx: &mut Context<'_>) {
        let limit = self.config.max_msgs_per_subject as usize;
        while let Some(seqs) = self.store.of_subject(subject).filter(|seqs| seqs.len() > limit) {
            let Some(oldest) = seqs.front().copied() else { break };
            self.remove(oldest, cx);
        }
    }

    fn enforce_totals(&mut self, cx: &mut Context<'_>) {
        let (msgs, bytes) = (self.config.max_msgs, self.config.max_bytes);
        while (msgs > 0 && self.store.len() as i64 > msgs) || (bytes > 0 && self.store.bytes as i64 > bytes) {
            let Some((seq, _)) = self.store.first() else { break };
            self.remove(seq, cx);
        }
    }

    /// Removes messages whose time is over.
    pub(super) fn expire(&mut self, cx: &mut Context<'_>) {
        for _ in 0..EXPIRE_BATCH {
            match self.store.next_expiry() {
                Some((at, seq)) if at <= cx.now => self.expire_one(seq, cx),
                _ => break,
            }
        }
        if self.config.max_age.is_zero() {
            return;
        }
        let oldest = cx.now.minus(self.config.max_age.span());
        for _ in 0..EXPIRE_BATCH {
            match self.store.oldest_aging() {
                Some((seq, message)) if message.ts <= oldest => self.expire_one(seq, cx),
                _ => break,
            }
        }
    }

    fn expire_one(&mut self, seq: u64, cx: &mut Context<'_>) {
        let Some(message) = self.store.get(seq) else { return };
        let (subject, block) = (std::sync::Arc::clone(&message.subject), message.headers.clone());
        self.remove(seq, cx);
        let ttl = self.config.subject_delete_marker_ttl;
        if ttl.is_zero() || self.store.of_subject(&subject).is_some() {
            return;
        }
        // What already says that the subject is empty leaves no marker behind.
        let says_gone = headers::get(&block, "Nats-Marker-Reason").is_some()
            || matches!(headers::get(&block, "KV-Operation"), Some(b"DEL" | b"PURGE"));
        if !says_gone {
            self.store_marker(&subject, ttl.span(), cx);
        }
    }

    fn store_marker(&mut self, subject: &str, ttl: std::time::Duration, cx: &mut Context<'_>) {
        let ts = cx.now.max(self.store.last_ts);
        let block = headers::with_fields(
            b"",
            &[("Nats-Marker-Reason", "MaxAge"), ("Nats-Rollup", "sub"), ("Nats-TTL", &go_duration(ttl))],
        );
        let interested = self.filters.find(subject);
        if self.config.retention == Retention::Interest && interested.plain.is_empty() {
            return;
        }
        let seq = self.store.last_seq + 1;
        let expiry = Expiry::At(Timestamp::plus(ts, ttl));
        self.insert(seq, ts, subject, block.into(), b"", expiry, interested.plain.len() as u32);
        for id in &interested.plain {
            self.tell(*id, seq);
        }
    }

    /// Removes what is older than `seq` on `filter`, as a roll-up does.
    pub(super) fn purge_older(&mut self, filter: &str, seq: u64, cx: &mut Context<'_>) {
        let gone: Vec<u64> = self
            .store
            .subjects_matching(filter)
            .flat_map(|(_, seqs)| seqs.iter().copied().filter(|s| *s < seq))
            .collect();
        self.remove_all(gone, cx);
    }

    fn remove_all(&mut self, mut seqs: Vec<u64>, cx: &mut Context<'_>) -> usize {
        // In order, so that neighbours become one record.
        seqs.sort_unstable();
        let count = seqs.len();
        for seq in seqs {
            self.remove(seq, cx);
        }
        count
    }

    /// Carries out STREAM.PURGE and counts what went.
    pub(in crate::jetstream) fn purge(
        &mut self,
        request: &PurgeRequest,
        cx: &mut Context<'_>,
    ) -> Result<usize, ApiError> {
        self.usable()?;
        if self.config.sealed {
            return Err(ApiError::sealed());
        }
        if self.config.deny_purge {
            return Err(ApiError::purge_denied());
        }
        if request.seq > 0 && request.keep > 0 {
            return Err(ApiError::bad_request());
        }
        let filter = if request.filter.is_empty() { ">" } else { &request.filter };
        if !subject::is_valid(filter) {
            return Err(ApiError::bad_request());
        }
        let mut seqs: Vec<u64> =
            self.store.subjects_matching(filter).flat_map(|(_, seqs)| seqs.iter().copied()).collect();
        seqs.sort_unstable();
        if request.seq > 0 {
            seqs.truncate(seqs.partition_point(|s| *s < request.seq));
        }
        let keep = usize::try_from(request.keep).unwrap_or(usize::MAX);
        seqs.truncate(seqs.len().saturating_sub(keep));
        let purged = self.remove_all(seqs, cx);
        // Now, so that the answer waits until it is on the disk.
        self.flush_removed();
        if self.store.len() == 0 {
            let next = self.store.last_seq + 1;
            for consumer in self.consumers.values_mut() {
                consumer.progress.skip_to(next);
                consumer.dirty = true;
            }
        }
        self.note_dirty(cx.now);
        Ok(purged)
    }

    /// Carries out STREAM.MSG.DELETE.
    pub(in crate::jetstream) fn delete_message(
        &mut self,
        request: &DeleteRequest,
        cx: &mut Context<'_>,
    ) -> Result<(), ApiError> {
        self.usable()?;
        if self.config.sealed {
            return Err(ApiError::sealed());
        }
        if self.config.deny_delete {
            return Err(ApiError::delete_denied());
        }
        if request.seq > self.store.last_seq {
            return Err(ApiError::sequence_not_found(request.seq));
        }
        if !self.remove(request.seq, cx) {
            return Err(ApiError::delete_no_message());
        }
        // Now, so that the answer waits until it is on the disk.
        self.flush_removed();
        Ok(())
    }

    /// A consumer is done with `seq`.
    pub(super) fn done(&mut self, seq: u64, cx: &mut Context<'_>) {
        match self.config.retention {
            Retention::Limits => {}
            Retention::Workqueue => {
                self.remove(seq, cx);
            }
            Retention::Interest => {
                let Some(message) = self.store.get_mut(seq) else { return };
                message.interest = message.interest.saturating_sub(1);
                if message.interest == 0 {
                    self.remove(seq, cx);
                }
            }
        }
    }

    /// Counts anew which consumers need which message, and removes what nobody needs.
    pub(super) fn recount_interest(&mut self, cx: &mut Context<'_>) {
        if self.config.retention != Retention::Interest {
            return;
        }
        let all: Vec<u64> = self.store.range(0, u64::MAX).map(|(seq, _)| seq).collect();
        for seq in all {
            let Some(subject) = self.store.get(seq).map(|m| std::sync::Arc::clone(&m.subject)) else {
                continue;
            };
            let found = self.filters.find(&subject);
            let needed =
                found.plain.iter().filter(|id| self.consumers.get(*id).is_some_and(|c| c.needs(seq))).count();
            if needed == 0 {
                self.remove(seq, cx);
            } else if let Some(message) = self.store.get_mut(seq) {
                message.interest = needed as u32;
            }
        }
    }
}
