//! The host's meetings.

use axum::{Json, extract::Path, http::StatusCode};
use plenum_control::token_end;
use plenum_meeting::{CreateRoom, JoinPerson, Room, RoomId, UserId, state::UnixMs};
use plenum_protocol::plugnmeet::{ClientType, UserMetadata};
use plenum_storage::{PastRoom, PastRoomQuery};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

use super::{Body, name, session::Host};
use crate::{Api, error::AdminError, plugnmeet::auth::rfc3339, routes::note_room};

/// Past meetings shown.
const PAST_MAX: u64 = 50;
/// Longest title, in letters.
const TITLE_LEN_MAX: usize = 120;
/// A week.
const DURATION_MAX_MINUTES: u32 = 7 * 24 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewMeeting {
    title: String,
    #[serde(default)]
    waiting_room: bool,
    #[serde(default)]
    mute_on_start: bool,
    #[serde(default)]
    duration_minutes: u32,
    #[serde(default)]
    max_participants: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meeting {
    room_id: String,
    title: String,
    state: &'static str,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    participants: usize,
    invitation: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Joiner {
    pub(super) name: String,
}

pub(super) async fn create(
    api: Api,
    (_, Body(wish)): (Host, Body<NewMeeting>),
) -> Result<(StatusCode, Json<Meeting>), AdminError> {
    let title = wish.title.split_whitespace().collect::<Vec<_>>().join(" ");
    if title.is_empty() {
        return Err(AdminError::field("title", "Please give the meeting a title."));
    }
    if title.chars().count() > TITLE_LEN_MAX {
        return Err(AdminError::field("title", format!("Please use at most {TITLE_LEN_MAX} letters.")));
    }
    if wish.duration_minutes > DURATION_MAX_MINUTES {
        return Err(AdminError::field("durationMinutes", "A meeting may last a week at most."));
    }
    let mut request = json!({
        "room_id": new_room_id(),
        "metadata": {
            "room_title": title,
            "room_features": {
                "mute_on_start": wish.mute_on_start,
                "room_duration": wish.duration_minutes,
                "waiting_room_features": {"is_active": wish.waiting_room},
            },
            // Everybody may present in a meeting among colleagues; a host locks it with one click.
            "default_lock_settings": {"lock_screen_sharing": false},
        },
    });
    if wish.max_participants > 0 {
        request["max_participants"] = wish.max_participants.into();
    }
    let mut request = CreateRoom::from_json(&request)
        .map_err(|error| AdminError::new(StatusCode::BAD_REQUEST, "invalid", error.to_string()))?;
    request.from_landing_page = true;
    let room = api.control.create_room(request).await?;
    let meeting = running(&api, &room).ok_or_else(|| {
        AdminError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The meeting cannot be shown.")
    })?;
    Ok((StatusCode::CREATED, Json(meeting)))
}

pub(super) async fn list(api: Api, _: Host) -> Result<Json<Value>, AdminError> {
    let mut rooms = api.rooms().await?;
    rooms.retain(|room| room.from_landing_page);
    rooms.sort_by_key(|room| std::cmp::Reverse(room.created_at));
    let mut meetings: Vec<Meeting> = rooms.iter().filter_map(|room| running(&api, room)).collect();
    let query = PastRoomQuery { only_landing_page: true, limit: PAST_MAX, ..PastRoomQuery::default() };
    match api.storage.past_rooms().find(&query).await {
        Ok((past, _)) => meetings.extend(past.iter().filter_map(|past| ended(&api, past))),
        // The running ones are worth showing without the history.
        Err(error) => warn!(error = %error, "Past rooms cannot be read"),
    }
    Ok(Json(json!({"meetings": meetings})))
}

pub(super) async fn join(
    api: Api,
    (_, Path(room), Body(joiner)): (Host, Path<String>, Body<Joiner>),
) -> Result<Json<Value>, AdminError> {
    let room = own_room(&api, &room).await?;
    let token = seat(&api, &room, new_user_id(), name(&joiner.name)?, true).await?;
    Ok(Json(json!({"accessToken": token})))
}

pub(super) async fn end(api: Api, (_, Path(room)): (Host, Path<String>)) -> Result<StatusCode, AdminError> {
    let room = own_room(&api, &room).await?;
    api.control.end(&room, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a person a seat.
pub(super) async fn seat(
    api: &Api,
    room: &RoomId,
    user: UserId,
    name: String,
    is_admin: bool,
) -> Result<String, AdminError> {
    let person = JoinPerson {
        user,
        name,
        is_admin,
        is_hidden: false,
        metadata: UserMetadata::default(),
        client_type: ClientType::Web,
        token_ends_at: token_end(api.control.now()),
    };
    Ok(api.control.join(room, person).await?)
}

async fn own_room(api: &Api, id: &str) -> Result<RoomId, AdminError> {
    let gone =
        || AdminError::new(StatusCode::NOT_FOUND, "meeting_unknown", "There is no such meeting any more.");
    let id = RoomId::parse(id, "room").map_err(|_| gone())?;
    note_room(&id);
    match api.control.room(&id).await? {
        Some(room) if room.from_landing_page && room.is_running() => Ok(id),
        _ => Err(gone()),
    }
}

fn running(api: &Api, room: &Room) -> Option<Meeting> {
    let time = |at: UnixMs| (at != 0).then(|| rfc3339(at));
    Some(Meeting {
        room_id: room.room_id.clone(),
        title: room.metadata().room_title.clone(),
        state: "active",
        created_at: rfc3339(room.created_at),
        started_at: time(room.started_at),
        ended_at: None,
        participants: room.online().count(),
        invitation: invitation(api, &room.room_id)?,
    })
}

fn ended(api: &Api, past: &PastRoom) -> Option<Meeting> {
    Some(Meeting {
        room_id: past.room_id.clone(),
        title: past.title.clone(),
        state: "ended",
        created_at: rfc3339(past.created_at),
        started_at: None,
        ended_at: Some(rfc3339(past.ended_at)),
        participants: past.joined_total as usize,
        invitation: invitation(api, &past.room_id)?,
    })
}

fn invitation(api: &Api, room: &str) -> Option<String> {
    let room = RoomId::parse(room, "room").ok()?;
    Some(format!("/m/{}", api.secrets.invitation(&room)))
}

/// Ten letters in groups, as one reads them out; the invitation's key is what nobody can guess.
fn new_room_id() -> String {
    let letters = letters(10);
    format!("{}-{}-{}", &letters[..3], &letters[3..7], &letters[7..])
}

fn new_user_id() -> UserId {
    UserId::parse(&letters(16), "user_id").expect("letters are a user id")
}

/// Without letters that look or sound alike.
pub(super) const LETTERS: &[u8] = b"abcdefghkmnpqrstuvwxyz";

fn letters(count: usize) -> String {
    let mut rng = rand::rng();
    (0..count).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}
