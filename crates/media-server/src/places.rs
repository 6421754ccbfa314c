//! How many there are of something, in all and of one kind, so that nobody takes every place.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Places, counted by whom they are given to.
pub(crate) struct Places<K> {
    taken: Mutex<HashMap<K, usize>>,
    max: usize,
    max_each: usize,
}

/// One of them; given back when dropped.
pub(crate) struct Place<K: Eq + Hash> {
    places: Arc<Places<K>>,
    of: K,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Whoever asks has as many as one may have.
    Each,
    /// All are taken.
    All,
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub(crate) fn new(max: usize, max_each: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), max, max_each })
    }

    pub(crate) fn enter(this: &Arc<Self>, of: K) -> Result<Place<K>, Full> {
        let mut taken = this.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&of).copied().unwrap_or_default();
        if own >= this.max_each {
            return Err(Full::Each);
        }
        if all >= this.max {
            return Err(Full::All);
        }
        taken.insert(of.clone(), own + 1);
        Ok(Place { places: this.clone(), of })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cannot_take_every_place() {
        let places = Places::new(3, 2);
        let mut greedy = vec![Places::enter(&places, 'a').ok(), Places::enter(&places, 'a').ok()];
        assert!(greedy.iter().all(Option::is_some));
        assert_eq!(Places::enter(&places, 'a').err(), Some(Full::Each));
        let other = Places::enter(&places, 'b').ok();
        assert!(other.is_some());
        assert_eq!(Places::enter(&places, 'c').err(), Some(Full::All));
        greedy.pop();
        assert!(Places::enter(&places, 'a').is_ok(), "a place that was left is free");
    }
}
