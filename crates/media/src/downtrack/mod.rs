//! One published track on its way to one subscriber: which layer is sent, and under which numbers.
//!
//! The subscriber sees one continuous stream whatever happens to the published ones: layers are switched at
//! key frames, sequence numbers have no gap that was not lost on the way here (padding is left out of them where
//! packets come in, see [`Source::push`]; layers inside of a stream are left out by [`selector`]), timestamps follow the
//! publisher's clock.

pub mod selector;

mod history;
mod munger;
mod playout;

use std::time::{Duration, Instant};

pub use history::{History, Left, Sent};
pub use munger::{Munger, Rewritten};
pub use playout::PlayoutDelay;
use selector::{Choice, Limits, Selector};

use playout::Playout;

use crate::allocator::{self, TEMPORAL};
use crate::ids::{DownKey, SourceKey};
use crate::ingest::{ClockAnchor, Source};
use crate::ring::Packet;
use crate::rtp::rtcp::Report;
use crate::sdp::{Codec, MediaKind};

/// How often a subscriber that waits for a key frame asks again; the publisher's throttle comes on top.
const KEYFRAME_RETRY: Duration = Duration::from_millis(200);

/// A key frame that has left is asked for again no sooner than this after a round trip.
const KEYFRAME_GRACE: Duration = Duration::from_millis(100);

/// Packets of sound that can be repeated: what is missed for more than a second is not heard any more.
const AUDIO_HISTORY: usize = 64;
/// A track that gets nothing for this long is said to be paused: where there is room, a probe or two find it earlier.
const PAUSED_AFTER: Duration = Duration::from_millis(600);

/// How a subscriber takes a codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The codec.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// The payload type of its retransmissions.
    pub rtx: Option<u8>,
}

/// What the subscriber negotiated for the track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownConfig {
    /// Name of this subscription among the media threads.
    pub key: DownKey,
    /// The track.
    pub source: SourceKey,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// The pictures are of a shared screen.
    pub is_screen: bool,
    /// The m-line, sent with packets under this number among the header extensions, where the subscriber takes it.
    pub mid: Option<(u8, String)>,
    /// Source of the packets.
    pub ssrc: u32,
    /// Source and payload type of retransmissions.
    pub rtx: Option<(u32, u8)>,
    /// Payload types that the subscriber understands, by codec.
    pub payload_types: Vec<(Codec, u8)>,
    /// Number of the dependency descriptor among the header extensions, where the subscriber takes it.
    pub dependency: Option<u8>,
    /// Number of the transport-wide sequence number among the header extensions, where the subscriber takes it.
    pub transport: Option<u8>,
    /// Number of the playout delay among the header extensions, and its bounds, where the room wants one and the
    /// subscriber takes it.
    pub playout_delay: Option<(u8, PlayoutDelay)>,
    /// Stream that the track belongs to, for lip sync.
    pub cname: String,
    /// What is wanted.
    pub wanted: Wanted,
    /// First sequence number, below 2^15 so that the receiver cannot miss the first roll-over (RFC 3711 §3.3.1).
    pub first_sequence: u16,
    /// First timestamp.
    pub first_timestamp: u32,
}

impl DownConfig {
    /// The track comes from `source` in another codec.
    pub fn switch(&mut self, source: SourceKey, format: Format, wanted: Wanted) {
        self.source = source;
        self.payload_types = vec![(format.codec, format.payload_type)];
        self.rtx = self.rtx.and_then(|(ssrc, _)| Some((ssrc, format.rtx?)));
        self.wanted = wanted;
    }

    /// What the track shows.
    pub fn content(&self) -> allocator::Content {
        match (self.kind, self.is_screen) {
            (MediaKind::Audio, _) => allocator::Content::Audio,
            (MediaKind::Video, true) => allocator::Content::Screen,
            (MediaKind::Video, false) => allocator::Content::Camera,
        }
    }

    /// Ticks of the RTP clock in a second.
    pub fn clock_rate(&self) -> u32 {
        self.payload_types.first().map_or_else(|| clock_rate(self.kind), |(codec, _)| codec.clock_rate())
    }
}

