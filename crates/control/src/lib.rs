//! The meeting server's shell: between the pure rules of `plenum-meeting` and the two pillars, which it reaches only
//! through their public protocols. It keeps nothing in memory that matters.
//!
//! A command takes this way: HTTP handler, auth callout or worker → the room's [`writer`] (one read, decisions, one
//! compare-and-set) → answer; effects of the decision → [`outbox`]. What nobody asks for (deadlines, silent connections,
//! effects that a dead server left) is the [`holder`]'s, one per shard, by [`lease`].

mod agenda;
mod callout;
mod chat;
mod clock;
mod connections;
mod durables;
mod holder;
mod kick;
pub mod layout;
mod lease;
mod media;
mod nats_jwt;
mod outbox;
mod repository;
mod steps;
#[cfg(test)]
mod tests;
mod token;
mod worker;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, jetstream};
use plenum_meeting::{
    Answer, Command, CreateRoom, EndReason, JoinPerson, Moderation, Refusal, Room, RoomId, SHARDS, UserId,
    state::UnixMs,
};
use plenum_protocol::livekit::ParticipantInfo;
use plenum_storage::Storage;
use tokio::{sync::watch, task::JoinHandle};
use tracing::{Instrument as _, debug, info, info_span};

pub use callout::CalloutKeys;
pub use layout::LayoutError;
pub use media::MediaConfig;
pub use repository::StoreError;
pub use token::{Claims, TOKEN_VALIDITY, TokenError, Tokens, now, token_end};
pub use writer::{CommandError, Outcome};

use crate::{
    callout::Callout,
    chat::ChatLog,
    clock::Clock,
    durables::Durables,
    holder::{Holder, LastSeen},
    kick::Kicker,
    lease::{Coverage, Leases},
    media::Media,
    outbox::Executor,
    repository::Repository,
    steps::Steps,
    worker::Worker,
    writer::Writers,
};

/// A command waits this long for a room that is just ending.
const ENDING_PATIENCE: Duration = Duration::from_secs(15);
/// All rooms are listed within this time.
const LIST_PATIENCE: Duration = Duration::from_secs(5);
/// An older page's last message is awaited this long before the new one goes on.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(2);

/// How a server logs in at the broker.
#[derive(Clone)]
pub enum Login {
    /// User and password.
    Password {
        /// User.
        user: String,
        /// Password.
        password: String,
    },
    /// Seed of a user nkey (`SU…`).
    Nkey(String),
}

/// What control needs to know.
pub struct Config {
    /// Broker addresses, `nats://host:port`.
    pub nats_urls: Vec<String>,
    /// Login of account `SVC`.
    pub service: Login,
    /// Login of account `SYS`, for kicks.
    pub system: Login,
    /// Keys of the auth callout.
    pub callout: CalloutKeys,
    /// Copies of each stream.
    pub replicas: usize,
    /// There is one broker, and this is its only server: leases of a predecessor are void.
    pub sole_server: bool,
    /// The media server.
    pub media: MediaConfig,
    /// Signs participants' tokens.
    pub tokens: Tokens,
    /// History.
    pub storage: Storage,
}

/// Why control could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker does not let us in or is not there.
    #[error("cannot log in at the broker {urls} as {who}: {reason}")]
    Login {
        /// Addresses tried.
        urls: String,
        /// Which login.
        who: &'static str,
        /// The client's words.
        reason: String,
    },
    /// Streams.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Anything else at the broker.
    #[error("{0}")]
    Broker(String),
}

/// The running control: cheap to clone, used by the HTTP face.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    writers: Writers,
    repository: Repository,
    durables: Durables,
    media: Media,
    tokens: Tokens,
    js: jetstream::Context,
    working: Arc<AtomicUsize>,
    coverage: Coverage,
    clock: Clock,
}

/// Ends what [`Control::start`] began.
pub struct Drain {
    stop: watch::Sender<bool>,
    leases: JoinHandle<()>,
    callout: JoinHandle<()>,
    connections: JoinHandle<()>,
    writers: Writers,
    client: Client,
    system: Client,
}

impl Control {
    /// Logs in, prepares the streams, serves the callout and takes part in the work.
    ///
    /// # Errors
    /// Says what is wrong with the broker or the configuration.
    pub async fn start(config: Config) -> Result<(Self, Drain), StartError> {
        Box::pin(Self::start_with(config, Steps::default(), Clock::default())).await
    }

