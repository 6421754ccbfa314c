//! When each room has to be looked at next: so that a second costs what is due in it, however many rooms there are.

use std::collections::{BTreeSet, HashMap};

use plenum_meeting::{RoomId, state::UnixMs};

/// One entry per room.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    by_time: BTreeSet<(UnixMs, RoomId)>,
    by_room: HashMap<RoomId, UnixMs>,
}

impl Agenda {
    /// The room is looked at then, and not before. `None`: only when it has changed.
    pub(crate) fn set(&mut self, room: &RoomId, at: Option<UnixMs>) {
        let before = match at {
            Some(at) => self.by_room.insert(room.clone(), at),
            None => self.by_room.remove(room),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, room.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, room.clone()));
        }
    }

    /// Takes the rooms that are due out of the agenda, longest due first.
    pub(crate) fn due(&mut self, now: UnixMs) -> Vec<RoomId> {
        let mut due = Vec::new();
        while self.by_time.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, room)) = self.by_time.pop_first()
        {
            self.by_room.remove(&room);
            due.push(room);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomId {
        RoomId::parse(name, "room_id").unwrap()
    }

    #[test]
    fn rooms_come_up_when_they_are_due_and_once() {
        let mut agenda = Agenda::default();
        agenda.set(&room("a"), Some(30));
        agenda.set(&room("b"), Some(10));
        agenda.set(&room("c"), Some(20));
        assert_eq!(agenda.due(9), []);
        assert_eq!(agenda.due(20), [room("b"), room("c")]);
        assert_eq!(agenda.due(29), []);
        assert_eq!(agenda.due(30), [room("a")]);
        assert_eq!(agenda.due(1000), []);
    }

    #[test]
    fn the_last_word_counts() {
        let mut agenda = Agenda::default();
        agenda.set(&room("a"), Some(10));
        agenda.set(&room("a"), Some(50));
        agenda.set(&room("b"), Some(10));
        agenda.set(&room("b"), None);
        assert_eq!(agenda.due(49), []);
        assert_eq!(agenda.due(50), [room("a")]);
        assert!(agenda.by_room.is_empty() && agenda.by_time.is_empty());
    }
}
