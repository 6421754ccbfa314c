//! Streams, consumers and key-value with the official client.

use std::time::Duration;

use crate::common::{Broker, soon};
use async_nats::jetstream::{
    self, AckKind,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
    kv,
    stream::{self, DiscardPolicy, RetentionPolicy, StorageType},
};
use futures_util::{StreamExt as _, TryStreamExt as _};

async fn stream(js: &jetstream::Context, config: stream::Config) -> stream::Stream {
    js.create_stream(config).await.expect("a good configuration")
}

#[tokio::test]
async fn published_messages_are_pulled_and_acknowledged() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let mut stream =
        stream(&js, stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() })
            .await;
    for n in 1..=10u64 {
        let ack =
            js.publish(format!("s.{n}"), n.to_string().into()).await.expect("sent").await.expect("stored");
        assert_eq!((ack.stream.as_str(), ack.sequence, ack.duplicate), ("S", n, false));
    }
    let consumer: PullConsumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("c".into()),
            ack_policy: AckPolicy::Explicit,
            ..Default::default()
        })
        .await
        .expect("a good configuration");
    let mut messages = consumer.fetch().max_messages(10).messages().await.expect("pulled");
    let mut seen = 0;
    while let Some(message) = soon("a message", messages.next()).await {
        let message = message.expect("a message");
        seen += 1;
        let info = message.info().expect("an ack subject");
        assert_eq!((info.stream_sequence, info.consumer_sequence, info.pending), (seen, seen, 10 - seen));
        assert_eq!(message.payload, seen.to_string());
        message.double_ack().await.expect("acknowledged");
    }
    assert_eq!(seen, 10);
    let info = stream.info().await.expect("info");
    assert_eq!((info.state.messages, info.state.consumer_count), (10, 1));
    let mut consumer = consumer;
    let info = consumer.info().await.expect("info");
    assert_eq!((info.ack_floor.stream_sequence, info.num_ack_pending, info.num_pending), (10, 0, 0));
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let stream = stream(&js, stream::Config { name: "S".into(), ..Default::default() }).await;
    js.publish("S", "x".into()).await.expect("sent").await.expect("stored");
    let consumer: PullConsumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("c".into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_millis(200),
            max_deliver: 3,
            ..Default::default()
        })
        .await
        .expect("created");
    let mut messages = consumer.messages().await.expect("pulling");
    for delivered in 1..=3 {
        let message = soon("a delivery", messages.next()).await.expect("open").expect("a message");
        assert_eq!(message.info().expect("info").delivered, delivered);
        if delivered == 2 {
            message.ack_with(AckKind::Nak(None)).await.expect("sent");
        }
    }
    let mut consumer = consumer;
    soon("exhaustion", async {
        while consumer.info().await.expect("info").num_ack_pending > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_work_queue_keeps_messages_until_they_are_done() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let mut stream = stream(
        &js,
        stream::Config {
            name: "W".into(),
            subjects: vec!["w.*.*".into()],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: 2,
            ..Default::default()
        },
    )
    .await;
    for subject in ["w.1.a", "w.1.a", "w.2.b"] {
        js.publish(subject, "".into()).await.expect("sent").await.expect("stored");
    }
    let full =
        js.publish("w.1.a", "".into()).await.expect("sent").await.expect_err("a flooder fills only his own");
    assert!(full.to_string().contains("maximum messages per subject exceeded"), "{full}");
    let worker = |name: &str, filter: &str| pull::Config {
        durable_name: Some(name.into()),
        filter_subject: filter.into(),
        ack_policy: AckPolicy::Explicit,
        ..Default::default()
    };
    let one: PullConsumer = stream.create_consumer(worker("w1", "w.1.>")).await.expect("created");
    assert!(stream.create_consumer(worker("other", "w.*.a")).await.is_err(), "no message has two consumers");
    let mut messages = one.fetch().max_messages(5).messages().await.expect("pulled");
    while let Some(message) = messages.next().await {
        message.expect("a message").double_ack().await.expect("acknowledged");
    }
    assert_eq!(stream.info().await.expect("info").state.messages, 1);
    // A new epoch takes over what the old one did not finish.
    let two: PullConsumer = stream.create_consumer(worker("w2", "w.2.>")).await.expect("created");
    drop(two.fetch().max_messages(1).messages().await.expect("pulled").next().await);
    stream.delete_consumer("w2").await.expect("deleted");
    let three: PullConsumer = stream.create_consumer(worker("w3", "w.2.>")).await.expect("created");
    let again = three.fetch().max_messages(1).messages().await.expect("pulled").next().await.expect("there");
    assert_eq!(again.expect("a message").subject.as_str(), "w.2.b");
}

#[tokio::test]
async fn key_value_compares_and_sets() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let store = js
        .create_key_value(kv::Config { bucket: "state".into(), history: 1, ..Default::default() })
        .await
        .expect("created");
    let first = store.create("room.3.a", "1".into()).await.expect("created");
    assert!(store.create("room.3.a", "x".into()).await.is_err(), "it exists");
    let second = store.update("room.3.a", "2".into(), first).await.expect("updated");
    let lost = store.update("room.3.a", "3".into(), first).await.expect_err("lost");
    assert_eq!(lost.kind(), kv::UpdateErrorKind::WrongLastRevision);
    let entry = store.entry("room.3.a").await.expect("read").expect("there");
    assert_eq!((entry.revision, &entry.value[..]), (second, &b"2"[..]));
    store.delete("room.3.a").await.expect("deleted");
    assert_eq!(store.get("room.3.a").await.expect("read"), None);
    store.create("room.3.a", "again".into()).await.expect("a deleted key can be created");
    store.purge("room.3.a").await.expect("purged");
    assert_eq!(store.keys().await.expect("keys").try_collect::<Vec<_>>().await.expect("list").len(), 0);
}

