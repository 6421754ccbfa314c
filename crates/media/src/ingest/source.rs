//! A published track: layers, rings, sound level, key frame requests.

use std::time::{Duration, Instant};

use super::LevelMeter;
use crate::allocator::{SPATIAL, TEMPORAL};
use crate::bwe::Bitrate;
use crate::ids::SourceKey;
use crate::numbering::Numbering;
use crate::rates::{MEMORY, Rates};
use crate::ring::{AUDIO_PACKETS, Layering, Packet, StreamRing, VIDEO_PACKETS};
use crate::rtp::{av1, dd, h264, h265, vp8, vp9};
use crate::sdp::{Codec, MediaKind};

/// Most layers of a track: q, h and f.
pub const MAX_LAYERS: usize = 3;

/// A layer counts as live while its packets are younger than so many times what usually passes between its pictures …
const LIVE_PICTURES: u32 = 10;
/// … but at least for this, because the way here may be held up,
const LIVE_LEAST: Duration = Duration::from_millis(500);
/// … and at most for this, which is what counts at first. Screen sharing may send one picture a second.
const LIVE_MOST: Duration = Duration::from_millis(1500);
/// What a layer took before it went counts for this long after it has come back, while too little of it is there to be
/// measured.
const REMEMBERED: Duration = Duration::from_secs(1);
/// One in so many bytes of a key frame counts for what a layer takes: key frames are the exception. If all of them counted,
/// asking for one would make a shared screen too large for the link that asks, which then pauses it and has to ask again.
const KEYFRAME_WEIGHT: usize = 8;
/// A layer is given up when lower ones have come for so many times what usually passes between its pictures …
const OVERTAKEN_PICTURES: u32 = 6;
/// … but at least for this.
const OVERTAKEN_LEAST: Duration = Duration::from_millis(250);
/// Where more packets than this are missing in a row, a key frame is asked for: repeating all of them takes longer, if it
/// works at all.
pub const LARGEST_GAP: u64 = 60;
/// Key frames of the lowest layer are asked for at most this often, those of the others half as often.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// The publisher's clock at one moment, from its sender reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockAnchor {
    /// NTP time of the publisher, in 2^-32 seconds.
    pub ntp: u64,
    /// The same moment in ticks of the layer.
    pub rtp: u32,
    /// When the report came in.
    pub received: Instant,
}

/// One simulcast layer, or the only stream of a track.
#[derive(Debug)]
pub struct Layer {
    /// Packets.
    pub ring: StreamRing,
    numbering: Numbering,
    /// Reads the dependency descriptors, from the first one on.
    dependencies: Option<dd::Reader>,
    /// How many pictures come, and how many bytes.
    pub rates: Rates,
    /// Last packet.
    last_packet: Option<Instant>,
    last_timestamp: Option<u32>,
    /// Timestamp of the last key frame.
    keyframe_timestamp: Option<u32>,
    /// What usually passes from one picture to the next.
    interval: Option<Duration>,
    /// When it came back after it had gone, and what it took before.
    back: Option<(Instant, [[Bitrate; TEMPORAL]; SPATIAL])>,
    /// It has come back, and nobody was told.
    offered: bool,
    /// Clock of the publisher in ticks of this layer.
    pub clock: Option<ClockAnchor>,
    /// When a key frame was last asked for.
    last_request: Option<Instant>,
    /// A request that the throttle holds back.
    wanted: bool,
    /// The highest number that has come.
    highest: Option<u64>,
    /// What came in since the last look, for statistics.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Layer {
    fn new(kind: MediaKind) -> Self {
        let capacity = match kind {
            MediaKind::Audio => AUDIO_PACKETS,
            MediaKind::Video => VIDEO_PACKETS,
        };
        Self {
            ring: StreamRing::new(capacity),
            numbering: Numbering::default(),
            dependencies: None,
            rates: Rates::default(),
            last_packet: None,
            last_timestamp: None,
            keyframe_timestamp: None,
            interval: None,
            back: None,
            offered: false,
            clock: None,
            last_request: None,
            wanted: false,
            highest: None,
            packets: 0,
            bytes: 0,
        }
    }