/// What a subscriber wants of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Highest layer: one of several streams, or a spatial layer of the only one.
    pub max_layer: usize,
    /// Pictures in a second that are enough; 0 for as many as there are.
    pub fps: u32,
    /// Size at which it is shown, or that of the highest layer, in pixels: the larger, the more important.
    pub pixels: u32,
    /// Nothing is wanted for now.
    pub disabled: bool,
}

/// The layers that should be sent, as things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Which of the track's streams.
    pub layer: usize,
    /// Layers inside of the stream.
    pub limits: Limits,
}

impl Target {
    /// What can be had of `wanted` now.
    pub fn of(now: Instant, source: &Source, wanted: Wanted) -> Self {
        let layer = source.best_layer(now, wanted.max_layer);
        // Of several streams each is one layer, whatever its packets say.
        let alone = source.layers.len() == 1;
        let spatial = if alone { u8::try_from(wanted.max_layer).unwrap_or(u8::MAX) } else { u8::MAX };
        Self {
            layer,
            limits: Limits { spatial, temporal: source.layers[layer].rates.enough_for(wanted.fps) },
        }
    }
}

/// A track on its way to a subscriber.
#[derive(Debug)]
pub struct DownTrack {
    /// What was negotiated.
    pub config: DownConfig,
    /// The layer that is sent.
    current: Option<usize>,
    selector: Selector,
    munger: Munger,
    history: History,
    /// Next sequence number of retransmissions.
    rtx_sequence: u64,
    keyframe_asked: Option<Instant>,
    /// The key frame that was forwarded last.
    keyframe: Option<Keyframe>,
    /// Packets sent since the beginning, for sender reports.
    pub packets: u32,
    /// Bytes of payload sent since the beginning, for sender reports.
    pub octets: u32,
    /// When the last sender report was sent.
    pub last_report: Option<Instant>,
    /// Loss that the subscriber reported last, in 256ths, and jitter in ticks.
    pub remote: Option<(u8, u32)>,
    grant: Grant,
    /// Whether the subscriber was told that the track is paused.
    told_paused: bool,
    /// The highest number that has left.
    last_left: Option<u64>,
    playout: Option<Box<Playout>>,
    /// Packets sent and missed since the subscriber's last report.
    since_report: (u32, u32),
}

/// A key frame on its way.
#[derive(Debug, Clone, Copy)]
struct Keyframe {
    timestamp: u32,
    /// The number of its last packet so far.
    last: u64,
    /// When a packet of it last left; at first, when it came.
    at: Instant,
}

/// What the connection has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// Up to that layer.
    Layer(allocator::Layer),
    /// Nothing, since then.
    Nothing(Instant),
}

/// Before anything was decided: the smallest picture.
const FIRST_GRANT: Grant = Grant::Layer(allocator::Layer { spatial: 0, temporal: TEMPORAL as u8 - 1 });

/// A packet to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// New numbers.
    pub numbers: Rewritten,
    /// Payload type that the subscriber negotiated.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Decode targets that the dependency descriptor names, if not its own.
    pub mask: Option<u32>,
    /// What of the payload is sent.
    pub content: Content,
}

/// What of a packet's payload is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// All of it.
    Whole,
    /// The primary block of RED.
    Primary,
    /// Nothing: the number is missed by the receiver, which is not to have the packet.
    Nothing,
}

impl DownTrack {
    /// A track of which nothing was sent yet.
    pub fn new(config: DownConfig) -> Self {
        let capacity = match config.kind {
            MediaKind::Audio => AUDIO_HISTORY,
            MediaKind::Video => crate::ring::VIDEO_PACKETS,
        };
        Self {
            playout: config.playout_delay.map(|(_, bounds)| Box::new(Playout::new(bounds))),
            since_report: (0, 0),
            munger: Munger::new(config.first_sequence, config.first_timestamp, config.clock_rate()),
            history: History::new(capacity),
            config,
            current: None,
            selector: Selector::default(),
            rtx_sequence: 1,
            keyframe_asked: None,
            keyframe: None,
            packets: 0,
            octets: 0,
            last_report: None,
            remote: None,
            grant: FIRST_GRANT,
            told_paused: false,
            last_left: None,
        }
    }

