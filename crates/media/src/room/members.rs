//! Coming, going, and what the others learn of it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::participant_info::State;
use proto::signal_response::Message as Response;
use proto::{DisconnectReason, ParticipantInfo};
use rand::RngExt;

use super::data_tracks::DataHandles;
use super::participant::{Participant, PublisherSide, Requested, SubscriberSide, Way};
use super::simulate::Simulated;
use super::{ANNOUNCED_PROTOCOL, ANNOUNCED_VERSION, COUNTS_DELAY, Effect, Moment, Room};
use crate::ids::{IceCredentials, Identity, PeerHandle, random_sid};
use crate::sdp::PayloadTypes;
use crate::shard::{self, Connections, Failure, Side, Stage};
use crate::signalling::{JoinParams, grant_of};
use crate::token::{Claims, sign};
use crate::turn::Announcement;

/// Whoever is not connected by then is removed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to come back for somebody whose signal connection broke while media goes on; clients try for less than that.
const SIGNAL_GRACE: Duration = Duration::from_secs(60);
/// Time between fresh tokens, and their shortest life (LiveKit's values).
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
const REFRESH_LIFE_S: u64 = 600;
/// Seconds between pings of a client, and until it gives up (LiveKit's values; zero breaks clients).
const PING_INTERVAL_S: i32 = 5;
const PING_TIMEOUT_S: i32 = 15;

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// The room has as many participants as it may have.
    #[error("the room is full (max_participants)")]
    Full,
}

impl Room {
    /// Whether somebody may come in.
    pub fn admits(&self, identity: &Identity, dependent: bool) -> Result<(), JoinRefused> {
        let others = self
            .participants
            .iter()
            .filter(|(other, p)| *other != identity && (dependent || !p.is_dependent()));
        let others = others.count();
        let own = self.info.max_participants as usize;
        let bound = if own == 0 || dependent { self.facts.limits.participants } else { own };
        if others < bound { Ok(()) } else { Err(JoinRefused::Full) }
    }

    pub(super) fn join(&mut self, moment: &mut Moment<'_>, mut params: JoinParams, peer: PeerHandle) {
        let identity = params.identity.clone();
        let dependent = params.is_dependent();
        if self.admits(&identity, dependent).is_err() {
            self.send(peer, leave(&params, DisconnectReason::JoinFailure, Action::Disconnect));
            self.effects.push(Effect::CloseSignal { peer });
            return;
        }
        self.remove(moment, &identity, DisconnectReason::DuplicateIdentity, Some(Action::Disconnect));
        if self.news.mentions(&identity) {
            // Whoever comes in between must not take this one for the one who left.
            self.tell_news();
        }
        let opening = std::mem::take(&mut params.opening);
        let mut participant = new_participant(moment, params, peer);
        participant.way = self.ways.get(&identity).copied().unwrap_or_default();
        // An only connection needs to know the client's payload types: it is made at the first offer.
        if !participant.has_one_connection() {
            let publisher = participant.publisher.credentials.clone();
            let subscriber = participant.subscriber.credentials.clone();
            let connections = Connections::Two { publisher, subscriber };
            let allow_pause = participant.params.allow_pause;
            self.tell_shard(peer, shard::Command::AddPeer { peer, room: self.id, connections, allow_pause });
        }
        self.by_peer.insert(peer, identity.clone());
        self.participants.insert(identity.clone(), participant);
        if !dependent {
            self.empty_since = None;
            self.was_used = true;
        }
        self.counts_due.get_or_insert(moment.now + COUNTS_DELAY);
        self.count();

        let welcome = self.welcome(moment, &identity);
        self.send(peer, Response::Join(welcome));
        self.refresh_token(moment, &identity);
        self.announce(moment.now, &identity);
        self.reconcile(&identity);
        for request in opening.tracks {
            self.add_track(moment, &identity, request);
        }
        if let Some(offer) = opening.offer {
            self.client_offer(moment, &identity, offer);
        }
        // The first offer goes out even without tracks: it carries the data channels.
        self.unsettled.insert(identity);
    }

