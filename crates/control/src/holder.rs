//! What the holder of a shard does: works off commands, watches records, keeps their deadlines, finishes what others left.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
    kv::Operation,
};
use futures_util::StreamExt as _;
use plenum_meeting::{
    Command, Room, RoomId, Shard, UserId, media_rights,
    state::{Connection, Phase, UnixMs},
};
use prost::Message as _;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    agenda::Agenda,
    chat::ChatLog,
    clock::Clock,
    layout::WORKER,
    lease::{Epoch, Lease},
    media::Media,
    repository::Repository,
    steps::{Step, Steps},
    worker::{Commands, Worker},
    writer::Writers,
};

/// Effects that stayed unchanged for this long are the holder's to do.
const EFFECTS_LEFT: Duration = Duration::from_secs(5);
/// A connection without a ping for this long is over.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What the media server has is compared with the records this often: an effect that was given up or a report that was
/// lost leaves nobody in media who has no business there.
const MEDIA_COMPARED_EVERY: Duration = Duration::from_secs(30);
/// What was begun and has changed nothing yet is looked at again after this long.
const AGAIN: Duration = Duration::from_secs(1);
/// Reading that was interrupted begins again after this long.
const READ_AGAIN: Duration = Duration::from_millis(200);

/// When each person's client was last heard of, in this process. A new holder counts from its takeover.
#[derive(Clone, Default)]
pub(crate) struct LastSeen {
    seen: Arc<Mutex<HashMap<(RoomId, UserId), Instant>>>,
}

impl LastSeen {
    pub(crate) fn note(&self, room: &RoomId, user: &UserId) {
        self.seen().insert((room.clone(), user.clone()), Instant::now());
    }

    /// How long nothing was heard; counts from the first question.
    fn silence(&self, room: &RoomId, user: &UserId) -> Duration {
        self.seen().entry((room.clone(), user.clone())).or_insert_with(Instant::now).elapsed()
    }

    fn forget_room(&self, room: &RoomId) {
        self.seen().retain(|(held, _), _| held != room);
    }

    /// What was heard before this process held the shard says nothing about the time between.
    fn forget_shard(&self, shard: Shard) {
        self.seen().retain(|(room, _), _| Shard::of(room) != shard);
    }

    fn forget_old(&self) {
        self.seen().retain(|_, at| at.elapsed() < 4 * SILENCE_MAX);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<(RoomId, UserId), Instant>> {
        self.seen.lock().expect("no code panics while it holds the last-seen table")
    }
}

#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) js: jetstream::Context,
    pub(crate) repository: Repository,
    pub(crate) writers: Writers,
    pub(crate) worker: Worker,
    pub(crate) chat: ChatLog,
    pub(crate) last_seen: LastSeen,
    pub(crate) media: Media,
    pub(crate) steps: Steps,
    pub(crate) clock: Clock,
    /// How many shards are being worked on.
    pub(crate) working: Arc<AtomicUsize>,
}

/// Who is silent, and how long it takes at least until somebody else is.
struct Silence {
    silent: Vec<(UserId, Connection)>,
    next: Option<Duration>,
}

/// The shard's records, and when to look at which.
#[derive(Default)]
struct Rooms {
    watched: HashMap<RoomId, Watched>,
    agenda: Agenda,
}

struct Watched {
    room: Room,
    revision: u64,
    since: Instant,
    /// Something that the holder gave this room is in work; the next waits for it.
    busy: Arc<AtomicBool>,
}

impl Holder {
    pub(crate) async fn hold(self, mut lease: Lease) {
        let shard = lease.shard;
        self.last_seen.forget_shard(shard);
        tokio::select! {
            () = self.watch(shard) => {}
            () = self.work(shard, lease.epoch, &mut lease.ended) => {}
        }
        debug!(shard = %shard, epoch = %lease.epoch, "Shard left");
    }

    /// Works off the shard's commands until it is given up; after each interruption anew from the first that is not done.
    async fn work(&self, shard: Shard, epoch: Epoch, ended: &mut watch::Receiver<bool>) {
        loop {
            match self.fence(shard, epoch).await {
                Ok(commands) => {
                    debug!(shard = %shard, epoch = %epoch, "Shard taken");
                    self.working.fetch_add(1, Ordering::Relaxed);
                    self.worker.run(shard, commands, ended.clone()).await;
                    self.working.fetch_sub(1, Ordering::Relaxed);
                }
                Err(error) => {
                    warn!(error = %error, shard = %shard, "The shard's commands cannot be taken over yet");
                }
            }
            if timeout(READ_AGAIN, ended.wait_for(|ended| *ended)).await.is_ok() {
                return;
            }
        }
    }

