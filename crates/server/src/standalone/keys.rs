//! livekit-server's configuration keys: which are read, and what to use instead of the others.
//!
//! A key that says what is so anyway is no fault: sections with nothing in them, and switches that are off.

use serde_yaml_ng::{Mapping, Value};

use crate::config::ConfigError;

/// What is done with a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// It is read.
    Read,
    /// Clients get the same whatever it says.
    Moot,
    /// It may say this, or nothing; the text is what to do otherwise.
    Only(&'static str, &'static str),
    /// It may say nothing; the text is what to do instead.
    Instead(&'static str),
}

/// What a key holds. Flags and the environment can set all but lists and sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    Number,
    Switch,
    /// A section whose names are free, which a flag gives as YAML.
    Names,
    /// A list, or a section of which no key is read.
    More,
}

use Holds::{More, Names, Number, Switch, Text};
use Use::{Instead, Moot, Only, Read};

const ONE_PROCESS: &str =
    "rooms are kept in this process; for several machines run livekit-server, which needs Redis";
const ADDRESSES: &str = "set rtc.node_ip to the address that clients reach";
const ONE_PORT: &str =
    "set rtc.udp_port, to one port for all media or to one for each processor, such as 7882-7885";
const OWN_TURN: &str = "clients are told of this server's own relay only: set turn.udp_port or turn.tls_port";
const OWN_WAY: &str = "Plenum adapts by itself: leave it out";
const NO_TRACING: &str = "use prometheus.port and the log";
const FIXED: &str = "it is fixed: leave it out";
const NO_SERVICE: &str = "there is no such service: leave it out";
const PASSIVE_ICE: &str = "the server is a lite agent for everybody: leave it out";

