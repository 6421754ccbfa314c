//! Bodies of fuzz targets: what outsiders send.

use std::time::Duration;

use crate::{
    AccountConfig, Broker, BrokerConfig, Limits, LogOp, Operation, Output, ParseLimits, Progress, Timestamp,
    Transport, UserConfig,
    auth::jwt::{self, Claims},
    parse,
};

const LIMITS: ParseLimits = ParseLimits { max_control_line: 4096, max_payload: 1 << 16 };

const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

/// What a client sends means the same however it is cut, and a broker takes it or refuses it, now and later.
pub fn protocol(input: &[u8]) {
    let whole = operations(input, &[input.len()]);
    for cut in [input.len() / 3, input.len() / 2, input.len().saturating_sub(1)] {
        assert_eq!(operations(input, &[cut, input.len()]), whole, "cut at {cut}");
    }
    let mut broker = broker();
    let id = broker.handle_connect(Transport::Tcp, "192.0.2.1", START);
    let greeting = b"CONNECT {\"user\":\"app\",\"pass\":\"s\",\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";
    let mut now = START;
    for bytes in [&greeting[..], input] {
        let mut at = 0;
        loop {
            let received = broker.handle_received(id, &bytes[at..], now);
            at += received.consumed;
            assert!(at <= bytes.len(), "more is consumed than there was");
            carry_out(&mut broker, now);
            if received.progress != Progress::Again {
                break;
            }
        }
    }
    for _ in 0..8 {
        now = now.plus(Duration::from_secs(1));
        broker.handle_timeout(now);
        carry_out(&mut broker, now);
    }
}

/// What an auth callout answers is a token that can be believed, or it is refused.
pub fn jwt(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let believed = jwt::decode::<serde_json::Value>(text, 'A', START);
    if let Ok(Claims { iss, .. }) = believed {
        assert!(iss.starts_with('A'));
    }
}

/// The operations in `input`, read again and again up to each of `ends`.
fn operations(input: &[u8], ends: &[usize]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    for end in ends {
        while at < *end {
            match parse(&input[at..*end], LIMITS) {
                Ok(None) => break,
                Ok(Some((operation, len))) => {
                    assert!(len > 0 && at + len <= *end, "an operation of {len} bytes");
                    if let Operation::Publish { headers, payload, .. } = operation {
                        assert!(headers.len() + payload.len() <= LIMITS.max_payload);
                    }
                    found.push(format!("{operation:?}"));
                    at += len;
                }
                Err(_) => {
                    // More bytes may show another broken rule first. That it ends here stays the same.
                    found.push("refused".to_owned());
                    return found;
                }
            }
        }
    }
    found
}

fn broker() -> Broker {
    let config = BrokerConfig {
        server_name: "fuzz".into(),
        accounts: vec![AccountConfig {
            name: "APP".into(),
            jetstream: true,
            users: vec![UserConfig::password("app", "s")],
            ..AccountConfig::default()
        }],
        system_account: "APP".into(),
        auth_callout: None,
        limits: Limits { max_payload: 1 << 16, segment_size: 512, max_storage: 1 << 20, ..Limits::default() },
    };
    Broker::new(config, [1; 32]).expect("a good configuration")
}

/// As a shell whose disk is as fast as memory.
fn carry_out(broker: &mut Broker, now: Timestamp) {
    loop {
        let mut did = false;
        while let Some(output) = broker.poll_output() {
            did = true;
            match output {
                Output::Flush(id) => {
                    if let Some(reason) = broker.take_output(id, &mut Vec::new()) {
                        broker.handle_closed(id, reason, now);
                    }
                }
                Output::Resume(_) => {}
                Output::Log { stream, op: LogOp::Remove, .. } => {
                    broker.handle_removed(stream, Ok(()), now);
                }
                Output::Log { stream, position, .. } => broker.handle_durable(stream, position, now),
            }
        }
        if broker.next_deadline().is_some_and(|at| at < START) {
            broker.handle_timeout(now);
            did = true;
        }
        if !did {
            return;
        }
    }
}
