//! Data tracks: packets of any kind that a participant publishes and others ask for, as fast as media and as lossy.
//!
//! A publisher numbers its tracks itself; each subscriber has numbers of its own for what it receives. The media thread
//! changes the one into the other, so that the room sees no packet.

use std::collections::{BTreeMap, HashMap};

use livekit_protocol as proto;
use proto::data_track_subscriber_handles::PublishedDataTrack;
use proto::request_response::{Reason, Request};
use proto::signal_response::Message as Response;
use proto::{DataTrackInfo, data_track_frame_encoding, data_track_schema_encoding};

use super::participant::Participant;
use super::{Moment, Room};
use crate::ids::{Identity, PeerHandle, random_sid};
use crate::shard;

/// Longest names of tracks and schemas, in bytes.
const MAX_NAME: usize = 256;
/// Longest name of an encoding that is not one of the known ones, in bytes (LiveKit's default).
const MAX_ENCODING: usize = 32;

/// A published data track.
#[derive(Debug)]
pub(super) struct DataTrack {
    pub(super) info: DataTrackInfo,
    /// Who receives it, and under which handle, as the media thread knows it.
    receivers: Vec<(PeerHandle, u16)>,
}

/// What somebody receives.
#[derive(Debug, Default)]
pub(super) struct DataHandles {
    by_track: BTreeMap<String, u16>,
    last: u16,
}

impl DataHandles {
    /// The handle of a track, a new one if it has none.
    fn of(&mut self, sid: &str) -> u16 {
        if let Some(handle) = self.by_track.get(sid) {
            return *handle;
        }
        // The subscriptions are bounded, so that one is free.
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.by_track.values().any(|handle| *handle == self.last) {
                break;
            }
        }
        self.by_track.insert(sid.to_owned(), self.last);
        self.last
    }
}

impl Room {
    pub(super) fn publish_data_track(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        request: proto::PublishDataTrackRequest,
    ) {
        let limit = self.facts.limits.data_tracks_per_participant;
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let peer = participant.peer;
        let handle = match check(participant, &request, limit) {
            Ok(handle) => handle,
            Err((reason, message)) => {
                self.refuse(peer, reason, message, Request::PublishDataTrack(request));
                return;
            }
        };
        let info = DataTrackInfo {
            pub_handle: request.pub_handle,
            sid: random_sid("DTR_", moment.rng),
            name: request.name,
            encryption: request.encryption,
            frame_encoding: request.frame_encoding,
            schema: request.schema,
        };
        participant.data_tracks.insert(handle, DataTrack { info: info.clone(), receivers: Vec::new() });
        participant.touch();
        let response = proto::PublishDataTrackResponse { info: Some(info) };
        self.send(peer, Response::PublishDataTrackResponse(response));
        self.broadcast(identity);
        self.data_unsettled = true;
    }

    pub(super) fn unpublish_data_track(
        &mut self,
        identity: &Identity,
        request: proto::UnpublishDataTrackRequest,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let peer = participant.peer;
        let track =
            u16::try_from(request.pub_handle).ok().and_then(|handle| participant.data_tracks.remove(&handle));
        let Some(track) = track else {
            let message = "pub_handle: no such data track";
            self.refuse(peer, Reason::NotFound, message, Request::UnpublishDataTrack(request));
            return;
        };
        participant.touch();
        self.end_data_track(peer, track);
        self.broadcast(identity);
    }

