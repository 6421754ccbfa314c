//! Names of metrics, each said once. Those of `livekit_…` are livekit-server's, with its labels, wherever the value is
//! known here; dashboards for it work.

/// Datagrams that were for nobody; label `reason`.
pub(crate) const DATAGRAMS_DROPPED: &str = "plenum_media_datagrams_dropped_total";
/// Datagrams that came in.
pub(crate) const DATAGRAMS_RECEIVED: &str = "plenum_media_datagrams_received_total";
/// Datagrams that were sent.
pub(crate) const DATAGRAMS_SENT: &str = "plenum_media_datagrams_sent_total";
/// Datagrams that the kernel did not take.
pub(crate) const DATAGRAMS_UNSENT: &str = "plenum_media_datagrams_unsent_total";
/// Rooms that are there.
pub(crate) const ROOMS: &str = "plenum_media_rooms_count";
/// Signal connections that are there.
pub(crate) const SIGNAL_CONNECTIONS: &str = "plenum_media_signal_connections_count";
/// Data messages dropped because a room was busy.
pub(crate) const DATA_DROPPED: &str = "plenum_media_data_dropped_total";
/// Webhooks that were given up; label `reason`.
pub(crate) const WEBHOOKS_LOST: &str = "plenum_media_webhooks_lost_total";

/// Rooms that are there.
pub(crate) const LIVEKIT_ROOMS: &str = "livekit_room_total";
/// How long rooms lived.
pub(crate) const LIVEKIT_ROOM_DURATION: &str = "livekit_room_duration_seconds";
/// Participants that are there.
pub(crate) const LIVEKIT_PARTICIPANTS: &str = "livekit_participant_total";
/// Steps of joining; labels `state` and `warp`.
pub(crate) const LIVEKIT_JOINS: &str = "livekit_participant_join_total";
/// Time from the first request of a participant to its media being connected; labels `protocol_version` and `warp`.
pub(crate) const LIVEKIT_START_TIME: &str = "livekit_session_start_time_ms";
/// How long participants stayed; label `protocol_version`.
pub(crate) const LIVEKIT_SESSION_DURATION: &str = "livekit_session_duration_ms";
/// Tracks that are published; label `kind`.
pub(crate) const LIVEKIT_PUBLISHED: &str = "livekit_track_published_total";
/// Publications that succeeded; labels `kind` and `state`.
pub(crate) const LIVEKIT_PUBLISHES: &str = "livekit_track_publish_counter";
/// Tracks that are received; label `kind`.
pub(crate) const LIVEKIT_SUBSCRIBED: &str = "livekit_track_subscribed_total";
/// Subscriptions that succeeded; labels `state` and `error`.
pub(crate) const LIVEKIT_SUBSCRIBES: &str = "livekit_track_subscribe_counter";
/// Signal messages; labels `type`, `status`, `direction`.
pub(crate) const LIVEKIT_MESSAGES: &str = "livekit_node_messages";
/// Calls of the server API; labels `service`, `method`, `status`, `code`.
pub(crate) const LIVEKIT_CALLS: &str = "livekit_node_twirp_request_status";
/// How long they took; labels `service`, `method`, `status`.
pub(crate) const LIVEKIT_CALL_LATENCY: &str = "livekit_node_twirp_request_latency_ms";
/// Webhooks that were dealt with; label `status`.
pub(crate) const LIVEKIT_WEBHOOKS: &str = "livekit_webhook_dispatch_total";
