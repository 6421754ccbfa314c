//! What single rules were made for; what holds whatever is asked of a meeting is in `random`.

mod random;

use plenum_protocol::plugnmeet::{ChatMessage, ClientType, UserMetadata};
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::json;

use crate::{
    Answer, Client, Command, CreateRoom, Decision, Direct, EndReason, Env, JoinPerson, Lock, MessagingRights,
    Moderation, OUTBOX_BYTES_MAX, OUTBOX_LEN_MAX, Refusal, Room, Stamp, Target, UserId, messaging_rights,
    state::{Action, Effect, Position, Presence},
};

/// A room and what surrounds it: time, randomness, and what a client would hold.
#[derive(Clone)]
struct Meeting {
    room: Room,
    now: u64,
    seed: u64,
}

impl Meeting {
    fn new(body: &serde_json::Value) -> Self {
        let mut meeting = Self { room: Room::default(), now: 1_760_000_000_000, seed: 1 };
        let request = CreateRoom::from_json(body).unwrap();
        let mut rng = StdRng::seed_from_u64(0);
        meeting.room = request.into_room(1, &mut Env { now: meeting.now, rng: &mut rng });
        meeting
    }

    fn simple() -> Self {
        Self::new(&json!({"room_id": "r", "metadata": {"room_title": "T", "room_features": {}}}))
    }

    fn waiting_room() -> Self {
        Self::new(&json!({"room_id": "r", "metadata": {"room_title": "T", "room_features": {
            "waiting_room_features": {"is_active": true}}}}))
    }

    fn decide(&mut self, command: Command) -> Result<Decision, Refusal> {
        self.seed += 1;
        let mut rng = StdRng::seed_from_u64(self.seed);
        self.room.decide(command, &mut Env { now: self.now, rng: &mut rng })
    }

    fn join(&mut self, name: &str, is_admin: bool) -> Result<Answer, Refusal> {
        let person = JoinPerson {
            user: user(name),
            name: name.to_owned(),
            is_admin,
            is_hidden: false,
            metadata: UserMetadata::default(),
            client_type: ClientType::Web,
            token_ends_at: self.now + 600_000,
        };
        Ok(self.decide(Command::Join(Box::new(person)))?.answer)
    }

    /// The sid that a token made now carries.
    fn seat(&self, name: &str) -> String {
        self.room.people.get(name).map(|person| person.sid.clone()).unwrap_or_default()
    }

    fn verify(&mut self, name: &str, seat: &str, page: &str) -> Result<Answer, Refusal> {
        let (sid, seat, page) = (self.room.sid.clone(), seat.to_owned(), page.to_owned());
        Ok(self.decide(Command::Verify { user: user(name), sid, seat, page, again: false })?.answer)
    }

    fn verify_again(&mut self, name: &str, seat: &str, page: &str) -> Result<Answer, Refusal> {
        let (sid, seat, page) = (self.room.sid.clone(), seat.to_owned(), page.to_owned());
        Ok(self.decide(Command::Verify { user: user(name), sid, seat, page, again: true })?.answer)
    }

    fn connect(&mut self, name: &str, seat: &str, page: &str, client: u64) -> Result<Answer, Refusal> {
        let (sid, seat, page) = (self.room.sid.clone(), seat.to_owned(), page.to_owned());
        let server = "broker".to_owned();
        Ok(self.decide(Command::Connect { user: user(name), sid, seat, page, server, client })?.answer)
    }

    fn up(&mut self, name: &str, client: u64) {
        let rights = self.room.people.get(name).map_or(0, |person| person.rights);
        let (user, server) = (user(name), "broker".to_owned());
        self.decide(Command::ConnectionUp { user, server, client, rights }).unwrap();
    }

    /// Joined, connected and heard of.
    fn online(&mut self, name: &str, is_admin: bool, client: u64) {
        self.join(name, is_admin).unwrap();
        let seat = self.seat(name);
        self.connect(name, &seat, "", client).unwrap();
        self.up(name, client);
    }

    fn moderate(&mut self, act: Moderation) -> Result<Decision, Refusal> {
        self.decide(Command::Moderate { by: None, act })
    }

    fn done(&mut self) {
        self.room.outbox.clear();
    }

    fn later(&mut self, ms: u64) {
        self.now += ms;
        self.decide(Command::Tick).unwrap();
    }

    fn kicked(&self) -> Vec<u64> {
        self.room
            .outbox
            .iter()
            .filter_map(|effect| match &effect.action {
                Some(Action::Kick(kick)) => kick.connection.as_ref().map(|connection| connection.client),
                _ => None,
            })
            .collect()
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name, "user_id").unwrap()
}

// Seats.