/// Every key of livekit-server 1.13.5.
pub(super) const KEYS: &[(&str, Holds, Use)] = &[
    ("port", Number, Read),
    ("bind_addresses", More, Read),
    ("keys", Names, Read),
    ("key_file", Text, Read),
    ("region", Text, Read),
    ("development", Switch, Instead("start with --dev")),
    ("log_level", Text, Read),
    ("logging.level", Text, Read),
    ("logging.json", Switch, Read),
    ("logging.pion_level", Text, Only("error", "use logging.level")),
    ("logging.component_levels", More, Instead("use logging.level")),
    ("logging.sample", Switch, Instead("every line is written: leave it out")),
    ("logging.sample_initial", Number, Instead("every line is written: leave it out")),
    ("logging.sample_interval", Number, Instead("every line is written: leave it out")),
    ("logging.item_sample_seconds", Number, Instead("every line is written: leave it out")),
    ("logging.item_sample_initial", Number, Instead("every line is written: leave it out")),
    ("logging.item_sample_interval", Number, Instead("every line is written: leave it out")),
    ("prometheus_port", Number, Instead("use prometheus.port")),
    ("prometheus.port", Number, Read),
    ("prometheus.username", Text, Read),
    ("prometheus.password", Text, Read),
    ("debug_handler.port", Number, Instead(NO_TRACING)),
    ("trace.jaeger_url", Text, Instead(NO_TRACING)),
    ("rtc.udp_port", Text, Read),
    ("rtc.tcp_port", Number, Read),
    ("rtc.node_ip", Text, Read),
    ("rtc.port_range_start", Number, Instead(ONE_PORT)),
    ("rtc.port_range_end", Number, Instead(ONE_PORT)),
    ("rtc.use_stun_port_as_ice", Switch, Instead(ADDRESSES)),
    ("rtc.use_external_ip", Switch, Read),
    ("rtc.external_ip_only", Switch, Instead(ADDRESSES)),
    ("rtc.skip_external_ip_validation", Switch, Instead(ADDRESSES)),
    ("rtc.advertise_internal_ip", Switch, Instead(ADDRESSES)),
    ("rtc.stun_servers", More, Read),
    ("rtc.interfaces.includes", More, Instead(ADDRESSES)),
    ("rtc.interfaces.excludes", More, Instead(ADDRESSES)),
    ("rtc.ips.includes", More, Instead(ADDRESSES)),
    ("rtc.ips.excludes", More, Instead(ADDRESSES)),
    ("rtc.enable_loopback_candidate", Switch, Instead("set rtc.node_ip to 127.0.0.1")),
    ("rtc.use_mdns", Switch, Instead(ADDRESSES)),
    // The server is a lite agent for everybody, which works for those who would get a full one too.
    ("rtc.use_ice_lite", Switch, Moot),
    ("rtc.host_acceptance_min_wait", Text, Instead(PASSIVE_ICE)),
    ("rtc.srflx_acceptance_min_wait", Text, Instead(PASSIVE_ICE)),
    ("rtc.prflx_acceptance_min_wait", Text, Instead(PASSIVE_ICE)),
    ("rtc.relay_acceptance_min_wait", Text, Instead(PASSIVE_ICE)),
    ("rtc.force_tcp", Switch, Instead("clients choose; block the UDP port to make them")),
    ("rtc.allow_tcp_fallback", Switch, Only("true", "set rtc.tcp_port to 0 to have no TCP")),
    ("rtc.tcp_fallback_rtt_threshold", Number, Instead(OWN_WAY)),
    ("rtc.allow_udp_unstable_fallback", Switch, Instead(OWN_WAY)),
    ("rtc.turn_servers", More, Instead(OWN_TURN)),
    ("rtc.batch_io", More, Instead("packets are always sent in batches: leave it out")),
    ("rtc.sctp_min_cwnd", Number, Instead(OWN_WAY)),
    ("rtc.sctp_fast_rtx_wnd", Number, Instead(OWN_WAY)),
    ("rtc.sctp_cwnd_ca_step", Number, Instead(OWN_WAY)),
    ("rtc.enable_warp", Switch, Instead(OWN_WAY)),
    ("rtc.strict_acks", Switch, Moot),
    ("rtc.packet_buffer_size", Number, Instead(OWN_WAY)),
    ("rtc.packet_buffer_size_video", Number, Instead(OWN_WAY)),
    ("rtc.packet_buffer_size_audio", Number, Instead(OWN_WAY)),
    ("rtc.pli_throttle", More, Instead(OWN_WAY)),
    ("rtc.congestion_control.enabled", Switch, Only("true", OWN_WAY)),
    ("rtc.congestion_control.allow_pause", Switch, Only("true", OWN_WAY)),
    ("rtc.congestion_control", More, Instead(OWN_WAY)),
    ("rtc.reconnect_on_publication_error", Switch, Instead(OWN_WAY)),
    ("rtc.reconnect_on_subscription_error", Switch, Instead(OWN_WAY)),
    ("rtc.reconnect_on_data_channel_error", Switch, Instead(OWN_WAY)),
    ("rtc.data_channel_max_buffered_amount", Number, Instead(OWN_WAY)),
    ("rtc.datachannel_slow_threshold", Number, Instead(OWN_WAY)),
    ("rtc.datachannel_lossy_target_latency", Text, Instead(OWN_WAY)),
    ("rtc.datachannel_data_track_target_latency", Text, Instead(OWN_WAY)),
    ("rtc.forward_stats", More, Instead(NO_TRACING)),
    ("rtc.enable_rtp_stream_restart_detection", Switch, Instead(OWN_WAY)),
    ("redis", More, Instead(ONE_PROCESS)),
    ("signal_relay", More, Instead(ONE_PROCESS)),
    ("psrpc", More, Instead(ONE_PROCESS)),
    ("node_selector", More, Instead(ONE_PROCESS)),
    ("node_selector.cpu_load_limit", Number, Read),
    ("node_stats", More, Instead(ONE_PROCESS)),
    ("api", More, Instead("calls are answered by the room itself: leave it out")),
    ("audio", More, Instead(OWN_WAY)),
    ("video", More, Instead(OWN_WAY)),
    ("turn.enabled", Switch, Read),
    ("turn.domain", Text, Read),
    ("turn.cert_file", Text, Read),
    ("turn.key_file", Text, Read),
    ("turn.tls_port", Number, Read),
    ("turn.udp_port", Number, Read),
    ("turn.external_tls", Switch, Read),
    ("turn.allow_restricted_peer_cidrs", More, Read),
    ("turn.deny_peer_cidrs", More, Read),
    // Relayed addresses are used between the relay and the media port, within this machine.
    ("turn.relay_range_start", Number, Moot),
    ("turn.relay_range_end", Number, Moot),
    ("turn.bind_addresses", More, Instead("the relay listens where media does: leave it out")),
    ("turn.per_user_relay_allocation_limit", Number, Instead(FIXED)),
    ("turn.ttl_seconds", Number, Instead("credentials are good for four hours: leave it out")),
    ("ingress", More, Instead(NO_SERVICE)),
    ("sip", More, Instead(NO_SERVICE)),
    ("agents", More, Instead(NO_SERVICE)),
    ("metric", More, Instead(OWN_WAY)),
    ("enable_data_tracks", Switch, Read),
    ("enable_participant_data_blob", Switch, Instead("there are no data blobs: leave it out")),
    ("room.auto_create", Switch, Read),
    ("room.empty_timeout", Number, Read),
    ("room.departure_timeout", Number, Read),
    ("room.max_participants", Number, Read),
    ("room.enabled_codecs", More, Read),
    ("room.enable_remote_unmute", Switch, Read),
    ("room.enable_full_room_in_webhooks", Switch, Read),
    ("room.max_metadata_size", Number, Instead("use limit.max_metadata_size")),
    ("room.max_room_name_length", Number, Instead("use limit.max_room_name_length")),
    ("room.max_participant_identity_length", Number, Instead("use limit.max_participant_identity_length")),
    ("room.playout_delay.enabled", Switch, Read),
    ("room.playout_delay.min", Number, Read),
    ("room.playout_delay.max", Number, Read),
    (
        "room.sync_streams",
        Switch,
        Instead("clients that can get sound and pictures in sync anyway: leave it out"),
    ),
    ("room.create_room_timeout", Text, Instead("rooms are there at once: leave it out")),
    ("room.create_room_attempts", Number, Instead("rooms are there at once: leave it out")),
    ("room.update_batch_target_size", Number, Instead(OWN_WAY)),
    ("room.room_configurations", More, Read),
    ("limit.max_metadata_size", Number, Read),
    ("limit.max_attributes_size", Number, Read),
    ("limit.max_participant_name_length", Number, Read),
    ("limit.max_room_name_length", Number, Only("256", FIXED)),
    ("limit.max_participant_identity_length", Number, Only("256", FIXED)),
    ("limit.num_tracks", Number, Instead("limit the machine's load by room.max_participants")),
    ("limit.bytes_per_sec", Number, Instead("limit the machine's load by room.max_participants")),
    ("limit.subscription_limit_video", Number, Instead("limit the machine's load by room.max_participants")),
    ("limit.subscription_limit_audio", Number, Instead("limit the machine's load by room.max_participants")),
    ("limit.max_data_blob_key_length", Number, Instead("there are no data blobs: leave it out")),
    ("limit.max_data_blobs_size", Number, Instead("there are no data blobs: leave it out")),
    ("limit.max_data_track_custom_encoding_length", Number, Only("32", FIXED)),
    ("limit.signal_message_size_limit", Number, Only("2097152", FIXED)),
    ("limit.agent_signal_message_size_limit", Number, Instead(NO_SERVICE)),
    ("limit.max_api_request_body_size", Number, Only("10485760", FIXED)),
    ("webhook.urls", More, Read),
    ("webhook.api_key", Text, Read),
    ("webhook.filter_params", More, Read),
    ("webhook.url_notifier", More, Instead("events are kept and tried again for 30 s: leave it out")),
    (
        "webhook.resource_url_notifier",
        More,
        Instead("events are kept and tried again for 30 s: leave it out"),
    ),
];

