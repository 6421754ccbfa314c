//! What happens to whom in a call over bad links, and what must hold all the same.

mod hold;
mod score;
mod table;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::Reception;
use plenum_media::bwe::Bitrate;

pub use hold::{Hold, Law};
pub use score::Score;
use score::scoreboard;
pub use table::SCENARIOS;

use crate::link::Conditions;
use crate::person::Person;
use crate::viewer::{Screen, Speaker};
use crate::world::World;

/// A call.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Who takes part.
    pub cast: &'static [Role],
    /// What happens to their links.
    pub changes: &'static [Change],
    /// How long it takes.
    pub length: Duration,
    /// Whose view of whom is scored.
    pub watched: &'static [View],
    /// What must hold.
    pub holds: &'static [Hold],
}

/// Somebody who sees and hears somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Who sees and hears.
    pub who: &'static str,
    /// … and whom.
    pub whom: &'static str,
}

/// Somebody in a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Their name.
    pub name: &'static str,
    /// When they come.
    pub comes: Duration,
    /// What they publish.
    pub publishes: &'static [Media],
    /// The link from them at the beginning.
    pub up: Conditions,
    /// The link to them at the beginning.
    pub down: Conditions,
    /// They take what comes by its headers only, to save time.
    pub counts: bool,
}

/// What somebody publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// A camera with layers of 150, 500 and 1,700 kbit/s.
    Camera,
    /// A voice of 32 kbit/s, with redundancy.
    Voice,
    /// Slides.
    Slides,
}

impl Role {
    /// Somebody on a good link who comes at the beginning and publishes nothing.
    pub const fn new(name: &'static str) -> Self {
        let good = Conditions::kbps(5_000);
        Self {
            name,
            comes: Duration::ZERO,
            publishes: &[],
            up: Conditions { rate: None, ..good },
            down: good,
            counts: false,
        }
    }

    const fn publishing(self, publishes: &'static [Media]) -> Self {
        Self { publishes, ..self }
    }

    const fn coming_after(self, comes: Duration) -> Self {
        Self { comes, ..self }
    }

    const fn with_down(self, down: Conditions) -> Self {
        Self { down, ..self }
    }

    const fn with_up(self, up: Conditions) -> Self {
        Self { up, ..self }
    }

    const fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    /// What becomes of what they receive.
    pub fn reception(&self) -> Reception {
        if self.counts { Reception::Counted { opened: 50 } } else { Reception::Whole }
    }

    /// Has somebody publish what the role says. Packets say how long after `epoch` they were sent.
    pub fn publish(&self, now: Instant, epoch: Instant, person: &mut Person) {
        for media in self.publishes {
            match media {
                Media::Camera => person.publish_hd(now, epoch),
                Media::Voice => person.publish_voice(now, epoch),
                Media::Slides => person.publish_slides(now, epoch),
            };
        }
    }
}

/// Something that happens to somebody.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// When.
    pub at: Duration,
    /// To whom.
    pub who: &'static str,
    /// What.
    pub what: Event,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// The link from them is like this.
    Up(Conditions),
    /// The link to them is like this.
    Down(Conditions),
    /// Their camera is made to fit into this: their congestion control has seen it.
    Fits(Bitrate),
    /// The translation of addresses gives them others.
    Rebind,
}

/// What all calls have come to.
pub struct Results {
    /// The table of scores.
    pub scoreboard: String,
    /// What did not hold.
    pub broken: Vec<String>,
}

/// Plays all calls, each on the last of so many media threads.
pub fn play_all(shards: u16) -> Results {
    let play = |scenario: &'static Scenario| {
        let played = scenario.play(shards);
        let rows = scenario.watched.iter().map(|view| (scenario, *view, played.score(*view)));
        (rows.collect::<Vec<_>>(), played.broken())
    };
    let played: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = SCENARIOS.iter().map(|one| scope.spawn(move || play(one))).collect();
        calls.into_iter().map(|call| call.join().expect("a call is played to its end")).collect()
    });
    let (rows, broken): (Vec<_>, Vec<_>) = played.into_iter().unzip();
    Results { scoreboard: scoreboard(&rows.concat()), broken: broken.concat() }
}

/// A call that was played, in virtual time or in real time.
pub struct Played {
    /// What was played.
    pub scenario: &'static Scenario,
    /// From when on packets say when they were sent.
    pub epoch: Instant,
    /// When it began.
    pub start: Instant,
    /// When it ended.
    pub end: Instant,
    /// Everybody who took part, by name.
    pub people: BTreeMap<&'static str, Attendance>,
}

/// How somebody took part in a call.
pub struct Attendance {
    /// Who, with what they have seen and heard.
    pub person: Person,
    /// When they came.
    pub came: Instant,
    /// What the link to them carried, from when on.
    pub carried: Vec<(Instant, Conditions)>,
}

impl Scenario {
    /// Everything that happens, by time: who comes, then what changes.
    pub fn moments(&self) -> BTreeMap<Duration, (Vec<&Role>, Vec<&Change>)> {
        let mut moments = BTreeMap::<Duration, (Vec<&Role>, Vec<&Change>)>::new();
        self.cast.iter().for_each(|role| moments.entry(role.comes).or_default().0.push(role));
        self.changes.iter().for_each(|change| moments.entry(change.at).or_default().1.push(change));
        moments
    }

