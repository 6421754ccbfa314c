//! Subscribing: who receives which track, and the offers that say so.

use std::collections::BTreeSet;
use std::time::Duration;

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::signal_response::Message as Response;
use proto::{DisconnectReason, VideoQuality};
use rand::RngExt;

use super::offers::{remote_credentials, remote_of};
use super::participant::{Agreed, Audience, Carrying, Line, MAX_WISHES, Outstanding, Participant, Settings};
use super::track::{Rendition, Track};
use super::{Moment, Room};
use crate::downtrack::{DownConfig, Format, Wanted};
use crate::ids::{Identity, SourceKey};
use crate::sdp::{self, Codec, DownLine, Media, MediaKind, Sending, Setup, uri, write_offer};
use crate::shard::{self, Side};

/// An offer that is not answered by then ends the session: the client comes again.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A layer covers what is asked for if it has at least this part of it (LiveKit's tolerance of 20 %).
const COVERS_PERCENT: u32 = 80;

impl Room {
    /// Brings the m-lines of a participant in line with what it should receive.
    pub(super) fn reconcile(&mut self, identity: &Identity) {
        self.data_unsettled = true;
        let Some(own) = self.participants.get(identity) else { return };
        let mut missing = Vec::new();
        let mut wanted = BTreeSet::new();
        for (publisher_identity, publisher) in &self.participants {
            for sid in publisher.tracks.keys().filter(|sid| is_for(own, publisher, sid)) {
                wanted.insert(sid.as_str());
                if !own.receives(sid) {
                    missing.push((publisher_identity.clone(), sid.clone()));
                }
            }
        }
        let waiting = own.subscriber.waiting.iter().map(|(_, sid)| sid);
        let received = own.subscriber.subscriptions.keys().chain(waiting);
        let stale: Vec<String> = received.filter(|sid| !wanted.contains(sid.as_str())).cloned().collect();
        for sid in stale {
            self.drop_subscription(identity, &sid);
        }
        for (publisher, sid) in missing {
            self.add_subscription(identity, &publisher, &sid);
        }
    }

    /// A track has come: whoever should have it gets it.
    pub(super) fn offer_track(&mut self, publisher_identity: &Identity, sid: &str) {
        let Some(publisher) = self.participants.get(publisher_identity) else { return };
        let gets = |(_, own): &(&Identity, &Participant)| !own.receives(sid) && is_for(own, publisher, sid);
        let receivers: Vec<Identity> =
            self.participants.iter().filter(gets).map(|(own, _)| own.clone()).collect();
        for receiver in receivers {
            self.add_subscription(&receiver, publisher_identity, sid);
        }
    }

    /// A track is gone for good: nobody receives it any more, and what was said about it is forgotten.
    pub(super) fn withdraw_track(&mut self, sid: &str) {
        let has = |(_, own): &(&Identity, &Participant)| own.receives(sid);
        let receivers: Vec<Identity> =
            self.participants.iter().filter(has).map(|(own, _)| own.clone()).collect();
        for receiver in receivers {
            self.drop_subscription(&receiver, sid);
        }
        for participant in self.participants.values_mut() {
            participant.subscriber.wishes.remove(sid);
            participant.subscriber.failed.remove(sid);
        }
    }

