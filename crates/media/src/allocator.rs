//! Who gets which layer of what: a pure function of what a subscriber wants and what its connection carries.
//!
//! Sound is never touched. Then everybody gets the smallest picture, in the order of importance: shared screens, the
//! speaker, then by requested size. What is left improves the screens, then the speaker, then the others in turn.
//! Steps of a screen raise its resolution before its frame rate: text stays sharp. A step up needs some headroom, so that
//! an estimate that wavers around it makes no flicker.

use crate::bwe::Bitrate;

/// Spatial layers of a track at most.
pub const SPATIAL: usize = 3;
/// Temporal layers of each at most.
pub const TEMPORAL: usize = 4;

/// More than this times what a step needs must be there to take it.
const HEADROOM: f64 = 1.08;
/// A probe asks for this much more than what would be useful (as LiveKit: 120 %) …
const PROBE: f64 = 1.2;
/// … and at least for this (as LiveKit).
const PROBE_MIN: Bitrate = Bitrate::kbps(200);

/// What a track shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Sound.
    Audio,
    /// A person.
    Camera,
    /// A shared screen.
    Screen,
}

/// A layer of a track. Layers are compared by spatial layer first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// Resolution, lowest first; below [`SPATIAL`].
    pub spatial: u8,
    /// Frame rate, lowest first; below [`TEMPORAL`].
    pub temporal: u8,
}

/// A track that a subscriber wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// What it shows.
    pub content: Content,
    /// Its publisher speaks.
    pub speaker: bool,
    /// Requested size in pixels.
    pub pixels: u32,
    /// Measured bitrate of each layer with those it needs, by spatial and temporal layer; zero if it is not there.
    pub rates: [[Bitrate; TEMPORAL]; SPATIAL],
    /// The best that is wanted.
    pub wanted: Layer,
    /// What it was given before; `None` if it was paused.
    pub current: Option<Layer>,
}

/// What may be paused when not even the smallest pictures fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pausing {
    /// Every picture.
    All,
    /// All but the lowest layer of screens and the speaker.
    Unimportant,
    /// None: too little is known of the connection.
    Nothing,
}

/// The decision for all tracks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allocation {
    /// What is given out.
    pub used: Bitrate,
    /// What a probe should reach so that the next step could be taken; `None` if nothing more is wanted.
    pub probe_goal: Option<Bitrate>,
}

/// Allocates; keeps its working memory from one time to the next.
#[derive(Debug, Default)]
pub struct Allocator {
    order: Vec<usize>,
    targets: Vec<Option<Layer>>,
}

impl Allocator {
    /// The layer of each demand, in their order; `None` means paused, or that nothing of it is there. What may not be paused
    /// keeps its lowest layer, whatever it takes.
    pub fn targets(&self) -> &[Option<Layer>] {
        &self.targets
    }

    /// Decides. The result of each track is in [`Allocator::targets`]. `lasting` is what there will be once a queue on the
    /// way has emptied: the smallest pictures go by it.
    pub fn allocate(
        &mut self,
        demands: &[Demand],
        available: Bitrate,
        lasting: Bitrate,
        pausing: Pausing,
    ) -> Allocation {
        self.targets.clear();
        self.targets.resize(demands.len(), None);
        self.order.clear();
        self.order.extend(0..demands.len());
        self.order.sort_by_key(|index| demands[*index].importance());
        let mut budget = Budget { available, lasting, used: Bitrate::ZERO, next: None };
        for (demand, target) in demands.iter().zip(&mut self.targets) {
            if demand.content == Content::Audio {
                *target = Some(demand.wanted);
                budget.used = budget.used.plus(demand.rate(demand.wanted));
            }
        }
        let video = |index: &usize| demands[*index].content != Content::Audio;
        for index in self.order.iter().copied().filter(video) {
            let demand = &demands[index];
            let must = match pausing {
                Pausing::All => false,
                Pausing::Unimportant => demand.content == Content::Screen || demand.speaker,
                Pausing::Nothing => true,
            };
            self.targets[index] = budget.step(demand, None, must);
        }
        // The first ones as far as it goes, then the others in turn.
        for index in self.order.iter().copied().filter(video) {
            if demands[index].content == Content::Screen || demands[index].speaker {
                while budget.improve(&demands[index], &mut self.targets[index]) {}
            }
        }
        let mut improved = true;
        while improved {
            improved = false;
            for index in self.order.iter().copied().filter(video) {
                improved |= budget.improve(&demands[index], &mut self.targets[index]);
            }
        }
        let probe_goal = budget.next.map(|next| next.times(PROBE).max(PROBE_MIN));
        Allocation { used: budget.used, probe_goal }
    }
}

