//! Webhooks as LiveKit's own receiver takes them: signed, each room's in order, tried again, given up when refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use livekit_api::access_token::TokenVerifier;
use livekit_api::webhooks::WebhookReceiver;
use livekit_protocol as proto;
use plenum_media::token::{Claims, VideoGrant, sign};
use plenum_media_server::{BindScope, Config, Server, Webhook};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const KEY: &str = "key";
const SECRET: &str = "a-secret-of-at-least-32-characters";

/// Answers the n-th attempt of an event with what `answer` says, and passes on everything that it took.
#[derive(Clone)]
struct Listener {
    answer: fn(&str, usize) -> StatusCode,
    attempts: Arc<Mutex<HashMap<String, usize>>>,
    taken: mpsc::UnboundedSender<proto::WebhookEvent>,
}

async fn receive(State(listener): State<Listener>, headers: HeaderMap, body: String) -> StatusCode {
    let token = headers["authorization"].to_str().expect("a token");
    assert_eq!(headers["content-type"], "application/webhook+json");
    let receiver = WebhookReceiver::new(TokenVerifier::with_api_key(KEY, SECRET));
    let Ok(event) = receiver.receive(&body, token) else { return StatusCode::UNAUTHORIZED };
    assert!(receiver_refuses(&body, token), "the signature is of this body alone");
    let attempt = {
        let mut attempts = listener.attempts.lock().expect("not poisoned");
        let attempt = attempts.entry(event.id.clone()).or_default();
        *attempt += 1;
        *attempt
    };
    let status = (listener.answer)(&event.event, attempt);
    if status.is_success() {
        listener.taken.send(event).expect("somebody listens");
    }
    status
}

fn receiver_refuses(body: &str, token: &str) -> bool {
    let receiver = WebhookReceiver::new(TokenVerifier::with_api_key(KEY, SECRET));
    receiver.receive(&body.replacen("room", "Room", 1), token).is_err()
}

struct Setup {
    media: Server,
    http: String,
    taken: mpsc::UnboundedReceiver<proto::WebhookEvent>,
    attempts: Arc<Mutex<HashMap<String, usize>>>,
}

async fn start(answer: fn(&str, usize) -> StatusCode) -> Setup {
    start_with(answer, |_| {}).await
}

async fn start_with(answer: fn(&str, usize) -> StatusCode, change: fn(&mut Webhook)) -> Setup {
    let (sender, taken) = mpsc::unbounded_channel();
    let attempts = Arc::new(Mutex::new(HashMap::new()));
    let listener = Listener { answer, attempts: attempts.clone(), taken: sender };
    let hooks = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/hook", hooks.local_addr().expect("bound"));
    let router = Router::new().route("/hook", post(receive)).with_state(listener);
    tokio::spawn(axum::serve(hooks, router).into_future());
    let mut webhook = Webhook::new(url, KEY);
    change(&mut webhook);
    let media = Server::start(Config {
        udp_port: 0,
        tcp_port: None,
        bind: BindScope::Loopback,
        node_ip: None,
        keys: BTreeMap::from([(KEY.to_owned(), SECRET.to_owned())]),
        webhooks: vec![webhook],
        shards: 1,
        ..Config::default()
    })
    .await
    .expect("a media server");
    let http = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = http.local_addr().expect("bound");
    tokio::spawn(axum::serve(http, media.router()).into_future());
    Setup { media, http: format!("http://{address}"), taken, attempts }
}

impl Setup {
    async fn call(&self, method: &str, body: Vec<u8>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let video = VideoGrant { room_create: true, ..VideoGrant::default() };
        let claims = Claims { iss: KEY.into(), exp: Some(now + 60), video: Some(video), ..Claims::default() };
        let answer = reqwest::Client::new()
            .post(format!("{}/twirp/livekit.RoomService/{method}", self.http))
            .header("content-type", "application/protobuf")
            .header("authorization", format!("Bearer {}", sign(&claims, SECRET)))
            .body(body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }

    async fn make_and_end(&self, room: &str) {
        let create = proto::CreateRoomRequest { name: room.into(), ..Default::default() };
        self.call("CreateRoom", create.encode_to_vec()).await;
        self.call("DeleteRoom", proto::DeleteRoomRequest { room: room.into() }.encode_to_vec()).await;
    }

    /// The next `count` events that were taken, as room and event.
    async fn taken(&mut self, count: usize) -> Vec<(String, String)> {
        let mut events = Vec::new();
        while events.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(20), self.taken.recv()).await;
            let event = next.expect("it comes").expect("the listener lives");
            assert!(event.id.starts_with("EV_") && event.created_at > 0);
            events.push((event.room.expect("of a room").name, event.event));
        }
        events
    }
}

/// A listener that fails at first holds back the events of that room, and no other's.
#[tokio::test]
async fn each_rooms_events_come_in_order_however_often_they_are_tried() {
    let mut setup = start(|event, attempt| match (event, attempt) {
        ("room_started", 1) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    })
    .await;
    for room in ["one", "two", "three"] {
        setup.make_and_end(room).await;
    }
    let events = setup.taken(6).await;
    for room in ["one", "two", "three"] {
        let own: Vec<&str> =
            events.iter().filter(|(of, _)| of == room).map(|(_, event)| event.as_str()).collect();
        assert_eq!(own, ["room_started", "room_finished"]);
    }
    let attempts: usize = setup.attempts.lock().expect("not poisoned").values().sum();
    assert_eq!(attempts, 9, "three were tried twice");
    setup.media.drain(Duration::ZERO, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_a_listener_refuses_is_not_sent_again_and_holds_nothing_back() {
    let mut setup = start(|event, _| match event {
        "room_started" => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    })
    .await;
    setup.make_and_end("room").await;
    let event = setup.taken.recv().await.expect("the listener lives");
    assert_eq!(event.event, "room_finished");
    #[expect(deprecated, reason = "nothing else tells a listener what it did not get")]
    let dropped = event.num_dropped;
    assert_eq!(dropped, 1, "the one that was refused");
    assert!(setup.attempts.lock().expect("not poisoned").values().all(|attempts| *attempts == 1));
    setup.media.drain(Duration::ZERO, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_listener_gets_what_it_wants() {
    let only = |hook: &mut Webhook| hook.include = ["room_finished".to_owned()].into();
    let not = |hook: &mut Webhook| hook.exclude = ["room_started".to_owned()].into();
    for change in [only, not] as [fn(&mut Webhook); 2] {
        let mut setup = start_with(|_, _| StatusCode::OK, change).await;
        setup.make_and_end("room").await;
        assert_eq!(setup.taken(1).await, [("room".to_owned(), "room_finished".to_owned())]);
        setup.media.drain(Duration::ZERO, Duration::from_secs(5)).await;
        setup.taken.close();
        assert!(setup.taken.recv().await.is_none());
    }
}

/// Everything that happened is told before the server ends.
#[tokio::test]
async fn draining_posts_what_is_left() {
    let mut setup = start(|_, _| StatusCode::OK).await;
    let create = proto::CreateRoomRequest { name: "room".into(), ..Default::default() };
    setup.call("CreateRoom", create.encode_to_vec()).await;
    let health = setup.media.health();
    assert!(health.is_healthy());
    setup.media.drain(Duration::ZERO, Duration::from_secs(5)).await;
    assert!(!health.is_healthy());
    setup.taken.close();
    let mut events = Vec::new();
    while let Some(event) = setup.taken.recv().await {
        events.push(event.event);
    }
    assert_eq!(events, ["room_started", "room_finished"]);
}
