//! What a client publishes.

use std::time::Instant;

use livekit_protocol as proto;
use plenum_media::sdp::Codec;
use str0m::media::{MediaKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::rtp::{ExtensionSerializer, ExtensionValues, RtpWrite};

/// A track of a client, in the order in which they were published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub(crate) usize);

/// A packet that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What the payload is.
    pub codec: Codec,
    /// Extended sequence number of its layer.
    pub sequence: u64,
    /// In ticks of the codec.
    pub timestamp: u32,
    /// The last packet of a picture.
    pub marker: bool,
    /// How loud, in dB below the loudest (RFC 6464).
    pub level: Option<u8>,
    /// The dependency descriptor.
    pub dependency: Option<Dependency>,
    /// Descriptor and content.
    pub payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn into_rtp(self, at: Instant) -> RtpWrite {
        let mut ext_vals = ExtensionValues {
            audio_level: self.level.map(|level| -(level & 0x7f).cast_signed()),
            voice_activity: self.level.map(|_| true),
            ..Default::default()
        };
        if let Some(dependency) = self.dependency {
            ext_vals.user_values.set(dependency);
        }
        let is_video = self.codec.rtx_payload_type().is_some();
        RtpWrite::new(
            self.codec.payload_type().into(),
            self.sequence.into(),
            self.timestamp,
            at,
            self.payload,
        )
        .marker(self.marker)
        .nackable(is_video)
        .ext_vals(ext_vals)
    }
}

/// A dependency descriptor as it is on the wire (AV1 RTP specification, appendix A).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency(pub Vec<u8>);

/// Carries it as it is.
#[derive(Debug)]
pub(crate) struct DependencySerializer;

impl ExtensionSerializer for DependencySerializer {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Dependency(value)) = values.user_values.get() else { return 0 };
        buf[..value.len()].copy_from_slice(value);
        value.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Dependency(buf.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get().is_some_and(|Dependency(value)| value.len() > 16)
    }
}

/// A track on its way to be published, or published.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) request: proto::AddTrackRequest,
    /// Simulcast layers, lowest first; none for a single stream.
    pub(crate) rids: Vec<Rid>,
    pub(crate) stage: Stage,
    /// As the server calls it.
    pub(crate) sid: Option<String>,
}

/// How far a track has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To be in the next offer.
    New,
    /// In the offer that is out.
    Offered(Mid),
    /// Packets may be sent.
    Accepted(Mid),
    /// To be taken out of the next offer.
    Ending(Mid),
    /// Nothing is sent any more.
    Ended,
}

impl Track {
    pub(crate) fn kind(&self) -> MediaKind {
        if self.request.r#type == proto::TrackType::Audio as i32 {
            MediaKind::Audio
        } else {
            MediaKind::Video
        }
    }

    pub(crate) fn simulcast(&self) -> Option<Simulcast> {
        let mut simulcast = Simulcast::new();
        self.rids.iter().for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
        (!self.rids.is_empty()).then_some(simulcast)
    }

    /// Where packets of a layer go; `None` while none may be sent.
    pub(crate) fn layer(&self, layer: usize) -> Option<(Mid, Option<Rid>)> {
        let Stage::Accepted(mid) = self.stage else { return None };
        match self.rids.as_slice() {
            [] => Some((mid, None)),
            rids => Some((mid, Some(*rids.get(layer)?))),
        }
    }

    /// The place of a layer.
    pub(crate) fn place(&self, rid: Option<Rid>) -> usize {
        self.rids.iter().position(|own| Some(*own) == rid).unwrap_or(0)
    }
}
