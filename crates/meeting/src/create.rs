//! Creating a room: what a request may say, what holds when it says nothing.

use plenum_protocol::plugnmeet::{
    BreakoutRoomFeatures, ChatFeatures, CopyrightConf, DisplayExternalLinkFeatures,
    EndToEndEncryptionFeatures, ExternalBroadcastingFeatures, ExternalMediaPlayerFeatures, IngressFeatures,
    InsightsFeatures, LockSettings, PollsFeatures, RecordingFeatures, RoomCreateFeatures, RoomMetadata,
    SharedNotePadFeatures, SipDialInFeatures, WaitingRoomFeatures, WhiteboardFeatures,
};
use serde_json::{Map, Value};

use crate::{
    Env, IdError, RoomId,
    state::{Phase, Room},
};

/// Longest title, in characters; plugNmeet's SQL column.
const TITLE_LEN_MAX: usize = 255;
/// Largest metadata a room may be created with, in bytes of JSON: a record is bounded.
const METADATA_LEN_MAX: usize = 32 * 1024;
/// Seconds; also what a shorter wish becomes (plugnmeet.md §5.2).
const EMPTY_TIMEOUT_DEFAULT_S: u32 = 1800;
/// Seconds.
const EMPTY_TIMEOUT_MIN_S: u32 = 120;
/// Most breakout rooms of a room.
const BREAKOUT_ROOMS_MAX: u32 = 16;

/// A checked request with every default filled in.
#[derive(Debug, Clone)]
pub struct CreateRoom {
    /// The room.
    pub room_id: RoomId,
    /// Seconds without anybody online after which it ends.
    pub empty_timeout_s: u32,
    /// 0: unlimited.
    pub max_participants: u32,
    /// Complete: every feature message is present.
    pub metadata: RoomMetadata,
    /// Made on the landing page.
    pub from_landing_page: bool,
}

