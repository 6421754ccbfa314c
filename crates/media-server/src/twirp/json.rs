//! Answers in Twirp's JSON: names as in the .proto files, and every field there, also those with nothing in them.
//!
//! protojson, which our messages are serialised in, has other names and leaves zeroes out. Clients read both, but people
//! who ask with curl look for what LiveKit's server writes.

use livekit_protocol as proto;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A message that calls are answered with.
pub(super) trait Answer: prost::Message + Serialize + for<'de> Deserialize<'de> {
    /// Its fields.
    const FIELDS: Fields;
}

/// Fields of a message, with what stands there when nothing is set.
pub(super) type Fields = &'static [(&'static str, Unset)];

/// The value of a field that is not set, and what a set one consists of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unset {
    Text,
    Number,
    /// 64 bits, in JSON a text.
    Long,
    Flag,
    /// The first name of an enum.
    Name(&'static str),
    List,
    Map,
    Message(Fields),
    Messages(Fields),
}

/// Writes an answer.
pub(super) fn write<T: Answer>(answer: &T) -> Vec<u8> {
    let value = match serde_json::to_value(answer) {
        Ok(Value::Object(object)) => Value::Object(complete(object, T::FIELDS)),
        other => other.unwrap_or_default(),
    };
    value.to_string().into_bytes()
}

fn complete(mut set: Map<String, Value>, fields: Fields) -> Map<String, Value> {
    let field = |(name, unset): &(&str, Unset)| {
        let value = match (unset, set.remove(&camel_case(name))) {
            (Unset::Message(fields), Some(Value::Object(object))) => Value::Object(complete(object, fields)),
            (Unset::Messages(fields), Some(Value::Array(list))) => list
                .into_iter()
                .map(|item| match item {
                    Value::Object(object) => Value::Object(complete(object, fields)),
                    other => other,
                })
                .collect(),
            (_, Some(value)) => value,
            (unset, None) => unset.value(),
        };
        ((*name).to_owned(), value)
    };
    fields.iter().map(field).collect()
}

impl Unset {
    fn value(self) -> Value {
        match self {
            Self::Text => "".into(),
            Self::Number => 0.into(),
            Self::Long => "0".into(),
            Self::Flag => false.into(),
            Self::Name(name) => name.into(),
            Self::List | Self::Messages(_) => Value::Array(Vec::new()),
            Self::Map => Value::Object(Map::new()),
            Self::Message(_) => Value::Null,
        }
    }
}

/// protojson's name of a field.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

macro_rules! answers {
    ($($message:ident: $fields:expr;)*) => {
        $(impl Answer for proto::$message {
            const FIELDS: Fields = $fields;
        })*
    };
}

answers! {
    Room: ROOM;
    ParticipantInfo: PARTICIPANT;
    ListRoomsResponse: &[("rooms", Unset::Messages(ROOM))];
    ListParticipantsResponse: &[("participants", Unset::Messages(PARTICIPANT))];
    MuteRoomTrackResponse: &[("track", Unset::Message(TRACK))];
    DeleteRoomResponse: &[];
    RemoveParticipantResponse: &[];
    SendDataResponse: &[];
    UpdateSubscriptionsResponse: &[];
    PerformRpcResponse: &[("payload", Unset::Text)];
    AgentDispatch: DISPATCH;
    ListAgentDispatchResponse: &[("agent_dispatches", Unset::Messages(DISPATCH))];
}

const DISPATCH: Fields = &[
    ("id", Unset::Text),
    ("agent_name", Unset::Text),
    ("room", Unset::Text),
    ("metadata", Unset::Text),
    ("state", Unset::Message(DISPATCH_STATE)),
    ("restart_policy", Unset::Name("JRP_ON_FAILURE")),
    ("deployment", Unset::Text),
    ("attributes", Unset::Map),
];
// No worker can connect, so there are no jobs.
const DISPATCH_STATE: Fields =
    &[("jobs", Unset::List), ("created_at", Unset::Long), ("deleted_at", Unset::Long)];