    /// Deletes the consumers of older holders and its own of before an interruption, so that their pulls and acknowledgements
    /// find nobody, then makes its own: everything unacknowledged comes again, in stream order.
    async fn fence(&self, shard: Shard, epoch: Epoch) -> Result<Commands, String> {
        let stream = self.js.get_stream_no_info(WORKER).await.map_err(text)?;
        let prefix = format!("w{shard}_");
        let own = format!("{prefix}{epoch}");
        let mut names = stream.consumer_names();
        while let Some(name) = names.next().await {
            let name = name.map_err(text)?;
            let older = name.strip_prefix(&prefix).and_then(|epoch| epoch.parse::<Epoch>().ok());
            if older.is_some_and(|older| older <= epoch) {
                stream.delete_consumer(&name).await.map_err(text)?;
            }
        }
        let consumer = stream
            .create_consumer(pull::Config {
                durable_name: Some(own),
                deliver_policy: DeliverPolicy::All,
                ack_policy: AckPolicy::Explicit,
                ack_wait: Duration::from_secs(30),
                filter_subject: format!("sysJsWorker.{shard}.>"),
                max_ack_pending: 4096,
                ..pull::Config::default()
            })
            .await
            .map_err(text)?;
        // Asked after the consumer was made: were the stream made anew in between, the consumer would not be there.
        let made = stream.get_info().await.map_err(text)?.created.unix_timestamp_nanos() / 1_000_000;
        Ok(Commands { consumer, stream: u64::try_from(made).unwrap_or(0) })
    }

    async fn watch(&self, shard: Shard) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compared = Instant::now();
        loop {
            // Records that went meanwhile leave no trace.
            let mut rooms = Rooms::default();
            let mut entries = match self.repository.watch(&format!("room.{shard}.*")).await {
                Ok(entries) => entries,
                Err(error) => {
                    warn!(error = %error, shard = %shard, "Records cannot be watched, trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            loop {
                tokio::select! {
                    entry = entries.next() => match entry {
                        Some(Ok(entry)) => self.note(&mut rooms, &entry),
                        Some(Err(error)) => {
                            debug!(error = %error, shard = %shard, "Watching records was interrupted");
                            break;
                        }
                        None => break,
                    },
                    _ = ticks.tick() => {
                        self.tick(&mut rooms);
                        if compared.elapsed() >= MEDIA_COMPARED_EVERY {
                            compared = Instant::now();
                            self.last_seen.forget_old();
                            self.compare_media(&rooms.watched);
                        }
                    }
                }
            }
        }
    }

    fn note(&self, rooms: &mut Rooms, entry: &jetstream::kv::Entry) {
        let Some(id) = entry.key.rsplit('.').next().and_then(|id| RoomId::parse(id, "room_id").ok()) else {
            return;
        };
        let room =
            (entry.operation == Operation::Put).then(|| Room::decode(entry.value.clone()).ok()).flatten();
        match room {
            Some(room) => {
                let busy = rooms.watched.get(&id).map(|held| Arc::clone(&held.busy)).unwrap_or_default();
                let watched = Watched { room, revision: entry.revision, since: Instant::now(), busy };
                rooms.agenda.set(&id, Some(self.clock.now()));
                rooms.watched.insert(id, watched);
            }
            None => {
                self.last_seen.forget_room(&id);
                rooms.agenda.set(&id, None);
                rooms.watched.remove(&id);
            }
        }
    }

    /// Does what is due.
    fn tick(&self, rooms: &mut Rooms) {
        let now = self.clock.now();
        for id in rooms.agenda.due(now) {
            let Some(watched) = rooms.watched.get(&id) else { continue };
            if watched.room.is_over(now) {
                if let Some(over) = rooms.watched.remove(&id) {
                    self.forget(id, over);
                }
                continue;
            }
            let next = self.look_at(&id, watched, now);
            rooms.agenda.set(&id, next);
        }
    }

    /// Does what a room needs, and says when to look at it again, if nothing changes before.
    fn look_at(&self, id: &RoomId, watched: &Watched, now: UnixMs) -> Option<UnixMs> {
        let room = &watched.room;
        let later = |wait: Duration| now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2);
        let effects = (!room.outbox.is_empty()).then(|| {
            let left = EFFECTS_LEFT.saturating_sub(watched.since.elapsed());
            if left.is_zero() {
                self.writers.adopt(id, room);
            }
            later(if left.is_zero() { EFFECTS_LEFT } else { left })
        });
        let own = match room.phase() {
            Phase::Created | Phase::Active => {
                let Silence { silent, next } = self.silence(id, room);
                let deadline = room.next_deadline();
                if !silent.is_empty() {
                    self.give(id, watched, Command::ConnectionsSilent(silent));
                    Some(later(AGAIN))
                } else if deadline.is_some_and(|at| at <= now) {
                    self.give(id, watched, Command::Tick);
                    Some(later(AGAIN))
                } else {
                    next.map(later).into_iter().chain(deadline).min()
                }
            }
            Phase::Ending => {
                if room.may_close() {
                    self.close_room(id, watched);
                }
                Some(later(AGAIN))
            }
            Phase::Ended => Some(room.forgotten_at().max(later(AGAIN))),
        };
        effects.into_iter().chain(own).min()
    }

