//! Where things are on the broker: accounts, streams, buckets, subjects. One table each; everything else reads it here.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType},
};
use plenum_meeting::{MessagingRights, RoomId, Shard, UserId};

/// Account of the participants.
pub const PARTICIPANTS: &str = "PNM";
/// Account of the meeting servers.
pub const SERVICE: &str = "SVC";
/// System account of the broker.
pub const SYSTEM: &str = "SYS";

/// Stream of what the server tells participants.
pub const ROOMS: &str = "rooms";
/// Stream of what participants ask.
pub const WORKER: &str = "worker";
/// Stream of chat.
pub const CHAT: &str = "chat";
/// Stream of connection events.
pub const CONNECTIONS: &str = "connections";
/// Bucket of room records.
pub const STATE_BUCKET: &str = "rooms_state";
/// Bucket of leases, live servers and run numbers.
pub const LEASE_BUCKET: &str = "lease";
/// Bucket of durable names: who owns one.
pub const DURABLES_BUCKET: &str = "durables";

/// A lease is gone this long after its last renewal.
pub const LEASE_TTL: Duration = Duration::from_secs(5);
/// How long the broker knows message ids, and keeps what it told participants.
const ROOM_WINDOW: Duration = Duration::from_secs(600);
/// Chat of a room beyond this is forgotten, oldest first.
pub const CHAT_MESSAGES_MAX: i64 = 5_000;
/// Chat of all rooms together, in bytes; beyond, the oldest is forgotten. All streams share the account's storage (4 GiB on
/// our own broker), and room records must always find room in it.
const CHAT_BYTES_MAX: i64 = 1 << 30;
/// What the server told participants and still keeps, in bytes; beyond, the oldest is forgotten, as it is after
/// [`ROOM_WINDOW`]: a client that was away for so long asks for everything anew.
const ROOMS_BYTES_MAX: i64 = 1 << 29;
/// Commands of all participants that wait, in bytes; beyond, new ones are refused.
const WORKER_BYTES_MAX: i64 = 256 << 20;
/// One command: a chat message of 64 KiB in its envelope is the largest.
const COMMAND_BYTES_MAX: i32 = 128 * 1024;

/// What an account lets another one use, in nats-server's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// Messages flow from the exporting account.
    Stream(&'static str),
    /// Requests flow to the exporting account. `streamed`: more than one answer may come back.
    Service {
        /// Subject in the exporting account.
        subject: &'static str,
        /// Whether a request has more than one answer.
        streamed: bool,
        /// Name in the importing account, where it differs.
        to: Option<&'static str>,
    },
}

/// All that crosses between accounts: (exporting, importing, what).
pub const SHARES: [(&str, &str, Share); 8] = [
    (SYSTEM, SERVICE, Share::Stream("$SYS.ACCOUNT.PNM.>")),
    // Under another prefix: in an account without JetStream a stock broker answers `$JS.API` itself.
    (
        SERVICE,
        PARTICIPANTS,
        service("$JS.API.CONSUMER.INFO.rooms.*", false, Some("plenum.API.CONSUMER.INFO.rooms.*")),
    ),
    (
        SERVICE,
        PARTICIPANTS,
        service("$JS.API.CONSUMER.MSG.NEXT.rooms.*", true, Some("plenum.API.CONSUMER.MSG.NEXT.rooms.*")),
    ),
    // Exactly <durable>.<deliveries>.<sequence>.<delivery>.<time>.<left>: in the longer form of an acknowledgement, stream
    // and consumer stand behind two tokens of free choice, so that `>` would let a durable speak for all others.
    (SERVICE, PARTICIPANTS, service("$JS.ACK.rooms.*.*.*.*.*.*", false, None)),
    (SERVICE, PARTICIPANTS, service("sysJsWorker.>", false, None)),
    (SERVICE, PARTICIPANTS, service("sysCoreWorker.>", false, None)),
    (SERVICE, PARTICIPANTS, Share::Stream("sysPublic.*")),
    (SERVICE, PARTICIPANTS, Share::Stream("chat.*")),
];

const fn service(subject: &'static str, streamed: bool, to: Option<&'static str>) -> Share {
    Share::Service { subject, streamed, to }
}

