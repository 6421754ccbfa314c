//! The log of a stream: what is written, in which segments, and how it is read again after a crash.
//!
//! A stream is one sequence of records: its configuration, its messages, their removals, and the
//! configurations and progress of its consumers. The broker decides what goes into which segment and
//! when a segment is no longer needed; the shell only carries out [`LogOp`]s in order, and says up to
//! which one they are on the disk.
//!
//! A record is `length u32 | crc32 u32 | body`, little endian, the checksum over the body. A segment that
//! was being written when the machine stopped ends with an incomplete or wrong record: everything from
//! there on was never acknowledged and is cut off.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use bytes::Bytes;

use crate::time::Timestamp;

/// Starts every segment: what it is, and the version of the format.
const MAGIC: &[u8; 8] = b"PLNMLOG1";

/// Longer bodies are not written, so a longer length is damage. Above the largest message that can be configured, and
/// above a consumer with as many waiting deliveries as it may have.
pub(crate) const MAX_BODY: usize = 80 << 20;

/// One thing that the shell does to the files of a stream. In order, each after the one before.
#[derive(Clone, PartialEq, Eq)]
pub enum LogOp {
    /// Adds `data` at the end of a segment, which is created by its first bytes. When a new segment
    /// begins, the one before must be on the disk already.
    Append {
        /// The number of the segment. They count up.
        segment: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Deletes a segment, after everything before is on the disk.
    Drop {
        /// The number of the segment.
        segment: u64,
    },
    /// Deletes the whole stream.
    Remove,
}

/// Without what is in it: that is what people say.
impl fmt::Debug for LogOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append { segment, data } => {
                f.debug_struct("Append").field("segment", segment).field("len", &data.len()).finish()
            }
            Self::Drop { segment } => f.debug_struct("Drop").field("segment", segment).finish(),
            Self::Remove => f.write_str("Remove"),
        }
    }
}

/// What a record says. Not printable but in tests.
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// The stream itself, as JSON. The last one counts.
    Stream(&'a [u8]),
    Message {
        seq: u64,
        ts: Timestamp,
        subject: &'a str,
        headers: &'a [u8],
        payload: &'a [u8],
    },
    /// The messages `first..=last` are gone.
    Removed {
        first: u64,
        last: u64,
    },
    /// Sequences up to here are used, also those without a message.
    Used {
        last: u64,
    },
    /// A consumer, as JSON. The last one of a name counts.
    Consumer {
        name: &'a str,
        state: &'a [u8],
    },
    ConsumerRemoved {
        name: &'a str,
    },
}