/// Holds a configuration file against [`KEYS`].
///
/// # Errors
/// Names a key that is not known, or not supported and what to use instead.
pub(super) fn check(tree: &Mapping) -> Result<(), ConfigError> {
    check_section("", tree)
}

fn check_section(section: &str, tree: &Mapping) -> Result<(), ConfigError> {
    for (name, value) in tree {
        let name = name.as_str().unwrap_or("(no text)");
        let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        match (KEYS.iter().find(|(key, ..)| *key == path), value) {
            // A section of which some keys have lines of their own.
            (_, Value::Mapping(tree)) if is_section(&path) => check_section(&path, tree)?,
            (Some((_, _, usage)), value) => check_value(&path, *usage, value)?,
            (None, Value::Null) if is_section(&path) => {}
            (None, _) if is_section(&path) => {
                return Err(ConfigError::key(&path, "is a section, not a value"));
            }
            (None, value) => match whole_section(section) {
                Some(usage) => check_value(&path, usage, value)?,
                None => return Err(ConfigError::key(&path, "is no key of livekit-server's configuration")),
            },
        }
    }
    Ok(())
}

fn check_value(path: &str, usage: Use, value: &Value) -> Result<(), ConfigError> {
    match usage {
        Read | Moot => Ok(()),
        Instead(_) if is_blank(value) => Ok(()),
        Only(only, _) if value.is_null() || text_of(value).is_some_and(|text| text == only) => Ok(()),
        Only(_, hint) | Instead(hint) => Err(ConfigError::key(path, format!("is not supported; {hint}"))),
    }
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|(key, ..)| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// What is done with keys of a section that have no line of their own.
fn whole_section(section: &str) -> Option<Use> {
    KEYS.iter().find(|(key, holds, _)| *key == section && *holds == More).map(|(_, _, usage)| *usage)
}

/// Nothing, as the Go program's YAML has it: zero is not set.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Sequence(list) => list.is_empty(),
        Value::Mapping(section) => section.values().all(is_blank),
        Value::Tagged(_) => false,
    }
}

