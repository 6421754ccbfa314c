//! Decides packet by packet what a subscriber gets of one stream, where the stream has layers inside.
//!
//! Which of several streams of a track is sent (simulcast) is decided before; here it is about temporal layers of VP8,
//! layers of VP9 by its payload descriptor, and layers of any codec by the dependency descriptor. All packets of a frame
//! share its fate, and nothing is sent that a decoder could not use.

mod dependency;
mod vp8;
mod vp9;
mod window;

use dependency::DependencySelector;
use vp8::Vp8Selector;
use vp9::Vp9Selector;
use window::Window;
pub(super) use window::extend_cut;

use crate::ring::{Layering, Packet};

/// The highest layers that a subscriber may have of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Spatial layer. Of several streams of a track each is one layer, whatever its packets say: there it has no limit.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self { spatial: u8::MAX, temporal: u8::MAX };
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is sent.
    Send {
        /// It is the last one of its picture that this subscriber gets.
        ends_picture: bool,
        /// The decode targets that this subscriber gets, where its dependency descriptor must say so.
        mask: Option<u32>,
    },
    /// It is not for this subscriber: the packets that follow are numbered as if it had not been.
    LeaveOut,
    /// Nobody can say for whom it is: as if it had been lost.
    Lose,
}

impl Choice {
    const WHOLE: Self = Self::Send { ends_picture: false, mask: None };
}

/// The layers of one stream for one subscriber.
#[derive(Debug, Default)]
pub struct Selector(State);

#[derive(Debug, Default)]
enum State {
    /// A stream without layers, or nothing yet.
    #[default]
    Whole,
    Vp8(Vp8Selector),
    Vp9(Vp9Selector),
    // Much larger than the others, and most tracks are sound.
    Dependency(Box<DependencySelector>),
}

impl Selector {
    /// What comes next has nothing to do with what came before; it begins with a key frame.
    pub fn restart(&mut self) {
        self.0 = State::Whole;
    }

    /// Decides about a packet, in the order in which they come in.
    pub fn choose(&mut self, packet: &Packet, limits: Limits) -> Choice {
        // Padding that came late: it only fills a place.
        if packet.payload.is_empty() {
            return Choice::WHOLE;
        }
        if packet.keyframe_start {
            self.fit(&packet.layering);
        }
        match (&packet.layering, &mut self.0) {
            (Layering::None, State::Whole) => Choice::WHOLE,
            (Layering::Vp8(descriptor), State::Vp8(selector)) => selector.choose(descriptor, limits),
            (Layering::Vp9(descriptor), State::Vp9(selector)) => selector.choose(descriptor, limits),
            (Layering::Dependency(descriptor), State::Dependency(selector)) => {
                selector.choose(descriptor, limits)
            }
            (Layering::Unreadable(frame), State::Dependency(selector)) => {
                selector.unreadable(*frame);
                Choice::Lose
            }
            // The publisher has changed its mind in the middle of a picture.
            _ => Choice::Lose,
        }
    }

    /// Whether the key frame that `packet` begins belongs to a stream that counts from somewhere else.
    pub fn counts_anew(&self, packet: &Packet) -> bool {
        match (&packet.layering, &self.0) {
            (Layering::Dependency(descriptor), State::Dependency(selector)) => {
                packet.keyframe_start && selector.counts_anew(descriptor)
            }
            _ => false,
        }
    }

    /// Whether the layers that the limits allow can only be had with a key frame.
    pub fn wants_keyframe(&self, limits: Limits) -> bool {
        match &self.0 {
            State::Whole | State::Vp8(_) => false,
            State::Vp9(selector) => selector.wants_keyframe(limits),
            State::Dependency(selector) => selector.wants_keyframe(limits),
        }
    }

    /// Makes the state that such packets need, if it is another one.
    fn fit(&mut self, layering: &Layering) {
        let fresh = match (layering, &self.0) {
            (Layering::None, State::Whole)
            | (Layering::Vp8(_), State::Vp8(_))
            | (Layering::Vp9(_), State::Vp9(_))
            | (Layering::Dependency(_), State::Dependency(_))
            | (Layering::Unreadable(_), _) => return,
            (Layering::None, _) => State::Whole,
            (Layering::Vp8(_), _) => State::Vp8(Vp8Selector::default()),
            (Layering::Vp9(_), _) => State::Vp9(Vp9Selector::default()),
            (Layering::Dependency(_), _) => State::Dependency(Box::default()),
        };
        self.0 = fresh;
    }
}

#[cfg(test)]
pub(super) mod tests;