    /// Plays it on the last of so many media threads; the others carry calls of their own.
    pub fn play(&'static self, shards: u16) -> Played {
        let mut world = World::with_shards(shards);
        for room in 0..usize::from(shards) - 1 {
            world.room = room;
            for name in ["neighbour", "another"] {
                let neighbour = world.enter(name);
                let (now, epoch) = (world.now, world.started());
                world.clients[neighbour].publish_voice(now, epoch);
            }
        }
        world.room = usize::from(shards) - 1;
        (world.remember, world.dynacast) = (false, true);
        let mut play = Play { start: world.now, world, cast: BTreeMap::new() };
        for (moment, (roles, changes)) in self.moments() {
            play.run_to(moment);
            roles.into_iter().for_each(|role| play.come(role));
            changes.into_iter().for_each(|change| play.change(change));
        }
        play.run_to(self.length);
        play.end(self)
    }
}

/// A call that is being played in virtual time.
struct Play {
    world: World,
    start: Instant,
    cast: BTreeMap<&'static str, Seat>,
}

/// Somebody's place in the world, when they came, and what the link to them carried.
struct Seat {
    client: usize,
    came: Instant,
    carried: Vec<(Instant, Conditions)>,
}

impl Play {
    fn run_to(&mut self, moment: Duration) {
        let time = (self.start + moment).saturating_duration_since(self.world.now);
        self.world.run(time);
    }

    fn come(&mut self, role: &Role) {
        let world = &mut self.world;
        world.links = [role.up, role.down];
        world.reception = role.reception();
        let client = world.enter(role.name);
        let (came, epoch) = (world.now, world.started());
        role.publish(came, epoch, &mut world.clients[client]);
        self.cast.insert(role.name, Seat { client, came, carried: vec![(came, role.down)] });
    }

    fn change(&mut self, change: &Change) {
        let Some(Seat { client, carried, .. }) = self.cast.get_mut(change.who) else { return };
        let links = &self.world.clients[*client].links;
        let (up, down) = (*links.up.conditions(), *links.down.conditions());
        match change.what {
            Event::Up(up) => self.world.set_links(*client, up, down),
            Event::Down(down) => {
                self.world.set_links(*client, up, down);
                carried.push((self.world.now, down));
            }
            Event::Fits(rate) => self.world.clients[*client].set_carried(rate),
            Event::Rebind => self.world.rebind(*client),
        }
    }

    fn end(mut self, scenario: &'static Scenario) -> Played {
        let (epoch, end) = (self.world.started(), self.world.now);
        let attended = |(name, Seat { client, came, carried })| {
            (name, Attendance { person: self.world.clients.remove(client), came, carried })
        };
        let people = self.cast.into_iter().map(attended).collect();
        Played { scenario, epoch, start: self.start, end, people }
    }
}

impl Played {
    fn person(&self, name: &str) -> &Person {
        &self.people[name].person
    }

    /// When that was.
    fn moment(&self, at: Duration) -> Instant {
        self.start + at.min(self.scenario.length)
    }

    /// The pictures of somebody that somebody sees.
    fn screen(&self, view: View) -> Option<&Screen> {
        let person = self.person(view.who);
        let mut screens = person.viewer.pictures().iter();
        screens.find(|(ssrc, _)| is_of(person, **ssrc, view.whom)).map(|(_, screen)| screen)
    }

    /// The voice of somebody that somebody hears.
    fn speaker(&self, view: View) -> Option<&Speaker> {
        let person = self.person(view.who);
        let mut sounds = person.viewer.sounds().iter();
        sounds.find(|(ssrc, _)| is_of(person, **ssrc, view.whom)).map(|(_, speaker)| speaker)
    }

    /// Whether somebody publishes that.
    fn publishes(&self, whom: &str, media: Media) -> bool {
        self.scenario.cast.iter().any(|role| role.name == whom && role.publishes.contains(&media))
    }

    /// When key frames were asked of somebody, and of which layer.
    fn asked(&self, whom: &str) -> &[(Instant, usize)] {
        &self.person(whom).publisher.asked
    }

    /// What somebody was told about tracks that are paused or go on.
    fn states(&self, who: &str) -> Vec<proto::StreamState> {
        use proto::signal_response::Message as Response;
        let told = self.person(who).heard.iter().filter_map(|message| match message {
            Response::StreamStateUpdate(update) => Some(&update.stream_states),
            _ => None,
        });
        told.flatten().map(proto::StreamStateInfo::state).collect()
    }
}

/// Whether a stream that comes to `person` is `whom`'s.
fn is_of(person: &Person, ssrc: u32, whom: &str) -> bool {
    let Some(sid) = person.client.track_of(ssrc) else { return false };
    let others = person.client.others().values();
    others.filter(|other| other.identity == whom).any(|other| other.tracks.iter().any(|own| own.sid == sid))
}
