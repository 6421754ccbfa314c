//! Whatever happens to a meeting, in whatever order: what holds after each step.

use std::collections::{BTreeMap, BTreeSet};

use plenum_protocol::plugnmeet::{ChatMessage, ClientType, UserMetadata};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::{Meeting, user};
use crate::{
    Client, Command, Decision, Direct, EndReason, JoinPerson, Lock, Moderation, Refusal, Room, Target,
    UserId, media_rights, messaging_rights,
    state::{Action, Connection, Phase, Presence},
};

/// One thing that may happen to a meeting.
#[derive(Debug, Clone)]
enum Happens {
    Join {
        who: usize,
        admin: bool,
        hidden: bool,
    },
    Verify {
        who: usize,
        page: usize,
        again: bool,
    },
    Connect {
        who: usize,
        page: usize,
    },
    /// Of one of the last connections, not always the seat's.
    Up {
        who: usize,
        back: u64,
    },
    Closed {
        who: usize,
        back: u64,
    },
    Silent {
        who: usize,
    },
    Asks {
        who: usize,
        what: usize,
    },
    Lock {
        who: Option<usize>,
        lock: usize,
        locked: bool,
    },
    Mute {
        who: usize,
    },
    Remove {
        who: usize,
        block: bool,
    },
    Present {
        who: usize,
        promote: bool,
    },
    Approve {
        who: Option<usize>,
    },
    WaitingMessage,
    End,
    MediaStarted,
    MediaJoined {
        who: usize,
    },
    Time {
        ms: u64,
    },
    Done {
        count: usize,
    },
    Close,
    Recreate,
}

const PEOPLE: [&str; 5] = ["ann", "bob", "cid", "dan", "eve"];
const PAGES: [&str; 3] = ["", "one", "two"];
const LOCKS: [Lock; 4] = [Lock::Microphone, Lock::Chat, Lock::Whiteboard, Lock::PrivateChat];

fn happens() -> impl Strategy<Value = Happens> {
    let who = 0..PEOPLE.len();
    prop_oneof![
        4 => (who.clone(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(who, admin, hidden)| Happens::Join { who, admin, hidden }),
        2 => (who.clone(), 0..PAGES.len(), any::<bool>())
            .prop_map(|(who, page, again)| Happens::Verify { who, page, again }),
        6 => (who.clone(), 0..PAGES.len()).prop_map(|(who, page)| Happens::Connect { who, page }),
        6 => (who.clone(), 0..2_u64).prop_map(|(who, back)| Happens::Up { who, back }),
        2 => (who.clone(), 0..2_u64).prop_map(|(who, back)| Happens::Closed { who, back }),
        1 => who.clone().prop_map(|who| Happens::Silent { who }),
        6 => (who.clone(), 0..11_usize).prop_map(|(who, what)| Happens::Asks { who, what }),
        2 => (prop::option::of(who.clone()), 0..LOCKS.len(), any::<bool>())
            .prop_map(|(who, lock, locked)| Happens::Lock { who, lock, locked }),
        1 => who.clone().prop_map(|who| Happens::Mute { who }),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, block)| Happens::Remove { who, block }),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, promote)| Happens::Present { who, promote }),
        2 => prop::option::of(who.clone()).prop_map(|who| Happens::Approve { who }),
        1 => Just(Happens::WaitingMessage),
        1 => prop::bool::weighted(0.2).prop_map(|end| if end { Happens::End } else { Happens::MediaStarted }),
        1 => who.prop_map(|who| Happens::MediaJoined { who }),
        5 => prop_oneof![Just(200_u64), Just(5_100), Just(10_100), Just(31_000), Just(700_000)]
            .prop_map(|ms| Happens::Time { ms }),
        5 => (0..8_usize).prop_map(|count| Happens::Done { count }),
        1 => Just(Happens::Close),
        1 => Just(Happens::Recreate),
    ]
}

/// A meeting with the connections that its people ever had.
struct World {
    meeting: Meeting,
    clients: u64,
    last: BTreeMap<&'static str, u64>,
    highest_rights: BTreeMap<(String, String), u64>,
}

