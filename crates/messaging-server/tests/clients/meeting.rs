//! The accounts of a meeting: callout, imports, events, kicks, and the attacks that must fail.

use std::{sync::Arc, time::Duration};

use crate::common::{Broker, Keys, participant, serve_callout, soon};
use async_nats::{
    ConnectOptions, Event,
    jetstream::{
        self,
        consumer::{AckPolicy, PullConsumer, pull},
        kv,
        stream::{self, RetentionPolicy},
    },
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A meeting with its streams, and a callout that knows tokens `<room>/<user>`.
struct Meeting {
    broker: Broker,
    svc: async_nats::Client,
    js: jetstream::Context,
    rooms: stream::Stream,
}

impl Meeting {
    async fn start() -> Meeting {
        let keys = Arc::new(Keys::new());
        let broker = Broker::start(Some(&keys)).await;
        let svc = broker.client("svc").await;
        let js = jetstream::new(svc.clone());
        let rooms = js
            .create_stream(stream::Config {
                name: "rooms".into(),
                subjects: vec!["sysPublic.>".into(), "sysPrivate.>".into()],
                ..Default::default()
            })
            .await
            .expect("created");
        js.create_stream(stream::Config {
            name: "worker".into(),
            subjects: vec!["sysJsWorker.*.*.*".into()],
            retention: RetentionPolicy::WorkQueue,
            ..Default::default()
        })
        .await
        .expect("created");
        js.create_key_value(kv::Config { bucket: "rooms_state".into(), ..Default::default() })
            .await
            .expect("created");
        let answering = broker.client("svc").await;
        serve_callout(answering, keys, |nats| {
            let token = nats["connect_opts"]["auth_token"].as_str().ok_or("no token")?;
            let (room, user) = token.split_once('/').ok_or("no such token")?;
            if user == "blocked" { Err("blocked".into()) } else { Ok(participant(room, user)) }
        })
        .await;
        Meeting { broker, svc, js, rooms }
    }

    /// A participant's client over WebSocket, with the errors it is told.
    async fn join(&self, room: &str, user: &str) -> (async_nats::Client, mpsc::UnboundedReceiver<String>) {
        let (sender, errors) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_token(format!("{room}/{user}"))
            .custom_inbox_prefix(format!("_INBOX.{room}.{user}"))
            .event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    if let Event::ServerError(error) = event {
                        let _ = sender.send(error.to_string());
                    }
                }
            })
            .connect(self.broker.ws_url())
            .await
            .expect("admitted");
        (client, errors)
    }

    async fn durable(&self, room: &str, user: &str) {
        let _: PullConsumer = self
            .rooms
            .create_consumer(pull::Config {
                durable_name: Some(format!("{room}_{user}")),
                ack_policy: AckPolicy::Explicit,
                filter_subjects: vec![format!("sysPublic.{room}.>"), format!("sysPrivate.{room}.{user}.>")],
                memory_storage: true,
                inactive_threshold: Duration::from_secs(300),
                ..Default::default()
            })
            .await
            .expect("created");
    }
}

