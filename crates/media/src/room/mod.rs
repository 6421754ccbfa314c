//! Room control: who is there, what they publish, who gets what, and every signal message.
//!
//! [`Room::step`] takes one command and returns what is to be done, in order. All messages to a participant
//! leave through these effects, so that an `update` always precedes the offer that names its track.

mod api;
mod backup;
mod config;
mod data;
mod data_tracks;
mod dispatch;
mod dynacast;
mod fuzz;
mod members;
mod news;
mod offers;
mod participant;
mod publish;
mod quality;
mod resume;
mod rights;
mod rpc;
mod sections;
mod simulate;
mod subscribe;
mod track;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::DisconnectReason;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use rand::Rng;

pub use api::{ApiCall, ApiError, ApiReply};
pub use config::{Limits, RoomDefaults, RoomOptions, TextLimits, TooLong};
pub use fuzz::{fuzz, fuzz_api};
pub use members::JoinRefused;
use news::News;
use participant::{Participant, Way};
use resume::Departed;
pub use rpc::RpcFailure;

use crate::downtrack::PlayoutDelay;
use crate::ids::{DownKey, Identity, PeerHandle, RoomId, RoomName, ShardId, SourceKey, random_sid};
use crate::sdp::{Codec, LocalEndpoint};
use crate::shard;
use crate::signalling::JoinParams;
use crate::token::ApiKeys;
use crate::turn;

/// The version that we announce; clients switch behaviour by it, so it is that of the LiveKit server whose
/// behaviour we have.
pub const ANNOUNCED_VERSION: &str = "1.13.5";
/// The signalling protocol version that we announce.
pub const ANNOUNCED_PROTOCOL: i32 = 17;

/// What all rooms of a server share.
#[derive(Debug)]
pub struct ServerFacts {
    /// Name of this machine, `ND_…`.
    pub node_id: String,
    /// Our addresses and certificate.
    pub endpoint: LocalEndpoint,
    /// The UDP port of each media thread, where each has its own; else the one that they share.
    pub udp_ports: Vec<u16>,
    /// Keys that refreshed tokens are signed with.
    pub keys: ApiKeys,
    /// Bounds.
    pub limits: Limits,
    /// Codecs that may be published, the preferred ones first (see [`Codec::DEFAULT`]).
    pub codecs: Vec<Codec>,
    /// What rooms are like where nothing else is said.
    pub rooms: RoomDefaults,
    /// How rooms are that ask for one of these names (`roomPreset`).
    pub presets: BTreeMap<String, RoomOptions>,
    /// Where the server stands, in the operator's words.
    pub region: String,
    /// The relay for clients that nothing else gets through to.
    pub turn: Option<turn::Announcement>,
}

impl ServerFacts {
    /// With the usual bounds, codecs and rooms.
    pub fn new(node_id: impl Into<String>, endpoint: LocalEndpoint, keys: ApiKeys) -> Self {
        Self {
            node_id: node_id.into(),
            udp_ports: Vec::new(),
            endpoint,
            keys,
            limits: Limits::default(),
            codecs: Codec::DEFAULT.to_vec(),
            rooms: RoomDefaults::default(),
            presets: BTreeMap::new(),
            region: String::new(),
            turn: None,
        }
    }
}

impl ServerFacts {
    /// How a room is to be that asks for a preset, if for any, and says more itself; `None` if there is no such preset.
    pub fn options(&self, preset: &str, said: RoomOptions) -> Option<RoomOptions> {
        match preset {
            "" => Some(said),
            named => self.presets.get(named).map(|preset| said.or(preset)),
        }
    }

    /// What clients of that media thread are told of us.
    fn endpoint_of(&self, shard: ShardId) -> Cow<'_, LocalEndpoint> {
        let port = self.udp_ports.get(usize::from(shard.0) % self.udp_ports.len().max(1)).copied();
        let own = port.filter(|port| self.endpoint.udp.first().is_some_and(|first| first.port() != *port));
        let Some(port) = own else { return Cow::Borrowed(&self.endpoint) };
        let mut endpoint = self.endpoint.clone();
        endpoint.udp.iter_mut().for_each(|address| address.set_port(port));
        Cow::Owned(endpoint)
    }
}