impl Record<'_> {
    fn encode(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        match self {
            Record::Stream(json) => {
                out.push(1);
                out.extend_from_slice(json);
            }
            Record::Message { seq, ts, subject, headers, payload } => {
                out.push(2);
                out.extend_from_slice(&seq.to_le_bytes());
                out.extend_from_slice(&ts.0.to_le_bytes());
                // Both lengths are bounded far below by the protocol's limits.
                out.extend_from_slice(&(subject.len() as u16).to_le_bytes());
                out.extend_from_slice(&(headers.len() as u32).to_le_bytes());
                out.extend_from_slice(subject.as_bytes());
                out.extend_from_slice(headers);
                out.extend_from_slice(payload);
            }
            Record::Removed { first, last } => {
                out.push(3);
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&last.to_le_bytes());
            }
            Record::Used { last } => {
                out.push(4);
                out.extend_from_slice(&last.to_le_bytes());
            }
            Record::Consumer { name, state } => {
                out.push(5);
                out.extend_from_slice(&(name.len() as u16).to_le_bytes());
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(state);
            }
            Record::ConsumerRemoved { name } => {
                out.push(6);
                out.extend_from_slice(name.as_bytes());
            }
        }
        let body = &out[start + 8..];
        debug_assert!(body.len() <= MAX_BODY, "callers bound what they write");
        let (len, crc) = (body.len() as u32, crc32fast::hash(body));
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        out.len() - start
    }

    /// The record at the front of `data` with its length, or `None` when there is no whole, correct one.
    fn decode(data: &[u8]) -> Option<(Record<'_>, usize)> {
        let len = u32::from_le_bytes(data.get(..4)?.try_into().ok()?) as usize;
        let crc = u32::from_le_bytes(data.get(4..8)?.try_into().ok()?);
        if len == 0 || len > MAX_BODY {
            return None;
        }
        let body = data.get(8..8 + len)?;
        if crc32fast::hash(body) != crc {
            return None;
        }
        let (kind, rest) = body.split_first()?;
        let u64_at = |at: usize| Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?));
        let record = match kind {
            1 => Record::Stream(rest),
            2 => {
                let subject_len = usize::from(u16::from_le_bytes(rest.get(16..18)?.try_into().ok()?));
                let header_len = u32::from_le_bytes(rest.get(18..22)?.try_into().ok()?) as usize;
                let (subject, rest2) = rest.get(22..)?.split_at_checked(subject_len)?;
                let (headers, payload) = rest2.split_at_checked(header_len)?;
                Record::Message {
                    seq: u64_at(0)?,
                    ts: Timestamp(u64_at(8)? as i64),
                    subject: std::str::from_utf8(subject).ok()?,
                    headers,
                    payload,
                }
            }
            3 => Record::Removed { first: u64_at(0)?, last: u64_at(8)? },
            4 => Record::Used { last: u64_at(0)? },
            5 => {
                let name_len = usize::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?));
                let (name, state) = rest.get(2..)?.split_at_checked(name_len)?;
                Record::Consumer { name: std::str::from_utf8(name).ok()?, state }
            }
            6 => Record::ConsumerRemoved { name: std::str::from_utf8(rest).ok()? },
            _ => return None,
        };
        Some((record, 8 + len))
    }
}

/// Where a record lies, to know when its segment is no longer needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) len: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    total: u64,
    live: u64,
    /// The sequences of the messages in it lie between these.
    first: u64,
    last: u64,
}

/// The writing end of a stream's log.
pub(super) struct Log {
    segment_size: u64,
    segments: BTreeMap<u64, Usage>,
    current: u64,
    buffer: Vec<u8>,
    ops: VecDeque<LogOp>,
    /// Records written so far, and how many of them are known to be on the disk.
    pub(super) appended: u64,
    pub(super) durable: u64,
    /// Sequences up to here count as used after a crash.
    used: u64,
    /// Nothing is written any more.
    has_failed: bool,
}

/// An old segment whose remaining records should move to the end.
pub(super) struct Evacuation {
    pub(super) segment: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Sequences that one record marks as used ahead, so that dropped messages cost no record each.
const USED_AHEAD: u64 = 1024;

impl Log {
    pub(super) fn new(segment_size: u64) -> Log {
        Log {
            segment_size,
            segments: BTreeMap::new(),
            current: 0,
            buffer: Vec::new(),
            ops: VecDeque::new(),
            appended: 0,
            durable: 0,
            used: 0,
            has_failed: false,
        }
    }

    /// The disk refused. What was to be written is forgotten, and so is everything from now on.
    pub(super) fn fail(&mut self) {
        self.has_failed = true;
        self.buffer = Vec::new();
        self.ops = VecDeque::new();
    }

    /// Adds a record that stays needed until [`Log::release`].
    pub(super) fn append(&mut self, record: &Record<'_>, last_seq: u64) -> Place {
        let len = self.write(record, last_seq);
        let usage = self.segments.entry(self.current).or_default();
        usage.live += len as u64;
        if let Record::Message { seq, .. } = record {
            usage.first = if usage.first == 0 { *seq } else { usage.first.min(*seq) };
            usage.last = usage.last.max(*seq);
        }
        Place { segment: self.current, len: len as u32 }
    }

    /// Adds a record that matters only as long as what it speaks of is in an earlier or the same segment.
    pub(super) fn note(&mut self, record: &Record<'_>, last_seq: u64) {
        self.write(record, last_seq);
    }

    /// Makes sure that `last_seq` is not used again after a crash.
    pub(super) fn use_up_to(&mut self, last_seq: u64) {
        if last_seq > self.used {
            self.used = last_seq + USED_AHEAD;
            let used = self.used;
            self.note(&Record::Used { last: used }, last_seq);
        }
    }

