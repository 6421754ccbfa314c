//! Reading a room's chat page by page.

use std::{collections::VecDeque, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
        message::PublishMessage,
    },
};
use futures_util::StreamExt as _;
use plenum_meeting::{Stamp, state::UnixMs};
use plenum_protocol::plugnmeet::{ChatHistory, ChatHistoryEntry};
use serde::Deserialize;

use crate::layout::{CHAT, CHAT_MESSAGES_MAX};

/// Header with the run a message belongs to.
pub(crate) const SID_HEADER: &str = "Plenum-Room-Sid";
/// Header of ciphertext.
const ENCRYPTED_HEADER: &str = "Plenum-Encrypted";
/// Headers with what the server vouches for about ciphertext: [`Stamp`].
const ID_HEADER: &str = "Plenum-Chat-Id";
const FROM_HEADER: &str = "Plenum-Chat-From";
const SENT_AT_HEADER: &str = "Plenum-Chat-Sent-At";
/// Most messages of a page.
const PAGE_LEN_MAX: u64 = 100;
/// A page stays well below the largest message of the broker.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// What a client asks.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct PageRequest {
    /// Messages below this sequence; 0: the newest.
    #[serde(default)]
    before: u64,
    #[serde(default = "page_default")]
    count: u64,
}

fn page_default() -> u64 {
    50
}

/// The stamp of ciphertext in the headers of its message.
pub(crate) trait StampHeaders {
    fn stamped(self, stamp: Option<&Stamp>) -> Self;
}

impl StampHeaders for PublishMessage {
    fn stamped(self, stamp: Option<&Stamp>) -> Self {
        let Some(stamp) = stamp else { return self };
        self.header(ENCRYPTED_HEADER, "1")
            .header(ID_HEADER, stamp.id.as_str())
            .header(FROM_HEADER, stamp.from.as_str())
            .header(SENT_AT_HEADER, stamp.sent_at.to_string())
    }
}

/// The chat stream.
#[derive(Clone)]
pub(crate) struct ChatLog {
    stream: jetstream::stream::Stream<()>,
}

impl ChatLog {
    pub(crate) async fn open(js: &jetstream::Context) -> Result<Self, String> {
        Ok(Self { stream: js.get_stream_no_info(CHAT).await.map_err(text)? })
    }

    /// First sequence that no message has yet.
    pub(crate) async fn end(&self) -> Result<u64, String> {
        Ok(self.stream.get_info().await.map_err(text)?.state.last_sequence + 1)
    }

    /// A page of what `user` may read of the run `sid`.
    pub(crate) async fn page(
        &self,
        room: &str,
        user: &str,
        sid: &str,
        since: UnixMs,
        request: PageRequest,
    ) -> Result<ChatHistory, String> {
        let count = usize::try_from(request.count.clamp(1, PAGE_LEN_MAX)).unwrap_or(1);
        let state = self.stream.get_info().await.map_err(text)?.state;
        let end = if request.before == 0 {
            state.last_sequence + 1
        } else {
            request.before.min(state.last_sequence + 1)
        };
        let filters = [format!("chat.{room}"), format!("chat.{room}.{user}")];
        // Back from the end in growing steps, until the page is full or the stream's beginning is reached.
        let mut step = 4 * count as u64;
        loop {
            let start = end.saturating_sub(step).max(state.first_sequence).max(1);
            let mut page = Page { count, ..Page::default() };
            self.read(&filters, start, end, sid, since, &mut page).await?;
            let exhausted = start <= state.first_sequence.max(1);
            if page.is_full() || exhausted {
                let more = page.cut || !exhausted;
                let first_seq = page.entries.front().filter(|_| more).map_or(0, |entry| entry.seq);
                return Ok(ChatHistory { entries: page.entries.into(), first_seq });
            }
            step = step.saturating_mul(8);
        }
    }

