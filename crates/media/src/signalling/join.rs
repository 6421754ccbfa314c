//! Who joins which room with what rights: the token's grants, and the query of `/rtc` or the join request in it.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use flate2::read::GzDecoder;
use livekit_protocol as proto;
use prost::Message as _;
use proto::ParticipantPermission;
use proto::participant_info::{Kind, KindDetail};
use proto::wrapped_join_request::Compression;

use crate::ids::{Identity, NameError, RoomName};
use crate::room::{RoomOptions, TextLimits, TooLong};
use crate::token::{Claims, VideoGrant};

/// Everything that the first request says about a participant.
#[derive(Debug, Clone)]
pub struct JoinParams {
    /// The room from the token.
    pub room: RoomName,
    /// The identity from the token.
    pub identity: Identity,
    /// Rights from the token.
    pub permission: ParticipantPermission,
    /// Display name from the token.
    pub name: String,
    /// Metadata from the token.
    pub metadata: String,
    /// Attributes from the token, and from the query where the token lets its bearer change them.
    pub attributes: HashMap<String, String>,
    /// What the participant is.
    pub kind: Kind,
    /// More about that.
    pub kind_details: Vec<i32>,
    /// How the room is to be, if this participant is the first; from the token.
    pub room_config: Option<Box<proto::RoomConfiguration>>,
    /// Name of what the server has for that.
    pub room_preset: String,
    /// The token allows to make rooms that are not there.
    pub may_create_room: bool,
    /// When the token ends, in Unix seconds.
    pub expires_at: u64,
    /// Signalling protocol version of the client.
    pub protocol: i32,
    /// Capability level towards other clients; passed on.
    pub client_protocol: i32,
    /// `js`, `python`, `go`, …
    pub sdk: String,
    /// Version of that library, its first two numbers; zeroes when it tells none.
    pub version: (u32, u32),
    /// `Chrome`, `Firefox`, `Safari`, …; empty for native clients.
    pub browser: String,
    /// Subscribe to everything without being asked.
    pub auto_subscribe: bool,
    /// The same for data tracks.
    pub auto_subscribe_data: bool,
    /// The client asks for layers by what is visible: new subscriptions start low.
    pub adaptive_stream: bool,
    /// Every video may be paused where the connection has no room; else shared screens and the speaker are kept.
    pub allow_pause: bool,
    /// The client wants to go on as this participant, `PA_…`; empty where it does not say as whom.
    pub resume: Option<String>,
    /// One connection serves both directions (signalling v1).
    pub one_connection: bool,
    /// What comes with the request.
    pub opening: Opening,
}

/// What a client wants done as soon as it is in.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// Tracks that it announces.
    pub tracks: Vec<proto::AddTrackRequest>,
    /// Its first offer.
    pub offer: Option<proto::SessionDescription>,
}

/// Why somebody may not join, with the HTTP status that LiveKit's clients expect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// A name does not fit.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The token does not allow joining.
    #[error("access token: video.roomJoin is missing")]
    NotAllowed,
    /// A text is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A query parameter cannot be read.
    #[error("query parameter {0} is malformed")]
    BadParameter(&'static str),
}

impl JoinParams {
    /// Whether this participant neither keeps a room open nor takes a place in it.
    pub fn is_dependent(&self) -> bool {
        is_dependent(self.kind, &self.permission)
    }

    /// How the room is to be, if it is not there yet.
    pub fn room_options(&self) -> RoomOptions {
        self.room_config.as_deref().map(RoomOptions::from_token).unwrap_or_default()
    }

    /// Itself, if its texts are not too long.
    ///
    /// # Errors
    /// Names the first that is.
    pub fn within(self, texts: &TextLimits) -> Result<Self, JoinError> {
        texts.check_name(&self.name)?;
        texts.check_metadata(&self.metadata)?;
        texts.check_attributes(&self.attributes)?;
        if let Some(config) = &self.room_config {
            texts.check_metadata(&config.metadata)?;
        }
        Ok(self)
    }
}

impl JoinError {
    /// 401 where the token lacks the right, 400 for everything malformed.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotAllowed => 401,
            Self::Name(_) | Self::TooLong(_) | Self::BadParameter(_) => 400,
        }
    }
}

