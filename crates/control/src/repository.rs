//! Room records in key-value: read at the leader, written by compare-and-set.

use async_nats::jetstream::{self, kv, stream::LastRawMessageErrorKind};
use bytes::Bytes;
use plenum_meeting::{Room, RoomId};
use prost::Message as _;

use crate::layout::{STATE_BUCKET, room_key};

/// A record and the revision it was read at.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The record.
    pub room: Room,
    /// For the next compare-and-set.
    pub revision: u64,
}

/// Why the broker did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer, or one that makes no sense. It may be done or not.
    #[error("the broker does not answer: {0}")]
    Silent(String),
    /// Somebody else wrote meanwhile.
    #[error("the record has changed")]
    Conflict,
    /// A record that cannot be read: damaged, or written by a newer version.
    #[error("the record of room {0} cannot be read")]
    Damaged(String),
}

/// The bucket of room records.
#[derive(Clone)]
pub(crate) struct Repository {
    stream: jetstream::stream::Stream<()>,
    store: kv::Store,
}

impl Repository {
    pub(crate) async fn open(js: &jetstream::Context) -> Result<Self, StoreError> {
        let store = js.get_key_value(STATE_BUCKET).await.map_err(silent)?;
        let stream = js.get_stream_no_info(format!("KV_{STATE_BUCKET}")).await.map_err(silent)?;
        Ok(Self { stream, store })
    }

    /// Reads at the leader.
    pub(crate) async fn load(&self, room: &RoomId) -> Result<Option<Stored>, StoreError> {
        let subject = format!("$KV.{STATE_BUCKET}.{}", room_key(room));
        let message = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(silent(error)),
        };
        // A delete leaves an empty marker.
        if message.headers.get("KV-Operation").is_some() || message.payload.is_empty() {
            return Ok(None);
        }
        let record = Room::decode(message.payload).map_err(|_| StoreError::Damaged(room.to_string()))?;
        Ok(Some(Stored { room: record, revision: message.sequence }))
    }

    /// Writes, if nobody else did since `revision` (`None`: if there is none).
    pub(crate) async fn store(
        &self,
        id: &RoomId,
        room: &Room,
        revision: Option<u64>,
    ) -> Result<u64, StoreError> {
        let key = room_key(id);
        let value = Bytes::from(room.encode_to_vec());
        match revision {
            Some(revision) => {
                self.store.update(&key, value, revision).await.map_err(|error| match error.kind() {
                    kv::UpdateErrorKind::WrongLastRevision => StoreError::Conflict,
                    _ => silent(error),
                })
            }
            None => self.store.create(&key, value).await.map_err(|error| match error.kind() {
                kv::CreateErrorKind::AlreadyExists => StoreError::Conflict,
                _ => silent(error),
            }),
        }
    }

    /// Deletes, if nobody wrote since `revision`. A key-value delete would leave a marker for every room that ever was; the
    /// stream forgets up to this revision instead, so that a newer record stays.
    pub(crate) async fn delete(&self, id: &RoomId, revision: u64) -> Result<(), StoreError> {
        let subject = format!("$KV.{STATE_BUCKET}.{}", room_key(id));
        self.stream.purge().filter(subject).sequence(revision + 1).await.map(|_| ()).map_err(silent)
    }

    /// Follows all records that match, beginning with what is there.
    pub(crate) async fn watch(&self, keys: &str) -> Result<kv::Watch, StoreError> {
        self.store.watch_with_history(keys).await.map_err(silent)
    }

    /// All records, as of about now. For lists; decisions read one at the leader.
    pub(crate) async fn all(&self) -> Result<Vec<Room>, StoreError> {
        use futures_util::StreamExt as _;
        let mut rooms = Vec::new();
        let mut watch = self.store.watch_with_history("room.>").await.map_err(silent)?;
        if self.store.keys().await.map_err(silent)?.next().await.is_none() {
            return Ok(rooms);
        }
        while let Some(entry) = watch.next().await {
            let entry = entry.map_err(silent)?;
            if entry.operation == kv::Operation::Put
                && let Ok(room) = Room::decode(entry.value)
            {
                rooms.push(room);
            }
            if entry.delta == 0 {
                break;
            }
        }
        Ok(rooms)
    }
}

fn silent(error: impl std::fmt::Display) -> StoreError {
    StoreError::Silent(error.to_string())
}
