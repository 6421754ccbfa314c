//! The host's session: a signed, HttpOnly cookie that a one-time link is exchanged for.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use plenum_control::now;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Anybody, Body, cookie, cookies};
use crate::{Api, Caller, error::AdminError, origin::Origin, routes::Guard};

const COOKIE: &str = "plenum_host";
const PATH: &str = "/admin";
/// 30 days.
const SESSION_S: u64 = 30 * 24 * 3600;

#[derive(Deserialize)]
struct Link {
    token: String,
}

/// Somebody who just used a one-time link up, and how they reach us.
pub(super) struct LinkHolder(Origin);

impl Guard for LinkHolder {
    const CALLER: Caller = Caller::HostLink;
}

impl FromRequest<Api> for LinkHolder {
    type Rejection = AdminError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, AdminError> {
        let (mut parts, body) = request.into_parts();
        let Ok(origin) = Origin::from_request_parts(&mut parts, api).await;
        let Body(link) = Body::<Link>::from_request(Request::from_parts(parts, body), api).await?;
        if api.host_links.redeem(&link.token) {
            return Ok(Self(origin));
        }
        Err(AdminError::new(
            StatusCode::UNAUTHORIZED,
            "link_unknown",
            "This link is used up or too old. `plenum host-link` makes a new one on the server.",
        ))
    }
}

/// A signed-in host.
pub(super) struct Host;

impl Guard for Host {
    const CALLER: Caller = Caller::Host;
}

impl FromRequestParts<Api> for Host {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, AdminError> {
        if is_signed_in(api, &parts.headers) { Ok(Self) } else { Err(AdminError::not_signed_in()) }
    }
}

pub(super) async fn sign_in(api: Api, LinkHolder(origin): LinkHolder) -> Response {
    let session = api.secrets.session(now() / 1000 + SESSION_S);
    keep(&origin, &session, SESSION_S)
}

pub(super) async fn look(api: Api, (_, headers): (Anybody, HeaderMap)) -> Json<Value> {
    Json(json!({"signedIn": is_signed_in(&api, &headers)}))
}

pub(super) async fn sign_out(_: Api, (_, origin): (Anybody, Origin)) -> Response {
    keep(&origin, "", 0)
}

fn is_signed_in(api: &Api, headers: &HeaderMap) -> bool {
    cookies(headers, COOKIE).any(|value| api.secrets.is_session(value, now() / 1000))
}

fn keep(origin: &Origin, session: &str, max_age_s: u64) -> Response {
    let cookie = cookie(origin, PATH, COOKIE, session, max_age_s);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}
