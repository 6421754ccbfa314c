//! Connections: logging in, staying alive, and how much one may ask of the broker.

use plenum_messaging::{
    AccountConfig, AuthCalloutConfig, CloseReason, Export, Import, LogOp, ParseLimits, Permissions, Progress,
    Rules, UserConfig, parse,
};

use crate::world::{World, config, messages, seconds};

#[test]
fn who_does_not_log_in_is_sent_away_in_time() {
    let mut world = World::new(config());
    let id = world.connect();
    world.wait(seconds(1));
    assert_eq!(world.closed(id), None);
    world.wait(seconds(1));
    assert_eq!(world.hear(id), "-ERR 'Authentication Timeout'\r\n");
    assert_eq!(world.closed(id), Some(CloseReason::AuthenticationTimeout));
}

#[test]
fn pings_that_stay_unanswered_end_a_connection() {
    let mut world = World::new(config());
    let id = world.login("app");
    world.wait(seconds(2));
    assert_eq!(world.hear(id), "PING\r\n");
    world.send(id, "PONG\r\n");
    world.wait(seconds(3 * 120));
    assert_eq!(world.hear(id), "PING\r\nPING\r\n", "the first interval had its PONG");
    assert_eq!(world.closed(id), None);
    world.wait(seconds(120));
    assert_eq!(world.hear(id), "-ERR 'Stale Connection'\r\n");
    assert_eq!(world.closed(id), Some(CloseReason::StaleConnection));
}

#[test]
fn nothing_but_a_greeting_is_taken_before_the_login() {
    for bytes in ["PUB a 1000000\r\n", "PUB", "HP", "S", "U", "SUB a 1\r\n", "NONSENSE", "pu", "-ERR"] {
        let mut world = World::new(config());
        let id = world.connect();
        assert_eq!(world.send(id, bytes), Progress::Closed, "{bytes}");
        assert_eq!(world.hear(id), "-ERR 'Authorization Violation'\r\n", "{bytes}");
        assert_eq!(world.closed(id), Some(CloseReason::AuthenticationFailure), "{bytes}");
    }
    let mut world = World::new(config());
    let id = world.connect();
    let greeting =
        "PING\r\n+OK\r\nINFO {}\r\nPONG\r\nconnect {\"user\":\"app\",\"pass\":\"s\",\"verbose\":false}\r\n";
    let mut from = 0;
    for to in 1..=greeting.len() {
        let received = world.send_bytes(id, &greeting.as_bytes()[from..to]);
        assert_eq!(received.progress, Progress::NeedMore, "{}", &greeting[from..to]);
        from += received.consumed;
    }
    assert_eq!(world.hear(id), "PONG\r\n");
    world.send(id, "PING\r\n");
    assert_eq!(world.hear(id), "PONG\r\n");
}

#[test]
fn what_cannot_be_read_ends_a_connection_without_a_word() {
    let mut world = World::new(config());
    for bytes in ["PUB a x\r\n", "PUB a\r\n", "HPUB a 9 5\r\n", "PUB a 99999999999\r\n", "SUB a\r\n"] {
        let id = world.login("app");
        assert_eq!(world.send(id, bytes), Progress::Closed, "{bytes}");
        assert_eq!(
            (world.hear(id).as_str(), world.closed(id)),
            ("", Some(CloseReason::ParseError)),
            "{bytes}"
        );
    }
    let id = world.connect();
    world.send(id, "CONNECT {\"user\":\r\n");
    assert_eq!((world.hear(id).as_str(), world.closed(id)), ("", Some(CloseReason::ParseError)));
}

#[test]
fn one_publish_cannot_make_the_broker_write_without_end() {
    let mut config = config();
    config.limits.max_pending = 1 << 16;
    config.limits.max_subscriptions = 10_000;
    let mut world = World::new(config);
    let id = world.login("app");
    for sid in 0..10_000 {
        world.send(id, &format!("SUB r.> {sid}\r\n"));
    }
    world.stop_reading(id);
    // One answer to each of the subscriptions would be 600 KB.
    assert_eq!(world.send(id, "PUB nobody r.1 0\r\n\r\n"), Progress::Closed);
    world.read_on(id);
    assert_eq!(world.hear(id), "", "what it had not read is gone");
    assert_eq!(world.closed(id), Some(CloseReason::SlowConsumerPendingBytes));
    assert_eq!(world.broker.statistics().slow_consumers, 1);
}

#[test]
fn who_leaves_its_answers_unread_is_not_read_either() {
    let mut world = World::new(config());
    let id = world.login("app");
    world.stop_reading(id);
    let pings = "PING\r\n".repeat(300_000);
    let received = world.send_bytes(id, pings.as_bytes());
    assert_eq!(received.progress, Progress::Paused);
    assert!(received.consumed < 1_100_000, "{}", received.consumed);
    assert!(!world.was_resumed(id));
    world.read_on(id);
    assert!(world.was_resumed(id));
    let rest = world.send_bytes(id, &pings.as_bytes()[received.consumed..]);
    assert_eq!(rest.progress, Progress::NeedMore);
    assert_eq!(world.hear(id).len(), pings.len());
}