    /// The layers that a packet belongs to, and whether a picture begins with it that needs no other.
    fn look_into(&mut self, codec: Codec, raw: &RawPacket) -> (Layering, bool) {
        let payload = &raw.payload;
        if payload.is_empty() {
            return (Layering::None, false);
        }
        let (layering, keyframe_start) = match codec {
            Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => return (Layering::None, true),
            // Their own descriptors say enough; receivers that get no other go by them.
            Codec::Vp8 => {
                let descriptor = vp8::Descriptor::parse(payload);
                let keyframe_start = descriptor.is_some_and(|descriptor| descriptor.keyframe_start);
                return (descriptor.map_or(Layering::None, Layering::Vp8), keyframe_start);
            }
            Codec::H264 => return (Layering::None, h264::starts_keyframe(payload)),
            Codec::Vp9 => {
                let descriptor = vp9::Descriptor::parse(payload);
                let keyframe_start = descriptor.is_some_and(|descriptor| descriptor.starts_keyframe());
                (descriptor.map_or(Layering::None, Layering::Vp9), keyframe_start)
            }
            Codec::Av1 => (Layering::None, av1::starts_keyframe(payload)),
            Codec::H265 => (Layering::None, h265::starts_keyframe(payload)),
        };
        match &raw.dependency {
            Some(value) => {
                let reader = self.dependencies.get_or_insert_default();
                match reader.read(value.clone()) {
                    Some(descriptor) => {
                        let starts = descriptor.starts_keyframe();
                        (Layering::Dependency(Box::new(descriptor)), starts)
                    }
                    None => (Layering::Unreadable(dd::frame_number(value)), false),
                }
            }
            // The publisher has given it up; whoever goes by it waits for the next key frame.
            None if keyframe_start => {
                self.dependencies = None;
                (layering, keyframe_start)
            }
            None if self.dependencies.is_some() => (Layering::Unreadable(None), false),
            None => (layering, keyframe_start),
        }
    }

    /// Whether packets come in.
    pub fn is_live(&self, now: Instant) -> bool {
        let least_and_most = |usual: Duration| (usual * LIVE_PICTURES).clamp(LIVE_LEAST, LIVE_MOST);
        let live_for = self.interval.map_or(LIVE_MOST, least_and_most);
        self.last_packet.is_some_and(|at| now.saturating_duration_since(at) < live_for)
    }

    /// What it needs, by spatial and temporal layer, measured over `time`; zero if it is not live.
    fn bitrates(&self, now: Instant, time: Duration) -> [[Bitrate; TEMPORAL]; SPATIAL] {
        if !self.is_live(now) {
            return [[Bitrate::ZERO; TEMPORAL]; SPATIAL];
        }
        self.rates.bitrates(now, time)
    }

    /// The same; just after it has come back, at least what it took before.
    fn remembered_bitrates(&self, now: Instant, time: Duration) -> [[Bitrate; TEMPORAL]; SPATIAL] {
        let mut rates = self.bitrates(now, time);
        if let Some((at, before)) = &self.back
            && now.saturating_duration_since(*at) < REMEMBERED
        {
            let before = before.iter().flatten();
            rates.iter_mut().flatten().zip(before).for_each(|(rate, before)| *rate = (*rate).max(*before));
        }
        rates
    }

    /// A packet came.
    fn note(&mut self, now: Instant, raw: &RawPacket) {
        self.packets += 1;
        self.bytes += raw.payload.len() as u64;
        // What is repeated tells how things were. What is older than all that is kept is no repetition, but another stream.
        let is_repeated =
            |highest: u64| (highest.saturating_sub(VIDEO_PACKETS as u64)..=highest).contains(&raw.sequence);
        if self.highest.is_some_and(is_repeated) {
            return;
        }
        if let Some(last) = self.last_packet.filter(|_| !self.is_live(now)) {
            self.back = Some((now, self.rates.bitrates(last, MEMORY)));
            self.offered = true;
        }
        if let Some(last) = self.last_packet.filter(|_| self.last_timestamp != Some(raw.timestamp)) {
            let passed = now.saturating_duration_since(last).min(LIVE_MOST);
            self.interval = Some(self.interval.map_or(passed, |usual| (usual * 7 + passed) / 8));
        }
        (self.last_packet, self.last_timestamp) = (Some(now), Some(raw.timestamp));
    }
}

