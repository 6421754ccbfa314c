//! Writes the answers to clients' offers.

use std::fmt::Write as _;

use super::write::{Flow, push_application_line, push_codecs, push_media_line, push_sending, push_transport};
use super::{
    Direction, LocalEndpoint, Media, MediaKind, MediaType, Offered, PayloadTypes, Sending, Session, uri,
};
use crate::ids::{IceCredentials, ShardId};

/// What becomes of one m-line of the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPlan {
    /// Refused: port 0.
    Reject,
    /// Data channels.
    Application,
    /// Kept with these codecs, with nothing flowing.
    Inactive(Vec<Offered>),
    /// We receive.
    Receive(RecvPlan),
    /// We send.
    Send(SendPlan),
}

/// How media is received on an m-line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecvPlan {
    /// Accepted codecs, the one that we want first, under the numbers of the connection.
    pub codecs: Vec<Offered>,
    /// Opus may be silent in pauses (`usedtx=1`).
    pub dtx: bool,
    /// Opus in stereo at high quality.
    pub stereo: bool,
}

/// How media is sent on an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendPlan {
    /// Codecs that are sent, under the client's numbers: one of video, or RED and Opus.
    pub codecs: Vec<Offered>,
    /// The track.
    pub sending: Sending,
}

/// Everything an answer says.
#[derive(Debug)]
pub struct AnswerPlan<'a> {
    /// Our credentials of the connection.
    pub credentials: &'a IceCredentials,
    /// Our addresses and certificate.
    pub endpoint: &'a LocalEndpoint,
    /// Session number in `o=`.
    pub session_id: u64,
    /// Packets may say how late their pictures are to be shown.
    pub playout_delay: bool,
    /// One per m-line of the offer.
    pub media: &'a [MediaPlan],
}

/// Extensions that we take from publishers. Without the repaired rid, padding probes are missing from the
/// transport feedback and the client's estimate collapses.
const ACCEPTED: [&str; 6] =
    [uri::MID, uri::RID, uri::REPAIRED_RID, uri::TRANSPORT_CC, uri::AUDIO_LEVEL, uri::DEPENDENCY];

/// Number and URI of those extensions of an m-line that we take.
pub(crate) fn accepted_extensions(media: &Media) -> impl Iterator<Item = &(u8, String)> {
    media.extensions.iter().filter(|(_, uri)| ACCEPTED.contains(&uri.as_str()))
}

/// Writes the answer to `offer`.
pub fn write_answer(offer: &Session, plan: &AnswerPlan<'_>) -> String {
    let mut sdp = String::with_capacity(512 + 1024 * offer.media.len());
    let _ = write!(sdp, "v=0\r\no=- {} 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n", plan.session_id);
    sdp.push_str("a=group:BUNDLE");
    for (media, plan) in offer.media.iter().zip(plan.media) {
        if *plan != MediaPlan::Reject {
            let _ = write!(sdp, " {}", media.mid);
        }
    }
    // Chromium sends the dependency descriptor only where this stands.
    sdp.push_str("\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n");
    if plan.media.iter().all(|media| *media == MediaPlan::Reject) {
        // No m-line is left to say who we are (RFC 8839 §5.4 allows it for the whole session).
        push_transport(&mut sdp, plan.credentials, plan.endpoint, "passive", false);
    }
    let mut candidates = true;
    for (media, media_plan) in offer.media.iter().zip(plan.media) {
        write_media(&mut sdp, media, media_plan, plan, candidates);
        // The first living m-line of the bundle carries the candidates for all.
        candidates &= *media_plan == MediaPlan::Reject;
    }
    sdp
}