impl World {
    fn command(&mut self, happens: &Happens) -> Option<Command> {
        let person = |who: usize| user(PEOPLE[who]);
        let connection = |last: &BTreeMap<&str, u64>, who: usize, back: u64| {
            last.get(PEOPLE[who]).copied().unwrap_or_default().saturating_sub(back)
        };
        let server = || "broker".to_owned();
        let sid = self.meeting.room.sid.clone();
        Some(match *happens {
            Happens::Join { who, admin, hidden } => Command::Join(Box::new(JoinPerson {
                user: person(who),
                name: PEOPLE[who].to_owned(),
                is_admin: admin,
                is_hidden: hidden,
                metadata: UserMetadata::default(),
                client_type: ClientType::Web,
                token_ends_at: self.meeting.now + 600_000,
            })),
            Happens::Verify { who, page, again } => Command::Verify {
                user: person(who),
                sid,
                seat: self.meeting.seat(PEOPLE[who]),
                page: PAGES[page].to_owned(),
                again,
            },
            Happens::Connect { who, page } => {
                self.clients += 1;
                self.last.insert(PEOPLE[who], self.clients);
                let seat = self.meeting.seat(PEOPLE[who]);
                let (page, server) = (PAGES[page].to_owned(), server());
                Command::Connect { user: person(who), sid, seat, page, server, client: self.clients }
            }
            Happens::Up { who, back } => Command::ConnectionUp {
                user: person(who),
                server: server(),
                client: connection(&self.last, who, back),
                rights: self.meeting.room.people.get(PEOPLE[who]).map_or(0, |person| person.rights),
            },
            Happens::Closed { who, back } => Command::ConnectionClosed {
                user: person(who),
                server: server(),
                client: connection(&self.last, who, back),
            },
            Happens::Silent { who } => {
                let held = self.meeting.room.people.get(PEOPLE[who])?.live_connection()?.clone();
                Command::ConnectionsSilent(vec![(person(who), held)])
            }
            Happens::Asks { who, what } => {
                let event = match what {
                    0 => Client::Ping,
                    1 => Client::InitialData,
                    2 => Client::OnlineUsers { joining: true },
                    3 => Client::MediaAccess,
                    4 => Client::RaiseHand { text: "question".to_owned() },
                    5 => Client::LowerHand,
                    6 => Client::LowerHandOf { user: person((who + 1) % PEOPLE.len()) },
                    7 => Client::EncryptedChat { id: String::new(), payload: vec![1, 2, 3] },
                    8 => Client::ChatHistory,
                    9 => Client::Chat {
                        id: String::new(),
                        message: Box::new(ChatMessage {
                            message: "hello".to_owned(),
                            to_user_id: Some(PEOPLE[(who + 2) % PEOPLE.len()].to_owned()),
                            ..ChatMessage::default()
                        }),
                    },
                    _ => Client::Chat {
                        id: String::new(),
                        message: Box::new(ChatMessage {
                            message: "hello".to_owned(),
                            ..ChatMessage::default()
                        }),
                    },
                };
                Command::FromClient { user: person(who), event }
            }
            Happens::Lock { who, lock, locked } => {
                let target = who.map_or(Target::All, |who| Target::One(person(who)));
                moderate(Moderation::Lock { target, lock: LOCKS[lock], locked })
            }
            Happens::Mute { who } => moderate(Moderation::Mute {
                tracks: vec![(PEOPLE[who].to_owned(), "TR_1".to_owned())],
                muted: true,
            }),
            Happens::Remove { who, block } => {
                moderate(Moderation::Remove { user: person(who), message: String::new(), block })
            }
            Happens::Present { who, promote } => {
                moderate(Moderation::SwitchPresenter { user: person(who), promote })
            }
            Happens::Approve { who } => {
                moderate(Moderation::Approve(who.map_or(Target::All, |who| Target::One(person(who)))))
            }
            Happens::WaitingMessage => moderate(Moderation::WaitingMessage("soon".to_owned())),
            Happens::End => moderate(Moderation::End(EndReason::Asked)),
            Happens::MediaStarted => Command::MediaStarted,
            Happens::MediaJoined { who } => Command::MediaJoined {
                user: person(who),
                seat: self
                    .meeting
                    .room
                    .people
                    .get(PEOPLE[who])
                    .map_or(String::new(), |person| person.media_seat.clone()),
            },
            Happens::Time { ms } => {
                self.meeting.now += ms;
                Command::Tick
            }
            Happens::Done { count } => {
                Command::Done(self.meeting.room.outbox.iter().take(count).map(|effect| effect.id).collect())
            }
            Happens::Close => Command::Close { chat_before: 1 },
            Happens::Recreate => return None,
        })
    }

