//! How much a subscriber's connection carries: congestion control after the `GoogCC` drafts
//! (draft-ietf-rmcat-gcc-02), made for a server that forwards layers.
//!
//! * [`SentPackets`](sent) numbers packets and turns feedback into results;
//! * [`Trendline`] tells from one-way delays whether a queue fills, and how long it is;
//! * [`AckedBitrate`] is what arrives: the bottleneck's rate while a queue stands;
//! * [`LossController`] bounds the estimate where a link drops without queueing;
//! * [`ProbeController`] finds out whether more would arrive, because layers come in steps that no slow growth reaches;
//! * [`Reports`] take over where feedback has ceased;
//! * [`AlrDetector`] keeps the estimate from growing on the strength of what was never sent.
//!
//! What differs from the drafts: after a fall the estimate goes below the rate that arrives by what the queue is long,
//! so that the queue is gone within a second, and returns to just below the rate afterwards.

mod acked;
mod alr;
mod loss;
mod probe;
mod rate;
mod reports;
mod sent;
mod trendline;

use std::time::{Duration, Instant};

pub use probe::Probe;
pub use rate::Bitrate;

use crate::rtp::twcc::TransportFeedback;
use acked::AckedBitrate;
use alr::AlrDetector;
use loss::LossController;
use probe::ProbeController;
use reports::Reports;
use sent::{PacketResult, SentPackets};
use trendline::{Trendline, Usage};

/// The estimate never leaves these bounds.
pub const MIN_ESTIMATE: Bitrate = Bitrate::kbps(60);
/// … upper one.
pub const MAX_ESTIMATE: Bitrate = Bitrate::kbps(50_000);
/// Before anything is known (as `GoogCC`): sound and a small picture.
pub const START_ESTIMATE: Bitrate = Bitrate::kbps(300);

/// Share of what arrives that is sent after a fall (draft §5.5: 0.85).
const DECREASE: f64 = 0.85;
/// … once the queue is gone.
const RESTORE: f64 = 0.92;
/// … and while a queue stands, less by its length in seconds, but at least this.
const DRAIN_MIN: f64 = 0.62;
/// A queue shorter than this is gone.
const DRAINED: Duration = Duration::from_millis(25);
/// Where a queue stands, the quickest packets wait at least this share of what all wait.
const STANDING: f64 = 0.6;
/// A queue of this length is a fall whatever the trend says.
const LONG_QUEUE: Duration = Duration::from_millis(120);
/// Growth per second far from the last known capacity (draft §5.5: 1.08).
const GROWTH: f64 = 1.08;
/// Growth per second near it.
const CAREFUL_GROWTH: f64 = 1.02;
/// The estimate is at most this many times what arrives (draft §5.5), unless a probe showed more.
const HEADROOM: f64 = 1.5;
/// Feedback that comes more seldom than this makes nothing grow in between.
const LONGEST_STEP: Duration = Duration::from_millis(250);
/// A receiver that says nothing for this long does not know how to.
const FIRST_FEEDBACK: Duration = Duration::from_secs(3);
/// Without any feedback for this long, though packets are sent, the link is taken for broken …
const SILENCE: Duration = Duration::from_millis(2_000);
/// … and the estimate falls by this factor each time that [`Bwe::handle_timeout`] finds it silent for another
/// [`SILENCE_STEP`].
const SILENCE_FACTOR: f64 = 0.7;
const SILENCE_STEP: Duration = Duration::from_millis(500);

/// The estimator of one connection.
#[derive(Debug)]
pub struct Bwe {
    estimate: Bitrate,
    sent: SentPackets,
    acked: AckedBitrate,
    trendline: Trendline,
    loss: LossController,
    probes: ProbeController,
    alr: AlrDetector,
    reports: Reports,
    results: Vec<PacketResult>,
    phase: Phase,
    /// The rate that arrived when the link was last overused.
    capacity: Option<Bitrate>,
    /// A ceiling that the receiver itself asks for.
    remb: Option<Bitrate>,
    rtt: Duration,
    last_feedback: Option<Instant>,
    last_sent: Option<Instant>,
    first_sent: Option<Instant>,
    silence_step: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// More may be tried.
    Grow,
    /// The queue of an overuse empties.
    Drain,
}

