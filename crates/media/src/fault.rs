//! Panics on purpose, so that tests see what survives a bug. Only where debug assertions are on: elsewhere a point is
//! nothing at all.

#[cfg(debug_assertions)]
use std::cell::Cell;

// A bug in one peer's turn ends that peer alone, which needs panics that unwind.
const _: () = assert!(cfg!(panic = "unwind"), "panics must unwind");

/// Where a panic may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A datagram of a peer is looked at.
    Datagram,
    /// A packet is about to be forwarded to a subscriber.
    Forward,
    /// A packet is half written: its header and payload are there, and not encrypted.
    Write,
    /// A subscriber's report was decrypted.
    Report,
    /// Data is about to be sent to a peer.
    Data,
}

#[cfg(debug_assertions)]
thread_local! {
    static ARMED: Cell<Option<Point>> = const { Cell::new(None) };
}

/// The next pass of this point on this thread panics, once.
#[cfg(debug_assertions)]
pub fn arm(point: Point) {
    ARMED.set(Some(point));
}

/// Whether that panic is still to come.
#[cfg(debug_assertions)]
pub fn is_armed() -> bool {
    ARMED.get().is_some()
}

/// Panics if this point is armed.
pub(crate) fn point(here: Point) {
    #[cfg(debug_assertions)]
    if ARMED.get() == Some(here) {
        ARMED.set(None);
        panic!("a fault for a test: {here:?}");
    }
    #[cfg(not(debug_assertions))]
    let _ = here;
}
