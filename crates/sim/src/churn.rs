//! People who come and go, and publish and take back, a great many times: what the server keeps follows what is there.

use std::collections::VecDeque;
use std::time::Duration;

use livekit_protocol as proto;
use plenum_client::Side;
use proto::signal_response::Message as Response;

use crate::world::World;

/// People who are there at a time, besides the one who stays.
const PRESENT: usize = 6;
/// Time in which somebody has come in, or a track has come to everybody.
const SETTLED: Duration = Duration::from_millis(400);

/// A room in which one stays and speaks, and the others come and go.
pub struct Crowd {
    world: World,
    stays: usize,
    present: VecDeque<usize>,
    came: u64,
}

/// What the one who stays was last offered, and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Connections on the media thread, in pairs.
    pub peers: usize,
    /// Lines of the last session description that the server has written for the one who stays.
    pub lines: usize,
    /// Other people, as the one who stays knows them.
    pub others: usize,
    /// Their tracks.
    pub tracks: usize,
}

impl Default for Crowd {
    fn default() -> Self {
        Self::new()
    }
}

impl Crowd {
    /// One is there.
    pub fn new() -> Self {
        let mut world = World::new();
        world.remember = false;
        let stays = world.join("stays");
        let (now, epoch) = (world.now, world.started());
        world.clients[stays].publish_voice(now, epoch);
        world.run(SETTLED);
        Self { world, stays, present: VecDeque::new(), came: 0 }
    }

    /// That many come, publish a camera or a voice, and leave when others have come.
    pub fn come_and_go(&mut self, times: u64) {
        for _ in 0..times {
            self.came += 1;
            let name = format!("guest{}", self.came);
            let guest = match self.came % 2 {
                0 => self.world.join(&name),
                _ => self.world.join_with_one(&name, proto::ConnectionSettings::default()),
            };
            let (now, epoch) = (self.world.now, self.world.started());
            match self.came % 3 {
                0 => self.world.clients[guest].publish_hd(now, epoch),
                _ => self.world.clients[guest].publish_voice(now, epoch),
            };
            self.world.run(SETTLED);
            self.present.push_back(guest);
            if self.present.len() > PRESENT {
                self.one_leaves();
            }
            self.tidy();
        }
    }

    /// Everybody leaves, the one who stays as well. What is kept then is the room's and the media thread's.
    pub fn end(&mut self) {
        /// For this long the room remembers who has left, for those who were away then.
        const REMEMBERED: Duration = Duration::from_secs(121);
        self.leave();
        self.world.run(REMEMBERED);
        self.present.push_back(self.stays);
        self.one_leaves();
        self.world.run(SETTLED);
        self.world.webhooks = Vec::new();
    }

    /// Everybody leaves but the one who stays.
    pub fn leave(&mut self) {
        while !self.present.is_empty() {
            self.one_leaves();
        }
        self.world.run(SETTLED);
        self.tidy();
    }

    fn one_leaves(&mut self) {
        let Some(guest) = self.present.pop_front() else { return };
        self.world.leave(guest);
        self.world.run(Duration::from_millis(100));
        self.world.forget(guest);
    }

    /// Somebody comes, publishes and takes back that many times, and leaves.
    pub fn publish_and_take_back(&mut self, times: u64) {
        self.came += 1;
        let guest = self.world.join(&format!("busy{}", self.came));
        for nth in 0..times {
            let (now, epoch) = (self.world.now, self.world.started());
            let source = match nth % 2 {
                0 => self.world.clients[guest].publish_voice(now, epoch),
                _ => self.world.clients[guest].publish_hd(now, epoch),
            };
            self.world.run(SETTLED);
            let now = self.world.now;
            self.world.clients[guest].unpublish(now, source);
            self.world.run(Duration::from_millis(100));
            self.tidy();
        }
        self.present.push_back(guest);
        self.leave();
    }

    /// That many come and publish that many silent tracks each.
    pub fn fill(&mut self, people: u64, tracks: usize) {
        for _ in 0..people {
            self.came += 1;
            let guest = self.world.join(&format!("full{}", self.came));
            let (now, epoch) = (self.world.now, self.world.started());
            for _ in 0..tracks {
                let source = self.world.clients[guest].publish_voice(now, epoch);
                self.world.clients[guest].sources[source].on = false;
                // The server takes only so many messages at once.
                self.world.run(Duration::from_millis(100));
            }
            self.present.push_back(guest);
        }
        self.world.run(Duration::from_secs(2));
    }

    /// Somebody comes in and has an offer; how long that took in this world's time.
    pub fn one_more(&mut self) -> Duration {
        self.came += 1;
        let start = self.world.now;
        let guest = self.world.join(&format!("more{}", self.came));
        let took = self.world.now - start;
        assert!(self.world.clients[guest].client.is_connected(Side::Subscriber));
        self.present.push_back(guest);
        took
    }

    /// How much there is.
    pub fn extent(&self) -> Extent {
        let person = &self.world.clients[self.stays];
        let mut offers = person.heard.iter().filter_map(|message| match message {
            Response::Offer(offer) => Some(offer.sdp.matches("\nm=").count()),
            _ => None,
        });
        let others = person.client.others();
        Extent {
            peers: self.world.shards[0].peers(),
            lines: offers.next_back().unwrap_or_default(),
            others: others.len(),
            tracks: others.values().map(|other| other.tracks.len()).sum(),
        }
    }

    /// Forgets what the simulation itself has recorded, but for the last offer.
    fn tidy(&mut self) {
        self.world.webhooks = Vec::new();
        self.world.dropped.clear();
        let mut indices: Vec<usize> = self.present.iter().copied().collect();
        indices.push(self.stays);
        for index in indices {
            let person = &mut self.world.clients[index];
            let last = person.heard.iter().rposition(|message| matches!(message, Response::Offer(_)));
            person.heard = last.map(|last| person.heard.swap_remove(last)).into_iter().collect();
            person.viewer = crate::viewer::Viewer::default();
            person.publisher.asked = Vec::new();
        }
    }
}