struct Budget {
    available: Bitrate,
    lasting: Bitrate,
    used: Bitrate,
    /// The smallest sum that would allow a step that was refused.
    next: Option<Bitrate>,
}

impl Budget {
    fn improve(&mut self, demand: &Demand, target: &mut Option<Layer>) -> bool {
        // Who did not even get the smallest picture waits until it does.
        let Some(from) = *target else { return false };
        let to = self.step(demand, Some(from), false);
        *target = to.or(*target);
        to.is_some()
    }

    /// Takes the step above `from`, if there is one and it fits.
    fn step(&mut self, demand: &Demand, from: Option<Layer>, must: bool) -> Option<Layer> {
        let to = demand.above(from)?;
        let before = from.map_or(Bitrate::ZERO, |layer| demand.rate(layer));
        let needed = self.used.minus(before).plus(demand.rate(to));
        let is_new = demand.current.is_none_or(|current| demand.rank(to) > demand.rank(current));
        let with_headroom = if is_new { needed.times(HEADROOM) } else { needed };
        let available = if from.is_none() { self.available.max(self.lasting) } else { self.available };
        if must || with_headroom <= available {
            self.used = needed;
            return Some(to);
        }
        let goal = needed.times(HEADROOM);
        self.next = Some(self.next.map_or(goal, |next| next.min(goal)));
        None
    }
}

impl Demand {
    fn importance(&self) -> (u8, std::cmp::Reverse<u32>) {
        let class = match (self.content, self.speaker) {
            (Content::Audio, _) => 0,
            (Content::Screen, _) => 1,
            (Content::Camera, true) => 2,
            (Content::Camera, false) => 3,
        };
        (class, std::cmp::Reverse(self.pixels))
    }

    fn rate(&self, layer: Layer) -> Bitrate {
        let temporal = self.rates.get(usize::from(layer.spatial));
        temporal.and_then(|rates| rates.get(usize::from(layer.temporal))).copied().unwrap_or_default()
    }

    /// Order of the steps: a camera keeps its frame rate while it shrinks, a screen its resolution while it slows down.
    fn rank(&self, layer: Layer) -> (u8, u8) {
        match self.content {
            // The lowest frame rate of every resolution comes first.
            Content::Screen => (layer.temporal, layer.spatial),
            Content::Camera | Content::Audio => (layer.spatial, layer.temporal),
        }
    }

