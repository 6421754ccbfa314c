//! Everything that comes in from one publisher: its streams, what is missing of them, and what it must hear about that.
//!
//! The counterpart of [`crate::egress`]. Packets come opened; which m-line and layer a stream belongs to stands in the
//! offer or in its first packets.

mod extensions;
mod fuzz;
mod level;
mod missing;
mod reception;
mod source;
mod uplink;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use extensions::{ExtensionTable, Said};
pub use fuzz::fuzz;
pub use level::LevelMeter;
use reception::Reception;
pub use source::{ClockAnchor, LARGEST_GAP, Layer, MAX_LAYERS, RawPacket, Source};
use uplink::Uplink;

use crate::control::Control;
use crate::rtp::Incoming;
use crate::rtp::arrivals::Arrivals;
use crate::rtp::rtcp::{self, SenderReport};
use crate::sdp::{Codec, MediaKind, PayloadTypes};
use crate::sending::{Path, SendQueue};
use crate::srtp::SrtpSender;

/// Our name in what we tell publishers. No track has it: on a connection of both directions one sender counts for both.
pub const SSRC: u32 = 1;

/// Streams of one publisher, with those for repetitions: six for each of the m-lines that it may have.
const MAX_STREAMS: usize = 256;
/// Time between two feedbacks about arrivals (libwebrtc, livekit-server) …
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// … unless more packets than this are to be told of (livekit-server).
const FEEDBACK_PACKETS: usize = 20;
/// Time between two receiver reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Round trip to the publisher before one was measured.
const FIRST_RTT: Duration = Duration::from_millis(100);

/// What the client sends on an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpMedia {
    /// The m-line.
    pub mid: String,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// Simulcast layers, lowest first; empty for a single stream.
    pub rids: Vec<String>,
    /// The only stream and its retransmissions, where the offer names them.
    pub ssrc: Option<(u32, Option<u32>)>,
}

/// A packet of a published track.
#[derive(Debug)]
pub struct Arrival {
    /// What [`Ingest::publish`] was told.
    pub source: usize,
    /// Layer of the track.
    pub layer: usize,
    /// Until when the publisher is known to send more than its link carries.
    pub congested_until: Option<Instant>,
    /// The packet.
    pub packet: RawPacket,
}

/// An m-line that the client sends on.
#[derive(Debug)]
struct Line {
    media: UpMedia,
    /// The track that is published there.
    source: Option<usize>,
    /// The stream of each layer, once it has come.
    layers: [Option<u32>; MAX_LAYERS],
}

impl Line {
    /// The layer that packets of this rid belong to.
    fn layer(&self, rid: Option<&str>) -> Option<usize> {
        if self.media.rids.is_empty() {
            return Some(0);
        }
        let at = self.media.rids.iter().position(|own| Some(own.as_str()) == rid)?;
        (at < MAX_LAYERS).then_some(at)
    }
}

/// What a stream carries.
#[derive(Debug)]
enum Role {
    /// Not known yet, or not any more.
    Unknown,
    /// A layer of a track.
    Media { line: usize, layer: usize, reception: Box<Reception> },
    /// What was missing of a layer (RFC 4588).
    Repetitions { line: usize, layer: usize },
}

/// What a payload type means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PayloadKind {
    Media(Codec),
    Repetition(Codec),
}

/// The receiving side of a publisher's connection.
#[derive(Debug)]
pub struct Ingest {
    payload_types: PayloadTypes,
    extensions: ExtensionTable,
    lines: Slab<Line>,
    streams: BTreeMap<u32, Role>,
    arrivals: Arrivals,
    uplink: Uplink,
    /// The stream that was heard last, because feedback about arrivals has to name one.
    heard: u32,
    /// Where reports go: the path that was last seen to be authentic.
    path: Option<Path>,
    /// Smoothed round trip, by what was asked for again.
    rtt: Duration,
    /// When something that is missing is to be asked for.
    ask_at: Option<Instant>,
    feedback_at: Instant,
    report_at: Instant,
    /// Streams that a key frame is to be asked of.
    wanted: Vec<u32>,
}

