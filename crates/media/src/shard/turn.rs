//! What a shard does in a turn: commands, packets, ticks, and the burial of lost peers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::peer::{Lane, Peer};
use super::{
    Command, Event, EventKind, Failure, LEVELS, PublishUpdate, Published, QUALITY_INTERVAL, Quality, Route,
    SPEAKER_STAYS, Shard, ShardConfig, Side, Stage, UNREACHABLE_FOR, due,
};
use crate::downtrack::DownConfig;
use crate::fault::{self, Point};
use crate::ids::{IceCredentials, PeerHandle, SourceKey};
use crate::ingest::{Arrival, Source};
use crate::pacer;
use crate::rtp::{Incoming, data_track};
use crate::sdp::MediaKind;
use crate::sending::Path;
use crate::srtp::SrtpError;
use crate::transport::{Remote, TransportError, TransportEvent};

impl Shard {
    /// Runs `turn` so that a panic in it ends this peer and no other: the peer is dropped whole.
    pub(super) fn guarded<T>(&mut self, peer: usize, turn: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let turn = catch_unwind(AssertUnwindSafe(|| turn(self)));
        if turn.is_err() {
            self.lost.push((peer, Failure::Panic));
        }
        turn.ok()
    }

    pub(super) fn command(&mut self, now: Instant, command: Command) {
        let peer = match &command {
            Command::AddPeer { .. }
            | Command::RemoveSource { .. }
            | Command::MuteSource { .. }
            | Command::SendData { .. } => None,
            Command::RemovePeer { peer }
            | Command::Publish { peer, .. }
            | Command::Connect { peer, .. }
            | Command::RestartIce { peer, .. }
            | Command::AddSource { peer, .. }
            | Command::AddDown { peer, .. }
            | Command::RemoveDown { peer, .. }
            | Command::SetDown { peer, .. }
            | Command::SwitchDown { peer, .. }
            | Command::SetDataTrack { peer, .. }
            | Command::LimitDown { peer, .. } => match self.by_handle.get(peer) {
                Some(index) => Some(*index),
                // Already lost; the room will hear of it.
                None => return,
            },
        };
        match (command, peer) {
            (Command::AddPeer { peer, room, connections, allow_pause }, _) => {
                let ShardConfig { local, certificate, .. } = &self.config;
                let mut new = Peer::new(now, peer, room, connections, allow_pause, certificate, local);
                new.egress.limit_layers(now, self.highest_layer);
                let index = self.peers.insert(new);
                self.by_handle.insert(peer, index);
                for side in self.peers[index].sides() {
                    let ufrag = self.peers[index].connection(side).credentials.ufrag.as_bytes().into();
                    self.by_ufrag.insert(ufrag, Route { peer: index, side });
                }
            }
            (Command::RemovePeer { .. }, Some(index)) => self.remove_peer(index),
            (Command::Publish { update, .. }, Some(index)) => {
                self.guarded(index, |shard| shard.publish(now, index, update));
            }
            (Command::Connect { remote, .. }, Some(index)) => {
                self.guarded(index, |shard| shard.connect(now, index, &remote));
            }
            (Command::RestartIce { side, local, remote, .. }, Some(index)) => {
                self.guarded(index, |shard| shard.restart_ice(now, index, side, local, &remote));
            }
            (Command::AddSource { source, mid, muted, .. }, Some(index)) => {
                self.add_source(index, source, &mid, muted);
            }
            (Command::RemoveSource { source }, _) => self.remove_source(source),
            (Command::MuteSource { source, muted }, _) => self.mute_source(source, muted),
            (Command::AddDown { config, .. }, Some(index)) => self.add_down(now, index, config),
            (Command::RemoveDown { key, .. }, Some(index)) => {
                if let Some((track, source)) = self.peers[index].egress.remove(key)
                    && let Some(published) = self.published_mut(source)
                {
                    published.subscribers.retain(|own| *own != (index, track));
                }
            }
            (Command::SetDown { key, wanted, .. }, Some(index)) => {
                self.peers[index].egress.set_wanted(now, key, wanted);
                self.allocate(now, index);
                self.ask_for_keyframes(now, index);
            }
            (Command::SwitchDown { key, source, format, wanted, .. }, Some(index)) => {
                let Some((track, before)) = self.peers[index].egress.switch(now, key, source, format, wanted)
                else {
                    return;
                };
                if let Some(published) = self.published_mut(before) {
                    published.subscribers.retain(|own| *own != (index, track));
                }
                if let Some(published) = self.published_mut(source) {
                    published.subscribers.push((index, track));
                }
                self.allocate(now, index);
                self.ask_for_keyframes(now, index);
            }
            (Command::LimitDown { rate, .. }, Some(index)) => {
                self.peers[index].egress.limit(now, rate);
                self.allocate(now, index);
            }
            (Command::SetDataTrack { handle, to, .. }, Some(index)) => {
                let tracks = &mut self.peers[index].data_tracks;
                if to.is_empty() { drop(tracks.remove(&handle)) } else { drop(tracks.insert(handle, to)) }
            }
            (Command::SendData { peers, reliable, payload }, _) => {
                for handle in peers {
                    self.send_data(now, handle, |peer| peer.send_data(reliable, &payload));
                }
            }
            (_, None) => {}
        }
    }