impl Default for Bwe {
    fn default() -> Self {
        Self {
            estimate: START_ESTIMATE,
            sent: SentPackets::default(),
            acked: AckedBitrate::default(),
            trendline: Trendline::default(),
            loss: LossController::default(),
            probes: ProbeController::default(),
            alr: AlrDetector::default(),
            reports: Reports::default(),
            results: Vec::new(),
            phase: Phase::Grow,
            capacity: None,
            remb: None,
            rtt: Duration::from_millis(100),
            last_feedback: None,
            last_sent: None,
            first_sent: None,
            silence_step: None,
        }
    }
}

impl Bwe {
    /// What the connection is believed to carry, between [`MIN_ESTIMATE`] and [`MAX_ESTIMATE`].
    pub fn estimate(&self) -> Bitrate {
        self.estimate
    }

    /// What layers may be given out. Other than the estimate it does not dip while a short queue empties: layers that fit
    /// into the link let it do so by themselves, and a switch would cost a key frame.
    pub fn available(&self) -> Bitrate {
        let restored = self.capacity.unwrap_or_default().times(RESTORE);
        let dips = self.phase == Phase::Drain && self.trendline.queue() < LONG_QUEUE;
        if dips { self.estimate.max(restored.min(MAX_ESTIMATE)) } else { self.estimate }
    }

    /// What the connection carries once the queue of an overuse is gone; until then it is emptied, but not by giving up
    /// what will fit again in a moment.
    pub fn lasting(&self) -> Bitrate {
        match self.phase {
            Phase::Grow => self.available(),
            Phase::Drain => {
                self.available().max(self.capacity.unwrap_or_default().times(RESTORE).min(MAX_ESTIMATE))
            }
        }
    }

    /// Whether the receiver says, or may still come to say, what arrives; `is_numbered` if packets carry numbers that it
    /// might speak of. Without that the estimate means nothing.
    pub fn is_controlled(&self, now: Instant, is_numbered: bool) -> bool {
        let may_come =
            || self.first_sent.is_none_or(|first| now.saturating_duration_since(first) < FIRST_FEEDBACK);
        self.last_feedback.is_some() || self.remb.is_some() || (is_numbered && may_come())
    }

    /// Whether there was something to learn from: packets for this long, or a fall.
    pub fn is_settled(&self, now: Instant, after: Duration) -> bool {
        let passed = self.first_sent.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        self.capacity.is_some() || passed >= after
    }

    /// How long packets wait on the way.
    pub fn queue(&self) -> Duration {
        self.trendline.queue()
    }

    /// Share of packets lost lately, from 0 to 1.
    pub fn loss(&self) -> f64 {
        self.loss.share()
    }

    /// Whether the estimate is being lowered, or a queue emptied.
    pub fn is_congested(&self) -> bool {
        self.phase == Phase::Drain
    }

    /// Round trip, the receiver's waiting for its next feedback included.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }

    /// The transport-wide number of the packet that leaves next.
    pub fn next_number(&self) -> u16 {
        self.sent.next_number()
    }

    /// A packet has left again under the same number: when it arrives says nothing any more.
    pub fn packet_repeated(&mut self, number: u16) {
        self.sent.settle(number);
    }

    /// A packet of `size` bytes leaves, for the probe of that number. Returns its transport-wide number.
    pub fn packet_sent(&mut self, now: Instant, size: u32, probe: Option<u8>) -> u16 {
        self.last_sent = Some(now);
        self.first_sent.get_or_insert(now);
        self.alr.sent(size);
        if let Some(id) = probe {
            self.probes.sent(now, id);
        }
        self.sent.push(now, size, probe)
    }