const ROOM: Fields = &[
    ("sid", Unset::Text),
    ("name", Unset::Text),
    ("empty_timeout", Unset::Number),
    ("departure_timeout", Unset::Number),
    ("max_participants", Unset::Number),
    ("creation_time", Unset::Long),
    ("creation_time_ms", Unset::Long),
    ("turn_password", Unset::Text),
    ("enabled_codecs", Unset::Messages(CODEC)),
    ("metadata", Unset::Text),
    ("num_participants", Unset::Number),
    ("num_publishers", Unset::Number),
    ("active_recording", Unset::Flag),
    ("version", Unset::Message(VERSION)),
];
const CODEC: Fields = &[("mime", Unset::Text), ("fmtp_line", Unset::Text)];
const VERSION: Fields = &[("unix_micro", Unset::Long), ("ticks", Unset::Number)];
const PARTICIPANT: Fields = &[
    ("sid", Unset::Text),
    ("identity", Unset::Text),
    ("state", Unset::Name("JOINING")),
    ("tracks", Unset::Messages(TRACK)),
    ("metadata", Unset::Text),
    ("joined_at", Unset::Long),
    ("joined_at_ms", Unset::Long),
    ("name", Unset::Text),
    ("version", Unset::Number),
    ("permission", Unset::Message(PERMISSION)),
    ("region", Unset::Text),
    ("is_publisher", Unset::Flag),
    ("kind", Unset::Name("STANDARD")),
    ("attributes", Unset::Map),
    ("disconnect_reason", Unset::Name("UNKNOWN_REASON")),
    ("kind_details", Unset::List),
    // Nobody has any here.
    ("data_tracks", Unset::List),
    ("client_protocol", Unset::Number),
    ("capabilities", Unset::List),
];
const PERMISSION: Fields = &[
    ("can_subscribe", Unset::Flag),
    ("can_publish", Unset::Flag),
    ("can_publish_data", Unset::Flag),
    ("can_publish_sources", Unset::List),
    ("hidden", Unset::Flag),
    ("recorder", Unset::Flag),
    ("can_update_metadata", Unset::Flag),
    ("agent", Unset::Flag),
    ("can_subscribe_metrics", Unset::Flag),
    ("can_manage_agent_session", Unset::Flag),
];
const TRACK: Fields = &[
    ("sid", Unset::Text),
    ("type", Unset::Name("AUDIO")),
    ("name", Unset::Text),
    ("muted", Unset::Flag),
    ("width", Unset::Number),
    ("height", Unset::Number),
    ("simulcast", Unset::Flag),
    ("disable_dtx", Unset::Flag),
    ("source", Unset::Name("UNKNOWN")),
    ("layers", Unset::Messages(LAYER)),
    ("mime_type", Unset::Text),
    ("mid", Unset::Text),
    ("codecs", Unset::Messages(SIMULCAST_CODEC)),
    ("stereo", Unset::Flag),
    ("disable_red", Unset::Flag),
    ("encryption", Unset::Name("NONE")),
    ("stream", Unset::Text),
    ("version", Unset::Message(VERSION)),
    ("audio_features", Unset::List),
    ("backup_codec_policy", Unset::Name("PREFER_REGRESSION")),
    ("packet_trailer_features", Unset::List),
];
const LAYER: Fields = &[
    ("quality", Unset::Name("LOW")),
    ("width", Unset::Number),
    ("height", Unset::Number),
    ("bitrate", Unset::Number),
    ("ssrc", Unset::Number),
    ("spatial_layer", Unset::Number),
    ("rid", Unset::Text),
    ("repair_ssrc", Unset::Number),
];
const SIMULCAST_CODEC: Fields = &[
    ("mime_type", Unset::Text),
    ("mid", Unset::Text),
    ("cid", Unset::Text),
    ("layers", Unset::Messages(LAYER)),
    ("video_layer_mode", Unset::Name("MODE_UNUSED")),
    ("sdp_cid", Unset::Text),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::value::Error;
    use serde::de::{Deserializer, Error as _, Visitor};

    use super::*;

    /// Takes down which fields a message reads, and gives none.
    struct Names<'a>(&'a mut BTreeSet<String>);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("only fields are looked at"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields.iter().map(|field| (*field).to_owned()));
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// A message whose fields are all listed, in both spellings; a newer version of it that has more is noticed.
    fn assert_complete<T: for<'de> Deserialize<'de>>(fields: Fields) {
        let mut known = BTreeSet::new();
        assert!(T::deserialize(Names(&mut known)).is_err());
        let listed = fields.iter().flat_map(|(name, _)| [(*name).to_owned(), camel_case(name)]).collect();
        assert_eq!(known, listed);
    }

    #[test]
    fn every_field_is_listed() {
        assert_complete::<proto::Room>(ROOM);
        assert_complete::<proto::Codec>(CODEC);
        assert_complete::<proto::TimedVersion>(VERSION);
        assert_complete::<proto::ParticipantInfo>(PARTICIPANT);
        assert_complete::<proto::ParticipantPermission>(PERMISSION);
        assert_complete::<proto::TrackInfo>(TRACK);
        assert_complete::<proto::VideoLayer>(LAYER);
        assert_complete::<proto::SimulcastCodecInfo>(SIMULCAST_CODEC);
        assert_complete::<proto::ListRoomsResponse>(proto::ListRoomsResponse::FIELDS);
        assert_complete::<proto::ListParticipantsResponse>(proto::ListParticipantsResponse::FIELDS);
        assert_complete::<proto::MuteRoomTrackResponse>(proto::MuteRoomTrackResponse::FIELDS);
        assert_complete::<proto::DeleteRoomResponse>(proto::DeleteRoomResponse::FIELDS);
        assert_complete::<proto::RemoveParticipantResponse>(proto::RemoveParticipantResponse::FIELDS);
        assert_complete::<proto::SendDataResponse>(proto::SendDataResponse::FIELDS);
        assert_complete::<proto::UpdateSubscriptionsResponse>(proto::UpdateSubscriptionsResponse::FIELDS);
        assert_complete::<proto::PerformRpcResponse>(proto::PerformRpcResponse::FIELDS);
        assert_complete::<proto::AgentDispatch>(DISPATCH);
        assert_complete::<proto::AgentDispatchState>(DISPATCH_STATE);
        assert_complete::<proto::ListAgentDispatchResponse>(proto::ListAgentDispatchResponse::FIELDS);
    }

    #[test]
    #[expect(deprecated, reason = "layers are still written, and read by older clients")]
    fn what_is_written_says_the_same_when_it_is_read() {
        let room = proto::Room {
            sid: "RM_x".into(),
            empty_timeout: 20,
            creation_time: 1_700_000_000,
            enabled_codecs: vec![proto::Codec { mime: "video/VP8".into(), ..Default::default() }],
            ..Default::default()
        };
        let track = proto::TrackInfo {
            sid: "TR_x".into(),
            source: proto::TrackSource::Camera as i32,
            layers: vec![proto::VideoLayer { quality: 1, width: 320, ..Default::default() }],
            ..Default::default()
        };
        let participant = proto::ParticipantInfo {
            state: proto::participant_info::State::Active as i32,
            attributes: [("a_b".to_owned(), "c".to_owned())].into(),
            permission: Some(proto::ParticipantPermission { hidden: true, ..Default::default() }),
            tracks: vec![track],
            ..Default::default()
        };
        let written: Value = serde_json::from_slice(&write(&room)).expect("JSON");
        assert_eq!(written["num_participants"], 0);
        assert_eq!(written["creation_time"], "1700000000");
        assert_eq!(written["enabled_codecs"][0]["fmtp_line"], "");
        assert!(written["version"].is_null() && written.get("emptyTimeout").is_none());
        assert_eq!(serde_json::from_value::<proto::Room>(written).expect("readable"), room);
        let written: Value = serde_json::from_slice(&write(&participant)).expect("JSON");
        assert_eq!(written["state"], "ACTIVE");
        assert_eq!(written["attributes"]["a_b"], "c", "keys of maps are no field names");
        assert_eq!(written["tracks"][0]["layers"][0]["quality"], "MEDIUM");
        assert_eq!(written["permission"]["can_publish"], false);
        assert_eq!(serde_json::from_value::<proto::ParticipantInfo>(written).expect("readable"), participant);
    }
}
