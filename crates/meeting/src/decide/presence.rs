//! Presence: a connection makes a person online; its end does not at once make them gone.

use plenum_protocol::plugnmeet::{NatsInitialData, NatsKvUserInfo, NatsMsgServerToClientEvents as Event};

use crate::{
    Direct, Env,
    state::{Action, Connection, ConnectionState, Disperse, Kick, Phase, Presence, Room, UnixMs},
    view::{Envelope, room_info, to_json, user_info},
};

/// A lost person may come back unnoticed for this long, in ms (plugnmeet.md §4.3).
pub(super) const GRACE_MS: UnixMs = 5_000;
/// Media and messages of somebody who is offline are kept for this long, in ms (plugnmeet.md §4.3).
const OFFLINE_MS: UnixMs = 30_000;

impl Room {
    /// The broker let a connection in, which was told `rights`. One that does not hold a seat here (it was replaced,
    /// removed or given up while the broker was still asking) must not stay: what it may do was decided for the seat.
    pub(super) fn connection_up(
        &mut self,
        user: &str,
        server: &str,
        client: u64,
        rights: u64,
        env: &mut Env<'_>,
    ) {
        let running = self.is_running();
        let seat = self
            .people
            .get_mut(user)
            .filter(|person| running && person.live_connection().is_some_and(|held| held.is(server, client)));
        let Some(person) = seat else {
            let state = ConnectionState::Up.into();
            return self.kick(user, Connection { server: server.to_owned(), client, state, rights });
        };
        if let Some(connection) = &mut person.connection {
            connection.rights = rights;
        }
        person.fresh_durable = false;
        self.seen(user, env);
    }

    /// The connection that holds the seat is alive.
    fn seen(&mut self, user: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get_mut(user) else { return };
        let Some(connection) = &mut person.connection else { return };
        connection.set_state(ConnectionState::Up);
        if connection.rights != person.rights {
            self.align(user);
        }
        self.came_online(user, env);
    }

    /// Nothing was heard of a connection: it is closed, so that a client that is there after all comes back.
    pub(super) fn connection_silent(&mut self, user: &str, silent: &Connection, env: &mut Env<'_>) {
        let holds = self
            .people
            .get(user)
            .and_then(|person| person.live_connection())
            .is_some_and(|held| held.is(&silent.server, silent.client));
        if holds && self.is_running() {
            self.connection_closed(user, &silent.server, silent.client, env);
            self.kick(user, silent.clone());
        }
    }

    pub(super) fn connection_closed(&mut self, user: &str, server: &str, client: u64, env: &mut Env<'_>) {
        let running = self.is_running();
        let Some(person) = self.people.get_mut(user).filter(|_| running) else { return };
        let rights = person.rights;
        let Some(connection) = person.connection.as_mut().filter(|held| held.is(server, client)) else {
            return;
        };
        if connection.state() == ConnectionState::Closed {
            return;
        }
        connection.set_state(ConnectionState::Closed);
        let replaced_by_us = connection.rights != rights;
        if person.presence() != Presence::Online {
            return;
        }
        if replaced_by_us {
            // We closed it so that new rights take effect; the client is on its way back and nobody needs to know.
            person.deadline = env.now + GRACE_MS;
        } else {
            self.went_away(user, env);
        }
    }

    pub(super) fn ping(&mut self, user: &str, direct: &mut Vec<Direct>, env: &mut Env<'_>) {
        if self.people.get(user).is_some_and(|person| person.live_connection().is_some()) {
            self.seen(user, env);
        }
        let payload = Envelope::text(Event::Pong, env.now.to_string(), env);
        direct.push(Direct::To { user: user.to_owned(), payload });
    }

    fn came_online(&mut self, user: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get_mut(user) else { return };
        if person.presence() == Presence::Online {
            person.deadline = 0;
            return;
        }
        person.set_presence(Presence::Online);
        person.deadline = 0;
        if person.joined_at == 0 {
            person.joined_at = env.now;
            self.joined_total += u32::from(!person.is_hidden);
        } else {
            person.reconnected_at = env.now;
        }
        self.empty_since = 0;
        self.announce(Event::UserJoined, user, env);
    }

    fn went_away(&mut self, user: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get_mut(user) else { return };
        person.set_presence(Presence::Disconnected);
        person.disconnected_at = env.now;
        person.deadline = env.now + GRACE_MS;
        self.note_emptiness(env.now);
        self.announce(Event::UserDisconnected, user, env);
    }

