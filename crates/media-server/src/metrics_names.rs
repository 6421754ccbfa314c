//! Names of the counters, each said once.

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
