//! `decide`: the rules. One file per part of a meeting's life.

mod chat;
mod life;
mod moderation;
mod presence;
mod seat;

use plenum_protocol::plugnmeet::{NatsMsgServerToClientEvents as Event, UserMetadata};

use crate::{
    Answer, Command, Decision, Env, Refusal,
    command::{Client, Moderation},
    rights::messaging_rights,
    state::{Action, Connection, Effect, Kick, Message, Person, Room, TellPeople, UnixMs},
    view::{Envelope, metadata_update},
};

/// Most effects that may wait in a record; beyond, new commands are refused as busy.
pub const OUTBOX_LEN_MAX: usize = 64;
/// Most bytes of messages that may wait in a record.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024;

impl Room {
    /// Decides one command. On `Err` the record is unchanged.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn decide(&mut self, command: Command, env: &mut Env<'_>) -> Result<Decision, Refusal> {
        let mut direct = Vec::new();
        let answer = match command {
            Command::Join(person) => self.join(*person, env)?,
            Command::Verify { user, sid, seat, page, again } => {
                self.check_seat(&user, &sid, &seat)?;
                self.verify(&user, page, again, env)?
            }
            Command::Connect { user, sid, seat, page, server, client } => {
                self.check_seat(&user, &sid, &seat)?;
                self.connect(&user, &page, server, client, env)?
            }
            Command::ConnectionUp { user, server, client, rights } => {
                self.connection_up(user.as_str(), &server, client, rights, env);
                Answer::Done
            }
            Command::ConnectionsSilent(silent) => {
                for (user, connection) in silent {
                    self.connection_silent(user.as_str(), &connection, env);
                }
                Answer::Done
            }
            Command::ConnectionClosed { user, server, client } => {
                self.connection_closed(user.as_str(), &server, client, env);
                Answer::Done
            }
            Command::FromClient { user, event } => {
                self.handle_client(user.as_str(), event, &mut direct, env)?
            }
            Command::Moderate { by, act } => {
                self.require_host(by.as_ref())?;
                self.moderate(by.as_ref(), act, env)?;
                Answer::Done
            }
            Command::MediaJoined { user, seat } => self.media_joined(user.as_str(), &seat, env),
            Command::MediaStarted => {
                self.media_started(env);
                Answer::Done
            }
            Command::Tick => {
                self.tick(env);
                Answer::Done
            }
            Command::Close { chat_before } => {
                self.close(chat_before, env);
                Answer::Done
            }
            Command::Done(ids) => {
                self.outbox.retain(|effect| !ids.contains(&effect.id));
                Answer::Done
            }
        };
        Ok(Decision { answer, direct })
    }

    /// Whether the outbox still takes the effects of one more command. Of alignments there is one per person at most, so
    /// they are not counted: with the media server away they wait, and the meeting goes on.
    #[must_use]
    pub fn has_room_for_effects(&self) -> bool {
        let counted =
            self.outbox.iter().filter(|effect| !matches!(effect.action, Some(Action::Align(_)))).count();
        let bytes: usize = self
            .outbox
            .iter()
            .filter_map(|effect| match &effect.action {
                Some(Action::Message(message)) => Some(message.payload.len()),
                _ => None,
            })
            .sum();
        counted < OUTBOX_LEN_MAX && bytes < OUTBOX_BYTES_MAX
    }

    fn handle_client(
        &mut self,
        user: &str,
        event: Client,
        direct: &mut Vec<crate::Direct>,
        env: &mut Env<'_>,
    ) -> Result<Answer, Refusal> {
        if !self.is_running() {
            return Err(Refusal::NotActive);
        }
        let waiting = self.people.get(user).ok_or(Refusal::UserUnknown)?.is_waiting();
        match event {
            Client::Ping => {
                self.ping(user, direct, env);
                Ok(Answer::Done)
            }
            Client::InitialData => {
                self.initial_data(user, direct, env);
                Ok(Answer::Done)
            }
            Client::RenewToken { sid, seat, ends_at } => self.renew(user, &sid, &seat, ends_at),
            _ if waiting => Err(Refusal::Waiting),
            Client::OnlineUsers { joining } => {
                self.online_users(user, joining, direct, env);
                Ok(Answer::Done)
            }
            Client::MediaAccess => self.media_access(user),
            Client::RaiseHand { text } => self.raise_hand(user, text, env),
            Client::LowerHand => self.lower_hand(user, env),
            Client::LowerHandOf { user: of } => {
                if !self.people.get(user).is_some_and(|person| person.is_admin) {
                    return Err(Refusal::AdminOnly);
                }
                self.lower_hand(of.as_str(), env)
            }
            Client::Chat { id, message } => self.chat(user, &id, *message, direct, env),
            Client::EncryptedChat { id, payload } => self.encrypted_chat(user, &id, payload, direct, env),
            Client::ChatHistory => Ok(Answer::ChatHistory { sid: self.sid.clone(), since: self.created_at }),
            Client::PrivateData { to, echo, msg, payload } => {
                self.relay(user, to.as_str(), echo, msg, payload, direct, env)
            }
        }
    }

    fn require_host(&self, by: Option<&crate::UserId>) -> Result<(), Refusal> {
        if !self.is_running() {
            return Err(Refusal::EndedAlready);
        }
        match by {
            None => Ok(()),
            Some(user) => match self.people.get(user.as_str()) {
                Some(person) if person.is_admin && !person.is_waiting() => Ok(()),
                Some(_) => Err(Refusal::AdminOnly),
                None => Err(Refusal::UserNotFound),
            },
        }
    }

    fn moderate(
        &mut self,
        by: Option<&crate::UserId>,
        act: Moderation,
        env: &mut Env<'_>,
    ) -> Result<(), Refusal> {
        match act {
            Moderation::Lock { target, lock, locked } => self.lock(by, target, lock, locked, env),
            Moderation::Mute { tracks, muted } => {
                self.mute(tracks, muted, env);
                Ok(())
            }
            Moderation::Remove { user, message, block } => self.remove(by, &user, message, block, env),
            Moderation::SwitchPresenter { user, promote } => self.switch_presenter(by, &user, promote, env),
            Moderation::Approve(target) => self.approve(target, env),
            Moderation::WaitingMessage(text) => self.waiting_message(text, env),
            Moderation::End(reason) => {
                self.end(reason, env);
                Ok(())
            }
        }
    }

    // What the parts share.

    fn person_mut(&mut self, user: &str) -> Option<&mut Person> {
        self.people.get_mut(user)
    }

    fn effect(&mut self, action: Action) {
        self.next_effect += 1;
        self.outbox.push(Effect { id: self.next_effect, sid: self.sid.clone(), action: Some(action) });
    }

    fn tell_all(&mut self, payload: Vec<u8>) {
        self.effect(Action::Message(Message { to: Vec::new(), payload }));
    }

    /// Tells several people the same; it is stored once.
    fn tell(&mut self, users: Vec<String>, payload: Vec<u8>) {
        if !users.is_empty() {
            self.effect(Action::Message(Message { to: users, payload }));
        }
    }

    /// Closes a connection after what was sent to it.
    fn kick(&mut self, user: &str, connection: Connection) {
        let kick = Action::Kick(Kick { user: user.to_owned(), connection: Some(connection) });
        if !self.outbox.iter().any(|effect| effect.action.as_ref() == Some(&kick)) {
            self.effect(kick);
        }
    }

    /// The pillars have to follow what holds for this person now.
    fn align(&mut self, user: &str) {
        // One that waits may have done its last look at the record already, so a new one takes its place.
        let waiting = Action::Align(user.to_owned());
        self.outbox.retain(|effect| effect.action.as_ref() != Some(&waiting));
        self.effect(waiting);
    }

    /// Changes a person's metadata, tells everybody, and makes the pillars follow where rights changed.
    fn update_person(&mut self, user: &str, env: &mut Env<'_>, change: impl Fn(&mut UserMetadata)) {
        self.update_people(vec![user.to_owned()], env, change);
    }

    /// The same for many. One person's change travels with its payload, so that each step of it is seen; the payloads of
    /// many would not fit the record, so theirs are read when they are told.
    fn update_people(
        &mut self,
        mut users: Vec<String>,
        env: &mut Env<'_>,
        change: impl Fn(&mut UserMetadata),
    ) {
        let mut approved = false;
        let mut rights_changed = Vec::new();
        users.retain(|user| {
            let Some(held) = self.people.get(user) else { return false };
            let before = held.metadata().clone();
            let messaging = messaging_rights(self, held);
            let Some(person) = self.people.get_mut(user) else { return false };
            let metadata = person.metadata.get_or_insert_default();
            change(metadata);
            if **metadata == before {
                return false;
            }
            metadata.metadata_id = Some(env.uuid());
            let let_in = metadata.wait_for_approval != before.wait_for_approval;
            approved |= let_in;
            let locks_changed = metadata.lock_settings != before.lock_settings;
            let messaging_changed =
                self.people.get(user).is_some_and(|person| messaging_rights(self, person) != messaging);
            if let Some(person) = self.people.get_mut(user) {
                person.rights += u64::from(messaging_changed);
            }
            if let_in || locks_changed || messaging_changed {
                rights_changed.push(user.clone());
            }
            true
        });
        match &*users {
            [] => {}
            [user] => {
                let Some(person) = self.people.get(user) else { return };
                let payload =
                    Envelope::json(Event::UserMetadataUpdate, &metadata_update(user, person.metadata()), env);
                self.tell_all(payload.clone());
                if approved {
                    // A waiting person does not hear what the room hears.
                    self.tell(vec![user.clone()], payload);
                }
            }
            _ => self.effect(Action::TellPeople(TellPeople { users, themselves: approved })),
        }
        for user in rights_changed {
            self.align(&user);
        }
    }

    /// A person's metadata as it is now, for [`TellPeople`].
    #[must_use]
    pub fn metadata_message(&self, user: &str, env: &mut Env<'_>) -> Option<Vec<u8>> {
        let update = metadata_update(user, self.people.get(user)?.metadata());
        Some(Envelope::json(Event::UserMetadataUpdate, &update, env))
    }

    fn metadata_changed(&mut self, env: &mut Env<'_>) {
        let id = env.uuid();
        let metadata = self.metadata.get_or_insert_default();
        metadata.metadata_id = Some(id);
        let payload = Envelope::json(Event::RoomMetadataUpdate, &**metadata, env);
        self.tell_all(payload);
    }

    /// The next moment at which [`Command::Tick`] has something to decide.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixMs> {
        self.life_deadlines().chain(self.seat_deadlines()).min()
    }
}

#[cfg(test)]
mod tests;
