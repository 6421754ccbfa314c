//! Hosts' acts, hands and the waiting room.

use plenum_protocol::plugnmeet::{
    LockSettings, NatsMsgServerToClientEvents as Event, NatsSystemNotificationTypes as Kind, UserRaisedHand,
};

use crate::{
    Answer, Env, Lock, Refusal, Target, UserId,
    state::{Action, MuteTrack, Presence, Room, UnixMs},
    view::Envelope,
};

/// Muting somebody later than this surprises them more than it helps; in ms.
const MUTE_MS_MAX: UnixMs = 10_000;
/// Longest text of a host or a raised hand that is passed on, in bytes.
const TEXT_LEN_MAX: usize = 2048;
/// Most ids that may be blocked in a room.
const BLOCKED_LEN_MAX: usize = 1000;

impl Room {
    pub(super) fn lock(
        &mut self,
        by: Option<&UserId>,
        target: Target,
        lock: Lock,
        locked: bool,
        env: &mut Env<'_>,
    ) -> Result<(), Refusal> {
        match target {
            Target::One(user) => {
                let person = self.people.get(user.as_str()).ok_or(Refusal::UserNotFound)?;
                if person.is_admin && lock != Lock::Whiteboard {
                    return Err(Refusal::LockAdmin);
                }
                self.update_person(user.as_str(), env, |metadata| {
                    set(metadata.lock_settings.get_or_insert_default(), lock, locked);
                });
            }
            Target::All => {
                let defaults = &mut self.metadata.get_or_insert_default().default_lock_settings;
                set(defaults.get_or_insert_default(), lock, locked);
                self.metadata_changed(env);
                // Also who is away for a moment or has only a token: what holds for all holds when they are back.
                let users: Vec<String> = self
                    .people
                    .iter()
                    .filter(|(id, person)| {
                        (!person.is_admin || lock == Lock::Whiteboard)
                            && by.is_none_or(|by| by.as_str() != id.as_str())
                    })
                    .map(|(id, _)| id.clone())
                    .collect();
                self.update_people(users, env, |metadata| {
                    set(metadata.lock_settings.get_or_insert_default(), lock, locked);
                });
            }
        }
        Ok(())
    }

    pub(super) fn mute(&mut self, tracks: Vec<(String, String)>, muted: bool, env: &mut Env<'_>) {
        for (user, track_sid) in tracks {
            let mute = MuteTrack { user, track_sid, muted, deadline: env.now + MUTE_MS_MAX };
            self.effect(Action::MuteTrack(mute));
        }
    }

    pub(super) fn remove(
        &mut self,
        by: Option<&UserId>,
        user: &UserId,
        message: String,
        block: bool,
        env: &mut Env<'_>,
    ) -> Result<(), Refusal> {
        if by == Some(user) {
            return Err(Refusal::RemoveSelf);
        }
        if message.len() > TEXT_LEN_MAX {
            return Err(Refusal::TooLong("msg"));
        }
        let person = self.people.get(user.as_str()).ok_or(Refusal::UserNotFound)?;
        let online = person.presence() == Presence::Online;
        if !online && !block {
            return Err(Refusal::UserNotActive);
        }
        if block && self.blocked.len() >= BLOCKED_LEN_MAX {
            return Err(Refusal::TooLong("list of blocked people"));
        }
        if !message.is_empty() {
            let payload = Envelope::notification(Kind::NatsSystemNotificationError, message, env);
            self.tell(vec![user.to_string()], payload);
        }
        self.send_away(user.as_str(), "notifications.room-disconnected-participant-removed", env);
        if block && !self.blocked.iter().any(|id| id == user.as_str()) {
            self.blocked.push(user.to_string());
        }
        if online {
            self.announce(Event::UserOffline, user.as_str(), env);
        }
        // Without a seat the token is worthless: coming back takes a new one.
        self.people.remove(user.as_str());
        self.effect(Action::DeleteDurable(user.to_string()));
        self.note_emptiness(env.now);
        Ok(())
    }

