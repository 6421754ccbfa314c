//! The log of a stream when the machine stops: at any byte, everything that was acknowledged is there again, nothing was
//! made up, and the stream goes on.

use std::collections::{BTreeMap, BTreeSet};

use plenum_messaging::{BrokerConfig, ConnectionId, LogOp, StreamId};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Disk, World, Writing, Written, config, messages, publish, seconds};

/// Small, so that a few messages begin a new segment and old ones are moved and dropped.
const SEGMENT_SIZE: u64 = 384;

/// Messages of one subject; the oldest goes for a new one.
const PER_SUBJECT: usize = 3;

fn tiny() -> BrokerConfig {
    let mut config = config();
    config.limits.segment_size = SEGMENT_SIZE;
    config
}

/// What is done to a stream.
#[derive(Clone, Debug)]
enum Step {
    Publish {
        subject: u8,
        len: u8,
        id: Option<u8>,
        rollup: Option<bool>,
        ttl: bool,
    },
    Purge {
        subject: Option<u8>,
        keep: u8,
    },
    Delete {
        nth: u8,
    },
    /// The consumer takes some and acknowledges every other one of them.
    Consume {
        batch: u8,
    },
    Recreate,
    Wait {
        seconds: u8,
    },
    /// Everything so far is on the disk, and is answered.
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4, 0u8..60, prop::option::of(0u8..6), prop::option::weighted(0.15, any::<bool>()), any::<bool>())
            .prop_map(|(subject, len, id, rollup, ttl)| Step::Publish { subject, len, id, rollup, ttl }),
        1 => (prop::option::of(0u8..4), 0u8..2).prop_map(|(subject, keep)| Step::Purge { subject, keep }),
        1 => any::<u8>().prop_map(|nth| Step::Delete { nth }),
        2 => (1u8..5).prop_map(|batch| Step::Consume { batch }),
        1 => Just(Step::Recreate),
        1 => (1u8..4).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Sync),
    ]
}

/// What a message says, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    subject: String,
    body: String,
    ends: Option<i64>,
}

/// What the stream holds, told by the rules and not by the broker.
#[derive(Clone, Debug, Default)]
struct Model {
    messages: BTreeMap<u64, Kept>,
    last_seq: u64,
    ids: BTreeMap<u8, u64>,
}

impl Model {
    fn publish(&mut self, kept: Kept, id: Option<u8>, rollup: Option<bool>) {
        if let Some(id) = id
            && self.ids.contains_key(&id)
        {
            return;
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        id.map(|id| self.ids.insert(id, seq));
        if let Some(all) = rollup {
            self.messages.retain(|_, other| !all && other.subject != kept.subject);
        }
        let subject = kept.subject.clone();
        self.messages.insert(seq, kept);
        let same: Vec<u64> = self.of(&subject);
        for seq in &same[..same.len().saturating_sub(PER_SUBJECT)] {
            self.messages.remove(seq);
        }
    }

    fn of(&self, subject: &str) -> Vec<u64> {
        self.messages.iter().filter(|(_, kept)| kept.subject == subject).map(|(seq, _)| *seq).collect()
    }

    fn expire(&mut self, now: i64) {
        self.messages.retain(|_, kept| kept.ends.is_none_or(|ends| ends > now));
    }
}

/// A run of steps, with everything that may be asked about a crash in it.
struct Run {
    world: World,
    client: ConnectionId,
    model: Model,
    /// The model after each step since the last sync, the one at the sync first.
    since_sync: Vec<Model>,
    /// How much of the journal was on the disk at the last sync.
    synced: usize,
    /// What the consumer of now has acknowledged.
    acknowledged: BTreeSet<u64>,
    /// What earlier ones had acknowledged that may be there again after a crash: they went after the last sync.
    acknowledged_before: BTreeSet<u64>,
}

impl Run {
    fn new() -> Run {
        let mut world = World::new(tiny());
        let client = world.login("app");
        let made = world.api(
            client,
            "STREAM.CREATE.S",
            &json!({"name": "S", "subjects": ["s.*"], "max_msgs_per_subject": PER_SUBJECT, "allow_direct": true,
                "allow_rollup_hdrs": true, "allow_msg_ttl": true}),
        );
        assert_eq!(made["error"], Value::Null);
        let mut run = Run {
            world,
            client,
            model: Model::default(),
            since_sync: Vec::new(),
            synced: 0,
            acknowledged: BTreeSet::new(),
            acknowledged_before: BTreeSet::new(),
        };
        run.create_consumer();
        run.world.send(client, "SUB pull p\r\n");
        run.world.writing = Writing::Held;
        run.sync();
        run
    }

    fn create_consumer(&mut self) {
        let create = json!({"stream_name": "S", "config": {"durable_name": "c", "ack_policy": "explicit"}});
        self.tell("$JS.API.CONSUMER.CREATE.S.c", "", &create.to_string());
    }