    /// Whoever may not publish data any more has no data tracks.
    pub(super) fn end_data_tracks(&mut self, identity: &Identity) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let peer = participant.peer;
        for (_, track) in std::mem::take(&mut participant.data_tracks) {
            self.end_data_track(peer, track);
        }
    }

    fn end_data_track(&mut self, peer: PeerHandle, track: DataTrack) {
        let handle = track.info.pub_handle as u16;
        self.data_unsettled = true;
        if !track.receivers.is_empty() {
            self.tell_shard(peer, shard::Command::SetDataTrack { peer, handle, to: Vec::new() });
        }
        let response = proto::UnpublishDataTrackResponse { info: Some(track.info) };
        self.send(peer, Response::UnpublishDataTrackResponse(response));
    }

    pub(super) fn data_subscription(&mut self, identity: &Identity, request: &proto::UpdateDataSubscription) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        for update in &request.updates {
            if let Some(wish) = participant.wish_of(&update.track_sid) {
                wish.subscribed = Some(update.subscribe);
            }
        }
        self.data_unsettled = true;
    }

    /// Brings what is received in line with who is there, what they publish, and who wants and may have it. Looks at
    /// everybody, but only when one of these has changed.
    pub(super) fn settle_data_tracks(&mut self) {
        if !std::mem::take(&mut self.data_unsettled) {
            return;
        }
        let mut wanted: HashMap<Identity, BTreeMap<String, PublishedDataTrack>> = HashMap::new();
        for (name, publisher) in &self.participants {
            for track in publisher.data_tracks.values() {
                let sid = &track.info.sid;
                for (receiver, _) in self.participants.iter().filter(|(_, own)| is_for(own, publisher, sid)) {
                    let published = PublishedDataTrack {
                        publisher_identity: name.to_string(),
                        publisher_sid: publisher.info.sid.clone(),
                        track_sid: sid.clone(),
                    };
                    let wanted = wanted.entry(receiver.clone()).or_default();
                    if wanted.len() < self.facts.limits.subscriptions {
                        wanted.insert(sid.clone(), published);
                    }
                }
            }
        }
        let mut news = Vec::new();
        let mut receivers: HashMap<String, Vec<(PeerHandle, u16)>> = HashMap::new();
        for (name, own) in &mut self.participants {
            let wanted = wanted.remove(name).unwrap_or_default();
            let handles = &mut own.subscriber.data_handles;
            let before = handles.by_track.clone();
            handles.by_track.retain(|sid, _| wanted.contains_key(sid));
            let mut named = HashMap::new();
            for (sid, published) in wanted {
                let handle = handles.of(&sid);
                named.insert(u32::from(handle), published);
                receivers.entry(sid).or_default().push((own.peer, handle));
            }
            if handles.by_track != before {
                news.push((own.peer, named));
            }
        }
        for (peer, sub_handles) in news {
            let handles = proto::DataTrackSubscriberHandles { sub_handles };
            self.send(peer, Response::DataTrackSubscriberHandles(handles));
        }
        let mut commands = Vec::new();
        for publisher in self.participants.values_mut() {
            let peer = publisher.peer;
            for (handle, track) in &mut publisher.data_tracks {
                let to = receivers.remove(&track.info.sid).unwrap_or_default();
                if track.receivers != to {
                    track.receivers.clone_from(&to);
                    commands.push((peer, shard::Command::SetDataTrack { peer, handle: *handle, to }));
                }
            }
        }
        for (peer, command) in commands {
            self.tell_shard(peer, command);
        }
    }
}

/// Whether somebody is to receive a data track. Nobody gets one unasked who did not ask for that.
fn is_for(own: &Participant, publisher: &Participant, sid: &str) -> bool {
    own.is_active() && own.is_to_receive(publisher, sid, own.params.auto_subscribe_data)
}

fn check(
    participant: &Participant,
    request: &proto::PublishDataTrackRequest,
    limit: usize,
) -> Result<u16, (Reason, &'static str)> {
    if !participant.permission.can_publish_data || limit == 0 {
        return Err((Reason::NotAllowed, "data may not be published (canPublishData)"));
    }
    let handle = u16::try_from(request.pub_handle).ok().filter(|handle| *handle != 0);
    let handle = handle.ok_or((Reason::InvalidHandle, "pub_handle: from 1 to 65535"))?;
    if request.name.is_empty() || request.name.len() > MAX_NAME {
        return Err((Reason::InvalidName, "name: from 1 to 256 bytes"));
    }
    let is_good = |custom: &str| !custom.is_empty() && custom.len() <= MAX_ENCODING;
    use data_track_frame_encoding::Value::Custom as CustomFrames;
    use data_track_schema_encoding::Value::Custom as CustomSchema;
    if let Some(CustomFrames(custom)) = request.frame_encoding.as_ref().and_then(|own| own.value.as_ref())
        && !is_good(custom)
    {
        return Err((Reason::InvalidRequest, "frame_encoding: a custom one has 1 to 32 bytes"));
    }
    if let Some(schema) = &request.schema {
        let custom = match schema.encoding.as_ref().and_then(|own| own.value.as_ref()) {
            Some(CustomSchema(custom)) => Some(custom),
            _ => None,
        };
        if schema.name.len() > MAX_NAME || custom.is_some_and(|custom| !is_good(custom)) {
            return Err((
                Reason::InvalidRequest,
                "schema: name at most 256 bytes, a custom encoding 1 to 32",
            ));
        }
    }
    if participant.data_tracks.contains_key(&handle) {
        return Err((Reason::DuplicateHandle, "pub_handle: there is a data track with that handle"));
    }
    if participant.data_tracks.values().any(|track| track.info.name == request.name) {
        return Err((Reason::DuplicateName, "name: there is a data track with that name"));
    }
    if participant.data_tracks.len() >= limit {
        return Err((Reason::LimitExceeded, "too many data tracks"));
    }
    Ok(handle)
}