#[tokio::test]
async fn the_callout_decides_and_its_answer_binds() {
    let meeting = Meeting::start().await;
    let refused = ConnectOptions::with_token("room/blocked".into()).connect(meeting.broker.url()).await;
    assert!(refused.expect_err("refused").to_string().contains("authorization violation"));
    let refused = ConnectOptions::new().connect(meeting.broker.url()).await;
    assert!(refused.is_err(), "who shows nothing is asked about too");
    let (client, mut errors) = meeting.join("r", "u").await;
    client.publish("whiteboard.other", "x".into()).await.expect("sent");
    let error = soon("the refusal", errors.recv()).await.expect("open");
    assert!(error.contains(r#"Permissions Violation for Publish to "whiteboard.other""#), "{error}");
    let mut sub = client.subscribe("whiteboard.>").await.expect("sent");
    let error = soon("the refusal", errors.recv()).await.expect("open");
    assert!(error.contains(r#"Permissions Violation for Subscription to "whiteboard.>""#), "{error}");
    drop(sub.unsubscribe().await);
    let mut board = client.subscribe("whiteboard.r").await.expect("sent");
    client.publish("whiteboard.r", "line".into()).await.expect("sent");
    assert_eq!(soon("the own line", board.next()).await.expect("open").payload, "line");
}

#[tokio::test]
async fn a_participant_pulls_and_publishes_through_imports() {
    let meeting = Meeting::start().await;
    meeting.durable("r", "u").await;
    let (client, _errors) = meeting.join("r", "u").await;
    // What nats.js does with apiPrefix: info, pull with a JSON body, acknowledge.
    let info = soon("info", client.request("plenum.API.CONSUMER.INFO.rooms.r_u", "".into()))
        .await
        .expect("answered");
    let info: Value = serde_json::from_slice(&info.payload).expect("JSON");
    assert_eq!(info["name"], "r_u");
    let inbox = client.new_inbox();
    let mut pulled = client.subscribe(inbox.clone()).await.expect("subscribed");
    let ask =
        json!({"batch": 10, "expires": 30_000_000_000u64, "idle_heartbeat": 15_000_000_000u64}).to_string();
    client
        .publish_with_reply("plenum.API.CONSUMER.MSG.NEXT.rooms.r_u", inbox, ask.into())
        .await
        .expect("sent");
    for (subject, body) in [
        ("sysPublic.r.system", "to all"),
        ("sysPrivate.r.other.system", "not mine"),
        ("sysPrivate.r.u.system", "to me"),
    ] {
        meeting.js.publish(subject, body.into()).await.expect("sent").await.expect("stored");
    }
    for (subject, body) in [("sysPublic.r.system", "to all"), ("sysPrivate.r.u.system", "to me")] {
        let message = soon("a delivery", pulled.next()).await.expect("open");
        assert_eq!((message.subject.as_str(), &message.payload[..]), (subject, body.as_bytes()));
        let ack = message.reply.expect("an ack subject");
        let confirmed =
            soon("the confirmation", client.request(ack, "+ACK".into())).await.expect("confirmed");
        assert!(confirmed.payload.is_empty());
    }
    let consumer: PullConsumer = meeting.rooms.get_consumer("r_u").await.expect("there");
    assert_eq!(consumer.cached_info().num_ack_pending, 0);
    // A command to the worker stream is confirmed like any JetStream publish.
    let ack = soon("the ack", client.request("sysJsWorker.3.r.u", "command".into())).await.expect("answered");
    let ack: Value = serde_json::from_slice(&ack.payload).expect("JSON");
    assert_eq!((ack["stream"].as_str(), ack["seq"].as_u64()), (Some("worker"), Some(1)));
    // Chat and notices come through stream imports.
    let mut chat = client.subscribe("chat.r").await.expect("subscribed");
    client.flush().await.expect("flushed");
    meeting.svc.publish("chat.r", "hi".into()).await.expect("sent");
    assert_eq!(soon("chat", chat.next()).await.expect("open").payload, "hi");
}

#[tokio::test]
async fn connections_are_announced_and_can_be_kicked() {
    let meeting = Meeting::start().await;
    let mut kept = meeting
        .js
        .create_stream(stream::Config {
            name: "presence".into(),
            subjects: vec!["$SYS.ACCOUNT.PNM.CONNECT".into(), "$SYS.ACCOUNT.PNM.DISCONNECT".into()],
            ..Default::default()
        })
        .await
        .expect("created");
    let mut events = meeting.svc.subscribe("$SYS.ACCOUNT.PNM.>").await.expect("subscribed");
    meeting.svc.flush().await.expect("flushed");
    let (_client, _errors) = meeting.join("r", "u").await;
    let event = soon("CONNECT", events.next()).await.expect("open");
    assert_eq!(event.subject.as_str(), "$SYS.ACCOUNT.PNM.CONNECT");
    let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
    assert_eq!(event["type"], "io.nats.server.advisory.v1.client_connect");
    assert_eq!(event["client"]["user"], r#"{"room":"r","user":"u"}"#);
    assert_eq!(
        (&event["client"]["acc"], &event["client"]["client_type"]),
        (&json!("PNM"), &json!("websocket"))
    );
    let (server, cid) = (event["server"]["id"].as_str().expect("an id"), &event["client"]["id"]);
    let sys = meeting.broker.client("sys").await;
    let answer = soon(
        "the answer",
        sys.request(format!("$SYS.REQ.SERVER.{server}.KICK"), json!({"cid": cid}).to_string().into()),
    )
    .await
    .expect("answered");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    assert_eq!(answer["error"], Value::Null);
    let event = soon("DISCONNECT", events.next()).await.expect("open");
    assert_eq!(event.subject.as_str(), "$SYS.ACCOUNT.PNM.DISCONNECT");
    let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
    assert_eq!((&event["client"]["id"], &event["reason"]), (cid, &json!("Kicked")));
    assert!(kept.info().await.expect("info").state.messages >= 2);
    // Only the system account may kick.
    let nobody = meeting.svc.request(format!("$SYS.REQ.SERVER.{server}.KICK"), "{}".into()).await;
    assert!(nobody.is_err());
}

#[tokio::test]
async fn attacks_by_reply_subject_name_and_inbox_fail() {
    let meeting = Meeting::start().await;
    for user in ["u", "v"] {
        meeting.durable("r", user).await;
    }
    let (client, mut errors) = meeting.join("r", "u").await;
    let before =
        meeting.js.publish("sysPublic.r.system", "x".into()).await.expect("sent").await.expect("stored");
    let mut refused = async |what: &str| {
        let error = soon(what, errors.recv()).await.expect("open");
        assert!(error.contains("Permissions Violation"), "{what}: {error}");
    };
    // The answer to a pull or a command would run with the rights of the service account.
    for reply in [
        "$JS.API.STREAM.DELETE.KV_rooms_state",
        "$KV.rooms_state.room.3.r",
        "_INBOX.r.v.x",
        "$JS.ACK.rooms.r_v.1.1.1.1.0",
        "sysPublic.r.system",
    ] {
        for subject in ["plenum.API.CONSUMER.MSG.NEXT.rooms.r_u", "sysJsWorker.3.r.u"] {
            client.publish_with_reply(subject, reply, "".into()).await.expect("sent");
            refused(reply).await;
        }
    }
    // Another one's consumer, inbox, commands, and everything of the service account.
    for subject in [
        "plenum.API.CONSUMER.MSG.NEXT.rooms.r_v",
        "plenum.API.CONSUMER.INFO.rooms.r_v",
        "$JS.ACK.rooms.r_v.1.1.1.1.0",
        // The longer form, in which the own durable takes the place of a domain or account.
        "$JS.ACK.rooms.r_u.rooms.r_v.1.0.1.1.0",
        "$JS.ACK.rooms.r_u.rooms.r_v.1.1.1.1.0.x",
        "$JS.ACK._.r_u.rooms.r_v.1.0.1.1.0",
        "$JS.ACK.rooms.r_u.worker.w.1.0.1.1.0",
        "sysJsWorker.3.r.v",
        "_INBOX.r.v.x",
        "$JS.API.STREAM.NAMES",
        "$JS.API.CONSUMER.CREATE.rooms.x",
        "$KV.rooms_state.room.3.r",
        "chat.r",
        "sysPublic.r",
        "$SYS.REQ.USER.AUTH",
    ] {
        client.publish(subject, "".into()).await.expect("sent");
        refused(subject).await;
    }
    for subject in
        ["_INBOX.r.>", "_INBOX.>", ">", "sysPublic.*", "$SYS.>", "_R_.>", "$KV.>", "sysPrivate.r.u.system"]
    {
        let _sub = client.subscribe(subject).await.expect("sent");
        refused(subject).await;
    }
    // Everything is as it was.
    let mut rooms = meeting.js.get_stream("rooms").await.expect("there");
    assert_eq!(rooms.info().await.expect("info").state.last_sequence, before.sequence);
    let state = meeting.js.get_key_value("rooms_state").await.expect("still there");
    assert_eq!(state.get("room.3.r").await.expect("read"), None);
    let mut worker = meeting.js.get_stream("worker").await.expect("there");
    assert_eq!(worker.info().await.expect("info").state.messages, 0);
}

#[tokio::test]
async fn nobody_but_the_broker_asks_the_callout() {
    let keys = Arc::new(Keys::new());
    let broker = Broker::start(Some(&keys)).await;
    let svc = broker.client("svc").await;
    // A guest inside the service account itself, without restrictions of its own.
    serve_callout(svc, keys, |_| Ok(json!({"aud": "SVC", "name": "guest", "nats": {}}))).await;
    let (sender, mut errors) = mpsc::unbounded_channel();
    let guest = ConnectOptions::with_token("any".into())
        .event_callback(move |event| {
            let sender = sender.clone();
            async move {
                if let Event::ServerError(error) = event {
                    let _ = sender.send(error.to_string());
                }
            }
        })
        .connect(broker.url())
        .await
        .expect("admitted");
    guest.publish("$SYS.REQ.USER.AUTH", "forged".into()).await.expect("sent");
    let error = soon("the refusal", errors.recv()).await.expect("open");
    assert!(error.contains("Permissions Violation"), "{error}");
}
