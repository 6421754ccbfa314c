//! What offers and answers have in common.

use std::fmt::Write as _;

use super::{Codec, LocalEndpoint, MediaKind, Offered, Sending};
use crate::ids::IceCredentials;

/// Begins a media section of sound or pictures.
pub(super) fn push_media_line(sdp: &mut String, kind: MediaKind, mid: &str, codecs: &[Offered]) {
    let kind = match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    };
    let _ = write!(sdp, "m={kind} 9 UDP/TLS/RTP/SAVPF");
    for number in codecs.iter().flat_map(|codec| std::iter::once(codec.payload_type).chain(codec.rtx)) {
        let _ = write!(sdp, " {number}");
    }
    let _ = write!(sdp, "\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=mid:{mid}\r\n");
}

/// Begins the media section of data channels.
pub(super) fn push_application_line(sdp: &mut String, mid: &str) {
    let _ = write!(
        sdp,
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n"
    );
}

/// What we do on an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Send,
    Receive,
    /// Nothing now; sending may follow.
    Nothing,
}

impl Flow {
    fn attribute(self) -> &'static str {
        match self {
            Self::Send => "sendonly",
            Self::Receive => "recvonly",
            Self::Nothing => "inactive",
        }
    }

    /// Whether it is told when each packet arrives. Not of published sound, as with livekit-server: Chromium would keep
    /// its estimate for both at what sound takes beside it, for RED doubles the sound behind the estimate's back. The
    /// queue before a narrow link then never empties.
    pub(super) fn tells_arrivals(self, kind: MediaKind) -> bool {
        (self, kind) != (Self::Receive, MediaKind::Audio)
    }
}

/// Appends direction, codecs and their feedback; `opus` follows the parameters of Opus.
pub(super) fn push_codecs(sdp: &mut String, flow: Flow, codecs: &[Offered], opus: &str) {
    let _ = write!(sdp, "a={}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n", flow.attribute());
    let number_of_opus = codecs.iter().find(|c| c.codec == Codec::Opus).map_or(0, |c| c.payload_type);
    for Offered { payload_type: pt, codec, rtx } in codecs {
        let _ = write!(sdp, "a=rtpmap:{pt} {}\r\n", codec.rtpmap());
        if flow.tells_arrivals(codec.kind()) {
            let _ = write!(sdp, "a=rtcp-fb:{pt} transport-cc\r\n");
        }
        // A client that cannot tell when packets arrive may say what it believes that the connection carries.
        if flow != Flow::Receive && codec.kind() == MediaKind::Video {
            let _ = write!(sdp, "a=rtcp-fb:{pt} goog-remb\r\n");
        }
        match codec {
            Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1 | Codec::H265 => {
                let _ = write!(
                    sdp,
                    "a=rtcp-fb:{pt} ccm fir\r\na=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\n"
                );
            }
            Codec::Opus | Codec::Pcmu | Codec::Pcma => {
                let _ = write!(sdp, "a=rtcp-fb:{pt} nack\r\n");
            }
            Codec::Red => {}
        }
        match (codec, codec.fmtp()) {
            (Codec::Red, _) => _ = write!(sdp, "a=fmtp:{pt} {number_of_opus}/{number_of_opus}\r\n"),
            (Codec::Opus, Some(fmtp)) => _ = write!(sdp, "a=fmtp:{pt} {fmtp}{opus}\r\n"),
            (_, Some(fmtp)) => _ = write!(sdp, "a=fmtp:{pt} {fmtp}\r\n"),
            (_, None) => {}
        }
        if let Some(rtx) = rtx {
            let _ = write!(sdp, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
        }
    }
}

/// Appends the name and the sources of a track that we send.
pub(super) fn push_sending(sdp: &mut String, sending: &Sending) {
    let (stream, track) = (&sending.stream_id, &sending.track_id);
    let _ = write!(sdp, "a=msid:{stream} {track}\r\n");
    if let Some(rtx) = sending.rtx_ssrc {
        let _ = write!(sdp, "a=ssrc-group:FID {} {rtx}\r\n", sending.ssrc);
    }
    for ssrc in std::iter::once(sending.ssrc).chain(sending.rtx_ssrc) {
        let _ = write!(sdp, "a=ssrc:{ssrc} cname:{stream}\r\na=ssrc:{ssrc} msid:{stream} {track}\r\n");
    }
}

/// Appends credentials, certificate and role to a media section.
pub(super) fn push_transport(
    sdp: &mut String,
    credentials: &IceCredentials,
    endpoint: &LocalEndpoint,
    setup: &str,
    candidates: bool,
) {
    let _ = write!(
        sdp,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        credentials.ufrag, credentials.pwd, endpoint.fingerprint
    );
    if !candidates {
        return;
    }
    // Priorities by RFC 8445 §5.1.2.1: type preference 126 (host), UDP before TCP, then our own order.
    for (index, address) in endpoint.udp.iter().enumerate() {
        let priority = (126u32 << 24) | ((65_535 - index as u32) << 8) | 255;
        let _ = write!(
            sdp,
            "a=candidate:{} 1 udp {priority} {} {} typ host\r\n",
            index + 1,
            address.ip(),
            address.port()
        );
    }
    for (index, address) in endpoint.tcp.iter().enumerate() {
        let priority = (90u32 << 24) | ((65_535 - index as u32) << 8) | 255;
        let _ = write!(
            sdp,
            "a=candidate:{} 1 tcp {priority} {} {} typ host tcptype passive\r\n",
            index + 101,
            address.ip(),
            address.port()
        );
    }
    sdp.push_str("a=end-of-candidates\r\n");
}
