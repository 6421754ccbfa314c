//! Consumer configurations: their JSON, defaults and rules.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    jetstream::{
        config::{
            MAX_METADATA, Nanos, Retention, StreamConfig, is_false, is_zero, is_zero_u64, metadata_len,
        },
        error::ApiError,
    },
    subject,
    time::{Timestamp, go_duration, parse_go_duration},
};

const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 4 << 10;
const MAX_FILTERS: usize = 1024;
const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(30);
/// Deliveries that may wait for acknowledgements when a consumer sets no limit, and at most. Each takes some 60 bytes of
/// the consumer's record in the log.
const MAX_PENDING: usize = 500_000;
const DEFAULT_MAX_ACK_PENDING: i64 = 1000;
const DEFAULT_MAX_WAITING: i64 = 512;
/// An ephemeral consumer without interest lives this long unless it says otherwise.
const DEFAULT_INACTIVE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliverPolicy {
    #[default]
    All,
    Last,
    New,
    ByStartSequence,
    ByStartTime,
    LastPerSubject,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AckPolicy {
    /// What a missing member means on the wire.
    #[default]
    None,
    All,
    Explicit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplayPolicy {
    #[default]
    Instant,
    Original,
}

/// A consumer's configuration. What is not carried out is known by name and refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConsumerConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) durable_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    pub(crate) deliver_policy: DeliverPolicy,
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub(crate) opt_start_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) opt_start_time: Option<Timestamp>,
    pub(crate) ack_policy: AckPolicy,
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub(crate) ack_wait: Nanos,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_deliver: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) backoff: Vec<Nanos>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) filter_subjects: Vec<String>,
    pub(crate) replay_policy: ReplayPolicy,
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub(crate) rate_limit_bps: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) sample_freq: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_waiting: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) flow_control: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) headers_only: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_batch: i64,
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub(crate) max_expires: Nanos,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_bytes: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) deliver_subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) deliver_group: String,
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub(crate) idle_heartbeat: Nanos,
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub(crate) inactive_threshold: Nanos,
    pub(crate) num_replicas: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) mem_storage: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause_until: Option<Timestamp>,

    // Known and refused when set.
    #[serde(skip_serializing)]
    pub(super) direct: bool,
    #[serde(skip_serializing)]
    pub(super) sourcing: bool,
    #[serde(skip_serializing)]
    pub(super) priority_groups: Option<Value>,
    #[serde(skip_serializing)]
    pub(super) priority_policy: String,
    #[serde(skip_serializing)]
    pub(super) priority_timeout: i64,
}

impl ConsumerConfig {
    pub(crate) fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    pub(crate) fn is_durable(&self) -> bool {
        !self.durable_name.is_empty()
    }

    /// The patterns of messages it wants; none means all.
    pub(crate) fn filters(&self) -> Vec<&str> {
        if self.filter_subject.is_empty() {
            self.filter_subjects.iter().map(String::as_str).collect()
        } else {
            vec![&self.filter_subject]
        }
    }

    pub(crate) fn wants(&self, literal: &str) -> bool {
        if self.filter_subject.is_empty() && self.filter_subjects.is_empty() {
            return true;
        }
        (!self.filter_subject.is_empty() && subject::matches(&self.filter_subject, literal))
            || self.filter_subjects.iter().any(|f| subject::matches(f, literal))
    }

    /// How many deliveries may wait for their acknowledgements at a time.
    pub(crate) fn pending_bound(&self) -> usize {
        match usize::try_from(self.max_ack_pending) {
            Ok(asked) if asked > 0 => asked.min(MAX_PENDING),
            _ => MAX_PENDING,
        }
    }

    /// How long delivery number `count` (from 1) of a message may stay unacknowledged.
    pub(crate) fn ack_wait(&self, count: u32) -> Duration {
        let last = self.backoff.len().saturating_sub(1);
        let at = usize::try_from(count.saturating_sub(1)).map_or(last, |at| at.min(last));
        self.backoff.get(at).unwrap_or(&self.ack_wait).span()
    }

