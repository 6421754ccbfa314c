//! A participant as the room sees it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use livekit_protocol as proto;
use proto::participant_info::{Kind, State};
use proto::{ParticipantInfo, ParticipantPermission};

use super::ServerFacts;
use super::data_tracks::{DataHandles, DataTrack};
use super::simulate::Simulated;
use super::track::{Pending, Rendition, Track};
use crate::downtrack::{DownConfig, Format};
use crate::ids::{DownKey, IceCredentials, Identity, PeerHandle, SourceKey};
use crate::ingest::UpMedia;
use crate::sdp::{Codec, DownLine, LocalEndpoint, MediaKind, PayloadTypes, Session};
use crate::signalling::{JoinParams, is_dependent};

/// The first livekit-client that is known to find a track by its m-line, and so takes another one on a used line.
const MAPS_LINES_TO_TRACKS: (u32, u32) = (2, 17);

/// Most tracks that a client may have wishes about.
pub(super) const MAX_WISHES: usize = 4_000;

/// How a client is to reach us. All ways are told to it, and it chooses; a test hook takes the choice away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// Whichever works.
    #[default]
    Any,
    /// Our addresses for TCP only.
    Tcp,
    /// The relay over TLS only.
    Tls,
}

/// Somebody in the room.
#[derive(Debug)]
pub(super) struct Participant {
    pub(super) peer: PeerHandle,
    /// What the others see, but for the tracks.
    pub(super) info: ParticipantInfo,
    pub(super) permission: ParticipantPermission,
    pub(super) params: JoinParams,
    pub(super) publisher: PublisherSide,
    pub(super) subscriber: SubscriberSide,
    /// Published tracks by name.
    pub(super) tracks: BTreeMap<String, Track>,
    /// Published data tracks by their publisher's handle.
    pub(super) data_tracks: BTreeMap<u16, DataTrack>,
    /// Announced tracks that wait for their m-line.
    pub(super) pending: VecDeque<Pending>,
    /// Who may receive this participant's tracks; everybody when absent.
    pub(super) audience: Option<Audience>,
    /// Not active until then: removed.
    pub(super) connect_by: Option<Instant>,
    /// The signal connection is lost; removed then.
    pub(super) gone_at: Option<Instant>,
    /// The last signal message from there.
    pub(super) heard_at: Instant,
    /// How it is to reach us.
    pub(super) way: Way,
    /// The answer to its first offer, where that must not come at once, and when it goes.
    pub(super) held_answer: Option<(Instant, proto::SessionDescription)>,
    /// What a test client has asked for.
    pub(super) simulated: Simulated,
    /// A fresh token is due.
    pub(super) refresh_at: Instant,
    /// How loud, 0 to 1.
    pub(super) level: f32,
    /// What the others were told; nothing before the first measurement.
    pub(super) quality: Option<proto::ConnectionQuality>,
    pub(super) score: f32,
    /// Highest number of a reliable data packet from here.
    pub(super) data_sequence: u32,
    /// Nonces of the latest data packets.
    pub(super) nonces: VecDeque<Vec<u8>>,
}

/// The connection that the client sends media on, or its only one.
#[derive(Debug)]
pub(super) struct PublisherSide {
    pub(super) credentials: IceCredentials,
    pub(super) payload_types: PayloadTypes,
    /// An offer had data channels.
    pub(super) has_data: bool,
    pub(super) session_id: u64,
    /// The client's ICE name, once it is known.
    pub(super) remote_ufrag: Option<String>,
    pub(super) lines: BTreeMap<String, UpLine>,
}

impl PublisherSide {
    /// What came on a line ends: until an offer says so again, nothing does, for the next track has a line of its own.
    pub(super) fn free_line(&mut self, rendition: &Rendition) {
        let line = rendition.mid.as_ref().and_then(|mid| self.lines.get_mut(mid));
        if let Some(line) = line.filter(|line| line.source == Some(rendition.source)) {
            line.source = None;
            line.track_id = None;
            line.sending = false;
        }
    }
}

/// An m-line that the client sends on.
#[derive(Debug, Clone)]
pub(super) struct UpLine {
    pub(super) media: UpMedia,
    pub(super) codecs: Vec<Codec>,
    /// The browser's name of the track.
    pub(super) track_id: Option<String>,
    /// What it carries, once that is announced.
    pub(super) source: Option<SourceKey>,
    /// The client sends on it, as far as is known: only then may an announced track be meant.
    pub(super) sending: bool,
}

/// What the client receives, and the connection for it, where it has one of its own.
#[derive(Debug)]
pub(super) struct SubscriberSide {
    pub(super) credentials: IceCredentials,
    pub(super) session_id: u64,
    pub(super) version: u64,
    /// The client's ICE name, once it is known.
    pub(super) remote_ufrag: Option<String>,
    pub(super) next_offer: u32,
    pub(super) outstanding: Option<Outstanding>,
    /// The client's words on tracks that begin when the participant is active: until then the meeting does not know of
    /// it.
    pub(super) held_answer: Option<Session>,
    /// The m-lines have changed since the outstanding offer.
    pub(super) dirty: bool,
    pub(super) lines: Vec<Line>,
    pub(super) subscriptions: BTreeMap<String, usize>,
    /// Publisher and name of tracks for which the client has yet to offer a line; only with one connection.
    pub(super) waiting: Vec<(Identity, String)>,
    /// Lines that were asked for and did not come yet; only with one connection.
    pub(super) requested: Requested,
    /// What the client said about tracks, also about unknown ones; bounded.
    pub(super) wishes: HashMap<String, Wish>,
    /// Data tracks that are received.
    pub(super) data_handles: DataHandles,
    /// Tracks that the client cannot receive.
    pub(super) failed: HashSet<String>,
    pub(super) next_mid: u32,
}