/// Why a request to create a room was refused; the text names the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The room id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A member that has to be there.
    #[error("{0}: value is required")]
    Missing(&'static str),
    /// A member that only the server sets.
    #[error("{0}: must not be set")]
    Internal(&'static str),
    /// A number that has to be positive.
    #[error("{0}: value must be greater than 0")]
    NotPositive(&'static str),
    /// Not an absolute http(s) address.
    #[error("{0}: value must be a valid URI")]
    NotUri(&'static str),
    /// Longer than a record may hold.
    #[error("{field}: value must be at most {max} long")]
    TooLong {
        /// Which member.
        field: &'static str,
        /// Its bound.
        max: usize,
    },
    /// A member of another type.
    #[error("metadata: {0}")]
    Shape(String),
}

impl CreateRoom {
    /// Reads plugNmeet's `CreateRoomReq` in JSON, either case. A member that is present counts, also `false`: protobuf's
    /// own merge could not switch off what is on by default.
    ///
    /// # Errors
    /// Says which member is wrong.
    pub fn from_json(body: &Value) -> Result<Self, CreateError> {
        let body = snake_case(body);
        let room_id = RoomId::parse(body["room_id"].as_str().unwrap_or_default(), "room_id")?;
        let empty_timeout = positive(&body, "empty_timeout")?;
        let max_participants = positive(&body, "max_participants")?;
        check_metadata(&body["metadata"])?;

        let defaults = serde_json::to_value(default_metadata()).expect("our own type is JSON");
        let merged = merge(defaults, &body["metadata"]);
        let metadata: RoomMetadata =
            serde_json::from_value(merged).map_err(|error| CreateError::Shape(error.to_string()))?;
        Ok(Self {
            room_id,
            empty_timeout_s: empty_timeout
                .filter(|seconds| *seconds >= EMPTY_TIMEOUT_MIN_S)
                .unwrap_or(EMPTY_TIMEOUT_DEFAULT_S),
            max_participants: max_participants.unwrap_or(0),
            metadata: consistent(metadata),
            from_landing_page: false,
        })
    }

    /// The new room. `run` numbers it.
    #[must_use]
    pub fn into_room(self, run: u64, env: &mut Env<'_>) -> Room {
        let mut metadata = self.metadata;
        metadata.started_at = env.now / 1000;
        metadata.metadata_id = Some(env.uuid());
        let features = metadata.room_features.get_or_insert_default();
        if let Some(encryption) = &mut features.end_to_end_encryption_features
            && encryption.is_enabled
            && !encryption.enabled_self_insert_encryption_key
        {
            encryption.encryption_key = Some(env.secret(32));
        }
        Room {
            room_id: self.room_id.to_string(),
            sid: env.uuid(),
            run,
            phase: Phase::Created.into(),
            created_at: env.now,
            empty_since: env.now,
            empty_timeout_s: self.empty_timeout_s,
            max_participants: self.max_participants,
            metadata: Some(Box::new(metadata)),
            from_landing_page: self.from_landing_page,
            ..Room::default()
        }
    }
}

/// Settings of a room of which nothing was said (plugnmeet.md §5.2).
#[must_use]
pub fn default_metadata() -> RoomMetadata {
    RoomMetadata {
        room_features: Some(RoomCreateFeatures {
            allow_webcams: true,
            allow_screen_share: true,
            allow_view_other_webcams: true,
            allow_view_other_users_list: true,
            enable_analytics: true,
            allow_virtual_bg: Some(true),
            allow_raise_hand: Some(true),
            allow_reactions: Some(true),
            auto_gen_user_id: Some(false),
            recording_features: Some(RecordingFeatures {
                is_allow: true,
                is_allow_cloud: true,
                is_allow_local: true,
                ..Default::default()
            }),
            chat_features: Some(ChatFeatures {
                is_allow: true,
                is_allow_file_upload: true,
                allowed_file_types: [
                    "jpg", "png", "jpeg", "svg", "pdf", "docx", "txt", "xlsx", "pptx", "zip", "mp4", "webm",
                    "mp3",
                ]
                .map(String::from)
                .to_vec(),
                max_file_size: Some(50),
            }),
            shared_note_pad_features: Some(SharedNotePadFeatures { is_allow: true, ..Default::default() }),
            whiteboard_features: Some(WhiteboardFeatures {
                is_allow: true,
                max_allowed_file_size: Some(30),
                ..Default::default()
            }),
            external_media_player_features: Some(ExternalMediaPlayerFeatures {
                is_allow: true,
                ..Default::default()
            }),
            waiting_room_features: Some(WaitingRoomFeatures::default()),
            breakout_room_features: Some(BreakoutRoomFeatures {
                is_allow: true,
                allowed_number_rooms: 6,
                ..Default::default()
            }),
            display_external_link_features: Some(DisplayExternalLinkFeatures {
                is_allow: true,
                ..Default::default()
            }),
            ingress_features: Some(IngressFeatures { is_allow: true, ..Default::default() }),
            end_to_end_encryption_features: Some(EndToEndEncryptionFeatures::default()),
            polls_features: Some(PollsFeatures { is_allow: true, ..Default::default() }),
            // Insights and telephone need services that are not configured: off, as in the original (§5.2, last lines).
            insights_features: Some(InsightsFeatures::default()),
            sip_dial_in_features: Some(SipDialInFeatures::default()),
            external_broadcasting_features: Some(ExternalBroadcastingFeatures {
                is_allow: true,
                is_allow_rtmp: true,
                recorder_bot_options: None,
            }),
            ..Default::default()
        }),
        default_lock_settings: Some(LockSettings {
            lock_screen_sharing: Some(true),
            lock_whiteboard: Some(true),
            lock_shared_notepad: Some(true),
            ..Default::default()
        }),
        copyright_conf: Some(CopyrightConf::default()),
        ..Default::default()
    }
}

/// Switches off what depends on something that is off (plugnmeet.md §5.2).
fn consistent(mut metadata: RoomMetadata) -> RoomMetadata {
    let features = metadata.room_features.get_or_insert_default();
    let rtmp_wish = features.allow_rtmp;
    if let Some(broadcasting) = &mut features.external_broadcasting_features {
        if let Some(allowed) = rtmp_wish {
            broadcasting.is_allow = allowed;
            broadcasting.is_allow_rtmp = allowed;
        }
        broadcasting.is_allow_rtmp &= broadcasting.is_allow;
    }
    if let Some(recording) = &mut features.recording_features
        && !recording.is_allow
    {
        recording.is_allow_cloud = false;
        recording.is_allow_local = false;
        recording.enable_auto_cloud_recording = false;
    }
    if let Some(chat) = &mut features.chat_features {
        chat.is_allow_file_upload &= chat.is_allow;
    }
    if let Some(breakout) = &mut features.breakout_room_features {
        breakout.allowed_number_rooms = breakout.allowed_number_rooms.min(BREAKOUT_ROOMS_MAX);
    }
    let encryption = features.end_to_end_encryption_features.get_or_insert_default();
    if encryption.is_enabled {
        features.ingress_features.get_or_insert_default().is_allow = false;
    } else {
        *encryption = EndToEndEncryptionFeatures::default();
    }
    if encryption.enabled_self_insert_encryption_key {
        if let Some(broadcasting) = &mut features.external_broadcasting_features {
            broadcasting.is_allow = false;
            broadcasting.is_allow_rtmp = false;
        }
        if let Some(recording) = &mut features.recording_features {
            recording.is_allow_cloud = false;
            recording.enable_auto_cloud_recording = false;
        }
    }
    features.insights_features = Some(InsightsFeatures::default());
    features.sip_dial_in_features = Some(SipDialInFeatures::default());
    metadata.copyright_conf.get_or_insert_default();
    metadata.default_lock_settings.get_or_insert_default();
    metadata
}

fn check_metadata(metadata: &Value) -> Result<(), CreateError> {
    if !metadata.is_object() {
        return Err(CreateError::Missing("metadata"));
    }
    if metadata.to_string().len() > METADATA_LEN_MAX {
        return Err(CreateError::TooLong { field: "metadata", max: METADATA_LEN_MAX });
    }
    match metadata["room_title"].as_str() {
        None | Some("") => return Err(CreateError::Missing("metadata.room_title")),
        Some(title) if title.chars().count() > TITLE_LEN_MAX => {
            return Err(CreateError::TooLong { field: "metadata.room_title", max: TITLE_LEN_MAX });
        }
        Some(_) => {}
    }
    if !metadata["room_features"].is_object() {
        return Err(CreateError::Missing("metadata.room_features"));
    }
    for path in SET_BY_SERVER {
        let value = lookup(metadata, path.trim_start_matches("metadata."));
        if !is_zero(value) {
            return Err(CreateError::Internal(path));
        }
    }
    for path in ADDRESSES {
        let value = lookup(metadata, path.trim_start_matches("metadata."));
        if !value.is_null() && !value.as_str().is_some_and(is_http_address) {
            return Err(CreateError::NotUri(path));
        }
    }
    Ok(())
}

/// Members that say what the running room is like: only the server writes them (plugnmeet.md §5.2).
const SET_BY_SERVER: [&str; 32] = [
    "metadata.is_recording",
    "metadata.is_active_rtmp",
    "metadata.is_breakout_room",
    "metadata.parent_room_id",
    "metadata.started_at",
    "metadata.metadata_id",
    "metadata.room_features.shared_note_pad_features.is_active",
    "metadata.room_features.shared_note_pad_features.visible",
    "metadata.room_features.shared_note_pad_features.note_pad_id",
    "metadata.room_features.whiteboard_features.visible",
    "metadata.room_features.whiteboard_features.whiteboard_file_id",
    "metadata.room_features.whiteboard_features.file_name",
    "metadata.room_features.whiteboard_features.file_path",
    "metadata.room_features.whiteboard_features.max_allowed_file_size",
    "metadata.room_features.external_media_player_features.is_active",
    "metadata.room_features.external_media_player_features.shared_by",
    "metadata.room_features.external_media_player_features.url",
    "metadata.room_features.display_external_link_features.is_active",
    "metadata.room_features.breakout_room_features.is_active",
    "metadata.room_features.ingress_features.url",
    "metadata.room_features.ingress_features.stream_key",
    "metadata.room_features.end_to_end_encryption_features.encryption_key",
    "metadata.room_features.polls_features.is_active",
    "metadata.room_features.sip_dial_in_features.is_active",
    "metadata.room_features.sip_dial_in_features.phone_numbers",
    "metadata.room_features.sip_dial_in_features.pin",
    "metadata.room_features.sip_dial_in_features.dispatch_rule_id",
    "metadata.room_features.insights_features.transcription_features.is_enabled",
    "metadata.room_features.insights_features.chat_translation_features.is_enabled",
    "metadata.room_features.insights_features.ai_features.ai_text_chat_features.is_enabled",
    "metadata.room_features.insights_features.ai_features.meeting_summarization_features.is_enabled",
    "metadata.room_features.insights_features.transcription_features.max_selected_trans_langs",
];

const ADDRESSES: [&str; 3] = [
    "metadata.webhook_url",
    "metadata.logout_url",
    "metadata.room_features.whiteboard_features.preload_file",
];

fn is_http_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.len() <= 2048
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn lookup<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, member| &value[member])
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn positive(body: &Value, field: &'static str) -> Result<Option<u32>, CreateError> {
    let value = &body[field];
    if value.is_null() {
        return Ok(None);
    }
    // protojson also takes numbers as text.
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    match number.and_then(|number| u32::try_from(number).ok()) {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(CreateError::NotPositive(field)),
    }
}

/// lowerCamelCase member names become snake_case, except inside free-form maps.
fn snake_case(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let mut snake = String::with_capacity(name.len() + 4);
                for c in name.chars() {
                    if c.is_ascii_uppercase() {
                        snake.push('_');
                    }
                    snake.push(c.to_ascii_lowercase());
                }
                let value = if snake == "extra_data" { value.clone() } else { snake_case(value) };
                (snake, value)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(snake_case).collect(),
        other => other.clone(),
    }
}

fn merge(base: Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (name, value) in over {
                let merged = merge(base.remove(name).unwrap_or(Value::Null), value);
                base.insert(name.clone(), merged);
            }
            base.into()
        }
        (base, Value::Null) => base,
        (_, over) => over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(features: Value) -> Value {
        json!({"room_id": "r", "metadata": {"room_title": "T", "room_features": features}})
    }

    #[test]
    fn nothing_said_means_the_defaults() {
        let room = CreateRoom::from_json(&request(json!({}))).unwrap();
        assert_eq!(room.empty_timeout_s, 1800);
        let features = room.metadata.room_features.unwrap();
        assert!(features.allow_webcams && features.chat_features.unwrap().is_allow);
        assert_eq!(room.metadata.default_lock_settings.unwrap().lock_screen_sharing, Some(true));
    }

    #[test]
    fn a_member_that_is_present_counts_also_false_in_either_case() {
        for (features, webcams, chat) in [
            (json!({"allow_webcams": false, "chat_features": {"is_allow": false}}), false, false),
            (json!({"allowWebcams": false, "chatFeatures": {"isAllow": true}}), false, true),
        ] {
            let room = CreateRoom::from_json(&request(features)).unwrap();
            let features = room.metadata.room_features.unwrap();
            assert_eq!(features.allow_webcams, webcams);
            let rules = features.chat_features.unwrap();
            assert_eq!((rules.is_allow, rules.is_allow_file_upload), (chat, chat));
            // What was not said keeps its default.
            assert!(features.allow_screen_share);
        }
    }

    #[test]
    fn errors_name_the_member() {
        let error = |body: Value| CreateRoom::from_json(&body).unwrap_err().to_string();
        assert_eq!(error(json!({"room_id": "r"})), "metadata: value is required");
        assert_eq!(
            error(json!({"room_id": "a b"})),
            "room_id should only contain ASCII letters (a-z A-Z), digits (0-9) or -_"
        );
        assert_eq!(
            error(request(json!({"polls_features": {"is_active": true}}))),
            "metadata.room_features.polls_features.is_active: must not be set"
        );
        let mut body = request(json!({}));
        body["empty_timeout"] = json!(0);
        assert_eq!(error(body), "empty_timeout: value must be greater than 0");
        let mut body = request(json!({}));
        body["metadata"]["logout_url"] = json!("javascript:alert(1)");
        assert_eq!(error(body), "metadata.logout_url: value must be a valid URI");
        assert!(error(request(json!({"allow_webcams": "yes"}))).starts_with("metadata: "));
    }

    #[test]
    fn extra_data_keeps_its_names() {
        let mut body = request(json!({}));
        body["metadata"]["extraData"] = json!({"myKey": "v"});
        let room = CreateRoom::from_json(&body).unwrap();
        assert_eq!(room.metadata.extra_data["myKey"], "v");
    }

    #[test]
    fn encryption_gets_a_key_unless_people_type_their_own() {
        let mut env = crate::test_env();
        let room = |features| CreateRoom::from_json(&request(features)).unwrap();
        let generated = room(json!({"end_to_end_encryption_features": {"is_enabled": true}}))
            .into_room(1, &mut env.env());
        let own = room(json!({"end_to_end_encryption_features": {"is_enabled": true, "enabled_self_insert_encryption_key": true}}))
            .into_room(1, &mut env.env());
        let key = |room: &Room| {
            let features = room.metadata().room_features.clone().unwrap();
            features.end_to_end_encryption_features.unwrap().encryption_key
        };
        assert_eq!(key(&generated).unwrap().len(), 32);
        assert_eq!(key(&own), None);
    }
}
