//! Everything that is sent to one subscriber: its tracks, their SRTP, reports and repetitions.
//!
//! The cost of a packet does not depend on how many tracks a subscriber has.

mod link;
mod write;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::bwe::Bitrate;
use crate::control::Control;
use crate::downtrack::{Clocks, DownConfig, DownTrack, Format, Wanted};
use crate::fault::{self, Point};
use crate::ids::{DownKey, SourceKey};
use crate::ingest::{self, LARGEST_GAP, Source};
use crate::pacer::{Class, PADDING_SIZE};
use crate::ring::Packet;
use crate::rtp::rtcp::{self, Feedback};
use crate::sdp::MediaKind;
use crate::sending::{Path, SendQueue};
use crate::srtp::SrtpSender;
use link::{Link, Waiting};
use write::Outlet;

/// Most tracks of one subscriber.
pub const MAX_TRACKS: usize = 1_000;
/// Time between sender reports of a track.
const REPORT_INTERVAL: Duration = Duration::from_secs(3);
/// … and after its first packets, so that lip sync begins early.
const FIRST_REPORT: Duration = Duration::from_millis(200);
/// Reports that a round trip may be measured with.
const REMEMBERED_REPORTS: usize = 64;
/// Before a round trip was measured.
const FIRST_RTT: Duration = Duration::from_millis(100);

/// What the feedback of a subscriber asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A key frame of the layer that is being sent.
    Keyframe {
        /// Track.
        source: SourceKey,
        /// Layer.
        layer: usize,
    },
    /// A packet is missing.
    Repeat {
        /// Index of the track.
        track: usize,
        /// Track.
        source: SourceKey,
        /// Its number.
        sequence: u16,
    },
}

/// Where a track comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Its packets.
    pub source: &'a Source,
    /// Its publisher speaks.
    pub speaks: bool,
}

/// The sending side of a subscriber's connection.
#[derive(Default)]
pub struct Egress {
    sender: Option<SrtpSender>,
    /// Where packets go: the path that was last seen to be authentic.
    path: Option<Path>,
    tracks: Slab<DownTrack>,
    by_key: HashMap<DownKey, usize>,
    by_ssrc: HashMap<u32, usize>,
    link: Link,
    /// Whether [`Egress::pace`] is called every [`TICK`](crate::pacer::TICK).
    is_paced: bool,
    reports: VecDeque<(u32, Instant)>,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("tracks", &self.tracks.len()).finish_non_exhaustive()
    }
}

impl Egress {
    /// A connection on which screens and the speaker are not paused when nothing fits, if `keep_important`.
    pub fn new(keep_important: bool) -> Self {
        let mut egress = Self::default();
        egress.link.keep_important = keep_important;
        egress
    }

    /// The handshake is done.
    pub fn set_sender(&mut self, sender: SrtpSender) {
        self.sender = Some(sender);
    }

    /// What protects everything that is sent on this connection, once the handshake is done.
    pub fn sender(&mut self) -> Option<&mut SrtpSender> {
        self.sender.as_mut()
    }

    /// Packets go there from now on. Returns the pictures that are sent, where they have gone elsewhere before: what left
    /// since the client has moved is lost.
    pub fn set_path(&mut self, path: Path) -> Vec<Request> {
        let before = self.path.replace(path);
        if before.is_none_or(|before| before.remote == path.remote) {
            return Vec::new();
        }
        let video = self.tracks.iter().filter(|(_, track)| track.config.kind == MediaKind::Video);
        video
            .filter_map(|(_, track)| {
                Some(Request::Keyframe { source: track.config.source, layer: track.current()? })
            })
            .collect()
    }

    /// Begins to send a track. Returns its index, or `None` if there are too many.
    pub fn add(&mut self, config: DownConfig) -> Option<usize> {
        // With the same keys no packet of a track may have the name that publishers' reports have.
        let reserved = is_of(&config, ingest::SSRC);
        let taken = self.by_ssrc.contains_key(&config.ssrc) || self.by_key.contains_key(&config.key);
        if reserved || taken || self.tracks.len() >= MAX_TRACKS {
            return None;
        }
        let (key, ssrc) = (config.key, config.ssrc);
        let index = self.tracks.insert(DownTrack::new(config));
        self.by_key.insert(key, index);
        self.by_ssrc.insert(ssrc, index);
        Some(index)
    }

    /// Ends a track; returns its index and source.
    pub fn remove(&mut self, key: DownKey) -> Option<(usize, SourceKey)> {
        let index = self.by_key.remove(&key)?;
        let track = self.tracks.try_remove(index)?;
        self.link.pacer.retain(|waiting| waiting.track != index);
        self.by_ssrc.remove(&track.config.ssrc);
        if let Some(sender) = &mut self.sender {
            sender.forget(track.config.ssrc);
            if let Some((rtx, _)) = track.config.rtx {
                sender.forget(rtx);
            }
        }
        Some((index, track.config.source))
    }

