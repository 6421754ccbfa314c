//! Services that are not there: they are checked for rights, so that a stranger learns nothing, and then refused.

use axum::http::StatusCode;
use plenum_media::token::{Claims, SipGrant, VideoGrant};

use super::{Answer, Call, TwirpError, error, no_method};

/// A service of another program.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    Egress,
    Ingress,
    Sip,
}

impl Service {
    /// As LiveKit calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Egress => "Egress",
            Self::Ingress => "Ingress",
            Self::Sip => "SIP",
        }
    }

    fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Egress => &EGRESS,
            Self::Ingress => &INGRESS,
            Self::Sip => &SIP,
        }
    }

    fn admits(self, claims: &Claims, method: &str) -> bool {
        let video = |has: fn(&VideoGrant) -> bool| claims.video.as_ref().is_some_and(has);
        let SipGrant { admin, call } = claims.sip.unwrap_or_default();
        match self {
            Self::Egress => video(|video| video.room_record),
            Self::Ingress => video(|video| video.ingress_admin),
            Self::Sip if SIP_CALLS.contains(&method) => call,
            Self::Sip => admin,
        }
    }
}

/// Calls that need the right to call, and not to manage.
const SIP_CALLS: [&str; 2] = ["CreateSIPParticipant", "TransferSIPParticipant"];

/// Methods of livekit-server 1.13.5.
const EGRESS: [&str; 10] = [
    "StartEgress",
    "StartRoomCompositeEgress",
    "StartWebEgress",
    "StartParticipantEgress",
    "StartTrackCompositeEgress",
    "StartTrackEgress",
    "UpdateLayout",
    "UpdateStream",
    "ListEgress",
    "StopEgress",
];
const INGRESS: [&str; 4] = ["CreateIngress", "UpdateIngress", "ListIngress", "DeleteIngress"];
const SIP: [&str; 17] = [
    "CreateSIPTrunk",
    "CreateSIPInboundTrunk",
    "CreateSIPOutboundTrunk",
    "UpdateSIPInboundTrunk",
    "UpdateSIPOutboundTrunk",
    "GetSIPInboundTrunk",
    "GetSIPOutboundTrunk",
    "ListSIPTrunk",
    "ListSIPInboundTrunk",
    "ListSIPOutboundTrunk",
    "DeleteSIPTrunk",
    "CreateSIPDispatchRule",
    "UpdateSIPDispatchRule",
    "ListSIPDispatchRule",
    "DeleteSIPDispatchRule",
    "CreateSIPParticipant",
    "TransferSIPParticipant",
];

pub(super) fn answer(call: &Call, service: Service) -> Answer {
    let method = call.method.as_str();
    if !service.methods().contains(&method) {
        return Err(no_method());
    }
    if !service.admits(&call.claims()?, method) {
        return Err(error("unauthenticated", StatusCode::UNAUTHORIZED, "permissions denied"));
    }
    Err(not_connected(&service.name().to_lowercase()))
}

/// What a room that is to be recorded from its beginning is answered.
pub(super) fn no_egress() -> TwirpError {
    not_connected("egress")
}

fn not_connected(name: &str) -> TwirpError {
    // LiveKit's words; its callers look for them.
    let message = format!("{name} not connected (redis required)");
    error("internal", StatusCode::INTERNAL_SERVER_ERROR, message)
}
