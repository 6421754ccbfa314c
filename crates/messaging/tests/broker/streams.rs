//! Streams and consumers in virtual time, and what they do when the disk does not.

use std::time::Duration;

use plenum_messaging::{CloseReason, ConnectionId, LogOp};
use serde_json::{Value, json};

use crate::world::{World, Writing, config, messages, publish, seconds};

const NANOS: u64 = 1_000_000_000;

/// A broker with stream `S` on `s.>`, changed by `more`, and a client that listens on `pull.>`.
fn with_stream(more: Value) -> (World, ConnectionId) {
    let mut world = World::new(config());
    let id = world.login("app");
    create(&mut world, id, "S", "s.>", more);
    world.send(id, "SUB pull.> p\r\n");
    (world, id)
}

fn create(world: &mut World, id: ConnectionId, name: &str, subject: &str, more: Value) {
    let mut config = json!({"name": name, "subjects": [subject]});
    for (member, value) in more.as_object().expect("an object") {
        config[member] = value.clone();
    }
    let made = world.api(id, &format!("STREAM.CREATE.{name}"), &config);
    assert_eq!(made["error"], Value::Null);
}

fn consumer(world: &mut World, id: ConnectionId, name: &str, more: Value) -> Value {
    let mut config = json!({"durable_name": name, "ack_policy": "explicit"});
    for (member, value) in more.as_object().expect("an object") {
        config[member] = value.clone();
    }
    world.api(id, &format!("CONSUMER.CREATE.S.{name}"), &json!({"stream_name": "S", "config": config}))
}

fn pull(world: &mut World, id: ConnectionId, name: &str, request: Value) {
    let request = request.to_string();
    world.send(
        id,
        &publish(&format!("$JS.API.CONSUMER.MSG.NEXT.S.{name}"), Some(&format!("pull.{name}")), "", &request),
    );
}

fn put(world: &mut World, id: ConnectionId, subject: &str, body: &str) -> Value {
    serde_json::from_str(&world.ask(id, subject, body).1).expect("JSON")
}

fn bodies(world: &mut World, id: ConnectionId) -> Vec<String> {
    let text = world.hear(id);
    messages(&text).into_iter().filter(|m| m.sid == "p" && m.reply.is_some()).map(|m| m.body).collect()
}

fn statuses(world: &mut World, id: ConnectionId) -> Vec<String> {
    let text = world.hear(id);
    messages(&text)
        .into_iter()
        .filter(|m| m.sid == "p" && m.reply.is_none())
        .map(|m| m.headers.lines().next().unwrap_or_default().trim_start_matches("NATS/1.0 ").to_owned())
        .collect()
}

fn error_code(answer: &Value) -> u64 {
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}

#[test]
fn what_is_not_acknowledged_in_time_comes_again_until_it_was_delivered_often_enough() {
    let (mut world, id) = with_stream(json!({}));
    consumer(&mut world, id, "c", json!({"ack_wait": 10 * NANOS, "max_deliver": 3}));
    put(&mut world, id, "s.a", "x");
    pull(&mut world, id, "c", json!({"batch": 10, "expires": 600 * NANOS}));
    assert_eq!(bodies(&mut world, id), ["x"]);
    world.wait(Duration::from_millis(9_999));
    assert_eq!(bodies(&mut world, id), [""; 0]);
    world.wait(Duration::from_millis(1));
    assert_eq!(bodies(&mut world, id), ["x"]);
    world.wait(seconds(10));
    assert_eq!(bodies(&mut world, id), ["x"]);
    world.wait(seconds(100));
    assert_eq!(bodies(&mut world, id), [""; 0]);
}

#[test]
fn a_waiting_pull_hears_heartbeats_and_its_end() {
    let (mut world, id) = with_stream(json!({}));
    consumer(&mut world, id, "c", json!({}));
    pull(&mut world, id, "c", json!({"batch": 1, "expires": 30 * NANOS, "idle_heartbeat": 10 * NANOS}));
    world.wait(seconds(25));
    assert_eq!(statuses(&mut world, id), ["100 Idle Heartbeat", "100 Idle Heartbeat"]);
    world.wait(seconds(10));
    assert_eq!(statuses(&mut world, id), ["408 Request Timeout"]);
    pull(&mut world, id, "c", json!({"batch": 1, "expires": 3_600 * NANOS, "idle_heartbeat": 1}));
    assert_eq!(statuses(&mut world, id), ["400 Bad Request - heartbeat value too small"]);
}

