//! Control against a real broker, ours, in this process: instances that stop between any two steps, and two at a time.
//!
//! An instance lives in a runtime of its own. Dropping that runtime is what a killed process looks like from outside: no
//! farewell, connections cut, whatever was in memory gone.

mod meetings;

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures_util::{StreamExt as _, future::join_all};
use nkeys::{KeyPair, XKey};
use plenum_meeting::{
    CreateRoom, EndReason, JoinPerson, Lock, Moderation, Room, RoomId, Target, UserId, state::Phase,
};
use plenum_messaging_server::{
    AccountConfig, AuthCalloutConfig, Export, Import, Limits, ResponseType, Server, UserConfig,
};
use plenum_protocol::plugnmeet::{
    ChatMessage, ClientType, NatsMsgClientToServer, NatsMsgClientToServerEvents as Ask,
    NatsMsgServerToClient, NatsMsgServerToClientEvents as Event, UserMetadata,
};
use plenum_storage::Storage;
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    runtime::Runtime,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    CalloutKeys, CommandError, Config, Control, Drain, Login, MediaConfig, Tokens,
    clock::Clock,
    durables::Durables,
    layout::{self, PARTICIPANTS, SERVICE, SHARES, SYSTEM, Share},
    now,
    steps::{Step, Steps},
    token_end,
};

/// Nothing here takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker, a media server that says yes to everything, and a database.
struct Place {
    broker: Server,
    folder: tempfile::TempDir,
    keys: CalloutKeys,
    /// Methods that the media server was asked, in lower case.
    media_calls: Arc<Mutex<Vec<String>>>,
    media_url: String,
    /// Whether the media server answers.
    media_is_there: Arc<AtomicBool>,
    /// Of the account of the meeting servers.
    service: async_nats::Client,
}