    fn write(&mut self, record: &Record<'_>, last_seq: u64) -> usize {
        if self.has_failed {
            return 0;
        }
        let full = self.segments.get(&self.current).is_some_and(|u| u.total >= self.segment_size);
        if self.segments.is_empty() || full {
            self.begin_segment(last_seq);
        }
        if let Record::Message { seq, .. } = record {
            self.used = self.used.max(*seq);
        }
        let len = record.encode(&mut self.buffer);
        self.segments.entry(self.current).or_default().total += len as u64;
        self.appended += 1;
        len
    }

    fn begin_segment(&mut self, last_seq: u64) {
        self.flush();
        self.current += 1;
        self.buffer.extend_from_slice(MAGIC);
        // Earlier segments may be dropped, and with them everything that told the last sequence.
        let len = Record::Used { last: self.used.max(last_seq) }.encode(&mut self.buffer) + MAGIC.len();
        self.segments.insert(self.current, Usage { total: len as u64, ..Usage::default() });
    }

    /// The record at `place` is no longer needed.
    pub(super) fn release(&mut self, place: Place) {
        if let Some(usage) = self.segments.get_mut(&place.segment) {
            usage.live = usage.live.saturating_sub(u64::from(place.len));
        }
    }

    /// Drops old segments without needed records. Gives the oldest one when more than half of the log is
    /// waste, so that the caller appends what is left in it anew; the next call then drops it.
    pub(super) fn reclaim(&mut self) -> Option<Evacuation> {
        while let Some((&segment, usage)) = self.segments.first_key_value() {
            if segment == self.current {
                return None;
            }
            if usage.live == 0 {
                self.flush();
                self.segments.remove(&segment);
                self.ops.push_back(LogOp::Drop { segment });
                continue;
            }
            let (total, live) = self.segments.values().fold((0, 0), |(t, l), u| (t + u.total, l + u.live));
            let wasteful = total > 2 * live + 2 * self.segment_size;
            return wasteful.then_some(Evacuation { segment, first: usage.first, last: usage.last });
        }
        None
    }

    /// The operations since the last call.
    pub(super) fn take_ops(&mut self) -> impl Iterator<Item = LogOp> + '_ {
        self.flush();
        self.ops.drain(..)
    }

    pub(super) fn has_ops(&self) -> bool {
        !self.buffer.is_empty() || !self.ops.is_empty()
    }

    fn flush(&mut self) {
        if !self.buffer.is_empty() {
            let data = std::mem::take(&mut self.buffer);
            self.ops.push_back(LogOp::Append { segment: self.current, data });
        }
    }
}

/// Damage that is not the torn end of the last segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} is damaged at byte {offset}")]
pub struct Damaged {
    /// The number of the segment.
    pub segment: u64,
    /// Where the first wrong record starts.
    pub offset: u64,
}

/// A message as the log holds it.
#[derive(Clone)]
pub(super) struct LoggedMessage {
    pub(super) ts: Timestamp,
    pub(super) subject: String,
    pub(super) headers: Bytes,
    pub(super) payload: Bytes,
    pub(super) place: Place,
}

/// Reads the segments of one stream, oldest first.
pub(super) struct Replay {
    pub(super) log: Log,
    pub(super) stream: Option<(Vec<u8>, Place)>,
    pub(super) messages: BTreeMap<u64, LoggedMessage>,
    pub(super) consumers: BTreeMap<String, (Vec<u8>, Place)>,
    /// Ids and times of all messages seen, also of removed ones: they still count for duplicates.
    pub(super) seen: Vec<(u64, Timestamp, Bytes)>,
    pub(super) last_seq: u64,
    pub(super) last_ts: Timestamp,
}

impl Replay {
    pub(super) fn new(segment_size: u64) -> Replay {
        Replay {
            log: Log::new(segment_size),
            stream: None,
            messages: BTreeMap::new(),
            consumers: BTreeMap::new(),
            seen: Vec::new(),
            last_seq: 0,
            last_ts: Timestamp::default(),
        }
    }

