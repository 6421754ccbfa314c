//! Effects: what a decision wants done outside, done at least once, by the process that wrote it or by the shard's holder.
//!
//! Messages of a room leave in order, the next after the acknowledgement of the one before. The other kinds do not wait for
//! each other. A failing effect is tried again, 1 to 30 s apart.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream::{self, message::PublishMessage};
use futures_util::future::join_all;
use plenum_meeting::{
    Env, Room, RoomId, UserId, media_rights, messaging_rights,
    state::{Action, Connection, Disperse, Effect, Kick, PastRun, Person},
};
use plenum_storage::{PastRoom, Storage};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument as _, debug, info_span, warn};

use crate::{
    clock::Clock,
    durables::Durables,
    holder::SILENCE_MAX,
    kick::{Kicked, Kicker},
    layout,
    media::Media,
    repository::Repository,
    steps::{Step, Steps},
    token::rng,
};

/// Effects other than messages that this process works on at a time, for each pillar: one that is away holds up its own.
const PARALLEL_MAX: usize = 64;
/// Connections of a room that are closed at a time.
const DISPERSED_MAX: usize = 64;
/// A connection that is to be closed may first receive what was sent to it, for at most this long.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A broker that cannot be reached for this long has lost its connections: what is behind them is not heard of for as long.
const UNREACHABLE_MAX: Duration = SILENCE_MAX;
/// An effect that failed this often is given up, except messages, history and clearing up.
const ATTEMPTS_MAX: u32 = 8;

/// Does effects.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) js: jetstream::Context,
    pub(crate) repository: Repository,
    pub(crate) media: Media,
    pub(crate) kicker: Kicker,
    pub(crate) durables: Durables,
    pub(crate) storage: Storage,
    pub(crate) steps: Steps,
    pub(crate) clock: Clock,
    media_places: Arc<Semaphore>,
    broker_places: Arc<Semaphore>,
}

impl Executor {
    #[expect(clippy::too_many_arguments, reason = "the parts of one instance")]
    pub(crate) fn new(
        js: jetstream::Context,
        repository: Repository,
        media: Media,
        kicker: Kicker,
        durables: Durables,
        storage: Storage,
        steps: Steps,
        clock: Clock,
    ) -> Self {
        Self {
            js,
            repository,
            media,
            kicker,
            durables,
            storage,
            steps,
            clock,
            media_places: Arc::new(Semaphore::new(PARALLEL_MAX)),
            broker_places: Arc::new(Semaphore::new(PARALLEL_MAX)),
        }
    }

    pub(crate) fn outbox(&self, room: RoomId, done: mpsc::UnboundedSender<u64>) -> Outbox {
        Outbox {
            inner: Arc::new(Inner {
                executor: self.clone(),
                room,
                done,
                state: Mutex::default(),
                sent: Notify::new(),
            }),
        }
    }
}

/// The effects of one room that this process works on.
#[derive(Clone)]
pub(crate) struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    executor: Executor,
    room: RoomId,
    done: mpsc::UnboundedSender<u64>,
    state: Mutex<State>,
    /// A message is out, or all are.
    sent: Notify,
}

#[derive(Default)]
struct State {
    /// Effects in work, by id; those done stay until the record has let them go.
    known: HashMap<u64, bool>,
    /// What people are told, oldest first; the first one is on its way.
    told: VecDeque<Effect>,
    sending: bool,
}

impl Outbox {
    /// Takes on what the record's outbox holds and this process does not know yet.
    pub(crate) fn submit(&self, room: &Room) {
        let mut spawn = Vec::new();
        let mut start_sending = false;
        {
            let mut state = self.state();
            state.known.retain(|id, done| !*done || room.outbox.iter().any(|effect| effect.id == *id));
            for effect in &room.outbox {
                if state.known.contains_key(&effect.id) {
                    continue;
                }
                state.known.insert(effect.id, false);
                if effect.is_told() {
                    state.told.push_back(effect.clone());
                } else {
                    spawn.push(effect.clone());
                }
            }
            if !state.told.is_empty() && !state.sending {
                state.sending = true;
                start_sending = true;
            }
        }
        let span = || info_span!("outbox", room.id = %self.inner.room, room.sid = %room.sid);
        if start_sending {
            tokio::spawn(Arc::clone(&self.inner).tell().instrument(span()));
        }
        for effect in spawn {
            tokio::spawn(Arc::clone(&self.inner).do_effect(effect).instrument(span()));
        }
    }