impl SubscriberSide {
    /// Most m-lines without a track, and most of all (a description has at most 1,024).
    const UNUSED_MAX: usize = 300;
    pub(super) const LINES_MAX: usize = 1_000;

    /// The line of that name.
    pub(super) fn line(&self, mid: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.sdp.mid == mid)
    }

    /// A client that takes no second track on a line has been here for so long that its descriptions are mostly of
    /// lines that are no more: coming again is less work for it than the next one.
    pub(super) fn is_worn_out(&self) -> bool {
        let lines = self.lines.len();
        lines - self.subscriptions.len() > Self::UNUSED_MAX || lines > Self::LINES_MAX
    }
}

/// An offer that was not answered yet, or a request for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outstanding {
    pub(super) id: u32,
    /// The client is cut off then, and comes again.
    pub(super) answer_by: Option<Instant>,
}

/// Numbers of lines by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Requested {
    audio: usize,
    video: usize,
}

impl Requested {
    pub(super) fn get(self, kind: MediaKind) -> usize {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }

    pub(super) fn of(&mut self, kind: MediaKind) -> &mut usize {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }
}

/// An m-line to the client.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sdp: DownLine,
    pub(super) carrying: Option<Carrying>,
    /// The last answer has a track here. Browsers notice another one only if there was an answer without any between;
    /// only with one connection.
    pub(super) shown: bool,
}

/// The track on an m-line.
#[derive(Debug)]
pub(super) struct Carrying {
    pub(super) track: String,
    pub(super) source: SourceKey,
    pub(super) key: DownKey,
    /// The outstanding or an earlier offer names it.
    pub(super) offered: bool,
    /// The media thread sends it.
    pub(super) active: bool,
    /// What was agreed on, kept where the track may come in another codec.
    pub(super) agreed: Option<Box<Agreed>>,
}

/// How a client takes a track.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) config: DownConfig,
    /// All codecs of the track that it takes.
    pub(super) formats: Vec<Format>,
}

/// What a client wants of a track.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    pub(super) subscribed: Option<bool>,
    pub(super) settings: Option<Settings>,
}

/// What a client wants to see of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) disabled: bool,
    pub(super) quality: proto::VideoQuality,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Pictures in a second; 0 for all.
    pub(super) fps: u32,
}

/// Who may receive a publisher's tracks, as the publisher said.
#[derive(Debug, Default)]
pub(super) struct Audience {
    everybody: bool,
    by_identity: HashMap<String, Allowed>,
    by_sid: HashMap<String, Allowed>,
}

/// Tracks that one receiver may have.
#[derive(Debug, Default)]
struct Allowed {
    all: bool,
    tracks: HashSet<String>,
}

impl Audience {
    /// Most receivers, and most tracks of one, that a publisher may name.
    const NAMED_MAX: usize = 1_000;

    pub(super) fn new(request: &proto::SubscriptionPermission) -> Self {
        let mut audience = Self { everybody: request.all_participants, ..Self::default() };
        for permission in request.track_permissions.iter().take(Self::NAMED_MAX) {
            let allowed = if permission.participant_identity.is_empty() {
                audience.by_sid.entry(permission.participant_sid.clone())
            } else {
                audience.by_identity.entry(permission.participant_identity.clone())
            }
            .or_default();
            allowed.all |= permission.all_tracks;
            let more = Self::NAMED_MAX.saturating_sub(allowed.tracks.len());
            allowed.tracks.extend(permission.track_sids.iter().take(more).cloned());
        }
        audience
    }
}

impl Participant {
    /// What others may know, tracks included.
    pub(super) fn info(&self) -> ParticipantInfo {
        ParticipantInfo {
            tracks: self.tracks.values().map(|track| track.info.clone()).collect(),
            permission: Some(self.permission.clone()),
            data_tracks: self.data_tracks.values().map(|track| track.info.clone()).collect(),
            is_publisher: self.is_publisher(),
            ..self.info.clone()
        }
    }

    pub(super) fn is_publisher(&self) -> bool {
        !self.tracks.is_empty() || !self.data_tracks.is_empty()
    }

    /// Something that others see has changed.
    pub(super) fn touch(&mut self) {
        self.info.version += 1;
    }

    /// How well this participant's connections do, if that is known and nobody's secret.
    pub(super) fn quality_info(&self) -> Option<proto::ConnectionQualityInfo> {
        Some(proto::ConnectionQualityInfo {
            participant_sid: self.info.sid.clone(),
            quality: self.quality? as i32,
            score: self.score,
        })
    }

