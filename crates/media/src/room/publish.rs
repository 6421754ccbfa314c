//! Publishing: tracks are announced, meet their m-lines, are muted and end.

use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_response::Message as Response;
use proto::video_layer::Mode;
use proto::{SimulcastCodecInfo, TrackInfo, TrackSource, TrackType};

use super::dynacast::Demanded;
use super::participant::{Participant, UpLine};
use super::track::{Pending, Rendition, Track};
use super::{Moment, Room};
use crate::ids::{Identity, SourceKey, random_sid};
use crate::ingest::MAX_LAYERS;
use crate::sdp::{Codec, MediaKind};
use crate::shard;

/// Longest name of a track and longest client-side id, in bytes.
const MAX_TRACK_NAME: usize = 256;
/// Longest name of a stream (RFC 8830 §2).
const MAX_STREAM_NAME: usize = 64;
/// Most layers that an announcement may list.
const MAX_LAYERS_LISTED: usize = 16;
/// Longest announcement, in bytes: it is kept, and repeated to everybody on each change.
const MAX_ANNOUNCEMENT: usize = 8 * 1024;

impl Room {
    pub(super) fn add_track(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        request: proto::AddTrackRequest,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let peer = participant.peer;
        if let Err((reason, message)) = check_announcement(participant, &request, &self.facts.limits) {
            self.refuse(peer, reason, message, proto::request_response::Request::AddTrack(request));
            return;
        }
        if !request.sid.is_empty() {
            self.add_backup(moment, identity, &request);
            return;
        }
        let sid = random_sid(track_prefix(&request), moment.rng);
        let info = announced(&request, sid, &self.facts.codecs);
        // A client that tries a failed publication again announces the same track once more.
        participant.pending.retain(|pending| pending.cid != request.cid);
        participant.pending.push_back(Pending {
            cid: request.cid.clone(),
            codec_cids: request.simulcast_codecs.iter().map(|codec| codec.cid.clone()).collect(),
            info: info.clone(),
            is_backup: false,
        });
        let published = proto::TrackPublishedResponse { cid: request.cid, track: Some(info) };
        self.send(peer, Response::TrackPublished(published));
        // The offer may have come first.
        self.match_tracks(moment, identity);
    }

    /// Gives announced tracks their m-lines: by the browser's name first, then in order of their kind.
    pub(super) fn match_tracks(&mut self, moment: &mut Moment<'_>, identity: &Identity) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let mut matched: Vec<(String, Pending)> = Vec::new();
        for by_name in [true, false] {
            let waiting: Vec<(String, Option<String>, MediaKind)> = participant
                .publisher
                .lines
                .iter()
                .filter(|(_, line)| line.sending && line.source.is_none())
                .filter(|(mid, _)| !matched.iter().any(|(taken, _)| taken == *mid))
                .map(|(mid, line)| (mid.clone(), line.track_id.clone(), line.media.kind))
                .collect();
            for (mid, track_id, kind) in waiting {
                let position = participant.pending.iter().position(|pending| {
                    let same_kind = kind_of(&pending.info) == kind;
                    let named = track_id.as_ref().is_some_and(|id| pending.is_named(id));
                    same_kind && (named || (!by_name && !pending.is_backup))
                });
                if let Some(pending) = position.and_then(|at| participant.pending.remove(at)) {
                    matched.push((mid, pending));
                }
            }
        }
        for (mid, pending) in matched {
            if pending.is_backup {
                self.publish_backup(moment, identity, &mid, &pending);
            } else {
                self.publish_track(moment, identity, &mid, pending);
            }
        }
    }