    /// One step, and what holds after it.
    fn step(&mut self, happens: &Happens) -> Result<(), TestCaseError> {
        let before = self.meeting.clone();
        let Some(command) = self.command(happens) else { return self.recreate() };
        // A crash before the write, and the same decision again: the same record.
        let mut again = self.meeting.clone();
        let decision = self.meeting.decide(command.clone());
        let repeated = again.decide(command);
        prop_assert_eq!(&again.room, &self.meeting.room);
        prop_assert_eq!(decision.is_ok(), repeated.is_ok());

        let (was, is) = (&before.room, &self.meeting.room);
        if decision.is_err() {
            prop_assert_eq!(was, is, "a refused command changes nothing");
        }
        let same_after_storing = Room::decode(&*is.encode_to_vec());
        prop_assert_eq!(same_after_storing.as_ref(), Ok(is));
        self.check(was, decision.ok())
    }

    fn recreate(&mut self) -> Result<(), TestCaseError> {
        let mut next = Meeting::waiting_room();
        next.room.sid = format!("{}+", self.meeting.room.sid);
        let recreated = self.meeting.room.recreated(next.room);
        match self.meeting.room.phase() {
            Phase::Created | Phase::Active => prop_assert_eq!(recreated.as_ref(), Ok(&self.meeting.room)),
            Phase::Ending => prop_assert_eq!(recreated.as_ref(), Err(&Refusal::Busy)),
            Phase::Ended => {
                let next = recreated.map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(&next.outbox, &self.meeting.room.outbox, "what is to be done stays");
                prop_assert!(next.people.is_empty() && next.blocked.is_empty());
                self.meeting.room = next;
            }
        }
        Ok(())
    }

    fn check(&mut self, was: &Room, decision: Option<Decision>) -> Result<(), TestCaseError> {
        let is = &self.meeting.room;
        prop_assert!(is.next_effect >= was.next_effect);
        prop_assert!(is.outbox.iter().all(|effect| effect.id <= is.next_effect));
        prop_assert!(is.outbox.windows(2).all(|pair| pair[0].id < pair[1].id), "oldest first");
        let presenters = is.people.values().filter(|person| person.metadata().is_presenter).count();
        prop_assert!(presenters <= 1, "one person presents at most");
        prop_assert!(is.blocked.iter().all(|blocked| !is.people.contains_key(blocked)));
        if is.online().next().is_some() && is.is_running() {
            prop_assert_eq!(is.empty_since, 0);
        } else if is.is_running() {
            prop_assert!(is.empty_since != 0, "an empty room has an end");
        }
        let here = is.people.values().filter(|person| {
            !person.is_hidden && (person.presence() == Presence::Online || person.live_connection().is_some())
        });
        let hidden_before = was.people.values().filter(|person| person.is_hidden).count();
        // 0: as many as like.
        if is.max_participants > 0 {
            prop_assert!(here.count() <= is.max_participants as usize + hidden_before);
        }
        prop_assert!(is.phase() >= was.phase(), "a run does not go back");
        let aligns = is.outbox.iter().filter_map(|effect| match &effect.action {
            Some(Action::Align(user)) => Some(user),
            _ => None,
        });
        let aligns: Vec<&String> = aligns.collect();
        prop_assert_eq!(aligns.len(), aligns.iter().collect::<BTreeSet<_>>().len(), "one alignment each");

        for (name, person) in &is.people {
            let key = (is.sid.clone(), name.clone());
            let highest = self.highest_rights.entry(key).or_default();
            let same_seat = was.people.get(name).is_some_and(|old| old.sid == person.sid);
            if same_seat {
                prop_assert!(person.rights >= *highest, "rights only count up");
            }
            *highest = person.rights;
            let Some(old) = was.people.get(name).filter(|_| same_seat) else { continue };
            let changed = messaging_rights(was, old) != messaging_rights(is, person)
                || (is.is_running() && media_rights(was, old) != media_rights(is, person));
            if changed {
                prop_assert!(aligns.contains(&name), "the pillars hear of {}'s new rights", name);
            }
        }
        // A connection that held a seat and holds none now is closed, or was.
        for (name, old) in &was.people {
            let Some(lost) = old.live_connection() else { continue };
            let held = is.people.get(name).and_then(|person| person.connection.as_ref());
            let same = held.is_some_and(|held| held.is(&lost.server, lost.client));
            if !same {
                prop_assert!(self.is_sent_away(lost), "{}'s connection is closed", name);
            }
        }
        self.check_directs(decision)
    }