/// Every stream and bucket, with all that is not a broker's default.
fn streams(replicas: usize) -> Vec<StreamConfig> {
    let file = StreamConfig { num_replicas: replicas, storage: StorageType::File, ..StreamConfig::default() };
    let bucket = StreamConfig {
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        max_messages_per_subject: 1,
        ..file.clone()
    };
    vec![
        StreamConfig {
            name: ROOMS.into(),
            subjects: vec!["sysPublic.>".into(), "sysPrivate.>".into()],
            retention: RetentionPolicy::Limits,
            max_age: ROOM_WINDOW,
            duplicate_window: ROOM_WINDOW,
            max_bytes: ROOMS_BYTES_MAX,
            // The broker's default is 1,000: one durable per participant needs more.
            max_consumers: 1_000_000,
            ..file.clone()
        },
        StreamConfig {
            name: WORKER.into(),
            subjects: vec!["sysJsWorker.>".into()],
            retention: RetentionPolicy::WorkQueue,
            // Older commands have no caller left; a flooder fills only his own subject.
            max_age: Duration::from_secs(120),
            duplicate_window: Duration::from_secs(120),
            max_messages_per_subject: 64,
            max_message_size: COMMAND_BYTES_MAX,
            max_bytes: WORKER_BYTES_MAX,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..file.clone()
        },
        StreamConfig {
            name: CHAT.into(),
            // chat.<room>: everybody's; chat.<room>.<user>: one person's private messages, exported to nobody.
            subjects: vec!["chat.>".into()],
            max_messages_per_subject: CHAT_MESSAGES_MAX,
            max_bytes: CHAT_BYTES_MAX,
            max_message_size: 64 * 1024,
            duplicate_window: ROOM_WINDOW,
            ..file.clone()
        },
        StreamConfig {
            name: CONNECTIONS.into(),
            subjects: vec!["$SYS.ACCOUNT.PNM.CONNECT".into(), "$SYS.ACCOUNT.PNM.DISCONNECT".into()],
            max_age: ROOM_WINDOW,
            duplicate_window: Duration::from_secs(120),
            ..file
        },
        StreamConfig {
            name: format!("KV_{STATE_BUCKET}"),
            subjects: vec![format!("$KV.{STATE_BUCKET}.>")],
            // A follower may be behind: rights are read at the leader.
            allow_direct: false,
            max_message_size: 1024 * 1024,
            ..bucket.clone()
        },
        StreamConfig {
            name: format!("KV_{LEASE_BUCKET}"),
            subjects: vec![format!("$KV.{LEASE_BUCKET}.>")],
            max_age: LEASE_TTL,
            duplicate_window: LEASE_TTL,
            ..bucket.clone()
        },
        StreamConfig {
            name: format!("KV_{DURABLES_BUCKET}"),
            // No age: a name is somebody's as long as the record has them, and is given free when it has not.
            subjects: vec![format!("$KV.{DURABLES_BUCKET}.>")],
            ..bucket
        },
    ]
}

/// Why the broker cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The broker refused a stream.
    #[error(
        "stream {name} cannot be created or changed on the broker: {reason}. Delete it there, or use another broker or account"
    )]
    Stream {
        /// Its name.
        name: String,
        /// The broker's words.
        reason: String,
    },
    /// The broker did not answer.
    #[error("the broker does not answer: {0}")]
    Silent(String),
}

/// Creates what is missing and changes what differs, where the broker allows it.
///
/// # Errors
/// Names the stream that is different and cannot be changed.
pub(crate) async fn ensure(js: &jetstream::Context, replicas: usize) -> Result<(), LayoutError> {
    for config in streams(replicas) {
        let name = config.name.clone();
        match js.update_stream(&config).await {
            Ok(_) => {}
            Err(error) if error.to_string().contains("not found") => {
                js.create_stream(config)
                    .await
                    .map_err(|error| LayoutError::Stream { name, reason: error.to_string() })?;
            }
            Err(error) => return Err(LayoutError::Stream { name, reason: error.to_string() }),
        }
    }
    Ok(())
}

/// The key of a room's record.
#[must_use]
pub fn room_key(room: &RoomId) -> String {
    format!("room.{}.{room}", Shard::of(room))
}

/// The durable consumer of a participant; the unmodified client builds this name itself.
#[must_use]
pub fn durable(room: &str, user: &str) -> String {
    format!("{room}_{user}")
}

/// What a durable delivers.
#[must_use]
pub fn durable_filter(room: &str, user: &str, rights: MessagingRights) -> Vec<String> {
    let own = format!("sysPrivate.{room}.{user}.>");
    match rights {
        MessagingRights::Waiting => vec![own],
        MessagingRights::Admitted { .. } => vec![format!("sysPublic.{room}.>"), own],
    }
}

/// Prefix of the subject on which a room's clients ask; told to them.
#[must_use]
pub fn worker_prefix(room: &RoomId) -> String {
    format!("sysJsWorker.{}", Shard::of(room))
}

/// Subjects a participant may publish and subscribe.
///
/// The seam for `compat.plugnmeet_client`: what the unmodified client needs differs from this in the prefix of its inboxes,
/// in the names under which it asks for consumers, and in publishing chat itself. It is a second set made here and chosen
/// by the callout, together with [`durable_filter`]; accounts, streams and records stay the same.
#[must_use]
pub fn permissions(room: &RoomId, user: &UserId, rights: MessagingRights) -> (Vec<String>, Vec<String>) {
    let durable = durable(room.as_str(), user.as_str());
    let mut publish = vec![
        format!("plenum.API.CONSUMER.INFO.{ROOMS}.{durable}"),
        format!("plenum.API.CONSUMER.MSG.NEXT.{ROOMS}.{durable}"),
        format!("$JS.ACK.{ROOMS}.{durable}.*.*.*.*.*"),
        format!("{}.{room}.{user}", worker_prefix(room)),
    ];
    let mut subscribe = vec![format!("_INBOX.{room}.{user}.>")];
    if let MessagingRights::Admitted { whiteboard } = rights {
        // The data channel stays open where chat is locked: it carries what keeps pages in step (polls, reactions, players,
        // notepad), no client shows anything of it as chat, and each lock of the chat would cut people's connections.
        publish.push(format!("sysCoreWorker.{room}.{user}"));
        publish.push(format!("dataChannel.{room}"));
        subscribe.extend([
            format!("sysPublic.{room}"),
            format!("chat.{room}"),
            format!("dataChannel.{room}"),
        ]);
        subscribe.push(format!("whiteboard.{room}"));
        if whiteboard {
            publish.push(format!("whiteboard.{room}"));
        }
    }
    (publish, subscribe)
}