    async fn start_with(config: Config, steps: Steps, clock: Clock) -> Result<(Self, Drain), StartError> {
        let client = login(&config.nats_urls, &config.service, "service").await?;
        let system = login(&config.nats_urls, &config.system, "system").await?;
        let mut js = jetstream::new(client.clone());
        js.set_timeout(Duration::from_secs(5));
        layout::ensure(&js, config.replicas).await?;
        let broker = |error: String| StartError::Broker(error);
        if config.sole_server {
            Leases::clear(&js).await.map_err(broker)?;
        }

        let repository =
            Repository::open(&js).await.map_err(|error| StartError::Broker(error.to_string()))?;
        let durables = Durables::open(&js).await.map_err(broker)?;
        let chat = ChatLog::open(&js).await.map_err(broker)?;
        let media = Media::new(config.media);
        let kicker = Kicker::new(system.clone(), config.sole_server);
        let executor = Executor::new(
            js.clone(),
            repository.clone(),
            media.clone(),
            kicker.clone(),
            durables.clone(),
            config.storage,
            steps.clone(),
            clock.clone(),
        );
        let writers = Writers::new(repository.clone(), executor);
        let last_seen = LastSeen::default();
        let worker = Worker {
            js: js.clone(),
            writers: writers.clone(),
            tokens: config.tokens.clone(),
            media: media.clone(),
            chat: chat.clone(),
            last_seen: last_seen.clone(),
            steps: steps.clone(),
            clock: clock.clone(),
        };
        let working = Arc::new(AtomicUsize::new(0));
        let holder = Holder {
            js: js.clone(),
            repository: repository.clone(),
            writers: writers.clone(),
            worker,
            chat,
            last_seen,
            media: media.clone(),
            steps: steps.clone(),
            clock: clock.clone(),
            working: Arc::clone(&working),
        };
        let callout = Callout::new(
            client.clone(),
            &config.callout,
            config.tokens.clone(),
            writers.clone(),
            durables.clone(),
            repository.clone(),
            steps,
            clock.clone(),
        )
        .map_err(broker)?;

        let (stop, stopped) = watch::channel(false);
        let server_id = rand::random::<u64>();
        let leases = Leases::open(&js, format!("{server_id:016x}"), clock.clone()).await.map_err(broker)?;
        // Before the first decision is made.
        leases.sign_of_life().await.map_err(broker)?;
        let coverage = leases.coverage();
        let callout = Arc::new(callout).serve().await.map_err(broker)?;
        let connections = connections::follow(js.clone(), writers.clone(), kicker).await.map_err(broker)?;
        let leases = tokio::spawn(
            leases.run(stopped, move |lease| holder.clone().hold(lease)).instrument(info_span!("leases")),
        );
        debug!("Control is running");
        let drain = Drain {
            stop,
            leases,
            callout,
            connections,
            writers: writers.clone(),
            client: client.clone(),
            system,
        };
        let inner = Inner {
            client,
            writers,
            repository,
            durables,
            media,
            tokens: config.tokens,
            js,
            working,
            coverage,
            clock,
        };
        Ok((Self { inner: Arc::new(inner) }, drain))
    }

