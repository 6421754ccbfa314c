//! Reads descriptions of clients, line by line, into the facts that forwarding needs.

use super::codec::Codec;

/// Longest description that is read, in bytes: an answer of 400 m-lines fits three times.
pub const MAX_SDP_LEN: usize = 1024 * 1024;
/// Most m-lines of a description.
pub const MAX_MEDIA: usize = 1024;
/// Most codecs, extensions, layers or sources of one m-line.
const MAX_PER_MEDIA: usize = 128;
/// Longest name of an m-line; str0m cuts longer ones.
const MAX_MID_LEN: usize = 16;
/// Longest name of a simulcast layer; str0m cuts longer ones.
const MAX_RID_LEN: usize = 8;

/// Why a description is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`MAX_SDP_LEN`].
    #[error("SDP is longer than {MAX_SDP_LEN} bytes")]
    TooLong,
    /// More than the permitted number of something.
    #[error("SDP has too many {0}")]
    TooMany(&'static str),
    /// A line that cannot be read.
    #[error("SDP line {line}: bad {what}")]
    Bad {
        /// Counted from one.
        line: usize,
        /// The attribute.
        what: &'static str,
    },
    /// Something that every description needs is absent.
    #[error("SDP lacks {0}")]
    Missing(&'static str),
    /// Two m-lines of one name.
    #[error("SDP names two m-lines {0}")]
    DuplicateMid(String),
}

/// Kind of an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
    /// `m=application`: data channels.
    Application,
    /// Anything else; rejected.
    Other,
}

/// Who sends on an m-line, as seen by the writer of the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `a=sendrecv`, also when nothing is said.
    SendRecv,
    /// `a=sendonly`
    SendOnly,
    /// `a=recvonly`
    RecvOnly,
    /// `a=inactive`
    Inactive,
}

impl Direction {
    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// DTLS role that a description takes (`a=setup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Either.
    ActPass,
    /// Begins the handshake.
    Active,
    /// Waits for it.
    Passive,
}

/// Hash of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// `sha-256`, …
    pub hash: String,
    /// The digest.
    pub bytes: Vec<u8>,
}

/// A codec that an m-line offers, in the numbers of its writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Payload type.
    pub payload_type: u8,
    /// One of ours; unknown codecs are not kept.
    pub codec: Codec,
    /// The payload type of its retransmissions.
    pub rtx: Option<u8>,
}

/// One m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// What it carries.
    pub kind: MediaType,
    /// The first line, needed again to reject it: `video 9 UDP/TLS/RTP/SAVPF 96 97`.
    pub line: String,
    /// `a=mid`
    pub mid: String,
    /// Port 0 without `bundle-only`: not wanted any more.
    pub rejected: bool,
    /// Who sends.
    pub direction: Direction,
    /// Every payload type of the m-line, in the order of preference.
    pub payload_types: Vec<u8>,
    /// Codecs that we know, each once, in the order of preference.
    pub codecs: Vec<Offered>,
    /// Header extensions: number and URI.
    pub extensions: Vec<(u8, String)>,
    /// Layers of `a=simulcast:send`, in that order.
    pub rids: Vec<String>,
    /// `a=ssrc`, in order of appearance.
    pub ssrcs: Vec<u32>,
    /// `a=ssrc-group:FID`: stream and its retransmissions.
    pub fid: Vec<(u32, u32)>,
    /// Second word of `a=msid`: the track's name in the browser.
    pub track_id: Option<String>,
}

/// A whole description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// ICE name.
    pub ice_ufrag: String,
    /// ICE secret.
    pub ice_pwd: String,
    /// Certificate.
    pub fingerprint: Fingerprint,
    /// DTLS role.
    pub setup: Setup,
    /// `a=extmap-allow-mixed` at session level.
    pub extmap_allow_mixed: bool,
    /// The m-lines in order.
    pub media: Vec<Media>,
}

impl Session {
    /// The m-line of that name.
    pub fn by_mid(&self, mid: &str) -> Option<&Media> {
        self.media.iter().find(|media| media.mid == mid)
    }
}

