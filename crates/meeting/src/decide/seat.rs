//! Seats: given by a join token, taken by a page, held by one broker connection.

use plenum_protocol::plugnmeet::NatsMsgServerToClientEvents as Event;

use super::presence::GRACE_MS;
use crate::{
    Answer, Env, JoinPerson, MediaAccess, Refusal, UserId,
    command::Admission,
    rights::{media_rights, messaging_rights},
    state::{Action, Connection, ConnectionState, Person, Phase, Presence, RemoveMedia, Room, UnixMs},
    view::Envelope,
};

/// Longest name of a person, in characters.
const NAME_LEN_MAX: usize = 128;
/// Most bytes one person may take in the record.
const PERSON_BYTES_MAX: usize = 2 * 1024;
/// Most bytes of a record; beyond, nobody else gets a seat.
const RECORD_BYTES_MAX: usize = 512 * 1024;
/// Pages of one person that lost the seat and are remembered.
const PAGES_REPLACED_MAX: usize = 4;
/// A connection that was let in and never heard of is over after this long, in ms.
const PENDING_MS_MAX: UnixMs = 10_000;

impl Room {
    pub(super) fn join(&mut self, wish: JoinPerson, env: &mut Env<'_>) -> Result<Answer, Refusal> {
        match self.phase() {
            Phase::Created | Phase::Active => {}
            Phase::Ending | Phase::Ended => return Err(Refusal::RoomEnded),
        }
        if wish.name.chars().count() > NAME_LEN_MAX {
            return Err(Refusal::TooLong("name"));
        }
        let features = self.metadata().room_features.clone().unwrap_or_default();
        let bot = matches!(wish.user.as_str(), "RECORDER_BOT" | "RTMP_BOT");
        let user = if features.auto_gen_user_id == Some(true) && !bot {
            UserId::parse(&env.uuid(), "user_id")?
        } else {
            wish.user
        };
        if self.blocked.iter().any(|id| id == user.as_str()) {
            return Err(Refusal::BlockedToJoin);
        }
        let is_new = !self.people.contains_key(user.as_str());
        if is_new && prost::Message::encoded_len(self) + PERSON_BYTES_MAX > RECORD_BYTES_MAX {
            return Err(Refusal::Full);
        }

        let mut metadata = wish.metadata;
        if metadata.ex_user_id.as_deref().unwrap_or_default().is_empty() {
            metadata.ex_user_id = Some(user.to_string());
        }
        metadata.is_admin = wish.is_admin;
        metadata.raised_hand = Some(Default::default());
        metadata.record_webcam.get_or_insert(true);
        metadata.metadata_id = Some(env.uuid());
        let defaults = self.metadata().default_lock_settings.unwrap_or_default();
        if wish.is_admin {
            let other_presents = self
                .online()
                .any(|(id, person)| id.as_str() != user.as_str() && person.metadata().is_presenter);
            metadata.is_presenter = !other_presents && !wish.is_hidden;
            metadata.wait_for_approval = false;
            metadata.lock_settings = Some(Default::default());
            if !metadata.is_presenter
                && let Some(locks) = &mut metadata.lock_settings
            {
                locks.lock_whiteboard = defaults.lock_whiteboard;
            }
        } else {
            metadata.is_presenter = false;
            metadata.lock_settings =
                Some(with_defaults(metadata.lock_settings.unwrap_or_default(), defaults));
            metadata.wait_for_approval =
                features.waiting_room_features.as_ref().is_some_and(|waiting| waiting.is_active);
        }
        let mut person = Person {
            sid: env.uuid(),
            name: wish.name,
            is_admin: wish.is_admin,
            is_hidden: wish.is_hidden,
            metadata: Some(Box::new(metadata)),
            presence: Presence::Added.into(),
            client_type: wish.client_type.into(),
            token_ends_at: wish.token_ends_at,
            fresh_durable: true,
            media_seat: env.uuid(),
            ..Person::default()
        };
        if prost::Message::encoded_len(&person) > PERSON_BYTES_MAX {
            return Err(Refusal::TooLong("user_metadata"));
        }

        // Nothing is refused from here on.
        if person.metadata().is_presenter {
            self.unseat_presenter(user.as_str(), env);
        }
        if let Some(old) = self.people.get(user.as_str()) {
            // Rights go on counting and history stays, so that nothing of the older seat passes for the new one.
            person.rights = old.rights + 1;
            person.joined_at = old.joined_at;
            let was_online = old.presence() == Presence::Online;
            self.send_away(user.as_str(), "notifications.room-disconnected-duplicate-entry", env);
            if was_online {
                self.announce(Event::UserOffline, user.as_str(), env);
            }
        }
        let sid = self.sid.clone();
        self.people.insert(user.to_string(), person.clone());
        self.note_emptiness(env.now);
        Ok(Answer::Joined { user, person: Box::new(person), sid })
    }

