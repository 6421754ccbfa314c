//! What everybody learns of the others, gathered where many come and go at once.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::ParticipantInfo;
use proto::signal_response::Message as Response;

use super::Room;
use crate::ids::{Identity, PeerHandle};

/// Who comes and goes is told no more often than this: when a school comes in at once, each would hear of each other in
/// a message of its own. Nobody sees a tenth of a second (livekit-server waits for three).
const INTERVAL: Duration = Duration::from_millis(100);
/// Length of the participants of one message, unless a single one is longer (livekit-server's `update_batch_target_size`).
const MESSAGE_LEN: usize = 128 * 1024;
/// Participants that wait at most to be told of.
const WAITING_MAX: usize = 1_000;

/// What is still to be told, in the order in which it came about; of each participant what is true last.
#[derive(Debug)]
pub(super) struct News {
    waiting: Vec<ParticipantInfo>,
    not_before: Instant,
}

impl News {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: Vec::new(), not_before: now }
    }

    /// When [`Room::tell_due_news`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.not_before)
    }

    /// Whether there is something to tell of that identity.
    pub(super) fn mentions(&self, identity: &Identity) -> bool {
        self.waiting.iter().any(|info| info.identity == identity.as_str())
    }

    fn add(&mut self, info: ParticipantInfo) {
        match self.waiting.iter_mut().find(|waiting| waiting.sid == info.sid) {
            Some(waiting) => *waiting = info,
            None => self.waiting.push(info),
        }
    }

    /// Everything that waits, as messages of a bounded length.
    fn take(&mut self) -> Vec<proto::ParticipantUpdate> {
        let mut messages: Vec<proto::ParticipantUpdate> = Vec::new();
        let mut room = 0;
        for info in self.waiting.drain(..) {
            let len = prost::Message::encoded_len(&info);
            if messages.is_empty() || len > room {
                messages.push(proto::ParticipantUpdate::default());
                room = MESSAGE_LEN;
            }
            room = room.saturating_sub(len);
            messages.last_mut().expect("one was made").participants.push(info);
        }
        messages
    }
}

impl Room {
    /// Tells everybody, themselves included, how a participant is now.
    pub(super) fn broadcast(&mut self, identity: &Identity) {
        let Some(participant) = self.participants.get(identity) else { return };
        let (info, hidden, peer) = (participant.info(), participant.permission.hidden, participant.peer);
        if hidden {
            self.send(peer, update(info));
        } else {
            self.news.add(info);
            self.tell_news();
        }
    }

    /// The same of somebody who comes or goes: at once, unless others have just come or gone and nobody waits for this one's
    /// tracks.
    pub(super) fn announce(&mut self, now: Instant, identity: &Identity) {
        let Some(participant) = self.participants.get(identity) else { return };
        if participant.permission.hidden || participant.is_publisher() {
            self.broadcast(identity);
        } else {
            let info = participant.info();
            self.news.add(info);
            self.tell_due_news(now);
        }
    }

    /// Somebody is not here any more.
    pub(super) fn announce_departure(&mut self, now: Instant, info: ParticipantInfo, published: bool) {
        self.news.add(info);
        if published {
            self.tell_news();
        } else {
            self.tell_due_news(now);
        }
    }

    /// For the others this one leaves.
    pub(super) fn announce_hiding(&mut self, info: ParticipantInfo, of: PeerHandle) {
        self.tell_news();
        let others = self.everybody().into_iter().filter(|peer| *peer != of).collect();
        self.send_all(others, update(info));
    }

    /// Tells what waits if it has waited long enough.
    pub(super) fn tell_due_news(&mut self, now: Instant) {
        if self.news.due().is_some_and(|at| at <= now) || self.news.waiting.len() >= WAITING_MAX {
            self.news.not_before = now + INTERVAL;
            self.tell_news();
        }
    }

    /// Tells what waits: nothing that comes about later is told earlier.
    pub(super) fn tell_news(&mut self) {
        let everybody = self.everybody();
        for message in self.news.take() {
            self.send_all(everybody.clone(), Response::Update(message));
        }
    }

    pub(super) fn everybody(&self) -> Vec<PeerHandle> {
        self.participants.values().map(|participant| participant.peer).collect()
    }
}

fn update(info: ParticipantInfo) -> Response {
    Response::Update(proto::ParticipantUpdate { participants: vec![info] })
}