#[test]
fn a_pause_ends_by_itself_also_after_a_restart() {
    let (mut world, id) = with_stream(json!({}));
    consumer(&mut world, id, "c", json!({}));
    let until = world.now.plus(seconds(5)).to_rfc3339();
    let paused = world.api(id, "CONSUMER.PAUSE.S.c", &json!({"pause_until": until}));
    assert_eq!(paused["paused"], true);
    put(&mut world, id, "s.a", "x");
    pull(&mut world, id, "c", json!({"batch": 1, "expires": 60 * NANOS}));
    world.wait(seconds(4));
    assert_eq!(bodies(&mut world, id), [""; 0]);
    world.wait(seconds(1));
    assert_eq!(bodies(&mut world, id), ["x"]);
    world.wait(seconds(60));
    let mut world = world.restart(config());
    let id = world.login("app");
    world.send(id, "SUB pull.> p\r\n");
    pull(&mut world, id, "c", json!({"batch": 1, "expires": 60 * NANOS}));
    world.wait(seconds(60));
    assert_eq!(bodies(&mut world, id), ["x"], "it was never acknowledged");
}

#[test]
fn a_lease_is_gone_when_its_time_is_over() {
    let (mut world, id) =
        with_stream(json!({"max_age": 5 * NANOS, "duplicate_window": 5 * NANOS, "max_msgs_per_subject": 1}));
    let expected = "Nats-Expected-Last-Subject-Sequence: 0\r\n";
    let claim = |world: &mut World| {
        let (_, answer) = world.ask_with(id, "s.lease", expected, "me").expect("answered");
        error_code(&serde_json::from_str(&answer).expect("JSON"))
    };
    assert_eq!(claim(&mut world), 0);
    world.wait(Duration::from_millis(4_999));
    assert_eq!(claim(&mut world), 10071);
    world.wait(Duration::from_millis(1));
    assert_eq!(claim(&mut world), 0);
}

#[test]
fn a_message_id_is_known_for_its_window_also_when_the_log_was_moved() {
    let mut config = config();
    config.limits.segment_size = 256;
    let mut world = World::new(config.clone());
    let id = world.login("app");
    create(&mut world, id, "S", "s.>", json!({"duplicate_window": 100 * NANOS, "max_msgs_per_subject": 1}));
    let put = |world: &mut World, id, subject: &str, headers: &str| -> Value {
        let (_, answer) = world.ask_with(id, subject, headers, "x").expect("answered");
        serde_json::from_str(&answer).expect("JSON")
    };
    put(&mut world, id, "s.kept", "Nats-Msg-Id: old\r\n");
    world.wait(seconds(50));
    put(&mut world, id, "s.kept.too", "Nats-Msg-Id: new\r\n");
    // So much waste that what is left in the first segments moves to the end.
    for _ in 0..60 {
        put(&mut world, id, "s.busy", "");
    }
    assert!(world.journal.iter().any(|written| written.op == LogOp::Drop { segment: 1 }));
    let mut world = world.restart(config);
    let id = world.login("app");
    let wrong = put(&mut world, id, "s.x", "Nats-Expected-Last-Msg-Id: none\r\n");
    assert_eq!(wrong["error"]["description"], "wrong last msg ID: ", "the last message had none");
    assert_eq!(put(&mut world, id, "s.y", "Nats-Msg-Id: old\r\n")["duplicate"], true);
    world.wait(seconds(60));
    assert_eq!(put(&mut world, id, "s.y", "Nats-Msg-Id: old\r\n")["duplicate"], Value::Null);
    assert_eq!(put(&mut world, id, "s.y", "Nats-Msg-Id: new\r\n")["duplicate"], true);
}

#[test]
fn a_stream_bounds_what_its_consumers_leave_unacknowledged() {
    let (mut world, id) = with_stream(json!({"consumer_limits": {"max_ack_pending": 2}}));
    let made = consumer(&mut world, id, "c", json!({}));
    assert_eq!(made["config"]["max_ack_pending"], 2);
    for asked in [3, -1] {
        let refused = consumer(&mut world, id, "d", json!({"max_ack_pending": asked}));
        assert_eq!(error_code(&refused), 10121, "{asked}");
    }
    for body in ["1", "2", "3"] {
        put(&mut world, id, "s.a", body);
    }
    pull(&mut world, id, "c", json!({"batch": 3, "expires": 5 * NANOS}));
    assert_eq!(bodies(&mut world, id), ["1", "2"]);
}