/// One meeting server.
struct Instance {
    runtime: Option<Runtime>,
    control: Control,
    _drain: Drain,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = CalloutKeys {
            issuer_seed: KeyPair::new_account().seed().unwrap(),
            xkey_seed: XKey::new().seed().unwrap(),
        };
        let broker = Server::start(broker_config(&keys, folder.path().join("broker"))).await.unwrap();
        let media_is_there = Arc::new(AtomicBool::new(true));
        let (media_url, media_calls) = media_server(Arc::clone(&media_is_there)).await;
        let service = async_nats::ConnectOptions::with_user_and_password("svc".into(), "svc".into())
            .connect(format!("nats://{}", broker.local_addr()))
            .await
            .unwrap();
        Self { broker, folder, keys, media_calls, media_url, media_is_there, service }
    }

    fn url(&self) -> String {
        format!("nats://{}", self.broker.local_addr())
    }

    fn js(&self) -> jetstream::Context {
        jetstream::new(self.service.clone())
    }

    async fn instance(&self, steps: Steps, sole_server: bool) -> Instance {
        let instance = self.instance_at(steps, sole_server, Clock::default()).await;
        instance.control.settled(PATIENCE).await;
        instance
    }

    /// An instance on a machine with this clock.
    async fn instance_at(&self, steps: Steps, sole_server: bool, clock: Clock) -> Instance {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let login = |name: &str| Login::Password { user: name.to_owned(), password: name.to_owned() };
        let storage = self.folder.path().join("history.sqlite");
        let (url, keys, media_url) = (self.url(), self.keys.clone(), self.media_url.clone());
        let (service, system) = (login("svc"), login("sys"));
        let started = runtime.spawn(async move {
            let config = Config {
                nats_urls: vec![url],
                service,
                system,
                callout: keys,
                replicas: 1,
                sole_server,
                media: MediaConfig {
                    api_url: media_url.clone(),
                    public_url: media_url,
                    key: "key".into(),
                    secret: "secret".into(),
                },
                tokens: Tokens::new("key", "secret"),
                storage: Storage::open(&storage).await.unwrap(),
            };
            Box::pin(Control::start_with(config, steps, clock)).await.unwrap()
        });
        let (control, drain) = started.await.unwrap();
        Instance { runtime: Some(runtime), control, _drain: drain }
    }

    /// Sends a command as the client of this person; the broker has it when this returns.
    async fn ask(&self, room: &RoomId, who: &str, ask: NatsMsgClientToServer) {
        let subject = format!("{}.{room}.{who}", layout::worker_prefix(room));
        let ack = self.js().publish(subject, ask.encode_to_vec().into()).await.unwrap();
        ack.await.unwrap();
    }

    /// Everything that a stream holds under these subjects, oldest first.
    async fn read(&self, stream: &str, filters: Vec<String>) -> Vec<jetstream::Message> {
        let stream = self.js().get_stream(stream).await.unwrap();
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            filter_subjects: filters,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let pending = usize::try_from(consumer.cached_info().num_pending).unwrap();
        let mut messages = Vec::new();
        if pending > 0 {
            let mut batch = consumer.fetch().max_messages(pending).messages().await.unwrap();
            while let Some(message) = batch.next().await {
                messages.push(message.unwrap());
            }
        }
        assert_eq!(messages.len(), pending);
        messages
    }

    async fn commands_waiting(&self) -> u64 {
        self.js().get_stream(layout::WORKER).await.unwrap().cached_info().state.messages
    }

    /// What people of a room were told and said, without what differs from run to run.
    async fn told(&self, room: &RoomId) -> Vec<String> {
        let mut told = Vec::new();
        let rooms = vec![format!("sysPublic.{room}.>"), format!("sysPrivate.{room}.>")];
        for message in self.read(layout::ROOMS, rooms).await {
            let envelope = NatsMsgServerToClient::decode(message.payload.clone()).unwrap();
            let subject = message.subject.as_str().to_owned();
            told.push(match envelope.event() {
                Event::UserMetadataUpdate => {
                    let update: serde_json::Value = serde_json::from_str(&envelope.msg).unwrap();
                    let metadata: serde_json::Value =
                        serde_json::from_str(update["metadata"].as_str().unwrap()).unwrap();
                    let locks = &metadata["lock_settings"]["lock_microphone"];
                    let hand = &metadata["raised_hand"]["is_raised"];
                    format!("{subject} {} hand {hand} locked {locks}", update["user_id"])
                }
                Event::DeliveryPrivateData => format!("{subject} private"),
                other => format!("{subject} {}", other.as_str_name()),
            });
        }
        // Order holds for one person's doings and for one subject; between them there is none.
        told.sort_by_key(|line| line.split(" hand ").next().map(str::to_owned));
        told.extend(self.said(room).await);
        told
    }

    /// Chat of a room, in its order.
    async fn said(&self, room: &RoomId) -> Vec<String> {
        let filters = vec![format!("chat.{room}"), format!("chat.{room}.>")];
        let messages = self.read(layout::CHAT, filters).await;
        messages
            .iter()
            .map(|message| {
                let chat = ChatMessage::decode(message.payload.clone()).unwrap();
                format!("{} {}: {}", message.subject, chat.from_user_id, chat.message)
            })
            .collect()
    }
}

