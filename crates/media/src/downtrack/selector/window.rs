//! What was decided about the latest frames or pictures, by number.

/// Frames that are remembered: five seconds of three spatial layers.
const REMEMBERED: usize = 512;

/// Decisions about numbered things. Numbers come cut to some bits and are extended by the highest one so far.
#[derive(Debug)]
pub(super) struct Window<T> {
    highest: Option<u64>,
    slots: Vec<Option<(u64, T)>>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { highest: None, slots: Vec::new() }
    }
}

impl<T: Copy> Window<T> {
    /// The whole number of which `cut` are the lowest `bits`.
    pub(super) fn extend(&self, cut: u16, bits: u32) -> u64 {
        extend_cut(self.highest, cut, bits)
    }

    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether nothing newer is known.
    pub(super) fn is_latest(&self, number: u64) -> bool {
        self.highest.is_none_or(|highest| number >= highest)
    }

    pub(super) fn get(&self, number: u64) -> Option<T> {
        let slot = self.slots.get(at(number))?.as_ref();
        slot.filter(|(own, _)| *own == number).map(|(_, decided)| *decided)
    }

    /// Whether the number is too old to be remembered.
    pub(super) fn is_forgotten(&self, number: u64) -> bool {
        self.highest.is_some_and(|highest| number + REMEMBERED as u64 <= highest)
    }

    /// The numbers from `first` on that are remembered; never many, however far the numbers jump.
    pub(super) fn remembered(&self, first: u64) -> std::ops::Range<u64> {
        let end = self.highest.map_or(0, |highest| highest + 1);
        first.max(end.saturating_sub(REMEMBERED as u64))..end
    }

    /// Decides, unless something newer stands in the place.
    pub(super) fn set(&mut self, number: u64, decided: T) {
        if self.is_forgotten(number) {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize(REMEMBERED, None);
        }
        self.slots[at(number)] = Some((number, decided));
    }

    /// A number has come.
    pub(super) fn note(&mut self, number: u64) {
        self.highest = self.highest.max(Some(number));
    }
}

/// The whole number of which `cut` are the lowest `bits`: the one nearest to the highest so far. The first ones are so
/// high that late ones never fall below zero.
pub(in crate::downtrack) fn extend_cut(highest: Option<u64>, cut: u16, bits: u32) -> u64 {
    let cycle = 1u64 << bits;
    let cut = u64::from(cut) % cycle;
    let Some(highest) = highest else { return cut + (1 << 16) };
    let ahead = (cut + cycle - highest % cycle) % cycle;
    if ahead < cycle / 2 { highest + ahead } else { (highest + ahead).saturating_sub(cycle) }
}

fn at(number: u64) -> usize {
    (number % REMEMBERED as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_extended_to_the_nearest() {
        let mut window = Window::<()>::default();
        let first = window.extend(0xfffe, 16);
        window.note(first);
        assert_eq!(window.extend(1, 16), first + 3);
        assert_eq!(window.extend(0xfff0, 16), first - 14);
        let mut short = Window::<()>::default();
        let first = short.extend(126, 7);
        short.note(first);
        assert_eq!(short.extend(2, 7), first + 4);
        assert_eq!(short.extend(120, 7), first - 6);
    }

    #[test]
    fn the_latest_decisions_are_remembered() {
        let mut window = Window::default();
        for number in 1_000..2_000 {
            window.note(number);
            window.set(number, number);
        }
        assert_eq!(
            (window.get(1_999), window.get(1_488), window.get(1_487)),
            (Some(1_999), Some(1_488), None)
        );
        window.set(1_400, 0);
        assert_eq!(window.get(1_400 + 512), Some(1_912), "too old to take a place");
        assert!(window.is_forgotten(1_487) && !window.is_forgotten(1_488));
        assert_eq!((window.remembered(0), window.remembered(1_990)), (1_488..2_000, 1_990..2_000));
    }
}
