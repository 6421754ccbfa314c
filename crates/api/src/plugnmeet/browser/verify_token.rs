//! `POST /api/verifyToken`: a page shows its token and learns where to connect. It takes the seat over, unless it only asks again.

use axum::{http::HeaderMap, response::Response};
use plenum_control::layout;
use plenum_protocol::plugnmeet::{NatsSubjects, VerifyTokenReq, VerifyTokenRes};

use super::{Participant, Proto, protobuf};
use crate::{Api, error::Failure, origin::Origin};

/// A page's own name: lets the seat be taken over without two pages taking turns. See docs/client.md.
const PAGE_HEADER: &str = "plenum-page";
const PAGE_LEN_MAX: usize = 64;
/// The page asks again what its token is good for, and takes the seat from nobody.
const AGAIN_HEADER: &str = "plenum-again";

pub(super) async fn verify_token(
    api: Api,
    (caller, origin, headers, Proto(_)): (Participant, Origin, HeaderMap, Proto<VerifyTokenReq>),
) -> Response {
    let response = run(&api, &caller, &origin, &headers).await.unwrap_or_else(|failure| VerifyTokenRes {
        status: false,
        msg: failure.msg,
        ..Default::default()
    });
    protobuf(&response)
}

async fn run(
    api: &Api,
    caller: &Participant,
    origin: &Origin,
    headers: &HeaderMap,
) -> Result<VerifyTokenRes, Failure> {
    let Participant { claims, room } = caller;
    let page = headers.get(PAGE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let page: String = page.chars().take(PAGE_LEN_MAX).collect();
    let again = headers.get(AGAIN_HEADER).is_some_and(|value| value == "true");
    let self_insert = if again {
        api.control.verify_again(claims, &page).await?
    } else {
        api.control.verify(claims, &page).await?
    };
    let nats_ws_urls = if api.config.nats_ws_urls.is_empty() {
        vec![format!("{}/nats", origin.websocket())]
    } else {
        api.config.nats_ws_urls.clone()
    };
    Ok(VerifyTokenRes {
        status: true,
        msg: "token is valid".to_owned(),
        nats_ws_urls,
        server_version: Some(api.config.version.to_owned()),
        room_id: Some(claims.room.to_string()),
        user_id: Some(claims.user.to_string()),
        room_stream_name: Some(layout::ROOMS.to_owned()),
        nats_subjects: Some(NatsSubjects {
            system_api_worker: "sysApiWorker".to_owned(),
            system_js_worker: layout::worker_prefix(&claims.room),
            system_core_worker: "sysCoreWorker".to_owned(),
            system_public: "sysPublic".to_owned(),
            system_private: "sysPrivate".to_owned(),
            chat: "chat".to_owned(),
            whiteboard: "whiteboard".to_owned(),
            data_channel: "dataChannel".to_owned(),
        }),
        enabled_self_insert_encryption_key: Some(self_insert),
        is_cloud: None,
        client_type: room.people.get(claims.user.as_str()).map_or(0, |person| person.client_type),
    })
}
