//! Data packets: stamped with who sent them, passed on to those they are for.

use std::sync::Arc;

use livekit_protocol as proto;
use prost::Message as _;
use proto::DataPacket;
use proto::data_packet::{Kind, Value};

use super::{Effect, Room};
use crate::ids::{Identity, PeerHandle, ShardId};
use crate::shard;
use crate::transport::MAX_DATA_LEN;

/// Nonces that are remembered of a sender.
const NONCES: usize = 64;
/// Most receivers that a packet may name.
const MAX_DESTINATIONS: usize = 1_000;

impl Room {
    pub(super) fn data(&mut self, identity: &Identity, reliable: bool, payload: &[u8]) {
        let Some(sender) = self.participants.get_mut(identity) else { return };
        if !sender.permission.can_publish_data {
            return;
        }
        let Ok(packet) = DataPacket::decode(payload) else { return };
        match &packet.value {
            Some(Value::Speaker(_)) | None => return,
            Some(Value::Transcription(_)) if !sender.permission.agent => return,
            Some(_) => {}
        }
        if reliable && packet.sequence != 0 {
            // Repeated after a reconnect of the client.
            if packet.sequence <= sender.data_sequence {
                return;
            }
            sender.data_sequence = packet.sequence;
        }
        if let Some(Value::User(user)) = &packet.value
            && !user.nonce.is_empty()
        {
            if user.nonce.len() > 64 || sender.nonces.contains(&user.nonce) {
                return;
            }
            sender.nonces.push_back(user.nonce.clone());
            if sender.nonces.len() > NONCES {
                sender.nonces.pop_front();
            }
        }
        if packet.value.as_ref().is_some_and(|value| self.rpc_answer(identity, value)) {
            return;
        }
        let Some(sender) = self.participants.get(identity) else { return };
        let hidden = sender.permission.hidden;
        let (name, sid) = if hidden { ("", "") } else { (identity.as_str(), sender.info.sid.as_str()) };
        let stamped = stamp(payload, &packet, name, sid, reliable);
        self.deliver(Some(identity), &packet, reliable, stamped);
    }

    /// Sends a packet of the server API.
    pub(super) fn data_from_api(&mut self, packet: &DataPacket, reliable: bool) {
        self.deliver(None, packet, reliable, packet.encode_to_vec());
    }

    fn deliver(&mut self, from: Option<&Identity>, packet: &DataPacket, reliable: bool, bytes: Vec<u8>) {
        let (identities, sids) = destinations(packet);
        let for_all = identities.is_empty() && sids.is_empty();
        let metrics = matches!(packet.value, Some(Value::Metrics(_)));
        let mut peers: Vec<PeerHandle> = self
            .participants
            .iter()
            .filter(|(identity, participant)| {
                let meant = for_all
                    || identities.iter().any(|name| *name == identity.as_str())
                    || sids.iter().any(|sid| *sid == participant.info.sid);
                Some(*identity) != from && meant && (!metrics || participant.permission.can_subscribe_metrics)
            })
            .map(|(_, participant)| participant.peer)
            .collect();
        peers.sort_by_key(|peer| peer.shard);
        if bytes.len() > MAX_DATA_LEN {
            // With its sender's name it would be longer than receivers take.
            tracing::debug!(data.len = bytes.len(), "A data packet is too long and was dropped");
            return;
        }
        let payload: Arc<[u8]> = bytes.into();
        // One message per media thread, whatever the number of receivers.
        while let Some(shard) = peers.first().map(|peer| peer.shard) {
            let others = peers.split_off(peers.partition_point(|peer| peer.shard == shard));
            let own = std::mem::replace(&mut peers, others);
            self.send_data(shard, own, reliable, payload.clone());
        }
    }

    fn send_data(&mut self, shard: ShardId, peers: Vec<PeerHandle>, reliable: bool, payload: Arc<[u8]>) {
        let command = Box::new(shard::Command::SendData { peers, reliable, payload });
        self.effects.push(Effect::Shard { shard, command });
    }
}

/// Whom a packet is for; nobody named means everybody.
#[expect(deprecated, reason = "older clients name receivers in the inner packet")]
fn destinations(packet: &DataPacket) -> (Vec<&str>, Vec<&str>) {
    let mut identities: Vec<&str> = packet.destination_identities.iter().map(String::as_str).collect();
    let mut sids = Vec::new();
    if let Some(Value::User(user)) = &packet.value {
        identities.extend(user.destination_identities.iter().map(String::as_str));
        sids.extend(user.destination_sids.iter().map(String::as_str));
    }
    identities.truncate(MAX_DESTINATIONS);
    sids.truncate(MAX_DESTINATIONS);
    (identities, sids)
}

/// The packet with its true sender. Everything else stays as it is to the last byte, also fields that we do not
/// know: of a field that comes twice the last one counts.
#[expect(deprecated, reason = "nobody may pretend to be somebody else in the old fields either")]
fn stamp(payload: &[u8], packet: &DataPacket, identity: &str, sid: &str, reliable: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + identity.len() + sid.len() + 8);
    match &packet.value {
        Some(Value::User(user))
            if !user.participant_identity.is_empty() || !user.participant_sid.is_empty() =>
        {
            let mut honest = packet.clone();
            if let Some(Value::User(user)) = &mut honest.value {
                identity.clone_into(&mut user.participant_identity);
                sid.clone_into(&mut user.participant_sid);
            }
            honest.encode(&mut bytes).expect("a vector has room");
        }
        _ => bytes.extend_from_slice(payload),
    }
    let kind = if reliable { Kind::Reliable } else { Kind::Lossy };
    prost::encoding::int32::encode(1, &(kind as i32), &mut bytes);
    prost::encoding::string::encode(4, &identity.to_owned(), &mut bytes);
    prost::encoding::string::encode(17, &sid.to_owned(), &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(deprecated, reason = "the old fields are tested as well")]
    fn a_stamp_replaces_the_sender_and_nothing_else() {
        let mut packet = DataPacket {
            participant_identity: "somebody else".into(),
            participant_sid: "PA_x".into(),
            sequence: 7,
            value: Some(Value::User(proto::UserPacket { payload: b"hi".to_vec(), ..Default::default() })),
            ..DataPacket::default()
        };
        let mut payload = packet.encode_to_vec();
        // An unknown field.
        payload.extend_from_slice(&[0xf8, 0x07, 0x01]);
        let stamped = stamp(&payload, &packet, "alice", "PA_a", false);
        assert!(stamped.starts_with(&payload), "the rest is untouched");
        let read = DataPacket::decode(stamped.as_slice()).expect("well-formed");
        assert_eq!((read.participant_identity.as_str(), read.participant_sid.as_str()), ("alice", "PA_a"));
        assert_eq!((read.kind, read.sequence), (Kind::Lossy as i32, 7));

        if let Some(Value::User(user)) = &mut packet.value {
            user.participant_identity = "mallory".into();
        }
        let stamped = stamp(&packet.encode_to_vec(), &packet, "", "", true);
        let read = DataPacket::decode(stamped.as_slice()).expect("well-formed");
        assert_eq!(read.participant_identity, "");
        let Some(Value::User(user)) = read.value else { panic!("still a user packet") };
        assert_eq!((user.participant_identity.as_str(), user.payload.as_slice()), ("", b"hi".as_slice()));
    }
}