    pub(super) fn drop_subscription(&mut self, identity: &Identity, sid: &str) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let peer = participant.peer;
        participant.subscriber.waiting.retain(|(_, waiting)| waiting != sid);
        let Some(index) = participant.subscriber.subscriptions.remove(sid) else { return };
        let line = &mut participant.subscriber.lines[index];
        line.sdp.sending = None;
        self.unsettled.insert(identity.clone());
        let Some(carrying) = line.carrying.take() else { return };
        self.wishes_changed.insert((identity.clone(), carrying.source));
        if carrying.active {
            self.tell_shard(peer, shard::Command::RemoveDown { peer, key: carrying.key });
        }
    }

    fn add_subscription(&mut self, identity: &Identity, publisher: &Identity, sid: &str) {
        let limit = self.facts.limits.subscriptions;
        let Some(own) = self.participants.get(identity) else { return };
        if own.subscriber.subscriptions.len() + own.subscriber.waiting.len() >= limit {
            return;
        }
        let Some(track) = self.participants.get(publisher).and_then(|p| p.tracks.get(sid)) else { return };
        let fresh = DownLine { playout_delay: self.playout_delay.is_some(), ..new_line(own, track) };
        let reuse = own.takes_used_lines();
        let Some(participant) = self.participants.get_mut(identity) else { return };
        if participant.has_one_connection() {
            participant.subscriber.waiting.push((publisher.clone(), sid.to_owned()));
            self.unsettled.insert(identity.clone());
            return;
        }
        let side = &mut participant.subscriber;
        let fits = |line: &Line| {
            line.carrying.is_none() && line.sdp.kind == fresh.kind && line.sdp.codecs == fresh.codecs
        };
        let index = match side.lines.iter().position(fits).filter(|_| reuse) {
            Some(index) => index,
            None => {
                let mid = side.next_mid.to_string();
                side.next_mid += 1;
                side.lines.push(Line { sdp: DownLine { mid, ..fresh }, carrying: None, shown: false });
                side.lines.len() - 1
            }
        };
        self.carry(identity, publisher, sid, index);
        self.unsettled.insert(identity.clone());
    }

    /// Puts a track on a free line.
    pub(super) fn carry(&mut self, identity: &Identity, publisher: &Identity, sid: &str, index: usize) {
        let key = self.new_down();
        let both = self.participants.get(identity).zip(self.participants.get(publisher));
        let Some((own, publisher)) = both else { return };
        let Some(track) = publisher.tracks.get(sid) else { return };
        let (stream_id, shared) = (stream_of(own, publisher, track), own.takes_shared_streams());
        let (source, stereo) = (track.primary.source, is_stereo(track));
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let side = &mut participant.subscriber;
        let line = &mut side.lines[index];
        // SSRCs come from the number of the subscription, spread over the even numbers by an odd factor: the same
        // one never comes twice on a connection, for with it packet indices and so nonces would come twice.
        let ssrc = (key.0 as u32).wrapping_mul(2).wrapping_mul(0x9e37_79b1);
        let rtx_ssrc = (line.sdp.kind == MediaKind::Video).then_some(ssrc ^ 1);
        // A browser keeps the first name that it hears on a line. Where the stream does not name the track, a name that
        // looks like none makes the client look up the line in the offer's map.
        let track_id = if shared { format!("line-{}", line.sdp.mid) } else { sid.to_owned() };
        line.sdp.sending = Some(Sending { stream_id, track_id, ssrc, rtx_ssrc, stereo });
        line.carrying = Some(Carrying {
            track: sid.to_owned(),
            source,
            key,
            offered: false,
            active: false,
            agreed: None,
        });
        side.subscriptions.insert(sid.to_owned(), index);
        self.wishes_changed.insert((identity.clone(), source));
    }

    /// Sends the offers that are due: after every step, to everybody whose m-lines have changed.
    pub(super) fn negotiate_all(&mut self, moment: &mut Moment<'_>) {
        while let Some(identity) = self.unsettled.pop_first() {
            let Some(participant) = self.participants.get_mut(&identity) else { continue };
            if participant.has_one_connection() {
                self.require_sections(moment, &identity);
                continue;
            }
            if participant.subscriber.outstanding.is_some() {
                participant.subscriber.dirty = true;
                continue;
            }
            if participant.subscriber.is_worn_out() {
                self.remove(moment, &identity, DisconnectReason::StateMismatch, Some(Action::Reconnect));
                continue;
            }
            let peer = participant.peer;
            let side = &mut participant.subscriber;
            side.dirty = false;
            side.version += 1;
            // The answer to this offer speaks of all m-lines again, and of the new ones too.
            side.held_answer = None;
            let id = side.next_offer;
            side.next_offer = side.next_offer.wrapping_add(1).max(1);
            side.outstanding = Some(Outstanding { id, answer_by: Some(moment.now + ANSWER_TIMEOUT) });
            side.lines.iter_mut().filter_map(|line| line.carrying.as_mut()).for_each(|c| c.offered = true);
            let mid_to_track_id = participant.tracks_of_lines();
            let endpoint = participant.endpoint(&self.facts);
            let side = &participant.subscriber;
            let lines: Vec<DownLine> = side.lines.iter().map(|line| line.sdp.clone()).collect();
            let sdp = write_offer(&side.credentials, &endpoint, side.session_id, side.version, &lines);
            let offer = proto::SessionDescription { r#type: "offer".into(), sdp, id, mid_to_track_id };
            self.send(peer, Response::Offer(offer));
        }
    }

    pub(super) fn subscriber_answer(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        answer: proto::SessionDescription,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        // Clients that do not number their answers say 0.
        let expected = participant.subscriber.outstanding.map(|offer| offer.id);
        if participant.has_one_connection()
            || expected.is_none()
            || (answer.id != 0 && Some(answer.id) != expected)
        {
            return;
        }
        let session = match sdp::parse(&answer.sdp) {
            Ok(session) => session,
            Err(error) => {
                tracing::info!(%error, "An answer cannot be read; its client is told to come again");
                self.remove(moment, identity, DisconnectReason::StateMismatch, Some(Action::Reconnect));
                return;
            }
        };
        let peer = participant.peer;
        let side = &mut participant.subscriber;
        side.outstanding = None;
        if side.dirty {
            self.unsettled.insert(identity.clone());
        }
        match &side.remote_ufrag {
            None => {
                side.remote_ufrag = Some(session.ice_ufrag.clone());
                // We offered both roles; the client normally begins.
                let remote = remote_of(&session, session.setup == Setup::Passive);
                self.tell_shard(peer, shard::Command::Connect { peer, remote });
            }
            Some(ufrag) if *ufrag != session.ice_ufrag => {
                side.remote_ufrag = Some(session.ice_ufrag.clone());
                let (local, remote) = (side.credentials.clone(), remote_credentials(&session));
                let restart = shard::Command::RestartIce { peer, side: Side::Subscriber, local, remote };
                self.tell_shard(peer, restart);
            }
            Some(_) => {}
        }
        if self.participants.get(identity).is_some_and(Participant::is_active) {
            self.activate_lines(moment, identity, &session);
        } else if let Some(participant) = self.participants.get_mut(identity) {
            participant.subscriber.held_answer = Some(session);
        }
    }

    /// Begins to send on the m-lines that were just agreed on.
    pub(super) fn activate_lines(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        session: &sdp::Session,
    ) {
        let Some(participant) = self.participants.get(identity) else { return };
        let peer = participant.peer;
        let mut agreed = Vec::new();
        let mut refused = Vec::new();
        for (index, line) in participant.subscriber.lines.iter().enumerate() {
            let Some(carrying) = line.carrying.as_ref().filter(|c| c.offered && !c.active) else { continue };
            let media = session.by_mid(&line.sdp.mid);
            let Some((publisher, track)) = self.track_of(carrying.source) else { continue };
            let media = media.filter(|media| !media.rejected && media.direction.receives());
            let formats = media.map(|media| formats_of(media, &line.sdp.codecs)).unwrap_or_default();
            let Some((media, rendition)) = media.zip(track.rendition_for(&formats)) else {
                refused.push(carrying.track.clone());
                continue;
            };
            let wanted = wanted_of(participant, track, rendition);
            let is_screen = track.info.source == proto::TrackSource::ScreenShare as i32;
            let sent: Vec<Format> = match track.kind {
                MediaKind::Audio => formats.clone(),
                MediaKind::Video => formats.iter().copied().filter(|f| f.codec == rendition.codec).collect(),
            };
            let mut config = down_config(moment, line, carrying, media, &sent);
            config.playout_delay = extension(media, uri::PLAYOUT_DELAY).zip(self.playout_delay);
            (config.source, config.wanted, config.is_screen) = (rendition.source, wanted, is_screen);
            let formats = track.backup.is_some().then_some(formats);
            agreed.push((index, publisher.peer, rendition.is_published(), config, formats));
        }
        for (index, publisher, is_there, config, formats) in agreed {
            let Some(participant) = self.participants.get_mut(identity) else { return };
            let hidden = participant.permission.hidden;
            let Some(carrying) = &mut participant.subscriber.lines[index].carrying else { continue };
            let (track, source) = (carrying.track.clone(), config.source);
            let before = std::mem::replace(&mut carrying.source, source);
            carrying.active = is_there;
            let is_news = carrying.agreed.is_none();
            carrying.agreed = formats.map(|formats| Box::new(Agreed { config: config.clone(), formats }));
            if before != source {
                // The publisher hears that the other codec is needed.
                self.wishes_changed.insert((identity.clone(), before));
                self.wishes_changed.insert((identity.clone(), source));
            }
            if is_there {
                self.tell_shard(peer, shard::Command::AddDown { peer, config });
            }
            if !is_news {
                continue;
            }
            let known =
                self.track_of(source).map(|(publisher, _)| publisher).filter(|p| !p.permission.hidden);
            if let Some(info) = known.and_then(Participant::quality_info) {
                // It is told on change; whoever begins to receive now has heard of no change.
                let update = proto::ConnectionQualityUpdate { updates: vec![info] };
                self.send(peer, Response::ConnectionQuality(update));
            }
            if !hidden {
                let subscribed = proto::TrackSubscribed { track_sid: track };
                self.send(publisher, Response::TrackSubscribed(subscribed));
            }
        }
        for track in refused {
            if let Some(participant) = self.participants.get_mut(identity) {
                participant.subscriber.failed.insert(track.clone());
            }
            self.drop_subscription(identity, &track);
            let response = proto::SubscriptionResponse {
                track_sid: track,
                err: proto::SubscriptionError::SeCodecUnsupported as i32,
            };
            self.send(peer, Response::SubscriptionResponse(response));
        }
    }

    /// A track that is published, and by whom.
    pub(super) fn track_of(&self, source: SourceKey) -> Option<(&Participant, &Track)> {
        let (publisher, sid) = self.by_source.get(&source)?;
        let publisher = self.participants.get(publisher)?;
        Some((publisher, publisher.tracks.get(sid)?))
    }

    pub(super) fn subscription(&mut self, identity: &Identity, request: &proto::UpdateSubscription) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let by_participant = request.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
        for sid in request.track_sids.iter().chain(by_participant) {
            if let Some(wish) = participant.wish_of(sid) {
                wish.subscribed = Some(request.subscribe);
            }
            if request.subscribe {
                participant.subscriber.failed.remove(sid);
            }
        }
        self.reconcile(identity);
    }

    pub(super) fn track_setting(&mut self, identity: &Identity, request: &proto::UpdateTrackSettings) {
        let settings = Settings {
            disabled: request.disabled || request.quality() == VideoQuality::Off,
            quality: request.quality(),
            width: request.width,
            height: request.height,
            fps: request.fps,
        };
        let named: BTreeSet<&String> = request.track_sids.iter().take(MAX_WISHES).collect();
        for sid in named {
            self.change_settings(identity, sid, |_| settings);
        }
    }

    /// The client does not want to see or hear these for now, whatever else it said about them.
    pub(super) fn disable(&mut self, identity: &Identity, sids: &[String]) {
        for sid in sids.iter().take(MAX_WISHES) {
            let quality = VideoQuality::High;
            let all = Settings { disabled: true, quality, width: 0, height: 0, fps: 0 };
            self.change_settings(identity, sid, |before| Settings {
                disabled: true,
                ..before.unwrap_or(all)
            });
        }
    }

    fn change_settings(
        &mut self,
        identity: &Identity,
        sid: &str,
        change: impl FnOnce(Option<Settings>) -> Settings,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        if let Some(wish) = participant.wish_of(sid) {
            wish.settings = Some(change(wish.settings));
        }
        let peer = participant.peer;
        let carrying = participant.line_of(sid).and_then(|line| line.carrying.as_ref());
        let Some((key, source, active)) = carrying.map(|c| (c.key, c.source, c.active)) else { return };
        self.wishes_changed.insert((identity.clone(), source));
        if !active {
            return;
        }
        let Some((_, track)) = self.track_of(source) else { return };
        let Some(rendition) = track.rendition(source) else { return };
        let wanted = wanted_of(&self.participants[identity], track, rendition);
        self.tell_shard(peer, shard::Command::SetDown { peer, key, wanted });
    }

    pub(super) fn subscription_permission(
        &mut self,
        identity: &Identity,
        request: &proto::SubscriptionPermission,
    ) {
        let Some(publisher) = self.participants.get(identity) else { return };
        let publisher_sid = publisher.info.sid.clone();
        let allowed = |room: &Self| {
            let publisher = &room.participants[identity];
            let mut allowed = std::collections::BTreeMap::new();
            for (other, participant) in room.participants.iter().filter(|(other, _)| *other != identity) {
                for sid in publisher.tracks.keys() {
                    allowed.insert((other.clone(), sid.clone()), publisher.admits(participant, sid));
                }
            }
            allowed
        };
        self.data_unsettled = true;
        let before = allowed(self);
        if let Some(publisher) = self.participants.get_mut(identity) {
            publisher.audience = Some(Audience::new(request));
        }
        let after = allowed(self);
        for ((other, track_sid), allowed) in after {
            if before.get(&(other.clone(), track_sid.clone())) == Some(&allowed) {
                continue;
            }
            let peer = self.participants[&other].peer;
            let update = proto::SubscriptionPermissionUpdate {
                participant_sid: publisher_sid.clone(),
                track_sid,
                allowed,
            };
            self.send(peer, Response::SubscriptionPermissionUpdate(update));
            self.reconcile(&other);
        }
    }
}

