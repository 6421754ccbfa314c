//! Publish, subscribe and request with the official client.

use crate::common::{Broker, soon};
use async_nats::{ConnectOptions, Request, RequestErrorKind};
use futures_util::StreamExt as _;

#[tokio::test]
async fn messages_reach_subscribers_of_the_account_over_both_transports() {
    let broker = Broker::start(None).await;
    let tcp = broker.client("svc").await;
    let ws = ConnectOptions::with_user_and_password("svc".into(), "svc-secret".into())
        .connect(broker.ws_url())
        .await
        .expect("WebSocket works");
    let other = broker.client("user").await;
    let mut on_ws = ws.subscribe("a.*").await.expect("subscribed");
    let mut on_other = other.subscribe("a.*").await.expect("subscribed");
    ws.flush().await.expect("flushed");
    other.flush().await.expect("flushed");
    tcp.publish("a.b", "hello".into()).await.expect("published");
    let got = soon("the message", on_ws.next()).await.expect("open");
    assert_eq!((got.subject.as_str(), &got.payload[..]), ("a.b", &b"hello"[..]));
    // Another account has its own subjects.
    other.publish("a.c", "mine".into()).await.expect("published");
    let got = soon("its own message", on_other.next()).await.expect("open");
    assert_eq!(got.subject.as_str(), "a.c");
}

#[tokio::test]
async fn a_queue_shares_and_requests_are_answered() {
    let broker = Broker::start(None).await;
    let (a, b, asker) = (broker.client("svc").await, broker.client("svc").await, broker.client("svc").await);
    let mut tasks = Vec::new();
    for (client, name) in [(a, "a"), (b, "b")] {
        let mut requests = client.queue_subscribe("ask", "q".into()).await.expect("subscribed");
        client.flush().await.expect("flushed");
        tasks.push(tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                client.publish(request.reply.expect("a request"), name.into()).await.expect("published");
            }
        }));
    }
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let answer = soon("an answer", asker.request("ask", "".into())).await.expect("answered");
        names.insert(answer.payload);
    }
    assert_eq!(names.len(), 2, "both members get some");
    let nobody = asker.request("nobody", "".into()).await.expect_err("nobody is there");
    assert_eq!(nobody.kind(), RequestErrorKind::NoResponders);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn large_messages_and_headers_arrive_whole() {
    let broker = Broker::start(None).await;
    let client = broker.client("svc").await;
    let mut sub = client.subscribe("big").await.expect("subscribed");
    let payload: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("A", "1");
    client.publish_with_headers("big", headers, payload.clone().into()).await.expect("published");
    let got = soon("the message", sub.next()).await.expect("open");
    assert_eq!(got.payload, payload);
    assert_eq!(got.headers.expect("headers").get("A").map(async_nats::HeaderValue::as_str), Some("1"));
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let broker = Broker::start(None).await;
    let error = ConnectOptions::with_user_and_password("svc".into(), "wrong".into())
        .connect(broker.url())
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("authorization violation"), "{error}");
}

#[tokio::test]
async fn an_unsubscribed_limit_ends_a_subscription() {
    let broker = Broker::start(None).await;
    let client = broker.client("svc").await;
    let mut sub = client.subscribe("x").await.expect("subscribed");
    sub.unsubscribe_after(2).await.expect("sent");
    for n in 0..5 {
        client.publish("x", n.to_string().into()).await.expect("published");
    }
    let got: Vec<_> = soon("the end", sub.map(|m| m.payload).collect()).await;
    assert_eq!(got, ["0", "1"]);
}

#[tokio::test]
async fn an_import_renames_requests_and_carries_answers_back() {
    let broker = Broker::start(None).await;
    let (svc, user) = (broker.client("svc").await, broker.client("user").await);
    let mut requests = svc.subscribe("sysCoreWorker.>").await.expect("subscribed");
    svc.flush().await.expect("flushed");
    let asking = tokio::spawn(async move {
        user.send_request("sysCoreWorker.room.user", Request::new().payload("ping".into()))
            .await
            .expect("answered")
    });
    let request = soon("the request", requests.next()).await.expect("open");
    assert_eq!(request.subject.as_str(), "sysCoreWorker.room.user");
    svc.publish(request.reply.expect("a reply"), "pong".into()).await.expect("published");
    assert_eq!(soon("the answer", asking).await.expect("no panic").payload, "pong");
}
