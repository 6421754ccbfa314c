//! `POST /auth/room/getJoinToken`.

use axum::response::Response;
use plenum_control::token_end;
use plenum_meeting::{JoinPerson, RoomId, UserId};
use plenum_protocol::plugnmeet::{
    GenerateTokenReq, GenerateTokenRes, StatusCode as Code, UserInfo, UserMetadata,
};

use super::{SignedJson, answer};
use crate::{Api, error::Failure, routes::note_room};

/// A name that recorders log in with.
const RESERVED_NAME: &str = "PLUGNMEET_RECORDER_AUTH";

pub(super) async fn get_join_token(api: Api, SignedJson(request): SignedJson<GenerateTokenReq>) -> Response {
    answer(run(&api, request).await)
}

async fn run(api: &Api, request: GenerateTokenReq) -> Result<GenerateTokenRes, Failure> {
    let room = RoomId::parse(&request.room_id, "room_id")?;
    note_room(&room);
    let Some(user) = request.user_info else {
        return Err(Failure::new(Code::MissingRequiredParameter, "UserInfo required"));
    };
    let person = person(api, &room, user).await?;
    let token = api.control.join(&room, person).await?;
    Ok(GenerateTokenRes {
        status: true,
        msg: "success".to_owned(),
        status_code: Code::Success.into(),
        token: Some(token),
    })
}

async fn person(api: &Api, room: &RoomId, user: UserInfo) -> Result<JoinPerson, Failure> {
    if user.name.trim().is_empty() {
        return Err(invalid("user_info.name: value is required"));
    }
    if user.name == RESERVED_NAME {
        return Err(invalid(format!("{RESERVED_NAME} is reserved for internal use only")));
    }
    let metadata = user.user_metadata.unwrap_or_default();
    check(&metadata)?;
    // A room that makes ids itself needs none from the caller.
    let makes_ids = user.user_id.is_empty()
        && api.control.room(room).await?.is_some_and(|room| {
            room.metadata()
                .room_features
                .as_ref()
                .is_some_and(|features| features.auto_gen_user_id == Some(true))
        });
    let id = if makes_ids { "generated" } else { user.user_id.as_str() };
    Ok(JoinPerson {
        user: UserId::parse_public(id, "user_id")?,
        name: user.name,
        is_admin: user.is_admin,
        is_hidden: user.is_hidden,
        client_type: user.client_type.try_into().unwrap_or_default(),
        metadata,
        token_ends_at: token_end(api.control.now()),
    })
}

/// Members that only the server sets, and addresses that must be some (plugnmeet.md §5.2).
fn check(metadata: &UserMetadata) -> Result<(), Failure> {
    let raised = metadata.raised_hand.is_some_and(|hand| hand.is_raised || hand.raised_at != 0);
    let wrong = [
        (metadata.is_presenter, "user_info.user_metadata.is_presenter"),
        (metadata.wait_for_approval, "user_info.user_metadata.wait_for_approval"),
        (raised, "user_info.user_metadata.raised_hand"),
        (
            metadata.metadata_id.as_deref().is_some_and(|id| !id.is_empty()),
            "user_info.user_metadata.metadata_id",
        ),
    ];
    if let Some((_, field)) = wrong.into_iter().find(|(set, _)| *set) {
        return Err(invalid(format!("{field}: must not be set")));
    }
    match metadata.profile_pic.as_deref() {
        Some(picture) if !picture.is_empty() && !is_uri(picture) => {
            Err(invalid("user_info.user_metadata.profile_pic: value must be a valid URI"))
        }
        _ => Ok(()),
    }
}

/// A scheme, and only characters of an address (RFC 3986 §2, §3.1).
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

fn invalid(error: impl ToString) -> Failure {
    Failure::new(Code::InvalidParameters, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_an_address() {
        for right in ["https://example.org/a.png?b=1", "data:image/png;base64,AAAA", "urn:x"] {
            assert!(is_uri(right), "{right}");
        }
        for wrong in ["a.png", "/a.png", ":x", "https:", "https://a b", "1x:y", "javascript\n:x", "https://ä"]
        {
            assert!(!is_uri(wrong), "{wrong}");
        }
        let wrong = UserMetadata { profile_pic: Some("cat".to_owned()), ..UserMetadata::default() };
        assert!(check(&wrong).unwrap_err().msg.starts_with("user_info.user_metadata.profile_pic"));
        assert!(check(&UserMetadata::default()).is_ok());
    }
}