/// Whether somebody is to receive a track.
fn is_for(own: &Participant, publisher: &Participant, sid: &str) -> bool {
    own.is_to_receive(publisher, sid, own.params.auto_subscribe) && !own.subscriber.failed.contains(sid)
}

fn is_stereo(track: &Track) -> bool {
    track.info.audio_features.contains(&(proto::AudioTrackFeature::TfStereo as i32))
}

/// The m-line that a track needs, without a name yet.
pub(super) fn new_line(own: &Participant, track: &Track) -> DownLine {
    let codecs = match track.kind {
        MediaKind::Video => track.renditions().map(|rendition| rendition.codec).collect(),
        MediaKind::Audio if matches!(track.primary.codec, Codec::Pcmu | Codec::Pcma) => {
            vec![track.primary.codec]
        }
        // Firefox and Safari do not know RED; they get Opus out of it.
        MediaKind::Audio if own.params.browser.eq_ignore_ascii_case("safari") => vec![Codec::Opus],
        MediaKind::Audio => vec![Codec::Red, Codec::Opus],
    };
    DownLine { mid: String::new(), kind: track.kind, codecs, sending: None, playout_delay: false }
}

fn stream_of(own: &Participant, publisher: &Participant, track: &Track) -> String {
    let second = if own.takes_shared_streams() { &track.info.stream } else { &track.info.sid };
    // msid allows token characters only (RFC 8830 §2).
    let second: String =
        second.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').collect();
    format!("{}|{second}", publisher.info.sid)
}