    /// The layers that should be sent now, as far as the connection has room for them.
    pub fn target(&self, now: Instant, source: &Source) -> Target {
        let wanted = self.config.wanted;
        let (MediaKind::Video, Grant::Layer(granted)) = (self.config.kind, self.grant) else {
            return Target::of(now, source, wanted);
        };
        let max_layer = wanted.max_layer.min(usize::from(granted.spatial));
        let mut target = Target::of(now, source, Wanted { max_layer, ..wanted });
        // The highest layer that is told apart stands for all above it.
        if usize::from(granted.temporal) + 1 < TEMPORAL {
            target.limits.temporal = target.limits.temporal.min(granted.temporal);
        }
        target
    }

    /// The highest layers that the connection has room for; `None` if for none.
    pub fn granted(&self) -> Option<allocator::Layer> {
        match self.grant {
            Grant::Layer(layer) => Some(layer),
            Grant::Nothing(_) => None,
        }
    }

    /// The connection has room for this much from now on. Returns whether the track has to stop.
    pub fn grant(&mut self, now: Instant, layer: Option<allocator::Layer>) -> bool {
        let before = self.granted();
        match layer {
            Some(layer) => self.grant = Grant::Layer(layer),
            None if before.is_some() => self.grant = Grant::Nothing(now),
            None => {}
        }
        before.is_some() && layer.is_none()
    }

    /// Whether the subscriber is to be told now that the track is paused, or that it goes on.
    pub fn news(&mut self, now: Instant) -> Option<bool> {
        let paused = match self.grant {
            Grant::Layer(_) => false,
            Grant::Nothing(since) => self.told_paused || now.saturating_duration_since(since) >= PAUSED_AFTER,
        };
        (std::mem::replace(&mut self.told_paused, paused) != paused).then_some(paused)
    }

    /// The layer that is sent now.
    pub fn current(&self) -> Option<usize> {
        self.current
    }

    /// The publisher has muted, the subscriber paused, or the connection has no room: what comes next starts with a key
    /// frame. What still waits must not leave any more.
    pub fn stop(&mut self) {
        self.current = None;
        self.keyframe_asked = None;
        self.keyframe = None;
        self.take_back();
    }

    /// Whether the subscriber may not have seen yet that a key frame comes, which waits for its turn or has just left: it
    /// needs no other then. What takes `rtt` there and back, or is lost and repeated, is not over sooner.
    pub fn has_keyframe_on_its_way(&self, now: Instant, rtt: Duration) -> bool {
        self.keyframe.is_some_and(|keyframe| {
            let waits = self.last_left < Some(keyframe.last);
            waits || now.saturating_duration_since(keyframe.at) < rtt + KEYFRAME_GRACE
        })
    }

    /// The same track comes from `source` in another codec from now on, beginning with a key frame.
    pub fn switch(&mut self, source: SourceKey, format: Format, wanted: Wanted) {
        self.stop();
        // What was sent lies in rings of the other source.
        self.history.forget();
        self.config.switch(source, format, wanted);
    }

    /// Takes the numbers back of what has not left yet and will not any more.
    pub fn take_back(&mut self) {
        self.keyframe = self.keyframe.filter(|keyframe| self.last_left >= Some(keyframe.last));
        self.munger.rewind(self.last_left);
        match self.last_left {
            Some(last) => self.history.forget_after(last),
            None => self.history.forget_after(u64::from(self.config.first_sequence) - 1),
        }
    }

    /// Whether a packet of `layer` begins a stretch of its own, so that what still waits of the one before is not needed.
    pub fn begins_with(&self, layer: usize, target: Target, packet: &Packet) -> bool {
        // Until the first key frame any layer that is not too large will do.
        let may_start = match self.current {
            None => layer <= target.layer,
            Some(current) => current != layer && layer == target.layer,
        };
        may_start && packet.keyframe_start
    }

    fn is_off(&self) -> bool {
        self.config.wanted.disabled || (self.config.kind == MediaKind::Video && self.granted().is_none())
    }