/// A published track.
#[derive(Debug)]
pub struct Source {
    /// Its name among the media threads.
    pub key: SourceKey,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Nothing is forwarded while muted.
    pub muted: bool,
    /// Until then the publisher is known to send more than its link carries: only the lowest layer is worth waiting for.
    pub congested_until: Option<Instant>,
    /// How loud it is.
    pub level: LevelMeter,
}

/// An opened packet of a track.
#[derive(Debug)]
pub struct RawPacket {
    /// Extended sequence number.
    pub sequence: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Our payload type.
    pub codec: Option<Codec>,
    /// RFC 6464 level: 0 is loudest, 127 silent.
    pub audio_level: Option<u8>,
    /// The dependency descriptor, unread.
    pub dependency: Option<std::sync::Arc<[u8]>>,
    /// Payload.
    pub payload: std::sync::Arc<[u8]>,
}

impl Source {
    /// A track with `layers` layers.
    pub fn new(key: SourceKey, kind: MediaKind, layers: usize) -> Self {
        let layers = layers.clamp(1, MAX_LAYERS);
        Self {
            key,
            kind,
            layers: std::iter::repeat_with(|| Layer::new(kind)).take(layers).collect(),
            muted: false,
            congested_until: None,
            level: LevelMeter::default(),
        }
    }

    /// Takes a packet in. `None` if it is of no use to anybody: padding, an unknown codec, or muted. The numbers of
    /// the others follow one another without what was left out; only padding that comes late is kept, empty, because
    /// its number is missed by then.
    pub fn push(&mut self, now: Instant, layer: usize, raw: RawPacket) -> Option<&Packet> {
        let layer = self.layers.get_mut(layer)?;
        layer.note(now, &raw);
        if let Some(level) = raw.audio_level {
            self.level.observe(level);
        }
        let codec = raw.codec.filter(|codec| codec.kind() == self.kind);
        if (codec.is_none() || raw.payload.is_empty()) && layer.numbering.leave_out(raw.sequence) {
            return None;
        }
        let codec = codec?;
        // Too many are missing to be asked for one by one, and nothing can be shown without them.
        let jumps = layer.highest.is_some_and(|highest| raw.sequence > highest + LARGEST_GAP);
        layer.wanted |= jumps && self.kind == MediaKind::Video;
        layer.highest = layer.highest.max(Some(raw.sequence));
        let sequence = layer.numbering.number(raw.sequence)?;
        if self.muted {
            return None;
        }
        let (layering, keyframe_start) = layer.look_into(codec, &raw);
        if keyframe_start && self.kind == MediaKind::Video {
            layer.keyframe_timestamp = Some(raw.timestamp);
            // Whoever misses it asks again.
            layer.wanted = false;
        }
        if !raw.payload.is_empty() {
            let is_key = layer.keyframe_timestamp == Some(raw.timestamp);
            let len = if is_key { raw.payload.len() / KEYFRAME_WEIGHT } else { raw.payload.len() };
            layer.rates.observe(now, raw.timestamp, len, &layering);
        }
        Some(layer.ring.push(Packet {
            // One full cycle of head room: late packets never count below zero.
            sequence: sequence + 0x1_0000,
            timestamp: raw.timestamp,
            marker: raw.marker,
            codec,
            keyframe_start,
            layering,
            payload: raw.payload,
        }))
    }

    /// Whether a layer of pictures has come back. Said once.
    pub fn takes_offer(&mut self, layer: usize) -> bool {
        let layer = self.layers.get_mut(layer).filter(|_| self.kind == MediaKind::Video);
        layer.is_some_and(|layer| std::mem::take(&mut layer.offered))
    }