    fn forget(&self, id: RoomId, over: Watched) {
        self.last_seen.forget_room(&id);
        let repository = self.repository.clone();
        tokio::spawn(async move {
            match repository.delete(&id, over.revision).await {
                Ok(()) => info!(room.id = %id, room.sid = %over.room.sid, "Room forgotten"),
                // The next look at all records finds it again.
                Err(error) => debug!(error = %error, room.id = %id, "Room not forgotten yet"),
            }
        });
    }

    /// Connections of people who have been online and not heard of for too long.
    fn silence(&self, id: &RoomId, room: &Room) -> Silence {
        let mut found = Silence { silent: Vec::new(), next: None };
        for (user, person) in room.online() {
            let Some(connection) = person.live_connection() else { continue };
            let Ok(user) = UserId::parse(user, "user_id") else { continue };
            let here_ms = self.clock.now().saturating_sub(person.joined_at.max(person.reconnected_at));
            let silence = self.last_seen.silence(id, &user).min(Duration::from_millis(here_ms));
            let left = SILENCE_MAX.saturating_sub(silence);
            if left.is_zero() {
                found.silent.push((user, connection.clone()));
            } else {
                found.next = Some(found.next.map_or(left, |next| next.min(left)));
            }
        }
        found
    }

    fn close_room(&self, id: &RoomId, watched: &Watched) {
        if watched.busy.swap(true, Ordering::Relaxed) {
            return;
        }
        let (holder, id, busy) = (self.clone(), id.clone(), Arc::clone(&watched.busy));
        tokio::spawn(async move {
            match holder.chat.end().await {
                Ok(chat_before) => {
                    holder.steps.reached(Step::ChatEnded).await;
                    holder.decide(&id, Command::Close { chat_before }).await;
                }
                Err(error) => debug!(error = %error, room.id = %id, "The room cannot be closed yet"),
            }
            busy.store(false, Ordering::Relaxed);
        });
    }

    fn give(&self, id: &RoomId, watched: &Watched, command: Command) {
        if watched.busy.swap(true, Ordering::Relaxed) {
            return;
        }
        let (holder, id, busy) = (self.clone(), id.clone(), Arc::clone(&watched.busy));
        tokio::spawn(async move {
            holder.decide(&id, command).await;
            busy.store(false, Ordering::Relaxed);
        });
    }

    async fn decide(&self, id: &RoomId, command: Command) {
        if let Err(error) = self.writers.command(id, command).await {
            debug!(error = %error, room.id = %id, "A deadline could not be kept yet");
        }
    }

    /// Compares who is in media, and with which rights, with the records.
    fn compare_media(&self, rooms: &HashMap<RoomId, Watched>) {
        let running: Vec<RoomId> =
            rooms.iter().filter(|(_, held)| held.room.is_running()).map(|(id, _)| id.clone()).collect();
        let holder = self.clone();
        tokio::spawn(async move {
            for id in running {
                if let Err(error) = holder.compare_media_of(&id).await {
                    debug!(error = %error, room.id = %id, "Media cannot be compared with the record now");
                }
            }
        });
    }

    async fn compare_media_of(&self, id: &RoomId) -> Result<(), String> {
        let present = self.media.roster(id.as_str()).await?;
        if present.is_empty() {
            return Ok(());
        }
        // Read after the roster: whoever is in it had a seat before.
        let Some(held) = self.repository.load(id).await.map_err(text)? else { return Ok(()) };
        for someone in present {
            let user = someone.identity.as_str();
            let person = held.room.people.get(user).filter(|_| someone.sits_in(&held.room));
            let rights = person.and_then(|person| media_rights(&held.room, person));
            match rights {
                Some(rights) if someone.has(rights) => {}
                Some(rights) => {
                    info!(room.id = %id, room.sid = %held.room.sid, "Media rights of somebody follow the record again");
                    self.media.permit(id.as_str(), user, rights).await?;
                }
                None => {
                    info!(room.id = %id, room.sid = %held.room.sid, "Removed somebody from media who has no seat in the meeting");
                    self.media.remove_of_seat(id.as_str(), user, someone.seat.as_deref()).await?;
                }
            }
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