    /// A request whose answer nobody waits for: it comes with the next sync.
    fn tell(&mut self, subject: &str, headers: &str, body: &str) {
        self.world.send(self.client, &publish(subject, Some("answers"), headers, body));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { subject, len, id, rollup, ttl } => {
                let subject = format!("s.{subject}");
                let body = format!("{}-{}", self.model.last_seq, "x".repeat(len.into()));
                let mut headers = String::new();
                if let Some(id) = id {
                    headers += &format!("Nats-Msg-Id: {id}\r\n");
                }
                if let Some(all) = rollup {
                    headers += &format!("Nats-Rollup: {}\r\n", if all { "all" } else { "sub" });
                }
                if ttl {
                    headers += "Nats-TTL: 3s\r\n";
                }
                self.tell(&subject, &headers, &body);
                let ends = ttl.then(|| self.world.now.plus(seconds(3)).0);
                self.model.publish(Kept { subject, body, ends }, id, rollup);
            }
            Step::Purge { subject, keep } => {
                let filter = subject.map(|subject| format!("s.{subject}"));
                let mut seqs = match &filter {
                    Some(filter) => self.model.of(filter),
                    None => self.model.messages.keys().copied().collect(),
                };
                seqs.truncate(seqs.len().saturating_sub(keep.into()));
                for seq in seqs {
                    self.model.messages.remove(&seq);
                }
                let request = json!({"filter": filter.unwrap_or_default(), "keep": keep});
                self.tell("$JS.API.STREAM.PURGE.S", "", &request.to_string());
            }
            Step::Delete { nth } => {
                let seqs: Vec<u64> = self.model.messages.keys().copied().collect();
                if let Some(seq) = seqs.get(usize::from(nth) % seqs.len().max(1)) {
                    self.model.messages.remove(seq);
                    self.tell("$JS.API.STREAM.MSG.DELETE.S", "", &json!({"seq": seq}).to_string());
                }
            }
            Step::Consume { batch } => {
                let request = json!({"batch": batch, "no_wait": true}).to_string();
                self.world
                    .send(self.client, &publish("$JS.API.CONSUMER.MSG.NEXT.S.c", Some("pull"), "", &request));
                let heard = self.world.hear(self.client);
                for (at, message) in messages(&heard).iter().filter(|m| m.sid == "p").enumerate() {
                    let Some(reply) = message.reply.as_ref().filter(|_| at % 2 == 0) else { continue };
                    let seq = reply.split('.').nth(5).and_then(|seq| seq.parse().ok()).expect("a sequence");
                    self.acknowledged.insert(seq);
                    self.world.send(self.client, &publish(reply, None, "", "+ACK"));
                }
            }
            Step::Recreate => {
                self.tell("$JS.API.CONSUMER.DELETE.S.c", "", "");
                self.create_consumer();
                self.acknowledged_before.append(&mut self.acknowledged);
            }
            Step::Wait { seconds: span } => {
                self.world.wait(seconds(span.into()));
                self.model.expire(self.world.now.0);
            }
            Step::Sync => return self.sync(),
        }
        self.since_sync.push(self.model.clone());
    }

    fn sync(&mut self) {
        self.world.sync();
        self.world.hear(self.client);
        self.synced = self.world.journal.len() - self.world.held.len();
        self.since_sync = vec![self.model.clone()];
        self.acknowledged_before.clear();
    }

    /// The machine stops now; of what was not synced, `cut` bytes got to the disk.
    fn crash(&self, cut: usize, tail: Tail) -> World {
        let mut disk = Disk::default();
        let (safe, rest) = self.world.journal.split_at(self.synced);
        for Written { stream, op, .. } in safe {
            disk.carry_out(*stream, op);
        }
        let mut left = cut;
        for Written { stream, op, .. } in rest {
            let LogOp::Append { segment, data } = op else {
                disk.carry_out(*stream, op);
                continue;
            };
            let len = data.len().min(left);
            let mut data = data.clone();
            match tail {
                Tail::Missing => data.truncate(len),
                Tail::Zeros => data[len..].fill(0),
            }
            left -= len;
            let is_torn = left == 0;
            disk.carry_out(*stream, &LogOp::Append { segment: *segment, data });
            if is_torn {
                break;
            }
        }
        World::with_disk(tiny(), disk, self.world.now).expect("only the end is torn")
    }

    fn unsynced_bytes(&self) -> usize {
        self.world.journal[self.synced..].iter().map(|written| size(&written.op)).sum()
    }

