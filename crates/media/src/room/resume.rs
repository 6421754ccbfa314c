//! Going on after the signal connection was lost: connections, tracks and subscriptions stay as they are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::signal_response::Message as Response;
use proto::{DisconnectReason, ParticipantInfo};

use super::participant::{Participant, Requested};
use super::simulate::OnResume;
use super::{Effect, Moment, Room};
use crate::ids::{IceCredentials, Identity, PeerHandle};

/// Nobody resumes after a longer time without signals.
const REMEMBERED_FOR: Duration = Duration::from_secs(120);
/// A message to a client that was heard of so much later may still be lost.
const ON_THE_WAY: Duration = Duration::from_secs(1);
/// Most participants that are remembered.
const REMEMBERED_MAX: usize = 1_000;

/// Who has left lately: whoever was away then has to be told.
#[derive(Debug, Default)]
pub(super) struct Departed(VecDeque<(Instant, ParticipantInfo)>);

impl Departed {
    pub(super) fn remember(&mut self, now: Instant, mut info: ParticipantInfo) {
        // What it was counts no more; that it is gone does.
        info.metadata.clear();
        info.attributes.clear();
        self.0.push_back((now, info));
        let is_over = |at: Instant| now.saturating_duration_since(at) > REMEMBERED_FOR;
        while self.0.len() > REMEMBERED_MAX || self.0.front().is_some_and(|(at, _)| is_over(*at)) {
            self.0.pop_front();
        }
    }
}

impl Room {
    /// Who is meant by somebody that wants to go on as the participant `sid` (anybody of that identity where it is
    /// empty). `None` if there is nothing to go on with; the client is then to join anew.
    pub fn resumable(&self, identity: &Identity, sid: &str) -> Option<PeerHandle> {
        let participant = self.participants.get(identity)?;
        let is_meant = sid.is_empty() || participant.info.sid == sid;
        (is_meant && participant.is_active()).then_some(participant.peer)
    }

    /// A participant has a new signal connection; nothing that was said on the old one after it broke has arrived.
    pub(super) fn resume(&mut self, moment: &mut Moment<'_>, peer: PeerHandle) {
        let Some(identity) = self.by_peer.get(&peer).cloned() else { return };
        let Some(participant) = self.participants.get_mut(&identity) else { return };
        participant.gone_at = None;
        let simulated = participant.simulated.take_on_resume(moment.now);
        if simulated == Some(OnResume::CloseAtOnce) {
            self.break_signal(moment, peer);
            return;
        }
        let heard_at = std::mem::replace(&mut participant.heard_at, moment.now);
        let last_message_seq = participant.data_sequence;
        let configuration = participant.configuration();
        let ice_servers = self.ice_servers(moment, &self.participants[&identity]);
        self.send(
            peer,
            Response::Reconnect(proto::ReconnectResponse {
                ice_servers,
                client_configuration: Some(configuration),
                server_info: Some(self.server_info()),
                last_message_seq,
            }),
        );
        // Who is here again was gone only for a client that was away then: others would lose them.
        let was_away = |at: Instant| at + ON_THE_WAY >= heard_at;
        let is_here = |info: &ParticipantInfo| {
            Identity::new(info.identity.as_str()).is_ok_and(|other| self.participants.contains_key(&other))
        };
        let news = self.departed.0.iter().filter(|(at, info)| was_away(*at) || !is_here(info));
        let departed: Vec<ParticipantInfo> = news.map(|(_, info)| info.clone()).collect();
        if !departed.is_empty() {
            self.send(peer, Response::Update(proto::ParticipantUpdate { participants: departed }));
        }
        let visible = |(other, p): &(&Identity, &Participant)| **other == identity || !p.permission.hidden;
        let participants = self.participants.iter().filter(visible).map(|(_, p)| p.info()).collect();
        self.send(peer, Response::Update(proto::ParticipantUpdate { participants }));
        self.send(peer, Response::RoomUpdate(proto::RoomUpdate { room: Some(self.info.clone()) }));
        self.refresh_token(moment, &identity);
        self.negotiate_again(moment, &identity);
        self.repeat_demand(&identity, None);
        if simulated == Some(OnResume::CloseAfterwards) {
            self.break_signal(moment, peer);
        }
    }

    fn break_signal(&mut self, moment: &mut Moment<'_>, peer: PeerHandle) {
        self.effects.push(Effect::CloseSignal { peer });
        self.signal_closed(moment, peer);
    }

    /// An offer or a request for one may be lost. With two connections the offer has new credentials, because the
    /// client may have come by another way; on its only connection a client begins that itself.
    fn negotiate_again(&mut self, moment: &mut Moment<'_>, identity: &Identity) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let (peer, is_only) = (participant.peer, participant.has_one_connection());
        let side = &mut participant.subscriber;
        side.outstanding = None;
        side.requested = Requested::default();
        if !is_only && side.remote_ufrag.is_some() {
            side.credentials = IceCredentials::generate(peer.shard, moment.rng);
        }
        self.unsettled.insert(identity.clone());
    }

    /// What the client believes to be true after it was away.
    pub(super) fn sync_state(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        state: proto::SyncState,
    ) {
        let Some(participant) = self.participants.get(identity) else { return };
        let is_known = |response: &proto::TrackPublishedResponse| {
            let Some(track) = &response.track else { return true };
            let pending = || participant.pending.iter().any(|pending| pending.info.sid == track.sid);
            participant.tracks.contains_key(&track.sid) || pending()
        };
        let is_there = |response: &proto::PublishDataTrackResponse| {
            let Some(track) = &response.info else { return true };
            participant.data_tracks.values().any(|own| own.info.sid == track.sid)
        };
        if !state.publish_tracks.iter().all(is_known) || !state.publish_data_tracks.iter().all(is_there) {
            // It sends what nobody can receive; only coming again helps.
            self.remove(moment, identity, DisconnectReason::StateMismatch, Some(Action::Reconnect));
            return;
        }
        if let Some(subscription) = &state.subscription {
            self.subscription(identity, subscription);
        }
        self.disable(identity, &state.track_sids_disabled);
    }
}