    fn is_sent_away(&self, lost: &Connection) -> bool {
        self.meeting.room.outbox.iter().any(|effect| match &effect.action {
            Some(Action::Kick(kick)) => kick.connection.as_ref().is_some_and(|c| c.client == lost.client),
            Some(Action::Disperse(disperse)) => disperse
                .people
                .iter()
                .any(|kick| kick.connection.as_ref().is_some_and(|c| c.client == lost.client)),
            _ => false,
        })
    }

    /// A waiting person hears nothing that others say.
    fn check_directs(&self, decision: Option<Decision>) -> Result<(), TestCaseError> {
        let waiting =
            |name: &str| self.meeting.room.people.get(name).is_some_and(crate::state::Person::is_waiting);
        for direct in decision.into_iter().flat_map(|decision| decision.direct) {
            if let Direct::PrivateChat { user, .. } = direct {
                prop_assert!(!waiting(&user));
            }
        }
        Ok(())
    }

    /// Left alone, every meeting comes to rest: it ends, says what it has to, and is forgotten.
    fn comes_to_rest(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            self.meeting.done();
            if self.meeting.room.may_close() {
                let _ = self.meeting.decide(Command::Close { chat_before: 1 });
                continue;
            }
            if self.meeting.room.is_over(self.meeting.now) {
                return Ok(());
            }
            let silent: Vec<(UserId, Connection)> = self
                .meeting
                .room
                .online()
                .filter_map(|(name, person)| Some((user(name), person.live_connection()?.clone())))
                .collect();
            let _ = self.meeting.decide(Command::ConnectionsSilent(silent));
            self.meeting.now = self
                .meeting
                .room
                .next_deadline()
                .map_or(self.meeting.now + 60_000, |at| at.max(self.meeting.now));
            let _ = self.meeting.decide(Command::Tick);
        }
        Err(TestCaseError::fail(format!("still there: {:?}", self.meeting.room.phase())))
    }
}

fn moderate(act: Moderation) -> Command {
    Command::Moderate { by: None, act }
}

proptest! {
    #[test]
    fn a_meeting_holds_together_whatever_happens(
        steps in prop::collection::vec(happens(), 1..80),
        waiting_room in any::<bool>(),
    ) {
        play(&steps, waiting_room)?;
    }
}

/// A meeting from its creation to its rest, with these steps in between.
fn play(steps: &[Happens], waiting_room: bool) -> Result<(), TestCaseError> {
    let body = json!({"room_id": "r", "max_participants": 3, "metadata": {"room_title": "T",
        "room_features": {"waiting_room_features": {"is_active": waiting_room}}}});
    let mut world = World {
        meeting: Meeting::new(&body),
        clients: 0,
        last: BTreeMap::new(),
        highest_rights: BTreeMap::new(),
    };
    for step in steps {
        world.step(step)?;
    }
    world.comes_to_rest()
}

/// Found at random: a meeting that is made anew may have another bound of people, or none.
#[test]
fn a_meeting_made_anew_without_bound_takes_whoever_comes() {
    let steps = [
        Happens::End,
        Happens::Done { count: 8 },
        Happens::Close,
        Happens::Recreate,
        Happens::Join { who: 0, admin: false, hidden: false },
        Happens::Connect { who: 0, page: 0 },
    ];
    play(&steps, false).unwrap();
}