/// How the client takes these codecs, as far as it does.
fn formats_of(media: &Media, codecs: &[Codec]) -> Vec<Format> {
    let taken = |codec: &Codec| media.codecs.iter().find(|offered| offered.codec == *codec);
    let format = |codec: &Codec| {
        let offered = taken(codec)?;
        Some(Format { codec: *codec, payload_type: offered.payload_type, rtx: offered.rtx })
    };
    codecs.iter().filter_map(format).collect()
}

/// The number of a header extension that the client takes.
fn extension(media: &Media, uri: &str) -> Option<u8> {
    media.extensions.iter().find(|(_, name)| name == uri).map(|(id, _)| *id)
}

fn down_config(
    moment: &mut Moment<'_>,
    line: &Line,
    carrying: &Carrying,
    media: &Media,
    formats: &[Format],
) -> DownConfig {
    let sending = line.sdp.sending.as_ref();
    DownConfig {
        key: carrying.key,
        source: carrying.source,
        kind: line.sdp.kind,
        is_screen: false,
        mid: extension(media, uri::MID).map(|id| (id, line.sdp.mid.clone())),
        ssrc: sending.map_or(0, |sending| sending.ssrc),
        rtx: sending.and_then(|sending| sending.rtx_ssrc).zip(formats.iter().find_map(|format| format.rtx)),
        payload_types: formats.iter().map(|format| (format.codec, format.payload_type)).collect(),
        cname: sending.map(|sending| sending.stream_id.clone()).unwrap_or_default(),
        dependency: extension(media, uri::DEPENDENCY),
        transport: extension(media, uri::TRANSPORT_CC),
        playout_delay: None,
        wanted: Wanted::default(),
        first_sequence: moment.rng.random_range(1..0x7000),
        first_timestamp: moment.rng.random(),
    }
}