    pub(super) fn published_mut(&mut self, source: SourceKey) -> Option<&mut Published> {
        self.published.get_mut(*self.by_source.get(&source)?)
    }

    fn publish(&mut self, now: Instant, index: usize, update: PublishUpdate) {
        let Peer { publisher, ingest, .. } = &mut self.peers[index];
        ingest.learn_extensions(&update.extensions);
        for mid in &update.remove {
            ingest.remove(mid);
        }
        for media in update.declare {
            ingest.declare(media);
        }
        let handled = match &update.remote {
            Some(remote) => publisher.agree(now, remote),
            None => Ok(()),
        };
        if update.data {
            publisher.transport.start_sctp(false);
        }
        self.drain_or_lose(now, Route { peer: index, side: Side::Publisher }, handled);
    }

    fn connect(&mut self, now: Instant, index: usize, remote: &Remote) {
        let connection = self.peers[index].connection(Side::Subscriber);
        let handled = connection.agree(now, remote);
        connection.transport.start_sctp(remote.we_are_client);
        self.drain_or_lose(now, Route { peer: index, side: Side::Subscriber }, handled);
    }

    fn restart_ice(
        &mut self,
        now: Instant,
        index: usize,
        side: Side,
        local: IceCredentials,
        remote: &IceCredentials,
    ) {
        let connection = self.peers[index].connection(side);
        connection.transport.restart_ice(&local, remote);
        // Whoever comes by another way gets the time for it.
        connection.unreachable_since = connection.unreachable_since.map(|_| now);
        let fresh = local.ufrag.as_bytes().into();
        let old = std::mem::replace(&mut connection.credentials, local);
        self.by_ufrag.remove(old.ufrag.as_bytes());
        self.by_ufrag.insert(fresh, Route { peer: index, side });
        self.drain(now, Route { peer: index, side });
    }

    fn add_source(&mut self, index: usize, key: SourceKey, mid: &str, muted: bool) {
        let peer = &mut self.peers[index];
        let Some(media) = peer.ingest.declared(mid) else { return };
        let mut source = Source::new(key, media.kind, media.rids.len());
        source.muted = muted;
        let published = self.published.insert(Published {
            source,
            peer: index,
            subscribers: Vec::new(),
            level: 0.0,
            packets_seen: 0,
            speaks_until: None,
        });
        self.by_source.insert(key, published);
        peer.ingest.publish(mid, published);
    }

    fn remove_source(&mut self, key: SourceKey) {
        let Some(index) = self.by_source.remove(&key) else { return };
        let published = self.published.remove(index);
        if let Some(peer) = self.peers.get_mut(published.peer) {
            peer.ingest.unpublish(index);
        }
        // The tracks at the subscribers stay, silent, until the room removes them.
    }

    fn mute_source(&mut self, key: SourceKey, muted: bool) {
        let Some(index) = self.by_source.get(&key).copied() else { return };
        let published = &mut self.published[index];
        published.source.muted = muted;
        for (peer, track) in &published.subscribers {
            if let Some(peer) = self.peers.get_mut(*peer) {
                peer.egress.stop(*track);
            }
        }
    }

    fn add_down(&mut self, now: Instant, index: usize, config: DownConfig) {
        let source = config.source;
        let Some(published) = self.by_source.get(&source).copied() else { return };
        if let Some(track) = self.peers[index].egress.add(config) {
            self.published[published].subscribers.push((index, track));
            self.peers[index].egress.reconsider(now);
            self.allocate(now, index);
            self.ask_for_keyframes(now, index);
        }
    }