    fn is_congested(&self, now: Instant) -> bool {
        self.congested_until.is_some_and(|until| now < until)
    }

    /// Somebody needs a key frame of `layer`.
    pub fn want_keyframe(&mut self, layer: usize) {
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.wanted = true;
        }
    }

    /// The layers to ask for a key frame now; what the throttle holds back comes later.
    pub fn due_keyframes(&mut self, now: Instant) -> impl Iterator<Item = usize> {
        let mut due = [false; MAX_LAYERS];
        let is_congested = self.is_congested(now);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let interval = if index == 0 { KEYFRAME_INTERVAL } else { 2 * KEYFRAME_INTERVAL };
            let rested = layer.last_request.is_none_or(|at| now.saturating_duration_since(at) >= interval);
            let is_in_time = index == 0 || !is_congested;
            if layer.wanted && rested && is_in_time && layer.is_live(now) {
                layer.wanted = false;
                layer.last_request = Some(now);
                due[index] = true;
            }
        }
        due.into_iter().enumerate().filter_map(|(index, due)| due.then_some(index))
    }

    /// Whether the throttle holds a request back.
    pub fn has_wanted_keyframes(&self) -> bool {
        self.layers.iter().any(|layer| layer.wanted)
    }

    /// What each layer needs, by spatial and temporal layer, measured over `time`; zero for those that are not there.
    pub fn bitrates(&self, now: Instant, time: Duration) -> [[Bitrate; TEMPORAL]; SPATIAL] {
        let mut rates = [[Bitrate::ZERO; TEMPORAL]; SPATIAL];
        if let [only] = self.layers.as_slice() {
            return only.bitrates(now, time);
        }
        // Of several streams each is one layer, whatever its packets say.
        for (index, (layer, rates)) in self.layers.iter().zip(&mut rates).enumerate() {
            // Of the lowest a memory would only keep somebody from seeing anything.
            let own =
                if index == 0 { layer.bitrates(now, time) } else { layer.remembered_bitrates(now, time) };
            for (all, one) in own.iter().flat_map(|row| row.iter().enumerate()) {
                rates[all] = rates[all].max(*one);
            }
        }
        rates
    }

    /// Whether a layer was given up while lower ones go on: their encoder is the same, and so is the way here.
    fn is_overtaken(&self, index: usize) -> bool {
        let layer = &self.layers[index];
        let Some((last, interval)) = layer.last_packet.zip(layer.interval) else { return false };
        let enough = (interval * OVERTAKEN_PICTURES).max(OVERTAKEN_LEAST);
        let lower = self.layers[..index].iter().filter_map(|lower| lower.last_packet);
        lower.max().is_some_and(|latest| latest.saturating_duration_since(last) > enough)
    }

    /// The best layer for somebody who wants layer `wanted` at most: the highest live one of these, else the
    /// lowest live one above, else the wanted one. While the publisher's link is too narrow nobody wants more than the lowest.
    pub fn best_layer(&self, now: Instant, wanted: usize) -> usize {
        let live = |index: &usize| self.layers[*index].is_live(now) && !self.is_overtaken(*index);
        let wanted = if self.is_congested(now) { 0 } else { wanted };
        let top = wanted.min(self.layers.len() - 1);
        (0..=top).rev().find(live).or_else(|| (top + 1..self.layers.len()).find(live)).unwrap_or(top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(sequence: u64, codec: Codec, payload: &[u8]) -> RawPacket {
        RawPacket {
            sequence,
            timestamp: 0,
            marker: false,
            codec: Some(codec),
            audio_level: None,
            dependency: None,
            payload: payload.into(),
        }
    }

    #[test]
    fn key_frames_are_seen_in_every_codec() {
        let now = Instant::now();
        for (codec, key, delta) in [
            (Codec::Vp9, &[0x8c, 1][..], &[0xcc, 2][..]),
            (Codec::Av1, &[0x18, 0x0a], &[0x10, 0x32]),
            (Codec::H265, &[0x40, 1, 0], &[0x02, 1, 0]),
            (Codec::H264, &[0x67, 1], &[0x61, 1]),
        ] {
            let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
            let starts = |packet: Option<&Packet>| packet.map(|packet| packet.keyframe_start);
            assert_eq!(starts(source.push(now, 0, raw(1, codec, key))), Some(true), "{codec:?}");
            assert_eq!(starts(source.push(now, 0, raw(2, codec, delta))), Some(false), "{codec:?}");
        }
    }

    #[test]
    fn only_useful_packets_are_kept() {
        let now = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 3);
        assert!(source.push(now, 0, raw(1, Codec::Vp8, &[0x10, 0])).is_some_and(|p| p.keyframe_start));
        assert!(source.push(now, 0, raw(2, Codec::Vp8, &[])).is_none(), "padding");
        assert!(source.push(now, 0, raw(3, Codec::Opus, &[1])).is_none(), "sound on a video track");
        assert!(source.push(now, 7, raw(4, Codec::Vp8, &[0x10, 0])).is_none(), "a layer that does not exist");
        let sequence = |packet: Option<&Packet>| packet.map(|packet| packet.sequence - 0x1_0000);
        assert_eq!(
            sequence(source.push(now, 0, raw(6, Codec::Vp8, &[0x10, 0]))),
            Some(4),
            "as if 2 and 3 had not been"
        );
        assert_eq!(
            sequence(source.push(now, 0, raw(5, Codec::Vp8, &[]))),
            Some(3),
            "late padding: it is missed already"
        );
        source.muted = true;
        assert!(source.push(now, 0, raw(7, Codec::Vp8, &[0x10, 0])).is_none());
    }

    #[test]
    fn key_frame_requests_are_throttled_and_not_lost() {
        let start = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
        let ask = |source: &mut Source, ms: u64| {
            let now = start + Duration::from_millis(ms);
            source.layers[0].last_packet = Some(now);
            source.due_keyframes(now).collect::<Vec<_>>()
        };
        source.want_keyframe(0);
        assert_eq!(ask(&mut source, 0), [0]);
        source.want_keyframe(0);
        assert!(ask(&mut source, 100).is_empty());
        assert!(source.has_wanted_keyframes());
        assert_eq!(ask(&mut source, 500), [0]);
        assert!(ask(&mut source, 2_000).is_empty(), "nobody asked");
    }

    #[test]
    fn the_best_layer_is_the_highest_live_one_that_was_asked_for() {
        let now = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 3);
        assert_eq!(source.best_layer(now, 2), 2, "nothing is live yet");
        source.layers[0].last_packet = Some(now);
        assert_eq!(source.best_layer(now, 2), 0);
        source.layers[2].last_packet = Some(now);
        assert_eq!(source.best_layer(now, 2), 2);
        assert_eq!(source.best_layer(now, 1), 0);
        source.layers[0].last_packet = None;
        assert_eq!(source.best_layer(now, 1), 2, "better too large than nothing");
    }

    /// Pictures of `layers` layers every 33 ms, up to `until`.
    fn film(start: Instant, source: &mut Source, layers: usize, pictures: std::ops::Range<u64>) -> Instant {
        let at = |nth: u64| start + Duration::from_millis(33 * nth);
        for nth in pictures.clone() {
            for layer in 0..layers {
                let packet = RawPacket { timestamp: nth as u32 * 2_970, ..raw(nth, Codec::Vp8, &[0x10, 1]) };
                source.push(at(nth), layer, packet);
            }
        }
        at(pictures.end)
    }

    #[test]
    fn a_layer_that_lower_ones_overtake_is_given_up_at_once() {
        let start = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 3);
        let now = film(start, &mut source, 3, 0..30);
        assert_eq!(source.best_layer(now, 2), 2);
        let now = film(start, &mut source, 1, 30..37);
        assert_eq!(source.best_layer(now, 2), 2, "that may be the way");
        let now = film(start, &mut source, 1, 37..40);
        assert_eq!(source.best_layer(now, 2), 0);
        let mut alone = Source::new(SourceKey(1), MediaKind::Video, 3);
        let end = film(start, &mut alone, 3, 0..30);
        assert_eq!(alone.best_layer(end + Duration::from_millis(400), 2), 2, "all are held up");
    }

    #[test]
    fn on_a_link_that_is_too_narrow_only_the_lowest_layer_counts() {
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 3);
        let now = film(Instant::now(), &mut source, 3, 0..30);
        source.congested_until = Some(now + Duration::from_millis(1));
        assert_eq!(source.best_layer(now, 2), 0);
        (0..3).for_each(|layer| source.want_keyframe(layer));
        assert_eq!(source.due_keyframes(now).collect::<Vec<_>>(), [0]);
        let now = now + Duration::from_millis(1);
        assert_eq!(source.best_layer(now, 2), 2);
        assert_eq!(source.due_keyframes(now).collect::<Vec<_>>(), [1, 2], "later is not too late");
    }

    #[test]
    fn a_layer_that_comes_back_needs_what_it_took_before() {
        let start = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 3);
        film(start, &mut source, 3, 0..90);
        let now = film(start, &mut source, 1, 90..150);
        let top = |source: &Source, now: Instant| source.bitrates(now, MEMORY)[2][0].as_bps();
        assert_eq!(top(&source, now), 0);
        assert!(!source.takes_offer(2));
        source.want_keyframe(2);
        let packet = RawPacket { timestamp: 150 * 2_970, ..raw(90, Codec::Vp8, &[0x10, 0]) };
        source.push(now, 2, packet);
        assert!(source.takes_offer(2) && !source.takes_offer(2), "once");
        assert!(!source.takes_offer(0) && !source.takes_offer(3));
        assert!(!source.has_wanted_keyframes(), "there it is");
        // A picture of 70 bytes every 33 ms.
        let bps = top(&source, now);
        assert!((15_000..19_000).contains(&bps), "{bps}");
        let later = film(start, &mut source, 3, 151..190);
        let bps = top(&source, later);
        assert!(bps < 13_000, "what is measured counts: {bps}");
        // Sound is not offered.
        let mut sound = Source::new(SourceKey(2), MediaKind::Audio, 1);
        sound.push(start, 0, raw(1, Codec::Opus, &[1]));
        sound.push(now, 0, raw(2, Codec::Opus, &[1]));
        assert!(!sound.takes_offer(0));
    }

    #[test]
    fn what_is_repeated_does_not_keep_a_layer_alive() {
        let start = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 3);
        film(start, &mut source, 3, 0..30);
        let now = film(start, &mut source, 1, 30..60);
        source.push(now, 2, raw(20, Codec::Vp8, &[0x10, 1]));
        assert_eq!(source.best_layer(now, 2), 0);
    }

    #[test]
    fn a_gap_too_large_to_be_filled_wants_a_key_frame() {
        let start = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
        film(start, &mut source, 1, 0..30);
        film(start, &mut source, 1, 60..70);
        assert!(!source.has_wanted_keyframes());
        film(start, &mut source, 1, 131..132);
        assert!(source.has_wanted_keyframes());
    }

    #[test]
    fn key_frames_hardly_count_for_what_a_layer_takes() {
        let start = Instant::now();
        let mut source = Source::new(SourceKey(1), MediaKind::Video, 1);
        for nth in 0..30 {
            let is_key = nth % 10 == 0;
            let mut payload = vec![0x10, u8::from(!is_key)];
            payload.resize(if is_key { 8_000 } else { 1_000 }, 0);
            let packet = RawPacket { timestamp: nth as u32 * 9_000, ..raw(nth, Codec::Vp8, &payload) };
            source.push(start + Duration::from_millis(100 * nth), 0, packet);
        }
        let rate = source.bitrates(start + Duration::from_secs(3), Duration::from_secs(2))[0][0];
        // Ten pictures of 1,000 bytes a second; with all of the key frames it would be 136 kbit/s.
        assert!((70_000..90_000).contains(&rate.as_bps()), "{rate:?}");
    }
}