    /// A page shows its token, which was checked. A new page takes the seat over from the one that has it, a reload from its older self;
    /// one that lost the seat does not get it back by waking up.
    pub(super) fn verify(
        &mut self,
        user: &UserId,
        page: String,
        again: bool,
        env: &mut Env<'_>,
    ) -> Result<Answer, Refusal> {
        let person = self.people.get(user.as_str()).ok_or(Refusal::UserUnknown)?;
        let lost = !person.page.is_empty() && page != person.page;
        if person.pages_replaced.contains(&page) || (again && lost) {
            return Err(Refusal::SeatReplaced);
        }
        if person.presence() != Presence::Online && self.is_full_for(user) {
            return Err(Refusal::Full);
        }
        // Pages that do not name themselves cannot be told apart: each one is another.
        let other_page = page.is_empty() || page != person.page;
        let took_over = other_page && person.live_connection().is_some();
        if took_over {
            self.send_away(user.as_str(), "notifications.room-disconnected-duplicate-entry", env);
        }
        if let Some(person) = self.person_mut(user.as_str())
            && other_page
        {
            if took_over {
                // The seat stays taken for the page that is on its way; the others need not know.
                person.connection = None;
                person.deadline = env.now + GRACE_MS;
            }
            let older = std::mem::replace(&mut person.page, page);
            if !older.is_empty() {
                person.pages_replaced.push(older);
                let surplus = person.pages_replaced.len().saturating_sub(PAGES_REPLACED_MAX);
                person.pages_replaced.drain(..surplus);
            }
            person.fresh_durable = true;
        }
        let self_insert_encryption_key = self
            .metadata()
            .room_features
            .as_ref()
            .and_then(|features| features.end_to_end_encryption_features.as_ref())
            .is_some_and(|encryption| encryption.enabled_self_insert_encryption_key);
        Ok(Answer::Verified { took_over, self_insert_encryption_key })
    }

    /// A connection asks to be let in; whether its token holds was checked.
    pub(super) fn connect(
        &mut self,
        user: &UserId,
        page: &str,
        server: String,
        client: u64,
        env: &mut Env<'_>,
    ) -> Result<Answer, Refusal> {
        if self.is_full_for(user) {
            return Err(Refusal::Full);
        }
        let messaging = messaging_rights(self, self.people.get(user.as_str()).ok_or(Refusal::UserUnknown)?);
        let person = self.person_mut(user.as_str()).ok_or(Refusal::UserUnknown)?;
        let other_page = !person.page.is_empty() && page != person.page;
        if other_page || person.pages_replaced.iter().any(|replaced| replaced == page) {
            return Err(Refusal::SeatReplaced);
        }
        let next =
            Connection { server, client, state: ConnectionState::Pending.into(), rights: person.rights };
        let older = person.live_connection().filter(|held| !held.is(&next.server, next.client)).cloned();
        person.connection = Some(next);
        person.deadline = env.now + PENDING_MS_MAX;
        let admission = Admission {
            rights: messaging,
            rights_version: person.rights,
            person: person.clone(),
            fresh_durable: person.fresh_durable,
        };
        if let Some(older) = older {
            self.kick(user.as_str(), older);
        }
        Ok(Answer::Admitted(Box::new(admission)))
    }

    /// The token's run is this one, its seat is the one this person has, and they may be here.
    pub(super) fn check_seat(&self, user: &UserId, sid: &str, seat: &str) -> Result<(), Refusal> {
        if !self.is_running() || self.sid != sid {
            return Err(Refusal::NotActive);
        }
        if self.blocked.iter().any(|id| id == user.as_str()) {
            return Err(Refusal::Blocked);
        }
        let person = self.people.get(user.as_str()).ok_or(Refusal::UserUnknown)?;
        if person.sid == seat { Ok(()) } else { Err(Refusal::SeatReplaced) }
    }

