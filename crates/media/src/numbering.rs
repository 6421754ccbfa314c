//! Numbers of a stream's packets without those that nobody is sent.
//!
//! A publisher may fill up what the network carries with packets that have no content. They are not passed on; if their
//! numbers were simply left out, every receiver would take them for lost and ask for them.

use std::collections::VecDeque;

/// Packets left out that are remembered, for packets that come late.
const REMEMBERED: usize = 512;

/// Counts the packets of one stream.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    highest: Option<u64>,
    /// How many were left out so far.
    left_out: u64,
    /// The latest of these, in order.
    recent: VecDeque<u64>,
    /// Up to here it is not known any more which were left out.
    forgotten: Option<u64>,
}

impl Numbering {
    /// Leaves a packet out. `false` if a later one was numbered before it: its number is then missing already.
    pub(crate) fn leave_out(&mut self, sequence: u64) -> bool {
        if self.highest.is_some_and(|highest| sequence <= highest) {
            return false;
        }
        self.highest = Some(sequence);
        self.left_out += 1;
        self.recent.push_back(sequence);
        if self.recent.len() > REMEMBERED {
            self.forgotten = self.recent.pop_front();
        }
        true
    }

    /// The number of a packet that is passed on; never the same for two. `None` if it comes too late to tell.
    pub(crate) fn number(&mut self, sequence: u64) -> Option<u64> {
        if self.forgotten.is_some_and(|forgotten| sequence <= forgotten) {
            return None;
        }
        self.highest = self.highest.max(Some(sequence));
        let later = self.recent.iter().rev().take_while(|left_out| **left_out > sequence).count() as u64;
        Some(sequence - (self.left_out - later))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_out_leaves_no_gap() {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.number(10), Some(10));
        assert!(numbering.leave_out(11) && numbering.leave_out(13));
        assert_eq!(numbering.number(12), Some(11), "late, from between");
        assert_eq!(numbering.number(14), Some(12));
        assert!(!numbering.leave_out(9), "its place is there already");
        assert_eq!(numbering.number(9), Some(9));
    }

    proptest! {
        /// Whatever comes in whatever order: no number is given twice, and the order stays.
        #[test]
        fn numbers_are_never_given_twice(steps in prop::collection::vec((0..4u64, 0..40u64, any::<bool>()), 1..2_000)) {
            let mut numbering = Numbering::default();
            let (mut highest, mut seen, mut given) = (1_000, HashSet::new(), Vec::new());
            for (ahead, back, empty) in steps {
                highest += ahead;
                let sequence = highest - back;
                // The transport drops what came before.
                if !seen.insert(sequence) || (empty && numbering.leave_out(sequence)) { continue }
                if let Some(number) = numbering.number(sequence) { given.push((sequence, number)); }
            }
            given.sort_unstable();
            prop_assert!(given.iter().zip(given.iter().skip(1)).all(|(one, two)| one.1 < two.1));
        }
    }
}