    /// Whether this one records the room.
    pub(super) fn is_recorder(&self) -> bool {
        self.permission.recorder || self.params.kind == Kind::Egress
    }

    /// Whether this one is only there for the sake of others: it neither keeps a room open nor takes a place in it.
    pub(super) fn is_dependent(&self) -> bool {
        is_dependent(self.params.kind, &self.permission)
    }

    pub(super) fn is_active(&self) -> bool {
        self.info.state == State::Active as i32
    }

    /// Whether anything should come from here: of pictures that nobody wants nothing does.
    pub(super) fn is_to_send(&self) -> bool {
        let is_wanted = |track: &Track| track.renditions().any(|rendition| rendition.demanded.is_any());
        let is_to_send =
            |track: &Track| !track.info.muted && (track.kind == MediaKind::Audio || is_wanted(track));
        self.tracks.values().any(is_to_send)
    }

    /// When the room must look after this participant.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let answer = self.subscriber.outstanding.and_then(|offer| offer.answer_by);
        let speaks = self.simulated.speaks_until;
        let held = self.held_answer.as_ref().map(|(at, _)| *at);
        [self.connect_by, self.gone_at, answer, speaks, held, Some(self.refresh_at)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether tracks of this source may be published.
    pub(super) fn may_publish(&self, source: i32) -> bool {
        let sources = &self.permission.can_publish_sources;
        let unknown = source == proto::TrackSource::Unknown as i32;
        self.permission.can_publish && (sources.is_empty() || (!unknown && sources.contains(&source)))
    }

    /// Whether this one is to receive a track of `publisher`. `unasked` if it wants all that it does not speak of.
    pub(super) fn is_to_receive(&self, publisher: &Participant, sid: &str, unasked: bool) -> bool {
        let wish = self.subscriber.wishes.get(sid).copied().unwrap_or_default();
        // Tracks of hidden participants are not announced, so nobody is given them unasked. Whoever is not active is not
        // known outside either, so nobody could take their rights away.
        publisher.is_active()
            && self.peer != publisher.peer
            && self.permission.can_subscribe
            && wish.subscribed.unwrap_or(unasked && !publisher.permission.hidden)
            && publisher.admits(self, sid)
    }

    /// What this one wants of a track; `None` for more wishes than are kept.
    pub(super) fn wish_of(&mut self, sid: &str) -> Option<&mut Wish> {
        let wishes = &mut self.subscriber.wishes;
        if sid.len() > 64 || (wishes.len() >= MAX_WISHES && !wishes.contains_key(sid)) {
            return None;
        }
        Some(wishes.entry(sid.to_owned()).or_default())
    }

    /// Whether `other` may receive `track` of this participant.
    pub(super) fn admits(&self, other: &Participant, track: &str) -> bool {
        let Some(audience) = &self.audience else { return true };
        let named = [audience.by_identity.get(&other.info.identity), audience.by_sid.get(&other.info.sid)];
        audience.everybody
            || other.is_recorder()
            || named.into_iter().flatten().any(|allowed| allowed.all || allowed.tracks.contains(track))
    }

    /// The line that carries a track.
    pub(super) fn line_of(&mut self, track: &str) -> Option<&mut Line> {
        let index = *self.subscriber.subscriptions.get(track)?;
        self.subscriber.lines.get_mut(index)
    }

    /// Whether a track is being received, or will be.
    pub(super) fn receives(&self, track: &str) -> bool {
        let side = &self.subscriber;
        side.subscriptions.contains_key(track) || side.waiting.iter().any(|(_, sid)| sid == track)
    }

    /// Where it may reach us.
    pub(super) fn endpoint<'a>(&self, facts: &'a ServerFacts) -> Cow<'a, LocalEndpoint> {
        let own = facts.endpoint_of(self.peer.shard);
        if self.way == Way::Tcp && !own.tcp.is_empty() {
            Cow::Owned(LocalEndpoint { udp: Vec::new(), ..own.into_owned() })
        } else {
            own
        }
    }

    /// What its client is made to do.
    pub(super) fn configuration(&self) -> proto::ClientConfiguration {
        let force_relay = match self.way {
            Way::Tls => proto::ClientConfigSetting::Enabled,
            Way::Any | Way::Tcp => proto::ClientConfigSetting::Unset,
        };
        proto::ClientConfiguration { force_relay: force_relay as i32, ..Default::default() }
    }

    /// Whether one connection serves both directions.
    pub(super) fn has_one_connection(&self) -> bool {
        self.params.one_connection
    }

    /// Chromium groups sound and pictures of one stream for lip sync. Others need the track's name in the stream's:
    /// Firefox makes up its own name for the track, and older libraries do not look an m-line up in the offer's map.
    pub(super) fn takes_shared_streams(&self) -> bool {
        self.params.browser.starts_with("Chrom") && self.params.version >= MAPS_LINES_TO_TRACKS
    }

    /// Safari does not take another track on an m-line that was used.
    pub(super) fn takes_used_lines(&self) -> bool {
        self.params.protocol >= 4 && !self.params.browser.eq_ignore_ascii_case("safari")
    }
}