    /// Takes what the connection has to say and to send; an error ends the peer.
    pub(super) fn drain_or_lose(&mut self, now: Instant, route: Route, handled: Result<(), TransportError>) {
        if let Err(error) = handled {
            tracing::debug!(%error, side = ?route.side, "A connection has failed");
            self.lost.push((route.peer, Failure::Protocol));
            return;
        }
        self.drain(now, route);
    }

    fn drain(&mut self, now: Instant, route: Route) {
        loop {
            let connection = self.peers[route.peer].connection(route.side);
            match connection.transport.poll(&mut self.queue) {
                Ok(Some(event)) => self.transport_event(now, route, event),
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, side = ?route.side, "A connection has failed");
                    self.lost.push((route.peer, Failure::Protocol));
                    return;
                }
            }
        }
        let connection = self.peers[route.peer].connection(route.side);
        let deadline = connection.transport.deadline();
        if connection.timer != Some(deadline) {
            if let Some(old) = connection.timer.replace(deadline) {
                self.timers.remove(&(old, route.peer, route.side));
            }
            self.timers.insert((deadline, route.peer, route.side));
        }
    }

    fn transport_event(&mut self, now: Instant, route: Route, event: TransportEvent) {
        let peer = &mut self.peers[route.peer];
        match event {
            TransportEvent::Connected => {
                peer.secure(route.side);
                self.emit(route.peer, EventKind::Connected(route.side));
            }
            TransportEvent::Reachable(reachable) => {
                peer.connection(route.side).unreachable_since = (!reachable).then_some(now);
            }
            TransportEvent::Closed => self.lost.push((route.peer, Failure::Closed)),
            TransportEvent::ChannelOpen { label, channel } => {
                if peer.channel_open(route.side, &label, channel) {
                    peer.flush_data();
                    self.emit(route.peer, EventKind::ChannelsOpen);
                }
            }
            TransportEvent::Data { channel, bytes } => {
                if route.side != Side::Publisher {
                    return;
                }
                match peer.incoming.get(&channel) {
                    Some(Lane::Track) => self.data_track_packet(now, route.peer, bytes),
                    Some(lane) if peer.data_budget.spend(now, 1, bytes.len()) => {
                        let reliable = *lane == Lane::Reliable;
                        self.emit(route.peer, EventKind::Data { reliable, payload: bytes });
                    }
                    Some(_) | None => {}
                }
            }
        }
    }

    /// Sends data to a peer, which is given up if it is too slow for what it must not miss.
    fn send_data(&mut self, now: Instant, handle: PeerHandle, send: impl FnOnce(&mut Peer) -> bool) {
        let Some(index) = self.by_handle.get(&handle).copied() else { return };
        self.guarded(index, |shard| {
            fault::point(Point::Data);
            if !send(&mut shard.peers[index]) {
                shard.lost.push((index, Failure::SlowData));
            }
            let side = shard.peers[index].down_side();
            shard.drain(now, Route { peer: index, side });
        });
    }

    /// A packet of a data track: to everybody who receives that, each time under another handle.
    fn data_track_packet(&mut self, now: Instant, index: usize, mut packet: Vec<u8>) {
        let peer = &mut self.peers[index];
        let Some(handle) = data_track::handle_of(&packet) else { return };
        let Some(receivers) = peer.data_tracks.get(&handle) else { return };
        if !peer.track_budget.spend(now, receivers.len(), packet.len()) {
            return;
        }
        for (receiver, handle) in receivers.clone() {
            data_track::set_handle(&mut packet, handle);
            self.send_data(now, receiver, |peer| {
                peer.send_track_packet(&packet);
                true
            });
        }
    }

    /// Media came in. Returns whether it is really the client's.
    pub(super) fn handle_media(&mut self, now: Instant, route: Route, path: Path, datagram: &[u8]) -> bool {
        let Self { peers, scratch, counts, .. } = self;
        let peer = &mut peers[route.peer];
        // Nobody sends media on the other one.
        let receiver = peer.publisher.receiver.as_mut().filter(|_| route.side == Side::Publisher);
        let (Some(receiver), Some(header)) = (receiver, Incoming::parse(datagram)) else { return false };
        scratch.clear();
        scratch.extend_from_slice(datagram);
        let opened = match receiver.unprotect_rtp(scratch, header.len) {
            Ok(opened) => opened,
            // The network, or whoever listens in, has doubled it.
            Err(SrtpError::Replayed) => return true,
            Err(SrtpError::Short | SrtpError::NotAuthentic) => return false,
        };
        let payload = &scratch[header.len..opened.len];
        if !peer.media_budget.spend(now, 1, payload.len()) {
            counts.over_limit += 1;
            return true;
        }
        counts.received.add(payload.len());
        let arrival = peer.ingest.handle_packet(now, path, &header, opened.index, payload);
        if let Some(at) = peer.ingest.ask_at() {
            if !std::mem::replace(&mut peer.is_asked, true) {
                self.asked.push(route.peer);
            }
            self.next_ask = Some(self.next_ask.map_or(at, |next| next.min(at)));
        }
        if let Some(arrival) = arrival {
            self.forward(now, arrival);
        }
        true
    }

    /// A packet of a published track: into its ring, and to everybody who is to have it.
    fn forward(&mut self, now: Instant, arrival: Arrival) {
        let Arrival { source: index, layer, congested_until, packet: raw } = arrival;
        let Published { source, .. } = &mut self.published[index];
        source.congested_until = congested_until;
        self.in_picture = source.kind == MediaKind::Video && !raw.marker;
        let Some(packet) = source.push(now, layer, raw) else { return };
        let (sequence, keyframe_start) = (packet.sequence, packet.keyframe_start);
        if keyframe_start && source.takes_offer(layer) {
            self.offer_layer(now, index);
        }
        let Self { published, peers, queue, lost, pacing, .. } = self;
        let Some(Published { source, subscribers, .. }) = published.get(index) else { return };
        let Some(packet) = source.layers[layer].ring.get(sequence) else { return };
        for (peer, track) in subscribers {
            let forwarded = catch_unwind(AssertUnwindSafe(|| {
                fault::point(Point::Forward);
                let egress = &mut peers[*peer].egress;
                egress.forward(now, *track, layer, packet, source, queue);
                egress.starts_pacing()
            }));
            match forwarded {
                Ok(false) => {}
                Ok(true) => pacing.push(*peer),
                Err(_) => lost.push((*peer, Failure::Panic)),
            }
        }
        if !self.pacing.is_empty() {
            self.next_pace.get_or_insert(now + pacer::TICK);
        }
    }

    /// A layer of a track has come back: whoever has room for what it took before takes it at once, and needs no other key
    /// frame.
    fn offer_layer(&mut self, now: Instant, index: usize) {
        let subscribers: Vec<usize> =
            self.published[index].subscribers.iter().map(|(peer, _)| *peer).collect();
        for peer in subscribers {
            self.guarded(peer, |shard| {
                shard.peers[peer].egress.reconsider(now);
                shard.allocate(now, peer);
            });
        }
    }

    /// Asks publishers for what is missing.
    pub(super) fn ask(&mut self, now: Instant) {
        self.next_ask = None;
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|index| {
            let next = self.guarded(*index, |shard| {
                let peer = &mut shard.peers[*index];
                if peer.ingest.ask_at().is_some_and(|at| now >= at) {
                    peer.report(now, &mut shard.queue, &mut shard.counts);
                }
                let next = peer.ingest.ask_at();
                peer.is_asked = next.is_some();
                next
            });
            let next = next.flatten();
            self.next_ask = self.next_ask.into_iter().chain(next).min();
            next.is_some()
        });
        self.asked = asked;
    }

    /// Everything that is looked after now and then.
    pub(super) fn tick(&mut self, now: Instant) {
        let peers: Vec<usize> = self.peers.iter().map(|(index, _)| index).collect();
        for index in &peers {
            self.guarded(*index, |shard| shard.tick_peer(now, *index));
        }
        let waiting = self.published.iter().filter(|(_, p)| p.source.has_wanted_keyframes());
        let waiting: Vec<SourceKey> = waiting.map(|(_, published)| published.source.key).collect();
        for source in waiting {
            self.send_keyframe_requests(now, source);
        }
        if due(&mut self.next_levels, now, LEVELS) {
            self.report_levels(now);
        }
        if due(&mut self.next_quality, now, QUALITY_INTERVAL) {
            for index in peers {
                self.report_quality(now, index);
            }
        }
    }

    fn tick_peer(&mut self, now: Instant, index: usize) {
        self.allocate(now, index);
        self.ask_for_keyframes(now, index);
        let Self { published, peers, by_source, queue, counts, .. } = self;
        let peer = &mut peers[index];
        let clock = |source: SourceKey, layer: usize| {
            published.get(*by_source.get(&source)?)?.source.layers.get(layer)?.clock
        };
        peer.egress.send_reports(now, clock, queue);
        peer.report(now, queue, counts);
        let gone =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) >= UNREACHABLE_FOR);
        if peer.sides().any(|side| gone(peer.connection(side).unreachable_since)) {
            self.lost.push((index, Failure::Unreachable));
            return;
        }
        for side in peer.sides() {
            let Some(stage) = self.peers[index].connection(side).stuck(now) else { continue };
            match stage {
                Stage::Ice => self.counts.stuck.ice += 1,
                Stage::Dtls => self.counts.stuck.dtls += 1,
            }
            self.emit(index, EventKind::Stuck { side, stage });
        }
        let peer = &mut self.peers[index];
        if peer.has_waiting_data() {
            peer.flush_data();
            let side = peer.down_side();
            self.drain(now, Route { peer: index, side });
        }
    }

    fn report_levels(&mut self, now: Instant) {
        let mut speaking: Vec<usize> = Vec::new();
        let mut changed: Vec<(usize, SourceKey, f32)> = Vec::new();
        for (_, published) in &mut self.published {
            let level = if published.source.muted { 0.0 } else { published.source.level.take() };
            if level > 0.0 {
                speaking.push(published.peer);
            }
            if (level - published.level).abs() > f32::EPSILON {
                published.level = level;
                changed.push((published.peer, published.source.key, level));
            }
        }
        for (_, published) in self.published.iter_mut().filter(|(_, p)| speaking.contains(&p.peer)) {
            published.speaks_until = Some(now + SPEAKER_STAYS);
        }
        for (peer, source, level) in changed {
            self.emit(peer, EventKind::Levels(vec![(source, level)]));
        }
    }

    fn report_quality(&mut self, now: Instant, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let mut quality = Quality { rtt: peer.egress.rtt.unwrap_or_default(), ..Quality::default() };
        for (_, track) in peer.egress.tracks() {
            quality.receiving |= track.has_sent();
            if let Some((loss, jitter)) = track.remote.take() {
                let rate = f64::from(track.config.clock_rate());
                let jitter = Duration::from_secs_f64(f64::from(jitter) / rate);
                quality.down_loss = quality.down_loss.max(f32::from(loss) / 256.0);
                quality.down_jitter = quality.down_jitter.max(jitter);
            }
        }
        (quality.up_loss, quality.up_jitter) = peer.ingest.take_quality().unwrap_or_default();
        for source in peer.ingest.published() {
            let Some(published) = self.published.get_mut(source) else { continue };
            let packets = published.source.layers.iter().map(|layer| layer.packets).sum();
            let arrived = packets > std::mem::replace(&mut published.packets_seen, packets);
            let live = published.source.layers.iter().any(|layer| layer.is_live(now));
            if !published.source.muted {
                quality.publishing = true;
                quality.arriving |= arrived || live;
            }
        }
        self.emit(index, EventKind::Quality(quality));
    }

    pub(super) fn emit(&mut self, index: usize, kind: EventKind) {
        if let Some(peer) = self.peers.get(index) {
            self.events.push_back(Event { room: peer.room, peer: peer.handle, kind });
        }
    }

    /// Removes the peers that were lost in this turn and tells their rooms.
    pub(super) fn bury(&mut self) {
        while let Some((index, failure)) = self.lost.pop() {
            if self.peers.contains(index) {
                self.emit(index, EventKind::Failed(failure));
                self.remove_peer(index);
            }
        }
    }

    fn remove_peer(&mut self, index: usize) {
        let farewell = |shard: &mut Self, side: Side| {
            let transport = &mut shard.peers[index].connection(side).transport;
            transport.close();
            // What it still says is of no use to anybody, but the client should hear it.
            for _ in 0..16 {
                match transport.poll(&mut shard.queue) {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        };
        for side in self.peers[index].sides() {
            let _ = catch_unwind(AssertUnwindSafe(|| farewell(self, side)));
        }
        let mut peer = self.peers.remove(index);
        self.pacing.retain(|own| *own != index);
        self.asked.retain(|own| *own != index);
        self.by_handle.remove(&peer.handle);
        for side in peer.sides() {
            let connection = peer.connection(side);
            self.by_ufrag.remove(connection.credentials.ufrag.as_bytes());
            if let Some(timer) = connection.timer {
                self.timers.remove(&(timer, index, side));
            }
            for path in self.paths.remove(&(index, side)).unwrap_or_default() {
                self.by_path.remove(&path);
            }
        }
        let own: Vec<SourceKey> =
            self.published.iter().filter(|(_, p)| p.peer == index).map(|(_, p)| p.source.key).collect();
        for source in own {
            self.remove_source(source);
        }
        for (_, published) in &mut self.published {
            published.subscribers.retain(|(peer, _)| *peer != index);
        }
    }
}