/// Time and chance of one step.
pub struct Moment<'a> {
    /// Now.
    pub now: Instant,
    /// Now, in Unix milliseconds.
    pub unix_ms: u64,
    /// Random numbers.
    pub rng: &'a mut dyn Rng,
}

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Something that a room is to deal with.
#[derive(Debug)]
pub enum Command {
    /// Somebody comes.
    Join {
        /// Who, and with what rights.
        params: Box<JoinParams>,
        /// Where their connections will live.
        peer: PeerHandle,
    },
    /// Somebody whom [`Room::resumable`] named is back, with a new signal connection.
    Resume {
        /// Who.
        peer: PeerHandle,
    },
    /// A signal message.
    Signal {
        /// From whom.
        peer: PeerHandle,
        /// What.
        request: Box<Request>,
    },
    /// The signal connection is gone.
    SignalClosed {
        /// Whose.
        peer: PeerHandle,
    },
    /// Something happened in a media thread.
    Media(shard::Event),
    /// A call of the server API.
    Api {
        /// Comes back with the reply.
        id: u64,
        /// What.
        call: ApiCall,
    },
    /// Time has passed.
    Timeout,
    /// The server stops: everybody is told to come again.
    Drain,
}

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Send a signal message.
    Signal {
        /// To whom: one, or many who are told the same.
        to: Vec<PeerHandle>,
        /// What.
        message: Box<Response>,
    },
    /// Close the signal connection once everything was sent.
    CloseSignal {
        /// Whose.
        peer: PeerHandle,
    },
    /// Tell a media thread.
    Shard {
        /// Which.
        shard: ShardId,
        /// What.
        command: Box<shard::Command>,
    },
    /// Tell those who registered for it.
    Webhook(Box<proto::WebhookEvent>),
    /// Answer a call of the server API.
    Reply {
        /// As given.
        id: u64,
        /// The answer.
        result: Result<ApiReply, ApiError>,
    },
    /// A participant's connections were rated, which happens every few seconds.
    Rated {
        /// In LiveKit's steps.
        quality: proto::ConnectionQuality,
        /// From 1 to 5.
        score: f32,
    },
    /// The room is over and must be forgotten.
    Closed,
}

/// Changed counts are told to everybody after this time.
const COUNTS_DELAY: Duration = Duration::from_secs(5);

/// A room.
pub struct Room {
    id: RoomId,
    name: RoomName,
    facts: Arc<ServerFacts>,
    info: proto::Room,
    sif_trailer: Vec<u8>,
    participants: BTreeMap<Identity, Participant>,
    by_peer: HashMap<PeerHandle, Identity>,
    by_source: HashMap<SourceKey, (Identity, String)>,
    /// Whose m-lines have changed in this step.
    unsettled: BTreeSet<Identity>,
    /// Who wants something else of which track since this step.
    wishes_changed: BTreeSet<(Identity, SourceKey)>,
    /// Who receives which data track may have changed in this step.
    data_unsettled: bool,
    /// When less may be wanted of which track.
    demand_checks: BTreeSet<(Instant, SourceKey)>,
    next_key: u64,
    /// Since when nobody is here, and whether somebody ever was.
    empty_since: Option<Instant>,
    was_used: bool,
    counts_due: Option<Instant>,
    departed: Departed,
    news: News,
    /// Who is to come by which way (a test hook of clients); the others choose.
    ways: BTreeMap<Identity, Way>,
    /// Calls of the server API that a participant has yet to answer.
    rpcs: BTreeMap<String, rpc::Waiting>,
    dispatches: Vec<proto::AgentDispatch>,
    playout_delay: Option<PlayoutDelay>,
    closed: bool,
    effects: Vec<Effect>,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("sid", &self.info.sid).finish_non_exhaustive()
    }
}

impl Room {
    /// An empty room, and the news of it.
    pub fn new(
        moment: &mut Moment<'_>,
        id: RoomId,
        name: RoomName,
        options: &RoomOptions,
        facts: Arc<ServerFacts>,
    ) -> (Self, Vec<Effect>) {
        let codec =
            |codec: Codec| proto::Codec { mime: codec.mime_type().to_owned(), fmtp_line: String::new() };
        let mut info = proto::Room {
            sid: random_sid("RM_", moment.rng),
            name: name.as_str().to_owned(),
            creation_time: (moment.unix_ms / 1000).cast_signed(),
            creation_time_ms: moment.unix_ms.cast_signed(),
            enabled_codecs: facts.codecs.iter().copied().map(codec).collect(),
            ..proto::Room::default()
        };
        facts.rooms.put_into(&mut info);
        options.put_into(&mut info);
        let mut sif_trailer = vec![0; 16];
        moment.rng.fill_bytes(&mut sif_trailer);
        let mut room = Self {
            id,
            name,
            playout_delay: options.playout_delay.or(facts.rooms.playout_delay),
            facts,
            info,
            sif_trailer,
            participants: BTreeMap::new(),
            by_peer: HashMap::new(),
            by_source: HashMap::new(),
            unsettled: BTreeSet::new(),
            wishes_changed: BTreeSet::new(),
            data_unsettled: false,
            demand_checks: BTreeSet::new(),
            next_key: 0,
            empty_since: Some(moment.now),
            was_used: false,
            counts_due: None,
            departed: Departed::default(),
            news: News::new(moment.now),
            ways: BTreeMap::new(),
            rpcs: BTreeMap::new(),
            dispatches: Vec::new(),
            closed: false,
            effects: Vec::new(),
        };
        room.add_dispatches(moment, &options.agents);
        room.webhook(moment, "room_started", |_| {});
        let effects = std::mem::take(&mut room.effects);
        (room, effects)
    }