    /// Meetings can be taken: the broker is there, its time is known, and somebody works on each room, this server or
    /// another.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let Inner { client, working, coverage, clock, .. } = &*self.inner;
        clock.agrees()
            && client.connection_state() == async_nats::connection::State::Connected
            && (working.load(Ordering::Relaxed) == usize::from(SHARDS) || coverage.is_full())
    }

    /// Resolves when meetings can be taken, or after `patience`.
    pub async fn settled(&self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        while !self.is_ready() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The broker is there, and so is who answers its questions about new connections.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.client.connection_state() == async_nats::connection::State::Connected
    }

    /// This machine's clock and the broker's agree to within 2 s.
    #[must_use]
    pub fn keeps_broker_time(&self) -> bool {
        self.inner.clock.agrees()
    }

    /// Broker time, in which records have their deadlines.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.inner.clock.now()
    }

    /// Participants' tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.inner.tokens
    }

    /// Creates a room or finds it running; waits while an earlier run of it is just ending.
    ///
    /// # Errors
    /// The broker is out of reach, or the earlier run does not end.
    pub async fn create_room(&self, request: CreateRoom) -> Result<Arc<Room>, CommandError> {
        let run = self.claim_run().await?;
        let deadline = tokio::time::Instant::now() + ENDING_PATIENCE;
        loop {
            match self.inner.writers.create(request.clone(), run).await {
                Ok(outcome) => {
                    info!(room.id = %request.room_id, room.sid = %outcome.room.sid, "Room created or found running");
                    return Ok(outcome.room);
                }
                Err(CommandError::Refused(Refusal::Busy)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A number that no other run has: the time, moved on until it is free.
    async fn claim_run(&self) -> Result<u64, CommandError> {
        let store = self.inner.js.get_key_value(layout::LEASE_BUCKET).await.map_err(silent)?;
        let mut run = self.now();
        loop {
            match store.create(format!("run.{run}"), "".into()).await {
                Ok(_) => return Ok(run),
                Err(error) if error.kind() == jetstream::kv::CreateErrorKind::AlreadyExists => run += 1,
                Err(error) => return Err(silent(error)),
            }
        }
    }

    /// Gives a person a seat and makes their token.
    ///
    /// # Errors
    /// Refused, or the broker is out of reach.
    pub async fn join(&self, room: &RoomId, person: JoinPerson) -> Result<String, CommandError> {
        let ends_at = person.token_ends_at;
        let is_admin = person.is_admin;
        let wished = person.user.clone();
        // Before the seat is given: a person who has one can be told things. Where the room makes the id up it is claimed
        // after; nobody else can have that one.
        self.claim_durable(room, &wished).await?;
        let joined = self.inner.writers.command(room, Command::Join(Box::new(person))).await;
        let seat = joined.and_then(|outcome| match outcome.decision.answer {
            Answer::Joined { user, person, sid } => Ok((user, person, sid)),
            _ => Err(Refusal::Busy.into()),
        });
        let user = seat.as_ref().ok().map(|(user, _, _)| user);
        if user != Some(&wished) {
            self.unclaim_durable(room, &wished).await;
        }
        let (user, person, sid) = seat?;
        self.claim_durable(room, &user).await?;
        // An older page of the same person must have heard that it is over before the new one connects.
        if !self.inner.writers.flushed(room, TAKEOVER_PATIENCE).await {
            return Err(Refusal::Busy.into());
        }
        let claims = Claims { room: room.clone(), user, name: person.name, is_admin, sid, seat: person.sid };
        Ok(self.inner.tokens.make(&claims, ends_at))
    }

    async fn claim_durable(&self, room: &RoomId, user: &UserId) -> Result<(), CommandError> {
        let claimed = self.inner.durables.claim(room, user).await.map_err(silent)?;
        if claimed { Ok(()) } else { Err(Refusal::NameTaken.into()) }
    }

    /// Gives a name free that nobody of the room needs.
    async fn unclaim_durable(&self, room: &RoomId, user: &UserId) {
        let held = self.inner.repository.load(room).await;
        let needed =
            held.is_ok_and(|held| held.is_none_or(|held| !held.room.people.contains_key(user.as_str())));
        if needed && let Err(error) = self.inner.durables.release(room, user).await {
            debug!(error = %error, room.id = %room, "A name was not given free");
        }
    }

    /// A page showed its token; `page` is its own name, or empty. A page that names itself may verify again at any time: it
    /// takes the seat from an older one, and once a later one took the seat it is refused. Pages without a name cannot be
    /// told apart, so each takes the seat. Answers whether people of the room type their own encryption key.
    ///
    /// # Errors
    /// Refused, or the broker is out of reach.
    pub async fn verify(&self, claims: &Claims, page: &str) -> Result<bool, CommandError> {
        self.show_token(claims, page, false).await
    }

    /// A page that verified before asks what its token is good for now, as after a refusal by the broker. It never takes the
    /// seat from another page: then it is refused with [`Refusal::SeatReplaced`]. Answers as [`Control::verify`] does.
    ///
    /// # Errors
    /// Refused, or the broker is out of reach.
    pub async fn verify_again(&self, claims: &Claims, page: &str) -> Result<bool, CommandError> {
        self.show_token(claims, page, true).await
    }

    async fn show_token(&self, claims: &Claims, page: &str, again: bool) -> Result<bool, CommandError> {
        let command = Command::Verify {
            user: claims.user.clone(),
            sid: claims.sid.clone(),
            seat: claims.seat.clone(),
            page: page.to_owned(),
            again,
        };
        let outcome = self.inner.writers.command(&claims.room, command).await?;
        let Answer::Verified { took_over, self_insert_encryption_key } = outcome.decision.answer else {
            return Err(Refusal::Busy.into());
        };
        if took_over && !self.inner.writers.flushed(&claims.room, TAKEOVER_PATIENCE).await {
            return Err(Refusal::Busy.into());
        }
        Ok(self_insert_encryption_key)
    }

    /// A host's act, or the server API's.
    ///
    /// # Errors
    /// Refused, or the broker is out of reach.
    pub async fn moderate(
        &self,
        room: &RoomId,
        by: Option<&UserId>,
        act: Moderation,
    ) -> Result<(), CommandError> {
        self.inner.writers.command(room, Command::Moderate { by: by.cloned(), act }).await.map(|_| ())
    }

    /// Ends a meeting.
    ///
    /// # Errors
    /// Not running, or the broker is out of reach.
    pub async fn end(&self, room: &RoomId, by: Option<&UserId>) -> Result<(), CommandError> {
        match self.moderate(room, by, Moderation::End(EndReason::Asked)).await {
            Err(CommandError::Refused(Refusal::RoomUnknown)) => Err(Refusal::EndedAlready.into()),
            other => other,
        }
    }

    /// The record, read at the leader.
    ///
    /// # Errors
    /// The broker is out of reach.
    pub async fn room(&self, room: &RoomId) -> Result<Option<Room>, StoreError> {
        Ok(self.inner.repository.load(room).await?.map(|stored| stored.room))
    }

    /// All rooms that are not over, as of about now.
    ///
    /// # Errors
    /// The broker is out of reach.
    pub async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        let rooms = tokio::time::timeout(LIST_PATIENCE, self.inner.repository.all());
        let mut rooms = rooms.await.map_err(|_| StoreError::Silent("no answer in time".to_owned()))??;
        rooms.retain(Room::is_running);
        Ok(rooms)
    }

    /// Who is in the media room.
    ///
    /// # Errors
    /// The media server is out of reach.
    pub async fn media_participants(&self, room: &RoomId) -> Result<Vec<ParticipantInfo>, StoreError> {
        self.inner.media.participants(room.as_str()).await.map_err(StoreError::Silent)
    }

    /// The media server reports.
    ///
    /// # Errors
    /// The broker is out of reach: the report has to come again.
    pub async fn media_event(&self, event: MediaEvent) -> Result<(), CommandError> {
        let (room, command, who) = match event {
            MediaEvent::RoomStarted { room } => (room, Command::MediaStarted, None),
            MediaEvent::Joined { room, user, seat } => {
                let command =
                    Command::MediaJoined { user: user.clone(), seat: seat.clone().unwrap_or_default() };
                (room, command, Some((user, seat)))
            }
        };
        match self.inner.writers.command(&room, command).await {
            Ok(outcome) => {
                if let (Answer::RemoveFromMedia, Some((user, seat))) = (outcome.decision.answer, who) {
                    self.expel(&room, &user, seat.as_deref()).await?;
                }
                Ok(())
            }
            Err(CommandError::Refused(Refusal::RoomUnknown)) => match who {
                Some((user, Some(seat))) => self.expel(&room, &user, Some(&seat)).await,
                // No meeting has this name, and none let them in: a room of an outside caller.
                Some((_, None)) | None => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    /// A signed report of the media server, as it came over HTTP.
    ///
    /// # Errors
    /// Not signed by our media server, not readable, or not possible now.
    pub async fn media_webhook(&self, body: &[u8], token: &str) -> Result<(), WebhookError> {
        let Some(event) = self.inner.media.read_webhook(body, token)? else { return Ok(()) };
        Ok(self.media_event(event).await?)
    }

    async fn expel(&self, room: &RoomId, user: &UserId, seat: Option<&str>) -> Result<(), CommandError> {
        info!(room.id = %room, "Removed somebody from media who has no seat in the meeting");
        self.inner.media.remove_of_seat(room.as_str(), user.as_str(), seat).await.map_err(silent)
    }
}

/// Why a report of the media server was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Not signed with our key.
    #[error("the report is not signed by our media server")]
    Unsigned,
    /// Signed, but not a report.
    #[error("the report cannot be read")]
    Unreadable,
    /// It should come again.
    #[error(transparent)]
    NotNow(#[from] CommandError),
}

/// A report of the media server that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaEvent {
    /// Media of a room started.
    RoomStarted {
        /// The room.
        room: RoomId,
    },
    /// Somebody joined.
    Joined {
        /// The room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// The seat of the token, where a meeting let them in.
        seat: Option<String>,
    },
}

impl Drain {
    /// Gives the shards up, does what was decided, and leaves the broker; all within `grace`.
    pub async fn within(self, grace: Duration) {
        let Self { stop, leases, callout, connections, writers, client, system } = self;
        let work = async {
            stop.send_replace(true);
            let _ = leases.await;
            writers.drain().await;
            let _ = client.drain().await;
            let _ = system.drain().await;
            let _ = callout.await;
        };
        let _ = tokio::time::timeout(grace, work).await;
        connections.abort();
    }
}

async fn login(urls: &[String], login: &Login, who: &'static str) -> Result<Client, StartError> {
    let options = match login {
        Login::Password { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.clone())
        }
        Login::Nkey(seed) => ConnectOptions::with_nkey(seed.clone()),
    };
    options
        .name(format!("plenum-{who}"))
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(5)))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 * attempts.max(1) as u64).min(1000)))
        .connect(urls)
        .await
        .map_err(|error| StartError::Login { urls: urls.join(", "), who, reason: error.to_string() })
}

fn silent(error: impl std::fmt::Display) -> CommandError {
    StoreError::Silent(error.to_string()).into()
}
