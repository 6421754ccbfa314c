//! Invitations: who has the link may look at the meeting and come in.

use axum::{
    Json,
    extract::{FromRequestParts, Path},
    http::{StatusCode, header, request::Parts},
    response::IntoResponse,
};
use plenum_meeting::{Room, RoomId};
use serde::Serialize;
use serde_json::json;

use super::{
    Body,
    guest::Browser,
    meetings::{Joiner, seat},
    name,
};
use crate::{
    Api, Caller,
    error::AdminError,
    origin::{ClientAddress, Origin},
    routes::Guard,
};

/// Names shown to somebody who is about to join.
const NAMES_MAX: usize = 5;
/// Guests of one meeting who have a seat and were never seen; beyond, nobody else gets one until some came or their token
/// ended. All of them together leave most of the room's record free.
const NEVER_SEEN_MAX: usize = 400;

/// Somebody with an invitation to a room. `None`: its record is gone.
pub(super) struct Invited {
    id: RoomId,
    room: Option<Room>,
}

impl Guard for Invited {
    const CALLER: Caller = Caller::Invitation;

    fn room(&self) -> Option<&RoomId> {
        Some(&self.id)
    }
}

impl FromRequestParts<Api> for Invited {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, AdminError> {
        let code = Path::<String>::from_request_parts(parts, api).await;
        let Some(id) = code.ok().and_then(|Path(code)| api.secrets.read_invitation(&code)) else {
            return Err(AdminError::new(
                StatusCode::NOT_FOUND,
                "invitation_unknown",
                "This invitation is not complete. Ask for the link again.",
            ));
        };
        let room = api.control.room(&id).await?;
        Ok(Self { id, room })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Invitation {
    title: String,
    state: &'static str,
    participants: usize,
    names: Vec<String>,
    waiting_room: bool,
}

pub(super) async fn look(_: Api, invited: Invited) -> Json<Invitation> {
    let Some(room) = invited.room.filter(Room::is_running) else {
        return Json(Invitation {
            title: String::new(),
            state: "ended",
            participants: 0,
            names: Vec::new(),
            waiting_room: false,
        });
    };
    let waiting_room = room
        .metadata()
        .room_features
        .as_ref()
        .and_then(|features| features.waiting_room_features.as_ref())
        .is_some_and(|waiting| waiting.is_active);
    let present: Vec<&str> = room
        .online()
        .filter(|(_, person)| !person.is_hidden && !person.is_waiting())
        .map(|(_, person)| person.name.as_str())
        .collect();
    Json(Invitation {
        title: room.metadata().room_title.clone(),
        state: "active",
        participants: present.len(),
        // Who has to wait to be let in does not learn who is there.
        names: if waiting_room {
            Vec::new()
        } else {
            present.iter().take(NAMES_MAX).map(|name| (*name).to_owned()).collect()
        },
        waiting_room,
    })
}

pub(super) async fn join(
    api: Api,
    (invited, browser, origin, ClientAddress(address), Body(joiner)): (
        Invited,
        Browser,
        Origin,
        ClientAddress,
        Body<Joiner>,
    ),
) -> Result<impl IntoResponse, AdminError> {
    let name = name(&joiner.name)?;
    let user = browser.user(&api, &invited.id);
    let is_new = invited.room.as_ref().is_some_and(|room| !room.people.contains_key(user.as_str()));
    if !api.arrivals.take(address, std::time::Instant::now())
        || (is_new && invited.room.as_ref().is_some_and(has_too_many_unseen))
    {
        return Err(AdminError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many",
            "Too many people are coming in right now. Try again in a minute.",
        ));
    }
    let token = seat(&api, &invited.id, user, name, false).await?;
    let known = [(header::SET_COOKIE, browser.cookie(&api, &origin))];
    Ok((known, Json(json!({"accessToken": token}))))
}

fn has_too_many_unseen(room: &Room) -> bool {
    room.people.values().filter(|person| !person.is_admin && person.joined_at == 0).count() >= NEVER_SEEN_MAX
}