    /// Decides about a packet of `layer` that just came in. `target` is what should be sent.
    pub fn forward(
        &mut self,
        now: Instant,
        layer: usize,
        target: Target,
        packet: &Packet,
        clocks: Clocks,
    ) -> Option<Outgoing> {
        if self.is_off() {
            return None;
        }
        let (payload_type, content) = self.payload_type(packet)?;
        if self.current == Some(layer) && self.selector.counts_anew(packet) {
            self.current = None;
        }
        if self.current != Some(layer) {
            if !self.begins_with(layer, target, packet) || !self.munger.switch(now, packet, clocks) {
                return None;
            }
            self.current = Some(layer);
            self.keyframe_asked = None;
            self.selector.restart();
        }
        let outgoing = match self.selector.choose(packet, target.limits) {
            Choice::Lose => return None,
            Choice::LeaveOut if self.munger.leave_out(packet) => return None,
            Choice::LeaveOut => Outgoing {
                numbers: self.munger.rewrite(now, packet)?,
                payload_type,
                marker: false,
                mask: None,
                content: Content::Nothing,
            },
            Choice::Send { ends_picture, mask } => Outgoing {
                numbers: self.munger.rewrite(now, packet)?,
                payload_type,
                marker: packet.marker || ends_picture,
                mask,
                content,
            },
        };
        let sequence = outgoing.numbers.sequence;
        self.history.insert(now, sequence, Sent::new(packet, layer, &outgoing));
        match &mut self.keyframe {
            _ if packet.keyframe_start => {
                self.keyframe = Some(Keyframe { timestamp: packet.timestamp, last: sequence, at: now });
            }
            Some(keyframe) if keyframe.timestamp == packet.timestamp => {
                keyframe.last = keyframe.last.max(sequence);
            }
            Some(_) | None => {}
        }
        Some(outgoing)
    }

    /// The payload type for a packet; `None` if the subscriber does not take its codec.
    fn payload_type(&self, packet: &Packet) -> Option<(u8, Content)> {
        let of = |codec| self.config.payload_types.iter().find(|(own, _)| *own == codec).map(|(_, pt)| *pt);
        let whole = of(packet.codec).map(|pt| (pt, Content::Whole));
        match packet.codec {
            Codec::Red => whole.or_else(|| of(Codec::Opus).map(|pt| (pt, Content::Primary))),
            _ => whole,
        }
    }

    /// Whether a key frame of `target` must be asked for now.
    pub fn needs_keyframe(&mut self, now: Instant, target: Target) -> bool {
        let there = self.current == Some(target.layer) && !self.selector.wants_keyframe(target.limits);
        if self.config.kind == MediaKind::Audio || self.is_off() || there {
            return false;
        }
        let rested = self.keyframe_asked.is_none_or(|at| now.saturating_duration_since(at) >= KEYFRAME_RETRY);
        if rested {
            self.keyframe_asked = Some(now);
        }
        rested
    }

    /// The packet of that number has left: whoever can only send the same bytes again needs the transport-wide number in
    /// them.
    pub fn note_left(&mut self, now: Instant, sequence: u64, transport: Option<u16>) {
        self.last_left = self.last_left.max(Some(sequence));
        if let Some(keyframe) = self.keyframe.as_mut().filter(|keyframe| sequence <= keyframe.last) {
            keyframe.at = now;
        }
        if self.config.rtx.is_none() {
            self.history.note_left(sequence, Left { transport });
        }
    }