    /// Whether the others leave no place. Whoever is on their way in has one.
    fn is_full_for(&self, user: &UserId) -> bool {
        let others = self.people.iter().filter(|(id, person)| {
            let here = person.presence() == Presence::Online || person.live_connection().is_some();
            here && !person.is_hidden && id.as_str() != user.as_str()
        });
        self.max_participants > 0 && others.count() >= self.max_participants as usize
    }

    pub(super) fn renew(
        &mut self,
        user: &str,
        sid: &str,
        seat: &str,
        ends_at: UnixMs,
    ) -> Result<Answer, Refusal> {
        if self.sid != sid {
            return Err(Refusal::NotActive);
        }
        let person = self.person_mut(user).ok_or(Refusal::UserUnknown)?;
        if person.sid != seat {
            return Err(Refusal::SeatReplaced);
        }
        person.token_ends_at = person.token_ends_at.max(ends_at);
        Ok(Answer::Renewed(Box::new(person.clone())))
    }

    pub(super) fn media_access(&self, user: &str) -> Result<Answer, Refusal> {
        let person = self.people.get(user).ok_or(Refusal::UserUnknown)?;
        let rights = media_rights(self, person).ok_or(Refusal::Waiting)?;
        let seat = person.media_seat.clone();
        Ok(Answer::Media(Box::new(MediaAccess { name: person.name.clone(), seat, rights })))
    }

    pub(super) fn media_joined(&mut self, user: &str, seat: &str, env: &mut Env<'_>) -> Answer {
        let welcome = self
            .people
            .get(user)
            .is_some_and(|person| person.media_seat == seat && media_rights(self, person).is_some());
        if welcome {
            // The report that media started may have been lost.
            self.media_started(env);
            // The token may be older than the rights.
            self.align(user);
            Answer::Done
        } else {
            Answer::RemoveFromMedia
        }
    }

    /// Tells the page that holds the seat that it is over, and takes connection and media from it.
    pub(super) fn send_away(&mut self, user: &str, why: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get(user) else { return };
        let held = person.live_connection().cloned();
        if held.is_none() && person.joined_at == 0 {
            return;
        }
        let payload = Envelope::text(Event::SessionEnded, why, env);
        self.tell(vec![user.to_owned()], payload);
        if let Some(held) = held {
            self.kick(user, held);
        }
        self.clear_media(user, env);
    }

    /// Whoever is in media under this person's id leaves it; whoever comes in with a token that is made from now on stays.
    pub(super) fn clear_media(&mut self, user: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get_mut(user) else { return };
        let seat = std::mem::replace(&mut person.media_seat, env.uuid());
        self.effect(Action::RemoveMedia(RemoveMedia { user: user.to_owned(), seat }));
    }
}

/// What was not said is as the room has it.
fn with_defaults(
    wish: plenum_protocol::plugnmeet::LockSettings,
    defaults: plenum_protocol::plugnmeet::LockSettings,
) -> plenum_protocol::plugnmeet::LockSettings {
    plenum_protocol::plugnmeet::LockSettings {
        lock_microphone: wish.lock_microphone.or(defaults.lock_microphone),
        lock_webcam: wish.lock_webcam.or(defaults.lock_webcam),
        lock_screen_sharing: wish.lock_screen_sharing.or(defaults.lock_screen_sharing),
        lock_chat: wish.lock_chat.or(defaults.lock_chat),
        lock_chat_send_message: wish.lock_chat_send_message.or(defaults.lock_chat_send_message),
        lock_chat_file_share: wish.lock_chat_file_share.or(defaults.lock_chat_file_share),
        lock_private_chat: wish.lock_private_chat.or(defaults.lock_private_chat),
        lock_whiteboard: wish.lock_whiteboard.or(defaults.lock_whiteboard),
        lock_shared_notepad: wish.lock_shared_notepad.or(defaults.lock_shared_notepad),
        lock_reactions: wish.lock_reactions.or(defaults.lock_reactions),
    }
}