    /// The receiver tells what has arrived.
    pub fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        let mut results = std::mem::take(&mut self.results);
        results.clear();
        self.sent.results(feedback, &mut results);
        if let Some(newest) = results.iter().filter(|r| r.arrived.is_some()).map(|r| r.sent).max() {
            self.observe(now, newest, &results);
            self.decide(now, newest);
        } else {
            results.iter().for_each(|_| self.loss.lost());
        }
        self.results = results;
    }

    /// The receiver's own estimate; it bounds ours, and replaces it where no other feedback comes.
    pub fn handle_remb(&mut self, rate: Bitrate) {
        self.remb = Some(rate);
        if self.last_feedback.is_none() {
            self.set(rate);
        }
    }

    /// The receiver reports the share of a stream's packets that it lost; what is left to go by where its feedback has ceased.
    pub fn handle_report(&mut self, now: Instant, lost: f64) {
        self.reports.heard(now);
        if self.is_unanswered() {
            self.phase = Phase::Grow;
            let estimate = self.reports.judge(now, self.estimate, lost);
            self.set(estimate);
        }
    }

    /// Whether feedback has ceased. Nobody answers what nobody was sent; and who never answered speaks no TWCC.
    fn is_unanswered(&self) -> bool {
        let since = |(sent, heard): (Instant, Instant)| sent.saturating_duration_since(heard);
        self.last_sent.zip(self.last_feedback).is_some_and(|times| since(times) >= SILENCE)
    }

    /// Time has passed; to be called every few hundred milliseconds.
    pub fn handle_timeout(&mut self, now: Instant) {
        let rested = self.silence_step.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE_STEP);
        if self.is_unanswered() && rested && !self.reports.is_recent(now) {
            self.silence_step = Some(now);
            self.set(self.estimate.times(SILENCE_FACTOR));
        }
    }

    /// The probe to send now, if more than the estimate is wanted: `goal`.
    pub fn poll_probe(&mut self, now: Instant, goal: Option<Bitrate>) -> Option<Probe> {
        let goal = goal?.min(MAX_ESTIMATE).min(self.remb.unwrap_or(MAX_ESTIMATE));
        // A client that cannot tell what arrives needs no probes, and a queue that stands will not carry them.
        if self.phase == Phase::Drain
            || self.is_unanswered()
            || (self.last_feedback.is_none() && self.first_sent.is_none())
        {
            return None;
        }
        self.probes.poll(now, self.estimate, goal)
    }

    fn observe(&mut self, now: Instant, newest: Instant, results: &[PacketResult]) {
        self.rtt = now.saturating_duration_since(newest);
        for result in results {
            self.probes.observe(result);
            match result.arrived {
                Some(arrived) => {
                    self.loss.arrived(result.was_lost);
                    self.acked.push(arrived, result.size);
                    self.trendline.push(result.sent, arrived);
                }
                None => self.loss.lost(),
            }
        }
    }

    fn decide(&mut self, now: Instant, newest: Instant) {
        let last = self.last_feedback.replace(now).unwrap_or(now);
        let passed = now.saturating_duration_since(last).min(LONGEST_STEP);
        let limited = self.alr.update(now, self.estimate);
        let (queue, standing) = (self.trendline.queue(), self.trendline.standing_queue());
        // Jitter looks like a queue that comes up, but holds some packets up much less than others.
        let stands = standing > DRAINED && standing > queue.mul_f64(STANDING);
        // A probe makes a short queue of its own, which is not the media's fault.
        let over = match self.trendline.usage() {
            Usage::Over => queue >= LONG_QUEUE || (stands && !self.probes.is_running()),
            Usage::Normal => queue >= LONG_QUEUE,
            Usage::Under => false,
        };
        if let Some(found) = self.probes.result(now, newest, self.loss.natural())
            && !over
        {
            self.found(found);
        }
        let acked = self.acked.rate();
        // Whoever hardly sends any more while a queue empties learns nothing from what arrives.
        let is_idle = limited && self.phase == Phase::Drain;
        if over && !is_idle {
            self.fall(now, queue);
        } else if self.phase == Phase::Drain {
            if standing < DRAINED {
                self.phase = Phase::Grow;
                self.set(self.estimate.max(self.capacity.unwrap_or_default().times(RESTORE)));
            }
        } else if self.trendline.usage() == Usage::Normal && !limited && standing < LONG_QUEUE / 2 {
            self.grow(passed, acked);
        }
        if let Some(bound) = self.loss.update(now, self.estimate, acked) {
            self.set(self.estimate.min(bound));
        }
    }

    fn found(&mut self, rate: Bitrate) {
        if rate > self.estimate {
            self.set(rate);
            if self.capacity.is_some_and(|capacity| rate > capacity.times(1.2)) {
                self.capacity = None;
            }
        }
    }

    fn fall(&mut self, now: Instant, queue: Duration) {
        let Some(arriving) = self.acked.recent() else { return };
        self.probes.overused(now);
        let share = (0.95 - queue.as_secs_f64()).clamp(DRAIN_MIN, DECREASE);
        let lower = arriving.times(share);
        // Once it drains, what arrives is still the bottleneck's rate; only a deeper fall counts.
        if lower < self.estimate {
            self.capacity = Some(match self.capacity {
                Some(known) if self.phase == Phase::Drain => known.min(arriving),
                _ => arriving,
            });
            self.set(lower);
        }
        self.phase = Phase::Drain;
    }

    fn grow(&mut self, passed: Duration, acked: Option<Bitrate>) {
        let Some(acked) = acked else { return };
        let near = self.capacity.is_some_and(|capacity| self.estimate >= capacity.times(0.85));
        let factor = if near { CAREFUL_GROWTH } else { GROWTH }.powf(passed.as_secs_f64());
        let grown = self.estimate.times(factor).min(acked.times(HEADROOM));
        self.set(self.estimate.max(grown));
    }

    fn set(&mut self, estimate: Bitrate) {
        let most = self.remb.unwrap_or(MAX_ESTIMATE).min(MAX_ESTIMATE);
        self.estimate = estimate.min(most).max(MIN_ESTIMATE);
    }
}

