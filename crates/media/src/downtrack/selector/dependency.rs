//! Layers by the dependency descriptor (AV1 RTP specification, appendix A), for every codec.
//!
//! A subscriber gets one decode target. A frame of it is sent if all frames that it needs were sent. What has not come
//! yet may still come, late or repaired; when it does not within [`PATIENCE`], all that was built on it counts as broken.

use std::sync::Arc;

use super::{Choice, Limits, Window};
use crate::rtp::dd::{Descriptor, Indication, Structure, Target};

/// Frames that a missing one is waited for: two thirds of a second of three spatial layers.
const PATIENCE: u64 = 64;

/// What became of a frame; nothing is known of those that have not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A decoder has it and all that it needs, as far as is known.
    Sent,
    /// Not sent, or of no use.
    Dropped,
    /// Has not come, and something that was sent needs it.
    Awaited,
}

/// The decode target of one stream that is sent.
#[derive(Debug, Default)]
pub(super) struct DependencySelector {
    /// The structure by which targets are counted.
    structure: Option<Arc<Structure>>,
    /// The target that is sent.
    current: Option<usize>,
    frames: Window<Fate>,
    /// The key frame that everything is built on; nothing before it is sent.
    base: u64,
    /// The oldest frame that is awaited.
    awaited: Option<u64>,
    /// Targets that the publisher sends.
    active: u32,
    /// A bit for each chain that is whole.
    whole: u32,
    /// The mask that the subscriber was told last, and in which frame.
    announced: Option<(u32, u64)>,
}

impl DependencySelector {
    pub(super) fn choose(&mut self, descriptor: &Descriptor, limits: Limits) -> Choice {
        let frame = self.frames.extend(descriptor.frame_number, 16);
        if descriptor.brings_structure && self.frames.is_latest(frame) {
            self.begin(descriptor, frame);
        }
        if frame < self.base || self.structure.is_none() || self.frames.is_forgotten(frame) {
            return Choice::LeaveOut;
        }
        let fate = match self.frames.get(frame) {
            Some(Fate::Sent) => Fate::Sent,
            Some(Fate::Dropped) => Fate::Dropped,
            known @ (None | Some(Fate::Awaited)) => self.decide(descriptor, frame, known.is_some(), limits),
        };
        match fate {
            Fate::Sent => self.send(descriptor, frame),
            Fate::Dropped | Fate::Awaited => Choice::LeaveOut,
        }
    }

    /// A frame whose descriptor says nothing without the structure that was missed.
    pub(super) fn unreadable(&mut self, frame_number: Option<u16>) {
        let Some(number) = frame_number else {
            self.current = None;
            return;
        };
        let frame = self.frames.extend(number, 16);
        if self.frames.is_latest(frame) && self.frames.get(frame).is_none() {
            self.current = None;
            self.frames.note(frame);
            self.frames.set(frame, Fate::Dropped);
        }
    }

    /// Whether the publisher counts its frames from somewhere else, as a new encoder does.
    pub(super) fn counts_anew(&self, descriptor: &Descriptor) -> bool {
        let frame = self.frames.extend(descriptor.frame_number, 16);
        !self.frames.is_latest(frame) && self.frames.is_forgotten(frame)
    }

    pub(super) fn wants_keyframe(&self, limits: Limits) -> bool {
        let (Some(structure), Some(current)) = (&self.structure, self.current) else { return true };
        let Some(wanted) = best_target(structure, self.active, limits) else { return false };
        let (have, want) = (structure.targets[current], structure.targets[wanted]);
        // Another temporal layer begins without one.
        have.spatial != want.spatial && !self.is_whole(want)
    }

    /// A key frame with a structure.
    fn begin(&mut self, descriptor: &Descriptor, frame: u64) {
        if self.structure.as_ref() != Some(&descriptor.structure) {
            self.structure = Some(descriptor.structure.clone());
            self.current = None;
        }
        if descriptor.diffs().is_empty() && self.frames.get(frame).is_none() {
            self.base = frame;
            self.current = None;
            self.awaited = None;
        }
    }

    /// Decides about a frame of which the first packet has come.
    fn decide(&mut self, descriptor: &Descriptor, frame: u64, awaited: bool, limits: Limits) -> Fate {
        let needs = || descriptor.diffs().iter().map(|diff| frame.wrapping_sub(u64::from(*diff)));
        let decodable = needs().all(|need| self.may_be_there(need));
        if self.frames.is_latest(frame) {
            self.active = descriptor.active;
            self.look_at_chains(descriptor, frame);
            self.current = self.pick(descriptor, decodable, limits);
        }
        self.frames.note(frame);
        let for_us =
            self.current.is_some_and(|target| descriptor.indications.of(target) != Indication::NotPresent);
        if decodable && (for_us || awaited) {
            self.frames.set(frame, Fate::Sent);
            needs().for_each(|need| self.await_frame(need));
            if let Some(previous) = self.chain_before(descriptor, frame) {
                self.await_frame(previous);
            }
            self.settle(frame);
            Fate::Sent
        } else {
            self.frames.set(frame, Fate::Dropped);
            if awaited {
                self.break_from(frame);
            }
            self.settle(frame);
            Fate::Dropped
        }
    }

