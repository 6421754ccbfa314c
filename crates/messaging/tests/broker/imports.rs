//! Requests between accounts: what a participant may do with the consumers of the service account, and how many of its
//! requests may wait.

use plenum_messaging::{
    AccountConfig, BrokerConfig, Export, Import, Permissions, ResponseType, Rules, UserConfig,
};
use serde_json::{Value, json};

use crate::world::{World, config, messages, publish, seconds};

/// A service account `APP` whose consumers of stream `rooms` participants of `PNM` use. The rights are wider than a
/// meeting's, so that only the broker itself stands in the way.
fn meeting() -> BrokerConfig {
    let mut config = config();
    let service =
        |subject: &str, response| Export::Service { subject: subject.into(), response, accounts: vec![] };
    config.accounts[1].exports = vec![
        service("$JS.API.CONSUMER.MSG.NEXT.rooms.*", ResponseType::Stream),
        service("$JS.ACK.rooms.>", ResponseType::Single),
        service("work.>", ResponseType::Single),
    ];
    let take = |subject: &str, to: Option<&str>| Import::Service {
        account: "APP".into(),
        subject: subject.into(),
        to: to.map(str::to_owned),
    };
    let participant = |name: &str| UserConfig {
        permissions: Some(Permissions {
            publish: Rules {
                allow: vec![
                    format!("js.MSG.NEXT.rooms.{name}"),
                    format!("$JS.ACK.rooms.{name}.>"),
                    "work.>".into(),
                ],
                deny: vec![],
            },
            subscribe: Rules { allow: vec![format!("inbox.{name}.>")], deny: vec![] },
            allow_responses: None,
        }),
        ..UserConfig::password(name, "s")
    };
    config.accounts.push(AccountConfig {
        name: "PNM".into(),
        users: vec![participant("eve"), participant("vic")],
        imports: vec![
            take("$JS.API.CONSUMER.MSG.NEXT.rooms.*", Some("js.MSG.NEXT.rooms.*")),
            take("$JS.ACK.rooms.>", None),
            take("work.>", None),
        ],
        ..AccountConfig::default()
    });
    config
}

fn start(config: BrokerConfig) -> (World, plenum_messaging::ConnectionId) {
    let mut world = World::new(config);
    let svc = world.login("app");
    for (stream, subjects) in [("rooms", json!(["private.>"])), ("worker", json!(["cmd.>"]))] {
        let made = world.api(
            svc,
            &format!("STREAM.CREATE.{stream}"),
            &json!({"name": stream, "subjects": subjects, "storage": "memory"}),
        );
        assert_eq!(made["error"], Value::Null);
    }
    for (stream, name, filter) in
        [("rooms", "eve", "private.eve"), ("rooms", "vic", "private.vic"), ("worker", "w", "cmd.>")]
    {
        let config = json!({"durable_name": name, "ack_policy": "explicit", "filter_subject": filter});
        let made = world.api(
            svc,
            &format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
            &json!({"stream_name": stream, "config": config}),
        );
        assert_eq!(made["error"], Value::Null);
    }
    (world, svc)
}

#[test]
fn an_acknowledgement_speaks_for_the_consumer_in_its_place_only() {
    let (mut world, svc) = start(meeting());
    world.ask(svc, "private.vic", "secret");
    world.ask(svc, "cmd.x", "command");
    let eve = world.login("eve");
    world.send(eve, "SUB inbox.eve.> 1\r\n");
    for target in ["rooms.vic", "worker.w"] {
        for rest in ["1.0.1.1.0", "1.1.1.1.0", "1.0.1.1.0.x", "1.1.1.1.0.x.y"] {
            for verb in ["+NXT", "+ACK", "+TERM", "-NAK"] {
                let subject = format!("$JS.ACK.rooms.eve.{target}.{rest}");
                world.send(eve, &publish(&subject, Some("inbox.eve.1"), "", verb));
            }
        }
    }
    for heard in messages(&world.hear(eve)) {
        assert!(heard.headers.starts_with("NATS/1.0 503"), "{heard:?}");
    }
    for (stream, consumer) in [("rooms", "vic"), ("worker", "w")] {
        let info = world.api(svc, &format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null);
        let state = (&info["num_pending"], &info["num_waiting"], &info["num_ack_pending"]);
        assert_eq!(state, (&json!(1), &json!(0), &json!(0)), "{consumer}");
    }
    // Her own is hers.
    world.ask(svc, "private.eve", "hello");
    world.send(eve, &publish("$JS.ACK.rooms.eve.1.0.1.1.0", Some("inbox.eve.2"), "", "+NXT"));
    assert_eq!(messages(&world.hear(eve)).pop().expect("a delivery").body, "hello");
}

