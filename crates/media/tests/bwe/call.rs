//! One subscriber of one camera and one microphone behind a [`Link`]: estimator, pacer and allocator as a shard uses them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use plenum_media::allocator::{Allocator, Content, Demand, Layer, Pausing, SPATIAL, TEMPORAL};
use plenum_media::bwe::{Bitrate, Bwe};
use plenum_media::pacer::{Class, PADDING_SIZE, Pacer};
use plenum_media::rtp::twcc::{self, TransportFeedback};
use plenum_sim::{Conditions, Dice, InFlight, Link};

/// Layers of the camera in kbit/s.
const LAYERS: [u64; 3] = [150, 500, 1_700];
const AUDIO_KBPS: u64 = 32;
/// Bytes around each payload: IP, UDP, RTP with extensions, tag.
const OVERHEAD: u32 = 68;
const STEP: Duration = Duration::from_millis(1);

/// How much video is there to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Camera {
    /// Simulcast layers; a switch up waits for a key frame.
    Layers,
    /// A stream that follows this share of the estimate, up to that many kbit/s.
    Follows(f64, u64),
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    audio: bool,
    size: u32,
}

pub(crate) struct Call {
    pub(crate) link: Link,
    pub(crate) bwe: Bwe,
    pub(crate) now: Duration,
    pub(crate) layer: Option<usize>,
    pub(crate) switches: u32,
    pub(crate) probes: u32,
    /// Feedback is lost until then.
    pub(crate) deaf_until: Duration,
    /// Longest time between two sounds that arrived, since [`Call::reset`].
    pub(crate) audio_gap: Duration,
    pub(crate) worst_queue: Duration,
    camera: Camera,
    start: Instant,
    pacer: Pacer<Packet>,
    allocator: Allocator,
    goal: Option<Bitrate>,
    dice: Dice,
    next_frame: Duration,
    next_audio: Duration,
    next_tick: Duration,
    next_allocation: Duration,
    next_feedback: Duration,
    wanted_layer: Option<usize>,
    switch_at: Duration,
    arriving: InFlight<(u16, Packet)>,
    feedback: InFlight<Vec<u8>>,
    seen: BTreeMap<u64, Duration>,
    highest: Option<u64>,
    reported: u64,
    feedbacks: u8,
    last_audio: Duration,
}

impl Call {
    pub(crate) fn new(conditions: Conditions, camera: Camera) -> Self {
        let bwe = Bwe::default();
        Self {
            link: Link::new(conditions, 0),
            pacer: Pacer::new(bwe.estimate()),
            bwe,
            now: Duration::ZERO,
            layer: None,
            switches: 0,
            probes: 0,
            deaf_until: Duration::ZERO,
            audio_gap: Duration::ZERO,
            worst_queue: Duration::ZERO,
            camera,
            start: Instant::now(),
            allocator: Allocator::default(),
            goal: None,
            dice: Dice::new(77),
            next_frame: Duration::ZERO,
            next_audio: Duration::ZERO,
            next_tick: Duration::ZERO,
            next_allocation: Duration::ZERO,
            next_feedback: Duration::from_millis(100),
            wanted_layer: None,
            switch_at: Duration::ZERO,
            arriving: InFlight::default(),
            feedback: InFlight::default(),
            seen: BTreeMap::new(),
            highest: None,
            reported: 0,
            feedbacks: 0,
            last_audio: Duration::ZERO,
        }
    }

    /// The link carries that much from now on.
    pub(crate) fn limit(&mut self, kbps: u64) {
        let rate = Some(Bitrate::kbps(kbps));
        self.link.change(self.now, Conditions { rate, ..*self.link.conditions() });
    }

    /// Forgets the worst of what was.
    pub(crate) fn reset(&mut self) {
        (self.audio_gap, self.worst_queue, self.switches) = (Duration::ZERO, Duration::ZERO, 0);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until `done`, at most for `limit`. How long it took.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let from = self.now;
        while self.now < from + limit {
            if done(self) {
                return Some(self.now - from);
            }
            self.step();
        }
        None
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        self.receive();
        while let Some((_, body)) = self.feedback.pop(now) {
            if let Some(feedback) = TransportFeedback::parse(&body) {
                self.bwe.handle_feedback(self.start + now, &feedback);
            }
            self.pacer.set_estimate(self.bwe.estimate());
            self.allocate();
        }
        if now >= self.next_allocation {
            self.next_allocation = now + Duration::from_millis(100);
            self.bwe.handle_timeout(self.start + now);
            self.allocate();
        }
        if now >= self.next_audio {
            self.next_audio += Duration::from_millis(20);
            self.pacer.spend(AUDIO_KBPS as u32 * 20 / 8 + OVERHEAD);
            self.transmit(Packet { audio: true, size: AUDIO_KBPS as u32 * 20 / 8 + OVERHEAD });
        }
        if now >= self.next_frame {
            self.next_frame += Duration::from_micros(33_333);
            self.frame();
        }
        if now >= self.next_tick {
            self.next_tick = now + Duration::from_millis(5);
            while let Some(packet) = self.pacer.next(self.start + now) {
                self.transmit(packet);
            }
            while self.pacer.wants_padding(self.start + now) {
                self.transmit(Packet { audio: false, size: PADDING_SIZE + 28 });
                self.pacer.spend(PADDING_SIZE);
            }
        }
        self.worst_queue = self.worst_queue.max(self.link.backlog(now));
    }

