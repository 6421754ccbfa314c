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
/// Relayed addresses that clients have.
pub(crate) const TURN_ALLOCATIONS: &str = "plenum_turn_allocations_count";
/// Relayed addresses that clients got; label `transport`.
pub(crate) const TURN_ALLOCATED: &str = "plenum_turn_allocations_total";
/// Requests to the relay that were refused; label `reason`.
pub(crate) const TURN_REFUSED: &str = "plenum_turn_refused_total";
/// Bytes that were relayed; label `direction`.
pub(crate) const TURN_BYTES: &str = "plenum_turn_bytes_total";
/// Datagrams that were not relayed, because the client or the system did not take them; label `direction`.
pub(crate) const TURN_DROPPED: &str = "plenum_turn_dropped_total";
/// Webhooks that were given up; label `reason`.
pub(crate) const WEBHOOKS_LOST: &str = "plenum_media_webhooks_lost_total";

/// Media packets of publishers that send more than they may.
pub(crate) const PACKETS_OVER_LIMIT: &str = "plenum_media_packets_over_limit_total";
/// The part of its time that a media thread works, from 0 to 1; label `thread`.
pub(crate) const THREAD_BUSY: &str = "plenum_media_thread_busy_ratio";
/// Connections that were not there after ten seconds; label `stage`: `ice` where nothing came, `dtls` where the handshake
/// does not end.
pub(crate) const STUCK: &str = "plenum_media_connections_stuck_total";
/// Packets that were sent only to find out what a connection carries.
pub(crate) const PADDING_SENT: &str = "plenum_media_padding_sent_total";

/// Media packets; labels `direction` and `transmission`.
pub(crate) const LIVEKIT_PACKETS: &str = "livekit_packet_total";
/// Their bytes above UDP; what came in without headers.
pub(crate) const LIVEKIT_BYTES: &str = "livekit_packet_bytes";
/// Packets that were asked for again; label `direction`.
pub(crate) const LIVEKIT_NACKS: &str = "livekit_nack_total";
/// Key frames that were asked for; label `direction`.
pub(crate) const LIVEKIT_PLIS: &str = "livekit_pli_total";
/// What publishers or subscribers lose, in percent: of the worst stream, every few seconds; label `direction`.
pub(crate) const LIVEKIT_LOSS: &str = "livekit_packet_loss_percent";
/// Their round trips; label `direction`.
pub(crate) const LIVEKIT_RTT: &str = "livekit_rtt_ms";
/// Their jitter; label `direction`.
pub(crate) const LIVEKIT_JITTER: &str = "livekit_jitter_us";
/// How participants' connections are, every few seconds: 0 poor, 1 good, 2 excellent.
pub(crate) const LIVEKIT_QUALITY_RATING: &str = "livekit_quality_rating";
/// The same as a score, from 1 to 5.
pub(crate) const LIVEKIT_QUALITY_SCORE: &str = "livekit_quality_score";
/// Rooms that are there.
pub(crate) const LIVEKIT_ROOMS: &str = "livekit_room_total";
/// How long rooms lived.
pub(crate) const LIVEKIT_ROOM_DURATION: &str = "livekit_room_duration_seconds";
/// Participants that are there.
pub(crate) const LIVEKIT_PARTICIPANTS: &str = "livekit_participant_total";
/// Steps of joining; label `state`.
pub(crate) const LIVEKIT_JOINS: &str = "livekit_participant_join_total";
/// Time from the first request of a participant to its media being connected; label `protocol_version`.
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
/// Webhooks that were dealt with; labels `status` and `reason`.
pub(crate) const LIVEKIT_WEBHOOKS: &str = "livekit_webhook_dispatch_total";

/// Histograms and their bounds, which are livekit-server's (rounded where it computes them).
pub const HISTOGRAMS: &[(&str, &[f64])] = &[
    (LIVEKIT_ROOM_DURATION, &[5.0, 10.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 18_000.0, 36_000.0]),
    (
        LIVEKIT_START_TIME,
        &[
            100.0, 139.0, 193.0, 268.0, 373.0, 518.0, 720.0, 1_000.0, 1_389.0, 1_931.0, 2_683.0, 3_728.0,
            5_179.0, 7_197.0, 10_000.0,
        ],
    ),
    (
        LIVEKIT_SESSION_DURATION,
        &[
            100.0,
            234.0,
            546.0,
            1_275.0,
            2_979.0,
            6_959.0,
            16_255.0,
            37_971.0,
            88_696.0,
            207_186.0,
            483_968.0,
            1_130_507.0,
            2_640_772.0,
            6_168_622.0,
            14_400_000.0,
        ],
    ),
    (LIVEKIT_LOSS, &[0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 5.0, 10.0, 40.0, 100.0]),
    (LIVEKIT_RTT, &[50.0, 100.0, 150.0, 200.0, 250.0, 500.0, 750.0, 1_000.0, 5_000.0, 10_000.0]),
    (
        LIVEKIT_JITTER,
        &[1_000.0, 10_000.0, 30_000.0, 50_000.0, 70_000.0, 100_000.0, 300_000.0, 600_000.0, 1_000_000.0],
    ),
    (LIVEKIT_QUALITY_RATING, &[0.0, 1.0, 2.0]),
    (LIVEKIT_QUALITY_SCORE, &[1.0, 2.0, 2.5, 3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5]),
    (
        LIVEKIT_CALL_LATENCY,
        &[
            5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0,
            60_000.0,
        ],
    ),
];