    /// A track comes in another codec from now on. Returns its index and the source before.
    pub fn switch(
        &mut self,
        now: Instant,
        key: DownKey,
        source: SourceKey,
        format: Format,
        wanted: Wanted,
    ) -> Option<(usize, SourceKey)> {
        let index = *self.by_key.get(&key)?;
        self.link.pacer.retain(|waiting| waiting.track != index);
        let track = self.tracks.get_mut(index)?;
        let before = track.config.source;
        track.switch(source, format, wanted);
        self.reconsider(now);
        Some((index, before))
    }

    /// Something else is wanted of the track of that name, or nothing.
    pub fn set_wanted(&mut self, now: Instant, key: DownKey, wanted: Wanted) {
        let Some(index) = self.by_key.get(&key).copied() else { return };
        let Some(track) = self.tracks.get_mut(index) else { return };
        track.config.wanted = wanted;
        if wanted.disabled {
            self.stop(index);
        }
        self.reconsider(now);
    }

    /// The publisher has muted, or nothing is wanted: what waits must not leave any more.
    pub fn stop(&mut self, index: usize) {
        self.link.pacer.retain(|waiting| waiting.track != index);
        if let Some(track) = self.tracks.get_mut(index) {
            track.stop();
        }
    }

    /// All tracks with their indices.
    pub fn tracks(&mut self) -> impl Iterator<Item = (usize, &mut DownTrack)> {
        self.tracks.iter_mut()
    }

    /// Sends a packet that came in on `layer` of `source`, if this subscriber is to have it.
    pub fn forward(
        &mut self,
        now: Instant,
        index: usize,
        layer: usize,
        packet: &Packet,
        source: &Source,
        queue: &mut SendQueue,
    ) {
        let (Some(sender), Some(path)) = (&mut self.sender, self.path) else { return };
        let Some(track) = self.tracks.get_mut(index) else { return };
        let target = track.target(now, source);
        if !self.link.pacer.is_empty() && track.begins_with(layer, target, packet) {
            self.link.pacer.retain(|waiting| waiting.track != index);
            track.take_back();
        }
        let clock = |layer: usize| source.layers.get(layer).and_then(|layer| layer.clock);
        let clocks = Clocks { from: track.current().and_then(clock), to: clock(layer) };
        let Some(outgoing) = track.forward(now, layer, target, packet, clocks) else { return };
        let mut outlet = Outlet { now, sender, path, queue };
        let size = size_of_datagram(packet);
        if track.config.kind == MediaKind::Audio {
            outlet.media(&mut self.link, track, packet, &outgoing);
            self.link.pacer.spend(size);
        } else if self.link.pacer.admit(now, Class::Video, size) {
            outlet.media(&mut self.link, track, packet, &outgoing);
        } else {
            let waiting = Waiting { track: index, sequence: outgoing.numbers.sequence, class: Class::Video };
            if self.link.pacer.hold(Class::Video, size, waiting).is_err() {
                self.link.pacer.retain(|waiting| waiting.track != index);
                track.stop();
            }
        }
    }

    /// Sends a packet again that the subscriber misses; later, if the connection has no room for it now.
    pub fn repeat(
        &mut self,
        now: Instant,
        index: usize,
        sequence: u16,
        source: &Source,
        queue: &mut SendQueue,
    ) {
        let (Some(sender), Some(path)) = (&mut self.sender, self.path) else { return };
        let Some(track) = self.tracks.get_mut(index) else { return };
        let rtt = self.rtt.unwrap_or(FIRST_RTT);
        let Some(sequence) = track.missed(now, sequence, rtt) else { return };
        let Some((packet, _)) = track.packet(sequence, source) else { return };
        if self.link.is_congested() && !track.is_needed(sequence) {
            return;
        }
        let size = size_of_datagram(packet);
        let is_sound = track.config.kind == MediaKind::Audio;
        if !is_sound && !self.link.pacer.admit(now, Class::Repeat, size) {
            let waiting = Waiting { track: index, sequence, class: Class::Repeat };
            // If there is no room for it in the queue either, the subscriber asks again.
            let _ = self.link.pacer.hold(Class::Repeat, size, waiting);
            return;
        }
        if is_sound {
            self.link.pacer.spend(size);
        }
        if let Some(repeat) = track.repeat(sequence, source) {
            Outlet { now, sender, path, queue }.repeat(&mut self.link, &track.config, &repeat);
        }
    }