    fn frame(&mut self) {
        if self.wanted_layer != self.layer && self.now >= self.switch_at {
            self.layer = self.wanted_layer;
            self.switches += 1;
            self.pacer.retain(|_| false);
        }
        let kbps = match (self.camera, self.layer) {
            (Camera::Follows(share, most), _) => {
                (self.bwe.estimate().times(share).as_bps() / 1_000).saturating_sub(AUDIO_KBPS).min(most)
            }
            (Camera::Layers, Some(layer)) => LAYERS[layer],
            (Camera::Layers, None) => return,
        };
        let bytes = (kbps as f64 * 1e3 / 8.0 / 30.0 * (0.8 + 0.4 * self.dice.roll())) as u32;
        let packets = bytes.div_ceil(1_100).max(1);
        for _ in 0..packets {
            let packet = Packet { audio: false, size: bytes / packets + OVERHEAD };
            if self.pacer.admit(self.start + self.now, Class::Video, packet.size) {
                self.transmit(packet);
            } else if self.pacer.hold(Class::Video, packet.size, packet).is_err() {
                self.pacer.retain(|_| false);
            }
        }
    }

    fn transmit(&mut self, packet: Packet) {
        let sequence = self.bwe.packet_sent(self.start + self.now, packet.size, self.pacer.probe());
        if let Some(at) = self.link.send(self.now, packet.size) {
            self.arriving.push(at, (sequence, packet));
        }
    }

    fn receive(&mut self) {
        while let Some((at, (sequence, packet))) = self.arriving.pop(self.now) {
            if packet.audio {
                self.audio_gap = self.audio_gap.max(at.saturating_sub(self.last_audio));
                self.last_audio = at;
            }
            let highest = self.highest.unwrap_or(u64::from(sequence));
            let ahead = i64::from((sequence.wrapping_sub(highest as u16)).cast_signed());
            let extended = (highest as i64 + ahead) as u64;
            self.highest = Some(highest.max(extended));
            self.seen.insert(extended, at);
        }
        if self.now < self.next_feedback {
            return;
        }
        // Chromium: 50 to 100 ms.
        self.next_feedback = self.now + Duration::from_millis(50 + (self.dice.roll() * 50.0) as u64);
        let Some((newest, _)) = self.seen.last_key_value() else { return };
        let base = self.reported.min(*self.seen.first_key_value().expect("not empty").0);
        let newest = *newest;
        let arrivals: Vec<_> = (base..=newest)
            .map(|sequence| self.seen.get(&sequence).map(|at| at.as_micros() as i64 / 250 + 1_000_000))
            .collect();
        self.seen.clear();
        self.reported = newest + 1;
        let mut body = Vec::new();
        twcc::write(&mut body, base as u16, &arrivals, self.feedbacks);
        self.feedbacks = self.feedbacks.wrapping_add(1);
        if self.now >= self.deaf_until {
            self.feedback.push(self.now + Duration::from_millis(30), body);
        }
    }

    fn allocate(&mut self) {
        let now = self.start + self.now;
        if let Camera::Follows(share, most) = self.camera {
            self.layer = Some(0);
            self.wanted_layer = Some(0);
            self.goal = Some(Bitrate::kbps(most).times(1.2 / share));
        } else {
            let mut rates = [[Bitrate::ZERO; TEMPORAL]; SPATIAL];
            for (spatial, kbps) in LAYERS.into_iter().enumerate() {
                rates[spatial][0] = Bitrate::kbps(kbps);
            }
            let top = |spatial| Layer { spatial, temporal: 0 };
            let camera = Demand {
                content: Content::Camera,
                speaker: false,
                pixels: 1,
                rates,
                wanted: top(2),
                current: self.wanted_layer.map(|layer| top(layer as u8)),
            };
            let mut audio = Demand { content: Content::Audio, wanted: top(0), ..camera };
            audio.rates[0][0] = Bitrate::kbps(AUDIO_KBPS);
            let (available, lasting) = (self.bwe.available(), self.bwe.lasting());
            let allocation = self.allocator.allocate(&[audio, camera], available, lasting, Pausing::All);
            self.goal = allocation.probe_goal;
            let target = self.allocator.targets()[1].map(|layer| usize::from(layer.spatial));
            if target != self.wanted_layer {
                self.wanted_layer = target;
                // A key frame takes a round trip and an encoder.
                self.switch_at = self.now + Duration::from_millis(if target.is_none() { 0 } else { 150 });
            }
        }
        if let Some(probe) = self.bwe.poll_probe(now, self.goal) {
            self.probes += 1;
            self.pacer.start_probe(now, probe);
        }
    }
}