#[tokio::test]
async fn key_value_is_watched() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let store = js
        .create_key_value(kv::Config { bucket: "state".into(), ..Default::default() })
        .await
        .expect("created");
    for n in 0..200 {
        store.put(format!("room.{}.{n}", n % 4), n.to_string().into()).await.expect("put");
    }
    store.put("room.1.1", "newer".into()).await.expect("put");
    let mut watch = store.watch_with_history("room.1.*").await.expect("watching");
    let mut seen = std::collections::BTreeMap::new();
    loop {
        let entry = soon("an entry", watch.next()).await.expect("open").expect("an entry");
        seen.insert(entry.key, entry.value);
        if entry.seen_current {
            break;
        }
    }
    assert_eq!(seen.len(), 50);
    assert_eq!(seen["room.1.1"], "newer");
    store.put("room.2.2", "not watched".into()).await.expect("put");
    store.put("room.1.5", "live".into()).await.expect("put");
    let live = soon("the update", watch.next()).await.expect("open").expect("an entry");
    assert_eq!((live.key.as_str(), &live.value[..]), ("room.1.5", &b"live"[..]));
}

#[tokio::test]
async fn a_bucket_forgets_after_its_time() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let store = js
        .create_key_value(kv::Config {
            bucket: "lease".into(),
            max_age: Duration::from_millis(300),
            ..Default::default()
        })
        .await
        .expect("created");
    store.create("shard.1", "me".into()).await.expect("created");
    soon("expiry", async {
        while store.create("shard.1", "you".into()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_ordered_consumer_reads_everything_in_order() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let stream =
        stream(&js, stream::Config { name: "S".into(), storage: StorageType::Memory, ..Default::default() })
            .await;
    for n in 0..2000u32 {
        js.publish("S", n.to_string().into()).await.expect("sent").await.expect("stored");
    }
    let pull = stream.create_consumer(pull::OrderedConfig::default()).await.expect("created");
    let mut messages = pull.messages().await.expect("pulling");
    for n in 0..2000u32 {
        let message = soon("a message", messages.next()).await.expect("open").expect("a message");
        assert_eq!(message.payload, n.to_string());
    }
    let client = broker.client("svc").await;
    let push = stream
        .create_consumer(jetstream::consumer::push::OrderedConfig {
            deliver_subject: client.new_inbox(),
            deliver_policy: DeliverPolicy::All,
            ..Default::default()
        })
        .await
        .expect("created");
    let mut messages = push.messages().await.expect("subscribed");
    for n in 0..2000u32 {
        let message = soon("a message", messages.next()).await.expect("open").expect("a message");
        assert_eq!(message.payload, n.to_string());
    }
}

#[tokio::test]
async fn duplicates_within_the_window_are_stored_once() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let mut stream = stream(&js, stream::Config { name: "S".into(), ..Default::default() }).await;
    for expected in [false, true] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", "one");
        let ack =
            js.publish_with_headers("S", headers, "".into()).await.expect("sent").await.expect("answered");
        assert_eq!((ack.sequence, ack.duplicate), (1, expected));
    }
    assert_eq!(stream.info().await.expect("info").state.messages, 1);
}

#[tokio::test]
async fn everything_acknowledged_survives_a_restart() {
    let broker = Broker::start(None).await;
    let js = broker.jetstream().await;
    let stream =
        stream(&js, stream::Config { name: "S".into(), subjects: vec!["s.*".into()], ..Default::default() })
            .await;
    let store =
        js.create_key_value(kv::Config { bucket: "b".into(), ..Default::default() }).await.expect("created");
    let mut revision = 0;
    for n in 0..50 {
        js.publish(format!("s.{n}"), n.to_string().into()).await.expect("sent").await.expect("stored");
        revision = store.put("k", n.to_string().into()).await.expect("put");
    }
    let consumer: PullConsumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("c".into()),
            ack_policy: AckPolicy::Explicit,
            ..Default::default()
        })
        .await
        .expect("created");
    let mut messages = consumer.fetch().max_messages(20).messages().await.expect("pulled");
    while let Some(message) = messages.next().await {
        message.expect("a message").double_ack().await.expect("acknowledged");
    }
    js.create_stream(stream::Config { name: "gone".into(), ..Default::default() }).await.expect("created");
    js.delete_stream("gone").await.expect("deleted");

    let folder = broker.stop().await;
    let broker = Broker::start_with(crate::common::meeting(folder.path(), None), folder).await;
    let js = broker.jetstream().await;
    assert!(js.get_stream("gone").await.is_err());
    let store = js.get_key_value("b").await.expect("there");
    let entry = store.entry("k").await.expect("read").expect("there");
    assert_eq!((entry.revision, &entry.value[..]), (revision, &b"49"[..]));
    let mut stream = js.get_stream("S").await.expect("there");
    assert_eq!(stream.info().await.expect("info").state.messages, 50);
    let consumer: PullConsumer = stream.get_consumer("c").await.expect("there");
    let mut messages = consumer.fetch().max_messages(50).messages().await.expect("pulled");
    let mut rest = Vec::new();
    while let Some(message) = messages.next().await {
        rest.push(message.expect("a message").payload.clone());
    }
    assert_eq!(rest.len(), 30);
    assert_eq!(rest[0], "20");
}