/// Reads what a checked token and the query of `/rtc` say. With a `join_request` in it the client has one connection
/// and says everything there.
pub fn authorize(claims: &Claims, query: &BTreeMap<String, String>) -> Result<JoinParams, JoinError> {
    let grant = claims.video.as_ref().filter(|video| video.room_join).ok_or(JoinError::NotAllowed)?;
    let said = match query.get("join_request") {
        Some(encoded) => Said::in_request(encoded)?,
        None => Said::in_query(query)?,
    };
    let permission = permission_of(grant);
    let mut attributes: HashMap<_, _> = claims.attributes.clone().into_iter().collect();
    let mut metadata = claims.metadata.clone();
    if permission.can_update_metadata {
        attributes.extend(said.attributes);
        if !said.metadata.is_empty() {
            metadata = said.metadata;
        }
    }
    let short = |text: &str| text.chars().take(64).collect::<String>();
    Ok(JoinParams {
        room: RoomName::new(grant.room.as_str())?,
        identity: Identity::new(claims.sub.as_str())?,
        permission,
        name: claims.name.clone(),
        metadata,
        attributes,
        kind: kind_of(&claims.kind),
        kind_details: claims.kind_details.iter().filter_map(|name| kind_detail_of(name)).collect(),
        room_config: claims.room_config.clone().map(Box::new),
        room_preset: claims.room_preset.clone(),
        may_create_room: grant.room_create,
        expires_at: claims.exp.unwrap_or(0),
        protocol: said.protocol,
        client_protocol: said.client_protocol,
        sdk: short(&said.sdk),
        version: version_of(&short(&said.version)),
        browser: short(&said.browser),
        auto_subscribe: said.auto_subscribe,
        auto_subscribe_data: said.auto_subscribe_data,
        adaptive_stream: said.adaptive_stream,
        allow_pause: said.allow_pause,
        resume: said.resume,
        one_connection: said.one_connection,
        opening: said.opening,
    })
}

/// What a client says with its first request, in either form.
struct Said {
    protocol: i32,
    client_protocol: i32,
    sdk: String,
    version: String,
    browser: String,
    auto_subscribe: bool,
    auto_subscribe_data: bool,
    adaptive_stream: bool,
    allow_pause: bool,
    resume: Option<String>,
    one_connection: bool,
    metadata: String,
    attributes: HashMap<String, String>,
    opening: Opening,
}

impl Said {
    fn in_query(query: &BTreeMap<String, String>) -> Result<Self, JoinError> {
        let flag = |name: &str, default: bool| {
            query.get(name).map_or(default, |value| matches!(value.as_str(), "1" | "true"))
        };
        let number = |name: &'static str| match query.get(name) {
            None => Ok(0),
            Some(value) => value.parse::<i32>().map_err(|_| JoinError::BadParameter(name)),
        };
        let text = |name: &str| query.get(name).cloned().unwrap_or_default();
        let attributes = match query.get("attributes") {
            None => HashMap::new(),
            Some(encoded) => decode_base64(encoded)
                .and_then(|json| serde_json::from_slice(&json).ok())
                .ok_or(JoinError::BadParameter("attributes"))?,
        };
        Ok(Self {
            protocol: number("protocol")?,
            client_protocol: number("client_protocol")?,
            sdk: text("sdk"),
            version: text("version"),
            browser: text("browser"),
            auto_subscribe: flag("auto_subscribe", true),
            auto_subscribe_data: flag("auto_subscribe_data_track", false),
            adaptive_stream: flag("adaptive_stream", false),
            allow_pause: flag("subscriber_allow_pause", true),
            resume: flag("reconnect", false).then(|| text("sid")),
            one_connection: false,
            metadata: String::new(),
            attributes,
            opening: Opening::default(),
        })
    }

    fn in_request(encoded: &str) -> Result<Self, JoinError> {
        let request = read_request(encoded).ok_or(JoinError::BadParameter("join_request"))?;
        let client = request.client_info.unwrap_or_default();
        let settings = request.connection_settings.unwrap_or_default();
        Ok(Self {
            protocol: client.protocol,
            client_protocol: client.client_protocol,
            sdk: client.sdk().as_str_name().to_ascii_lowercase(),
            version: client.version,
            browser: client.browser,
            // Not said is not wanted here.
            auto_subscribe: settings.auto_subscribe,
            auto_subscribe_data: settings.auto_subscribe_data_track(),
            adaptive_stream: settings.adaptive_stream,
            allow_pause: settings.subscriber_allow_pause.unwrap_or(true),
            resume: request.reconnect.then_some(request.participant_sid),
            one_connection: true,
            metadata: request.metadata,
            attributes: request.participant_attributes,
            opening: Opening { tracks: request.add_track_requests, offer: request.publisher_offer },
        })
    }
}