    fn publish_track(&mut self, moment: &mut Moment<'_>, identity: &Identity, mid: &str, pending: Pending) {
        let (source, backup_source) = (self.new_source(), self.new_source());
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let Some(line) = participant.publisher.lines.get_mut(mid) else { return };
        let sid = pending.info.sid.clone();
        line.source = Some(source);
        let kind = line.media.kind;
        let codec = line.codecs.first().copied().unwrap_or(match kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        });
        let info = published(pending, line, codec);
        let (muted, mid) = (info.muted, mid.to_owned());
        let layers = info.codecs.first().map_or(1, |listed| layers_of(listed, line, codec));
        let primary = Rendition { source, codec, mid: Some(mid.clone()), layers, demanded: Demanded::all() };
        let backup = info.codecs.get(1).and_then(|codec| Codec::named(&codec.mime_type));
        let backup = backup.map(|codec| Rendition {
            source: backup_source,
            codec,
            mid: None,
            layers: MAX_LAYERS,
            demanded: Demanded::none(),
        });
        let backup_source = backup.as_ref().map(|backup| backup.source);
        let track = Track { info: info.clone(), kind, primary, backup, regressed: false };
        participant.tracks.insert(sid.clone(), track);
        participant.touch();
        let (peer, participant_info) = (participant.peer, participant.info());
        for source in std::iter::once(source).chain(backup_source) {
            self.by_source.insert(source, (identity.clone(), sid.clone()));
        }
        self.tell_shard(peer, shard::Command::AddSource { peer, source, mid, muted });
        if kind == MediaKind::Video {
            self.await_demand(moment.now, source);
        }
        self.broadcast(identity);
        self.webhook(moment, "track_published", |event| {
            event.participant = Some(participant_info);
            event.track = Some(info);
        });
        self.offer_track(identity, &sid);
    }

    /// Ends a track. `forced` if the server wants it, so that the publisher must be told.
    pub(super) fn unpublish(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        sid: &str,
        forced: bool,
    ) {
        let track = self.participants.get(identity).and_then(|participant| participant.tracks.get(sid));
        let Some(source) = track.map(|track| track.primary.source) else { return };
        // Whoever is speaking falls silent with the track.
        self.levels(identity, &[(source, 0.0)]);
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let Some(track) = participant.tracks.remove(sid) else { return };
        participant.pending.retain(|pending| pending.info.sid != sid);
        for rendition in track.renditions() {
            participant.publisher.free_line(rendition);
        }
        participant.touch();
        let (peer, info) = (participant.peer, participant.info());
        for Rendition { source, .. } in track.renditions() {
            self.by_source.remove(source);
            self.tell_shard(peer, shard::Command::RemoveSource { source: *source });
        }
        if forced {
            let unpublished = proto::TrackUnpublishedResponse { track_sid: sid.to_owned() };
            self.send(peer, Response::TrackUnpublished(unpublished));
        }
        self.broadcast(identity);
        self.withdraw_track(sid);
        self.webhook(moment, "track_unpublished", |event| {
            event.participant = Some(info);
            event.track = Some(track.info);
        });
    }

    pub(super) fn mute(&mut self, moment: &mut Moment<'_>, identity: &Identity, sid: &str, muted: bool) {
        let _ = moment;
        let Some(participant) = self.participants.get_mut(identity) else { return };
        if let Some(pending) = participant.pending.iter_mut().find(|pending| pending.info.sid == sid) {
            pending.info.muted = muted;
        }
        let Some(track) = participant.tracks.get_mut(sid).filter(|track| track.info.muted != muted) else {
            return;
        };
        track.info.muted = muted;
        let sources: Vec<SourceKey> = track.renditions().map(|rendition| rendition.source).collect();
        let primary = track.primary.source;
        let peer = participant.peer;
        participant.touch();
        for source in sources {
            self.tell_shard(peer, shard::Command::MuteSource { source, muted });
        }
        if muted {
            self.levels(identity, &[(primary, 0.0)]);
        }
        self.broadcast(identity);
        if !muted {
            self.repeat_demand(identity, Some(sid));
        }
    }

    pub(super) fn update_audio_track(&mut self, identity: &Identity, request: &proto::UpdateLocalAudioTrack) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let Some(track) = participant.tracks.get_mut(&request.track_sid) else { return };
        track.info.audio_features = request.features.iter().take(16).copied().collect();
        participant.touch();
        self.broadcast(identity);
    }

    pub(super) fn update_video_track(&mut self, identity: &Identity, request: &proto::UpdateLocalVideoTrack) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let Some(track) = participant.tracks.get_mut(&request.track_sid) else { return };
        (track.info.width, track.info.height) = (request.width, request.height);
        participant.touch();
        self.broadcast(identity);
    }
}

