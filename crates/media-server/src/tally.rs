//! What a room does, counted in livekit-server's terms. It sees every effect of its room and decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use livekit_protocol as proto;
use metrics::SharedString;
use plenum_media::counts::Counts;
use plenum_media::ids::{DownKey, PeerHandle, ShardId};
use plenum_media::room::Effect;
use plenum_media::sdp::MediaKind;
use plenum_media::shard::{self, Quality};
use proto::signal_response::Message as Signal;

use crate::metrics_names as names;

/// The machine, as a label, and what is counted so often that it is looked up once.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    id: SharedString,
    frequent: Arc<Frequent>,
}

/// Counters of what happens for each signal message and each subscription.
#[derive(Debug)]
struct Frequent {
    requests: metrics::Counter,
    bad_requests: metrics::Counter,
    responses: metrics::Counter,
    unsent_responses: metrics::Counter,
    subscribes: metrics::Counter,
    subscribed_audio: metrics::Gauge,
    subscribed_video: metrics::Gauge,
}

impl Node {
    pub(crate) fn new(node_id: &str) -> Self {
        let id = SharedString::from_shared(Arc::from(node_id));
        let counter = |name, own: &[_]| metrics::counter!(name, labels(&id, own));
        let messages = |direction, status| {
            let own = [label("type", "signal"), label("status", status), label("direction", direction)];
            counter(names::LIVEKIT_MESSAGES, &own)
        };
        let subscribed =
            |kind| metrics::gauge!(names::LIVEKIT_SUBSCRIBED, labels(&id, &[label("kind", kind)]));
        let frequent = Frequent {
            requests: messages("request", "success"),
            bad_requests: messages("request", "failure"),
            responses: messages("response", "success"),
            unsent_responses: messages("response", "failure"),
            subscribes: counter(names::LIVEKIT_SUBSCRIBES, &[label("state", "success"), label("error", "")]),
            subscribed_audio: subscribed("AUDIO"),
            subscribed_video: subscribed("VIDEO"),
        };
        Self { id, frequent: Arc::new(frequent) }
    }

    /// A client has said something, which was a signal message or not.
    pub(crate) fn heard(&self, understood: bool) {
        let Frequent { requests, bad_requests, .. } = &*self.frequent;
        if understood { requests } else { bad_requests }.increment(1);
    }

    /// So many signal messages were sent to a client, or could not be.
    pub(crate) fn told(&self, messages: usize, sent: bool) {
        let Frequent { responses, unsent_responses, .. } = &*self.frequent;
        if sent { responses } else { unsent_responses }.increment(messages as u64);
    }

    fn subscribed(&self, kind: MediaKind) -> &metrics::Gauge {
        match kind {
            MediaKind::Audio => &self.frequent.subscribed_audio,
            MediaKind::Video => &self.frequent.subscribed_video,
        }
    }

    fn gauge(&self, name: &'static str, own: &[(&'static str, SharedString)]) -> metrics::Gauge {
        metrics::gauge!(name, labels(&self.id, own))
    }

    pub(crate) fn count(&self, name: &'static str, own: &[(&'static str, SharedString)]) {
        self.add(name, own, 1);
    }

    pub(crate) fn add(&self, name: &'static str, own: &[(&'static str, SharedString)], count: u64) {
        metrics::counter!(name, labels(&self.id, own)).increment(count);
    }

    pub(crate) fn observe(&self, name: &'static str, own: &[(&'static str, SharedString)], value: f64) {
        metrics::histogram!(name, labels(&self.id, own)).record(value);
    }
}