/// What a participant wants of a track in that codec.
pub(super) fn wanted_of(own: &Participant, track: &Track, rendition: &Rendition) -> Wanted {
    let top = rendition.layers - 1;
    let listed = track.layers_of(rendition);
    let default = if own.params.adaptive_stream { VideoQuality::Low } else { VideoQuality::High };
    let settings = own.subscriber.wishes.get(&track.info.sid).and_then(|wish| wish.settings);
    let pixels_of =
        |layer: usize| listed.get(layer).map_or(0, |layer| layer.width.saturating_mul(layer.height));
    let Some(settings) = settings else {
        let max_layer = layer_of_quality(default, top);
        return Wanted { max_layer, pixels: pixels_of(max_layer), ..Wanted::default() };
    };
    let (disabled, fps) = (settings.disabled, settings.fps);
    if track.kind == MediaKind::Audio {
        return Wanted { disabled, ..Wanted::default() };
    }
    let by_size = || {
        if settings.width == 0 || settings.height == 0 {
            return None;
        }
        let covers =
            |have: u32, want: u32| u64::from(have) * 100 >= u64::from(want) * u64::from(COVERS_PERCENT);
        let layers = listed.iter().take(rendition.layers);
        let fits = layers.map(|l| covers(l.width, settings.width) && covers(l.height, settings.height));
        Some(fits.enumerate().find(|(_, fits)| *fits).map_or(top, |(index, _)| index.min(top)))
    };
    let max_layer = by_size().unwrap_or_else(|| layer_of_quality(settings.quality, top));
    let pixels = match settings.width.saturating_mul(settings.height) {
        0 => pixels_of(max_layer),
        asked => asked,
    };
    Wanted { max_layer, fps, pixels, disabled }
}

/// Qualities count from the bottom: with two layers MEDIUM and HIGH are the same.
fn layer_of_quality(quality: VideoQuality, top: usize) -> usize {
    match quality {
        VideoQuality::Low | VideoQuality::Off => 0,
        VideoQuality::Medium => 1.min(top),
        VideoQuality::High => top,
    }
}