/// How many layers a subscriber may choose from: streams, or spatial layers of the only one.
pub(super) fn layers_of(listed: &SimulcastCodecInfo, line: &UpLine, codec: Codec) -> usize {
    use Mode::{OneSpatialLayerPerStream, OneSpatialLayerPerStreamIncompleteRtcpSr};
    let one_each = matches!(
        listed.video_layer_mode(),
        OneSpatialLayerPerStream | OneSpatialLayerPerStreamIncompleteRtcpSr
    );
    match line.media.rids.len() {
        0 | 1 if codec.may_be_layered() && !one_each => {
            // A client that lists no layers may send as many as there are.
            if listed.layers.len() > 1 { listed.layers.len().min(MAX_LAYERS) } else { MAX_LAYERS }
        }
        streams => streams.clamp(1, MAX_LAYERS),
    }
}

pub(super) fn kind_of(info: &TrackInfo) -> MediaKind {
    if info.r#type == TrackType::Audio as i32 { MediaKind::Audio } else { MediaKind::Video }
}

fn track_prefix(request: &proto::AddTrackRequest) -> &'static str {
    match (request.r#type() == TrackType::Audio, request.source()) {
        (true, TrackSource::ScreenShareAudio) => "TR_As",
        (true, TrackSource::Microphone) => "TR_AM",
        (true, _) => "TR_A",
        (false, TrackSource::ScreenShare) => "TR_VS",
        (false, TrackSource::Camera) => "TR_VC",
        (false, _) => "TR_V",
    }
}

#[expect(deprecated, reason = "older clients say it this way")]
fn announced(request: &proto::AddTrackRequest, sid: String, enabled: &[Codec]) -> TrackInfo {
    use proto::AudioTrackFeature::{TfNoDtx, TfStereo};
    let mut features: Vec<i32> = request.audio_features.iter().take(16).copied().collect();
    for (old, feature) in [(request.stereo, TfStereo), (request.disable_dtx, TfNoDtx)] {
        if old && !features.contains(&(feature as i32)) {
            features.push(feature as i32);
        }
    }
    let first = request.simulcast_codecs.first().filter(|codec| !codec.codec.is_empty());
    // In place of a codec that is not enabled the client hears of one that is.
    let usual = || enabled.iter().copied().find(|codec| codec.kind() == MediaKind::Video);
    let video = request.r#type() == TrackType::Video;
    let wished = first.and_then(|codec| {
        let named = Codec::named(&codec.codec).filter(|codec| enabled.contains(codec));
        if video { named.or_else(usual) } else { named }
    });
    let mime_type = wished.map(|codec| codec.mime_type().to_owned()).unwrap_or_default();
    let listed = |codec: &proto::SimulcastCodec, mime_type: &str| SimulcastCodecInfo {
        mime_type: mime_type.to_owned(),
        cid: codec.cid.clone(),
        video_layer_mode: codec.video_layer_mode,
        ..SimulcastCodecInfo::default()
    };
    let backup = request.simulcast_codecs.get(1).filter(|_| video && first.is_some()).and_then(|backup| {
        let codec = Codec::named(&backup.codec).filter(|codec| enabled.contains(codec))?;
        (codec.kind() == MediaKind::Video && Some(codec) != wished).then(|| listed(backup, codec.mime_type()))
    });
    let codecs = first.map(|codec| listed(codec, &mime_type)).into_iter().chain(backup).collect();
    // Sound in two codecs is not chosen between.
    let backup_codec_policy =
        if video { request.backup_codec_policy } else { proto::BackupCodecPolicy::Simulcast as i32 };
    let stream = if request.stream.is_empty() {
        match request.source() {
            TrackSource::Camera | TrackSource::Microphone => "camera",
            TrackSource::ScreenShare | TrackSource::ScreenShareAudio => "screen",
            TrackSource::Unknown => "unknown",
        }
        .to_owned()
    } else {
        request.stream.clone()
    };
    TrackInfo {
        sid,
        r#type: request.r#type,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        simulcast: request.layers.len() > 1,
        disable_dtx: request.disable_dtx,
        source: request.source,
        layers: request.layers.clone(),
        mime_type,
        codecs,
        backup_codec_policy,
        stereo: request.stereo,
        disable_red: request.disable_red,
        encryption: request.encryption,
        stream,
        audio_features: features,
        packet_trailer_features: request.packet_trailer_features.iter().take(16).copied().collect(),
        ..TrackInfo::default()
    }
}

