//! The media server, through LiveKit's API and nothing else.

use std::time::Duration;

use livekit_api::{
    access_token::TokenVerifier,
    services::{
        ServiceError, ServiceResult,
        room::{RoomClient, UpdateParticipantOptions},
    },
    webhooks::{WebhookError as ReceiveError, WebhookReceiver},
};
use livekit_protocol::{ParticipantInfo, ParticipantPermission, TrackSource};
use plenum_meeting::{MediaAccess, MediaRights, Room, RoomId, UserId};
use plenum_protocol::livekit as face;
use prost::Message as _;

use crate::{
    MediaEvent, WebhookError,
    token::{SEAT, media_token},
};

/// Where the media server is and how to speak to it.
#[derive(Clone)]
pub struct MediaConfig {
    /// For this server: `http(s)://…`.
    pub api_url: String,
    /// For browsers: `ws(s)://…`.
    pub public_url: String,
    /// API key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

#[derive(Clone)]
pub(crate) struct Media {
    config: MediaConfig,
    client: std::sync::Arc<RoomClient>,
}

impl Media {
    pub(crate) fn new(config: MediaConfig) -> Self {
        let client = RoomClient::with_api_key(&config.api_url, &config.key, &config.secret)
            .with_failover(false)
            .with_request_timeout(Duration::from_secs(5));
        Self { config, client: std::sync::Arc::new(client) }
    }

    /// Reads a signed report. `None`: signed, but nothing that matters here.
    pub(crate) fn read_webhook(&self, body: &[u8], token: &str) -> Result<Option<MediaEvent>, WebhookError> {
        let body = str::from_utf8(body).map_err(|_| WebhookError::Unreadable)?;
        let verifier = TokenVerifier::with_api_key(&self.config.key, &self.config.secret);
        let event = WebhookReceiver::new(verifier).receive(body, token).map_err(|error| match error {
            ReceiveError::InvalidData(_) => WebhookError::Unreadable,
            _ => WebhookError::Unsigned,
        })?;
        let room = event.room.and_then(|room| RoomId::parse(&room.name, "room").ok());
        let seat = event.participant.as_ref().and_then(|who| who.attributes.get(SEAT).cloned());
        let user = event.participant.and_then(|who| UserId::parse(&who.identity, "identity").ok());
        Ok(match (event.event.as_str(), room, user) {
            ("room_started", Some(room), _) => Some(MediaEvent::RoomStarted { room }),
            ("participant_joined", Some(room), Some(user)) => Some(MediaEvent::Joined { room, user, seat }),
            _ => None,
        })
    }

    /// Address and token for a browser.
    pub(crate) fn access(&self, room: &RoomId, user: &UserId, access: &MediaAccess) -> (String, String) {
        let token = media_token(&self.config.key, &self.config.secret, room, user, access)
            .expect("HS256 signs any grants, and the identity is not empty");
        (self.config.public_url.clone(), token)
    }

    pub(crate) async fn permit(&self, room: &str, user: &str, rights: MediaRights) -> Result<(), String> {
        let options = UpdateParticipantOptions { permission: Some(permission(rights)), ..Default::default() };
        absent_is_fine(self.client.update_participant(room, user, options).await)
    }

    pub(crate) async fn mute(&self, room: &str, user: &str, track: &str, muted: bool) -> Result<(), String> {
        absent_is_fine(self.client.mute_published_track(room, user, track, muted).await)
    }

    /// Removes whoever is there under this identity.
    pub(crate) async fn remove(&self, room: &str, user: &str) -> Result<(), String> {
        absent_is_fine(self.client.remove_participant(room, user).await)
    }

    /// Removes a participant if it came with this seat, or with none: another may have its identity by now.
    pub(crate) async fn remove_of_seat(
        &self,
        room: &str,
        user: &str,
        seat: Option<&str>,
    ) -> Result<(), String> {
        match self.client.get_participant(room, user).await {
            Ok(participant) if seat_of(&participant) == seat => self.remove(room, user).await,
            Ok(_) => Ok(()),
            Err(error) => absent_is_fine::<()>(Err(error)),
        }
    }

    /// Removes everybody who has no seat in the meeting that has this name now.
    pub(crate) async fn remove_others(&self, room: &str, held: &Room) -> Result<(), String> {
        for someone in self.roster(room).await? {
            if !someone.sits_in(held) {
                self.remove_of_seat(room, &someone.identity, someone.seat.as_deref()).await?;
            }
        }
        Ok(())
    }

    /// Who is in the media room, and what they may do there.
    pub(crate) async fn roster(&self, room: &str) -> Result<Vec<Present>, String> {
        let participants = match self.client.list_participants(room).await {
            Ok(participants) => participants,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        Ok(participants
            .into_iter()
            .map(|participant| Present {
                seat: participant.attributes.get(SEAT).cloned(),
                identity: participant.identity,
                permission: participant.permission.unwrap_or_default(),
            })
            .collect())
    }

    pub(crate) async fn delete_room(&self, room: &str) -> Result<(), String> {
        absent_is_fine(self.client.delete_room(room).await)
    }

    /// Everybody in the media room, in plugNmeet's embedded form.
    pub(crate) async fn participants(&self, room: &str) -> Result<Vec<face::ParticipantInfo>, String> {
        match self.client.list_participants(room).await {
            Ok(participants) => participants
                .iter()
                .map(|participant| {
                    face::ParticipantInfo::decode(&*participant.encode_to_vec())
                        .map_err(|error| error.to_string())
                })
                .collect(),
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Somebody in a media room.
pub(crate) struct Present {
    pub(crate) identity: String,
    pub(crate) seat: Option<String>,
    permission: ParticipantPermission,
}

impl Present {
    /// Whether they came with the seat that they have in this meeting.
    pub(crate) fn sits_in(&self, held: &Room) -> bool {
        held.people.get(&self.identity).is_some_and(|person| self.seat.as_ref() == Some(&person.media_seat))
    }

    /// Whether they may do there just this.
    pub(crate) fn has(&self, rights: MediaRights) -> bool {
        let (held, due) = (&self.permission, permission(rights));
        let sources = |permission: &ParticipantPermission| {
            permission.can_publish_sources.iter().copied().collect::<std::collections::BTreeSet<i32>>()
        };
        held.can_publish == due.can_publish
            && held.can_publish_data == due.can_publish_data
            && (!due.can_publish || sources(held) == sources(&due))
    }
}

fn permission(rights: MediaRights) -> ParticipantPermission {
    let mut sources = Vec::new();
    if rights.microphone {
        sources.push(TrackSource::Microphone.into());
    }
    if rights.camera {
        sources.push(TrackSource::Camera.into());
    }
    if rights.screen {
        sources.extend([i32::from(TrackSource::ScreenShare), TrackSource::ScreenShareAudio.into()]);
    }
    ParticipantPermission {
        can_subscribe: true,
        // An empty list would mean every source.
        can_publish: !sources.is_empty(),
        can_publish_sources: sources,
        can_publish_data: rights.data,
        hidden: rights.hidden,
        ..ParticipantPermission::default()
    }
}

fn seat_of(participant: &ParticipantInfo) -> Option<&str> {
    participant.attributes.get(SEAT).map(String::as_str)
}

fn absent_is_fine<T>(result: ServiceResult<T>) -> Result<(), String> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn is_absent(error: &ServiceError) -> bool {
    // By text: the error's code is not the same type in every transport of the client.
    matches!(error, ServiceError::Twirp(_)) && error.to_string().contains("not_found")
}
