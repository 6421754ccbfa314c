//! A guest's browser, known again: who was blocked and follows the same invitation once more is still blocked, and who
//! opens it twice has one seat. Another browser is another guest; against that helps the waiting room.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use data_encoding::BASE32_NOPAD;
use plenum_meeting::{RoomId, UserId};
use rand::Rng as _;

use super::{cookie, cookies};
use crate::{Api, origin::Origin};

const COOKIE: &str = "plenum_guest";
const PATH: &str = "/admin/invitations";
/// 30 days from the last join.
const REMEMBERED_S: u64 = 30 * 24 * 3600;

/// The browser of somebody with an invitation.
pub(super) struct Browser {
    name: String,
}

impl Browser {
    /// Who it is in a room.
    pub(super) fn user(&self, api: &Api, room: &RoomId) -> UserId {
        // Letters as in other ids; 16 of 22 carry 71 bits.
        let letters: String = api.secrets.guest_in(room, &self.name)[..16]
            .iter()
            .map(|byte| {
                char::from(super::meetings::LETTERS[usize::from(*byte) % super::meetings::LETTERS.len()])
            })
            .collect();
        UserId::parse(&letters, "user_id").expect("letters are a user id")
    }

    /// The cookie that it is known by.
    pub(super) fn cookie(&self, api: &Api, origin: &Origin) -> String {
        cookie(origin, PATH, COOKIE, &api.secrets.guest(&self.name), REMEMBERED_S)
    }
}

/// As its cookie says, else a new one.
impl FromRequestParts<Api> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let known = cookies(&parts.headers, COOKIE).find_map(|value| api.secrets.read_guest(value));
        Ok(Self { name: known.map_or_else(random, str::to_owned) })
    }
}

fn random() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    BASE32_NOPAD.encode(&bytes).to_lowercase()
}
