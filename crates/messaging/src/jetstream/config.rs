//! Stream configurations: their JSON, defaults and rules.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use crate::subject;

/// Subjects of one stream, so that a configuration stays small.
const MAX_SUBJECTS: usize = 1024;
const MAX_DESCRIPTION: usize = 4 << 10;
pub(super) const MAX_METADATA: usize = 128 << 10;

/// A duration as JSON carries it: nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Nanos(pub(crate) i64);

impl Nanos {
    pub(crate) fn span(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl From<Duration> for Nanos {
    fn from(span: Duration) -> Nanos {
        Nanos(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Retention {
    /// Messages stay until a limit removes them.
    #[default]
    Limits,
    /// Messages stay while a consumer still needs them.
    Interest,
    /// Messages stay until their one consumer has done them.
    Workqueue,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Discard {
    #[default]
    Old,
    New,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Storage {
    #[default]
    File,
    Memory,
}

/// Accepted with any known value and kept; the log is not compressed, which nobody can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    #[default]
    None,
    S2,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConsumerLimits {
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub(crate) inactive_threshold: Nanos,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) max_ack_pending: i64,
}

/// A stream's configuration. Members that this broker does not carry out are known by name, so that a
/// request that sets one is refused instead of half obeyed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StreamConfig {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) retention: Retention,
    pub(crate) max_consumers: i64,
    pub(crate) max_msgs: i64,
    pub(crate) max_bytes: i64,
    pub(crate) max_age: Nanos,
    pub(crate) max_msgs_per_subject: i64,
    pub(crate) max_msg_size: i64,
    pub(crate) discard: Discard,
    pub(crate) storage: Storage,
    pub(crate) num_replicas: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) no_ack: bool,
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub(crate) duplicate_window: Nanos,
    #[serde(deserialize_with = "empty_as_default")]
    pub(crate) compression: Compression,
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub(crate) first_seq: u64,
    pub(crate) allow_direct: bool,
    pub(crate) mirror_direct: bool,
    pub(crate) sealed: bool,
    pub(crate) deny_delete: bool,
    pub(crate) deny_purge: bool,
    pub(crate) allow_rollup_hdrs: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) discard_new_per_subject: bool,
    pub(crate) consumer_limits: ConsumerLimits,
    pub(crate) allow_msg_ttl: bool,
    #[serde(skip_serializing_if = "Nanos::is_zero")]
    pub(crate) subject_delete_marker_ttl: Nanos,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,

    // Known and refused when set.
    #[serde(skip_serializing)]
    mirror: Option<Value>,
    #[serde(skip_serializing)]
    sources: Option<Value>,
    #[serde(skip_serializing)]
    placement: Option<Value>,
    #[serde(skip_serializing)]
    subject_transform: Option<Value>,
    #[serde(skip_serializing)]
    republish: Option<Value>,
    #[serde(skip_serializing)]
    template_owner: String,
    #[serde(skip_serializing)]
    allow_msg_counter: bool,
    #[serde(skip_serializing)]
    allow_atomic: bool,
    #[serde(skip_serializing)]
    allow_batched: bool,
    #[serde(skip_serializing)]
    allow_msg_schedules: bool,
    #[serde(skip_serializing)]
    persist_mode: String,
}

impl Default for StreamConfig {
    fn default() -> Self {
        StreamConfig {
            name: String::new(),
            description: String::new(),
            subjects: Vec::new(),
            retention: Retention::Limits,
            max_consumers: -1,
            max_msgs: -1,
            max_bytes: -1,
            max_age: Nanos(0),
            max_msgs_per_subject: -1,
            max_msg_size: -1,
            discard: Discard::Old,
            storage: Storage::File,
            num_replicas: 1,
            no_ack: false,
            duplicate_window: Nanos(0),
            compression: Compression::None,
            first_seq: 0,
            allow_direct: false,
            mirror_direct: false,
            sealed: false,
            deny_delete: false,
            deny_purge: false,
            allow_rollup_hdrs: false,
            discard_new_per_subject: false,
            consumer_limits: ConsumerLimits::default(),
            allow_msg_ttl: false,
            subject_delete_marker_ttl: Nanos(0),
            metadata: BTreeMap::new(),
            mirror: None,
            sources: None,
            placement: None,
            subject_transform: None,
            republish: None,
            template_owner: String::new(),
            allow_msg_counter: false,
            allow_atomic: false,
            allow_batched: false,
            allow_msg_schedules: false,
            persist_mode: String::new(),
        }
    }
}

const MS_100: i64 = 100_000_000;

impl StreamConfig {
    /// Fills in what was left out and refuses what cannot be.
    pub(crate) fn settle(mut self) -> Result<StreamConfig, ApiError> {
        let bad = |why: &str| ApiError::stream_config(why);
        if self.name.contains(['/', '\\']) {
            return Err(ApiError::stream_path());
        }
        if !subject::is_name(&self.name) {
            return Err(bad("stream name is required and can not contain '.', '*', '>', '\\', '/'"));
        }
        self.refuse_unsupported()?;
        if self.description.len() > MAX_DESCRIPTION {
            return Err(bad("stream description is too long, maximum allowed is 4096"));
        }
        if metadata_len(&self.metadata) > MAX_METADATA {
            return Err(bad("stream metadata exceeds maximum size of 128 KiB"));
        }
        match self.num_replicas {
            n if n < 0 => return Err(bad("replicas count cannot be negative")),
            0 => self.num_replicas = 1,
            1 => {}
            _ => return Err(ApiError::replicas()),
        }
        for limit in [
            &mut self.max_consumers,
            &mut self.max_msgs,
            &mut self.max_bytes,
            &mut self.max_msgs_per_subject,
            &mut self.max_msg_size,
        ] {
            if *limit <= 0 {
                *limit = -1;
            }
        }
        self.settle_subjects()?;
        self.settle_ages()?;
        if self.discard_new_per_subject {
            if self.discard != Discard::New {
                return Err(bad("discard new per subject requires discard new policy to be set"));
            }
            if self.max_msgs_per_subject < 1 {
                return Err(bad("discard new per subject requires max msgs per subject > 0"));
            }
        }
        if self.allow_rollup_hdrs && self.deny_purge {
            return Err(bad("roll-ups require the purge permission"));
        }
        Ok(self)
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let absent = |value: &Option<Value>| match value {
            None | Some(Value::Null) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(_) => false,
        };
        for (name, is_absent) in [
            ("mirror", absent(&self.mirror)),
            ("sources", absent(&self.sources)),
            ("placement", absent(&self.placement)),
            ("subject_transform", absent(&self.subject_transform)),
            ("republish", absent(&self.republish)),
            ("template_owner", self.template_owner.is_empty()),
            ("mirror_direct", !self.mirror_direct),
            ("allow_msg_counter", !self.allow_msg_counter),
            ("allow_atomic", !self.allow_atomic),
            ("allow_batched", !self.allow_batched),
            ("allow_msg_schedules", !self.allow_msg_schedules),
            ("persist_mode", matches!(self.persist_mode.as_str(), "" | "default")),
        ] {
            if !is_absent {
                return Err(ApiError::stream_config(format!("{name} is not supported by this server")));
            }
        }
        Ok(())
    }

    fn settle_subjects(&mut self) -> Result<(), ApiError> {
        if self.subjects.is_empty() {
            self.subjects.push(self.name.clone());
        }
        if self.subjects.len() > MAX_SUBJECTS {
            return Err(ApiError::stream_config(format!("at most {MAX_SUBJECTS} subjects are allowed")));
        }
        for (at, one) in self.subjects.iter().enumerate() {
            if !subject::is_valid(one) {
                return Err(ApiError::stream_config(format!("invalid subject {one:?}")));
            }
            let others = &self.subjects[..at];
            if let Some(other) = others.iter().find(|o| subject::overlaps(o, one)) {
                return Err(ApiError::stream_config(format!("subject {one:?} overlaps with {other:?}")));
            }
            if one == ">" && !self.no_ack {
                return Err(ApiError::stream_config("capturing all subjects requires no-ack to be true"));
            }
            let events = subject::covers("$JS.EVENT.>", one) || subject::covers("$SYS.ACCOUNT.>", one);
            if subject::overlaps("$JS.>", one) && !events && !(one == ">" && self.no_ack) {
                return Err(ApiError::stream_config(
                    "subjects that overlap with jetstream api require no-ack to be true",
                ));
            }
            if subject::overlaps("$SYS.>", one) && !events && !(one == ">" && self.no_ack) {
                return Err(ApiError::stream_config(
                    "subjects that overlap with system api require no-ack to be true",
                ));
            }
        }
        Ok(())
    }

    fn settle_ages(&mut self) -> Result<(), ApiError> {
        let bad = |why: &str| ApiError::stream_config(why);
        if self.max_age.0 < 0 || self.duplicate_window.0 < 0 || self.subject_delete_marker_ttl.0 < 0 {
            return Err(bad("durations can not be negative"));
        }
        if self.max_age.0 != 0 && self.max_age.0 < MS_100 {
            return Err(bad("max age needs to be >= 100ms"));
        }
        if self.duplicate_window.0 == 0 {
            let default = 120_000_000_000;
            self.duplicate_window =
                Nanos(if self.max_age.0 != 0 { self.max_age.0.min(default) } else { default });
        } else if self.duplicate_window.0 < MS_100 {
            return Err(bad("duplicates window needs to be >= 100ms"));
        } else if self.max_age.0 != 0 && self.duplicate_window > self.max_age {
            return Err(bad("duplicates window can not be larger then max age"));
        }
        if self.subject_delete_marker_ttl.0 != 0 {
            if self.subject_delete_marker_ttl.0 < 1_000_000_000 {
                return Err(bad("subject delete marker TTL must be at least 1 second"));
            }
            if self.deny_purge {
                return Err(bad(
                    "subject delete marker requires roll-ups, which require the purge permission",
                ));
            }
            self.allow_msg_ttl = true;
            self.allow_rollup_hdrs = true;
        }
        Ok(())
    }

    /// May a stream of this configuration become one of `new` (both settled)?
    pub(crate) fn check_update(&self, new: &StreamConfig) -> Result<(), ApiError> {
        let bad = |why: &str| ApiError::stream_config(why);
        if self.sealed && !new.sealed {
            return Err(bad("stream configuration update can not unseal a sealed stream"));
        }
        if self.storage != new.storage {
            return Err(bad("stream configuration update can not change storage type"));
        }
        let queue = |c: &StreamConfig| c.retention == Retention::Workqueue;
        if queue(self) != queue(new) {
            return Err(bad("stream configuration update can not change retention policy to/from workqueue"));
        }
        if self.deny_delete && !new.deny_delete {
            return Err(bad("stream configuration update can not cancel deny message deletes"));
        }
        if self.deny_purge && !new.deny_purge {
            return Err(bad("stream configuration update can not cancel deny purge"));
        }
        if self.allow_msg_ttl && !new.allow_msg_ttl {
            return Err(bad("message TTL status can not be disabled"));
        }
        if self.first_seq != new.first_seq && new.first_seq != 0 {
            return Err(bad("stream configuration update can not change first sequence"));
        }
        Ok(())
    }

    /// Does the stream take messages on this literal subject?
    pub(crate) fn takes(&self, literal: &str) -> bool {
        self.subjects.iter().any(|s| subject::matches(s, literal))
    }

    /// The API level that the configuration needs, as shown in its metadata.
    pub(crate) fn required_level(&self) -> u32 {
        u32::from(self.allow_msg_ttl || self.subject_delete_marker_ttl.0 > 0)
    }
}

pub(super) fn metadata_len(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(k, v)| k.len() + v.len()).sum()
}

pub(super) fn is_zero(value: &i64) -> bool {
    *value == 0
}

pub(super) fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}

pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

fn empty_as_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Compression, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("" | "none") => Ok(Compression::None),
        Some("s2") => Ok(Compression::S2),
        Some(other) => Err(serde::de::Error::custom(format!("unknown compression {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(json: Value) -> Result<StreamConfig, ApiError> {
        serde_json::from_value::<StreamConfig>(json).expect("known members").settle()
    }

    #[test]
    fn defaults_are_filled_in() {
        let config =
            settle(serde_json::json!({"name": "S", "max_msgs": 0, "num_replicas": 0})).expect("valid");
        assert_eq!(config.subjects, ["S"]);
        assert_eq!((config.max_msgs, config.num_replicas), (-1, 1));
        assert_eq!(config.duplicate_window.0, 120_000_000_000);
    }

    #[test]
    fn what_is_not_carried_out_is_refused() {
        for json in [
            serde_json::json!({"name": "S", "mirror": {"name": "T"}}),
            serde_json::json!({"name": "S", "allow_atomic": true}),
            serde_json::json!({"name": "S", "republish": {"src": ">", "dest": "x.>"}}),
            serde_json::json!({"name": "S", "persist_mode": "async"}),
            serde_json::json!({"name": "a.b"}),
            serde_json::json!({"name": "S", "subjects": ["a.>", "a.b"]}),
            serde_json::json!({"name": "S", "subjects": ["$JS.API.>"]}),
            serde_json::json!({"name": "S", "subjects": [">"]}),
            serde_json::json!({"name": "S", "max_age": 5}),
        ] {
            let error = settle(json.clone()).expect_err(&json.to_string());
            assert_eq!(error.err_code, 10052, "{json}");
        }
        assert!(serde_json::from_str::<StreamConfig>(r#"{"name":"S","new_thing":1}"#).is_err());
        assert_eq!(
            settle(serde_json::json!({"name": "S", "num_replicas": 3})).err(),
            Some(ApiError::replicas())
        );
    }
}