impl Instance {
    /// Does something inside this instance.
    async fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: impl FnOnce(Control) -> F,
    ) -> T {
        let future = work(self.control.clone());
        self.runtime.as_ref().expect("it was not killed").spawn(future).await.unwrap()
    }

    fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn create(&self, room: &RoomId, people: &'static [&'static str]) {
        let room = room.clone();
        self.run(move |control| async move {
            let body = serde_json::json!({"room_id": room.as_str(), "metadata": {"room_title": "T", "room_features": {}}});
            control.create_room(CreateRoom::from_json(&body).unwrap()).await.unwrap();
            for name in people {
                let person = JoinPerson {
                    user: user(name),
                    name: (*name).to_owned(),
                    is_admin: false,
                    is_hidden: false,
                    metadata: UserMetadata::default(),
                    client_type: ClientType::Web,
                    token_ends_at: token_end(now()),
                };
                control.join(&room, person).await.unwrap();
            }
        })
        .await;
    }

    async fn room(&self, id: &RoomId) -> Option<Room> {
        let id = id.clone();
        self.run(move |control| async move { control.room(&id).await.unwrap() }).await
    }

    /// An act of the API: `false` when there was no answer, so that it may be done or not.
    async fn moderate(&self, room: &RoomId, act: Moderation) -> Result<(), CommandError> {
        let room = room.clone();
        self.run(move |control| async move { control.moderate(&room, None, act).await }).await
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What happens to a meeting while an instance stops.
#[derive(Debug, Clone, Copy)]
enum Story {
    /// People ask, a host locks.
    Asks,
    /// The meeting ends.
    Ends,
}

impl Story {
    /// Everything that comes from outside.
    async fn begin(self, place: &Place, room: &RoomId) {
        if matches!(self, Self::Asks) {
            let hand = |event: Ask, msg: &str| NatsMsgClientToServer {
                event: event.into(),
                msg: msg.to_owned(),
                ..NatsMsgClientToServer::default()
            };
            place.ask(room, "ann", chat("one", None)).await;
            place.ask(room, "ann", hand(Ask::ReqRaiseHand, "")).await;
            place.ask(room, "ann", chat("two", Some("bob"))).await;
            place.ask(room, "ann", hand(Ask::ReqLowerHand, "")).await;
            place.ask(room, "ann", chat("three", None)).await;
        }
    }

    fn act(self) -> Moderation {
        match self {
            Self::Asks => {
                Moderation::Lock { target: Target::One(user("bob")), lock: Lock::Microphone, locked: true }
            }
            Self::Ends => Moderation::End(EndReason::Asked),
        }
    }

    fn is_over(self, room: &Room) -> bool {
        let rests = room.outbox.is_empty();
        match self {
            Self::Asks => {
                let locks = room.people["bob"].metadata().lock_settings.unwrap_or_default();
                rests && locks.lock_microphone == Some(true)
            }
            Self::Ends => rests && room.phase() == Phase::Ended,
        }
    }
}

/// Plays a story; the first instance stops at a step, the second one finishes. Answers what was seen from outside.
async fn play(story: Story, stop: Option<(Step, usize)>) -> (Vec<String>, Vec<String>) {
    let place = Place::new().await;
    let room = RoomId::parse("r", "room_id").unwrap();
    let steps = stop.map_or_else(Steps::default, |(step, _)| Steps::stop_at(step));
    let earlier = place.instance(Steps::default(), true).await;
    earlier.create(&room, &["ann", "bob"]).await;
    until(async || earlier.room(&room).await.is_some_and(|room| room.outbox.is_empty())).await;
    earlier.kill();
    // Commands wait for their instance, so that it takes them together: then more than one is in work when it stops.
    story.begin(&place, &room).await;
    if let Some((_, nth)) = stop {
        steps.arm(nth);
    }
    let first = place.instance(steps.clone(), true).await;
    let answered = tokio::select! {
        answer = first.moderate(&room, story.act()) => { answer.unwrap(); true }
        () = steps.stopped() => false,
    };
    let last = match stop {
        None => first,
        Some((step, nth)) => {
            timeout(PATIENCE, steps.stopped())
                .await
                .unwrap_or_else(|_| panic!("{step:?} {nth} is never reached"));
            first.kill();
            let second = place.instance(Steps::default(), true).await;
            if !answered {
                // Whoever asked had no answer and asks again; that it was done already is an answer too.
                let _ = second.moderate(&room, story.act()).await;
            }
            second
        }
    };
    until(async || {
        let rests = last.room(&room).await.is_some_and(|room| story.is_over(&room));
        rests && place.commands_waiting().await == 0
    })
    .await;
    let told = place.told(&room).await;
    let mut calls = place.media_calls.lock().unwrap().clone();
    calls.sort();
    calls.dedup();
    (told, calls)
}

/// What happens when an instance stops at any step is what happens when none does.
async fn stops_unseen(story: Story, stops: &'static [(Step, usize)]) {
    let plain = play(story, None).await;
    assert!(!plain.0.is_empty());
    let plays = stops.iter().map(async |stop| (stop, play(story, Some(*stop)).await));
    for (stop, seen) in join_all(plays).await {
        assert_eq!(seen, plain, "stopped at {stop:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_survive_a_stop_at_any_step() {
    stops_unseen(
        Story::Asks,
        &[
            (Step::Read, 0),
            (Step::Read, 1),
            (Step::Written, 0),
            (Step::Answered, 0),
            (Step::Published, 0),
            (Step::Published, 1),
            (Step::EffectDone, 0),
            (Step::CommandDecided, 0),
            (Step::CommandAnswered, 0),
            (Step::CommandAnswered, 2),
            (Step::CommandAcknowledged, 0),
            (Step::CommandAcknowledged, 3),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_survives_a_stop_at_any_step() {
    stops_unseen(
        Story::Ends,
        &[
            (Step::Read, 0),
            (Step::Written, 0),
            (Step::Answered, 0),
            (Step::Published, 0),
            (Step::ChatEnded, 0),
            (Step::Written, 1),
            (Step::EffectDone, 0),
            (Step::EffectDone, 1),
            (Step::EffectDone, 2),
            (Step::EffectDone, 3),
        ],
    )
    .await;
}

/// Ten people in four rooms talk while one of two instances is killed: everything is said once, and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_instances_one_is_killed() {
    const PEOPLE: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    const MESSAGES: usize = 50;
    let place = Arc::new(Place::new().await);
    let first = place.instance(Steps::default(), false).await;
    let second = place.instance(Steps::default(), false).await;
    let rooms: Vec<RoomId> =
        (0..4).map(|number| RoomId::parse(&format!("room{number}"), "room_id").unwrap()).collect();
    for room in &rooms {
        first.create(room, &PEOPLE).await;
    }
    let mut talks = JoinSet::new();
    let (halves, mut half) = tokio::sync::mpsc::channel(PEOPLE.len());
    for (number, name) in PEOPLE.into_iter().enumerate() {
        let (place, room, halves) = (Arc::clone(&place), rooms[number % rooms.len()].clone(), halves.clone());
        talks.spawn(async move {
            for message in 0..MESSAGES {
                place.ask(&room, name, chat(&message.to_string(), None)).await;
                if message == 25 {
                    let hand = NatsMsgClientToServer {
                        event: Ask::ReqRaiseHand.into(),
                        ..NatsMsgClientToServer::default()
                    };
                    place.ask(&room, name, hand).await;
                    halves.send(()).await.unwrap();
                }
            }
        });
    }
    half.recv().await.unwrap();
    first.kill();
    while let Some(talk) = talks.join_next().await {
        talk.unwrap();
    }
    until(async || place.commands_waiting().await == 0).await;
    for room in &rooms {
        until(async || second.room(room).await.is_some_and(|room| room.outbox.is_empty())).await;
    }
    let mut said: HashMap<String, Vec<String>> = HashMap::new();
    let mut hands: BTreeMap<String, usize> = BTreeMap::new();
    for room in &rooms {
        for line in place.said(room).await {
            let (who, text) = line.split_once(' ').unwrap().1.split_once(": ").unwrap();
            said.entry(who.to_owned()).or_default().push(text.to_owned());
        }
        for line in place.told(room).await {
            if line.contains("hand true") {
                *hands.entry(line).or_default() += 1;
            }
        }
    }
    let all: Vec<String> = (0..MESSAGES).map(|message| message.to_string()).collect();
    for name in PEOPLE {
        assert_eq!(said.get(name), Some(&all), "{name}");
    }
    assert_eq!(hands.len(), PEOPLE.len(), "{hands:?}");
    assert!(hands.values().all(|count| *count == 1), "{hands:?}");
    // The one that is left takes every meeting.
    until(async || second.control.is_ready()).await;
    drop(second);
}

/// A participant's connection is let in by another instance when the first one stops in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_comes_in_after_a_stop() {
    let place = Place::new().await;
    let room = RoomId::parse("r", "room_id").unwrap();
    let steps = Steps::stop_at(Step::DurableMade);
    let first = place.instance(steps.clone(), true).await;
    first.create(&room, &["ann"]).await;
    let seat = first.room(&room).await.unwrap();
    let claims = crate::Claims {
        room: room.clone(),
        user: user("ann"),
        name: "ann".into(),
        is_admin: false,
        sid: seat.sid.clone(),
        seat: seat.people["ann"].sid.clone(),
    };
    let token = Tokens::new("key", "secret").make(&claims, token_end(now()));
    let connect = || {
        let options = async_nats::ConnectOptions::with_token(token.clone())
            .custom_inbox_prefix(format!("_INBOX.{room}.ann"))
            .connection_timeout(Duration::from_secs(10));
        options.connect(place.url())
    };
    steps.arm(0);
    let refused = connect();
    tokio::select! {
        result = refused => assert!(result.is_err()),
        () = steps.stopped() => {}
    }
    first.kill();
    let second = place.instance(Steps::default(), true).await;
    let mut client = None;
    until(async || {
        client = connect().await.ok();
        client.is_some()
    })
    .await;
    until(async || {
        let held = second.room(&room).await.unwrap();
        held.online().count() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_name_belongs_to_one_person() {
    let place = Place::new().await;
    let _control = place.instance(Steps::default(), true).await;
    let durables = Durables::open(&place.js()).await.unwrap();
    let room = |id| RoomId::parse(id, "room_id").unwrap();
    assert!(durables.claim(&room("a_b"), &user("c")).await.unwrap());
    assert!(durables.claim(&room("a_b"), &user("c")).await.unwrap(), "again");
    assert!(!durables.claim(&room("a"), &user("b_c")).await.unwrap());
    durables.release(&room("a"), &user("b_c")).await.unwrap();
    assert!(!durables.claim(&room("a"), &user("b_c")).await.unwrap(), "who has it not cannot give it free");
    durables.delete("a_b", "c").await.unwrap();
    assert!(!durables.claim(&room("a"), &user("b_c")).await.unwrap(), "a person who is away keeps it");
    durables.release(&room("a_b"), &user("c")).await.unwrap();
    assert!(durables.claim(&room("a"), &user("b_c")).await.unwrap());
}

/// A record that the broker does not take is an error, not an endless attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_is_told() {
    let place = Place::new().await;
    let control = place.instance(Steps::default(), true).await;
    let room = RoomId::parse("r", "room_id").unwrap();
    control.create(&room, &["ann", "bob"]).await;
    let js = place.js();
    let mut stream = js.get_stream(format!("KV_{}", layout::STATE_BUCKET)).await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    config.max_message_size = 64;
    js.update_stream(config).await.unwrap();
    let refused = timeout(PATIENCE, control.moderate(&room, Story::Asks.act())).await.unwrap();
    assert!(matches!(refused, Err(CommandError::Store(_))), "{refused:?}");
}

/// Deadlines are broker time, whatever a machine's clock shows; a server whose clock is wrong takes no new meetings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_is_wrong_keeps_broker_time_and_is_not_ready() {
    let place = Place::new().await;
    let shift_ms = Arc::new(AtomicU64::new(3_600_000));
    let shift = Arc::clone(&shift_ms);
    let clock = Clock::over(move || now() + shift.load(Ordering::Relaxed));
    let instance = place.instance_at(Steps::default(), true, clock).await;
    assert!(!instance.control.keeps_broker_time() && !instance.control.is_ready());
    let room = RoomId::parse("r", "room_id").unwrap();
    instance.create(&room, &["ann"]).await;
    let created = instance.room(&room).await.unwrap().created_at;
    assert!(created.abs_diff(now()) < 60_000, "{created}");
    // Its time synchronisation works again.
    shift_ms.store(0, Ordering::Relaxed);
    until(async || instance.control.is_ready()).await;
    assert!(instance.control.now().abs_diff(now()) < 2_000);
}

/// Waits for a condition; polls, since it is seen from outside.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !condition().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("the condition is reached in time");
}

fn user(name: &str) -> UserId {
    UserId::parse(name, "user_id").unwrap()
}

fn chat(text: &str, to: Option<&str>) -> NatsMsgClientToServer {
    let message =
        ChatMessage { message: text.to_owned(), to_user_id: to.map(str::to_owned), ..ChatMessage::default() };
    NatsMsgClientToServer {
        event: Ask::ReqSendChat.into(),
        bin_msg: message.encode_to_vec(),
        ..NatsMsgClientToServer::default()
    }
}

/// Answers every request of the media server's API with an empty message, which means success and nobody there.
async fn media_server(is_there: Arc<AtomicBool>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (seen, is_there) = (Arc::clone(&seen), Arc::clone(&is_there));
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(count @ 1..) = socket.read(&mut chunk).await {
                    request.extend_from_slice(&chunk[..count]);
                    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
                        continue;
                    };
                    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length:"))
                        .and_then(|length| length.trim().parse::<usize>().ok())
                        .unwrap_or(0);
                    if request.len() < end + 4 + length {
                        continue;
                    }
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    seen.lock().unwrap().push(path);
                    request.drain(..end + 4 + length);
                    if !is_there.load(Ordering::SeqCst) {
                        return;
                    }
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-type: application/protobuf\r\ncontent-length: 0\r\n\r\n";
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, calls)
}

/// The broker as the meeting needs it.
fn broker_config(keys: &CalloutKeys, data: std::path::PathBuf) -> plenum_messaging_server::Config {
    let issuer = KeyPair::from_seed(&keys.issuer_seed).unwrap();
    let xkey = XKey::from_seed(&keys.xkey_seed).unwrap();
    let accounts = [(SYSTEM, Some("sys"), false), (SERVICE, Some("svc"), true), (PARTICIPANTS, None, false)];
    plenum_messaging_server::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        data,
        server_name: "test".to_owned(),
        accounts: accounts.map(|(name, login, jetstream)| account(name, login, jetstream)).into(),
        system_account: SYSTEM.to_owned(),
        auth_callout: Some(AuthCalloutConfig {
            issuer: issuer.public_key(),
            auth_users: vec!["svc".to_owned(), "sys".to_owned()],
            account: SERVICE.to_owned(),
            xkey: Some(xkey.public_key()),
            timeout: Duration::from_secs(5),
        }),
        limits: Limits::default(),
    }
}

fn account(name: &str, login: Option<&str>, jetstream: bool) -> AccountConfig {
    let owned = |subject: &&str| (*subject).to_owned();
    let exports = SHARES.iter().filter(|(from, _, _)| *from == name).map(|(_, to, share)| match share {
        Share::Stream(subject) => Export::Stream { subject: owned(subject), accounts: vec![owned(to)] },
        Share::Service { subject, streamed, .. } => Export::Service {
            subject: owned(subject),
            response: if *streamed { ResponseType::Stream } else { ResponseType::Single },
            accounts: vec![owned(to)],
        },
    });
    let imports = SHARES.iter().filter(|(_, to, _)| *to == name).map(|(from, _, share)| match share {
        Share::Stream(subject) => {
            Import::Stream { account: owned(from), subject: owned(subject), to: None, prefix: None }
        }
        Share::Service { subject, to, .. } => {
            Import::Service { account: owned(from), subject: owned(subject), to: to.as_ref().map(owned) }
        }
    });
    AccountConfig {
        name: name.to_owned(),
        jetstream,
        users: login.into_iter().map(|login| UserConfig::password(login, login)).collect(),
        exports: exports.collect(),
        imports: imports.collect(),
    }
}