    /// Fills in what was left out and refuses what cannot be, for a consumer of a stream with `stream`.
    pub(crate) fn settle(mut self, stream: &StreamConfig) -> Result<ConsumerConfig, ApiError> {
        self.settle_name()?;
        self.refuse_unsupported()?;
        if self.description.len() > MAX_DESCRIPTION {
            return Err(ApiError::description_long(MAX_DESCRIPTION));
        }
        if metadata_len(&self.metadata) > MAX_METADATA {
            return Err(ApiError::consumer_create("consumer metadata exceeds maximum size of 128 KiB"));
        }
        if self.num_replicas < 0 || self.num_replicas > 1 {
            return Err(ApiError::consumer_replicas());
        }
        self.settle_filters()?;
        self.settle_start()?;
        self.settle_acks(stream.consumer_limits.max_ack_pending)?;
        if self.is_push() {
            self.settle_push(stream)?;
        } else {
            self.settle_pull()?;
        }
        if stream.retention == Retention::Workqueue {
            match self.ack_policy {
                AckPolicy::Explicit => {}
                AckPolicy::None | AckPolicy::All if self.is_push() => return Err(ApiError::workqueue_ack()),
                AckPolicy::None | AckPolicy::All => return Err(ApiError::workqueue_pull_ack()),
            }
            if self.deliver_policy != DeliverPolicy::All {
                return Err(ApiError::workqueue_deliver_all());
            }
        }
        let limits = stream.consumer_limits;
        if self.inactive_threshold.0 < 0 {
            return Err(ApiError::consumer_create("inactive threshold can not be negative"));
        }
        if self.inactive_threshold.is_zero() {
            self.inactive_threshold = match limits.inactive_threshold {
                limit if !limit.is_zero() => limit,
                _ if self.is_durable() => Nanos(0),
                _ => DEFAULT_INACTIVE.into(),
            };
        } else if !limits.inactive_threshold.is_zero() && self.inactive_threshold > limits.inactive_threshold
        {
            return Err(ApiError::consumer_create(format!(
                "inactive threshold exceeds limit of {}",
                go_duration(limits.inactive_threshold.span())
            )));
        }
        Ok(self)
    }

    fn settle_name(&mut self) -> Result<(), ApiError> {
        if !self.durable_name.is_empty() && !self.name.is_empty() && self.name != self.durable_name {
            return Err(ApiError::durable_and_name());
        }
        if self.name.is_empty() {
            self.name.clone_from(&self.durable_name);
        }
        if self.name.len() > MAX_NAME {
            return Err(ApiError::consumer_name_long(MAX_NAME));
        }
        if self.name.contains(['/', '\\']) {
            return Err(ApiError::consumer_path());
        }
        if !subject::is_name(&self.name) {
            return Err(ApiError::durable_name());
        }
        Ok(())
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let no_groups = match &self.priority_groups {
            None | Some(Value::Null) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        };
        for (name, is_absent) in [
            ("direct", !self.direct),
            ("sourcing", !self.sourcing),
            ("priority_groups", no_groups),
            ("priority_policy", matches!(self.priority_policy.as_str(), "" | "none")),
            ("priority_timeout", self.priority_timeout == 0),
            ("rate_limit_bps", self.rate_limit_bps == 0 || !self.is_push()),
            ("replay_policy original", self.replay_policy == ReplayPolicy::Instant),
        ] {
            if !is_absent {
                return Err(ApiError::consumer_create(format!("{name} is not supported by this server")));
            }
        }
        Ok(())
    }

    fn settle_filters(&mut self) -> Result<(), ApiError> {
        if !self.filter_subject.is_empty() && !self.filter_subjects.is_empty() {
            return Err(ApiError::filter_and_filters());
        }
        if self.filter_subjects.len() > MAX_FILTERS {
            return Err(ApiError::consumer_create(format!("at most {MAX_FILTERS} filters are allowed")));
        }
        for (at, filter) in self.filter_subjects.iter().enumerate() {
            if filter.is_empty() {
                return Err(ApiError::filter_empty());
            }
            if self.filter_subjects[..at].iter().any(|other| subject::overlaps(other, filter)) {
                return Err(ApiError::filters_overlap());
            }
        }
        if let Some(bad) = self.filters().into_iter().find(|f| !subject::is_valid(f)) {
            return Err(ApiError::consumer_create(format!("invalid filter subject {bad:?}")));
        }
        Ok(())
    }

    fn settle_start(&self) -> Result<(), ApiError> {
        let refuse = |policy: &str, option: &str, needed: bool| {
            let verb = if needed { "requires" } else { "can not have" };
            Err(ApiError::start_options(format!(
                "consumer delivery policy is deliver {policy}, but optional {option} is {}",
                if verb == "requires" { "not set" } else { "also set" }
            )))
        };
        let (seq, time) = (self.opt_start_seq != 0, self.opt_start_time.is_some());
        match self.deliver_policy {
            DeliverPolicy::ByStartSequence if !seq => refuse("by start sequence", "start sequence", true),
            DeliverPolicy::ByStartSequence if time => refuse("by start sequence", "start time", false),
            DeliverPolicy::ByStartTime if !time => refuse("by start time", "start time", true),
            DeliverPolicy::ByStartTime if seq => refuse("by start time", "start sequence", false),
            DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime => Ok(()),
            policy => {
                let name = match policy {
                    DeliverPolicy::Last => "last",
                    DeliverPolicy::New => "new",
                    DeliverPolicy::LastPerSubject => "last per subject",
                    DeliverPolicy::All | DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime => "all",
                };
                if seq {
                    return refuse(name, "start sequence", false);
                }
                if time {
                    return refuse(name, "start time", false);
                }
                if policy == DeliverPolicy::LastPerSubject && self.filters().is_empty() {
                    return Err(ApiError::start_options(
                        "consumer delivery policy is deliver last per subject, but FilterSubject is not set",
                    ));
                }
                Ok(())
            }
        }
    }