    /// The packet that is or was to be sent under that number, if it is still there.
    pub fn packet<'a>(&self, sequence: u64, source: &'a Source) -> Option<(&'a Packet, Outgoing)> {
        let sent = self.history.get(sequence)?;
        let packet = sent.packet(&source.layers.get(sent.layer())?.ring)?;
        let (payload_type, content) = self.payload_type(packet)?;
        Some((packet, sent.outgoing(sequence, payload_type, content)))
    }

    /// The number of a packet that the subscriber misses, if it may be repeated now.
    pub fn missed(&mut self, now: Instant, sequence: u16, rtt: Duration) -> Option<u64> {
        let sequence = extend(sequence, self.last_left?)?;
        self.since_report.1 += 1;
        (self.history.get(sequence).is_some() && self.history.may_repeat(now, sequence, rtt))
            .then_some(sequence)
    }

    /// Whether what is sent now builds on the packet of that number. What came before a switch of layers is only good for
    /// pictures that would have been seen before.
    pub fn is_needed(&self, sequence: u64) -> bool {
        self.current.is_some() && self.munger.is_of_stretch(sequence)
    }

    /// The number of the packet that left `nth` packets before the last one.
    pub fn recent(&self, nth: u64) -> Option<u64> {
        self.last_left?.checked_sub(nth)
    }

    /// A packet that was sent before, in the form in which it leaves again.
    pub fn repeat<'a>(&mut self, sequence: u64, source: &'a Source) -> Option<Repeat<'a>> {
        let (packet, outgoing) = self.packet(sequence, source)?;
        let wrapping = match self.next_rtx() {
            Some(rtx) => Wrapping::Rtx(rtx),
            // What has not left yet cannot leave again: two packets would have one index.
            None => Wrapping::Same(self.history.left(sequence)?),
        };
        Some(Repeat { packet, outgoing, wrapping })
    }

    /// The next number of a retransmission, or of padding in place of one; none where there are no retransmissions.
    pub fn next_rtx(&mut self) -> Option<Rtx> {
        let (ssrc, payload_type) = self.config.rtx?;
        let sequence = self.rtx_sequence;
        self.rtx_sequence += 1;
        Some(Rtx { ssrc, payload_type, sequence })
    }

    /// A report of the subscriber.
    pub fn reported(&mut self, now: Instant, report: &Report) {
        self.remote = Some((report.fraction_lost, report.jitter));
        let Some(playout) = &mut self.playout else { return };
        let (sent, missed) = std::mem::take(&mut self.since_report);
        let percent = missed.saturating_mul(100).checked_div(sent).unwrap_or(0);
        let jitter = Duration::from_secs_f64(f64::from(report.jitter) / f64::from(self.config.clock_rate()));
        let highest = self.last_left.and_then(|last| extend(report.highest as u16, last)).unwrap_or(0);
        playout.report(now, highest, jitter, percent);
    }

    /// How late the pictures of the packet of that number are to be shown, where it is to say so.
    pub fn playout_delay(&mut self, sequence: u64) -> Option<(u8, [u8; 3])> {
        let (id, _) = self.config.playout_delay?;
        self.since_report.0 += 1;
        Some((id, self.playout.as_mut()?.extension(sequence)?))
    }

    /// The moment of `anchor` in the timestamps that the subscriber sees, for a sender report.
    pub fn report_time(&self, anchor: ClockAnchor) -> Option<u32> {
        self.current?;
        Some(self.munger.timestamp_of(anchor.rtp))
    }

    /// Whether anything was sent.
    pub fn has_sent(&self) -> bool {
        self.packets > 0
    }
}

/// A packet to be sent again.
#[derive(Debug)]
pub struct Repeat<'a> {
    /// As it came in.
    pub packet: &'a Packet,
    /// As it was sent.
    pub outgoing: Outgoing,
    /// How it leaves.
    pub wrapping: Wrapping,
}

/// How a packet is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// As a packet of its own that carries the other (RFC 4588).
    Rtx(Rtx),
    /// The same bytes again.
    Same(Left),
}

/// Numbers of a retransmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtx {
    /// Source.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Extended sequence number.
    pub sequence: u64,
}

/// The publisher's clocks that a switch of layers needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clocks {
    /// Of the layer that was sent so far.
    pub from: Option<ClockAnchor>,
    /// Of the layer that is sent from now on.
    pub to: Option<ClockAnchor>,
}

fn clock_rate(kind: MediaKind) -> u32 {
    match kind {
        MediaKind::Audio => 48_000,
        MediaKind::Video => 90_000,
    }
}

/// The extended number nearest to `highest` that ends in `sequence`.
pub(crate) fn extend(sequence: u16, highest: u64) -> Option<u64> {
    let behind = (highest as u16).wrapping_sub(sequence);
    highest.checked_sub(u64::from(behind)).filter(|_| behind < 0x8000)
}

#[cfg(test)]
mod tests;