#[test]
fn who_reads_too_slowly_is_closed_and_others_are_not() {
    let mut config = config();
    config.limits.max_pending = 100_000;
    let mut world = World::new(config);
    let (slow, quick, publisher) = (world.login("app"), world.login("app"), world.login("app"));
    for id in [slow, quick] {
        world.send(id, "SUB s 1\r\n");
    }
    world.stop_reading(slow);
    let body = "x".repeat(1_000);
    for _ in 0..200 {
        world.send(publisher, &format!("PUB s 1000\r\n{body}\r\n"));
    }
    world.read_on(slow);
    assert_eq!(world.closed(slow), Some(CloseReason::SlowConsumerPendingBytes));
    assert_eq!(messages(&world.hear(quick)).len(), 200);
    assert_eq!(world.closed(publisher), None);
}

#[test]
fn subjects_have_a_bounded_number_of_tokens() {
    let mut world = World::new(config());
    let id = world.login("app");
    world.send(id, &format!("SUB {} 1\r\n", vec!["a"; 33].join(".")));
    assert_eq!(world.hear(id), "-ERR 'Invalid Subject'\r\n");
    world.send(id, &format!("SUB {} 1\r\n", vec!["a"; 32].join(".")));
    assert_eq!(world.hear(id), "");
}

#[test]
fn a_denied_part_of_a_renamed_import_is_withheld() {
    let mut config = config();
    config.accounts[1].exports.push(Export::Stream { subject: "news.>".into(), accounts: vec![] });
    let reader = UserConfig {
        permissions: Some(Permissions {
            subscribe: Rules { allow: vec!["here.>".into()], deny: vec!["here.secret".into()] },
            ..Permissions::default()
        }),
        ..UserConfig::password("reader", "s")
    };
    config.accounts.push(AccountConfig {
        name: "READ".into(),
        users: vec![reader],
        imports: vec![Import::Stream {
            account: "APP".into(),
            subject: "news.>".into(),
            to: Some("here.>".into()),
            prefix: None,
        }],
        ..AccountConfig::default()
    });
    let mut world = World::new(config);
    let (reader, writer) = (world.login("reader"), world.login("app"));
    world.send(reader, "SUB here.> 1\r\n");
    world.send(writer, "PUB news.secret 1\r\nx\r\nPUB news.open 1\r\ny\r\n");
    let heard: Vec<_> = messages(&world.hear(reader)).into_iter().map(|m| (m.subject, m.body)).collect();
    assert_eq!(heard, [("here.open".to_owned(), "y".to_owned())]);
}

#[test]
fn a_message_larger_than_any_log_record_is_refused_at_the_start() {
    let mut config = config();
    config.limits.max_payload = (64 << 20) + 1;
    let error = plenum_messaging::Broker::new(config, [0; 32]).err().expect("refused");
    assert_eq!(error.place, "limits.max_payload");
}

#[test]
fn a_kick_also_ends_a_connection_that_is_still_being_decided_about() {
    let mut config = config();
    config.accounts[0].users.push(UserConfig::password("sys", "s"));
    config.auth_callout = Some(AuthCalloutConfig {
        issuer: nkeys::KeyPair::new_account().public_key(),
        auth_users: vec!["app".into(), "sys".into()],
        account: "APP".into(),
        xkey: None,
        timeout: seconds(5),
    });
    let mut world = World::new(config);
    let (service, system) = (world.login("app"), world.login("sys"));
    world.send(service, "SUB $SYS.REQ.USER.AUTH 1\r\n");
    let guest = world.connect();
    world.send(guest, "CONNECT {\"auth_token\":\"t\",\"verbose\":false}\r\n");
    let question = messages(&world.hear(service)).remove(0);
    let kick = format!("$SYS.REQ.SERVER.{}.KICK", world.broker.server_id());
    let (_, answer) = world.ask(system, &kick, &format!("{{\"cid\":{}}}", guest.0));
    assert!(!answer.contains("error"), "{answer}");
    assert_eq!(world.closed(guest), Some(CloseReason::Kicked));
    // The answer comes too late, and others are still asked about.
    world.send(service, &format!("PUB {} 1\r\nx\r\n", question.reply.expect("an answer is wanted")));
    let (_, again) = world.ask(system, &kick, &format!("{{\"cid\":{}}}", guest.0));
    assert!(again.contains("404"), "{again}");
    let other = world.connect();
    world.send(other, "CONNECT {\"auth_token\":\"t\",\"verbose\":false}\r\n");
    assert_eq!(messages(&world.hear(service)).len(), 1);
    assert_eq!(world.closed(other), None);
}

/// What may come into a log by way of `{:?}`.
#[test]
fn secrets_and_what_people_say_cannot_be_printed() {
    let limits = ParseLimits { max_control_line: 4096, max_payload: 4096 };
    for text in [
        "CONNECT {\"user\":\"app\",\"pass\":\"hush\",\"auth_token\":\"hush\"}\r\n",
        "PUB a 4\r\nhush\r\n",
        "HPUB a 20 24\r\nNATS/1.0\r\nA:hush\r\n\r\nhush\r\n",
    ] {
        let operation = parse(text.as_bytes(), limits);
        assert!(matches!(operation, Ok(Some(_))), "{text}");
        let printed = format!("{operation:?}");
        assert!(!printed.contains("hush") && !printed.contains("104, 117, 115, 104"), "{printed}");
    }
    let user = format!("{:?}", UserConfig::password("app", "hush"));
    assert!(user.contains("app") && !user.contains("hush"), "{user}");
    let op = LogOp::Append { segment: 1, data: b"hush".to_vec() };
    assert_eq!(format!("{op:?}"), "Append { segment: 1, len: 4 }");
}
