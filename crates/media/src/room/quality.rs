//! Who speaks, how well connections do, and what they have no room for.

use livekit_protocol as proto;
use proto::ConnectionQuality;
use proto::signal_response::Message as Response;

use super::participant::Participant;
use super::{Effect, Room};
use crate::ids::{Identity, SourceKey};
use crate::shard::Quality;

impl Room {
    /// Sound levels of a participant have changed.
    pub(super) fn levels(&mut self, identity: &Identity, levels: &[(SourceKey, f32)]) {
        for (source, level) in levels {
            let Some((_, sid)) = self.by_source.get(source).cloned() else { continue };
            let Some(participant) = self.participants.get_mut(identity) else { return };
            let Some(track) = participant.tracks.get(&sid) else { continue };
            let microphone = track.info.source == proto::TrackSource::Microphone as i32;
            let level = if track.info.muted { 0.0 } else { *level };
            if !microphone
                || participant.permission.hidden
                || (participant.level - level).abs() < f32::EPSILON
            {
                continue;
            }
            participant.level = level;
            let speaker =
                proto::SpeakerInfo { sid: participant.info.sid.clone(), level, active: level > 0.0 };
            let changed = proto::SpeakersChanged { speakers: vec![speaker] };
            // Those who receive the track, and its publisher.
            let listens = |(other, p): &(&Identity, &Participant)| *other == identity || p.receives(&sid);
            let listening = self.participants.iter().filter(listens).map(|(_, p)| p.peer).collect();
            self.send_all(listening, Response::SpeakersChanged(changed));
        }
    }

    /// A participant's connections were measured.
    pub(super) fn quality(&mut self, identity: &Identity, measured: Quality) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let measured = Quality { publishing: measured.publishing && participant.is_to_send(), ..measured };
        let (quality, score) = rate(measured, participant.quality);
        self.effects.push(Effect::Rated { quality, score });
        if participant.quality == Some(quality) {
            return;
        }
        participant.quality = Some(quality);
        participant.score = score;
        let Some(info) = participant.quality_info() else { return };
        let sids: Vec<String> = participant.tracks.keys().cloned().collect();
        let message = Response::ConnectionQuality(proto::ConnectionQualityUpdate { updates: vec![info] });
        let hidden = participant.permission.hidden;
        let listens = |other: &Participant| !hidden && sids.iter().any(|sid| other.receives(sid));
        let peers = self.participants.iter().filter(|(other, p)| *other == identity || listens(p));
        let peers = peers.map(|(_, p)| p.peer).collect();
        self.send_all(peers, message);
    }

    /// Tracks that a participant receives are paused, or go on.
    pub(super) fn paused(&mut self, identity: &Identity, tracks: &[(SourceKey, bool)]) {
        let Some(peer) = self.participants.get(identity).map(|participant| participant.peer) else { return };
        let state = |(source, paused): &(SourceKey, bool)| {
            let (publisher, track_sid) = self.by_source.get(source)?.clone();
            let participant_sid = self.participants.get(&publisher)?.info.sid.clone();
            let state = if *paused { proto::StreamState::Paused } else { proto::StreamState::Active };
            Some(proto::StreamStateInfo { participant_sid, track_sid, state: state as i32 })
        };
        let stream_states: Vec<_> = tracks.iter().filter_map(state).collect();
        if !stream_states.is_empty() {
            self.send(peer, Response::StreamStateUpdate(proto::StreamStateUpdate { stream_states }));
        }
    }
}

/// LiveKit's scale: above 80 of 100 excellent, above 40 good. LOST is never said, because clients join again on it;
/// a client that is really lost is removed.
fn rate(measured: Quality, before: Option<ConnectionQuality>) -> (ConnectionQuality, f32) {
    let delay_ms = measured.rtt.as_secs_f32() * 500.0
        + measured.down_jitter.max(measured.up_jitter).as_secs_f32() * 2_000.0;
    let delay = if delay_ms > 160.0 { (delay_ms - 120.0) / 10.0 } else { delay_ms / 40.0 };
    let silent = measured.publishing && !measured.arriving;
    let loss = measured.down_loss.max(measured.up_loss);
    let score = (100.0 - delay - loss * 1_000.0 - if silent { 65.0 } else { 0.0 }).max(0.0);
    // A little more is needed to become better than to stay.
    let bonus = |quality: ConnectionQuality| if before == Some(quality) { 3.0 } else { 0.0 };
    let quality = if score + bonus(ConnectionQuality::Excellent) > 80.0 {
        ConnectionQuality::Excellent
    } else if score + bonus(ConnectionQuality::Good) > 40.0 {
        ConnectionQuality::Good
    } else {
        ConnectionQuality::Poor
    };
    // Clients know a score as MOS, from 1 to 5.
    (quality, 1.0 + score / 25.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn loss_and_delay_lower_the_quality() {
        let good = Quality { rtt: Duration::from_millis(40), ..Quality::default() };
        let rated = |measured| rate(measured, Some(ConnectionQuality::Excellent)).0;
        assert_eq!(rated(good), ConnectionQuality::Excellent);
        assert_eq!(rated(Quality { down_loss: 0.04, ..good }), ConnectionQuality::Good);
        assert_eq!(rated(Quality { up_loss: 0.08, ..good }), ConnectionQuality::Poor);
        assert_eq!(rated(Quality { rtt: Duration::from_millis(1_500), ..good }), ConnectionQuality::Poor);
        let silent = Quality { publishing: true, ..good };
        assert_eq!(rated(silent), ConnectionQuality::Poor);
        assert_eq!(rated(Quality { arriving: true, ..silent }), ConnectionQuality::Excellent);
    }
}
