//! Writes the offers to subscribers: data channels first, then one m-line per track, which is used again
//! when its track goes.

use std::fmt::Write as _;

use super::write::{Flow, push_application_line, push_codecs, push_media_line, push_sending, push_transport};
use super::{Codec, LocalEndpoint, MediaKind, Offered, PayloadTypes, uri};
use crate::ids::IceCredentials;

/// Number of the mid extension in all our offers; 14 is the highest that Firefox takes.
pub const MID_EXTENSION: u8 = 9;

/// Number of the dependency descriptor in all our offers.
pub const DEPENDENCY_EXTENSION: u8 = 10;

/// Number of the transport-wide sequence number in all our offers (Chromium's usual one).
pub const TRANSPORT_EXTENSION: u8 = 3;

/// Number of the playout delay in all our offers.
pub(super) const PLAYOUT_DELAY_EXTENSION: u8 = 11;

/// One m-line to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownLine {
    /// Name of the m-line.
    pub mid: String,
    /// What it carries; never changes.
    pub kind: MediaKind,
    /// Codecs, the first is sent: one of video, or RED and Opus.
    pub codecs: Vec<Codec>,
    /// What is sent; nothing when `None`.
    pub sending: Option<Sending>,
    /// Packets may say how late their pictures are to be shown.
    pub playout_delay: bool,
}

/// The track on an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// `PA_…|TR_…` or `PA_…|camera`.
    pub stream_id: String,
    /// `TR_…`
    pub track_id: String,
    /// Source of the packets.
    pub ssrc: u32,
    /// Source of retransmissions, for video.
    pub rtx_ssrc: Option<u32>,
    /// Stereo sound.
    pub stereo: bool,
}

/// Writes an offer with these m-lines.
pub fn write_offer(
    credentials: &IceCredentials,
    endpoint: &LocalEndpoint,
    session_id: u64,
    version: u64,
    lines: &[DownLine],
) -> String {
    let mut sdp = String::with_capacity(1024 + 1024 * lines.len());
    let _ = write!(
        sdp,
        "v=0\r\no=- {session_id} {version} IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0"
    );
    for line in lines {
        let _ = write!(sdp, " {}", line.mid);
    }
    sdp.push_str("\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n");
    push_application_line(&mut sdp, "0");
    push_transport(&mut sdp, credentials, endpoint, "actpass", true);
    sdp.push_str("a=sctp-port:5000\r\na=max-message-size:65535\r\n");
    for line in lines {
        write_line(&mut sdp, credentials, endpoint, line);
    }
    sdp
}

fn write_line(sdp: &mut String, credentials: &IceCredentials, endpoint: &LocalEndpoint, line: &DownLine) {
    let numbers = PayloadTypes::ours();
    let codecs: Vec<Offered> = line.codecs.iter().map(|codec| numbers.of(*codec).clone()).collect();
    push_media_line(sdp, line.kind, &line.mid, &codecs);
    push_transport(sdp, credentials, endpoint, "actpass", false);
    let flow = if line.sending.is_some() { Flow::Send } else { Flow::Nothing };
    let stereo = line.sending.as_ref().is_some_and(|sending| sending.stereo);
    push_codecs(sdp, flow, &codecs, if stereo { ";sprop-stereo=1" } else { "" });
    let _ = write!(sdp, "a=extmap:{TRANSPORT_EXTENSION} {}\r\n", uri::TRANSPORT_CC);
    let _ = write!(sdp, "a=extmap:{MID_EXTENSION} {}\r\n", uri::MID);
    if line.kind == MediaKind::Video {
        let _ = write!(sdp, "a=extmap:{DEPENDENCY_EXTENSION} {}\r\n", uri::DEPENDENCY);
        if line.playout_delay {
            let _ = write!(sdp, "a=extmap:{PLAYOUT_DELAY_EXTENSION} {}\r\n", uri::PLAYOUT_DELAY);
        }
    }
    if let Some(sending) = &line.sending {
        push_sending(sdp, sending);
    }
}