    /// Its number.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// `RM_…`
    pub fn sid(&self) -> &str {
        &self.info.sid
    }

    /// Deals with one command. What is to be done must be done in the order given.
    pub fn step(&mut self, moment: &mut Moment<'_>, command: Command) -> Vec<Effect> {
        if self.closed {
            return Vec::new();
        }
        match command {
            Command::Join { params, peer } => self.join(moment, *params, peer),
            Command::Resume { peer } => self.resume(moment, peer),
            Command::Signal { peer, request } => self.signal(moment, peer, *request),
            Command::SignalClosed { peer } => self.signal_closed(moment, peer),
            Command::Media(event) => self.media(moment, event),
            Command::Api { id, call } => self.api(moment, id, call),
            Command::Timeout => self.timeout(moment),
            Command::Drain => self.drain(moment),
        }
        self.settle_rpcs(moment.now);
        self.tell_recording();
        self.settle_data_tracks();
        self.negotiate_all(moment);
        self.settle_demand(moment.now);
        std::mem::take(&mut self.effects)
    }

    /// When [`Command::Timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let closing = self.empty_since.map(|since| since + self.time_alone());
        let participants = self.participants.values().filter_map(Participant::deadline);
        let demand = self.demand_checks.first().map(|(at, _)| *at);
        let rpcs = self.rpcs.values().map(rpc::Waiting::deadline);
        participants
            .chain(closing)
            .chain(self.counts_due)
            .chain(self.news.due())
            .chain(demand)
            .chain(rpcs)
            .min()
    }

    fn time_alone(&self) -> Duration {
        let seconds = if self.was_used { self.info.departure_timeout } else { self.info.empty_timeout };
        Duration::from_secs(u64::from(seconds))
    }

    fn signal(&mut self, moment: &mut Moment<'_>, peer: PeerHandle, request: Request) {
        let Some(identity) = self.by_peer.get(&peer).cloned() else { return };
        if let Some(participant) = self.participants.get_mut(&identity) {
            participant.heard_at = moment.now;
        }
        match request {
            Request::Offer(offer) => self.client_offer(moment, &identity, offer),
            Request::Answer(answer) => self.subscriber_answer(moment, &identity, answer),
            Request::AddTrack(request) => self.add_track(moment, &identity, request),
            Request::Mute(request) => self.mute(moment, &identity, &request.sid, request.muted),
            Request::Subscription(request) => self.subscription(&identity, &request),
            Request::TrackSetting(request) => self.track_setting(&identity, &request),
            Request::Leave(_) => self.remove(moment, &identity, DisconnectReason::ClientInitiated, None),
            Request::SubscriptionPermission(request) => self.subscription_permission(&identity, &request),
            Request::Ping(_) => self.send(peer, Response::Pong(moment.unix_ms.cast_signed())),
            Request::PingReq(ping) => {
                let pong = proto::Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: moment.unix_ms.cast_signed(),
                };
                self.send(peer, Response::PongResp(pong));
            }
            Request::UpdateMetadata(request) => self.update_own_metadata(moment, &identity, request),
            Request::UpdateAudioTrack(request) => self.update_audio_track(&identity, &request),
            Request::UpdateVideoTrack(request) => self.update_video_track(&identity, &request),
            Request::PublishDataTrackRequest(request) => self.publish_data_track(moment, &identity, request),
            Request::UnpublishDataTrackRequest(request) => self.unpublish_data_track(&identity, request),
            Request::UpdateDataSubscription(request) => self.data_subscription(&identity, &request),
            Request::StoreDataBlobRequest(request) => self.refuse_blob(peer, request.request_id),
            Request::GetDataBlobRequest(request) => self.refuse_blob(peer, request.request_id),
            Request::SyncState(state) => self.sync_state(moment, &identity, state),
            Request::Simulate(request) => self.simulate(moment, &identity, &request),
            // Candidates of clients are not needed: we are a lite agent and learn addresses from their checks.
            // The rest is deprecated.
            Request::Trickle(_) | Request::UpdateLayers(_) => {}
        }
    }

    fn media(&mut self, moment: &mut Moment<'_>, event: shard::Event) {
        let Some(identity) = self.by_peer.get(&event.peer).cloned() else { return };
        match event.kind {
            shard::EventKind::Connected(side) => self.connected(moment, &identity, side),
            shard::EventKind::ChannelsOpen => self.channels_open(moment, &identity),
            shard::EventKind::Data { reliable, payload } => self.data(&identity, reliable, &payload),
            shard::EventKind::Failed(failure) => self.failed(moment, &identity, failure),
            shard::EventKind::Levels(levels) => self.levels(&identity, &levels),
            shard::EventKind::Paused(tracks) => self.paused(&identity, &tracks),
            shard::EventKind::Quality(quality) => self.quality(&identity, quality),
            shard::EventKind::Stuck { side, stage } => self.stuck(&identity, side, stage),
        }
    }

    /// Blobs are off in livekit-server unless they are switched on, and clients are told so.
    fn refuse_blob(&mut self, peer: PeerHandle, request_id: u32) {
        let response = proto::RequestResponse {
            reason: proto::request_response::Reason::NotAllowed as i32,
            message: "there are no data blobs on this server".into(),
            request_id,
            ..proto::RequestResponse::default()
        };
        self.send(peer, Response::RequestResponse(response));
    }

    /// Answers a request that cannot be followed.
    fn refuse(
        &mut self,
        peer: PeerHandle,
        reason: proto::request_response::Reason,
        message: &str,
        request: proto::request_response::Request,
    ) {
        let response = proto::RequestResponse {
            reason: reason as i32,
            message: message.to_owned(),
            request: Some(request),
            ..proto::RequestResponse::default()
        };
        self.send(peer, Response::RequestResponse(response));
    }

    fn send(&mut self, peer: PeerHandle, message: Response) {
        self.send_all(vec![peer], message);
    }

    fn send_all(&mut self, to: Vec<PeerHandle>, message: Response) {
        if !to.is_empty() {
            self.effects.push(Effect::Signal { to, message: Box::new(message) });
        }
    }

    fn tell_shard(&mut self, peer: PeerHandle, command: shard::Command) {
        self.effects.push(Effect::Shard { shard: peer.shard, command: Box::new(command) });
    }

    fn webhook(&mut self, moment: &mut Moment<'_>, event: &str, fill: impl FnOnce(&mut proto::WebhookEvent)) {
        self.count();
        let mut webhook = proto::WebhookEvent {
            event: event.to_owned(),
            room: Some(self.info.clone()),
            id: random_sid("EV_", moment.rng),
            created_at: (moment.unix_ms / 1000).cast_signed(),
            ..proto::WebhookEvent::default()
        };
        fill(&mut webhook);
        // Most events are about tracks: there the room is only named.
        if webhook.track.is_some() && !self.facts.rooms.full_room_in_webhooks {
            let (sid, name) = (self.info.sid.clone(), self.info.name.clone());
            webhook.room = Some(proto::Room { sid, name, ..proto::Room::default() });
        }
        self.effects.push(Effect::Webhook(Box::new(webhook)));
    }

    /// Everybody is told at once that a recording has begun or ended.
    fn tell_recording(&mut self) {
        let recording = self.participants.values().any(Participant::is_recorder);
        if !self.closed && recording != self.info.active_recording {
            self.info.active_recording = recording;
            self.broadcast_room();
        }
    }

    fn count(&mut self) {
        let visible = || self.participants.values().filter(|p| !p.permission.hidden);
        let (all, publishers) = (visible().count(), visible().filter(|p| p.is_publisher()).count());
        self.info.num_participants = all as u32;
        self.info.num_publishers = publishers as u32;
    }

    /// A number that no other track or subscription of this process has.
    fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.id.0 << 32 | self.next_key
    }

    fn new_source(&mut self) -> SourceKey {
        SourceKey(self.new_key())
    }

    fn new_down(&mut self) -> DownKey {
        DownKey(self.new_key())
    }
}

#[cfg(test)]
mod tests;