    /// Sends what has waited long enough, and what a probe needs to have its rate.
    pub fn pace<'a>(
        &mut self,
        now: Instant,
        origin: impl Fn(SourceKey) -> Option<Origin<'a>>,
        queue: &mut SendQueue,
    ) {
        let (Some(sender), Some(path)) = (&mut self.sender, self.path) else { return };
        let mut outlet = Outlet { now, sender, path, queue };
        while let Some(waiting) = self.link.pacer.next(now) {
            let Some(track) = self.tracks.get_mut(waiting.track) else { continue };
            let Some(Origin { source, .. }) = origin(track.config.source) else { continue };
            match waiting.class {
                Class::Video => {
                    if let Some((packet, outgoing)) = track.packet(waiting.sequence, source) {
                        outlet.media(&mut self.link, track, packet, &outgoing);
                    }
                }
                Class::Repeat => {
                    if let Some(repeat) = track.repeat(waiting.sequence, source) {
                        outlet.repeat(&mut self.link, &track.config, &repeat);
                    }
                }
            }
        }
        let mut nth = 0;
        while self.link.pacer.wants_padding(now) {
            let Some(len) = pad(&mut outlet, &mut self.link, &mut self.tracks, nth, &origin) else { break };
            self.link.pacer.spend(len);
            nth += 1;
        }
    }

    /// Whether [`Egress::pace`] is to be called from now on; said once.
    pub fn starts_pacing(&mut self) -> bool {
        let needs = self.link.pacer.needs_tick();
        needs && !std::mem::replace(&mut self.is_paced, true)
    }

    /// Whether [`Egress::pace`] needs not be called any more; said once.
    pub fn ends_pacing(&mut self) -> bool {
        self.is_paced = self.link.pacer.needs_tick();
        !self.is_paced
    }

    /// Pictures get no more than that, whatever the connection carries; no limit for `None`.
    pub fn limit(&mut self, now: Instant, rate: Option<Bitrate>) {
        self.link.limit = rate;
        self.reconsider(now);
    }

    /// Of pictures no layer above that is sent, whatever the connection carries; no bound for `None`.
    pub fn limit_layers(&mut self, now: Instant, highest: Option<usize>) {
        self.link.highest_layer = highest;
        self.reconsider(now);
    }

    /// Something else is wanted of some track.
    pub fn reconsider(&mut self, now: Instant) {
        self.link.reconsider(now);
    }

    /// Gives out layers to the tracks if that is due. Tells `news` of the tracks that are paused now, and of those that go
    /// on. Returns whether anything may have changed.
    pub fn allocate<'a>(
        &mut self,
        now: Instant,
        origin: impl Fn(SourceKey) -> Option<Origin<'a>>,
        mut news: impl FnMut(SourceKey, bool),
    ) -> bool {
        if !self.link.is_due(now) {
            return false;
        }
        self.link.allocate(now, &mut self.tracks, &origin);
        for (_, track) in &mut self.tracks {
            if let Some(paused) = track.news(now) {
                news(track.config.source, paused);
            }
        }
        true
    }

    /// The subscriber tells something; `compound` is authentic and opened. Returns what it asks for.
    pub fn handle_rtcp(&mut self, now: Instant, path: Path, compound: &[u8]) -> Vec<Request> {
        fault::point(Point::Report);
        // Clients may move to another path at any time and close the old one at once.
        self.path = Some(path);
        let mut requests = Vec::new();
        for feedback in rtcp::parse(compound) {
            match feedback {
                Feedback::Report(report) => {
                    if let Some(track) = self.by_ssrc.get(&report.ssrc).and_then(|i| self.tracks.get_mut(*i))
                    {
                        track.reported(now, &report);
                        self.link.handle_report(now, f64::from(report.fraction_lost) / 256.0);
                    }
                    let asked = self.reports.iter().find(|(id, _)| *id == report.last_sr && *id != 0);
                    if let Some((_, sent)) = asked {
                        let held = Duration::from_secs_f64(f64::from(report.delay) / 65_536.0);
                        let rtt = now.saturating_duration_since(*sent).saturating_sub(held);
                        self.rtt = Some(self.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
                    }
                }
                Feedback::KeyframeRequest { ssrc } => {
                    let rtt = self.rtt.unwrap_or(FIRST_RTT);
                    let track = self.by_ssrc.get(&ssrc).and_then(|index| self.tracks.get(*index));
                    let needs = |track: &&DownTrack| !track.has_keyframe_on_its_way(now, rtt);
                    if let Some((track, layer)) =
                        track.filter(needs).and_then(|track| Some((track, track.current()?)))
                    {
                        requests.push(Request::Keyframe { source: track.config.source, layer });
                    }
                }
                Feedback::Nack { ssrc, list } => {
                    let Some(index) = self.by_ssrc.get(&ssrc) else { continue };
                    let Some(track) = self.tracks.get(*index) else { continue };
                    let source = track.config.source;
                    let is_video = track.config.kind == MediaKind::Video;
                    if is_video && list.iter().count() as u64 > LARGEST_GAP {
                        let comes = track.has_keyframe_on_its_way(now, self.rtt.unwrap_or(FIRST_RTT));
                        let layer = track.current().filter(|_| !comes);
                        requests.extend(layer.map(|layer| Request::Keyframe { source, layer }));
                        continue;
                    }
                    // One datagram cannot make us send more than a ring full of packets.
                    let room = crate::ring::VIDEO_PACKETS.saturating_sub(requests.len());
                    requests.extend(list.iter().take(room).map(|sequence| Request::Repeat {
                        track: *index,
                        source,
                        sequence,
                    }));
                }
                Feedback::Arrivals(feedback) => self.link.handle_arrivals(now, &feedback),
                Feedback::Bandwidth(rate) => self.link.handle_bandwidth(now, Bitrate::bps(rate)),
                // What it sends itself is no matter of ours.
                Feedback::Sender(_) | Feedback::Goodbye => {}
            }
        }
        requests
    }

    /// Sends the sender reports that are due. `clock` gives the publisher's clock for a track and layer.
    pub fn send_reports(
        &mut self,
        now: Instant,
        clock: impl Fn(SourceKey, usize) -> Option<crate::ingest::ClockAnchor>,
        queue: &mut SendQueue,
    ) {
        let (Some(sender), Some(path)) = (&mut self.sender, self.path) else { return };
        let mut control = Control::new(sender, path, queue);
        for (_, track) in &mut self.tracks {
            let interval = if track.last_report.is_none() { FIRST_REPORT } else { REPORT_INTERVAL };
            let since = track.last_report.map_or(interval, |at| now.saturating_duration_since(at));
            if !track.has_sent() || since < interval {
                continue;
            }
            let Some(anchor) = track.current().and_then(|layer| clock(track.config.source, layer)) else {
                continue;
            };
            let Some(rtp) = track.report_time(anchor) else { continue };
            // Both times move on by what passed since the publisher's report came in, so that the pair is of now.
            let passed = now.saturating_duration_since(anchor.received);
            let ntp = anchor.ntp.wrapping_add((passed.as_secs_f64() * 4_294_967_296.0) as u64);
            let rate = f64::from(track.config.clock_rate());
            let report = rtcp::SenderReport {
                ssrc: track.config.ssrc,
                ntp,
                rtp: rtp.wrapping_add((passed.as_secs_f64() * rate) as u32),
                packets: track.packets,
                octets: track.octets,
            };
            control.write(|to| rtcp::write_sender_report(to, &report, &track.config.cname));
            track.last_report = Some(now);
            self.reports.push_back((report.middle(), now));
            if self.reports.len() > REMEMBERED_REPORTS {
                self.reports.pop_front();
            }
        }
        control.flush();
    }
}