    /// `stream_limit`: what the stream allows its consumers to leave unacknowledged, when it says so.
    fn settle_acks(&mut self, stream_limit: i64) -> Result<(), ApiError> {
        if self.ack_wait.0 < 0 {
            return Err(ApiError::ack_wait_negative());
        }
        if self.backoff.iter().any(|wait| wait.0 < 0) {
            return Err(ApiError::backoff_negative());
        }
        if self.max_deliver <= 0 {
            self.max_deliver = -1;
        }
        if !self.backoff.is_empty() {
            if self.max_deliver != -1 && self.backoff.len() as i64 > self.max_deliver {
                return Err(ApiError::backoff_length());
            }
            self.ack_wait = self.backoff[0];
        }
        if self.ack_policy != AckPolicy::None {
            if self.ack_wait.is_zero() {
                self.ack_wait = DEFAULT_ACK_WAIT.into();
            }
            if self.max_ack_pending == 0 {
                self.max_ack_pending = if stream_limit > 0 { stream_limit } else { DEFAULT_MAX_ACK_PENDING };
            }
            let is_over = self.max_ack_pending < 0 || self.max_ack_pending > stream_limit;
            if stream_limit > 0 && is_over {
                return Err(ApiError::max_ack_pending_exceeded(stream_limit));
            }
        }
        if self.max_ack_pending < -1 {
            self.max_ack_pending = -1;
        }
        if !self.sample_freq.is_empty() {
            let number = self.sample_freq.strip_suffix('%').unwrap_or(&self.sample_freq);
            if !number.parse::<u8>().is_ok_and(|n| n <= 100) {
                return Err(ApiError::sampling(format!(
                    "{:?} is not a number from 0 to 100",
                    self.sample_freq
                )));
            }
            if number != "0" {
                return Err(ApiError::consumer_create("sample_freq is not supported by this server"));
            }
        }
        Ok(())
    }

    fn settle_push(&mut self, stream: &StreamConfig) -> Result<(), ApiError> {
        if !subject::is_valid(&self.deliver_subject) {
            return Err(ApiError::deliver_subject());
        }
        if !subject::is_literal(&self.deliver_subject) {
            return Err(ApiError::deliver_wildcards());
        }
        if stream.takes(&self.deliver_subject) {
            return Err(ApiError::deliver_cycle());
        }
        if self.max_waiting != 0 {
            return Err(ApiError::push_max_waiting());
        }
        if self.max_ack_pending > 0 && self.ack_policy == AckPolicy::None {
            return Err(ApiError::push_needs_ack());
        }
        if self.idle_heartbeat.0 != 0 && self.idle_heartbeat.0 < 100_000_000 {
            return Err(ApiError::heartbeat_small());
        }
        if self.flow_control && self.idle_heartbeat.is_zero() {
            return Err(ApiError::flow_control_heartbeat());
        }
        if !self.deliver_group.is_empty() && !subject::is_valid(&self.deliver_group) {
            return Err(ApiError::consumer_create("invalid deliver group"));
        }
        Ok(())
    }

    fn settle_pull(&mut self) -> Result<(), ApiError> {
        if self.rate_limit_bps > 0 {
            return Err(ApiError::pull_rate_limit());
        }
        if self.max_waiting < 0 {
            return Err(ApiError::max_waiting_negative());
        }
        if self.max_waiting == 0 {
            self.max_waiting = DEFAULT_MAX_WAITING;
        }
        if !self.idle_heartbeat.is_zero() {
            return Err(ApiError::heartbeat_push());
        }
        if self.flow_control {
            return Err(ApiError::flow_control_push());
        }
        if self.max_batch < 0 {
            return Err(ApiError::max_batch());
        }
        if self.max_expires.0 != 0 && self.max_expires.0 < 1_000_000 {
            return Err(ApiError::max_expires());
        }
        Ok(())
    }

    /// May a consumer of this configuration become one of `new` (both settled)?
    pub(crate) fn check_update(&self, new: &ConsumerConfig) -> Result<(), ApiError> {
        for (what, same) in [
            ("deliver policy", self.deliver_policy == new.deliver_policy),
            ("start sequence", self.opt_start_seq == new.opt_start_seq),
            ("start time", self.opt_start_time == new.opt_start_time),
            ("ack policy", self.ack_policy == new.ack_policy),
            ("replay policy", self.replay_policy == new.replay_policy),
            ("heart beats", self.idle_heartbeat == new.idle_heartbeat),
            ("flow control", self.flow_control == new.flow_control),
            ("max waiting", self.max_waiting == new.max_waiting),
        ] {
            if !same {
                return Err(ApiError::consumer_create(format!("{what} can not be updated")));
            }
        }
        if self.is_push() != new.is_push() {
            let way = if self.is_push() { "push consumer to pull" } else { "pull consumer to push" };
            return Err(ApiError::consumer_create(format!("can not update {way} based consumer")));
        }
        Ok(())
    }
}

/// A delay as acknowledgements carry it: `{"delay": ns}` or Go's form.
pub(crate) fn nak_delay(argument: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Delay {
        delay: i64,
    }
    if argument.starts_with('{') {
        let delay: Delay = serde_json::from_str(argument).ok()?;
        return u64::try_from(delay.delay).ok().map(Duration::from_nanos);
    }
    parse_go_duration(argument)
}