/// Reads a description.
pub fn parse(sdp: &str) -> Result<Session, SdpError> {
    if sdp.len() > MAX_SDP_LEN {
        return Err(SdpError::TooLong);
    }
    let mut reader = Reader::default();
    for (index, line) in sdp.lines().enumerate() {
        reader.line(index + 1, line.trim_end())?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    ice_ufrag: Option<String>,
    ice_pwd: Option<String>,
    fingerprint: Option<Fingerprint>,
    setup: Option<Setup>,
    extmap_allow_mixed: bool,
    media: Vec<Draft>,
}

/// An m-line while it is read: codecs become known only when all their attributes are.
struct Draft {
    media: Media,
    port_zero: bool,
    bundle_only: bool,
    rtpmaps: Vec<(u8, String)>,
    fmtps: Vec<(u8, String)>,
    send_rids: Vec<String>,
    simulcast: Option<Vec<String>>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), SdpError> {
        let bad = |what| SdpError::Bad { line: number, what };
        if let Some(rest) = line.strip_prefix("m=") {
            if self.media.len() >= MAX_MEDIA {
                return Err(SdpError::TooMany("m-lines"));
            }
            self.media.push(Draft::new(rest).ok_or(bad("m-line"))?);
            return Ok(());
        }
        let Some(attribute) = line.strip_prefix("a=") else { return Ok(()) };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            // All m-lines share one transport (BUNDLE), so the first word on it counts wherever it stands.
            "ice-ufrag" => first(&mut self.ice_ufrag, checked_ice(value).ok_or(bad(name_of(name)))?),
            "ice-pwd" => first(&mut self.ice_pwd, checked_ice(value).ok_or(bad(name_of(name)))?),
            "fingerprint" => first(&mut self.fingerprint, fingerprint(value).ok_or(bad("a=fingerprint"))?),
            "setup" => {
                let setup = match value {
                    "actpass" => Setup::ActPass,
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    _ => return Err(bad("a=setup")),
                };
                first(&mut self.setup, setup);
            }
            "extmap-allow-mixed" => self.extmap_allow_mixed = true,
            _ => {
                if let Some(draft) = self.media.last_mut() {
                    draft.attribute(number, name, value)?;
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Session, SdpError> {
        let mut media = Vec::with_capacity(self.media.len());
        let mut mids = std::collections::HashSet::new();
        for draft in self.media {
            let finished = draft.finish()?;
            if !mids.insert(finished.mid.clone()) {
                return Err(SdpError::DuplicateMid(finished.mid));
            }
            media.push(finished);
        }
        Ok(Session {
            ice_ufrag: self.ice_ufrag.ok_or(SdpError::Missing("a=ice-ufrag"))?,
            ice_pwd: self.ice_pwd.ok_or(SdpError::Missing("a=ice-pwd"))?,
            fingerprint: self.fingerprint.ok_or(SdpError::Missing("a=fingerprint"))?,
            setup: self.setup.unwrap_or(Setup::ActPass),
            extmap_allow_mixed: self.extmap_allow_mixed,
            media,
        })
    }
}

impl Draft {
    fn new(line: &str) -> Option<Self> {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let kind = match words.next()? {
            "audio" => MediaType::Audio,
            "video" => MediaType::Video,
            "application" => MediaType::Application,
            _ => MediaType::Other,
        };
        let port: u32 = words.next()?.split('/').next()?.parse().ok()?;
        words.next()?;
        let payload_types = match kind {
            MediaType::Audio | MediaType::Video => words
                .take(MAX_PER_MEDIA)
                .map(|word| word.parse::<u8>().ok().filter(|pt| *pt < 128))
                .collect::<Option<_>>()?,
            MediaType::Application | MediaType::Other => Vec::new(),
        };
        Some(Self {
            media: Media {
                kind,
                line: line.to_owned(),
                mid: String::new(),
                rejected: false,
                direction: Direction::SendRecv,
                payload_types,
                codecs: Vec::new(),
                extensions: Vec::new(),
                rids: Vec::new(),
                ssrcs: Vec::new(),
                fid: Vec::new(),
                track_id: None,
            },
            port_zero: port == 0,
            bundle_only: false,
            rtpmaps: Vec::new(),
            fmtps: Vec::new(),
            send_rids: Vec::new(),
            simulcast: None,
        })
    }

    fn attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let bad = |what| SdpError::Bad { line, what };
        match name {
            "mid" => {
                if value.is_empty() || value.len() > MAX_MID_LEN || !is_token(value) {
                    return Err(bad("a=mid"));
                }
                value.clone_into(&mut self.media.mid);
            }
            "sendrecv" => self.media.direction = Direction::SendRecv,
            "sendonly" => self.media.direction = Direction::SendOnly,
            "recvonly" => self.media.direction = Direction::RecvOnly,
            "inactive" => self.media.direction = Direction::Inactive,
            "bundle-only" => self.bundle_only = true,
            "rtpmap" => push(&mut self.rtpmaps, numbered(value).ok_or(bad("a=rtpmap"))?, "codecs")?,
            "fmtp" => push(&mut self.fmtps, numbered(value).ok_or(bad("a=fmtp"))?, "codecs")?,
            "extmap" => {
                let (id, rest) = value.split_once(' ').ok_or(bad("a=extmap"))?;
                // "4/sendonly" is "4".
                let id = id.split('/').next().unwrap_or(id);
                let id = id.parse::<u16>().map_err(|_| bad("a=extmap"))?;
                // Above 14 an extension needs the two-byte form, which we do not accept (RFC 8285 §4.2).
                if let Some(id) = u8::try_from(id).ok().filter(|id| (1..=14).contains(id)) {
                    let uri = rest.split(' ').next().unwrap_or(rest).to_owned();
                    push(&mut self.media.extensions, (id, uri), "extensions")?;
                }
            }
            "rid" => {
                let (rid, direction) = value.split_once(' ').ok_or(bad("a=rid"))?;
                if rid.is_empty()
                    || rid.len() > MAX_RID_LEN
                    || !rid.bytes().all(|b| b.is_ascii_alphanumeric())
                {
                    return Err(bad("a=rid"));
                }
                if direction.starts_with("send") {
                    push(&mut self.send_rids, rid.to_owned(), "simulcast layers")?;
                }
            }
            "simulcast" => self.simulcast = simulcast_send(value),
            "ssrc" => {
                let ssrc = value.split(' ').next().and_then(|v| v.parse().ok()).ok_or(bad("a=ssrc"))?;
                if !self.media.ssrcs.contains(&ssrc) {
                    push(&mut self.media.ssrcs, ssrc, "sources")?;
                }
            }
            "ssrc-group" => {
                if let Some(pair) = value.strip_prefix("FID ") {
                    let mut pair = pair.split(' ').map(|v| v.parse().ok());
                    let (Some(Some(main)), Some(Some(rtx))) = (pair.next(), pair.next()) else {
                        return Err(bad("a=ssrc-group"));
                    };
                    push(&mut self.media.fid, (main, rtx), "sources")?;
                }
            }
            "msid" => {
                self.media.track_id = value.split(' ').nth(1).map(|id| id.chars().take(256).collect());
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Media, SdpError> {
        if self.media.mid.is_empty() {
            return Err(SdpError::Missing("a=mid"));
        }
        self.media.rejected = self.port_zero && !self.bundle_only;
        let mut codecs = Vec::new();
        for payload_type in &self.media.payload_types {
            let Some(codec) = self.codec_of(*payload_type) else { continue };
            let repairs =
                |rtx: u8| self.fmtps.iter().any(|(pt, f)| *pt == rtx && apt(f) == Some(*payload_type));
            let rtx = self
                .rtpmaps
                .iter()
                .find(|(rtx, map)| is_codec(map, "rtx") && repairs(*rtx))
                .map(|(rtx, _)| *rtx);
            let offered = Offered { payload_type: *payload_type, codec, rtx };
            let known = codecs.iter().position(|known: &Offered| known.codec == codec);
            match known {
                None => codecs.push(offered),
                // Of several profiles of H.264 ours is the one that our own descriptions name.
                Some(known) if self.is_constrained(*payload_type) => {
                    if !self.is_constrained(codecs[known].payload_type) {
                        codecs[known] = offered;
                    }
                }
                Some(_) => {}
            }
        }
        self.media.codecs = codecs;
        if let Some(order) = &self.simulcast {
            // The order of a=simulcast is the one that counts; layers without a=rid do not exist.
            self.media.rids = order.iter().filter(|rid| self.send_rids.contains(rid)).cloned().collect();
        }
        Ok(self.media)
    }

    fn parameters_of(&self, payload_type: u8) -> &str {
        self.fmtps.iter().find(|(pt, _)| *pt == payload_type).map_or("", |(_, fmtp)| fmtp.as_str())
    }

    /// Whether H.264 under this number is of the constrained baseline profile.
    fn is_constrained(&self, payload_type: u8) -> bool {
        parameter(self.parameters_of(payload_type), "profile-level-id")
            .and_then(|profile| profile.get(..4))
            .is_some_and(|profile| profile.eq_ignore_ascii_case("42e0"))
    }

    fn codec_of(&self, payload_type: u8) -> Option<Codec> {
        let (_, map) = self.rtpmaps.iter().find(|(pt, _)| *pt == payload_type)?;
        let fmtp = self.parameters_of(payload_type);
        let (name, rest) = map.split_once('/').unwrap_or((map, ""));
        let clock: u32 = rest.split('/').next()?.trim().parse().ok()?;
        let codec = match (name.to_ascii_lowercase().as_str(), clock, self.media.kind) {
            ("opus", 48_000, MediaType::Audio) => Codec::Opus,
            ("red", 48_000, MediaType::Audio) => Codec::Red,
            ("vp8", 90_000, MediaType::Video) => Codec::Vp8,
            ("h264", 90_000, MediaType::Video) if is_our_h264(fmtp) => Codec::H264,
            // What is not said is the lowest profile (RFC 9628 §7, AV1 RTP specification §7.2, RFC 7798 §7.1).
            ("vp9", 90_000, MediaType::Video) if is_profile(fmtp, "profile-id", "0") => Codec::Vp9,
            ("av1", 90_000, MediaType::Video) if is_profile(fmtp, "profile", "0") => Codec::Av1,
            ("h265", 90_000, MediaType::Video) if is_profile(fmtp, "profile-id", "1") => Codec::H265,
            ("pcmu", 8_000, MediaType::Audio) => Codec::Pcmu,
            ("pcma", 8_000, MediaType::Audio) => Codec::Pcma,
            _ => return None,
        };
        Some(codec)
    }
}

/// Baseline in packetization mode 1: what every client can decode.
fn is_our_h264(fmtp: &str) -> bool {
    parameter(fmtp, "packetization-mode") == Some("1")
        && parameter(fmtp, "profile-level-id").is_some_and(|profile| {
            profile.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("42e0") || p.eq_ignore_ascii_case("4200"))
        })
}

fn is_profile(fmtp: &str, key: &str, profile: &str) -> bool {
    parameter(fmtp, key).is_none_or(|value| value == profile)
}

/// The value of one of the parameters of `a=fmtp`.
fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| pair.trim().split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v))
}

/// The layers that the writer will send: first alternative of each, without the pause mark.
fn simulcast_send(value: &str) -> Option<Vec<String>> {
    let mut words = value.split(' ');
    while let Some(direction) = words.next() {
        let list = words.next()?;
        if direction == "send" {
            return Some(
                list.split(';')
                    .take(MAX_PER_MEDIA)
                    .filter_map(|layer| layer.split(',').next())
                    .map(|rid| rid.trim_start_matches('~').to_owned())
                    .collect(),
            );
        }
    }
    None
}

fn apt(fmtp: &str) -> Option<u8> {
    fmtp.split(';').find_map(|pair| pair.trim().strip_prefix("apt=")).and_then(|v| v.parse().ok())
}

fn is_codec(rtpmap: &str, name: &str) -> bool {
    rtpmap.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
}

fn numbered(value: &str) -> Option<(u8, String)> {
    let (number, rest) = value.split_once(' ')?;
    Some((number.parse().ok()?, rest.to_owned()))
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, hex) = value.split_once(' ')?;
    let bytes: Option<Vec<u8>> = hex
        .trim()
        .split(':')
        .take(65)
        .map(|byte| if byte.len() == 2 { u8::from_str_radix(byte, 16).ok() } else { None })
        .collect();
    Some(Fingerprint { hash: hash.to_ascii_lowercase(), bytes: bytes.filter(|b| b.len() <= 64)? })
}

/// RFC 8839 §5.4: 4 to 256 ice-chars.
fn checked_ice(value: &str) -> Option<String> {
    let good = (4..=256).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/' || b == b'-' || b == b'_');
    good.then(|| value.to_owned())
}

/// RFC 8866 `token`.
fn is_token(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_graphic() && !br#""(),/:;<=>?@[\]"#.contains(&b))
}

fn name_of(name: &str) -> &'static str {
    if name == "ice-ufrag" { "a=ice-ufrag" } else { "a=ice-pwd" }
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn push<T>(list: &mut Vec<T>, value: T, what: &'static str) -> Result<(), SdpError> {
    if list.len() >= MAX_PER_MEDIA {
        return Err(SdpError::TooMany(what));
    }
    list.push(value);
    Ok(())
}

/// Body of the fuzz target `sdp`: what can be read can be answered, and the answer can be read.
pub fn fuzz(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(session) = parse(text) {
        let answer = super::answer::answer_everything(&session);
        assert!(parse(&answer).is_ok(), "our own answer cannot be read:\n{answer}");
    }
}