#[test]
fn a_request_for_a_newer_level_changes_nothing() {
    let (mut world, id) = with_stream(json!({}));
    put(&mut world, id, "s.a", "x");
    for level in ["2", "x", "-1"] {
        for verb in ["STREAM.PURGE.S", "STREAM.DELETE.S"] {
            let headers = format!("Nats-Required-Api-Level: {level}\r\n");
            let (_, answer) = world.ask_with(id, &format!("$JS.API.{verb}"), &headers, "").expect("answered");
            assert_eq!(error_code(&serde_json::from_str(&answer).expect("JSON")), 10185);
        }
    }
    assert_eq!(world.api(id, "STREAM.INFO.S", &Value::Null)["state"]["messages"], 1);
    let (_, answer) =
        world.ask_with(id, "$JS.API.STREAM.PURGE.S", "Nats-Required-Api-Level: 1\r\n", "").expect("answered");
    assert!(answer.contains(r#""purged":1"#), "{answer}");
}

#[test]
fn a_client_that_is_lost_lets_others_go_on_at_once() {
    let mut config = config();
    config.limits.max_pending = 80_000;
    let mut world = World::new(config);
    let (id, slow) = (world.login("app"), world.login("app"));
    create(&mut world, id, "S", "s.>", json!({}));
    consumer(&mut world, id, "c", json!({}));
    world.send(id, "SUB pull.> p\r\n");
    world.send(slow, "SUB slow p\r\n");
    world.stop_reading(slow);
    world.send(id, &format!("PUB slow 20000\r\n{}\r\n", "x".repeat(20_000)));
    // The slow one asks first, so the consumer stalls on it.
    let ask = json!({"batch": 1, "expires": 600 * NANOS}).to_string();
    world.send(slow, &publish("$JS.API.CONSUMER.MSG.NEXT.S.c", Some("slow"), "", &ask));
    pull(&mut world, id, "c", json!({"batch": 1, "expires": 600 * NANOS}));
    put(&mut world, id, "s.a", "x");
    assert_eq!(bodies(&mut world, id), [""; 0]);
    world.lose(slow, CloseReason::SlowConsumerWriteDeadline);
    assert_eq!(bodies(&mut world, id), ["x"]);
}

#[test]
fn nothing_is_answered_or_delivered_before_it_is_on_the_disk() {
    let (mut world, id) = with_stream(json!({}));
    consumer(&mut world, id, "c", json!({}));
    pull(&mut world, id, "c", json!({"batch": 1, "expires": 600 * NANOS}));
    for body in ["1", "2", "3"] {
        put(&mut world, id, "s.a", body);
    }
    assert_eq!(bodies(&mut world, id), ["1"]);
    world.writing = Writing::Held;
    for (subject, body) in [
        ("s.a", "4"),
        ("$JS.API.STREAM.PURGE.S", r#"{"seq":2}"#),
        ("$JS.API.STREAM.MSG.DELETE.S", r#"{"seq":2}"#),
        ("$JS.API.STREAM.DELETE.S", ""),
    ] {
        world.send(id, &publish(subject, Some("pull.answer"), "", body));
        assert_eq!(world.hear(id), "", "{subject}");
        world.sync();
        let heard = world.hear(id);
        assert_eq!(messages(&heard).len(), 1, "{subject}: {heard}");
        assert!(!heard.contains("error"), "{heard}");
    }
}

#[test]
fn a_stream_whose_disk_fails_refuses_and_can_be_deleted() {
    let (mut world, id) = with_stream(json!({"allow_direct": true}));
    consumer(&mut world, id, "c", json!({}));
    put(&mut world, id, "s.a", "kept");
    world.writing = Writing::Failing;
    assert_eq!(world.ask_with(id, "s.a", "", "lost"), None, "nobody is told that it was stored");
    assert_eq!(world.broker.statistics().streams_failed, 1);
    let writes = world.journal.len();
    for _ in 0..3 {
        assert_eq!(error_code(&put(&mut world, id, "s.a", "refused")), 10077);
        for verb in ["STREAM.PURGE.S", "STREAM.MSG.GET.S", "STREAM.MSG.DELETE.S"] {
            let refused = world.api(id, verb, &json!({"seq": 1}));
            assert_eq!(error_code(&refused), 10077, "{verb}");
        }
        let (headers, _) = world.ask(id, "$JS.API.DIRECT.GET.S", r#"{"seq":1}"#);
        assert!(headers.starts_with("NATS/1.0 503"), "{headers}");
        assert_eq!(error_code(&consumer(&mut world, id, "d", json!({}))), 10077);
        assert_eq!(world.api(id, "STREAM.INFO.S", &Value::Null)["config"]["name"], "S");
        assert_eq!(world.api(id, "CONSUMER.INFO.S.c", &Value::Null)["name"], "c");
        world.wait(seconds(60));
    }
    assert_eq!(world.journal.len(), writes, "nothing is written any more");
    assert_eq!(world.api(id, "STREAM.DELETE.S", &Value::Null)["success"], true);
    assert_eq!(world.broker.statistics().streams_failed, 0);
    world.writing = Writing::AtOnce;
    create(&mut world, id, "S", "s.>", json!({}));
    assert_eq!(put(&mut world, id, "s.a", "new")["seq"], 1);
    let mut world = world.restart(config());
    let id = world.login("app");
    assert_eq!(world.api(id, "STREAM.INFO.S", &Value::Null)["state"]["messages"], 1);
}

#[test]
fn a_deletion_that_fails_says_so() {
    let (mut world, id) = with_stream(json!({}));
    world.writing = Writing::Held;
    world.send(id, &publish("$JS.API.STREAM.DELETE.S", Some("pull.answer"), "", ""));
    let stream = world.held.pop().expect("the removal").stream;
    // What was written before may still be reported, and is no removal.
    world.broker.handle_durable(stream, 1, world.now);
    world.sync();
    assert_eq!(world.hear(id), "");
    world.broker.handle_removed(stream, Err("read-only"), world.now);
    world.sync();
    let heard = world.hear(id);
    assert!(heard.contains("stream storage cannot be deleted: read-only"), "{heard}");
}

#[test]
fn of_two_streams_with_one_name_the_newer_lives_on() {
    let (mut world, id) = with_stream(json!({}));
    put(&mut world, id, "s.a", "old");
    world.writing = Writing::Held;
    world.send(id, &publish("$JS.API.STREAM.DELETE.S", None, "", ""));
    // The disk does one stream now and the other later, and the machine stops between.
    let removal = world.held.pop().expect("the removal");
    assert_eq!(removal.op, LogOp::Remove);
    world.writing = Writing::AtOnce;
    create(&mut world, id, "S", "s.>", json!({}));
    put(&mut world, id, "s.a", "new");
    assert_eq!(world.disk.streams.len(), 2);
    let mut world = world.restart(config());
    assert_eq!(world.disk.streams.len(), 1, "the old one is deleted after all");
    let id = world.login("app");
    assert_eq!(put(&mut world, id, "s.b", "once")["seq"], 2);
    let names = world.api(id, "STREAM.NAMES", &Value::Null);
    assert_eq!((&names["total"], &names["streams"]), (&json!(1), &json!(["S"])));
    let first = world.api(id, "STREAM.MSG.GET.S", &json!({"last_by_subj": "s.a"}));
    assert_eq!(first["message"]["data"], "bmV3");
}

#[test]
fn more_than_any_batch_may_be_asked_for() {
    let (mut world, id) = with_stream(json!({}));
    consumer(&mut world, id, "c", json!({}));
    for _ in 0..3 {
        pull(&mut world, id, "c", json!({"batch": i64::MAX, "expires": 60 * NANOS}));
    }
    put(&mut world, id, "s.a", "x");
    put(&mut world, id, "s.a", "y");
    pull(&mut world, id, "c", json!({"batch": 1, "no_wait": true}));
    assert_eq!(bodies(&mut world, id), ["x", "y"]);
}

#[test]
fn the_account_says_what_it_may_use() {
    let (mut world, id) = with_stream(json!({}));
    let info = world.api(id, "INFO", &Value::Null);
    let limits = &info["limits"];
    assert_eq!((&limits["max_storage"], &limits["max_streams"]), (&json!(4u64 << 30), &json!(1_000)));
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_more_messages_and_everything_else_goes_on() {
    let mut config = config();
    config.limits.min_free_disk = 1_000_000;
    let mut world = World::new(config);
    let id = world.login("app");
    for (name, storage) in [("F", "file"), ("M", "memory")] {
        world.api(
            id,
            &format!("STREAM.CREATE.{name}"),
            &json!({"name": name, "subjects": [name], "storage": storage}),
        );
    }
    let store = |world: &mut World, stream: &str| world.ask(id, stream, &"x".repeat(1_000)).1;
    world.broker.handle_disk_free(1_010_000);
    let stored = (0..20).filter(|_| !store(&mut world, "F").contains("error")).count();
    // What is stored is counted until the disk is measured again.
    assert!((5..10).contains(&stored), "{stored}");
    let refused = store(&mut world, "F");
    assert!(refused.contains("10047") && refused.contains("insufficient storage"), "{refused}");
    assert!(store(&mut world, "M").contains("\"seq\":1"));
    let purged = world.api(id, "STREAM.PURGE.F", &json!(null));
    assert_eq!(purged["purged"], stored);
    world.broker.handle_disk_free(2_000_000);
    assert!(!store(&mut world, "F").contains("error"));
}
