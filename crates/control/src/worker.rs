//! What participants ask, worked off shard by shard: taken in stream order, acknowledged after it is written and answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_nats::{
    connection::State,
    jetstream::{self, AckKind, consumer::pull, context::PublishErrorKind, message::PublishMessage},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use plenum_meeting::{
    Answer, Client, Command, Direct, Env, Envelope, Refusal, Room, RoomId, Shard, UserId,
    state::{Position, UnixMs},
};
use plenum_protocol::plugnmeet::{
    ChatMessage, MediaServerConnInfo, NatsMsgClientToServer, NatsMsgClientToServerEvents as Ask,
    NatsMsgServerToClientEvents as Event, NatsSystemNotificationTypes as Kind, PrivateDataDelivery,
};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument as _, Span, debug, field, info_span, warn};

use crate::{
    chat::{ChatLog, PageRequest, SID_HEADER, StampHeaders as _},
    clock::Clock,
    holder::LastSeen,
    media::Media,
    steps::{Step, Steps},
    token::{Claims, Tokens, rng, token_end},
    writer::{CommandError, Outcome, Writers},
};

/// A command that fails this often, for at least [`TRYING_MIN`], with the broker there, is given up.
const ATTEMPTS_MAX: u32 = 3;
/// See [`ATTEMPTS_MAX`].
const TRYING_MIN: Duration = Duration::from_secs(15);
/// Commands of one room that are worked on together.
const BATCH_LEN_MAX: usize = 64;
/// Commands of one room that wait in this process; beyond, the shard's reading waits.
const ROOM_QUEUE_LEN_MAX: usize = 256;
/// A room without commands gives its queue up.
const ROOM_IDLE: Duration = Duration::from_secs(30);
/// What is in work when a shard is given up is finished within this time, or by the next holder.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(3);

/// Does what participants ask.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) js: jetstream::Context,
    pub(crate) writers: Writers,
    pub(crate) tokens: Tokens,
    pub(crate) media: Media,
    pub(crate) chat: ChatLog,
    pub(crate) last_seen: LastSeen,
    pub(crate) steps: Steps,
    pub(crate) clock: Clock,
}

/// A shard's commands.
pub(crate) struct Commands {
    pub(crate) consumer: jetstream::consumer::Consumer<pull::Config>,
    /// When the stream was made that has them.
    pub(crate) stream: UnixMs,
}

/// A command of the stream on its way.
struct Asked {
    message: jetstream::Message,
    user: UserId,
    position: Position,
    ask: NatsMsgClientToServer,
    kind: AskKind,
    /// Attempts, and since when, with the broker there.
    attempts: u32,
    since: Instant,
}

/// What a command comes to.
enum AskKind {
    /// For the room to decide.
    Decide(Client),
    /// Nothing.
    Nothing,
    /// The client did something wrong.
    Wrong(String),
}

/// A message to publish, with the id that makes it one however often it is sent.
struct Outgoing {
    subject: String,
    publish: PublishMessage,
}

/// Why a command was not done.
enum Trouble {
    /// It may work later.
    Later(String),
    /// It will not.
    Never(String),
}