/// A probe has at least this many packets.
const PROBE_PACKETS: u32 = 6;

/// What a packet of this payload takes on the way, more or less: IP, UDP, RTP with extensions, tag.
fn size_of_datagram(packet: &Packet) -> u32 {
    packet.payload.len() as u32 + 68
}

/// Sends a packet only for the sake of its size: the `nth` packet before the last one again, which may even be missed, or
/// padding. Returns its size.
fn pad<'a>(
    outlet: &mut Outlet<'_>,
    link: &mut Link,
    tracks: &mut Slab<DownTrack>,
    nth: u64,
    origin: &impl Fn(SourceKey) -> Option<Origin<'a>>,
) -> Option<u32> {
    let may = |track: &DownTrack| track.config.rtx.is_some() && track.config.transport.is_some();
    let is_sent = |track: &DownTrack| may(track) && track.current().is_some();
    let found = tracks.iter().find(|(_, track)| is_sent(track));
    let (index, _) = found.or_else(|| tracks.iter().find(|(_, track)| may(track)))?;
    let track = tracks.get_mut(index)?;
    if let (Some(sequence), Some(Origin { source, .. })) = (track.recent(nth), origin(track.config.source))
        && let Some((packet, _)) = track.packet(sequence, source)
        && let size = size_of_datagram(packet)
        && (PADDING_SIZE..=link.pacer.probe_size() / PROBE_PACKETS).contains(&size)
        && let Some(repeat) = track.repeat(sequence, source)
    {
        return outlet.repeat(link, &track.config, &repeat).then_some(size);
    }
    let rtx = track.next_rtx()?;
    outlet.padding(link, &track.config, rtx).then_some(PADDING_SIZE)
}

/// Whether a track is sent or repeated under this SSRC.
fn is_of(config: &DownConfig, ssrc: u32) -> bool {
    config.ssrc == ssrc || config.rtx.is_some_and(|(rtx, _)| rtx == ssrc)
}
