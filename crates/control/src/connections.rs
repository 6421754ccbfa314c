//! The broker's connection events make presence fast; pings make it right.

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
};
use futures_util::StreamExt as _;
use plenum_meeting::{Command, Refusal, RoomId, UserId};
use serde::Deserialize;
use tracing::{debug, warn};

use crate::{
    kick::{Kicked, Kicker},
    layout::CONNECTIONS,
    writer::{CommandError, Writers},
};

/// All servers share the events.
const DURABLE: &str = "presence";

#[derive(Deserialize)]
struct Event {
    server: Server,
    client: Client,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

#[derive(Deserialize)]
struct Client {
    id: u64,
    #[serde(default)]
    user: String,
    #[serde(default)]
    name_tag: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    user_id: String,
    room_id: String,
    #[serde(default)]
    rights: u64,
}

/// Follows the events until the connection to the broker is closed.
pub(crate) async fn follow(
    js: jetstream::Context,
    writers: Writers,
    kicker: Kicker,
) -> Result<tokio::task::JoinHandle<()>, String> {
    let stream = js.get_stream_no_info(CONNECTIONS).await.map_err(|error| error.to_string())?;
    let config = pull::Config {
        durable_name: Some(DURABLE.to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_deliver: 5,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| error.to_string())?;
    Ok(tokio::spawn(async move {
        loop {
            match consumer.messages().await {
                Ok(mut messages) => {
                    while let Some(message) = messages.next().await {
                        match message {
                            Ok(message) => {
                                let (writers, kicker) = (writers.clone(), kicker.clone());
                                // Of one connection the order does not matter: pending → up → closed, never back.
                                tokio::spawn(async move {
                                    if handle(&message, &writers, &kicker).await {
                                        let _ = message.ack().await;
                                    }
                                });
                            }
                            Err(error) => debug!(error = %error, "Connection events stopped for a moment"),
                        }
                    }
                }
                Err(error) => warn!(error = %error, "Connection events cannot be read, trying again"),
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }))
}

/// Whether it is done.
async fn handle(message: &jetstream::Message, writers: &Writers, kicker: &Kicker) -> bool {
    let Ok(event) = serde_json::from_slice::<Event>(&message.payload) else { return true };
    let name = [&event.client.user, &event.client.name_tag]
        .into_iter()
        .find_map(|text| serde_json::from_str(text).ok());
    let Some(Name { user_id, room_id, rights }) = name else { return true };
    let (Ok(user), Ok(room)) = (UserId::parse(&user_id, "userId"), RoomId::parse(&room_id, "roomId")) else {
        return true;
    };
    let (server, client) = (event.server.id, event.client.id);
    let up = message.subject.ends_with(".CONNECT");
    let command = if up {
        Command::ConnectionUp { user, server: server.clone(), client, rights }
    } else {
        Command::ConnectionClosed { user, server: server.clone(), client }
    };
    let error = match writers.command(&room, command).await {
        Ok(_) => return true,
        // Let in for a room that is gone: whoever comes next under its id must not be heard.
        Err(CommandError::Refused(Refusal::RoomUnknown)) if up => match kicker.kick(&server, client).await {
            Ok(Kicked::Closed) => return true,
            Ok(Kicked::Unreachable) => "its broker cannot be reached".to_owned(),
            Err(error) => error,
        },
        Err(CommandError::Refused(Refusal::RoomUnknown)) => return true,
        Err(error) => error.to_string(),
    };
    debug!(error = %error, room.id = %room, "A connection event could not be noted");
    false
}