#[test]
fn a_connection_that_holds_no_seat_is_kicked() {
    let mut meeting = Meeting::simple();
    meeting.join("a", false).unwrap();
    let seat = meeting.seat("a");
    meeting.connect("a", &seat, "", 1).unwrap();
    meeting.connect("a", &seat, "", 2).unwrap();
    meeting.done();
    // The broker let the first one in all the same.
    meeting.up("a", 1);
    assert_eq!(meeting.kicked(), [1]);
    meeting.up("a", 2);
    assert_eq!(meeting.kicked(), [1], "the seat's own connection stays");
    meeting.moderate(Moderation::Remove { user: user("a"), message: String::new(), block: true }).unwrap();
    meeting.done();
    meeting.up("a", 3);
    assert_eq!(meeting.kicked(), [3], "somebody who was removed has none");
}

#[test]
fn an_older_token_does_not_bring_an_older_page_back() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    let old = meeting.seat("a");
    meeting.join("a", true).unwrap();
    assert_eq!(meeting.connect("a", &old, "", 2).unwrap_err(), Refusal::SeatReplaced);
    assert_eq!(meeting.verify("a", &old, "").unwrap_err(), Refusal::SeatReplaced);
    let renewal = Client::RenewToken { sid: meeting.room.sid.clone(), seat: old, ends_at: 1 };
    let renewed = meeting.decide(Command::FromClient { user: user("a"), event: renewal });
    assert_eq!(renewed.unwrap_err(), Refusal::SeatReplaced);
}

#[test]
fn a_page_that_lost_the_seat_does_not_take_it_back() {
    let mut meeting = Meeting::simple();
    meeting.join("a", false).unwrap();
    let seat = meeting.seat("a");
    meeting.verify("a", &seat, "one").unwrap();
    meeting.connect("a", &seat, "one", 1).unwrap();
    meeting.up("a", 1);
    // The same page again: nothing is taken from anybody.
    let again = meeting.verify("a", &seat, "one").unwrap();
    assert!(matches!(again, Answer::Verified { took_over: false, .. }));
    let other = meeting.verify("a", &seat, "two").unwrap();
    assert!(matches!(other, Answer::Verified { took_over: true, .. }));
    assert_eq!(meeting.verify("a", &seat, "one").unwrap_err(), Refusal::SeatReplaced);
    assert_eq!(meeting.connect("a", &seat, "one", 2).unwrap_err(), Refusal::SeatReplaced);
    meeting.connect("a", &seat, "two", 3).unwrap();
    // However many there were since, one that only asks again gets nothing from anybody.
    for later in 3..12 {
        meeting.verify("a", &seat, &later.to_string()).unwrap();
    }
    assert_eq!(meeting.verify_again("a", &seat, "one").unwrap_err(), Refusal::SeatReplaced);
    meeting.verify_again("a", &seat, "11").unwrap();
}

#[test]
fn a_durable_is_made_anew_until_its_connection_is_up() {
    let mut meeting = Meeting::simple();
    meeting.join("a", false).unwrap();
    let seat = meeting.seat("a");
    let fresh = |answer: Answer| match answer {
        Answer::Admitted(admission) => admission.fresh_durable,
        other => panic!("not admitted: {other:?}"),
    };
    assert!(fresh(meeting.connect("a", &seat, "", 1).unwrap()));
    assert!(fresh(meeting.connect("a", &seat, "", 2).unwrap()), "the first one may have come to nothing");
    meeting.up("a", 2);
    assert!(!fresh(meeting.connect("a", &seat, "", 3).unwrap()));
}

#[test]
fn people_on_their_way_in_count() {
    let mut meeting = Meeting::new(
        &json!({"room_id": "r", "max_participants": 2, "metadata": {"room_title": "T", "room_features": {}}}),
    );
    let mut admitted = 0;
    for (client, name) in (1..).zip(["a", "b", "c", "d"]) {
        meeting.join(name, false).unwrap();
        let seat = meeting.seat(name);
        admitted += u32::from(meeting.connect(name, &seat, "", client).is_ok());
    }
    assert_eq!(admitted, 2);
}

#[test]
fn a_refused_join_changes_nothing() {
    let mut meeting = Meeting::simple();
    meeting.join("host", true).unwrap();
    assert!(meeting.room.people["host"].metadata().is_presenter);
    let before = meeting.room.clone();
    let metadata = UserMetadata { profile_pic: Some("x".repeat(4096)), ..UserMetadata::default() };
    let person = JoinPerson {
        user: user("other"),
        name: "Other".to_owned(),
        is_admin: true,
        is_hidden: false,
        metadata,
        client_type: ClientType::Web,
        token_ends_at: 0,
    };
    assert!(meeting.decide(Command::Join(Box::new(person))).is_err());
    assert_eq!(meeting.room, before);
    meeting.join("host", true).unwrap();
    assert_eq!(meeting.room.presenter(), Some("host"), "a presenter who joins anew still presents");
}

