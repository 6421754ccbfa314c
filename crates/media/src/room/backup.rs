//! Backup codecs: a publisher sends its pictures in a second codec as well, once somebody does not take the first.
//!
//! The second codec is announced with the track. That it is needed, the publisher hears by the demand for it
//! ([`super::dynacast`]); it announces the same track once more and sends the second codec on an m-line of its own. Costs
//! nothing for tracks without one.

use livekit_protocol as proto;
use proto::signal_response::Message as Response;

use super::publish::{complete, layers_of};
use super::subscribe::wanted_of;
use super::track::{Pending, Track};
use super::{Moment, Room};
use crate::ids::{Identity, SourceKey};
use crate::shard;

impl Room {
    /// A publisher is about to send the second codec of a track: it was checked that the track waits for it.
    pub(super) fn add_backup(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        request: &proto::AddTrackRequest,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let Some(track) = participant.tracks.get_mut(&request.sid) else { return };
        let Some(listed) = track.info.codecs.get_mut(1) else { return };
        listed.cid.clone_from(&request.cid);
        listed.layers.clone_from(&request.layers);
        let info = track.info.clone();
        participant.pending.retain(|pending| pending.cid != request.cid);
        participant.pending.push_back(Pending {
            cid: request.cid.clone(),
            codec_cids: request.simulcast_codecs.iter().map(|codec| codec.cid.clone()).collect(),
            info: info.clone(),
            is_backup: true,
        });
        let peer = participant.peer;
        let published = proto::TrackPublishedResponse { cid: request.cid.clone(), track: Some(info) };
        self.send(peer, Response::TrackPublished(published));
        self.match_tracks(moment, identity);
    }

    pub(super) fn publish_backup(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        mid: &str,
        pending: &Pending,
    ) {
        let people = self.participants.len();
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let Some(line) = participant.publisher.lines.get_mut(mid) else { return };
        let Some(track) = participant.tracks.get_mut(&pending.info.sid) else { return };
        let is_to_regress = track.is_to_regress(people);
        let Track { info, backup: Some(backup), .. } = track else { return };
        let Some(listed) = info.codecs.get_mut(1) else { return };
        if line.codecs.first() != Some(&backup.codec) {
            tracing::info!(track = info.sid, "A backup codec was announced, but another one came");
            return;
        }
        line.source = Some(backup.source);
        complete(listed, &pending.cid, line, backup.codec);
        backup.layers = layers_of(listed, line, backup.codec);
        backup.mid = Some(mid.to_owned());
        let (source, muted, mid) = (backup.source, info.muted, mid.to_owned());
        track.regressed = is_to_regress;
        participant.touch();
        let peer = participant.peer;
        self.tell_shard(peer, shard::Command::AddSource { peer, source, mid, muted });
        self.await_demand(moment.now, source);
        self.broadcast(identity);
        self.settle_renditions(source);
    }

    /// What came on an m-line comes no more: a whole track, or only its backup.
    pub(super) fn end_rendition(&mut self, moment: &mut Moment<'_>, identity: &Identity, source: SourceKey) {
        let Some(sid) = self.by_source.get(&source).map(|(_, sid)| sid.clone()) else { return };
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let Some(track) = participant.tracks.get_mut(&sid) else { return };
        let Some(backup) = track.backup.as_mut().filter(|backup| backup.source == source) else {
            self.unpublish(moment, identity, &sid, false);
            return;
        };
        participant.publisher.free_line(backup);
        backup.mid = None;
        track.regressed = false;
        participant.touch();
        let peer = participant.peer;
        self.tell_shard(peer, shard::Command::RemoveSource { source });
        self.broadcast(identity);
        self.settle_renditions(source);
    }

    /// Gives everybody who receives the track of `source` the rendition that is best for them now.
    fn settle_renditions(&mut self, source: SourceKey) {
        let Some((_, track)) = self.track_of(source) else { return };
        let sid = track.info.sid.clone();
        let receives = |(identity, own): (&Identity, &super::participant::Participant)| {
            own.subscriber.subscriptions.contains_key(&sid).then(|| identity.clone())
        };
        let receivers: Vec<Identity> = self.participants.iter().filter_map(receives).collect();
        for receiver in receivers {
            self.settle_rendition(&receiver, source);
        }
    }

    fn settle_rendition(&mut self, identity: &Identity, source: SourceKey) {
        let Some((_, track)) = self.track_of(source) else { return };
        let Some(own) = self.participants.get(identity) else { return };
        let line =
            own.subscriber.subscriptions.get(&track.info.sid).map(|index| &own.subscriber.lines[*index]);
        let Some(carrying) = line.and_then(|line| line.carrying.as_ref()) else { return };
        // Where nothing is agreed on yet, the best is chosen when it is.
        let Some(agreed) = &carrying.agreed else { return };
        let Some(best) = track.rendition_for(&agreed.formats) else { return };
        let Some(format) = agreed.formats.iter().find(|format| format.codec == best.codec).copied() else {
            return;
        };
        let (peer, key, before, was_active) = (own.peer, carrying.key, carrying.source, carrying.active);
        let (now, is_there) = (best.source, best.is_published());
        let wanted = wanted_of(own, track, best);
        let command = match (was_active, is_there) {
            (true, true) if before != now || now == source => {
                shard::Command::SwitchDown { peer, key, source: now, format, wanted }
            }
            (false, true) => {
                let mut config = agreed.config.clone();
                config.switch(now, format, wanted);
                shard::Command::AddDown { peer, config }
            }
            // It comes as it came, or not at all for now.
            (true, _) | (false, false) => return,
        };
        let sid = track.info.sid.clone();
        let line = self.participants.get_mut(identity).and_then(|own| own.line_of(&sid));
        if let Some(carrying) = line.and_then(|line| line.carrying.as_mut()) {
            (carrying.source, carrying.active) = (now, true);
        }
        for source in [before, now] {
            self.wishes_changed.insert((identity.clone(), source));
        }
        self.tell_shard(peer, command);
    }
}
