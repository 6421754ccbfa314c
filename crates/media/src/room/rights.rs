//! What participants are called and may do, and what follows when that changes.

use std::collections::HashMap;

use livekit_protocol as proto;
use proto::participant_info::State;
use proto::signal_response::Message as Response;
use proto::{ParticipantInfo, ParticipantPermission};

use super::participant::Participant;
use super::{Moment, Room, TooLong};
use crate::ids::Identity;

impl Room {
    pub(super) fn update_own_metadata(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        request: proto::UpdateParticipantMetadata,
    ) {
        use proto::request_response::{Reason, Request};
        let Some(participant) = self.participants.get(identity) else { return };
        let (peer, may) = (participant.peer, participant.permission.can_update_metadata);
        let protocol = participant.params.protocol;
        let (reason, message) = if !may {
            (Reason::NotAllowed, "may not change own metadata (canUpdateOwnMetadata)".to_owned())
        } else {
            match self.set_metadata(moment, identity, &request.name, &request.metadata, &request.attributes) {
                Ok(()) => (Reason::Ok, String::new()),
                Err(error) => (Reason::LimitExceeded, error.to_string()),
            }
        };
        if reason != Reason::Ok || protocol >= 15 {
            let response = proto::RequestResponse {
                request_id: request.request_id,
                reason: reason as i32,
                message,
                request: Some(Request::UpdateMetadata(request)),
            };
            self.send(peer, Response::RequestResponse(response));
        }
    }

    /// Empty texts leave what is there; an attribute with an empty value goes.
    pub(super) fn set_metadata(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        name: &str,
        metadata: &str,
        attributes: &HashMap<String, String>,
    ) -> Result<(), TooLong> {
        let texts = self.facts.limits.texts;
        let Some(participant) = self.participants.get_mut(identity) else { return Ok(()) };
        texts.check_name(name)?;
        texts.check_metadata(metadata)?;
        let mut merged = participant.info.attributes.clone();
        for (key, value) in attributes {
            if value.is_empty() {
                merged.remove(key);
            } else {
                merged.insert(key.clone(), value.clone());
            }
        }
        texts.check_attributes(&merged)?;
        let info = &mut participant.info;
        let before = (info.name.clone(), info.metadata.clone(), info.attributes.clone());
        if !name.is_empty() {
            name.clone_into(&mut info.name);
        }
        if !metadata.is_empty() {
            metadata.clone_into(&mut info.metadata);
        }
        info.attributes = merged;
        if before != (info.name.clone(), info.metadata.clone(), info.attributes.clone()) {
            participant.touch();
            self.broadcast(identity);
            self.refresh_token(moment, identity);
        }
        Ok(())
    }

    /// Rights have changed: what is not allowed any more ends now.
    pub(super) fn set_permission(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        permission: ParticipantPermission,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        if participant.permission == permission {
            return;
        }
        let (was_hidden, is_hidden) = (participant.permission.hidden, permission.hidden);
        participant.permission = permission;
        participant.touch();
        let (peer, gone) = (participant.peer, disconnected(participant));
        let forbidden: Vec<String> = participant
            .tracks
            .iter()
            .filter(|(_, track)| !participant.may_publish(track.info.source))
            .map(|(sid, _)| sid.clone())
            .collect();
        let pending = std::mem::take(&mut participant.pending);
        participant.pending =
            pending.into_iter().filter(|p| participant.may_publish(p.info.source)).collect();
        let may_publish_data = participant.permission.can_publish_data;
        for sid in forbidden {
            self.unpublish(moment, identity, &sid, true);
        }
        if !may_publish_data {
            self.end_data_tracks(identity);
        }
        if is_hidden && !was_hidden {
            self.announce_hiding(gone, peer);
        }
        self.broadcast(identity);
        self.refresh_token(moment, identity);
        self.reconcile(identity);
        if is_hidden != was_hidden {
            for other in self.participants.keys().cloned().collect::<Vec<_>>() {
                self.reconcile(&other);
            }
        }
    }
}

/// What others are told of somebody whom they do not see any more.
fn disconnected(participant: &Participant) -> ParticipantInfo {
    ParticipantInfo { state: State::Disconnected as i32, tracks: Vec::new(), ..participant.info() }
}