    pub(super) fn switch_presenter(
        &mut self,
        by: Option<&UserId>,
        user: &UserId,
        promote: bool,
        env: &mut Env<'_>,
    ) -> Result<(), Refusal> {
        if !self.people.contains_key(user.as_str()) {
            return Err(Refusal::UserNotFound);
        }
        let next = if promote {
            Some(user.as_str())
        } else {
            by.map(UserId::as_str).filter(|by| *by != user.as_str())
        };
        self.unseat_presenter(next.unwrap_or_default(), env);
        if let Some(next) = next {
            self.update_person(next, env, |metadata| metadata.is_presenter = true);
        }
        if !promote {
            self.update_person(user.as_str(), env, |metadata| metadata.is_presenter = false);
        }
        Ok(())
    }

    /// Nobody but `except` presents.
    pub(super) fn unseat_presenter(&mut self, except: &str, env: &mut Env<'_>) {
        if let Some(presenter) = self.presenter().filter(|id| *id != except).map(str::to_owned) {
            self.update_person(&presenter, env, |metadata| metadata.is_presenter = false);
        }
    }

    pub(super) fn approve(&mut self, target: Target, env: &mut Env<'_>) -> Result<(), Refusal> {
        let users = match target {
            Target::One(user) => {
                if !self.people.contains_key(user.as_str()) {
                    return Err(Refusal::UserNotFound);
                }
                vec![user.to_string()]
            }
            Target::All => self
                .people
                .iter()
                .filter(|(_, person)| person.is_waiting())
                .map(|(id, _)| id.clone())
                .collect(),
        };
        self.update_people(users, env, |metadata| metadata.wait_for_approval = false);
        Ok(())
    }

    pub(super) fn waiting_message(&mut self, text: String, env: &mut Env<'_>) -> Result<(), Refusal> {
        if text.len() > TEXT_LEN_MAX {
            return Err(Refusal::TooLong("msg"));
        }
        let features = self.metadata.get_or_insert_default().room_features.get_or_insert_default();
        features.waiting_room_features.get_or_insert_default().waiting_room_msg = text;
        self.metadata_changed(env);
        let waiting: Vec<String> =
            self.online().filter(|(_, person)| person.is_waiting()).map(|(id, _)| id.clone()).collect();
        let info = crate::view::room_info(self, true);
        let payload = Envelope::text(Event::RoomMetadataUpdate, info.metadata, env);
        self.tell(waiting, payload);
        Ok(())
    }

    pub(super) fn raise_hand(
        &mut self,
        user: &str,
        text: String,
        env: &mut Env<'_>,
    ) -> Result<Answer, Refusal> {
        if text.len() > TEXT_LEN_MAX {
            return Err(Refusal::TooLong("msg"));
        }
        let now = i64::try_from(env.now).unwrap_or(i64::MAX);
        self.update_person(user, env, |metadata| {
            metadata.raised_hand = Some(UserRaisedHand { is_raised: true, raised_at: now });
        });
        if !text.is_empty() {
            let hosts: Vec<String> = self
                .online()
                .filter(|(id, person)| person.is_admin && id.as_str() != user)
                .map(|(id, _)| id.clone())
                .collect();
            let payload = Envelope::notification(Kind::NatsSystemNotificationInfo, text, env);
            self.tell(hosts, payload);
        }
        Ok(Answer::Done)
    }

    pub(super) fn lower_hand(&mut self, user: &str, env: &mut Env<'_>) -> Result<Answer, Refusal> {
        if !self.people.contains_key(user) {
            return Err(Refusal::UserNotFound);
        }
        self.update_person(user, env, |metadata| metadata.raised_hand = Some(UserRaisedHand::default()));
        Ok(Answer::Done)
    }
}

fn set(locks: &mut LockSettings, lock: Lock, locked: bool) {
    let field = match lock {
        Lock::Microphone => &mut locks.lock_microphone,
        Lock::Webcam => &mut locks.lock_webcam,
        Lock::ScreenShare => &mut locks.lock_screen_sharing,
        Lock::Chat => &mut locks.lock_chat,
        Lock::SendChatMessage => &mut locks.lock_chat_send_message,
        Lock::ChatFile => &mut locks.lock_chat_file_share,
        Lock::PrivateChat => &mut locks.lock_private_chat,
        Lock::Whiteboard => &mut locks.lock_whiteboard,
        Lock::SharedNotepad => &mut locks.lock_shared_notepad,
        Lock::Reactions => &mut locks.lock_reactions,
    };
    *field = Some(locked);
}