impl Worker {
    /// Reads a shard's commands until the reading is interrupted or the shard is given up. Rooms go side by side, each in
    /// the order of the stream and never past a command that is not done. When this returns, no command is in work.
    ///
    /// After an interruption a command may be missing that comes again only later. Then the consumer is made anew, which
    /// begins with the first one that is not acknowledged.
    pub(crate) async fn run(&self, shard: Shard, commands: Commands, mut ended: watch::Receiver<bool>) {
        let worker = Arc::new(self.clone());
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let read = worker.read(shard, commands, &stopped, &mut tasks);
        tokio::select! {
            () = read => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
        stop.send_replace(true);
        let finish = async { while tasks.join_next().await.is_some() {} };
        let _ = timeout(HANDOVER_PATIENCE, finish).await;
        tasks.shutdown().await;
    }

    async fn read(
        self: &Arc<Self>,
        shard: Shard,
        commands: Commands,
        stopped: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let mut rooms: HashMap<RoomId, mpsc::Sender<jetstream::Message>> = HashMap::new();
        let Commands { consumer, stream } = commands;
        let messages =
            consumer.stream().max_messages_per_batch(256).expires(Duration::from_secs(10)).messages();
        let mut messages = match messages.await {
            Ok(messages) => messages,
            Err(error) => return warn!(error = %error, shard = %shard, "Commands cannot be read"),
        };
        let mut expected = 1;
        while let Some(message) = messages.next().await {
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    return debug!(error = %error, shard = %shard, "Reading commands was interrupted");
                }
            };
            let Ok(info) = message.info() else { continue };
            if info.consumer_sequence != expected {
                return debug!(shard = %shard, "A command was lost on its way, reading again");
            }
            expected += 1;
            let Some((room, user)) = names(&message) else {
                let _ = message.ack_with(AckKind::Term).await;
                continue;
            };
            self.last_seen.note(&room, &user);
            while tasks.try_join_next().is_some() {}
            rooms.retain(|_, queue| !queue.is_closed());
            let mut message = Some(message);
            while let Some(next) = message.take() {
                let queue = rooms.entry(room.clone()).or_insert_with(|| {
                    let (sender, queue) = mpsc::channel(ROOM_QUEUE_LEN_MAX);
                    let span = info_span!("commands", room.id = %room, room.sid = field::Empty);
                    tasks.spawn(
                        Arc::clone(self).room(room.clone(), stream, queue, stopped.clone()).instrument(span),
                    );
                    sender
                });
                if let Err(back) = queue.send(next).await {
                    // It went idle at this moment.
                    rooms.remove(&room);
                    message = Some(back.0);
                }
            }
        }
    }

    async fn room(
        self: Arc<Self>,
        room: RoomId,
        stream: UnixMs,
        mut queue: mpsc::Receiver<jetstream::Message>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut done_until = 0;
        loop {
            let next = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                next = timeout(ROOM_IDLE, queue.recv()) => next,
            };
            let first = match next {
                Ok(Some(first)) => first,
                Ok(None) => return,
                Err(_) => {
                    // What came in at this moment is still in the queue.
                    queue.close();
                    continue;
                }
            };
            let mut batch: VecDeque<Asked> = self.asked(&room, stream, first).into_iter().collect();
            while batch.len() < BATCH_LEN_MAX
                && let Ok(message) = queue.try_recv()
            {
                batch.extend(self.asked(&room, stream, message));
            }
            self.batch(&room, batch, &mut done_until, &stopped).await;
        }
    }

    fn asked(&self, room: &RoomId, stream: UnixMs, message: jetstream::Message) -> Option<Asked> {
        let (_, user) = names(&message)?;
        let position = Position { stream, sequence: message.info().ok()?.stream_sequence };
        let (ask, kind) = match NatsMsgClientToServer::decode(message.payload.clone()) {
            Ok(ask) => {
                let event = Ask::try_from(ask.event).ok();
                let name = event.map_or("unknown", |event| event.as_str_name());
                metrics::counter!("plenum_control_commands_total", "event" => name).increment(1);
                let kind = match self.parse(room, &user, event, &ask) {
                    Ok(Some(event)) => AskKind::Decide(event),
                    Ok(None) => AskKind::Nothing,
                    Err(text) => AskKind::Wrong(text),
                };
                (ask, kind)
            }
            Err(_) => {
                let text = "the message is not a NatsMsgClientToServer".to_owned();
                (NatsMsgClientToServer::default(), AskKind::Wrong(text))
            }
        };
        Some(Asked { message, user, position, ask, kind, attempts: 0, since: Instant::now() })
    }

    /// Does commands, in order. Returns when all are done or given up, or when the shard is.
    async fn batch(
        &self,
        room: &RoomId,
        mut batch: VecDeque<Asked>,
        done_until: &mut u64,
        stopped: &watch::Receiver<bool>,
    ) {
        while !batch.is_empty() && !*stopped.borrow() {
            // One that took too long comes again while it is in work.
            while batch.front().is_some_and(|asked| asked.position.sequence <= *done_until) {
                if let Some(repeated) = batch.pop_front() {
                    let _ = repeated.message.ack().await;
                }
            }
            let commands = batch
                .iter()
                .filter_map(|asked| match &asked.kind {
                    AskKind::Decide(event) => {
                        let command = Command::FromClient { user: asked.user.clone(), event: event.clone() };
                        Some((asked.position, command))
                    }
                    AskKind::Nothing | AskKind::Wrong(_) => None,
                })
                .collect();
            let mut outcomes = self.writers.sequenced(room, commands).await.into_iter();
            self.steps.reached(Step::CommandDecided).await;

            let mut ready = Vec::new();
            let mut trouble = None;
            for asked in &batch {
                let outgoing = match &asked.kind {
                    AskKind::Nothing => Ok(Vec::new()),
                    AskKind::Wrong(text) => Ok(vec![self.notification(room, asked, text)]),
                    AskKind::Decide(event) => {
                        let outcome = outcomes.next().unwrap_or(Err(CommandError::Refused(Refusal::Busy)));
                        self.reply(room, asked, event, outcome).await
                    }
                };
                match outgoing {
                    Ok(outgoing) => ready.push(outgoing),
                    Err(found) => {
                        trouble = Some(found);
                        break;
                    }
                }
            }
            // All are on their way before the first is waited for: what the broker takes of one connection it takes in order.
            let mut sent = Vec::with_capacity(ready.len());
            for outgoing in ready {
                let mut acks = Vec::with_capacity(outgoing.len());
                for Outgoing { subject, publish } in outgoing {
                    acks.push(self.js.send_publish(subject, publish).await);
                }
                sent.push(acks);
            }
            for acks in sent {
                match acknowledged(acks).await {
                    Ok(()) => {
                        self.steps.reached(Step::CommandAnswered).await;
                        if let Some(asked) = batch.pop_front() {
                            *done_until = asked.position.sequence;
                            if let Err(error) = asked.message.ack().await {
                                debug!(error = %error, "An acknowledgement was lost");
                            }
                            self.steps.reached(Step::CommandAcknowledged).await;
                        }
                    }
                    Err(found) => {
                        trouble = Some(found);
                        break;
                    }
                }
            }
            if let Some(trouble) = trouble {
                self.hold_up(&mut batch, done_until, trouble).await;
            }
        }
    }

    /// The first command could not be done: those behind it wait with it, unless it is given up.
    async fn hold_up(&self, batch: &mut VecDeque<Asked>, done_until: &mut u64, trouble: Trouble) {
        let Some(asked) = batch.front_mut() else { return };
        if self.js.client().connection_state() != State::Connected {
            (asked.attempts, asked.since) = (0, Instant::now());
        }
        asked.attempts += 1;
        let (error, hopeless) = match trouble {
            Trouble::Later(error) => {
                (error, asked.attempts >= ATTEMPTS_MAX && asked.since.elapsed() >= TRYING_MIN)
            }
            Trouble::Never(error) => (error, true),
        };
        if hopeless {
            warn!(error = %error, "A command was given up");
            metrics::counter!("plenum_control_commands_given_up_total").increment(1);
            *done_until = asked.position.sequence;
            let _ = asked.message.ack_with(AckKind::Term).await;
            batch.pop_front();
            return;
        }
        debug!(error = %error, "A command failed, trying again");
        let _ = asked.message.ack_with(AckKind::Progress).await;
        sleep(Duration::from_millis(u64::from(asked.attempts.min(5)) * 100)).await;
    }

    /// What a decided command sends.
    async fn reply(
        &self,
        room: &RoomId,
        asked: &Asked,
        event: &Client,
        outcome: Result<Outcome, CommandError>,
    ) -> Result<Vec<Outgoing>, Trouble> {
        let quiet = matches!(event, Client::Ping | Client::RenewToken { .. });
        match outcome {
            Ok(outcome) => self.answer(room, asked, outcome).await,
            Err(CommandError::Refused(Refusal::Busy)) => Err(Trouble::Later(Refusal::Busy.to_string())),
            Err(CommandError::Refused(_)) if quiet => Ok(Vec::new()),
            Err(CommandError::Refused(refusal)) => {
                Ok(vec![self.notification(room, asked, &refusal.to_string())])
            }
            Err(CommandError::Store(error)) => Err(Trouble::Later(error.to_string())),
        }
    }

    /// `None`: nothing to do. `Err`: what the client did wrong.
    fn parse(
        &self,
        room: &RoomId,
        user: &UserId,
        kind: Option<Ask>,
        ask: &NatsMsgClientToServer,
    ) -> Result<Option<Client>, String> {
        let Some(kind) = kind else { return Err("event: unknown value".to_owned()) };
        Ok(Some(match kind {
            Ask::Ping => Client::Ping,
            Ask::ReqInitialData => Client::InitialData,
            Ask::ReqJoinedUsersList => Client::OnlineUsers { joining: true },
            Ask::ReqOnlineUsersList => Client::OnlineUsers { joining: false },
            Ask::ReqMediaServerData => Client::MediaAccess,
            Ask::ReqRenewPnmToken => {
                // Silent on failure, as the original; and only for the one who asks.
                let Ok(claims) = self.tokens.verify_for_renewal(&ask.msg) else { return Ok(None) };
                if claims.room != *room || claims.user != *user {
                    return Ok(None);
                }
                Client::RenewToken {
                    sid: claims.sid,
                    seat: claims.seat,
                    ends_at: token_end(self.clock.now()),
                }
            }
            Ask::ReqRaiseHand => Client::RaiseHand { text: ask.msg.clone() },
            Ask::ReqLowerHand => Client::LowerHand,
            Ask::ReqLowerOtherUserHand => Client::LowerHandOf {
                user: UserId::parse(&ask.msg, "msg").map_err(|error| error.to_string())?,
            },
            Ask::PushAnalyticsData => return Ok(None),
            Ask::ReqPrivateDataDelivery => {
                let header: PrivateDataDelivery =
                    serde_json::from_str(&ask.msg).map_err(|error| format!("msg: {error}"))?;
                Client::PrivateData {
                    to: UserId::parse(&header.to_user_id, "to_user_id").map_err(|error| error.to_string())?,
                    echo: header.echo_to_sender,
                    msg: ask.msg.clone(),
                    payload: ask.bin_msg.clone(),
                }
            }
            Ask::ReqSendChat if ask.msg == "e2ee" => {
                Client::EncryptedChat { id: ask.id.clone(), payload: ask.bin_msg.clone() }
            }
            Ask::ReqSendChat => Client::Chat {
                id: ask.id.clone(),
                message: Box::new(
                    ChatMessage::decode(&*ask.bin_msg)
                        .map_err(|_| "bin_msg: not a ChatMessage".to_owned())?,
                ),
            },
            Ask::ReqChatHistory => {
                page_request(&ask.msg)?;
                Client::ChatHistory
            }
        }))
    }

    async fn answer(&self, room: &RoomId, asked: &Asked, outcome: Outcome) -> Result<Vec<Outgoing>, Trouble> {
        let (user, position) = (&asked.user, asked.position);
        let held: &Room = &outcome.room;
        let sid = held.sid.as_str();
        Span::current().record("room.sid", sid);
        let mut outgoing: Vec<Outgoing> = outcome
            .decision
            .direct
            .into_iter()
            .zip(1..)
            .map(|(direct, part)| Outgoing::new(room, sid, direct, format!("{sid}.w{position}.{part}")))
            .collect();
        let mut rng = rng();
        let payload = match outcome.decision.answer {
            Answer::Media(access) => {
                let (url, token) = self.media.access(room, user, &access);
                let info = MediaServerConnInfo { url, token, ..MediaServerConnInfo::default() };
                Envelope::json(Event::ResMediaServerData, &info, &mut self.env(&mut rng))
            }
            Answer::Renewed(person) => {
                let claims = Claims {
                    room: room.clone(),
                    user: user.clone(),
                    name: person.name.clone(),
                    is_admin: person.is_admin,
                    sid: sid.to_owned(),
                    seat: person.sid.clone(),
                };
                let token = self.tokens.make(&claims, person.token_ends_at);
                Envelope::text(Event::RespRenewPnmToken, token, &mut self.env(&mut rng))
            }
            Answer::ChatHistory { sid, since } => {
                let request = page_request(&asked.ask.msg).map_err(Trouble::Never)?;
                let page = self
                    .chat
                    .page(room.as_str(), user.as_str(), &sid, since, request)
                    .await
                    .map_err(Trouble::Later)?;
                Envelope::with_payload(
                    Event::ResChatHistory,
                    "",
                    page.encode_to_vec(),
                    &mut self.env(&mut rng),
                )
            }
            _ => return Ok(outgoing),
        };
        let direct = Direct::To { user: user.to_string(), payload };
        outgoing.push(Outgoing::new(room, sid, direct, format!("{sid}.w{position}.0")));
        Ok(outgoing)
    }

    /// Tells a client what was wrong with what it sent.
    fn notification(&self, room: &RoomId, asked: &Asked, text: &str) -> Outgoing {
        let mut rng = rng();
        let payload =
            Envelope::notification(Kind::NatsSystemNotificationError, text, &mut self.env(&mut rng));
        let id = format!("{room}.w{}.refused", asked.position);
        Outgoing::new(room, "", Direct::To { user: asked.user.to_string(), payload }, id)
    }

    fn env<'a>(&self, rng: &'a mut rand::rngs::StdRng) -> Env<'a> {
        Env { now: self.clock.now(), rng }
    }
}

