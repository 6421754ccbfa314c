//! What a person may do, derived from the record; the two pillars enforce it.

use plenum_protocol::plugnmeet::LockSettings;

use crate::state::{Person, Room};

/// What media a person may send. Subscribing comes with being admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaRights {
    /// Microphone.
    pub microphone: bool,
    /// Camera.
    pub camera: bool,
    /// Screen and its sound.
    pub screen: bool,
    /// Data packets: they could carry chat, so they follow it.
    pub data: bool,
    /// Not shown to others.
    pub hidden: bool,
}

/// What a person may do on the broker beyond talking to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagingRights {
    /// Own events only.
    Waiting,
    /// The room's subjects.
    Admitted {
        /// Publish and read `whiteboard.<room>`.
        whiteboard: bool,
    },
}

/// `None`: no media at all (waiting, or the room is not running).
#[must_use]
pub fn media_rights(room: &Room, person: &Person) -> Option<MediaRights> {
    if !room.is_running() || person.is_waiting() {
        return None;
    }
    let Some(features) = &room.metadata().room_features else { return None };
    let locks = locks(person);
    let free = |lock: Option<bool>| person.is_admin || lock != Some(true);
    Some(MediaRights {
        microphone: free(locks.lock_microphone),
        camera: features.allow_webcams
            && (person.is_admin || !features.admin_only_webcams)
            && free(locks.lock_webcam),
        screen: features.allow_screen_share && free(locks.lock_screen_sharing),
        data: may_chat(room, person),
        hidden: person.is_hidden,
    })
}

/// What the auth callout answers for this person.
#[must_use]
pub fn messaging_rights(room: &Room, person: &Person) -> MessagingRights {
    if person.is_waiting() {
        MessagingRights::Waiting
    } else {
        let exists = room
            .metadata()
            .room_features
            .as_ref()
            .and_then(|features| features.whiteboard_features.as_ref())
            .is_some_and(|whiteboard| whiteboard.is_allow);
        let locked = locks(person).lock_whiteboard == Some(true);
        MessagingRights::Admitted { whiteboard: exists && (!locked || person.metadata().is_presenter) }
    }
}

/// May send public chat.
#[must_use]
pub fn may_chat(room: &Room, person: &Person) -> bool {
    let allowed = room
        .metadata()
        .room_features
        .as_ref()
        .and_then(|features| features.chat_features.as_ref())
        .is_some_and(|chat| chat.is_allow);
    let locks = locks(person);
    allowed
        && !person.is_waiting()
        && (person.is_admin || (locks.lock_chat != Some(true) && locks.lock_chat_send_message != Some(true)))
}

/// May send private chat.
#[must_use]
pub fn may_chat_privately(room: &Room, person: &Person) -> bool {
    may_chat(room, person) && (person.is_admin || locks(person).lock_private_chat != Some(true))
}

fn locks(person: &Person) -> LockSettings {
    person.metadata().lock_settings.unwrap_or_default()
}
