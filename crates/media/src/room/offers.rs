//! Clients' offers: what becomes of each m-line, and the answer.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::signal_response::Message as Response;
use proto::{DisconnectReason, TrackInfo};

use super::participant::{Participant, UpLine};
use super::publish::kind_of;
use super::track::Pending;
use super::{Moment, Room, ServerFacts};
use crate::ids::{IceCredentials, Identity, SourceKey};
use crate::ingest::{MAX_LAYERS, UpMedia};
use crate::sdp::{
    self, AnswerPlan, Codec, Direction, Media, MediaKind, MediaPlan, MediaType, PayloadTypes, RecvPlan,
    Session, accepted_extensions, write_answer,
};
use crate::shard::{self, Connections, Side};
use crate::transport::Remote;

impl Room {
    /// An offer of the client: of its publisher connection, or of its only one.
    pub(super) fn client_offer(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        offer: proto::SessionDescription,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let session = match sdp::parse(&offer.sdp) {
            Ok(session) => session,
            Err(error) => {
                tracing::info!(%error, "An offer cannot be read; its client is told to come again");
                self.remove(moment, identity, DisconnectReason::StateMismatch, Some(Action::Disconnect));
                return;
            }
        };
        let (peer, is_only) = (participant.peer, participant.has_one_connection());
        let allow_pause = participant.params.allow_pause;
        let side = &mut participant.publisher;
        let first = side.remote_ufrag.is_none();
        if side.remote_ufrag.as_ref().is_some_and(|ufrag| *ufrag != session.ice_ufrag) {
            side.credentials = IceCredentials::generate(peer.shard, moment.rng);
            let (local, remote) = (side.credentials.clone(), remote_credentials(&session));
            let restart = shard::Command::RestartIce { peer, side: Side::Publisher, local, remote };
            self.tell_shard(peer, restart);
        }
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let side = &mut participant.publisher;
        side.remote_ufrag = Some(session.ice_ufrag.clone());
        side.has_data |= session.media.iter().any(|m| m.kind == MediaType::Application && !m.rejected);
        if first && is_only {
            side.payload_types = PayloadTypes::of_offer(&session);
            let (credentials, payload_types) = (side.credentials.clone(), side.payload_types.clone());
            let connections = Connections::One { credentials, payload_types };
            self.tell_shard(peer, shard::Command::AddPeer { peer, room: self.id, connections, allow_pause });
        }
        if is_only {
            self.fill_lines(identity, &session);
        }

        let Some(participant) = self.participants.get_mut(identity) else { return };
        let mut plans = Vec::with_capacity(session.media.len());
        let mut update = shard::PublishUpdate {
            remote: first.then(|| remote_of(&session, false)),
            extensions: extensions(&session),
            ..shard::PublishUpdate::default()
        };
        let mut ended = Vec::new();
        for media in &session.media {
            let plan = participant.plan_to_send(media);
            plans.push(
                plan.unwrap_or_else(|| plan_line(participant, media, &self.facts, &mut update, &mut ended)),
            );
        }
        // An m-line that is not in the offer any more was recycled under another name.
        let present: BTreeSet<&str> = session.media.iter().map(|media| media.mid.as_str()).collect();
        let gone: Vec<String> = participant
            .publisher
            .lines
            .keys()
            .filter(|mid| !present.contains(mid.as_str()))
            .cloned()
            .collect();
        for mid in gone {
            ended.extend(participant.publisher.lines.remove(&mid).and_then(|line| line.source));
            update.remove.push(mid);
        }
        let side = &participant.publisher;
        let answer = write_answer(
            &session,
            &AnswerPlan {
                credentials: &side.credentials,
                endpoint: &participant.endpoint(&self.facts),
                session_id: side.session_id,
                playout_delay: self.playout_delay.is_some(),
                media: &plans,
            },
        );
        let mid_to_track_id = if is_only { participant.tracks_of_lines() } else { HashMap::new() };
        for source in ended {
            self.end_rendition(moment, identity, source);
        }
        self.tell_shard(peer, shard::Command::Publish { peer, update });
        let answer =
            proto::SessionDescription { r#type: "answer".into(), sdp: answer, id: offer.id, mid_to_track_id };
        match self.participants.get_mut(identity).filter(|own| first && own.params.sdk == "go") {
            Some(own) => own.held_answer = Some((moment.now + EARLIEST_ANSWER, answer)),
            None => self.send(peer, Response::Answer(answer)),
        }
        if is_only {
            self.lines_agreed(moment, identity, session);
        }
        self.match_tracks(moment, identity);
    }

    pub(super) fn send_held_answer(&mut self, identity: &Identity) {
        let Some(own) = self.participants.get_mut(identity) else { return };
        if let Some((_, answer)) = own.held_answer.take() {
            let peer = own.peer;
            self.send(peer, Response::Answer(answer));
        }
    }
}

/// LiveKit's Go library sets its first offer when it hears that it is in, and takes no answer before.
const EARLIEST_ANSWER: Duration = Duration::from_millis(50);

/// The client's end as a description gives it.
pub(super) fn remote_of(session: &Session, we_are_client: bool) -> Remote {
    Remote {
        credentials: remote_credentials(session),
        fingerprint: session.fingerprint.clone(),
        we_are_client,
    }
}

pub(super) fn remote_credentials(session: &Session) -> IceCredentials {
    IceCredentials { ufrag: session.ice_ufrag.clone(), pwd: session.ice_pwd.clone() }
}

/// All extensions of an offer: under BUNDLE a number means the same on every m-line.
fn extensions(session: &Session) -> Vec<(u8, String)> {
    let all: BTreeSet<(u8, String)> = session.media.iter().flat_map(accepted_extensions).cloned().collect();
    all.into_iter().collect()
}

/// Decides what becomes of an m-line and notes what the media thread must know.
fn plan_line(
    participant: &mut Participant,
    media: &Media,
    facts: &ServerFacts,
    update: &mut shard::PublishUpdate,
    ended: &mut Vec<SourceKey>,
) -> MediaPlan {
    let kind = match media.kind {
        MediaType::Application if !media.rejected => {
            update.data = true;
            return MediaPlan::Application;
        }
        MediaType::Application | MediaType::Other => return MediaPlan::Reject,
        MediaType::Audio => MediaKind::Audio,
        MediaType::Video => MediaKind::Video,
    };
    let announced = announcement_of(participant, media, kind);
    let numbers = participant.publisher.payload_types.clone();
    let offered = |codecs: &[Codec]| codecs.iter().map(|codec| numbers.of(*codec).clone()).collect();
    let (codecs, [dtx, stereo]) = receive(media, announced.as_ref(), &facts.codecs);
    // The lines are walked for the first packets of a stream, so their number is bounded like that of tracks.
    let known = participant.publisher.lines.contains_key(&media.mid);
    let too_many = !known && participant.publisher.lines.len() >= facts.limits.tracks_per_participant;
    if media.rejected || codecs.is_empty() || too_many {
        if let Some(line) = participant.publisher.lines.remove(&media.mid) {
            ended.extend(line.source);
            update.remove.push(media.mid.clone());
        }
        return MediaPlan::Reject;
    }
    if media.direction == Direction::Inactive || !media.direction.sends() {
        if let Some(line) = participant.publisher.lines.get_mut(&media.mid) {
            // The m-line may come back; its layers must not be forgotten, which stand in first packets only.
            ended.extend(line.source.take());
            line.track_id = None;
            line.sending = false;
        }
        return MediaPlan::Inactive(offered(&codecs));
    }
    let up = UpMedia {
        mid: media.mid.clone(),
        kind,
        rids: media.rids.iter().take(MAX_LAYERS).cloned().collect(),
        ssrc: media
            .ssrcs
            .first()
            .map(|ssrc| (*ssrc, media.fid.iter().find(|(main, _)| main == ssrc).map(|(_, rtx)| *rtx))),
    };
    update.declare.push(up.clone());
    let lines = &mut participant.publisher.lines;
    let line = lines.entry(media.mid.clone()).or_insert_with(|| UpLine {
        media: up.clone(),
        codecs: codecs.clone(),
        track_id: None,
        source: None,
        sending: true,
    });
    line.media = up;
    line.sending = true;
    // Another track on the same m-line without a pause between: the old one is over.
    if line.source.is_some() && line.track_id.is_some() && line.track_id != media.track_id {
        let named = |pending: &Pending| media.track_id.as_ref().is_some_and(|id| pending.is_named(id));
        let replaced = participant.pending.iter().any(named);
        if replaced {
            ended.extend(line.source.take());
        }
    }
    if line.source.is_none() {
        line.codecs.clone_from(&codecs);
        line.track_id.clone_from(&media.track_id);
    }
    MediaPlan::Receive(RecvPlan { codecs: offered(&line.codecs), dtx, stereo })
}

/// What was said about what an m-line carries, published or not.
struct Announcement<'a> {
    info: &'a TrackInfo,
    codec: Option<Codec>,
}