// Presence.

#[test]
fn a_silent_connection_is_closed_so_that_its_client_comes_back() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    meeting.done();
    let held = meeting.room.people["a"].connection.clone().unwrap();
    meeting.decide(Command::ConnectionsSilent(vec![(user("a"), held)])).unwrap();
    assert_eq!(meeting.kicked(), [1]);
    assert_eq!(meeting.room.people["a"].presence(), Presence::Disconnected);
}

#[test]
fn a_connection_that_stays_pending_is_closed_so_that_its_client_comes_back() {
    let mut meeting = Meeting::simple();
    meeting.join("a", false).unwrap();
    let seat = meeting.seat("a");
    meeting.connect("a", &seat, "", 1).unwrap();
    meeting.later(10_001);
    assert_eq!(meeting.kicked(), [1]);
}

#[test]
fn a_connection_with_other_rights_than_hold_is_aligned() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    meeting.done();
    let (user, server) = (user("a"), "broker".to_owned());
    meeting.decide(Command::ConnectionUp { user, server, client: 1, rights: 77 }).unwrap();
    assert!(meeting.room.outbox.iter().any(|effect| effect.action == Some(Action::Align("a".to_owned()))));
}

// Effects.

#[test]
fn a_change_of_rights_asks_for_an_alignment_of_its_own() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    meeting.done();
    let lock = |locked| Moderation::Lock { target: Target::One(user("a")), lock: Lock::Microphone, locked };
    let aligned = |meeting: &Meeting| -> Vec<u64> {
        let is_align = |effect: &&Effect| matches!(effect.action, Some(Action::Align(_)));
        meeting.room.outbox.iter().filter(is_align).map(|effect| effect.id).collect()
    };
    meeting.moderate(lock(true)).unwrap();
    let first = aligned(&meeting);
    meeting.moderate(lock(false)).unwrap();
    let second = aligned(&meeting);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second, "the one in work may have done its last look");
}

#[test]
fn what_concerns_many_is_stored_once() {
    let mut meeting = Meeting::waiting_room();
    for number in 0..300 {
        meeting.online(&format!("u{number}"), false, number);
    }
    meeting.done();
    meeting.moderate(Moderation::WaitingMessage("w".repeat(2000))).unwrap();
    assert!(meeting.room.outbox.len() <= 2, "{}", meeting.room.outbox.len());
    meeting.done();
    meeting.moderate(Moderation::Approve(Target::All)).unwrap();
    let before = meeting.room.encoded_len();
    meeting.moderate(Moderation::Lock { target: Target::All, lock: Lock::Microphone, locked: true }).unwrap();
    assert!(meeting.room.encoded_len() - before < 100 * 1024);
    meeting.moderate(Moderation::End(EndReason::Asked)).unwrap();
    assert!(meeting.room.has_room_for_effects(), "alignments of everybody do not crowd the others out");
}

#[test]
fn a_meeting_that_is_over_frees_every_durable() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    meeting.join("b", false).unwrap();
    meeting.moderate(Moderation::End(EndReason::Asked)).unwrap();
    meeting.done();
    meeting.decide(Command::Close { chat_before: 5 }).unwrap();
    let dispersed = meeting.room.outbox.iter().find_map(|effect| match &effect.action {
        Some(Action::Disperse(disperse)) => Some(disperse.people.clone()),
        _ => None,
    });
    let dispersed = dispersed.expect("people are sent away");
    assert_eq!(dispersed.iter().map(|kick| kick.user.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(dispersed[0].connection.is_some() && dispersed[1].connection.is_none());
}

#[test]
fn media_that_was_not_reported_to_start_starts_with_the_first_who_joins_it() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    let seat = meeting.room.people["a"].media_seat.clone();
    meeting.decide(Command::MediaJoined { user: user("a"), seat }).unwrap();
    assert_eq!(meeting.room.started_at, meeting.now);
}

#[test]
fn whoever_comes_to_media_with_a_token_of_before_leaves_it() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    let seat = |meeting: &Meeting| meeting.room.people["a"].media_seat.clone();
    let joined = |meeting: &mut Meeting, seat: &str| {
        let command = Command::MediaJoined { user: user("a"), seat: seat.to_owned() };
        meeting.decide(command).unwrap().answer
    };
    let first = seat(&meeting);
    assert!(matches!(joined(&mut meeting, &first), Answer::Done));
    // Another page takes the seat over.
    meeting.verify("a", &meeting.seat("a"), "two").unwrap();
    let second = seat(&meeting);
    let removed = meeting.room.outbox.iter().find_map(|effect| match &effect.action {
        Some(Action::RemoveMedia(remove)) => Some(remove.seat.clone()),
        _ => None,
    });
    assert_eq!(removed.as_ref(), Some(&first));
    assert_ne!(first, second);
    assert!(matches!(joined(&mut meeting, &first), Answer::RemoveFromMedia));
    assert!(matches!(joined(&mut meeting, &second), Answer::Done));
}

