//! Chat and messages from one person to another.

use plenum_protocol::plugnmeet::{ChatMessage, NatsMsgServerToClientEvents as Event, PrivateDataDelivery};
use prost::Message as _;

use crate::{
    Answer, Direct, Env, Refusal, Stamp, may_chat, may_chat_privately,
    state::Room,
    view::{Envelope, to_json},
};

/// Longest chat message, in bytes.
const CHAT_LEN_MAX: usize = 16 * 1024;
/// Largest encrypted chat message and relayed message, in bytes: a stored chat message may have 64 KiB.
const RELAY_LEN_MAX: usize = 48 * 1024;

impl Room {
    pub(super) fn chat(
        &mut self,
        user: &str,
        id: &str,
        message: ChatMessage,
        direct: &mut Vec<Direct>,
        env: &mut Env<'_>,
    ) -> Result<Answer, Refusal> {
        let person = self.people.get(user).ok_or(Refusal::UserUnknown)?;
        if message.message.is_empty() {
            return Err(Refusal::Empty("message"));
        }
        if message.message.len() > CHAT_LEN_MAX {
            return Err(Refusal::TooLong("message"));
        }
        let to = message.to_user_id.filter(|to| !to.is_empty());
        let allowed = if to.is_some() { may_chat_privately(self, person) } else { may_chat(self, person) };
        if !allowed {
            return Err(Refusal::ChatLocked);
        }
        let stamped = ChatMessage {
            id: message_id(user, id, env),
            from_name: person.name.clone(),
            from_user_id: user.to_owned(),
            sent_at: i64::try_from(env.now).unwrap_or(i64::MAX),
            is_private: to.is_some(),
            to_user_id: to.clone(),
            message: message.message,
            from_admin: person.is_admin,
            ..ChatMessage::default()
        };
        let payload = stamped.encode_to_vec();
        let Some(to) = to else {
            direct.push(Direct::Chat { payload, stamp: None });
            return Ok(Answer::Done);
        };
        if !self.people.get(&to).is_some_and(|person| !person.is_waiting() && !person.is_hidden) {
            return Err(Refusal::UserNotFound);
        }
        let header =
            PrivateDataDelivery { to_user_id: to.clone(), echo_to_sender: true, r#type: "CHAT".to_owned() };
        let envelope =
            Envelope::with_payload(Event::DeliveryPrivateData, to_json(&header), payload.clone(), env);
        let mut readers = vec![user.to_owned()];
        if to != user {
            readers.push(to);
        }
        for reader in readers {
            direct.push(Direct::PrivateChat { user: reader.clone(), payload: payload.clone() });
            direct.push(Direct::To { user: reader, payload: envelope.clone() });
        }
        Ok(Answer::Done)
    }

    pub(super) fn encrypted_chat(
        &mut self,
        user: &str,
        id: &str,
        payload: Vec<u8>,
        direct: &mut Vec<Direct>,
        env: &mut Env<'_>,
    ) -> Result<Answer, Refusal> {
        let person = self.people.get(user).ok_or(Refusal::UserUnknown)?;
        if payload.is_empty() {
            return Err(Refusal::Empty("message"));
        }
        if payload.len() > RELAY_LEN_MAX {
            return Err(Refusal::TooLong("message"));
        }
        if !may_chat(self, person) {
            return Err(Refusal::ChatLocked);
        }
        let stamp = Stamp { id: message_id(user, id, env), from: user.to_owned(), sent_at: env.now };
        direct.push(Direct::Chat { payload, stamp: Some(stamp) });
        Ok(Answer::Done)
    }

    #[expect(clippy::too_many_arguments, reason = "the members of one message")]
    pub(super) fn relay(
        &mut self,
        user: &str,
        to: &str,
        echo: bool,
        msg: String,
        payload: Vec<u8>,
        direct: &mut Vec<Direct>,
        env: &mut Env<'_>,
    ) -> Result<Answer, Refusal> {
        let person = self.people.get(user).ok_or(Refusal::UserUnknown)?;
        if payload.len() > RELAY_LEN_MAX || msg.len() > RELAY_LEN_MAX {
            return Err(Refusal::TooLong("bin_msg"));
        }
        let is_chat =
            serde_json::from_str::<PrivateDataDelivery>(&msg).is_ok_and(|header| header.r#type == "CHAT");
        if is_chat && !may_chat_privately(self, person) {
            return Err(Refusal::ChatLocked);
        }
        if self.people.get(to).is_none_or(crate::state::Person::is_waiting) {
            return Err(Refusal::UserNotFound);
        }
        let envelope = Envelope::with_payload(Event::DeliveryPrivateData, msg, payload, env);
        direct.push(Direct::To { user: to.to_owned(), payload: envelope.clone() });
        if echo && to != user {
            direct.push(Direct::To { user: user.to_owned(), payload: envelope });
        }
        Ok(Answer::Done)
    }
}

/// A sender recognises its own message by it, and readers a repeat.
fn message_id(user: &str, envelope: &str, env: &mut Env<'_>) -> String {
    format!("{user}:{}", if is_uuid(envelope) { envelope.to_owned() } else { env.uuid() })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
