//! What a subscriber's connection carries, and what of it is left: estimator, pacer and allocator of one connection.
//!
//! The budget of a connection lives here. Sound leaves at once and is paid for; pictures leave when the pacer says so,
//! and in the layers that the allocator grants their tracks.

use std::time::{Duration, Instant};

use slab::Slab;

use super::Origin;
use crate::allocator::{Allocator, Demand, Layer, Pausing, SPATIAL, TEMPORAL};
use crate::bwe::{Bitrate, Bwe, MAX_ESTIMATE};
use crate::downtrack::{DownTrack, Target};
use crate::ids::SourceKey;
use crate::pacer::{Class, Pacer};
use crate::rtp::twcc::TransportFeedback;
use crate::sdp::MediaKind;

/// Bytes around a datagram: IPv4 and UDP.
const OVERHEAD: u32 = 28;
/// Layers are given out again after this time; earlier when less can be.
const INTERVAL: Duration = Duration::from_millis(200);
/// Before this nothing is paused: the first probes take it to find out what there is.
const SETTLED: Duration = Duration::from_secs(2);
/// Cameras are measured over this time …
const CAMERA_WINDOW: Duration = Duration::from_secs(2);
/// … and shared screens over this, because their pictures differ much in size.
const SCREEN_WINDOW: Duration = Duration::from_secs(4);

/// A packet that waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Index of its track.
    pub(super) track: usize,
    /// Its number.
    pub(super) sequence: u64,
    /// Whether it has left before.
    pub(super) class: Class,
}

/// Congestion control of one connection.
#[derive(Debug)]
pub(super) struct Link {
    bwe: Bwe,
    pub(super) pacer: Pacer<Waiting>,
    allocator: Allocator,
    demands: Vec<Demand>,
    /// Index of the track of each demand.
    demanding: Vec<usize>,
    allocate_at: Option<Instant>,
    /// What was there when layers were given out last.
    available: Bitrate,
    /// The highest layer of pictures that is sent, whatever the connection carries; no bound when absent.
    pub(super) highest_layer: Option<usize>,
    /// A bound that does not come from the connection.
    pub(super) limit: Option<Bitrate>,
    /// Whether pictures of a screen or of the speaker stay when nothing fits.
    pub(super) keep_important: bool,
}

impl Default for Link {
    fn default() -> Self {
        let bwe = Bwe::default();
        Self {
            pacer: Pacer::new(bwe.estimate()),
            available: bwe.estimate(),
            bwe,
            allocator: Allocator::default(),
            demands: Vec::new(),
            demanding: Vec::new(),
            allocate_at: None,
            highest_layer: None,
            limit: None,
            keep_important: false,
        }
    }
}

impl Link {
    /// The transport-wide number of the packet that leaves next.
    pub(super) fn next_number(&self) -> u16 {
        self.bwe.next_number()
    }

    /// A datagram of `len` bytes has left, with the next number if it was `numbered`.
    pub(super) fn left(&mut self, now: Instant, len: usize, numbered: bool) {
        if numbered {
            self.bwe.packet_sent(now, len as u32 + OVERHEAD, self.pacer.probe());
        }
    }

    /// A datagram has left again, unchanged.
    pub(super) fn left_again(&mut self, number: Option<u16>) {
        if let Some(number) = number {
            self.bwe.packet_repeated(number);
        }
    }

    /// The subscriber tells which packets came when.
    pub(super) fn handle_arrivals(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        self.bwe.handle_feedback(now, feedback);
        self.estimated(now);
    }

    /// The subscriber tells which share of a stream was lost.
    pub(super) fn handle_report(&mut self, now: Instant, lost: f64) {
        self.bwe.handle_report(now, lost);
        self.estimated(now);
    }

    /// The subscriber tells what it believes that the connection carries.
    pub(super) fn handle_bandwidth(&mut self, now: Instant, rate: Bitrate) {
        self.bwe.handle_remb(rate);
        self.estimated(now);
    }

