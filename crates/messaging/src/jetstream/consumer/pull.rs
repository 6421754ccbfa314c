//! Pull requests: what clients ask for, and the queue of those that wait.

use std::collections::VecDeque;

use serde::Deserialize;

use super::ConsumerConfig;
use crate::{
    jetstream::{config::Nanos, json},
    time::{Timestamp, go_duration},
};

/// Heartbeats come no faster, as those of push consumers: each one is work that nobody asked for.
const MIN_HEARTBEAT: std::time::Duration = std::time::Duration::from_millis(100);

/// A request that waits for messages.
#[derive(Clone, Debug)]
pub(in crate::jetstream) struct PullRequest {
    /// Where the messages go.
    pub(in crate::jetstream) reply: String,
    /// How many more.
    pub(in crate::jetstream) batch: u64,
    /// How many bytes more; unlimited when absent.
    pub(in crate::jetstream) max_bytes: Option<u64>,
    pub(in crate::jetstream) expires: Option<Timestamp>,
    pub(in crate::jetstream) no_wait: bool,
    pub(in crate::jetstream) heartbeat: Option<Heartbeat>,
    pub(in crate::jetstream) delivered: u64,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::jetstream) struct Heartbeat {
    every: std::time::Duration,
    pub(in crate::jetstream) next: Timestamp,
}