    fn check(&self, cut: usize, tail: Tail) {
        let mut world = self.crash(cut, tail);
        let client = world.login("app");
        let found = contents(&mut world, client);
        let now = self.world.now.0;
        let lives = |kept: &Kept| kept.ends.is_none_or(|ends| ends > now);
        // The state is that of some moment since the last sync, or on the way from one to the next.
        let fits = |before: &Model, after: &Model| {
            let both = before.messages.iter().filter(|(seq, _)| after.messages.contains_key(seq));
            let needed = both.filter(|(_, kept)| lives(kept)).all(|(seq, _)| found.contains_key(seq));
            let allowed = found.iter().all(|(seq, found)| {
                [before, after].into_iter().any(|model| {
                    model
                        .messages
                        .get(seq)
                        .is_some_and(|kept| (&kept.subject, &kept.body) == (&found.0, &found.1))
                })
            });
            needed && allowed
        };
        let last = self.since_sync.last().expect("the sync itself");
        let moments = self.since_sync.windows(2).map(|pair| (&pair[0], &pair[1])).chain([(last, last)]);
        let is_known = moments.into_iter().any(|(before, after)| fits(before, after));
        assert!(is_known, "after {cut} bytes: found {found:?}, possible were {:?}", self.since_sync);
        // The consumer lost nothing that it did not acknowledge.
        let synced = &self.since_sync[0];
        if world.api(client, "CONSUMER.INFO.S.c", &Value::Null)["error"].is_null() {
            world.send(client, "SUB pull p\r\n");
            world.wait(seconds(31));
            let later = world.now.0;
            let request = json!({"batch": 1000, "no_wait": true}).to_string();
            world.send(client, &publish("$JS.API.CONSUMER.MSG.NEXT.S.c", Some("pull"), "", &request));
            let heard = world.hear(client);
            let delivered: BTreeSet<u64> = messages(&heard)
                .iter()
                .filter_map(|m| m.reply.as_ref()?.split('.').nth(5)?.parse().ok())
                .collect();
            let is_earlier = cut < self.unsynced_bytes();
            for (seq, kept) in &synced.messages {
                let is_acknowledged =
                    self.acknowledged.contains(seq) || is_earlier && self.acknowledged_before.contains(seq);
                let is_wanted =
                    !is_acknowledged && found.contains_key(seq) && kept.ends.is_none_or(|ends| ends > later);
                assert!(!is_wanted || delivered.contains(seq), "{seq} is not delivered any more");
            }
        }
        // Sequences are not used twice, and what is written now stays.
        let (_, answer) = world.ask(client, "s.9", "after the crash");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let seq = answer["seq"].as_u64().expect("stored");
        assert!(seq > synced.last_seq, "{seq} was used before");
        let mut world = world.restart(tiny());
        let client = world.login("app");
        assert_eq!(
            contents(&mut world, client).get(&seq).map(|kept| kept.1.as_str()),
            Some("after the crash")
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Tail {
    /// The file ends where the machine stopped.
    Missing,
    /// The file is as long as it was to become, with zeros where the machine had stopped.
    Zeros,
}

fn size(op: &LogOp) -> usize {
    match op {
        LogOp::Append { data, .. } => data.len(),
        LogOp::Drop { .. } | LogOp::Remove => 0,
    }
}

/// All messages by sequence, as subject and body.
fn contents(world: &mut World, client: ConnectionId) -> BTreeMap<u64, (String, String)> {
    world.send(client, "SUB all a\r\n");
    world.send(client, &publish("$JS.API.DIRECT.GET.S", Some("all"), "", r#"{"batch":1000,"seq":1}"#));
    world.send(client, "UNSUB a\r\n");
    let heard = world.hear(client);
    messages(&heard)
        .into_iter()
        .filter_map(|message| {
            let field = |name: &str| message.headers.lines().find_map(|line| line.strip_prefix(name));
            let seq = field("Nats-Sequence: ")?.parse().ok()?;
            Some((seq, (field("Nats-Subject: ")?.to_owned(), message.body.clone())))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_byte_loses_nothing_acknowledged(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        let bytes = run.unsynced_bytes();
        for cut in 0..=bytes {
            run.check(cut, Tail::Missing);
            run.check(cut, Tail::Zeros);
        }
    }
}

#[test]
fn a_roll_up_is_never_half_done() {
    let mut run = Run::new();
    let put = |subject, rollup| Step::Publish { subject, len: 1, id: None, rollup, ttl: false };
    for subject in [0, 1, 2, 0] {
        run.step(&put(subject, None));
    }
    run.sync();
    run.step(&put(1, Some(true)));
    let whole = run.unsynced_bytes();
    for cut in 0..=whole {
        let mut world = run.crash(cut, Tail::Missing);
        let client = world.login("app");
        let found = contents(&mut world, client);
        assert!(found.len() == 4 || found.len() == 1, "after {cut} of {whole} bytes: {found:?}");
    }
}

#[test]
fn a_damaged_segment_that_no_crash_leaves_behind_is_not_passed_over() {
    let mut run = Run::new();
    for n in 0..20 {
        run.step(&Step::Publish { subject: n % 4, len: 40, id: None, rollup: None, ttl: false });
    }
    run.sync();
    let disk = run.world.disk.clone();
    let segments = &disk.streams[&StreamId(1)];
    assert!(segments.len() > 2);
    let (&first, data) = segments.first_key_value().expect("several");
    for at in [0, data.len() / 2] {
        let mut disk = disk.clone();
        let segment = disk.streams.get_mut(&StreamId(1)).and_then(|s| s.get_mut(&first)).expect("there");
        segment[at] ^= 1;
        let damaged = World::with_disk(tiny(), disk, run.world.now).err().expect("noticed");
        assert_eq!(damaged.segment, first);
    }
}