/// Longest join request, in bytes, when it is unpacked (LiveKit's limit).
const MAX_REQUEST_LEN: u64 = 1024 * 1024;

fn read_request(encoded: &str) -> Option<proto::JoinRequest> {
    let wrapped = proto::WrappedJoinRequest::decode(decode_base64(encoded)?.as_slice()).ok()?;
    let request = match Compression::try_from(wrapped.compression).ok()? {
        Compression::None => wrapped.join_request,
        Compression::Gzip => {
            let mut unpacked = Vec::new();
            let reader = GzDecoder::new(wrapped.join_request.as_slice());
            reader.take(MAX_REQUEST_LEN + 1).read_to_end(&mut unpacked).ok()?;
            unpacked
        }
    };
    if request.len() as u64 > MAX_REQUEST_LEN {
        return None;
    }
    proto::JoinRequest::decode(request.as_slice()).ok()
}

/// URL-safe base64, with or without padding.
fn decode_base64(encoded: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded)).ok()
}

/// Body of the fuzz target `join_request`.
pub fn fuzz_request(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = read_request(text);
    }
    // Most inputs are no base64; what it would carry is looked at as well.
    let _ = read_request(&URL_SAFE.encode(input));
}

fn version_of(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kind_of(claim: &str) -> Kind {
    match claim {
        "ingress" => Kind::Ingress,
        "egress" => Kind::Egress,
        "sip" => Kind::Sip,
        "agent" => Kind::Agent,
        "connector" => Kind::Connector,
        "bridge" => Kind::Bridge,
        _ => Kind::Standard,
    }
}

fn kind_detail_of(name: &str) -> Option<i32> {
    KindDetail::from_str_name(&name.to_ascii_uppercase()).map(|detail| detail as i32)
}

/// Whether somebody of that kind, with these rights, is only there for the sake of others.
pub fn is_dependent(kind: Kind, permission: &ParticipantPermission) -> bool {
    matches!(kind, Kind::Egress | Kind::Agent) || permission.recorder || permission.agent
}

/// Rights as clients see them, from the grants of a token.
pub fn permission_of(grant: &VideoGrant) -> ParticipantPermission {
    let can_publish = grant.can_publish.unwrap_or(true);
    // A name that we do not know must narrow the list, not empty it: an empty list means everything.
    let sources = grant.can_publish_sources.iter().map(|source| source_of(source));
    ParticipantPermission {
        can_subscribe: grant.can_subscribe.unwrap_or(true),
        can_publish,
        can_publish_data: grant.can_publish_data.unwrap_or(can_publish),
        can_publish_sources: sources.map(|source| source as i32).collect(),
        hidden: grant.hidden,
        recorder: grant.recorder,
        can_update_metadata: grant.can_update_own_metadata.unwrap_or(false),
        agent: grant.agent,
        can_subscribe_metrics: grant.can_subscribe_metrics.unwrap_or(false),
        can_manage_agent_session: grant.can_manage_agent_session.unwrap_or(false),
    }
}

/// The grants of a token that gives `permission` in `room`.
pub fn grant_of(permission: &ParticipantPermission, room: &RoomName) -> VideoGrant {
    VideoGrant {
        room_join: true,
        room: room.as_str().to_owned(),
        can_publish: Some(permission.can_publish),
        can_subscribe: Some(permission.can_subscribe),
        can_publish_data: Some(permission.can_publish_data),
        can_publish_sources: permission
            .can_publish_sources
            .iter()
            .filter_map(|source| proto::TrackSource::try_from(*source).ok())
            .map(|source| source.as_str_name().to_ascii_lowercase())
            .collect(),
        can_update_own_metadata: Some(permission.can_update_metadata),
        hidden: permission.hidden,
        recorder: permission.recorder,
        agent: permission.agent,
        can_subscribe_metrics: Some(permission.can_subscribe_metrics),
        can_manage_agent_session: Some(permission.can_manage_agent_session),
        ..VideoGrant::default()
    }
}

fn source_of(name: &str) -> proto::TrackSource {
    proto::TrackSource::from_str_name(&name.to_ascii_uppercase()).unwrap_or(proto::TrackSource::Unknown)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn claims(grant: VideoGrant) -> Claims {
        Claims { sub: "alice".into(), exp: Some(99), video: Some(grant), ..Claims::default() }
    }

    fn joining() -> VideoGrant {
        VideoGrant { room_join: true, room: "r".into(), ..VideoGrant::default() }
    }

    #[test]
    fn defaults_allow_publishing_and_listening() {
        let params = authorize(&claims(joining()), &BTreeMap::new()).expect("may join");
        assert!(params.permission.can_publish && params.permission.can_subscribe);
        assert!(params.permission.can_publish_data && params.auto_subscribe);
        assert!(!params.permission.can_update_metadata && !params.adaptive_stream);
    }

    #[test]
    fn data_follows_publishing_unless_said() {
        let silent = VideoGrant { can_publish: Some(false), ..joining() };
        assert!(!permission_of(&silent).can_publish_data);
        let chatty = VideoGrant { can_publish_data: Some(true), ..silent };
        assert!(permission_of(&chatty).can_publish_data);
    }

    #[test]
    fn sources_survive_the_way_to_a_token_and_back() {
        let grant = VideoGrant {
            can_publish_sources: vec!["microphone".into(), "screen_share".into(), "nonsense".into()],
            ..joining()
        };
        let permission = permission_of(&grant);
        assert_eq!(permission.can_publish_sources, [2, 3, 0]);
        let room = RoomName::new("r").expect("a good name");
        assert_eq!(permission_of(&grant_of(&permission, &room)), permission);
    }

    #[test]
    fn refusals_have_the_statuses_of_livekit() {
        let status = |claims: &Claims, query: &[(&str, &str)]| {
            let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            authorize(claims, &query).expect_err("refused").status()
        };
        assert_eq!(status(&Claims::default(), &[]), 401);
        assert_eq!(status(&claims(VideoGrant { room: String::new(), ..joining() }), &[]), 400);
        assert_eq!(status(&Claims { sub: String::new(), ..claims(joining()) }, &[]), 400);
        assert_eq!(status(&claims(joining()), &[("protocol", "x")]), 400);
        assert_eq!(status(&claims(joining()), &[("join_request", "!")]), 400);
    }

    fn packed(request: &proto::JoinRequest) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&request.encode_to_vec()).expect("memory takes it");
        gzip.finish().expect("memory takes it")
    }

    #[test]
    fn a_join_request_says_it_all_in_every_wrapping() {
        let request = proto::JoinRequest {
            client_info: Some(proto::ClientInfo {
                sdk: proto::client_info::Sdk::Rust as i32,
                protocol: 17,
                version: "1.2.3".into(),
                ..proto::ClientInfo::default()
            }),
            metadata: "mine".into(),
            add_track_requests: vec![proto::AddTrackRequest { cid: "c".into(), ..Default::default() }],
            publisher_offer: Some(proto::SessionDescription { id: 7, ..Default::default() }),
            ..proto::JoinRequest::default()
        };
        let plain = (Compression::None, request.encode_to_vec());
        for (compression, join_request) in [plain, (Compression::Gzip, packed(&request))] {
            let wrapped =
                proto::WrappedJoinRequest { compression: compression as i32, join_request }.encode_to_vec();
            for encoded in [URL_SAFE.encode(&wrapped), URL_SAFE_NO_PAD.encode(&wrapped)] {
                let query = BTreeMap::from([("join_request".to_owned(), encoded)]);
                let params = authorize(&claims(joining()), &query).expect("may join");
                assert!(params.one_connection && !params.auto_subscribe);
                assert_eq!((params.protocol, params.sdk.as_str(), params.version), (17, "rust", (1, 2)));
                assert_eq!(params.opening.tracks[0].cid, "c");
                assert_eq!(params.opening.offer.as_ref().map(|offer| offer.id), Some(7));
                assert_eq!(params.metadata, "", "not without the right to change it");
                let own = VideoGrant { can_update_own_metadata: Some(true), ..joining() };
                assert_eq!(authorize(&claims(own), &query).expect("may join").metadata, "mine");
            }
        }
    }

    #[test]
    fn a_join_request_does_not_blow_up() {
        let request = proto::JoinRequest { metadata: "m".repeat(1_100_000), ..Default::default() };
        let wrapped = proto::WrappedJoinRequest {
            compression: Compression::Gzip as i32,
            join_request: packed(&request),
        };
        assert!(wrapped.join_request.len() < 10_000);
        assert_eq!(read_request(&URL_SAFE.encode(wrapped.encode_to_vec())), None);
    }
}
