//! The broker: all connections, accounts and streams of one server.

mod account;
mod connection;
mod events;
mod login;
mod operations;
mod route;
mod streams;

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;
use rand::{SeedableRng as _, rngs::StdRng};

pub use connection::{ConnectionId, Transport};
pub use streams::{Recovered, Recovery};

use account::Account;
use connection::{Connection, Phase};
use route::Response;

use crate::{
    auth::callout::{Callout, ServerKeys},
    config::{BrokerConfig, ConfigError, Credentials, Limits},
    jetstream::{ConsumerId, Effect, LogOp, Stream, StreamId, api::JetStream},
    protocol::{self, CloseReason, ParseLimits, ServerInfo, VERSION},
    random_token,
    time::Timestamp,
};

/// Operations of one connection in one call. Then others have a turn.
const OPERATIONS_PER_CALL: usize = 512;

/// Bytes of answers to its own operations that a client may leave unread before nothing more is read from it. Delivered
/// messages do not count: who publishes what it subscribes itself must be able to write all before it reads.
const MAX_UNREAD_ANSWERS: usize = 1 << 20;

/// Turns of consumers in one call. What is left is due at once.
const CONSUMER_TURNS_PER_CALL: usize = 32;

/// Largest `max_payload`, as with a stock server; a record of the log holds it.
const MAX_PAYLOAD: usize = 64 << 20;

/// A broker as one value. See the crate's documentation for how to drive it.
pub struct Broker {
    config: BrokerConfig,
    limits: Limits,
    keys: ServerKeys,
    rng: StdRng,
    host: String,
    port: u16,
    accounts: Vec<Account>,
    system: usize,
    /// Static users with the number of their account.
    users: Vec<(usize, crate::config::UserConfig)>,
    callout: Option<Callout>,
    connections: HashMap<u64, Connection>,
    next_connection: u64,
    asking: usize,
    /// Requests through imports that wait for answers, by the reply subject that was made up for them.
    responses: HashMap<Box<str>, Response>,
    jetstream: JetStream,
    captures: streams::Captures,
    /// Streams that were worked on in this call.
    touched: Vec<StreamId>,
    /// Streams with consumers that may have something to deliver.
    ready: VecDeque<StreamId>,
    effects: VecDeque<Effect>,
    outputs: VecDeque<Output>,
    timers: BTreeSet<(Timestamp, Timer)>,
    event_seq: u64,
    /// Is [`Timer::Responses`] set?
    sweeping: bool,
    draining: bool,
    needs_nonce: bool,
    statistics: Statistics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Connection(u64),
    Stream(StreamId),
    Responses,
}

/// What the shell is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// The connection has bytes, or is to be closed: [`Broker::take_output`].
    Flush(ConnectionId),
    /// The connection may read on: [`Broker::handle_received`] with what it has left.
    Resume(ConnectionId),
    /// An operation on the log of a stream. When it and all before are on the disk, the shell says so with
    /// [`Broker::handle_durable`] and this position; of [`LogOp::Remove`] with [`Broker::handle_removed`].
    Log {
        /// Whose log.
        stream: StreamId,
        /// What to do.
        op: LogOp,
        /// The number to confirm.
        position: u64,
    },
}

/// What became of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes that are done with.
    pub consumed: usize,
    /// What to do next.
    pub progress: Progress,
}

/// How a connection goes on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The rest is an incomplete operation.
    NeedMore,
    /// There is more to do in what was received, but others have a turn first.
    Again,
    /// Nothing may be read until [`Output::Resume`].
    Paused,
    /// The connection is closing.
    Closed,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections now.
    pub connections: usize,
    /// Messages from clients.
    pub messages_in: u64,
    /// Messages to clients.
    pub messages_out: u64,
    /// Connections closed because they read too slowly.
    pub slow_consumers: u64,
    /// Clients that were refused.
    pub refused: u64,
    /// Requests to other accounts that were refused because too many waited for answers.
    pub responses_refused: u64,
    /// Streams now.
    pub streams: usize,
    /// Streams that the disk refused to keep. They refuse everything until a restart.
    pub streams_failed: usize,
    /// Consumers now.
    pub consumers: usize,
}

