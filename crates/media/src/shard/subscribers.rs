//! What a shard hears in reports and does for subscribers: it gives out what their connections carry, sends what has waited,
//! and asks publishers for the key frames that they need.

use std::time::Instant;

use super::{EventKind, Route, Shard, Side};
use crate::egress::Request;
use crate::ids::SourceKey;
use crate::pacer;
use crate::rtp::rtcp::{self, Feedback};
use crate::sending::Path;
use crate::srtp::SrtpError;

impl Shard {
    /// A client reports, about what it sends or receives. Returns whether it is really the client.
    pub(super) fn handle_report(&mut self, now: Instant, route: Route, path: Path, datagram: &[u8]) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(datagram);
        let receiver = self.peers[route.peer].connection(route.side).receiver.as_mut();
        let opened = receiver.map(|receiver| receiver.unprotect_rtcp(&mut scratch));
        if let Some(Ok(len)) = opened {
            self.reported(now, route, path, &scratch[..len]);
        }
        self.scratch = scratch;
        matches!(opened, Some(Ok(_) | Err(SrtpError::Replayed)))
    }

    fn reported(&mut self, now: Instant, route: Route, path: Path, compound: &[u8]) {
        let peer = &mut self.peers[route.peer];
        if route.side == Side::Publisher {
            peer.ingest.set_path(path);
            for feedback in rtcp::parse(compound) {
                let Feedback::Sender(report) = feedback else { continue };
                let Some((source, layer, anchor)) = peer.ingest.handle_sender_report(now, &report) else {
                    continue;
                };
                let published = self.published.get_mut(source);
                if let Some(layer) = published.and_then(|own| own.source.layers.get_mut(layer)) {
                    layer.clock = Some(anchor);
                }
            }
        }
        if route.side == peer.down_side() {
            let requests = peer.egress.handle_rtcp(now, path, compound);
            self.serve(now, route.peer, requests);
            self.allocate(now, route.peer);
            self.ask_for_keyframes(now, route.peer);
        }
    }

    /// Does what a subscriber needs.
    pub(super) fn serve(&mut self, now: Instant, index: usize, requests: Vec<Request>) {
        for request in requests {
            match request {
                Request::Keyframe { source, layer } => {
                    self.counts.keyframes_wanted += 1;
                    if let Some(published) = self.published_mut(source) {
                        published.source.want_keyframe(layer);
                    }
                    self.send_keyframe_requests(now, source);
                }
                Request::Repeat { track, source, sequence } => {
                    self.counts.missed += 1;
                    let Some(published) = self.by_source.get(&source) else { continue };
                    let Self { published: all, peers, queue, .. } = self;
                    peers[index].egress.repeat(now, track, sequence, &all[*published].source, queue);
                }
            }
        }
    }

    /// Gives out the layers that this peer's connection has room for, if that is due.
    pub(super) fn allocate(&mut self, now: Instant, index: usize) {
        let Self { published, peers, by_source, .. } = self;
        let origin = |key: SourceKey| Some(published.get(*by_source.get(&key)?)?.origin(now));
        let mut news = Vec::new();
        let egress = &mut peers[index].egress;
        egress.allocate(now, origin, |source, paused| news.push((source, paused)));
        if egress.starts_pacing() {
            self.pacing.push(index);
            self.next_pace.get_or_insert(now);
        }
        if !news.is_empty() {
            self.emit(index, EventKind::Paused(news));
        }
    }

    /// Sends what has waited for its turn.
    pub(super) fn pace(&mut self, now: Instant) {
        let mut pacing = std::mem::take(&mut self.pacing);
        pacing.retain(|index| {
            self.guarded(*index, |shard| {
                let Self { published, peers, by_source, queue, .. } = shard;
                let origin = |key: SourceKey| Some(published.get(*by_source.get(&key)?)?.origin(now));
                let egress = &mut peers[*index].egress;
                egress.pace(now, origin, queue);
                !egress.ends_pacing()
            })
            .unwrap_or(false)
        });
        self.next_pace = (!pacing.is_empty()).then(|| now + pacer::TICK);
        self.pacing = pacing;
    }

    /// Asks for the key frames that this peer's tracks wait for.
    pub(super) fn ask_for_keyframes(&mut self, now: Instant, index: usize) {
        let Self { published, peers, by_source, .. } = self;
        let mut asked = Vec::new();
        for (_, track) in peers[index].egress.tracks() {
            let key = track.config.source;
            let Some(published) = by_source.get(&key).map(|source| &mut published[*source]) else { continue };
            let target = track.target(now, &published.source);
            if track.needs_keyframe(now, target) {
                published.source.want_keyframe(target.layer);
                asked.push(key);
            }
        }
        for source in asked {
            self.send_keyframe_requests(now, source);
        }
    }

    /// Passes on the key frame requests of a track that its throttle lets through.
    pub(super) fn send_keyframe_requests(&mut self, now: Instant, source: SourceKey) {
        let Some(index) = self.by_source.get(&source).copied() else { return };
        let published = &mut self.published[index];
        let due: Vec<usize> = published.source.due_keyframes(now).collect();
        if due.is_empty() {
            return;
        }
        let peer = published.peer;
        self.guarded(peer, |shard| {
            let Self { peers, queue, counts, .. } = shard;
            for layer in due {
                counts.keyframes_asked += u64::from(peers[peer].ingest.want_keyframe(index, layer));
            }
            peers[peer].report(now, queue, counts);
        });
    }
}
