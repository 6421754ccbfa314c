//! Dynacast: publishers are told which qualities of a picture anybody wants, and need not encode the others.
//!
//! More is said at once, because somebody waits for it; less after a while, because whoever turns a page soon turns
//! back. Costs nothing per packet, and a look at all participants only when less may be wanted.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_response::Message as Response;
use proto::{SubscribedCodec, SubscribedQuality, VideoQuality};

use super::Room;
use super::participant::Participant;
use super::subscribe::wanted_of;
use super::track::{Rendition, Track};
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

    /// Of a codec that is sent only when somebody needs it.
    pub(super) fn none() -> Self {
        Self { told: None, less_at: None }
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
            let Some(rendition) = track.rendition(source) else { continue };
            let told = rendition.demanded.told;
            let wanted = self.participants.get(&identity).and_then(|own| demand_of(own, track, rendition));
            if wanted > told {
                self.tell_demand(source, wanted);
            } else if wanted < told {
                self.look_for_less(source, now + LESS_AFTER);
            }
        }
    }

    fn look_for_less(&mut self, source: SourceKey, at: Instant) {
        let Some(rendition) = self.rendition_mut(source).filter(|own| own.demanded.less_at.is_none()) else {
            return;
        };
        rendition.demanded.less_at = Some(at);
        self.demand_checks.insert((at, source));
    }

    /// Looks at the tracks of which less may be wanted for a while now.
    pub(super) fn check_demand(&mut self, now: Instant) {
        while let Some((_, source)) = self.demand_checks.first().copied().filter(|(at, _)| *at <= now) {
            self.demand_checks.pop_first();
            let Some(rendition) = self.rendition_mut(source) else { continue };
            rendition.demanded.less_at = None;
            let told = rendition.demanded.told;
            let muted = self.track_of(source).is_some_and(|(_, track)| track.info.muted);
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
            participant.tracks.values().filter(is_meant).map(|track| track.primary.source).collect();
        for source in sources {
            let backup = self.track_of(source).and_then(|(_, track)| track.backup.as_ref());
            for source in backup.map(|backup| backup.source).into_iter().chain([source]) {
                let not_less = |own: &mut Rendition| own.demanded.less_at.and(own.demanded.told);
                let not_less = self.rendition_mut(source).and_then(not_less);
                let demand = self.demand_for(source).max(not_less);
                if let Some(rendition) = self.rendition_mut(source) {
                    rendition.demanded.told = demand;
                }
            }
            self.repeat_told(source);
        }
    }

    fn demand_for(&self, source: SourceKey) -> Demand {
        let (_, track) = self.track_of(source)?;
        let rendition = track.rendition(source)?;
        self.participants.values().filter_map(|own| demand_of(own, track, rendition)).max()
    }

    fn rendition_mut(&mut self, source: SourceKey) -> Option<&mut Rendition> {
        let (identity, sid) = self.by_source.get(&source)?;
        self.participants.get_mut(identity)?.tracks.get_mut(sid)?.rendition_mut(source)
    }

    fn tell_demand(&mut self, source: SourceKey, demand: Demand) {
        let Some(rendition) = self.rendition_mut(source) else { return };
        rendition.demanded.told = demand;
        self.repeat_told(source);
    }

    /// Clients take a message for all there is to say about a track, so it names all its codecs.
    fn repeat_told(&mut self, source: SourceKey) {
        let Some((publisher, track)) = self.track_of(source) else { return };
        let qualities = |told: Demand| {
            let enabled = |quality: VideoQuality| SubscribedQuality {
                quality: quality as i32,
                enabled: told.is_some_and(|best| quality <= best),
            };
            [VideoQuality::Low, VideoQuality::Medium, VideoQuality::High].map(enabled).to_vec()
        };
        let codec = |rendition: &Rendition| SubscribedCodec {
            codec: rendition.codec.mime_type().trim_start_matches("video/").to_ascii_lowercase(),
            qualities: qualities(rendition.demanded.told),
        };
        #[expect(deprecated, reason = "older clients read the list of qualities without a codec")]
        let update = proto::SubscribedQualityUpdate {
            track_sid: track.info.sid.clone(),
            subscribed_qualities: qualities(track.primary.demanded.told),
            subscribed_codecs: track.renditions().map(codec).collect(),
        };
        let peer = publisher.peer;
        self.send(peer, Response::SubscribedQualityUpdate(update));
    }
}

/// What somebody wants of a track in that codec.
fn demand_of(own: &Participant, track: &Track, rendition: &Rendition) -> Demand {
    let index = *own.subscriber.subscriptions.get(&track.info.sid)?;
    own.subscriber.lines.get(index)?.carrying.as_ref().filter(|own| own.source == rendition.source)?;
    let wanted = wanted_of(own, track, rendition);
    if wanted.disabled {
        return None;
    }
    if wanted.max_layer + 1 >= rendition.layers {
        return Some(VideoQuality::High);
    }
    let named = track.layers_of(rendition).get(wanted.max_layer).map(proto::VideoLayer::quality);
    let by_place = if wanted.max_layer == 0 { VideoQuality::Low } else { VideoQuality::Medium };
    Some(named.filter(|quality| *quality <= VideoQuality::High).unwrap_or(by_place))
}
