//! Participants' durable consumers, and whose name is whose.

use std::time::Duration;

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{AckPolicy, DeliverPolicy, pull},
    kv,
    stream::ConsumerErrorKind,
};
use plenum_meeting::{MessagingRights, RoomId, UserId};
use tokio::time::{Instant, sleep, timeout};

use crate::layout::{DURABLES_BUCKET, ROOMS, durable, durable_filter};

/// A broker node that died with the durable's only replica does not answer; then it is made anew.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// A durable without a reader goes after this long; the client asks for everything anew then.
const INACTIVE: Duration = Duration::from_secs(300);
/// Unacknowledged messages of one participant.
const ACK_PENDING_MAX: i64 = 1_000;

/// The durable consumers of stream `rooms`.
#[derive(Clone)]
pub(crate) struct Durables {
    js: jetstream::Context,
    stream: jetstream::stream::Stream<()>,
    names: kv::Store,
    /// The stream behind `names`.
    claims: jetstream::stream::Stream<()>,
}

impl Durables {
    pub(crate) async fn open(js: &jetstream::Context) -> Result<Self, String> {
        let names = js.get_key_value(DURABLES_BUCKET).await.map_err(text)?;
        let stream = js.get_stream_no_info(ROOMS).await.map_err(text)?;
        let claims = js.get_stream_no_info(format!("KV_{DURABLES_BUCKET}")).await.map_err(text)?;
        Ok(Self { js: js.clone(), stream, names, claims })
    }

    /// Claims the durable's name for one person of one room: `a_b` + `c` and `a` + `b_c` would share it.
    pub(crate) async fn claim(&self, room: &RoomId, user: &UserId) -> Result<bool, String> {
        let name = durable(room.as_str(), user.as_str());
        let owner = owner(room, user);
        // It may become free between the two looks.
        for _ in 0..8 {
            match self.names.create(&name, owner.clone().into()).await {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(text(error)),
            }
            if let Some(held) = self.names.get(&name).await.map_err(text)? {
                return Ok(held == owner.as_bytes());
            }
        }
        Err("the name keeps changing hands".to_owned())
    }

    /// Gives the durable's name free, if it is this person's; without a trace, so that names of past meetings take no room.
    pub(crate) async fn release(&self, room: &RoomId, user: &UserId) -> Result<(), String> {
        let name = durable(room.as_str(), user.as_str());
        match self.names.entry(&name).await.map_err(text)? {
            Some(held) if held.value == owner(room, user).as_bytes() => self
                .claims
                .purge()
                .filter(format!("$KV.{DURABLES_BUCKET}.{name}"))
                .sequence(held.revision + 1)
                .await
                .map(|_| ())
                .map_err(text),
            _ => Ok(()),
        }
    }

    /// Creates the durable or makes its filter follow. `fresh`: what an older page left unread is dropped.
    pub(crate) async fn ensure(
        &self,
        room: &RoomId,
        user: &UserId,
        rights: MessagingRights,
        fresh: bool,
    ) -> Result<(), String> {
        let name = durable(room.as_str(), user.as_str());
        if fresh {
            match timeout(ANSWER_WITHIN, self.stream.delete_consumer(&name)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if is_absent(&error) => {}
                // Creating it would find the old one, and what is in it.
                _ => self.delete_unasked(&name).await,
            }
        }
        let config = pull::Config {
            durable_name: Some(name.clone()),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            filter_subjects: durable_filter(room.as_str(), user.as_str(), rights),
            max_ack_pending: ACK_PENDING_MAX,
            inactive_threshold: INACTIVE,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        if let Ok(created) = timeout(ANSWER_WITHIN, self.stream.create_consumer(config.clone())).await
            && created.is_ok()
        {
            return Ok(());
        }
        // Its node may be dead, or its settings cannot be changed: away with it, without waiting for an answer.
        self.delete_unasked(&name).await;
        self.stream.create_consumer(config).await.map(|_| ()).map_err(text)
    }

    /// Returns when everything was delivered and acknowledged, or after `patience`.
    pub(crate) async fn drained(&self, room: &str, user: &str, patience: Duration) {
        let name = durable(room, user);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            match self.stream.consumer_info(&name).await {
                Ok(info) if info.num_pending == 0 && info.num_ack_pending == 0 => return,
                Ok(_) => sleep(Duration::from_millis(50)).await,
                Err(_) => return,
            }
        }
    }

    /// Deletes a durable; one that is not there is fine.
    pub(crate) async fn delete(&self, room: &str, user: &str) -> Result<(), String> {
        match self.stream.delete_consumer(&durable(room, user)).await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(text(error)),
        }
    }

    /// Deletes without waiting: whatever comes after it on this connection is done after it.
    async fn delete_unasked(&self, name: &str) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{ROOMS}.{name}");
        let _ = self.js.client().publish(subject, Default::default()).await;
    }
}

fn owner(room: &RoomId, user: &UserId) -> String {
    format!("{room} {user}")
}

fn is_absent(error: &jetstream::stream::ConsumerError) -> bool {
    match error.kind() {
        ConsumerErrorKind::JetStream(error) => error.error_code() == ErrorCode::CONSUMER_NOT_FOUND,
        _ => false,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
