//! What the landing page needs: the host's session, meetings, invitations. JSON, camelCase; see docs/client.md.

mod guest;
pub(crate) mod host_links;
mod invitations;
mod meetings;
mod session;

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;

use crate::{
    Caller, body,
    error::AdminError,
    origin::Origin,
    routes::{Guard, Routes},
};

/// Largest body: names and titles.
const BODY_LEN_MAX: usize = 16 * 1024;

pub(crate) fn add(routes: &mut Routes) {
    routes.post("/admin/session", session::sign_in);
    routes.get("/admin/session", session::look);
    routes.delete("/admin/session", session::sign_out);
    routes.post("/admin/meetings", meetings::create);
    routes.get("/admin/meetings", meetings::list);
    routes.post("/admin/meetings/{room}/join", meetings::join);
    routes.post("/admin/meetings/{room}/end", meetings::end);
    routes.get("/admin/invitations/{code}", invitations::look);
    routes.post("/admin/invitations/{code}/join", invitations::join);
}

/// Anybody may call.
struct Anybody;

impl Guard for Anybody {
    const CALLER: Caller = Caller::Public;
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Anybody {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut axum::http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self)
    }
}

/// A JSON body; errors name the member. Asking for this content type also keeps foreign pages' forms out.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = AdminError;

    async fn from_request(request: Request, _: &S) -> Result<Self, AdminError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let text = "send Content-Type: application/json";
            return Err(AdminError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", text));
        }
        let bytes = body::read(request.into_body(), BODY_LEN_MAX).await?;
        Ok(Self(body::json(&bytes)?))
    }
}

/// All values of a cookie that the browser sent.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter_map(move |(held, value)| (held == name).then_some(value))
}

/// A cookie that no script reads and no foreign page sends.
fn cookie(origin: &Origin, path: &str, name: &str, value: &str, max_age_s: u64) -> String {
    let secure = if origin.is_secure() { "; Secure" } else { "" };
    format!("{name}={value}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}")
}

/// A person's name, tidied.
fn name(text: &str) -> Result<String, AdminError> {
    let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match name.chars().count() {
        0 => Err(AdminError::field("name", "Please say your name.")),
        1..=60 if !name.chars().any(char::is_control) => Ok(name),
        _ => Err(AdminError::field("name", "Please use a name of at most 60 letters.")),
    }
}
