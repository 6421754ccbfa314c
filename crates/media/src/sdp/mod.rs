//! Session descriptions: ours, all of them. Offers are parsed, answers to publishers and offers to
//! subscribers are written; str0m never sees SDP.
//!
//! Payload types are ours where the two directions have a connection each, in answers as well: browsers send with
//! the numbers of the answer (RFC 3264 §6.1), so such connections are built before an offer is known. Where one
//! connection serves both directions they are the client's, which then must not mean two things (see
//! [`PayloadTypes`]).

mod answer;
mod codec;
mod numbers;
mod offer;
mod parse;
mod write;

pub(crate) use answer::accepted_extensions;
pub use answer::{AnswerPlan, MediaPlan, RecvPlan, SendPlan, write_answer};
pub use codec::{Codec, MediaKind};
pub use numbers::PayloadTypes;
pub use offer::{DEPENDENCY_EXTENSION, DownLine, MID_EXTENSION, Sending, TRANSPORT_EXTENSION, write_offer};
pub use parse::{
    Direction, Fingerprint, MAX_MEDIA, MAX_SDP_LEN, Media, MediaType, Offered, SdpError, Session, Setup,
    fuzz, parse,
};

use std::net::SocketAddr;

/// `a=extmap` URIs that this server understands.
pub mod uri {
    /// RFC 8843: the m-line of a packet.
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// RFC 8852: the simulcast layer of a packet.
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// RFC 8852: the simulcast layer that a retransmission repairs.
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// RFC 6464: how loud a packet of sound is.
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    /// Which frames a frame needs (AV1 RTP specification, appendix A).
    pub const DEPENDENCY: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
    /// How late pictures are to be shown.
    pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    /// Numbers packets over all streams of a connection, for congestion control.
    pub const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
}

/// What we say about ourselves in every description.
#[derive(Debug, Clone)]
pub struct LocalEndpoint {
    /// SHA-256 of our DTLS certificate, as in `a=fingerprint`: `AB:CD:…`.
    pub fingerprint: String,
    /// Where we listen for UDP.
    pub udp: Vec<SocketAddr>,
    /// Where we listen for ICE-TCP (RFC 6544, passive).
    pub tcp: Vec<SocketAddr>,
}

#[cfg(test)]
mod tests;