#[test]
fn pulling_for_hours_uses_up_nothing() {
    let mut config = meeting();
    config.limits.max_pending_responses = 4;
    let (mut world, svc) = start(config);
    let vic = world.login("vic");
    world.send(vic, "SUB inbox.vic.> 1\r\n");
    for _ in 0..2_000 {
        world.send(
            vic,
            &publish(
                "js.MSG.NEXT.rooms.vic",
                Some("inbox.vic.pull"),
                "",
                r#"{"batch":10,"expires":30000000000}"#,
            ),
        );
        world.wait(seconds(30));
        for id in [svc, vic] {
            world.send(id, "PONG\r\n");
        }
    }
    world.hear(vic);
    world.ask(svc, "private.vic", "still there");
    world.send(vic, &publish("js.MSG.NEXT.rooms.vic", Some("inbox.vic.pull"), "", "1"));
    assert_eq!(messages(&world.hear(vic)).pop().expect("a delivery").body, "still there");
    assert_eq!(world.broker.statistics().responses_refused, 0);
}

#[test]
fn one_guest_uses_up_its_own_share_of_waiting_requests_only() {
    let mut config = meeting();
    config.limits.max_pending_responses = 300;
    let (mut world, svc) = start(config);
    world.send(svc, "SUB work.> w\r\n");
    let (eve, vic) = (world.login("eve"), world.login("vic"));
    for id in [(eve, "eve"), (vic, "vic")] {
        world.send(id.0, &format!("SUB inbox.{}.> 1\r\n", id.1));
    }
    for n in 0..1_000 {
        world.send(eve, &publish("work.never", Some(&format!("inbox.eve.{n}")), "", ""));
    }
    world.hear(svc);
    world.send(vic, &publish("work.now", Some("inbox.vic.1"), "", ""));
    let asked = messages(&world.hear(svc)).pop().expect("the request");
    world.send(svc, &publish(&asked.reply.expect("a reply"), None, "", "done"));
    assert_eq!(messages(&world.hear(vic)).pop().expect("the answer").body, "done");
    assert_eq!(world.broker.statistics().responses_refused, 0);
}

#[test]
fn an_answer_is_carried_back_once_and_in_time() {
    let (mut world, svc) = start(meeting());
    world.send(svc, "SUB work.> w\r\n");
    let eve = world.login("eve");
    world.send(eve, "SUB inbox.eve.> 1\r\n");
    world.send(eve, &publish("work.a", Some("inbox.eve.a"), "", ""));
    world.send(eve, &publish("work.b", Some("inbox.eve.b"), "", ""));
    let replies: Vec<String> =
        messages(&world.hear(svc)).into_iter().filter_map(|message| message.reply).collect();
    assert!(replies.iter().all(|reply| reply.starts_with("_R_.")), "{replies:?}");
    for _ in 0..2 {
        world.send(svc, &publish(&replies[0], None, "", "answer"));
    }
    assert_eq!(messages(&world.hear(eve)).len(), 1);
    world.wait(seconds(200));
    world.send(svc, &publish(&replies[1], None, "", "too late"));
    assert_eq!(messages(&world.hear(eve)).len(), 0);
}