    async fn read(
        &self,
        filters: &[String; 2],
        start: u64,
        end: u64,
        sid: &str,
        since: UnixMs,
        page: &mut Page,
    ) -> Result<(), String> {
        if start >= end {
            return Ok(());
        }
        let consumer = self
            .stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
                ack_policy: AckPolicy::None,
                filter_subjects: filters.to_vec(),
                memory_storage: true,
                num_replicas: 1,
                inactive_threshold: Duration::from_secs(10),
                ..pull::Config::default()
            })
            .await
            .map_err(text)?;
        let pending = consumer.cached_info().num_pending.min(2 * CHAT_MESSAGES_MAX.unsigned_abs());
        if pending > 0 {
            let batch = usize::try_from(pending).unwrap_or(usize::MAX);
            let mut messages = consumer.fetch().max_messages(batch).messages().await.map_err(text)?;
            while let Some(message) = messages.next().await {
                let message = message.map_err(text)?;
                let info = message.info().map_err(text)?;
                let (seq, at, left) =
                    (info.stream_sequence, info.published.unix_timestamp_nanos() / 1_000_000, info.pending);
                let headers = message.headers.as_ref();
                let mine = headers
                    .and_then(|headers| headers.get(SID_HEADER))
                    .is_some_and(|value| value.as_str() == sid);
                if seq < end && mine && at >= i128::from(since) {
                    page.add(entry(seq, headers, message.payload.to_vec()));
                }
                if left == 0 || seq >= end {
                    break;
                }
            }
        }
        let name = consumer.cached_info().name.clone();
        let _ = self.stream.delete_consumer(&name).await;
        Ok(())
    }
}

/// The newest messages of what was read, never more than a page holds.
#[derive(Default)]
struct Page {
    /// Most messages.
    count: usize,
    entries: VecDeque<ChatHistoryEntry>,
    bytes: usize,
    /// Whether older ones did not fit.
    cut: bool,
}

impl Page {
    fn add(&mut self, entry: ChatHistoryEntry) {
        self.bytes += entry.message.len();
        self.entries.push_back(entry);
        while self.entries.len() > self.count || (self.bytes > PAGE_BYTES_MAX && self.entries.len() > 1) {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.message.len();
                self.cut = true;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.cut || self.entries.len() >= self.count
    }
}

fn entry(seq: u64, headers: Option<&HeaderMap>, message: Vec<u8>) -> ChatHistoryEntry {
    let field = |name: &str| {
        headers
            .and_then(|headers| headers.get(name))
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    };
    ChatHistoryEntry {
        seq,
        message,
        encrypted: !field(ENCRYPTED_HEADER).is_empty(),
        id: field(ID_HEADER),
        from_user_id: field(FROM_HEADER),
        sent_at: field(SENT_AT_HEADER).parse().unwrap_or(0),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(count: usize, sizes: &[usize]) -> (Vec<u64>, bool) {
        let mut page = Page { count, ..Page::default() };
        for (seq, size) in (1..).zip(sizes) {
            page.add(ChatHistoryEntry { seq, message: vec![0; *size], ..ChatHistoryEntry::default() });
            assert!(page.entries.len() <= count && (page.bytes <= PAGE_BYTES_MAX || page.entries.len() == 1));
        }
        (page.entries.iter().map(|entry| entry.seq).collect(), page.cut)
    }

    #[test]
    fn a_page_holds_the_newest_and_never_more() {
        assert_eq!(read(3, &[1, 1]), (vec![1, 2], false));
        assert_eq!(read(3, &[1, 1, 1]), (vec![1, 2, 3], false));
        assert_eq!(read(3, &[1, 1, 1, 1, 1]), (vec![3, 4, 5], true));
        assert_eq!(read(100, &[PAGE_BYTES_MAX, 1, 2]), (vec![2, 3], true));
        assert_eq!(read(100, &[1, PAGE_BYTES_MAX + 1]), (vec![2], true));
    }
}
