//! The codecs that are forwarded, with the payload types that we give them.

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A codec that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus, 48 kHz.
    Opus,
    /// Opus with earlier packets repeated (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// H.264, constrained baseline, packetization mode 1 (RFC 6184).
    H264,
    /// VP9, profile 0 (RFC 9628).
    Vp9,
    /// AV1, profile 0 (AV1 RTP specification).
    Av1,
    /// H.265 (RFC 7798).
    H265,
    /// G.711 µ-law, 8 kHz (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law, 8 kHz (RFC 3551 §4.5.14).
    Pcma,
}

impl Codec {
    /// Every codec, in the order in which it is preferred.
    pub const ALL: [Self; 9] = [
        Self::Opus,
        Self::Red,
        Self::Vp8,
        Self::H264,
        Self::Vp9,
        Self::Av1,
        Self::H265,
        Self::Pcmu,
        Self::Pcma,
    ];

    /// Those that are enabled where nothing else is said. Not every browser decodes H.265, and G.711 is for telephones.
    pub const DEFAULT: [Self; 6] = [Self::Opus, Self::Red, Self::Vp8, Self::H264, Self::Vp9, Self::Av1];

    /// The payload type in all our descriptions (LiveKit's and Chromium's usual numbers).
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Opus => 111,
            Self::Red => 63,
            Self::Vp8 => 96,
            Self::H264 => 125,
            Self::Vp9 => 98,
            Self::Av1 => 35,
            Self::H265 => 116,
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The payload type of retransmissions (RFC 4588), for video.
    pub const fn rtx_payload_type(self) -> Option<u8> {
        match self {
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => None,
            Self::Vp8 => Some(97),
            Self::H264 => Some(107),
            Self::Vp9 => Some(99),
            Self::Av1 => Some(36),
            Self::H265 => Some(117),
        }
    }

    /// The codec of one of our payload types; retransmissions have none.
    pub fn of_payload_type(payload_type: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.payload_type() == payload_type)
    }

    /// Ticks of the RTP clock in a second.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus | Self::Red => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            Self::Vp8 | Self::H264 | Self::Vp9 | Self::Av1 | Self::H265 => 90_000,
        }
    }

    /// Sound or pictures.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => MediaKind::Audio,
            Self::Vp8 | Self::H264 | Self::Vp9 | Self::Av1 | Self::H265 => MediaKind::Video,
        }
    }

    /// The value of `a=rtpmap`.
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Self::Opus => "opus/48000/2",
            Self::Red => "red/48000/2",
            Self::Vp8 => "VP8/90000",
            Self::H264 => "H264/90000",
            Self::Vp9 => "VP9/90000",
            Self::Av1 => "AV1/90000",
            Self::H265 => "H265/90000",
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
        }
    }

    /// The value of `a=fmtp`, if the codec has one.
    pub const fn fmtp(self) -> Option<&'static str> {
        match self {
            Self::Opus => Some("minptime=10;useinbandfec=1"),
            Self::Red => Some("111/111"),
            Self::Vp9 => Some("profile-id=0"),
            // AV1 and H.265 without parameters are their lowest profiles, which every decoder knows.
            Self::Vp8 | Self::Av1 | Self::H265 | Self::Pcmu | Self::Pcma => None,
            Self::H264 => Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        }
    }

    /// The MIME type in LiveKit's messages.
    pub const fn mime_type(self) -> &'static str {
        match self {
            Self::Opus => "audio/opus",
            Self::Red => "audio/red",
            Self::Vp8 => "video/VP8",
            Self::H264 => "video/H264",
            Self::Vp9 => "video/VP9",
            Self::Av1 => "video/AV1",
            Self::H265 => "video/H265",
            Self::Pcmu => "audio/PCMU",
            Self::Pcma => "audio/PCMA",
        }
    }

    /// Whether one stream may carry several spatial layers (SVC).
    pub const fn may_be_layered(self) -> bool {
        matches!(self, Self::Vp9 | Self::Av1)
    }

    /// The codec that LiveKit's messages call `name` (`vp8`, `video/VP8`, …).
    pub fn named(name: &str) -> Option<Self> {
        let name = name.rsplit('/').next().unwrap_or(name);
        Self::ALL.into_iter().find(|codec| {
            codec.mime_type().rsplit('/').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
        })
    }
}