    /// People's deadlines that have passed.
    pub(super) fn tick_people(&mut self, env: &mut Env<'_>) {
        let due: Vec<String> = self
            .people
            .iter()
            .filter(|(_, person)| person.deadline != 0 && person.deadline <= env.now)
            .map(|(id, _)| id.clone())
            .collect();
        for user in due {
            self.person_is_due(&user, env);
        }
        // Nobody sits there any more, and nobody can come with the token.
        let now = env.now;
        let forgotten: Vec<Kick> = self
            .people
            .iter()
            .filter(|(_, person)| is_forgotten(person, now))
            .map(|(user, _)| Kick { user: user.clone(), connection: None })
            .collect();
        if !forgotten.is_empty() {
            self.people.retain(|_, person| !is_forgotten(person, now));
            // Their durables' names become free.
            self.effect(Action::Disperse(Disperse { people: forgotten }));
        }
    }

    fn person_is_due(&mut self, user: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get_mut(user) else { return };
        person.deadline = 0;
        let mut given_up = None;
        if let Some(connection) = &mut person.connection
            && connection.state() == ConnectionState::Pending
        {
            connection.set_state(ConnectionState::Closed);
            given_up = Some(connection.clone());
        }
        self.seat_is_due(user, env);
        if let Some(connection) = given_up {
            // It may be open all the same: then its client has to come back.
            self.kick(user, connection);
        }
    }

    fn seat_is_due(&mut self, user: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get_mut(user) else { return };
        match person.presence() {
            Presence::Added => {}
            Presence::Online => {
                if person.live_connection().is_none() {
                    self.went_away(user, env);
                }
            }
            Presence::Disconnected => {
                person.set_presence(Presence::Offline);
                person.deadline = env.now + OFFLINE_MS;
                self.announce(Event::UserOffline, user, env);
            }
            Presence::Offline => {
                person.fresh_durable = true;
                self.clear_media(user, env);
                self.effect(Action::DeleteDurable(user.to_owned()));
            }
        }
    }

    pub(super) fn seat_deadlines(&self) -> impl Iterator<Item = UnixMs> {
        let running = self.is_running();
        self.people.values().filter(move |_| running).flat_map(|person| {
            let forgotten = (person.live_connection().is_none()
                && matches!(person.presence(), Presence::Added | Presence::Offline)
                && person.deadline == 0)
                .then_some(person.token_ends_at);
            [(person.deadline != 0).then_some(person.deadline), forgotten].into_iter().flatten()
        })
    }

    pub(super) fn initial_data(&mut self, user: &str, direct: &mut Vec<Direct>, env: &mut Env<'_>) {
        let Some(person) = self.people.get(user) else { return };
        let data = NatsInitialData {
            room: Some(room_info(self, person.is_waiting())),
            local_user: Some(user_info(self, user, person)),
        };
        let payload = Envelope::json(Event::ResInitialData, &data, env);
        direct.push(Direct::To { user: user.to_owned(), payload });
    }

    pub(super) fn online_users(
        &mut self,
        user: &str,
        joining: bool,
        direct: &mut Vec<Direct>,
        env: &mut Env<'_>,
    ) {
        let list: Vec<NatsKvUserInfo> = self
            .online()
            .filter(|(id, person)| !person.is_hidden || id.as_str() == user)
            .map(|(id, person)| user_info(self, id, person))
            .collect();
        if list.is_empty() {
            return;
        }
        let event = if joining { Event::ResJoinedUsersList } else { Event::RespOnlineUsersList };
        let payload = Envelope::text(event, to_json(&list), env);
        direct.push(Direct::To { user: user.to_owned(), payload });
    }

    /// Tells everybody about a person; hidden ones come and go unseen.
    pub(super) fn announce(&mut self, event: Event, user: &str, env: &mut Env<'_>) {
        let Some(person) = self.people.get(user).filter(|person| !person.is_hidden) else { return };
        let info = user_info(self, user, person);
        let payload = Envelope::json(event, &info, env);
        self.tell_all(payload);
    }

    pub(super) fn note_emptiness(&mut self, now: UnixMs) {
        let empty = self.online().next().is_none();
        if !empty {
            self.empty_since = 0;
        } else if self.empty_since == 0 && matches!(self.phase(), Phase::Created | Phase::Active) {
            self.empty_since = now;
        }
    }
}

fn is_forgotten(person: &crate::state::Person, now: UnixMs) -> bool {
    matches!(person.presence(), Presence::Added | Presence::Offline)
        && person.live_connection().is_none()
        && person.deadline == 0
        && person.token_ends_at <= now
}