/// A scalar as it is written.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(yaml: &str) -> String {
        let tree = serde_yaml_ng::from_str(yaml).unwrap();
        check(&tree).expect_err(yaml).to_string()
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert!(refusal("prot: 1").contains("prot: is no key"));
        assert!(refusal("rtc: {upd_port: 1}").contains("rtc.upd_port: is no key"));
        assert!(refusal("logging: debug").contains("logging: is a section"));
    }

    #[test]
    fn what_is_not_supported_comes_with_a_way_out() {
        assert!(refusal("rtc: {use_mdns: true}").contains("rtc.use_mdns: is not supported; set rtc.node_ip"));
        assert!(refusal("redis: {address: 'redis:6379'}").contains("redis: is not supported"));
        assert!(refusal("turn: {ttl_seconds: 300}").contains("turn.ttl_seconds: is not supported"));
        assert!(refusal("rtc: {turn_servers: [{host: t}]}").contains("set turn.udp_port"));
        assert!(refusal("rtc: {port_range_start: 50000}").contains("set rtc.udp_port"));
        assert!(
            refusal("rtc: {congestion_control: {use_send_side_bwe: true}}").contains("use_send_side_bwe")
        );
    }

    #[test]
    fn what_is_so_anyway_may_be_said() {
        let sample = "
            port: 7880
            log_level: info
            rtc: {tcp_port: 7881, udp_port: 7882, use_external_ip: false, use_ice_lite: true, stun_servers: [], congestion_control: {enabled: true, allow_pause: true}}
            redis: {address: ''}
            turn: {enabled: false, domain: '', tls_port: 0}
            logging: {json: false, pion_level: error}
            limit: {max_room_name_length: 256}
            keys: {key: secret}
            webhook:
            room: {auto_create: true, enabled_codecs: [{mime: audio/opus}]}";
        check(&serde_yaml_ng::from_str(sample).unwrap()).unwrap();
    }
}