#[test]
fn ciphertext_is_stamped() {
    let mut meeting = Meeting::simple();
    meeting.online("a", false, 1);
    let id = "0f0e0d0c-0b0a-4908-8706-050403020100";
    let event = Client::EncryptedChat { id: id.to_owned(), payload: vec![1] };
    let decision = meeting.decide(Command::FromClient { user: user("a"), event }).unwrap();
    let stamp = Stamp { id: format!("a:{id}"), from: "a".to_owned(), sent_at: meeting.now };
    assert_eq!(decision.direct, [Direct::Chat { payload: vec![1], stamp: Some(stamp) }]);
}

#[test]
fn without_a_whiteboard_nobody_draws() {
    let mut meeting =
        Meeting::new(&json!({"room_id": "r", "metadata": {"room_title": "T", "room_features": {
        "whiteboard_features": {"is_allow": false}}}}));
    meeting.join("host", true).unwrap();
    let host = &meeting.room.people["host"];
    assert!(host.metadata().is_presenter);
    assert_eq!(messaging_rights(&meeting.room, host), MessagingRights::Admitted { whiteboard: false });
    let mut meeting = Meeting::simple();
    meeting.join("host", true).unwrap();
    let host = &meeting.room.people["host"];
    assert_eq!(messaging_rights(&meeting.room, host), MessagingRights::Admitted { whiteboard: true });
}

#[test]
fn a_stream_that_was_made_anew_counts_anew() {
    let mut room = Room::default();
    let at = |stream, sequence| Position { stream, sequence };
    assert!(!room.has_applied(at(1, 5)));
    room.apply(at(1, 5));
    room.apply(at(1, 3));
    assert!(room.has_applied(at(1, 5)) && !room.has_applied(at(1, 6)));
    assert!(!room.has_applied(at(2, 1)));
    room.apply(at(2, 1));
    assert!(room.has_applied(at(2, 1)) && !room.has_applied(at(2, 2)));
}

#[test]
fn writes_of_before_are_remembered_for_a_while() {
    let mut room = Room::default();
    for nonce in 1..=20 {
        room.stamp(nonce);
    }
    assert!(room.has_write(20) && room.has_write(15) && !room.has_write(1));
    assert_eq!(room.v, 20);
}

/// What may come into a log by way of `{:?}`.
#[test]
fn secrets_and_what_people_say_cannot_be_printed() {
    let mut meeting =
        Meeting::new(&json!({"room_id": "r", "metadata": {"room_title": "T", "room_features": {
        "end_to_end_encryption_features": {"is_enabled": true},
        "waiting_room_features": {"is_active": true, "waiting_room_msg": "hush"}}}}));
    meeting.online("host", true, 1);
    meeting.online("guest", true, 2);
    let features = meeting.room.metadata.get_or_insert_default().room_features.get_or_insert_default();
    features.end_to_end_encryption_features.get_or_insert_default().encryption_key = Some("hush".to_owned());
    let message = ChatMessage { message: "hush".to_owned(), ..ChatMessage::default() };
    let asked = [
        Client::Chat { id: String::new(), message: Box::new(message) },
        Client::EncryptedChat { id: String::new(), payload: b"hush".to_vec() },
        Client::InitialData,
        Client::RaiseHand { text: "hush".to_owned() },
        Client::PrivateData {
            to: user("guest"),
            echo: true,
            msg: "hush".to_owned(),
            payload: b"hush".to_vec(),
        },
    ];
    for event in asked {
        let decision = meeting.decide(Command::FromClient { user: user("host"), event }).unwrap();
        let printed = format!("{decision:?} {:?}", meeting.room);
        let bytes = format!("{:?}", b"hush").replace(['[', ']'], "");
        assert!(!printed.contains("hush") && !printed.contains(&bytes), "{printed}");
    }
    let stored = meeting.room.encode_to_vec();
    assert!(stored.windows(4).any(|window| window == b"hush"), "the record has them all the same");
}

#[test]
fn a_crowded_outbox_says_so() {
    let mut meeting = Meeting::simple();
    assert!(meeting.room.has_room_for_effects());
    let tracks = vec![("a".to_owned(), "TR_1".to_owned()); OUTBOX_LEN_MAX];
    meeting.moderate(Moderation::Mute { tracks, muted: true }).unwrap();
    assert!(!meeting.room.has_room_for_effects());
    meeting.done();
    for _ in 0..OUTBOX_BYTES_MAX.div_ceil(2048) {
        meeting.moderate(Moderation::WaitingMessage("w".repeat(2048))).unwrap();
    }
    assert!(!meeting.room.has_room_for_effects());
}