/// Body of the fuzz target `bwe`: whatever a client reports, the estimate keeps its bounds and memory its size. The
/// input is cut into feedback by its own bytes: how many packets are sent before, after how long, how much is reported.
pub fn fuzz(start: Instant, mut input: &[u8]) {
    let mut bwe = Bwe::default();
    let mut now = start;
    let mut probe = None;
    while let [packets, millis, len, kind, rest @ ..] = input {
        now += Duration::from_millis(u64::from(*millis) * 4);
        for _ in 0..*packets {
            bwe.packet_sent(now, u32::from(*len) * 8, probe);
        }
        let (body, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        input = rest;
        match kind % 4 {
            0 => bwe.handle_remb(Bitrate::bps(u64::MAX >> (kind / 4))),
            1 => bwe.handle_timeout(now),
            2 => bwe.handle_report(now, f64::from(*millis) / 255.0),
            _ => {}
        }
        if let Some(feedback) = TransportFeedback::parse(body) {
            bwe.handle_feedback(now, &feedback);
        }
        probe = bwe.poll_probe(now, Some(Bitrate::kbps(u64::from(*kind) * 100))).map(|probe| probe.id);
        assert!((MIN_ESTIMATE..=MAX_ESTIMATE).contains(&bwe.estimate()), "{:?}", bwe.estimate());
        assert!((MIN_ESTIMATE..=MAX_ESTIMATE).contains(&bwe.available()), "{:?}", bwe.available());
        assert!(bwe.loss() >= 0.0 && bwe.loss() <= 1.0);
        assert!(bwe.is_bounded());
    }
}

impl Bwe {
    fn is_bounded(&self) -> bool {
        self.sent.is_bounded()
            && self.acked.is_bounded()
            && self.trendline.is_bounded()
            && self.results.len() <= usize::from(crate::rtp::twcc::MAX_STATUSES)
    }
}