/// The announcement, completed by what the session description has decided.
#[expect(deprecated, reason = "older clients read it")]
fn published(pending: Pending, line: &UpLine, codec: Codec) -> TrackInfo {
    let mut info = pending.info;
    codec.mime_type().clone_into(&mut info.mime_type);
    line.media.mid.clone_into(&mut info.mid);
    let mut announced = std::mem::take(&mut info.codecs).into_iter();
    let mut listed = announced.next().unwrap_or_default();
    listed.layers = std::mem::take(&mut info.layers);
    complete(&mut listed, &pending.cid, line, codec);
    if info.r#type == TrackType::Video as i32 {
        info.simulcast = line.media.rids.len() > 1;
    }
    info.layers.clone_from(&listed.layers);
    let is_other = |backup: &SimulcastCodecInfo| backup.mime_type != info.mime_type;
    info.codecs = std::iter::once(listed).chain(announced.filter(is_other)).collect();
    info
}

/// Completes what was said about a track in one codec, as it was announced under `cid`.
pub(super) fn complete(listed: &mut SimulcastCodecInfo, cid: &str, line: &UpLine, codec: Codec) {
    codec.mime_type().clone_into(&mut listed.mime_type);
    line.media.mid.clone_into(&mut listed.mid);
    cid.clone_into(&mut listed.cid);
    listed.sdp_cid = line.track_id.clone().filter(|id| id != cid).unwrap_or_default();
    if line.media.kind == MediaKind::Audio {
        return;
    }
    listed.layers.sort_by_key(|layer| layer.quality);
    if line.media.rids.len() > 1 {
        for (layer, rid) in listed.layers.iter_mut().zip(&line.media.rids) {
            layer.rid.clone_from(rid);
        }
    } else if codec.may_be_layered() && listed.layers.len() > 1 {
        for (layer, spatial) in listed.layers.iter_mut().zip(0..) {
            layer.spatial_layer = spatial;
        }
    } else if let (Some(layer), Some((ssrc, rtx))) = (listed.layers.first_mut(), line.media.ssrc) {
        layer.ssrc = ssrc;
        layer.repair_ssrc = rtx.unwrap_or(0);
    }
}

fn check_announcement(
    participant: &Participant,
    request: &proto::AddTrackRequest,
    limits: &super::Limits,
) -> Result<(), (proto::request_response::Reason, &'static str)> {
    use proto::request_response::Reason;
    if !matches!(TrackType::try_from(request.r#type), Ok(TrackType::Audio | TrackType::Video)) {
        return Err((Reason::UnsupportedType, "type: only audio and video tracks can be added"));
    }
    if !participant.may_publish(request.source) {
        return Err((Reason::NotAllowed, "source: may not be published (canPublish, canPublishSources)"));
    }
    if !request.sid.is_empty() {
        let track = participant.tracks.get(&request.sid).ok_or((Reason::NotFound, "sid: no such track"))?;
        let codec = request.simulcast_codecs.first().and_then(|codec| Codec::named(&codec.codec));
        let is_awaited = |backup: &Rendition| Some(backup.codec) == codec && !backup.is_published();
        if !track.backup.as_ref().is_some_and(is_awaited) {
            return Err((Reason::InvalidRequest, "simulcast_codecs: not a codec that the track waits for"));
        }
    }
    if request.cid.is_empty() || request.cid.len() > MAX_TRACK_NAME || request.name.len() > MAX_TRACK_NAME {
        return Err((Reason::InvalidRequest, "cid and name: at most 256 bytes, cid not empty"));
    }
    if request.stream.len() > MAX_STREAM_NAME {
        return Err((Reason::InvalidRequest, "stream: at most 64 bytes"));
    }
    if request.encoded_len() > MAX_ANNOUNCEMENT {
        return Err((Reason::LimitExceeded, "the announcement is longer than 8192 bytes"));
    }
    if request.layers.len() > MAX_LAYERS_LISTED || request.simulcast_codecs.len() > MAX_LAYERS_LISTED {
        return Err((Reason::LimitExceeded, "layers or simulcast_codecs: too many"));
    }
    if participant.pending.len() >= limits.pending_tracks {
        return Err((Reason::LimitExceeded, "too many tracks wait for an offer"));
    }
    if participant.tracks.len() + participant.pending.len() >= limits.tracks_per_participant {
        return Err((Reason::LimitExceeded, "too many tracks"));
    }
    Ok(())
}