    /// Nothing is in work.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().known.values().all(|done| *done)
    }

    /// Waits until everything that people are told is out. `false`: not within `patience`.
    pub(crate) async fn flushed(&self, patience: Duration) -> bool {
        timeout(patience, self.inner.told_before(u64::MAX)).await.is_ok()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().expect("no code panics while it holds the outbox")
    }
}

impl Inner {
    fn finish(&self, id: u64) {
        if let Some(done) =
            self.state.lock().expect("no code panics while it holds the outbox").known.get_mut(&id)
        {
            *done = true;
        }
        let _ = self.done.send(id);
    }

    /// Resolves when people were told everything that was decided before the effect `id`.
    async fn told_before(&self, id: u64) {
        loop {
            let sent = self.sent.notified();
            let first = {
                let state = self.state.lock().expect("no code panics while it holds the outbox");
                state.told.front().map(|effect| effect.id)
            };
            if first.is_none_or(|first| first >= id) {
                return;
            }
            sent.await;
        }
    }

    async fn tell(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock().expect("no code panics while it holds the outbox");
                let next = state.told.front().cloned();
                state.sending = next.is_some();
                next
            };
            let Some(effect) = next else { return };
            let mut backoff = Backoff::new();
            while let Err(error) = self.send(&effect).await {
                warn!(error = %error, effect.id = effect.id, "A message could not be sent, trying again");
                backoff.wait().await;
            }
            self.executor.steps.reached(Step::Published).await;
            self.state.lock().expect("no code panics while it holds the outbox").told.pop_front();
            self.finish(effect.id);
            self.sent.notify_waiters();
        }
    }

    async fn send(&self, effect: &Effect) -> Result<(), String> {
        let room = &self.room;
        let everybody = || format!("sysPublic.{room}.system");
        let alone = |user: &str| format!("sysPrivate.{room}.{user}.system");
        let id = format!("{}.{}", effect.sid, effect.id);
        let mut messages: Vec<(String, String, Vec<u8>)> = Vec::new();
        match &effect.action {
            Some(Action::Message(message)) if message.to.is_empty() => {
                messages.push((everybody(), id, message.payload.clone()));
            }
            Some(Action::Message(message)) => {
                let to = message.to.iter();
                messages
                    .extend(to.map(|user| (alone(user), format!("{id}.{user}"), message.payload.clone())));
            }
            Some(Action::TellPeople(tell)) => {
                // Of a run that is over nobody listens.
                let Some(held) = self.load().await?.filter(|held| held.sid == effect.sid) else {
                    return Ok(());
                };
                let mut rng = rng();
                for user in &tell.users {
                    let mut env = Env { now: self.executor.clock.now(), rng: &mut rng };
                    let Some(payload) = held.metadata_message(user, &mut env) else { continue };
                    if tell.themselves {
                        messages.push((alone(user), format!("{id}.{user}.own"), payload.clone()));
                    }
                    messages.push((everybody(), format!("{id}.{user}"), payload));
                }
            }
            _ => {}
        }
        let mut acks = Vec::with_capacity(messages.len());
        for (subject, id, payload) in messages {
            let publish = PublishMessage::build().payload(payload.into()).message_id(id);
            acks.push(self.executor.js.send_publish(subject, publish).await.map_err(text)?);
        }
        for ack in acks {
            ack.await.map_err(text)?;
        }
        Ok(())
    }

    async fn do_effect(self: Arc<Self>, effect: Effect) {
        if ends_hearing(&effect) {
            // Not before what was decided before it has been told: that is what tells why.
            self.told_before(effect.id).await;
        }
        let (since, mut backoff) = (Instant::now(), Backoff::new());
        for attempt in 1.. {
            let permit = self.places(&effect).acquire().await;
            let result = self.attempt(&effect, since).await;
            drop(permit);
            match result {
                Ok(()) => break,
                Err(error) => {
                    if attempt >= ATTEMPTS_MAX && may_give_up(&effect) {
                        warn!(error = %error, effect.id = effect.id, "An effect was given up");
                        break;
                    }
                    if attempt >= ATTEMPTS_MAX {
                        warn!(error = %error, effect.id = effect.id, attempt, "An effect keeps failing, trying again");
                    } else {
                        debug!(error = %error, effect.id = effect.id, attempt, "An effect failed, trying again");
                    }
                }
            }
            backoff.wait().await;
        }
        self.executor.steps.reached(Step::EffectDone).await;
        self.finish(effect.id);
    }

    fn places(&self, effect: &Effect) -> &Semaphore {
        match &effect.action {
            Some(Action::Align(_) | Action::MuteTrack(_) | Action::RemoveMedia(_) | Action::EndMedia(_)) => {
                &self.executor.media_places
            }
            _ => &self.executor.broker_places,
        }
    }

    /// `since`: of the first attempt.
    async fn attempt(&self, effect: &Effect, since: Instant) -> Result<(), String> {
        let Executor { media, durables, storage, .. } = &self.executor;
        let room = self.room.as_str();
        match &effect.action {
            None | Some(Action::Message(_) | Action::TellPeople(_)) => Ok(()),
            Some(Action::Align(user)) => self.align(user, since).await,
            Some(Action::MuteTrack(mute)) => {
                if self.executor.clock.now() > mute.deadline {
                    return Ok(());
                }
                media.mute(room, &mute.user, &mute.track_sid, mute.muted).await
            }
            Some(Action::RemoveMedia(remove)) => {
                media.remove_of_seat(room, &remove.user, Some(&remove.seat)).await
            }
            Some(Action::DeleteDurable(user)) => {
                durables.drained(room, user, LAST_WORDS).await;
                self.delete_durable(user, self.load().await?.as_ref()).await
            }
            Some(Action::Kick(kick)) => self.kick(kick, since).await,
            Some(Action::History(past)) => storage.past_rooms().record(&past_room(past)).await.map_err(text),
            Some(Action::Disperse(disperse)) => self.disperse(disperse, since).await,
            // Another run under the same name may have the media room now.
            Some(Action::EndMedia(())) => match self.load().await?.filter(|held| held.sid != effect.sid) {
                Some(replacing) => media.remove_others(room, &replacing).await,
                None => media.delete_room(room).await,
            },
            Some(Action::PurgeChat(before)) => self.purge_chat(*before).await,
        }
    }

    async fn kick(&self, kick: &Kick, since: Instant) -> Result<(), String> {
        let Some(connection) = &kick.connection else { return Ok(()) };
        self.executor.durables.drained(self.room.as_str(), &kick.user, LAST_WORDS).await;
        self.close(connection, since).await
    }

    async fn close(&self, connection: &Connection, since: Instant) -> Result<(), String> {
        match self.executor.kicker.kick(&connection.server, connection.client).await? {
            Kicked::Unreachable if since.elapsed() < UNREACHABLE_MAX => {
                Err("the connection's broker cannot be reached".to_owned())
            }
            Kicked::Closed | Kicked::Unreachable => Ok(()),
        }
    }

    /// Connections first and side by side: whoever comes next under this room id must not be heard by them.
    async fn disperse(&self, disperse: &Disperse, since: Instant) -> Result<(), String> {
        for people in disperse.people.chunks(DISPERSED_MAX) {
            let kicks: Vec<_> = people.iter().map(|kick| self.kick(kick, since)).collect();
            together(join_all(kicks).await)?;
        }
        let held = self.load().await?;
        for people in disperse.people.chunks(DISPERSED_MAX) {
            let deletes: Vec<_> =
                people.iter().map(|kick| self.delete_durable(&kick.user, held.as_ref())).collect();
            together(join_all(deletes).await)?;
        }
        Ok(())
    }

    /// Deletes the durable of somebody who is not connected; of somebody who is not in the record also the claim of its
    /// name. A person of the next run has both for themselves.
    async fn delete_durable(&self, user: &str, held: Option<&Room>) -> Result<(), String> {
        let person = held.and_then(|held| held.people.get(user));
        if person.is_some_and(|person| person.live_connection().is_some()) {
            return Ok(());
        }
        self.executor.durables.delete(self.room.as_str(), user).await?;
        match (person, UserId::parse(user, "user_id")) {
            (None, Ok(user)) => self.executor.durables.release(&self.room, &user).await,
            _ => Ok(()),
        }
    }

    /// Makes media permission, filter and connection follow the record; once more when it changed meanwhile. The pillars do
    /// not wait for each other: with one of them away the other follows all the same.
    async fn align(&self, user: &str, since: Instant) -> Result<(), String> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(room) = self.load().await? else { return Ok(()) };
            let Some(person) = room.people.get(user) else { return Ok(()) };
            let media = async {
                match media_rights(&room, person) {
                    Some(rights) => self.executor.media.permit(self.room.as_str(), user, rights).await,
                    None => self.executor.media.remove(self.room.as_str(), user).await,
                }
            };
            let (media, messaging) = tokio::join!(media, self.align_messaging(&room, user, person, since));
            // A change in between may have found this alignment in work.
            let unchanged = self.load().await?.is_none_or(|now| {
                now.people.get(user).is_none_or(|later| {
                    later.rights == person.rights && media_rights(&now, later) == media_rights(&room, person)
                })
            });
            if unchanged {
                return together(vec![media, messaging]);
            }
        }
        Err("rights keep changing".to_owned())
    }

    async fn align_messaging(
        &self,
        room: &Room,
        user: &str,
        person: &Person,
        since: Instant,
    ) -> Result<(), String> {
        let Some(connection) = person.live_connection() else { return Ok(()) };
        let Ok(id) = UserId::parse(user, "user_id") else { return Ok(()) };
        if connection.rights == person.rights {
            return Ok(());
        }
        let durables = &self.executor.durables;
        durables.ensure(&self.room, &id, messaging_rights(room, person), false).await?;
        durables.drained(self.room.as_str(), user, LAST_WORDS).await;
        self.close(connection, since).await
    }

    async fn load(&self) -> Result<Option<Room>, String> {
        let stored = self.executor.repository.load(&self.room).await.map_err(|error| error.to_string())?;
        Ok(stored.map(|stored| stored.room))
    }

    async fn purge_chat(&self, before: u64) -> Result<(), String> {
        let stream =
            self.executor.js.get_stream_no_info(layout::CHAT).await.map_err(|error| error.to_string())?;
        for filter in [format!("chat.{}", self.room), format!("chat.{}.>", self.room)] {
            stream.purge().filter(filter).sequence(before).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Whether somebody hears nothing more once it is done.
fn ends_hearing(effect: &Effect) -> bool {
    matches!(effect.action, Some(Action::Kick(_) | Action::DeleteDurable(_) | Action::Disperse(_)))
}

/// What nothing else would make right later.
fn may_give_up(effect: &Effect) -> bool {
    match &effect.action {
        Some(
            Action::Align(_)
            | Action::History(_)
            | Action::Disperse(_)
            | Action::EndMedia(_)
            | Action::PurgeChat(_),
        ) => false,
        None
        | Some(
            Action::Message(_)
            | Action::TellPeople(_)
            | Action::MuteTrack(_)
            | Action::RemoveMedia(_)
            | Action::DeleteDurable(_)
            | Action::Kick(_),
        ) => true,
    }
}

/// All errors as one.
fn together(results: Vec<Result<(), String>>) -> Result<(), String> {
    let errors: HashSet<String> = results.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.into_iter().collect::<Vec<_>>().join("; ")) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn past_room(past: &PastRun) -> PastRoom {
    PastRoom {
        sid: past.sid.clone(),
        run: past.run,
        room_id: past.room_id.clone(),
        title: past.title.clone(),
        joined_total: past.joined_total,
        webhook_url: past.webhook_url.clone(),
        from_landing_page: past.from_landing_page,
        created_at: past.created_at,
        ended_at: past.ended_at,
    }
}

/// Waits longer each time: 1 to 30 s.
struct Backoff {
    next: Duration,
    started: Instant,
}

impl Backoff {
    fn new() -> Self {
        Self { next: Duration::from_secs(1), started: Instant::now() }
    }

    async fn wait(&mut self) {
        metrics::histogram!("plenum_control_effect_retry_seconds")
            .record(self.started.elapsed().as_secs_f64());
        sleep(self.next).await;
        self.next = (self.next * 2).min(Duration::from_secs(30));
    }
}