impl Ingest {
    /// Nothing has come yet.
    pub fn new(now: Instant, payload_types: PayloadTypes) -> Self {
        Self {
            payload_types,
            extensions: ExtensionTable::default(),
            lines: Slab::new(),
            streams: BTreeMap::new(),
            arrivals: Arrivals::new(now),
            uplink: Uplink::default(),
            heard: 0,
            path: None,
            rtt: FIRST_RTT,
            ask_at: None,
            feedback_at: now,
            report_at: now + REPORT_INTERVAL,
            wanted: Vec::new(),
        }
    }

    /// Numbers of header extensions in the client's packets.
    pub fn learn_extensions(&mut self, extensions: &[(u8, String)]) {
        self.extensions.learn(extensions);
    }

    /// The client sends on this m-line from now on. A track that is published there stays.
    pub fn declare(&mut self, media: UpMedia) {
        let known = self.lines.iter().find(|(_, line)| line.media.mid == media.mid);
        match known.map(|(index, line)| (index, line.media == media)) {
            Some((_, true)) => {}
            Some((index, false)) => {
                self.forget_streams(index);
                self.lines[index].media = media;
                self.lines[index].layers = [None; MAX_LAYERS];
            }
            None => _ = self.lines.insert(Line { media, source: None, layers: [None; MAX_LAYERS] }),
        }
    }

    /// The m-line is gone, or used for something else.
    pub fn remove(&mut self, mid: &str) {
        if let Some(index) = self.line_named(mid) {
            self.forget_streams(index);
            self.lines.remove(index);
        }
    }

    /// What was declared on an m-line.
    pub fn declared(&self, mid: &str) -> Option<&UpMedia> {
        Some(&self.lines[self.line_named(mid)?].media)
    }

    /// A track is published on an m-line: what comes there is handed over under this number.
    pub fn publish(&mut self, mid: &str, source: usize) {
        if let Some(index) = self.line_named(mid) {
            self.lines[index].source = Some(source);
        }
    }

    /// The track is not published any more.
    pub fn unpublish(&mut self, source: usize) {
        let lines = self.lines.iter_mut().filter(|(_, line)| line.source == Some(source));
        lines.for_each(|(_, line)| line.source = None);
    }

    /// The tracks that are published.
    pub fn published(&self) -> impl Iterator<Item = usize> {
        self.lines.iter().filter_map(|(_, line)| line.source)
    }

    /// The share of packets lost since the last look, from 0 to 1, and the jitter, each of the stream where it is worst.
    /// `None` if too little has come to tell.
    pub fn take_quality(&mut self) -> Option<(f32, Duration)> {
        let media = self.streams.values_mut().filter_map(|role| match role {
            Role::Media { reception, .. } => reception.take_quality(),
            Role::Unknown | Role::Repetitions { .. } => None,
        });
        media.reduce(|worst, other| (worst.0.max(other.0), worst.1.max(other.1)))
    }

    fn line_named(&self, mid: &str) -> Option<usize> {
        self.lines.iter().find(|(_, line)| line.media.mid == mid).map(|(index, _)| index)
    }

    fn forget_streams(&mut self, index: usize) {
        for role in self.streams.values_mut() {
            match role {
                Role::Media { line, .. } | Role::Repetitions { line, .. } if *line == index => {
                    *role = Role::Unknown;
                }
                _ => {}
            }
        }
    }

    /// Reports go there from now on.
    pub fn set_path(&mut self, path: Path) {
        self.path = Some(path);
    }