impl Outgoing {
    fn new(room: &RoomId, sid: &str, direct: Direct, id: String) -> Self {
        let publish = |payload| PublishMessage::build().payload(Bytes::from(payload)).message_id(id);
        match direct {
            Direct::To { user, payload } => {
                Self { subject: format!("sysPrivate.{room}.{user}.system"), publish: publish(payload) }
            }
            Direct::Chat { payload, stamp } => Self {
                subject: format!("chat.{room}"),
                publish: publish(payload).header(SID_HEADER, sid).stamped(stamp.as_ref()),
            },
            Direct::PrivateChat { user, payload } => Self {
                subject: format!("chat.{room}.{user}"),
                publish: publish(payload).header(SID_HEADER, sid),
            },
        }
    }
}

type Sent = Result<jetstream::context::PublishAckFuture, jetstream::context::PublishError>;

async fn acknowledged(acks: Vec<Sent>) -> Result<(), Trouble> {
    for ack in acks {
        let result = match ack {
            Ok(ack) => ack.await.map(|_| ()),
            Err(error) => Err(error),
        };
        result.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Trouble::Never(error.to_string()),
            _ => Trouble::Later(error.to_string()),
        })?;
    }
    Ok(())
}

fn page_request(text: &str) -> Result<PageRequest, String> {
    if text.is_empty() { serde_json::from_str("{}") } else { serde_json::from_str(text) }
        .map_err(|error| format!("msg: {error}"))
}

/// `sysJsWorker.<shard>.<room>.<user>`: the broker lets a client publish under its own names only.
fn names(message: &jetstream::Message) -> Option<(RoomId, UserId)> {
    let mut tokens = message.subject.split('.').skip(1);
    let (shard, room, user) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let room = RoomId::parse(room, "room_id").ok()?;
    let user = UserId::parse(user, "user_id").ok()?;
    (tokens.next().is_none() && shard == Shard::of(&room).to_string()).then_some((room, user))
}