    /// Which target is sent from this frame on. Going up takes a frame that says so; going down a chain that is whole,
    /// because all frames of a lower target were sent with those of the higher.
    fn pick(&self, descriptor: &Descriptor, decodable: bool, limits: Limits) -> Option<usize> {
        let structure = self.structure.as_ref()?;
        let current = self.current.filter(|target| self.is_whole(structure.targets[*target]));
        let wanted = best_target(structure, descriptor.active, limits)?;
        let may_begin = |target: usize| match descriptor.indications.of(target) {
            Indication::NotPresent => false,
            Indication::Switch => decodable,
            Indication::Required | Indication::Discardable => {
                let contains = |current: usize| {
                    let (have, want) = (structure.targets[current], structure.targets[target]);
                    want.spatial <= have.spatial && want.temporal <= have.temporal
                };
                decodable && self.current.is_some_and(contains) && self.is_whole(structure.targets[target])
            }
        };
        if current == Some(wanted) || may_begin(wanted) {
            return Some(wanted);
        }
        let lower = || {
            let allowed = |target: &usize| {
                is_allowed(structure, *target, descriptor.active, limits) && may_begin(*target)
            };
            (0..structure.targets.len()).filter(allowed).max_by_key(|target| rank(structure, *target))
        };
        // What is sent goes on until something better begins; what is broken does not.
        match current {
            Some(current) => {
                let better = lower().filter(|lower| {
                    rank(structure, *lower) > rank(structure, current)
                        || !is_allowed(structure, current, descriptor.active, limits)
                });
                better.or(Some(current))
            }
            None => lower(),
        }
    }

    fn look_at_chains(&mut self, descriptor: &Descriptor, frame: u64) {
        self.whole = 0;
        for (chain, diff) in descriptor.chain_diffs().iter().enumerate() {
            let begins = *diff == 0;
            if begins || self.may_be_there(frame.wrapping_sub(u64::from(*diff))) {
                self.whole |= 1 << chain;
            }
        }
    }

    /// Without chains it is the needs of each frame alone that count.
    fn is_whole(&self, target: Target) -> bool {
        target.chain.is_none_or(|chain| self.whole >> chain & 1 == 1)
    }

    fn may_be_there(&self, frame: u64) -> bool {
        frame >= self.base
            && !self.frames.is_forgotten(frame)
            && self.frames.get(frame) != Some(Fate::Dropped)
    }

    /// The frame of the current target's chain before this one.
    fn chain_before(&self, descriptor: &Descriptor, frame: u64) -> Option<u64> {
        let target = self.structure.as_ref()?.targets.get(self.current?)?;
        let diff = *descriptor.chain_diffs().get(usize::from(target.chain?))?;
        frame.checked_sub(u64::from(diff)).filter(|_| diff > 0)
    }

    fn await_frame(&mut self, frame: u64) {
        if self.frames.get(frame).is_none() && self.may_be_there(frame) {
            self.frames.set(frame, Fate::Awaited);
            self.awaited = Some(self.awaited.map_or(frame, |oldest| oldest.min(frame)));
        }
    }

    /// A frame was decided about: the oldest awaited one may be another, or waited for long enough.
    fn settle(&mut self, frame: u64) {
        let Some(highest) = self.frames.highest() else { return };
        if self.awaited == Some(frame) {
            let mut later = self.frames.remembered(frame + 1);
            self.awaited = later.find(|later| self.frames.get(*later) == Some(Fate::Awaited));
        }
        if let Some(missing) = self.awaited.filter(|missing| missing + PATIENCE < highest) {
            self.break_from(missing);
        }
    }

    /// A frame will never be there: nothing that came after it counts as decodable.
    fn break_from(&mut self, missing: u64) {
        for frame in self.frames.remembered(missing) {
            self.frames.set(frame, Fate::Dropped);
        }
        self.awaited = None;
    }

    fn send(&mut self, descriptor: &Descriptor, frame: u64) -> Choice {
        let (Some(structure), Some(current)) = (&self.structure, self.current) else {
            // What was awaited comes when nothing else is sent any more.
            return Choice::WHOLE;
        };
        let target = structure.targets[current];
        let contained = structure.targets.iter().enumerate().filter(|(index, other)| {
            other.spatial <= target.spatial
                && other.temporal <= target.temporal
                && self.active >> index & 1 == 1
        });
        let mask = contained.fold(0, |mask, (index, _)| mask | 1 << index);
        let changed = self.announced.is_none_or(|(told, _)| told != mask);
        if self.frames.is_latest(frame) && (changed || descriptor.brings_structure) {
            self.announced = Some((mask, frame));
        }
        let here = self.announced.is_some_and(|(_, told)| told == frame) || descriptor.has_mask();
        Choice::Send {
            ends_picture: descriptor.ends_frame && descriptor.spatial == target.spatial,
            mask: here.then_some(mask),
        }
    }
}

/// Higher pictures first, then more of them.
fn rank(structure: &Structure, target: usize) -> (u8, u8) {
    let target = structure.targets[target];
    (target.spatial, target.temporal)
}

fn is_allowed(structure: &Structure, target: usize, active: u32, limits: Limits) -> bool {
    let Target { spatial, temporal, .. } = structure.targets[target];
    active >> target & 1 == 1 && spatial <= limits.spatial && temporal <= limits.temporal
}

/// The best target within the limits, else the lowest that the publisher sends.
fn best_target(structure: &Structure, active: u32, limits: Limits) -> Option<usize> {
    let all = 0..structure.targets.len();
    let allowed = all.clone().filter(|target| is_allowed(structure, *target, active, limits));
    allowed.max_by_key(|target| rank(structure, *target)).or_else(|| {
        let sent = all.filter(|target| active >> target & 1 == 1);
        sent.min_by_key(|target| rank(structure, *target))
    })
}
