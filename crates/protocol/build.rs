//! Generates Rust types from `proto/`: protobuf by prost, protojson by pbjson.

use std::{env, fs, path::PathBuf};

/// Messages with keys, tokens, passwords, or what people write: they print their name alone. Some hold others as JSON.
const UNPRINTABLE: [&str; 37] = [
    "ActiveRoomInfo",
    "BreakoutRoomRes",
    "BroadcastBreakoutRoomMsgReq",
    "BroadcastToRoomChatMessage",
    "BroadcastToRoomNotificationMsg",
    "ChatHistoryEntry",
    "ChatMessage",
    "CreateIngressRes",
    "CreatePollOptions",
    "DataChannelMessage",
    "DataMessageReq",
    "EndToEndEncryptionFeatures",
    "GenerateTokenRes",
    "GetAnalyticsDownloadTokenRes",
    "GetArtifactDownloadTokenRes",
    "GetDownloadTokenRes",
    "IngressFeatures",
    "InsightsAITextChatContent",
    "InsightsAITextChatStreamResult",
    "InsightsTextTranslationResult",
    "InsightsTranscriptionResult",
    "InsightsTranslateTextReq",
    "MediaServerConnInfo",
    "NatsKvRoomInfo",
    "NatsKvUserInfo",
    "NatsMsgClientToServer",
    "NatsMsgServerToClient",
    "NatsSystemNotification",
    "NatsUserMetadataUpdate",
    "PlugNmeetToRecorder",
    "PollResponsesResultOptions",
    "RecordingReq",
    "RemoveParticipantReq",
    "SipDialInFeatures",
    "TurnCredentials",
    "UpdateWaitingRoomMessageReq",
    "WaitingRoomFeatures",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&proto)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect();
    files.sort();

    let descriptors = protox::compile(&files, [&proto])?;
    let encoded = prost_build::Config::new();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let bytes = prost::Message::encode_to_vec(&descriptors);

    let mut config = encoded;
    config.btree_map(["."]).skip_debug(UNPRINTABLE.map(|name| format!(".plugnmeet.{name}")));
    config.compile_fds(descriptors)?;
    let unprintable: String = UNPRINTABLE
        .iter()
        .map(|name| {
            // As prost spells it.
            let name = name.replace("AI", "Ai");
            format!(
                "impl ::std::fmt::Debug for {name} {{ fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> \
                 ::std::fmt::Result {{ f.write_str(\"{name} {{ .. }}\") }} }}\n"
            )
        })
        .collect();
    fs::write(out.join("unprintable.rs"), unprintable)?;

    // plugNmeet's JSON: snake_case names with zero values; unknown members are ignored on the way in.
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .preserve_proto_field_names()
        .emit_fields()
        .ignore_unknown_fields()
        .btree_map(["."])
        .out_dir(&out)
        .build(&[".plugnmeet", ".livekit"])?;
    Ok(())
}
