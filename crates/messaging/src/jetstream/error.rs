//! The errors of the JetStream API: a code like HTTP's, a code of their own, and the exact text.

use serde::Serialize;

/// An error as the API answers it. Clients decide by `err_code`, some by the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) err_code: u16,
    pub(crate) description: String,
}

impl ApiError {
    fn new(err_code: u16, code: u16, description: impl Into<String>) -> ApiError {
        ApiError { code, err_code, description: description.into() }
    }
}

/// Constructors for errors with a fixed text.
macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident = $err_code:literal $code:literal $text:literal;)*) => {
        impl ApiError {
            $($(#[$doc])* pub(crate) fn $name() -> ApiError { ApiError::new($err_code, $code, $text) })*
        }
    };
}

/// Constructors for errors whose text says more.
macro_rules! detailed {
    ($($name:ident = $err_code:literal $code:literal $prefix:literal;)*) => {
        impl ApiError {
            $(pub(crate) fn $name(detail: impl std::fmt::Display) -> ApiError {
                ApiError::new($err_code, $code, format!(concat!($prefix, "{}"), detail))
            })*
        }
    };
}

fixed! {
    bad_request = 10003 400 "bad request";
    consumer_limit = 10026 400 "maximum consumers limit reached";
    stream_limit = 10027 400 "maximum number of streams reached";
    no_memory = 10028 500 "insufficient memory resources available";
    no_storage = 10047 500 "insufficient storage resources available";
    no_message = 10037 404 "no message found";
    not_empty_request = 10038 400 "expected an empty request payload";
    not_enabled = 10039 503 "JetStream not enabled for account";
    replicas = 10074 500 "replicas > 1 not supported in non-clustered mode";
    cluster_required = 10010 503 "JetStream clustering support required";
    api_level = 10185 412 "JetStream minimum api level required";

    message_too_large = 10054 400 "message size exceeds maximum allowed";
    stream_mismatch = 10056 400 "stream name in subject does not match request";
    stream_exists = 10058 400 "stream name already in use with a different configuration";
    stream_not_found = 10059 404 "stream not found";
    expected_stream = 10060 400 "expected stream does not match";
    subject_overlap = 10065 400 "subjects overlap with an existing stream";
    headers_too_large = 10097 400 "header size exceeds maximum allowed of 64k";
    sealed = 10109 400 "invalid operation on sealed stream";
    purge_denied = 10110 500 "stream purge not permitted";
    rollup_denied = 10111 500 "rollup not permitted";
    stream_path = 10128 400 "Stream name can not contain path separators";
    ttl_invalid = 10165 400 "invalid per-message TTL";
    ttl_disabled = 10166 400 "per-message TTL is disabled";
    counters_disabled = 10168 400 "message counters is disabled";
    batch_disabled = 10174 400 "atomic publish is disabled";
    schedules_disabled = 10188 400 "message schedules is disabled";
    source_header = 10227 400 "message stream source header is not allowed";
    delete_denied = 10057 500 "message delete not permitted";
    delete_no_message = 10057 500 "no message found";

    consumer_in_use = 10013 400 "consumer name already in use";
    consumer_not_found = 10014 404 "consumer not found";
    consumer_mismatch = 10017 400 "consumer name in subject does not match durable name in request";
    durable_not_set = 10018 400 "consumer expected to be durable but a durable name was not set";
    ephemeral_with_durable = 10020 400 "consumer expected to be ephemeral but a durable name was set in request";
    config_required = 10078 400 "consumer config required";
    deliver_wildcards = 10079 400 "consumer deliver subject has wildcards";
    push_max_waiting = 10080 400 "consumer in push mode can not set max waiting";
    deliver_cycle = 10081 400 "consumer deliver subject forms a cycle";
    push_needs_ack = 10082 400 "consumer requires ack policy for max ack pending";
    heartbeat_small = 10083 400 "consumer idle heartbeat needs to be >= 100ms";
    workqueue_pull_ack = 10084 400 "consumer in pull mode requires explicit ack policy on workqueue stream";
    pull_rate_limit = 10086 400 "consumer in pull mode can not have rate limit set";
    max_waiting_negative = 10087 400 "consumer max waiting needs to be positive";
    heartbeat_push = 10088 400 "consumer idle heartbeat requires a push based consumer";
    flow_control_push = 10089 400 "consumer flow control requires a push based consumer";
    workqueue_ack = 10098 400 "workqueue stream requires explicit ack";
    workqueue_unfiltered = 10099 400 "multiple non-filtered consumers not allowed on workqueue stream";
    workqueue_overlap = 10100 400 "filtered consumer not unique on workqueue stream";
    workqueue_deliver_all = 10101 400 "consumer must be deliver all on workqueue stream";
    durable_name = 10103 400 "durable name can not contain '.', '*', '>'";
    flow_control_heartbeat = 10108 400 "consumer with flow control also needs heartbeats";
    deliver_subject = 10112 400 "invalid push consumer deliver subject";
    max_batch = 10114 400 "consumer max request batch needs to be > 0";
    max_expires = 10115 400 "consumer max request expires needs to be >= 1ms";
    backoff_length = 10116 400 "max deliver is required to be > length of backoff values";
    consumer_replicas = 10126 400 "consumer config replica count exceeds parent stream";
    consumer_path = 10127 400 "Consumer name can not contain path separators";
    create_filter = 10131 400 "Consumer create request did not match filtered subject from create subject";
    durable_and_name = 10132 400 "Consumer Durable and Name have to be equal if both are provided";
    filter_and_filters = 10136 400 "consumer cannot have both FilterSubject and FilterSubjects specified";
    filters_in_subject = 10137 400 "consumer with multiple subject filters cannot use subject based API";
    filters_overlap = 10138 400 "consumer subject filters cannot overlap";
    filter_empty = 10139 400 "consumer filter in FilterSubjects cannot be empty";
    consumer_exists = 10148 400 "consumer already exists";
    consumer_missing = 10149 400 "consumer does not exist";
    ack_wait_negative = 10183 400 "consumer ack wait needs to be positive";
    backoff_negative = 10184 400 "consumer backoff needs to be positive";
}

detailed! {
    consumer_create = 10012 500 "";
    invalid_json = 10025 400 "invalid JSON: ";
    stream_config = 10052 500 "";
    wrong_last_id = 10070 400 "wrong last msg ID: ";
    wrong_last_sequence = 10071 400 "wrong last sequence: ";
    store_failed = 10077 503 "";
    rollup_value = 10111 500 "rollup value invalid: ";
    start_options = 10094 400 "";
    sampling = 10095 400 "failed to parse consumer sampling configuration: ";
    consumer_name_long = 10102 400 "consumer name is too long, maximum allowed is ";
    max_ack_pending_exceeded = 10121 400 "consumer max ack pending exceeds system limit of ";
    description_long = 10107 400 "consumer description is too long, maximum allowed is ";
    pedantic = 10157 400 "pedantic mode: ";
}

impl ApiError {
    pub(crate) fn sequence_not_found(seq: u64) -> ApiError {
        ApiError::new(10043, 400, format!("sequence {seq} not found"))
    }

    /// From what serde says about a request. Clients compare the part before the colon only, except that
    /// unknown members are named as Go names them.
    pub(crate) fn from_json(error: &serde_json::Error) -> ApiError {
        let text = error.to_string();
        match text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => ApiError::invalid_json(format!("json: unknown field {field:?}")),
            None => ApiError::invalid_json(text),
        }
    }
}