    fn welcome(&self, moment: &Moment<'_>, identity: &Identity) -> proto::JoinResponse {
        let own = &self.participants[identity];
        let others = self.participants.iter().filter(|(other, p)| *other != identity && !p.permission.hidden);
        proto::JoinResponse {
            room: Some(self.info.clone()),
            participant: Some(own.info()),
            other_participants: others.map(|(_, participant)| participant.info()).collect(),
            server_version: ANNOUNCED_VERSION.into(),
            server_region: self.facts.region.clone(),
            server_info: Some(self.server_info()),
            subscriber_primary: !own.has_one_connection() && own.permission.can_subscribe,
            ice_servers: self.ice_servers(moment, own),
            client_configuration: Some(own.configuration()),
            ping_interval: PING_INTERVAL_S,
            ping_timeout: PING_TIMEOUT_S,
            sif_trailer: self.sif_trailer.clone(),
            enabled_publish_codecs: self.info.enabled_codecs.clone(),
            fast_publish: own.permission.can_publish,
            ..proto::JoinResponse::default()
        }
    }

    /// Our own relay, with credentials from now on.
    pub(super) fn ice_servers(&self, moment: &Moment<'_>, of: &Participant) -> Vec<proto::IceServer> {
        let announced =
            |turn: &Announcement| turn.ice_servers(&of.info.sid, moment.unix_ms / 1000, of.way == Way::Tls);
        self.facts.turn.as_ref().map(announced).unwrap_or_default()
    }

    pub(super) fn server_info(&self) -> proto::ServerInfo {
        proto::ServerInfo {
            version: ANNOUNCED_VERSION.into(),
            protocol: ANNOUNCED_PROTOCOL,
            node_id: self.facts.node_id.clone(),
            region: self.facts.region.clone(),
            ..proto::ServerInfo::default()
        }
    }

    /// Takes somebody out of the room. `action` is what their client is told to do; `None` if it left by itself.
    pub(super) fn remove(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        reason: DisconnectReason,
        action: Option<Action>,
    ) {
        let Some(mut participant) = self.participants.remove(identity) else { return };
        let peer = participant.peer;
        self.by_peer.remove(&peer);
        if let Some(action) = action {
            self.send(peer, leave(&participant.params, reason, action));
        }
        self.effects.push(Effect::CloseSignal { peer });
        self.tell_shard(peer, shard::Command::RemovePeer { peer });
        let received = participant.subscriber.lines.iter().filter_map(|line| line.carrying.as_ref());
        self.data_unsettled = true;
        self.wishes_changed.extend(received.map(|carrying| (identity.clone(), carrying.source)));

        let published = participant.is_publisher();
        let info = self.departed(moment, &mut participant, reason);
        if !participant.permission.hidden {
            self.announce_departure(moment.now, info.clone(), published);
            self.departed.remember(moment.now, info);
        }
        if self.participants.values().all(Participant::is_dependent) {
            self.empty_since.get_or_insert(moment.now);
        }
        self.counts_due.get_or_insert(moment.now + COUNTS_DELAY);
        self.count();
    }

    /// Forgets the tracks of somebody who has left, and reports it all. Returns what the others may know.
    fn departed(
        &mut self,
        moment: &mut Moment<'_>,
        participant: &mut Participant,
        reason: DisconnectReason,
    ) -> ParticipantInfo {
        let tracks = std::mem::take(&mut participant.tracks);
        let event =
            if participant.is_active() { "participant_left" } else { "participant_connection_aborted" };
        participant.info.state = State::Disconnected as i32;
        participant.info.disconnect_reason = reason as i32;
        participant.touch();
        let info = participant.info();
        for (sid, track) in tracks {
            track.renditions().for_each(|rendition| drop(self.by_source.remove(&rendition.source)));
            self.withdraw_track(&sid);
            self.webhook(moment, "track_unpublished", |event| {
                event.participant = Some(info.clone());
                event.track = Some(track.info);
            });
        }
        self.webhook(moment, event, |event| event.participant = Some(info.clone()));
        info
    }

    /// Removes everybody and ends the room.
    pub(super) fn close(&mut self, moment: &mut Moment<'_>, reason: DisconnectReason, action: Action) {
        // All at once: nobody has to hear that the others go too, and no m-line has to follow.
        for (_, mut participant) in std::mem::take(&mut self.participants) {
            let peer = participant.peer;
            self.send(peer, leave(&participant.params, reason, action));
            self.effects.push(Effect::CloseSignal { peer });
            self.tell_shard(peer, shard::Command::RemovePeer { peer });
            self.departed(moment, &mut participant, reason);
        }
        self.by_peer.clear();
        self.by_source.clear();
        self.webhook(moment, "room_finished", |event| event.room_end_reason = room_end(reason) as i32);
        self.effects.push(Effect::Closed);
        self.closed = true;
    }

    /// The server stops: everybody is to come again.
    pub(super) fn drain(&mut self, moment: &mut Moment<'_>) {
        self.close(moment, DisconnectReason::ServerShutdown, Action::Reconnect);
    }

