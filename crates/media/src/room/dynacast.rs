//! Dynacast: publishers are told which qualities of a picture anybody wants, and need not encode the others.
//!
//! More is said at once, because somebody waits for it; less after a while, because whoever turns a page soon turns
//! back. Costs nothing per packet, and a look at all participants only when less may be wanted.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_response::Message as Response;
use proto::{SubscribedCodec, SubscribedQuality, VideoQuality};

use super::Room;
use super::participant::{Participant, Track};
use super::subscribe::wanted_of;
use crate::ids::{Identity, SourceKey};
use crate::sdp::MediaKind;

/// Less is said after this time (LiveKit's default of `dynacast_pause_delay`).
const LESS_AFTER: Duration = Duration::from_secs(5);
/// Those who are there when a track comes need some time to say what they want of it (LiveKit's value).
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// The best quality that anybody wants of a track; nobody wants any when absent.
type Demand = Option<VideoQuality>;

/// What a publisher knows of the demand for a track.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demanded {
    /// Last said. At first everything is sent.
    told: Demand,
    /// When less may be said.
    less_at: Option<Instant>,
}

impl Demanded {
    /// Of a new track.
    pub(super) fn all() -> Self {
        Self { told: Some(VideoQuality::High), less_at: None }
    }

    /// Whether the publisher sends anything.
    pub(super) fn is_any(self) -> bool {
        self.told.is_some()
    }
}

impl Room {
    /// A track has come.
    pub(super) fn await_demand(&mut self, now: Instant, source: SourceKey) {
        self.look_for_less(source, now + FIRST_AFTER);
    }

    /// Says what the wishes that have changed in this step make different.
    pub(super) fn settle_demand(&mut self, now: Instant) {
        while let Some((identity, source)) = self.wishes_changed.pop_first() {
            let Some((_, track)) = self.track_of(source) else { continue };
            if track.kind == MediaKind::Audio || track.info.muted {
                continue;
            }
            let told = track.demanded.told;
            let wanted = self.participants.get(&identity).and_then(|own| demand_of(own, track));
            if wanted > told {
                self.tell_demand(source, wanted);
            } else if wanted < told {
                self.look_for_less(source, now + LESS_AFTER);
            }
        }
    }

    fn look_for_less(&mut self, source: SourceKey, at: Instant) {
        let Some(track) = self.track_mut(source).filter(|track| track.demanded.less_at.is_none()) else {
            return;
        };
        track.demanded.less_at = Some(at);
        self.demand_checks.insert((at, source));
    }

    /// Looks at the tracks of which less may be wanted for a while now.
    pub(super) fn check_demand(&mut self, now: Instant) {
        while let Some((_, source)) = self.demand_checks.first().copied().filter(|(at, _)| *at <= now) {
            self.demand_checks.pop_first();
            let Some(track) = self.track_mut(source) else { continue };
            track.demanded.less_at = None;
            let (told, muted) = (track.demanded.told, track.info.muted);
            let demand = self.demand_for(source);
            // A muted track sends nothing anyway; its publisher hears of it afterwards.
            if demand != told && !muted {
                self.tell_demand(source, demand);
            }
        }
    }

    /// Says again what is wanted: of one track that goes on, or of all to a client that may have missed it.
    pub(super) fn repeat_demand(&mut self, identity: &Identity, sid: Option<&str>) {
        let Some(participant) = self.participants.get(identity) else { return };
        let is_meant = |track: &&Track| {
            track.kind == MediaKind::Video && sid.is_none_or(|sid| track.info.sid == sid) && !track.info.muted
        };
        let sources: Vec<SourceKey> =
            participant.tracks.values().filter(is_meant).map(|track| track.source).collect();
        for source in sources {
            let Some((_, track)) = self.track_of(source) else { continue };
            let not_less = track.demanded.less_at.and(track.demanded.told);
            self.tell_demand(source, self.demand_for(source).max(not_less));
        }
    }

    fn demand_for(&self, source: SourceKey) -> Demand {
        let (_, track) = self.track_of(source)?;
        self.participants.values().filter_map(|own| demand_of(own, track)).max()
    }

    fn track_mut(&mut self, source: SourceKey) -> Option<&mut Track> {
        let (identity, sid) = self.by_source.get(&source)?;
        self.participants.get_mut(identity)?.tracks.get_mut(sid)
    }

    fn tell_demand(&mut self, source: SourceKey, demand: Demand) {
        let Some(track) = self.track_mut(source) else { return };
        track.demanded.told = demand;
        let track_sid = track.info.sid.clone();
        let codec = track.codec.mime_type().trim_start_matches("video/").to_ascii_lowercase();
        let Some(peer) = self.track_of(source).map(|(publisher, _)| publisher.peer) else { return };
        let enabled = |quality: VideoQuality| SubscribedQuality {
            quality: quality as i32,
            enabled: demand.is_some_and(|best| quality <= best),
        };
        let qualities =
            vec![enabled(VideoQuality::Low), enabled(VideoQuality::Medium), enabled(VideoQuality::High)];
        #[expect(deprecated, reason = "older clients read the list of qualities without a codec")]
        let update = proto::SubscribedQualityUpdate {
            track_sid,
            subscribed_qualities: qualities.clone(),
            subscribed_codecs: vec![SubscribedCodec { codec, qualities }],
        };
        self.send(peer, Response::SubscribedQualityUpdate(update));
    }
}

/// What somebody wants of a track.
fn demand_of(own: &Participant, track: &Track) -> Demand {
    let index = *own.subscriber.subscriptions.get(&track.info.sid)?;
    own.subscriber.lines.get(index)?.carrying.as_ref()?;
    let wanted = wanted_of(own, track, &track.info.sid);
    if wanted.disabled {
        return None;
    }
    if wanted.max_layer + 1 >= track.layers {
        return Some(VideoQuality::High);
    }
    let named = track.info.layers.get(wanted.max_layer).map(proto::VideoLayer::quality);
    let by_place = if wanted.max_layer == 0 { VideoQuality::Low } else { VideoQuality::Medium };
    Some(named.filter(|quality| *quality <= VideoQuality::High).unwrap_or(by_place))
}