    /// An authentic packet came in: its header, number with roll-overs, and opened payload. Returns it if it is of a
    /// published track and has not come before.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        path: Path,
        header: &Incoming<'_>,
        index: u64,
        payload: &[u8],
    ) -> Option<Arrival> {
        self.path = Some(path);
        self.heard = header.ssrc;
        let said = self.extensions.read(header.extensions);
        if let Some(number) = said.transport_number {
            self.uplink.came(now, self.arrivals.push(now, number));
        }
        let kind = self.payload_kind(header.payload_type);
        let is_first = match self.streams.get(&header.ssrc) {
            Some(Role::Media { .. } | Role::Repetitions { .. }) => false,
            Some(Role::Unknown) | None => {
                self.learn_stream(now, header, index, kind, &said)?;
                true
            }
        };
        let payload = header.without_padding(payload);
        let (line, layer, codec, sequence, payload) = match (self.streams.get_mut(&header.ssrc)?, kind) {
            (Role::Media { .. }, Some(PayloadKind::Repetition(_))) => return None,
            (Role::Media { line, layer, reception }, kind) => {
                let codec = match kind {
                    Some(PayloadKind::Media(codec)) => Some(codec),
                    _ => None,
                };
                let clock_rate = codec.map_or(90_000, Codec::clock_rate);
                if !is_first && !reception.accept(now, index, header, clock_rate) {
                    return None;
                }
                if codec.is_some_and(|codec| codec.kind() == MediaKind::Video) {
                    self.uplink.observe(reception.late());
                }
                self.ask_at = sooner(self.ask_at, reception.missing.next());
                (*line, *layer, codec, index, payload)
            }
            (Role::Repetitions { line, layer }, Some(PayloadKind::Repetition(codec))) => {
                let (line, layer) = (*line, *layer);
                // Without a number it is padding, to find out what the connection carries.
                let (number, payload) = payload.split_first_chunk()?;
                let repeated = self.lines.get(line)?.layers[layer]?;
                let Some(Role::Media { reception, .. }) = self.streams.get_mut(&repeated) else {
                    return None;
                };
                let (sequence, after) = reception.repaired(now, u16::from_be_bytes(*number))?;
                if let Some(after) = after {
                    self.rtt = (self.rtt * 7 + after) / 8;
                }
                (line, layer, Some(codec), sequence, payload)
            }
            _ => return None,
        };
        let source = self.lines.get(line)?.source?;
        let packet = RawPacket {
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            codec,
            audio_level: said.audio_level,
            dependency: said.dependency.map(Arc::from),
            payload: Arc::from(payload),
        };
        Some(Arrival { source, layer, congested_until: self.uplink.congested_until(), packet })
    }

    fn payload_kind(&self, payload_type: u8) -> Option<PayloadKind> {
        self.payload_types.iter().find_map(|own| {
            if own.payload_type == payload_type {
                return Some(PayloadKind::Media(own.codec));
            }
            (own.rtx == Some(payload_type)).then_some(PayloadKind::Repetition(own.codec))
        })
    }

    /// Finds out what a stream carries. `None` if that cannot be told yet.
    fn learn_stream(
        &mut self,
        now: Instant,
        header: &Incoming<'_>,
        index: u64,
        kind: Option<PayloadKind>,
        said: &Said<'_>,
    ) -> Option<()> {
        let ssrc = header.ssrc;
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&ssrc) {
            self.streams.retain(|_, role| !matches!(role, Role::Unknown));
            if self.streams.len() >= MAX_STREAMS {
                return None;
            }
        }
        let is_repetition = match kind? {
            PayloadKind::Media(_) => false,
            PayloadKind::Repetition(_) => true,
        };
        let named = said.mid.and_then(|mid| self.line_named(mid));
        let declared = |media: &UpMedia| {
            media.ssrc.is_some_and(|(main, rtx)| if is_repetition { rtx == Some(ssrc) } else { main == ssrc })
        };
        let line = named
            .or_else(|| self.lines.iter().find(|(_, line)| declared(&line.media)).map(|(index, _)| index))?;
        let rid = if is_repetition { said.repaired_rid.or(said.rid) } else { said.rid };
        let layer = self.lines[line].layer(rid)?;
        let role = if is_repetition {
            Role::Repetitions { line, layer }
        } else {
            let kind = self.lines[line].media.kind;
            // One stream at a time: another one takes its place.
            if let Some(before) = self.lines[line].layers[layer].replace(ssrc) {
                self.streams.insert(before, Role::Unknown);
            }
            let reception = Box::new(Reception::new(now, kind, index, header.timestamp));
            Role::Media { line, layer, reception }
        };
        self.streams.insert(ssrc, role);
        Some(())
    }

    /// The publisher's clock was told. Returns the track and layer that it is the clock of.
    pub fn handle_sender_report(
        &mut self,
        now: Instant,
        report: &SenderReport,
    ) -> Option<(usize, usize, ClockAnchor)> {
        let Some(Role::Media { line, layer, reception }) = self.streams.get_mut(&report.ssrc) else {
            return None;
        };
        reception.sender_reported(now, report);
        let source = self.lines.get(*line)?.source?;
        Some((source, *layer, ClockAnchor { ntp: report.ntp, rtp: report.rtp, received: now }))
    }

    /// A key frame of a layer is to be asked for. Returns whether there is anybody to ask.
    pub fn want_keyframe(&mut self, source: usize, layer: usize) -> bool {
        let line = self.lines.iter().find(|(_, line)| line.source == Some(source));
        let stream = line.and_then(|(_, line)| *line.layers.get(layer)?);
        self.wanted.extend(stream.filter(|ssrc| !self.wanted.contains(ssrc)));
        stream.is_some()
    }

    /// When [`Ingest::report`] has something that cannot wait for the next tick of the shard.
    pub fn ask_at(&self) -> Option<Instant> {
        self.ask_at
    }

    /// Tells the publisher what is due: packets and key frames that are wanted, which packets came when, and how its
    /// streams arrive. Returns how many packets it was asked for.
    pub fn report(&mut self, now: Instant, sender: &mut SrtpSender, queue: &mut SendQueue) -> u64 {
        let Some(path) = self.path else { return 0 };
        let mut asked = 0;
        let mut control = Control::new(sender, path, queue);
        for ssrc in self.wanted.drain(..) {
            control.write(|to| rtcp::write_picture_loss(to, SSRC, ssrc));
        }
        if self.ask_at.is_some_and(|at| now >= at) {
            self.ask_at = None;
            for (ssrc, role) in &mut self.streams {
                let Role::Media { layer, reception, .. } = role else { continue };
                // What only larger pictures miss would take the place of new ones of the smallest.
                if *layer > 0 && self.uplink.is_congested(now) {
                    reception.missing.give_up();
                }
                let due =
                    reception.missing.due(now, self.rtt).inspect(|_| asked += 1).map(|index| index as u16);
                control.write(|to| rtcp::write_nack(to, SSRC, *ssrc, due));
                self.ask_at = sooner(self.ask_at, reception.missing.next());
            }
        }
        if self.arrivals.len() > FEEDBACK_PACKETS || now >= self.feedback_at && !self.arrivals.is_empty() {
            self.feedback_at = now + FEEDBACK_INTERVAL;
            self.arrivals.tell(SSRC, self.heard, |packet| control.write(|to| to.extend_from_slice(packet)));
        }
        if now >= self.report_at {
            self.report_at = now + REPORT_INTERVAL;
            let media = self.streams.iter_mut().filter_map(|(ssrc, role)| match role {
                Role::Media { reception, .. } => Some(reception.report(now, *ssrc)),
                Role::Unknown | Role::Repetitions { .. } => None,
            });
            let reports: Vec<_> = media.collect();
            for reports in reports.chunks(rtcp::MAX_REPORTS) {
                control.write(|to| rtcp::write_receiver_report(to, SSRC, reports));
            }
        }
        control.flush();
        asked
    }
}

fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests;