    /// The next step that exists and is wanted. If the wanted one is lower than all that exist, the lowest that does.
    fn above(&self, from: Option<Layer>) -> Option<Layer> {
        let exists = (0..SPATIAL as u8)
            .flat_map(|spatial| (0..TEMPORAL as u8).map(move |temporal| Layer { spatial, temporal }))
            .filter(|layer| self.rate(*layer) > Bitrate::ZERO);
        let wanted =
            |layer: &Layer| layer.spatial <= self.wanted.spatial && layer.temporal <= self.wanted.temporal;
        // A faster screen is no step up if it is smaller.
        let shrinks = |layer: &Layer, from: Layer| layer.spatial < from.spatial;
        let higher = |layer: &Layer| {
            from.is_none_or(|from| self.rank(*layer) > self.rank(from) && !shrinks(layer, from))
        };
        let next =
            exists.clone().filter(|layer| wanted(layer) && higher(layer)).min_by_key(|l| self.rank(*l));
        match (next, from) {
            (None, None) => exists.min_by_key(|layer| self.rate(*layer)),
            (next, _) => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Layer = Layer { spatial: 2, temporal: 0 };

    fn camera(pixels: u32) -> Demand {
        let mut rates = [[Bitrate::ZERO; TEMPORAL]; SPATIAL];
        for (spatial, rate) in [150, 500, 1_700].into_iter().enumerate() {
            rates[spatial][0] = Bitrate::kbps(rate);
        }
        Demand { content: Content::Camera, speaker: false, pixels, rates, wanted: WANTED, current: None }
    }

    fn audio() -> Demand {
        let mut rates = [[Bitrate::ZERO; TEMPORAL]; SPATIAL];
        rates[0][0] = Bitrate::kbps(32);
        Demand { content: Content::Audio, rates, wanted: Layer { spatial: 0, temporal: 0 }, ..camera(0) }
    }

    fn spatial(demands: &[Demand], kbps: u64, pausing: Pausing) -> (Vec<Option<u8>>, Allocation) {
        let mut allocator = Allocator::default();
        let rate = Bitrate::kbps(kbps);
        let allocation = allocator.allocate(demands, rate, rate, pausing);
        (allocator.targets().iter().map(|target| target.map(|layer| layer.spatial)).collect(), allocation)
    }

    #[test]
    fn pictures_follow_what_there_is() {
        let demands = [audio(), camera(100)];
        for (kbps, expected, goal) in [
            (100, None, Some(235)),
            (200, Some(0), Some(689)),
            (700, Some(1), Some(2_244)),
            (1_900, Some(2), None),
        ] {
            let (targets, allocation) = spatial(&demands, kbps, Pausing::All);
            assert_eq!(targets, [Some(0), expected], "at {kbps}");
            assert_eq!(allocation.probe_goal.map(|goal| goal.as_bps() / 1_000), goal, "at {kbps}");
        }
    }

    #[test]
    fn everybody_is_seen_before_anybody_is_seen_better() {
        let speaker = Demand { speaker: true, ..camera(10) };
        let demands = [camera(200), camera(300), speaker];
        assert_eq!(spatial(&demands, 330, Pausing::All).0, [None, Some(0), Some(0)]);
        assert_eq!(spatial(&demands, 500, Pausing::All).0, [Some(0), Some(0), Some(0)]);
        assert_eq!(spatial(&demands, 900, Pausing::All).0, [Some(0), Some(0), Some(1)]);
        assert_eq!(spatial(&demands, 1_250, Pausing::All).0, [Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn only_screen_and_speaker_are_kept_when_nothing_may_pause() {
        let screen = Demand { content: Content::Screen, ..camera(10) };
        let demands = [audio(), camera(200), screen];
        assert_eq!(spatial(&demands, 60, Pausing::Unimportant).0, [Some(0), None, Some(0)]);
        assert_eq!(spatial(&demands, 60, Pausing::All).0, [Some(0), None, None]);
        assert_eq!(spatial(&demands, 60, Pausing::Nothing).0, [Some(0); 3]);
    }

    #[test]
    fn a_screen_slows_down_before_it_blurs() {
        let mut screen =
            Demand { content: Content::Screen, wanted: Layer { spatial: 1, temporal: 1 }, ..camera(10) };
        screen.rates = [[Bitrate::ZERO; TEMPORAL]; SPATIAL];
        screen.rates[0][..2].copy_from_slice(&[Bitrate::kbps(100), Bitrate::kbps(200)]);
        screen.rates[1][..2].copy_from_slice(&[Bitrate::kbps(300), Bitrate::kbps(600)]);
        let mut allocator = Allocator::default();
        for (kbps, spatial, temporal) in [(150, 0, 0), (400, 1, 0), (700, 1, 1)] {
            let rate = Bitrate::kbps(kbps);
            allocator.allocate(&[screen], rate, rate, Pausing::All);
            assert_eq!(allocator.targets(), [Some(Layer { spatial, temporal })], "at {kbps}");
        }
    }

    #[test]
    fn nothing_pauses_for_a_queue_that_empties() {
        let mut allocator = Allocator::default();
        let (low, lasting) = (Bitrate::kbps(100), Bitrate::kbps(600));
        allocator.allocate(&[camera(1)], low, lasting, Pausing::All);
        assert_eq!(
            allocator.targets(),
            [Some(Layer { spatial: 0, temporal: 0 })],
            "but it is not seen better"
        );
    }

    #[test]
    fn a_wavering_estimate_makes_no_flicker() {
        let fresh = camera(1);
        let settled = Demand { current: Some(Layer { spatial: 1, temporal: 0 }), ..fresh };
        assert_eq!(spatial(&[fresh], 505, Pausing::All).0, [Some(0)]);
        assert_eq!(spatial(&[settled], 505, Pausing::All).0, [Some(1)]);
        assert_eq!(spatial(&[settled], 495, Pausing::All).0, [Some(0)]);
    }
}