fn write_media(sdp: &mut String, media: &Media, plan: &MediaPlan, whole: &AnswerPlan<'_>, candidates: bool) {
    let codecs = match plan {
        MediaPlan::Reject => {
            write_rejected(sdp, media);
            return;
        }
        MediaPlan::Application => {
            push_application_line(sdp, &media.mid);
            push_transport(sdp, whole.credentials, whole.endpoint, "passive", candidates);
            sdp.push_str("a=sctp-port:5000\r\na=max-message-size:65535\r\n");
            return;
        }
        MediaPlan::Inactive(codecs) => codecs,
        MediaPlan::Receive(receive) => &receive.codecs,
        MediaPlan::Send(send) => &send.codecs,
    };
    let kind = if media.kind == MediaType::Audio { MediaKind::Audio } else { MediaKind::Video };
    push_media_line(sdp, kind, &media.mid, codecs);
    push_transport(sdp, whole.credentials, whole.endpoint, "passive", candidates);
    let flow = match plan {
        MediaPlan::Receive(receive) => {
            let dtx = if receive.dtx { ";usedtx=1" } else { "" };
            let stereo = if receive.stereo { ";stereo=1;maxaveragebitrate=510000" } else { "" };
            push_codecs(sdp, Flow::Receive, codecs, &format!("{dtx}{stereo}"));
            Flow::Receive
        }
        MediaPlan::Send(SendPlan { sending, .. }) => {
            push_codecs(sdp, Flow::Send, codecs, if sending.stereo { ";sprop-stereo=1" } else { "" });
            push_sending(sdp, sending);
            Flow::Send
        }
        MediaPlan::Reject | MediaPlan::Application | MediaPlan::Inactive(_) => {
            push_codecs(sdp, Flow::Nothing, codecs, "");
            Flow::Nothing
        }
    };
    // The same on every line: Chromium offers on a new one what was agreed on for the others.
    let playout_delay =
        media.extensions.iter().filter(|(_, name)| whole.playout_delay && name == uri::PLAYOUT_DELAY);
    let accepted =
        accepted_extensions(media).filter(|(_, name)| name != uri::TRANSPORT_CC || flow.tells_arrivals(kind));
    for (id, uri) in accepted.chain(playout_delay) {
        let _ = write!(sdp, "a=extmap:{id} {uri}\r\n");
    }
    if !media.rids.is_empty() {
        for rid in &media.rids {
            let _ = write!(sdp, "a=rid:{rid} recv\r\n");
        }
        let _ = write!(sdp, "a=simulcast:recv {}\r\n", media.rids.join(";"));
    }
}

fn write_rejected(sdp: &mut String, media: &Media) {
    let mut words = media.line.split(' ').filter(|word| !word.is_empty());
    let kind = words.next().unwrap_or("video");
    let protocol = words.nth(1).unwrap_or("UDP/TLS/RTP/SAVPF");
    let format = words.next().unwrap_or("0");
    let _ = write!(
        sdp,
        "m={kind} 0 {protocol} {format}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:{}\r\n",
        media.mid
    );
}

/// An answer that takes whatever it can; for fuzzing and tests.
pub(crate) fn answer_everything(offer: &Session) -> String {
    let numbers = PayloadTypes::of_offer(offer);
    let sending = Sending {
        stream_id: "PA_a|TR_b".into(),
        track_id: "TR_b".into(),
        ssrc: 2,
        rtx_ssrc: Some(3),
        stereo: true,
    };
    let plans: Vec<_> = offer
        .media
        .iter()
        .map(|media| match media.kind {
            MediaType::Application if !media.rejected => MediaPlan::Application,
            MediaType::Application | MediaType::Other => MediaPlan::Reject,
            _ if media.rejected || media.codecs.is_empty() => MediaPlan::Reject,
            MediaType::Audio | MediaType::Video => {
                let codecs =
                    || media.codecs.iter().map(|offered| numbers.of(offered.codec).clone()).collect();
                match media.direction {
                    Direction::SendRecv | Direction::SendOnly => {
                        MediaPlan::Receive(RecvPlan { codecs: codecs(), dtx: true, stereo: false })
                    }
                    Direction::RecvOnly => {
                        MediaPlan::Send(SendPlan { codecs: media.codecs.clone(), sending: sending.clone() })
                    }
                    Direction::Inactive => MediaPlan::Inactive(codecs()),
                }
            }
        })
        .collect();
    let credentials = IceCredentials { ufrag: "00ufrag".into(), pwd: "a-password-of-24-chars--".into() };
    debug_assert_eq!(IceCredentials::shard_of(credentials.ufrag.as_bytes()), Some(ShardId(0)));
    let endpoint = LocalEndpoint {
        fingerprint: "AB:CD".into(),
        udp: vec![([127, 0, 0, 1], 7882).into()],
        tcp: vec![([127, 0, 0, 1], 7881).into()],
    };
    write_answer(
        offer,
        &AnswerPlan {
            credentials: &credentials,
            endpoint: &endpoint,
            session_id: 1,
            playout_delay: true,
            media: &plans,
        },
    )
}