impl Broker {
    /// A broker without connections and streams. `seed` must come from a good source: keys and inbox names
    /// are made from it.
    pub fn new(config: BrokerConfig, seed: [u8; 32]) -> Result<Broker, ConfigError> {
        let accounts = account::build(&config)?;
        let number = |name: &str| accounts.iter().position(|a| a.name == name);
        let system = number(&config.system_account).ok_or_else(|| {
            ConfigError::new("system_account", format!("no account {:?}", config.system_account))
        })?;
        let mut users = Vec::new();
        for (at, account) in config.accounts.iter().enumerate() {
            for user in &account.users {
                check_user(user, &users)
                    .map_err(|why| ConfigError::new(format!("accounts.{}.users", account.name), why))?;
                users.push((at, user.clone()));
            }
        }
        let callout = match &config.auth_callout {
            None => None,
            Some(callout) => {
                let account = number(&callout.account).ok_or_else(|| {
                    ConfigError::new("auth_callout.account", format!("no account {:?}", callout.account))
                })?;
                if let Some(unknown) =
                    callout.auth_users.iter().find(|n| !users.iter().any(|(_, u)| u.name() == **n))
                {
                    return Err(ConfigError::new("auth_callout.auth_users", format!("no user {unknown:?}")));
                }
                Some(Callout::new(callout, account)?)
            }
        };
        if config.limits.max_payload > MAX_PAYLOAD {
            let problem = format!("{} is more than {MAX_PAYLOAD}", config.limits.max_payload);
            return Err(ConfigError::new("limits.max_payload", problem));
        }
        let mut rng = StdRng::from_seed(seed);
        let keys = ServerKeys::new(&mut rng);
        let limits = config.limits.clone();
        // With a callout a client may hold an nkey that only the service knows.
        let needs_nonce =
            callout.is_some() || users.iter().any(|(_, u)| matches!(u.credentials, Credentials::Nkey(_)));
        Ok(Broker {
            limits: limits.clone(),
            config,
            keys,
            rng,
            host: "127.0.0.1".to_owned(),
            port: 0,
            accounts,
            system,
            users,
            callout,
            connections: HashMap::new(),
            next_connection: 1,
            asking: 0,
            responses: HashMap::new(),
            jetstream: JetStream::new(limits),
            captures: HashMap::new(),
            touched: Vec::new(),
            ready: VecDeque::new(),
            effects: VecDeque::new(),
            outputs: VecDeque::new(),
            timers: BTreeSet::new(),
            event_seq: 0,
            sweeping: false,
            draining: false,
            needs_nonce,
            statistics: Statistics::default(),
        })
    }

    /// Tells the broker where it listens, for INFO.
    pub fn set_address(&mut self, host: &str, port: u16) {
        host.clone_into(&mut self.host);
        self.port = port;
    }

    /// The public key that identifies this server, as events and questions carry it.
    pub fn server_id(&self) -> &str {
        &self.keys.id
    }