fn announcement_of<'a>(
    participant: &'a Participant,
    media: &Media,
    kind: MediaKind,
) -> Option<Announcement<'a>> {
    if let Some(source) = participant.publisher.lines.get(&media.mid).and_then(|line| line.source) {
        let mut tracks = participant.tracks.values();
        return tracks.find_map(|track| {
            Some(Announcement { info: &track.info, codec: Some(track.rendition(source)?.codec) })
        });
    }
    let named = |pending: &&Pending| media.track_id.as_ref().is_some_and(|id| pending.is_named(id));
    let of_kind = |pending: &&Pending| !pending.is_backup && kind_of(&pending.info) == kind;
    let pending = participant.pending.iter().find(named).or_else(|| participant.pending.iter().find(of_kind));
    pending.map(|pending| Announcement { info: &pending.info, codec: pending.codec() })
}

/// One codec for pictures, so that clients have no choice; Opus and perhaps RED for sound, or G.711 where there is no
/// Opus. And whether Opus may be silent in pauses, and is in stereo.
fn receive(
    media: &Media,
    announced: Option<&Announcement<'_>>,
    enabled: &[Codec],
) -> (Vec<Codec>, [bool; 2]) {
    let offers =
        |codec: Codec| enabled.contains(&codec) && media.codecs.iter().any(|offered| offered.codec == codec);
    match media.kind {
        MediaType::Audio => {
            let feature = |feature: proto::AudioTrackFeature| {
                announced.is_some_and(|said| said.info.audio_features.contains(&(feature as i32)))
            };
            let no_red = announced.is_some_and(|said| said.info.disable_red);
            let order = if no_red { vec![Codec::Opus] } else { vec![Codec::Red, Codec::Opus] };
            let mut codecs: Vec<Codec> = order.into_iter().filter(|codec| offers(*codec)).collect();
            // RED is only a wrapping.
            if !codecs.contains(&Codec::Opus) {
                codecs =
                    [Codec::Pcmu, Codec::Pcma].into_iter().filter(|codec| offers(*codec)).take(1).collect();
            }
            use proto::AudioTrackFeature::{TfNoDtx, TfStereo};
            (codecs, [!feature(TfNoDtx), feature(TfStereo)])
        }
        _ => {
            let wished = announced.and_then(|said| said.codec).filter(|codec| offers(*codec));
            let is_video = |codec: &Codec| codec.kind() == MediaKind::Video;
            let usual = enabled.iter().copied().find(|codec| is_video(codec) && offers(*codec));
            (wished.or(usual).into_iter().collect(), [false, false])
        }
    }
}
