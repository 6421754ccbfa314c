//! `POST /api/muteUnmuteTrack`: switches tracks of others off. Switching a microphone on is its owner's alone, as it is on
//! a stock media server without `enable_remote_unmute`.

use axum::response::Response;
use plenum_meeting::Moderation;
use plenum_protocol::{
    livekit::{ParticipantInfo, TrackSource},
    plugnmeet::{MuteUnMuteTrackReq, StatusCode as Code},
};

use super::{Participant, Proto, done, moderate, own_room};
use crate::{Api, error::Failure};

pub(super) async fn mute_unmute_track(
    api: Api,
    (caller, Proto(request)): (Participant, Proto<MuteUnMuteTrackReq>),
) -> Response {
    done(run(&api, &caller, request).await)
}

async fn run(api: &Api, caller: &Participant, request: MuteUnMuteTrackReq) -> Result<(), Failure> {
    let claims = &caller.claims;
    own_room(claims, &request.room_id)?;
    // Before the media server is asked: who is there and with which tracks is for hosts only.
    caller.require_host()?;
    if !request.muted {
        return Err(Failure::new(Code::PermissionDenied, "people switch their own microphone on"));
    }
    let participants = api.control.media_participants(&claims.room).await?;
    let tracks = if request.user_id == "all" {
        participants
            .iter()
            .filter(|participant| participant.identity != claims.user.as_str())
            .flat_map(|participant| {
                microphones(participant).map(|track| (participant.identity.clone(), track.to_owned()))
            })
            .collect()
    } else {
        let participant = participants.iter().find(|participant| participant.identity == request.user_id);
        let Some(participant) = participant else {
            return Err(Failure::new(Code::UserNotFound, "footer.notice.failed-to-load-participant-info"));
        };
        let wanted = request.track_sid.as_str();
        let track = match wanted {
            "" => microphones(participant).next(),
            sid => participant.tracks.iter().map(|track| track.sid.as_str()).find(|track| *track == sid),
        };
        let Some(track) = track else {
            return Err(Failure::new(Code::NotFound, "footer.notice.no-suitable-track-found"));
        };
        vec![(participant.identity.clone(), track.to_owned())]
    };
    moderate(api, claims, &request.room_id, Moderation::Mute { tracks, muted: true }).await
}

fn microphones(participant: &ParticipantInfo) -> impl Iterator<Item = &str> {
    participant
        .tracks
        .iter()
        .filter(|track| track.source() == TrackSource::Microphone)
        .map(|track| track.sid.as_str())
}