    pub(super) fn signal_closed(&mut self, moment: &mut Moment<'_>, peer: PeerHandle) {
        let Some(identity) = self.by_peer.get(&peer).cloned() else { return };
        let Some(participant) = self.participants.get_mut(&identity) else { return };
        if participant.is_active() {
            participant.gone_at = Some(moment.now + SIGNAL_GRACE);
        } else {
            self.remove(moment, &identity, DisconnectReason::SignalClose, None);
        }
    }

    pub(super) fn connected(&mut self, moment: &mut Moment<'_>, identity: &Identity, side: Side) {
        // Where channels to the client were agreed on, being connected is not all.
        let is_ready = |participant: &Participant| match participant.has_one_connection() {
            true => !participant.publisher.has_data,
            false => !participant.permission.can_subscribe,
        };
        if side == Side::Publisher && self.participants.get(identity).is_some_and(is_ready) {
            self.activate(moment, identity);
        }
    }

    pub(super) fn channels_open(&mut self, moment: &mut Moment<'_>, identity: &Identity) {
        self.activate(moment, identity);
    }

    fn activate(&mut self, moment: &mut Moment<'_>, identity: &Identity) {
        let Some(participant) = self.participants.get_mut(identity).filter(|p| !p.is_active()) else {
            return;
        };
        participant.connect_by = None;
        participant.info.state = State::Active as i32;
        participant.touch();
        let info = participant.info();
        let answer = participant.subscriber.held_answer.take();
        self.announce(moment.now, identity);
        self.data_unsettled = true;
        self.webhook(moment, "participant_joined", |event| event.participant = Some(info));
        if let Some(answer) = answer {
            self.activate_lines(moment, identity, &answer);
        }
        let Some(participant) = self.participants.get(identity) else { return };
        for sid in participant.tracks.keys().cloned().collect::<Vec<_>>() {
            self.offer_track(identity, &sid);
        }
    }

    pub(super) fn failed(&mut self, moment: &mut Moment<'_>, identity: &Identity, failure: Failure) {
        let reason = match failure {
            Failure::Unreachable => DisconnectReason::ConnectionTimeout,
            Failure::Closed | Failure::Protocol | Failure::SlowData | Failure::Panic => {
                DisconnectReason::StateMismatch
            }
        };
        self.remove(moment, identity, reason, Some(Action::Reconnect));
    }

    /// A connection does not come about; the operator should know why.
    pub(super) fn stuck(&self, identity: &Identity, side: Side, stage: Stage) {
        let Some(participant) = self.participants.get(identity) else { return };
        let sid = participant.info.sid.as_str();
        match stage {
            Stage::Ice => tracing::warn!(
                participant.sid = sid,
                ?side,
                "A client does not reach the media ports: no connectivity check has come. Are the addresses that the log \
                 names at the start open for it, UDP and TCP?"
            ),
            Stage::Dtls => tracing::warn!(
                participant.sid = sid,
                ?side,
                "A client reaches the media ports, but the DTLS handshake does not end: datagrams are lost, or something on \
                 the way lets only small ones through"
            ),
        }
    }

    pub(super) fn timeout(&mut self, moment: &mut Moment<'_>) {
        let now = moment.now;
        let past = |at: Option<std::time::Instant>| at.is_some_and(|at| at <= now);
        let due: Vec<Identity> = self
            .participants
            .iter()
            .filter(|(_, p)| p.deadline().is_some_and(|at| at <= now))
            .map(|(identity, _)| identity.clone())
            .collect();
        for identity in due {
            let Some(participant) = self.participants.get(&identity) else { continue };
            if past(participant.connect_by) {
                self.remove(moment, &identity, DisconnectReason::JoinFailure, Some(Action::Reconnect));
            } else if past(participant.gone_at) {
                self.remove(moment, &identity, DisconnectReason::SignalClose, None);
            } else if past(participant.subscriber.outstanding.and_then(|offer| offer.answer_by)) {
                self.remove(moment, &identity, DisconnectReason::StateMismatch, Some(Action::Reconnect));
            } else if past(participant.held_answer.as_ref().map(|(at, _)| *at)) {
                self.send_held_answer(&identity);
            } else if past(participant.simulated.speaks_until) {
                self.end_simulated_speech(&identity);
            } else if participant.refresh_at <= now {
                self.refresh_token(moment, &identity);
            }
        }
        self.check_demand(now);
        self.tell_due_news(now);
        if past(self.counts_due) {
            self.counts_due = None;
            self.broadcast_room();
        }
        if self.empty_since.is_some_and(|since| since + self.time_alone() <= now) {
            self.close(moment, DisconnectReason::RoomClosed, Action::Disconnect);
        }
    }

