//! Bringing a stream back from its log.

use super::{Stream, StreamRecord};
use crate::{
    jetstream::{
        ConsumerId, Context, StreamId,
        consumer::{Consumer, ConsumerRecord, Progress},
        headers,
        log::{Damaged, Replay},
        store::{Expiry, Store, Stored},
    },
    time::Timestamp,
};

/// Reads the segments of one stream in order and then gives the stream.
pub(crate) struct RecoveryBuilder {
    id: StreamId,
    replay: Replay,
}

impl RecoveryBuilder {
    pub(crate) fn new(id: StreamId, segment_size: u64) -> RecoveryBuilder {
        RecoveryBuilder { id, replay: Replay::new(segment_size) }
    }

    /// Reads a segment and gives the length of its correct part.
    pub(crate) fn segment(&mut self, segment: u64, data: &[u8], is_last: bool) -> Result<u64, Damaged> {
        self.replay.segment(segment, data, is_last)
    }

    /// The name of the account that the stream belongs to; `None` when its creation never got to the disk.
    pub(crate) fn account(&self) -> Option<String> {
        self.record().map(|record| record.account)
    }

    fn record(&self) -> Option<StreamRecord> {
        let (json, _) = self.replay.stream.as_ref()?;
        serde_json::from_slice(json).ok()
    }

    /// The stream as it was when its last record got to the disk.
    pub(crate) fn finish(mut self, account: usize, cx: &mut Context<'_>) -> Option<Stream> {
        let record = self.record()?;
        let log = self.replay.finish();
        let mut store = Store::new(true, record.config.first_seq);
        for (seq, message) in std::mem::take(&mut self.replay.messages) {
            let subject = store.intern(&message.subject);
            store.insert(
                seq,
                Stored {
                    subject,
                    ts: message.ts,
                    headers: message.headers,
                    payload: message.payload,
                    place: message.place,
                    expiry: Expiry::Stream,
                    interest: 0,
                },
            );
        }
        store.last_seq = store.last_seq.max(self.replay.last_seq);
        store.last_ts = store.last_ts.max(self.replay.last_ts);
        let mut stream =
            Stream::build(self.id, account, &record.account, record.config, record.created, store, Some(log));
        if let Some((_, place)) = self.replay.stream {
            stream.place = place;
        }
        stream.restore_expiries();
        stream.restore_ids(std::mem::take(&mut self.replay.seen), cx.now);
        for (name, (json, place)) in std::mem::take(&mut self.replay.consumers) {
            let Ok(saved) = serde_json::from_slice::<ConsumerRecord>(&json) else { continue };
            stream.restore_consumer(&name, saved, place, cx);
        }
        stream.restore_rollups(cx);
        stream.recount_interest(cx);
        stream.enforce_limits(cx);
        stream.expire(cx);
        Some(stream)
    }
}

impl Stream {
    fn restore_expiries(&mut self) {
        let own: Vec<(u64, Expiry)> = self
            .store
            .range(0, u64::MAX)
            .filter(|(_, m)| headers::get(&m.headers, "Nats-TTL").is_some())
            .filter_map(|(seq, m)| Some((seq, self.expiry_of(&m.headers, m.ts).ok()?)))
            .collect();
        for (seq, expiry) in own {
            if let Some(mut message) = self.store.remove(seq) {
                message.expiry = expiry;
                self.store.insert(seq, message);
            }
        }
    }

    /// The log holds a message that was moved to its end twice, and the second time behind newer ones.
    fn restore_ids(&mut self, mut seen: Vec<(u64, Timestamp, bytes::Bytes)>, now: Timestamp) {
        let oldest = now.minus(self.config.duplicate_window.span());
        seen.sort_unstable_by_key(|(seq, _, _)| *seq);
        seen.dedup_by_key(|(seq, _, _)| *seq);
        let last = seen.last().filter(|(seq, _, _)| *seq == self.store.last_message_seq());
        self.ids.stored(last.map(|(_, _, id)| id.clone()));
        for (seq, ts, id) in seen {
            if ts >= oldest {
                self.ids.remember(id, seq, ts);
            }
        }
    }

    /// A roll-up is written before the removals that it causes, and a crash may come between.
    fn restore_rollups(&mut self, cx: &mut Context<'_>) {
        let rollups: Vec<(u64, Option<String>)> = self
            .store
            .range(0, u64::MAX)
            .filter_map(|(seq, m)| match headers::get(&m.headers, "Nats-Rollup") {
                Some(b"sub") => Some((seq, Some(m.subject.to_string()))),
                Some(b"all") => Some((seq, None)),
                _ => None,
            })
            .collect();
        for (seq, subject) in rollups {
            self.purge_older(subject.as_deref().unwrap_or(">"), seq, cx);
        }
    }

    fn restore_consumer(
        &mut self,
        name: &str,
        saved: ConsumerRecord,
        place: crate::jetstream::log::Place,
        cx: &mut Context<'_>,
    ) {
        let id = ConsumerId(self.next_consumer);
        self.next_consumer += 1;
        let mut progress = Progress::restore(&saved.progress);
        let lost: Vec<u64> = progress.pending_seqs().filter(|seq| self.store.get(*seq).is_none()).collect();
        for seq in lost {
            progress.settle(seq);
        }
        let mut consumer = Consumer::new(id, saved.config, progress, cx.now);
        debug_assert_eq!(consumer.name, name);
        consumer.created = saved.created;
        consumer.place = Some(place);
        consumer.first = saved.first.into_iter().filter(|seq| self.store.get(*seq).is_some()).collect();
        consumer.num_pending =
            self.store.count_matching(&consumer.config.filters(), consumer.progress.next_seq)
                + consumer.first.len() as u64;
        self.add_consumer(consumer, cx);
        self.wake(id);
        self.arm(id, cx.now);
    }
}