fn labels(node_id: &SharedString, own: &[(&'static str, SharedString)]) -> Vec<metrics::Label> {
    let node = [("node_id", node_id.clone()), ("node_type", SharedString::const_str("SERVER"))];
    node.iter().chain(own).map(|(name, value)| metrics::Label::new(*name, value.clone())).collect()
}

const IN: &[(&str, SharedString)] = &[("direction", SharedString::const_str("incoming"))];
const OUT: &[(&str, SharedString)] = &[("direction", SharedString::const_str("outgoing"))];

impl Node {
    /// What a media thread has counted.
    pub(crate) fn add_counts(&self, counts: &Counts) {
        let Counts { received, over_limit, sent, missed, asked, keyframes_wanted, keyframes_asked, stuck } =
            *counts;
        let flows =
            [(IN, "initial", received), (OUT, "initial", sent.first), (OUT, "retransmit", sent.repeated)];
        for (direction, transmission, flow) in flows {
            let labels = [direction[0].clone(), label("transmission", transmission)];
            self.add(names::LIVEKIT_PACKETS, &labels, flow.packets);
            self.add(names::LIVEKIT_BYTES, &labels, flow.bytes);
        }
        self.add(names::LIVEKIT_NACKS, IN, missed);
        self.add(names::LIVEKIT_NACKS, OUT, asked);
        self.add(names::LIVEKIT_PLIS, IN, keyframes_wanted);
        self.add(names::LIVEKIT_PLIS, OUT, keyframes_asked);
        metrics::counter!(names::PACKETS_OVER_LIMIT).increment(over_limit);
        metrics::counter!(names::PADDING_SENT).increment(sent.padding.packets);
        for (stage, count) in [("ice", stuck.ice), ("dtls", stuck.dtls)] {
            metrics::counter!(names::STUCK, "stage" => stage).increment(count);
        }
    }

    /// The part of its time that a media thread works.
    pub(crate) fn set_busy(&self, thread: ShardId, busy: f32) {
        metrics::gauge!(names::THREAD_BUSY, "thread" => thread.0.to_string()).set(f64::from(busy));
    }

    /// How a participant's connections do.
    pub(crate) fn observe_quality(&self, quality: &Quality) {
        if quality.arriving {
            self.observe(names::LIVEKIT_LOSS, IN, f64::from(quality.up_loss) * 100.0);
            self.observe(names::LIVEKIT_JITTER, IN, quality.up_jitter.as_secs_f64() * 1e6);
        }
        if !quality.receiving {
            return;
        }
        self.observe(names::LIVEKIT_LOSS, OUT, f64::from(quality.down_loss) * 100.0);
        self.observe(names::LIVEKIT_JITTER, OUT, quality.down_jitter.as_secs_f64() * 1e6);
        if !quality.rtt.is_zero() {
            self.observe(names::LIVEKIT_RTT, OUT, quality.rtt.as_secs_f64() * 1e3);
        }
    }
}

/// Counts for one room. When it is dropped, whatever is left counts as gone.
#[derive(Debug)]
pub(crate) struct Tally {
    node: Node,
    since: Instant,
    /// Those who are in, by name; and the names by connection.
    sessions: HashMap<String, Session>,
    sids: HashMap<PeerHandle, String>,
    /// Signalling protocol versions.
    protocols: HashMap<PeerHandle, i32>,
    /// Published tracks by name.
    published: HashMap<String, &'static str>,
    subscribed: HashMap<DownKey, (PeerHandle, MediaKind)>,
}

#[derive(Debug)]
struct Session {
    since: Instant,
    protocol: SharedString,
}

impl Tally {
    pub(crate) fn new(node: Node) -> Self {
        node.gauge(names::LIVEKIT_ROOMS, &[]).increment(1.0);
        Self {
            node,
            since: Instant::now(),
            sessions: HashMap::new(),
            sids: HashMap::new(),
            protocols: HashMap::new(),
            published: HashMap::new(),
            subscribed: HashMap::new(),
        }
    }

    /// Somebody asks to come in, with that version of the signalling protocol.
    pub(crate) fn coming(&mut self, peer: PeerHandle, protocol: i32) {
        self.protocols.insert(peer, protocol);
    }

    pub(crate) fn see(&mut self, effect: &Effect) {
        match effect {
            Effect::Signal { to, message } => {
                if let [peer] = to[..] {
                    self.signal(peer, message);
                }
            }
            Effect::Shard { command, .. } => self.command(command),
            Effect::Webhook(event) => self.event(event),
            Effect::CloseSignal { peer } => {
                self.protocols.remove(peer);
            }
            Effect::Rated { quality, score } => {
                self.node.observe(names::LIVEKIT_QUALITY_RATING, &[], f64::from(*quality as i32));
                self.node.observe(names::LIVEKIT_QUALITY_SCORE, &[], f64::from(*score));
            }
            Effect::Reply { .. } | Effect::Closed => {}
        }
    }

    fn signal(&mut self, peer: PeerHandle, message: &Signal) {
        match message {
            Signal::Join(join) => {
                let Some(participant) = &join.participant else { return };
                self.node.gauge(names::LIVEKIT_PARTICIPANTS, &[]).increment(1.0);
                self.join_state("rtc_init");
                self.sids.insert(peer, participant.sid.clone());
                let protocol = self.protocols.get(&peer).copied().unwrap_or_default();
                let protocol = SharedString::from(protocol.to_string());
                self.sessions.insert(participant.sid.clone(), Session { since: Instant::now(), protocol });
            }
            Signal::TrackPublished(published) => {
                let kind = published.track.as_ref().map_or("AUDIO", kind_of);
                self.node.count(names::LIVEKIT_PUBLISHES, &[label("kind", kind), label("state", "attempt")]);
            }
            _ => {}
        }
    }

    fn command(&mut self, command: &shard::Command) {
        match command {
            shard::Command::AddDown { peer, config } => {
                let before = self.subscribed.insert(config.key, (*peer, config.kind));
                if before.is_none() {
                    self.node.subscribed(config.kind).increment(1.0);
                    self.node.frequent.subscribes.increment(1);
                }
            }
            shard::Command::RemoveDown { key, .. } => self.unsubscribed(*key),
            shard::Command::RemovePeer { peer } => {
                let theirs = self.subscribed.iter().filter(|(_, (of, _))| of == peer);
                for key in theirs.map(|(key, _)| *key).collect::<Vec<_>>() {
                    self.unsubscribed(key);
                }
                if let Some(session) = self.sids.remove(peer).and_then(|sid| self.sessions.remove(&sid)) {
                    self.left(&session);
                }
            }
            _ => {}
        }
    }

    fn event(&mut self, event: &proto::WebhookEvent) {
        let sid = event.participant.as_ref().map_or("", |participant| participant.sid.as_str());
        match (event.event.as_str(), &event.track) {
            ("participant_joined", _) => {
                self.join_state("rtc_connected");
                self.join_state("rtc_active");
                if let Some(session) = self.sessions.get(sid) {
                    let labels = [("protocol_version", session.protocol.clone())];
                    self.node.observe(names::LIVEKIT_START_TIME, &labels, ms_since(session.since));
                }
            }
            ("participant_connection_aborted", _) => self.join_state("rtc_canceled"),
            ("track_published", Some(track)) => {
                let kind = kind_of(track);
                if self.published.insert(track.sid.clone(), kind).is_none() {
                    self.node.gauge(names::LIVEKIT_PUBLISHED, &[label("kind", kind)]).increment(1.0);
                    let labels = [label("kind", kind), label("state", "success")];
                    self.node.count(names::LIVEKIT_PUBLISHES, &labels);
                }
            }
            ("track_unpublished", Some(track)) => {
                if let Some(kind) = self.published.remove(&track.sid) {
                    self.node.gauge(names::LIVEKIT_PUBLISHED, &[label("kind", kind)]).decrement(1.0);
                }
            }
            _ => {}
        }
    }

    fn join_state(&self, state: &'static str) {
        self.node.count(names::LIVEKIT_JOINS, &[label("state", state)]);
    }

    fn unsubscribed(&mut self, key: DownKey) {
        if let Some((_, kind)) = self.subscribed.remove(&key) {
            self.node.subscribed(kind).decrement(1.0);
        }
    }

    fn left(&self, session: &Session) {
        self.node.gauge(names::LIVEKIT_PARTICIPANTS, &[]).decrement(1.0);
        let labels = [("protocol_version", session.protocol.clone())];
        self.node.observe(names::LIVEKIT_SESSION_DURATION, &labels, ms_since(session.since));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        for key in self.subscribed.keys().copied().collect::<Vec<_>>() {
            self.unsubscribed(key);
        }
        for kind in self.published.values() {
            self.node.gauge(names::LIVEKIT_PUBLISHED, &[label("kind", kind)]).decrement(1.0);
        }
        for session in self.sessions.values() {
            self.left(session);
        }
        self.node.gauge(names::LIVEKIT_ROOMS, &[]).decrement(1.0);
        self.node.observe(names::LIVEKIT_ROOM_DURATION, &[], self.since.elapsed().as_secs_f64());
    }
}

pub(crate) fn label(name: &'static str, value: &'static str) -> (&'static str, SharedString) {
    (name, SharedString::const_str(value))
}

fn kind_of(track: &proto::TrackInfo) -> &'static str {
    track.r#type().as_str_name()
}

fn ms_since(at: Instant) -> f64 {
    at.elapsed().as_secs_f64() * 1_000.0
}