    pub(super) fn broadcast_room(&mut self) {
        self.count();
        let update = proto::RoomUpdate { room: Some(self.info.clone()) };
        self.send_all(self.everybody(), Response::RoomUpdate(update));
    }

    /// Sends a token that carries what holds now.
    pub(super) fn refresh_token(&mut self, moment: &mut Moment<'_>, identity: &Identity) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        participant.refresh_at = moment.now + REFRESH_INTERVAL;
        let Some((key, secret)) = self.facts.keys.first() else { return };
        let now = moment.unix_ms / 1000;
        let info = &participant.info;
        let claims = Claims {
            iss: key.to_owned(),
            sub: identity.as_str().to_owned(),
            nbf: Some(now),
            exp: Some(participant.params.expires_at.max(now + REFRESH_LIFE_S)),
            name: info.name.clone(),
            metadata: info.metadata.clone(),
            attributes: info.attributes.clone().into_iter().collect(),
            kind: participant.params.kind.as_str_name().to_ascii_lowercase(),
            video: Some(grant_of(&participant.permission, &self.name)),
            ..Claims::default()
        };
        let (peer, token) = (participant.peer, sign(&claims, secret));
        self.send(peer, Response::RefreshToken(token));
    }
}

fn new_participant(moment: &mut Moment<'_>, params: JoinParams, peer: PeerHandle) -> Participant {
    let rng = &mut *moment.rng;
    let info = ParticipantInfo {
        sid: random_sid("PA_", rng),
        identity: params.identity.as_str().to_owned(),
        name: params.name.clone(),
        state: State::Joined as i32,
        metadata: params.metadata.clone(),
        attributes: params.attributes.clone(),
        joined_at: (moment.unix_ms / 1000).cast_signed(),
        joined_at_ms: moment.unix_ms.cast_signed(),
        version: 1,
        kind: params.kind as i32,
        kind_details: params.kind_details.clone(),
        client_protocol: params.client_protocol,
        ..ParticipantInfo::default()
    };
    Participant {
        peer,
        info,
        permission: params.permission.clone(),
        publisher: PublisherSide {
            credentials: IceCredentials::generate(peer.shard, rng),
            payload_types: PayloadTypes::ours(),
            has_data: false,
            session_id: rng.random::<u64>() >> 2,
            remote_ufrag: None,
            lines: BTreeMap::new(),
        },
        subscriber: SubscriberSide {
            credentials: IceCredentials::generate(peer.shard, rng),
            session_id: rng.random::<u64>() >> 2,
            version: 0,
            remote_ufrag: None,
            next_offer: rng.random_range(1..=256),
            outstanding: None,
            held_answer: None,
            dirty: false,
            lines: Vec::new(),
            subscriptions: BTreeMap::new(),
            waiting: Vec::new(),
            requested: Requested::default(),
            wishes: HashMap::new(),
            data_handles: DataHandles::default(),
            failed: HashSet::new(),
            next_mid: 1,
        },
        tracks: BTreeMap::new(),
        data_tracks: BTreeMap::new(),
        pending: VecDeque::new(),
        audience: None,
        connect_by: Some(moment.now + CONNECT_TIMEOUT),
        gone_at: None,
        heard_at: moment.now,
        way: Way::default(),
        held_answer: None,
        simulated: Simulated::default(),
        refresh_at: moment.now + REFRESH_INTERVAL,
        level: 0.0,
        quality: None,
        score: 5.0,
        data_sequence: 0,
        nonces: VecDeque::new(),
        params,
    }
}

/// Why a room is over, by what its people are told.
fn room_end(reason: DisconnectReason) -> proto::RoomEndReason {
    match reason {
        DisconnectReason::RoomDeleted => proto::RoomEndReason::RoomEndApiDelete,
        DisconnectReason::RoomClosed => proto::RoomEndReason::RoomEndIdleTimeout,
        DisconnectReason::ServerShutdown => proto::RoomEndReason::RoomEndServerShutdown,
        _ => proto::RoomEndReason::RoomEndUnknown,
    }
}

/// A `leave` in the words of the client's protocol version.
fn leave(params: &JoinParams, reason: DisconnectReason, action: Action) -> Response {
    Response::Leave(proto::LeaveRequest {
        can_reconnect: params.protocol < 13 && action != Action::Disconnect,
        reason: reason as i32,
        action: action as i32,
        ..proto::LeaveRequest::default()
    })
}