impl Heartbeat {
    pub(in crate::jetstream) fn restart(&mut self, now: Timestamp) {
        self.next = now.plus(self.every);
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Body {
    batch: i64,
    expires: Nanos,
    no_wait: bool,
    max_bytes: i64,
    idle_heartbeat: Nanos,
    group: String,
    min_pending: i64,
    min_ack_pending: i64,
    id: String,
    priority: i64,
}

/// A status for the client instead of messages: code and text.
pub(in crate::jetstream) type Refusal = (u16, String);

impl PullRequest {
    /// Reads the payload of a request: nothing, a number, or JSON.
    pub(in crate::jetstream) fn parse(
        payload: &[u8],
        reply: &str,
        config: &ConsumerConfig,
        now: Timestamp,
    ) -> Result<PullRequest, Refusal> {
        let bad = |why: &str| (400, format!("Bad Request - {why}"));
        let text = payload.trim_ascii();
        let body = if text.is_empty() {
            Body { batch: 1, ..Body::default() }
        } else if text[0] == b'{' {
            json::read(text).map_err(|e| bad(&e.to_string().replace(['\r', '\n'], " ")))?
        } else {
            let batch = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
            Body { batch: batch.ok_or_else(|| bad("invalid batch"))?, ..Body::default() }
        };
        if !body.group.is_empty() || !body.id.is_empty() || body.priority != 0 {
            return Err(bad("Invalid Priority Group"));
        }
        if body.min_pending != 0 || body.min_ack_pending != 0 {
            return Err(bad("Not a Overflow Priority consumer"));
        }
        if body.batch < 0 || body.expires.0 < 0 || body.max_bytes < 0 || body.idle_heartbeat.0 < 0 {
            return Err(bad("negative value"));
        }
        if body.idle_heartbeat.0 > 0 && body.idle_heartbeat.0.saturating_mul(2) > body.expires.0 {
            return Err(bad("heartbeat value too large"));
        }
        if body.idle_heartbeat.0 > 0 && body.idle_heartbeat.span() < MIN_HEARTBEAT {
            return Err(bad("heartbeat value too small"));
        }
        if config.max_batch > 0 && body.batch > config.max_batch {
            return Err((409, format!("Exceeded MaxRequestBatch of {}", config.max_batch)));
        }
        if !config.max_expires.is_zero() && body.expires > config.max_expires {
            return Err((
                409,
                format!("Exceeded MaxRequestExpires of {}", go_duration(config.max_expires.span())),
            ));
        }
        if config.max_bytes > 0 && body.max_bytes > config.max_bytes {
            return Err((409, format!("Exceeded MaxRequestMaxBytes of {}", config.max_bytes)));
        }
        let heartbeat = (!body.idle_heartbeat.is_zero()).then(|| {
            let every = body.idle_heartbeat.span();
            Heartbeat { every, next: now.plus(every) }
        });
        Ok(PullRequest {
            reply: reply.to_owned(),
            batch: body.batch.max(1).unsigned_abs(),
            max_bytes: (body.max_bytes > 0).then_some(body.max_bytes.unsigned_abs()),
            expires: (!body.expires.is_zero()).then(|| now.plus(body.expires.span())),
            no_wait: body.no_wait,
            heartbeat,
            delivered: 0,
        })
    }

    /// The fields that tell a client what of its request is left.
    pub(in crate::jetstream) fn rest(&self) -> [(&'static str, String); 2] {
        [
            ("Nats-Pending-Messages", self.batch.to_string()),
            ("Nats-Pending-Bytes", self.max_bytes.unwrap_or(0).to_string()),
        ]
    }
}

/// Waiting requests, served in turn.
#[derive(Debug, Default)]
pub(in crate::jetstream) struct Pulls {
    waiting: VecDeque<PullRequest>,
}

impl Pulls {
    pub(in crate::jetstream) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(in crate::jetstream) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(in crate::jetstream) fn push(&mut self, request: PullRequest) {
        self.waiting.push_back(request);
    }

    pub(in crate::jetstream) fn front(&mut self) -> Option<&mut PullRequest> {
        self.waiting.front_mut()
    }

    pub(in crate::jetstream) fn pop(&mut self) -> Option<PullRequest> {
        self.waiting.pop_front()
    }

    /// The front request had its turn.
    pub(in crate::jetstream) fn rotate(&mut self) {
        if let Some(request) = self.waiting.pop_front() {
            self.waiting.push_back(request);
        }
    }

    /// How many messages all requests together wait for.
    pub(in crate::jetstream) fn wanted(&self) -> u64 {
        self.waiting.iter().fold(0, |sum, r| sum.saturating_add(r.batch))
    }

    /// Takes out every request that `over` says is over.
    pub(in crate::jetstream) fn take_if(
        &mut self,
        mut over: impl FnMut(&PullRequest) -> bool,
    ) -> Vec<PullRequest> {
        if !self.waiting.iter().any(&mut over) {
            return Vec::new();
        }
        let (gone, kept): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|r| over(r));
        self.waiting = kept.into();
        gone
    }

    pub(in crate::jetstream) fn iter_mut(&mut self) -> impl Iterator<Item = &mut PullRequest> {
        self.waiting.iter_mut()
    }

    pub(in crate::jetstream) fn drain(&mut self) -> impl Iterator<Item = PullRequest> + '_ {
        self.waiting.drain(..)
    }

    pub(in crate::jetstream) fn deadline(&self) -> Option<Timestamp> {
        self.waiting.iter().flat_map(|r| [r.expires, r.heartbeat.map(|h| h.next)]).flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(payload: &str, config: &ConsumerConfig) -> Result<PullRequest, Refusal> {
        PullRequest::parse(payload.as_bytes(), "r", config, Timestamp(0))
    }

    #[test]
    fn what_all_want_together_does_not_overflow() {
        let mut pulls = Pulls::default();
        for _ in 0..3 {
            pulls.push(parse("9223372036854775807", &ConsumerConfig::default()).expect("a batch"));
        }
        assert_eq!(pulls.wanted(), u64::MAX);
    }

    #[test]
    fn payloads() {
        let config = ConsumerConfig { max_batch: 10, ..ConsumerConfig::default() };
        assert_eq!(parse("", &config).expect("one").batch, 1);
        assert_eq!(parse("7", &config).expect("seven").batch, 7);
        let full = parse(
            r#"{"batch":5,"expires":1000000000,"idle_heartbeat":500000000,"max_bytes":9,"no_wait":true}"#,
            &config,
        )
        .expect("all members");
        assert_eq!((full.batch, full.max_bytes, full.expires), (5, Some(9), Some(Timestamp(1_000_000_000))));
        assert_eq!(parse("11", &config).err(), Some((409, "Exceeded MaxRequestBatch of 10".into())));
        assert_eq!(
            parse(r#"{"batch":1,"expires":10,"idle_heartbeat":6}"#, &config).err(),
            Some((400, "Bad Request - heartbeat value too large".into()))
        );
        assert_eq!(
            parse(r#"{"batch":1,"expires":3600000000000,"idle_heartbeat":1}"#, &config).err(),
            Some((400, "Bad Request - heartbeat value too small".into()))
        );
        for bad in ["x", "{", r#"{"batch":-1}"#, r#"{"group":"a"}"#, r#"{"unknown":1}"#] {
            assert_eq!(parse(bad, &config).map_err(|(code, _)| code).err(), Some(400), "{bad}");
        }
    }
}