    /// What is being counted.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            connections: self.connections.len(),
            streams: self.jetstream.streams.len(),
            streams_failed: self.jetstream.streams.values().filter(|s| s.has_failed()).count(),
            consumers: self.jetstream.streams.values().map(Stream::consumer_count).sum(),
            ..self.statistics
        }
    }

    /// A client connected from `host`. It is greeted; its bytes come by [`Broker::handle_received`].
    pub fn handle_connect(&mut self, transport: Transport, host: &str, now: Timestamp) -> ConnectionId {
        let id = self.next_connection;
        self.next_connection += 1;
        let nonce = if self.needs_nonce { random_token(&mut self.rng, 15) } else { String::new() };
        let deadline = now.plus(self.limits.auth_timeout);
        let mut connection = Connection::new(host.to_owned(), transport, nonce, deadline, now);
        self.write_info(id, &mut connection);
        let is_full = self.connections.len() >= self.limits.max_connections;
        self.connections.insert(id, connection);
        if is_full {
            self.fail(id, "maximum connections exceeded", CloseReason::MaximumConnectionsExceeded, now);
        } else if self.draining {
            self.close(id, CloseReason::ServerShutdown, now);
        }
        self.arm_connection(id);
        self.flush(id);
        self.work(now);
        ConnectionId(id)
    }

    fn write_info(&self, id: u64, connection: &mut Connection) {
        let info = ServerInfo {
            server_id: &self.keys.id,
            server_name: &self.config.server_name,
            version: VERSION,
            proto: 1,
            git_commit: "plenum",
            host: &self.host,
            port: self.port,
            headers: true,
            auth_required: true,
            max_payload: self.limits.max_payload,
            jetstream: self.accounts.iter().any(|a| a.jetstream),
            client_id: id,
            client_ip: &connection.host,
            nonce: self.needs_nonce.then_some(&connection.nonce),
            xkey: self.callout.as_ref().filter(|c| c.is_sealed()).map(|_| self.keys.xkey_public.as_str()),
            ldm: self.draining,
            api_lvl: protocol::API_LEVEL,
        };
        connection.out.extend_from_slice(b"INFO ");
        // Serialising plain data to memory cannot fail.
        connection.out.extend_from_slice(&serde_json::to_vec(&info).unwrap_or_default());
        connection.out.extend_from_slice(b" \r\n");
    }

    /// A client sent `bytes`. What is not consumed comes again with what follows it.
    pub fn handle_received(
        &mut self,
        ConnectionId(id): ConnectionId,
        bytes: &[u8],
        now: Timestamp,
    ) -> Received {
        let mut consumed = 0;
        let progress = self.operations(id, bytes, &mut consumed, now);
        self.flush(id);
        self.work(now);
        Received { consumed, progress }
    }

    fn operations(&mut self, id: u64, bytes: &[u8], consumed: &mut usize, now: Timestamp) -> Progress {
        for _ in 0..OPERATIONS_PER_CALL {
            let Some(connection) = self.connections.get_mut(&id) else { return Progress::Closed };
            let is_greeting = match connection.phase {
                Phase::Closing(_) => return Progress::Closed,
                Phase::Asking(_) => return Progress::Paused,
                Phase::Greeting => true,
                Phase::Open => false,
            };
            if connection.unread_answers > MAX_UNREAD_ANSWERS {
                connection.is_paused = true;
                return Progress::Paused;
            }
            connection.heard = true;
            let limits = ParseLimits {
                max_control_line: self.limits.max_control_line,
                max_payload: self.limits.max_payload.min(connection.max_payload),
            };
            let rest = &bytes[*consumed..];
            if is_greeting && !protocol::may_greet(rest) {
                // Refused by its first bytes, so that nobody unknown makes the broker hold a message.
                self.refuse(id, "an operation before CONNECT", now);
                return Progress::Closed;
            }
            match protocol::parse(rest, limits) {
                Ok(None) => return Progress::NeedMore,
                Ok(Some((operation, len))) => {
                    *consumed += len;
                    self.operate(id, operation, now);
                    if self.close_overrun(id, now) {
                        return Progress::Closed;
                    }
                }
                Err(protocol::ParseError::Arguments) => {
                    // As a stock server, without a word.
                    self.close(id, CloseReason::ParseError, now);
                    return Progress::Closed;
                }
                Err(error) => {
                    let reason = match error {
                        protocol::ParseError::UnknownOperation | protocol::ParseError::Arguments => {
                            CloseReason::ParseError
                        }
                        protocol::ParseError::ControlLine => CloseReason::MaximumControlLineExceeded,
                        protocol::ParseError::Payload => CloseReason::MaximumPayloadExceeded,
                    };
                    self.fail(id, &error.to_string(), reason, now);
                    return Progress::Closed;
                }
            }
        }
        if self.connections.get(&id).is_none_or(Connection::is_closing) {
            Progress::Closed
        } else {
            Progress::Again
        }
    }

    /// A client sent more at once than the shell takes, so that what it is will not be known.
    pub fn handle_oversized(&mut self, ConnectionId(id): ConnectionId, now: Timestamp) {
        self.fail(id, "Maximum Payload Violation", CloseReason::MaximumPayloadExceeded, now);
        self.work(now);
    }

    /// The socket of a client is closed, by it, by an error, or as the broker asked.
    pub fn handle_closed(&mut self, ConnectionId(id): ConnectionId, reason: CloseReason, now: Timestamp) {
        self.close(id, reason, now);
        if let Some(connection) = self.connections.remove(&id) {
            // Others may wait behind it at the same consumers.
            self.wake_stalled(connection.stalled);
        }
        self.work(now);
    }

    /// The disk of the logs has `free` bytes free. Messages that would leave less than [`Limits::min_free_disk`] are refused,
    /// by this measure until the next one. Before the first nothing is.
    pub fn handle_disk_free(&mut self, free: u64) {
        self.jetstream.set_disk_room(free.saturating_sub(self.limits.min_free_disk));
    }

    /// Whether a client is logged in.
    pub fn is_logged_in(&self, ConnectionId(id): ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(Connection::is_open)
    }

    /// The log of `stream` is on the disk up to `position`.
    pub fn handle_durable(&mut self, stream: StreamId, position: u64, now: Timestamp) {
        self.with_stream(stream, now, |stream, cx| stream.durable(position, cx));
        self.work(now);
    }

    /// The log of `stream` is deleted, as [`LogOp::Remove`] asked, or cannot be.
    pub fn handle_removed(&mut self, stream: StreamId, outcome: Result<(), &str>, now: Timestamp) {
        if let Some(answer) = self.jetstream.removed(stream, outcome) {
            self.effects.push_back(answer);
        }
        self.work(now);
    }

    /// The log of `stream` can no longer be written. The stream refuses everything from now on.
    pub fn handle_log_failed(&mut self, stream: StreamId, why: &str, now: Timestamp) {
        self.with_stream(stream, now, |stream, _| stream.log_failed(why));
        self.work(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(&(at, timer)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Connection(id) => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.armed = None;
                    }
                    self.connection_timeout(id, now);
                    self.arm_connection(id);
                }
                Timer::Stream(id) => {
                    if let Some(stream) = self.jetstream.streams.get_mut(&id) {
                        stream.armed = None;
                    }
                    self.with_stream(id, now, crate::jetstream::Stream::timeout);
                }
                Timer::Responses => self.expire_responses(now),
            }
        }
        self.work(now);
    }

    /// When [`Broker::handle_timeout`] is due: in the past when there is work left over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.ready.is_empty() { self.timers.first().map(|(at, _)| *at) } else { Some(Timestamp(0)) }
    }

    /// What to do now. To be called until it gives `None`, after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Moves the bytes that wait for a connection to the end of `buffer`. A reason means: write them, then
    /// close the socket and say [`Broker::handle_closed`].
    pub fn take_output(
        &mut self,
        ConnectionId(id): ConnectionId,
        buffer: &mut Vec<u8>,
    ) -> Option<CloseReason> {
        let Some(connection) = self.connections.get_mut(&id) else { return Some(CloseReason::ClientClosed) };
        connection.flush_queued = false;
        connection.unread_answers = 0;
        if std::mem::take(&mut connection.is_paused) {
            self.outputs.push_back(Output::Resume(ConnectionId(id)));
        }
        if buffer.is_empty() {
            // No copy, and the old buffer's room is used again.
            std::mem::swap(buffer, &mut connection.out);
        } else {
            buffer.append(&mut connection.out);
        }
        let stalled = std::mem::take(&mut connection.stalled);
        let closing = match connection.phase {
            Phase::Closing(reason) => Some(reason),
            Phase::Greeting | Phase::Asking(_) | Phase::Open => None,
        };
        self.wake_stalled(stalled);
        closing
    }

    /// Consumers that waited for the outgoing bytes of a client may go on.
    fn wake_stalled(&mut self, stalled: Vec<(StreamId, ConsumerId)>) {
        for (stream, consumer) in stalled {
            if let Some(stream_ref) = self.jetstream.streams.get_mut(&stream) {
                stream_ref.wake(consumer);
                if !self.ready.contains(&stream) {
                    self.ready.push_back(stream);
                }
            }
        }
    }

    /// Tells clients to go elsewhere and takes no new ones. The shell closes what is left after a while
    /// with [`Broker::shut_down`].
    pub fn drain(&mut self, now: Timestamp) {
        self.draining = true;
        let open: Vec<u64> =
            self.connections.iter().filter(|(_, c)| c.is_open()).map(|(id, _)| *id).collect();
        for id in open {
            if let Some(mut connection) = self.connections.remove(&id) {
                self.write_info(id, &mut connection);
                self.connections.insert(id, connection);
                self.flush(id);
            }
        }
        let all: Vec<StreamId> = self.jetstream.streams.keys().copied().collect();
        for id in all {
            self.with_stream(id, now, Stream::shut_down);
        }
        self.work(now);
    }

    /// Closes all connections.
    pub fn shut_down(&mut self, now: Timestamp) {
        let all: Vec<u64> = self.connections.keys().copied().collect();
        for id in all {
            self.close(id, CloseReason::ServerShutdown, now);
        }
        self.work(now);
    }

    /// Is a connection still there?
    pub fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Carries out what the call set off: messages, consumers, logs, timers.
    fn work(&mut self, now: Timestamp) {
        let mut turns = 0;
        loop {
            if let Some(effect) = self.effects.pop_front() {
                self.perform(effect, now);
                continue;
            }
            if turns < CONSUMER_TURNS_PER_CALL
                && let Some(id) = self.ready.pop_front()
            {
                self.run_consumer(id, now);
                turns += 1;
                continue;
            }
            if self.touched.is_empty() {
                break;
            }
            self.finish_streams();
            if self.effects.is_empty() && (self.ready.is_empty() || turns >= CONSUMER_TURNS_PER_CALL) {
                break;
            }
        }
    }

    fn flush(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.flush_queued
            && (!connection.out.is_empty() || connection.is_closing())
        {
            connection.flush_queued = true;
            self.outputs.push_back(Output::Flush(ConnectionId(id)));
        }
    }

    fn arm_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let deadline = connection.deadline();
        if deadline == connection.armed {
            return;
        }
        if let Some(old) = connection.armed {
            self.timers.remove(&(old, Timer::Connection(id)));
        }
        connection.armed = deadline;
        if let Some(at) = deadline {
            self.timers.insert((at, Timer::Connection(id)));
        }
    }
}

fn check_user(
    user: &crate::config::UserConfig,
    known: &[(usize, crate::config::UserConfig)],
) -> Result<(), String> {
    if known.iter().any(|(_, other)| other.name() == user.name()) {
        return Err(format!("user {:?} is there twice", user.name()));
    }
    match &user.credentials {
        Credentials::Password { user, password } => {
            if user.is_empty() || password.0.is_empty() {
                return Err("a user needs a name and a password".into());
            }
            if ["$2a$", "$2b$", "$2y$"].iter().any(|p| password.0.starts_with(p)) {
                return Err(format!("the password of {user:?} is a bcrypt hash; give it in clear"));
            }
        }
        Credentials::Nkey(key) => {
            if !key.starts_with('U') || nkeys::KeyPair::from_public_key(key).is_err() {
                return Err(format!("{key:?} is not a public user nkey (U…)"));
            }
        }
    }
    Ok(())
}