    fn estimated(&mut self, now: Instant) {
        self.pacer.set_estimate(self.bwe.estimate());
        // Less must be followed at once; more can wait for the next time.
        if self.bwe.available() < self.available {
            self.allocate_at = Some(now);
        }
    }

    /// Whether a queue stands on the way.
    pub(super) fn is_congested(&self) -> bool {
        self.bwe.is_congested()
    }

    /// Something else is wanted: layers are given out again at the next opportunity.
    pub(super) fn reconsider(&mut self, now: Instant) {
        self.allocate_at = Some(now);
    }

    /// Whether layers are to be given out.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.allocate_at.is_none_or(|at| now >= at)
    }

    /// Gives out layers, and begins a probe where more is wanted than the connection is known to carry.
    pub(super) fn allocate<'a>(
        &mut self,
        now: Instant,
        tracks: &mut Slab<DownTrack>,
        origin: &impl Fn(SourceKey) -> Option<Origin<'a>>,
    ) {
        self.allocate_at = Some(now + INTERVAL);
        self.bwe.handle_timeout(now);
        self.demands.clear();
        self.demanding.clear();
        let mut is_numbered = false;
        for (index, track) in tracks.iter() {
            is_numbered |= track.config.transport.is_some();
            let Some(origin) = origin(track.config.source) else { continue };
            if let Some(demand) = demand_of(now, track, &origin, self.highest_layer) {
                self.demands.push(demand);
                self.demanding.push(index);
            }
        }
        let is_controlled = self.bwe.is_controlled(now, is_numbered);
        let limit = self.limit.unwrap_or(MAX_ESTIMATE);
        self.available = if is_controlled { self.bwe.available() } else { MAX_ESTIMATE }.min(limit);
        self.pacer.set_estimate(if is_controlled { self.bwe.estimate() } else { MAX_ESTIMATE });
        let pausing = match self.keep_important {
            _ if !self.bwe.is_settled(now, SETTLED) => Pausing::Nothing,
            true => Pausing::Unimportant,
            false => Pausing::All,
        };
        let lasting = if is_controlled { self.bwe.lasting() } else { MAX_ESTIMATE }.min(limit);
        let allocation = self.allocator.allocate(&self.demands, self.available, lasting, pausing);
        for (index, target) in self.demanding.iter().zip(self.allocator.targets()) {
            if let Some(track) = tracks.get_mut(*index)
                && track.grant(now, *target)
            {
                self.pacer.retain(|waiting| waiting.track != *index);
                track.stop();
            }
        }
        // Beyond the limit there is nothing to find out.
        if is_controlled
            && allocation.probe_goal.is_none_or(|goal| goal <= limit)
            && let Some(probe) = self.bwe.poll_probe(now, allocation.probe_goal)
        {
            self.pacer.start_probe(now, probe);
        }
    }
}

/// What a track needs; `None` if nothing of it is there or wanted.
fn demand_of(
    now: Instant,
    track: &DownTrack,
    origin: &Origin<'_>,
    highest_layer: Option<usize>,
) -> Option<Demand> {
    let (config, source) = (&track.config, origin.source);
    if config.wanted.disabled || source.muted {
        return None;
    }
    let window = if config.is_screen { SCREEN_WINDOW } else { CAMERA_WINDOW };
    let rates = source.bitrates(now, window);
    if rates.iter().flatten().all(|rate| *rate == Bitrate::ZERO) {
        return None;
    }
    let content = config.content();
    let spatial = config.wanted.max_layer.min(highest_layer.unwrap_or(SPATIAL)).min(SPATIAL - 1) as u8;
    let wanted = match config.kind {
        MediaKind::Audio => Layer { spatial: 0, temporal: 0 },
        MediaKind::Video => {
            let temporal = Target::of(now, source, config.wanted).limits.temporal;
            Layer { spatial, temporal: temporal.min(TEMPORAL as u8 - 1) }
        }
    };
    Some(Demand {
        content,
        speaker: origin.speaks,
        pixels: config.wanted.pixels,
        rates,
        wanted,
        current: track.granted(),
    })
}