    /// Reads a segment and gives the length of its correct part. The rest of the last segment is to be cut off.
    pub(super) fn segment(&mut self, segment: u64, data: &[u8], is_last: bool) -> Result<u64, Damaged> {
        let damaged = |offset: usize| Damaged { segment, offset: offset as u64 };
        if !data.starts_with(MAGIC) {
            // A crash may leave a segment that was just begun shorter than its first words, or as long as it was to
            // become but with zeros in their place. Nothing in it was ever acknowledged.
            let was_begun = data.iter().zip(MAGIC).all(|(found, written)| found == written || *found == 0);
            return if is_last && was_begun { Ok(0) } else { Err(damaged(0)) };
        }
        self.log.current = segment;
        self.log.segments.insert(segment, Usage { total: MAGIC.len() as u64, ..Usage::default() });
        let mut at = MAGIC.len();
        while at < data.len() {
            let Some((record, len)) = Record::decode(&data[at..]) else {
                if is_last {
                    break;
                }
                return Err(damaged(at));
            };
            self.apply(segment, &record, len);
            at += len;
        }
        Ok(at as u64)
    }

    fn apply(&mut self, segment: u64, record: &Record<'_>, len: usize) {
        let place = Place { segment, len: len as u32 };
        let usage = self.log.segments.entry(segment).or_default();
        usage.total += len as u64;
        match record {
            Record::Stream(json) => {
                usage.live += len as u64;
                if let Some((_, old)) = self.stream.replace((json.to_vec(), place)) {
                    self.log.release(old);
                }
            }
            Record::Message { seq, ts, subject, headers, payload } => {
                usage.live += len as u64;
                usage.first = if usage.first == 0 { *seq } else { usage.first.min(*seq) };
                usage.last = usage.last.max(*seq);
                self.last_seq = self.last_seq.max(*seq);
                self.last_ts = self.last_ts.max(*ts);
                let headers = Bytes::copy_from_slice(headers);
                if let Some(id) = super::headers::get(&headers, "Nats-Msg-Id") {
                    self.seen.push((*seq, *ts, headers.slice_ref(id)));
                }
                let message = LoggedMessage {
                    ts: *ts,
                    subject: (*subject).to_owned(),
                    headers,
                    payload: Bytes::copy_from_slice(payload),
                    place,
                };
                if let Some(old) = self.messages.insert(*seq, message) {
                    self.log.release(old.place);
                }
            }
            Record::Removed { first, last } => {
                let gone: Vec<u64> =
                    self.messages.range(*first..=*last.max(first)).map(|(seq, _)| *seq).collect();
                for seq in gone {
                    if let Some(old) = self.messages.remove(&seq) {
                        self.log.release(old.place);
                    }
                }
            }
            Record::Used { last } => self.last_seq = self.last_seq.max(*last),
            Record::Consumer { name, state } => {
                usage.live += len as u64;
                if let Some((_, old)) = self.consumers.insert((*name).to_owned(), (state.to_vec(), place)) {
                    self.log.release(old);
                }
            }
            Record::ConsumerRemoved { name } => {
                if let Some((_, old)) = self.consumers.remove(*name) {
                    self.log.release(old);
                }
            }
        }
    }

    /// The log, ready to go on in a new segment, so that nothing is ever written behind a torn end.
    pub(super) fn finish(&mut self) -> Log {
        let mut log = std::mem::replace(&mut self.log, Log::new(0));
        log.used = self.last_seq;
        let last_seq = self.last_seq;
        log.begin_segment(last_seq);
        log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding_and_damage_is_seen() {
        let records = [
            Record::Stream(b"{}"),
            Record::Message { seq: 7, ts: Timestamp(-3), subject: "a.b", headers: b"h", payload: b"p" },
            Record::Removed { first: 1, last: 9 },
            Record::Used { last: 5 },
            Record::Consumer { name: "c", state: b"s" },
            Record::ConsumerRemoved { name: "c" },
        ];
        for record in &records {
            let mut bytes = Vec::new();
            let len = record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), Some((record.clone(), len)));
            for cut in 0..len {
                assert_eq!(Record::decode(&bytes[..cut]), None);
            }
            for at in 8..len {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1;
                assert_eq!(Record::decode(&wrong), None);
            }
        }
    }
}
