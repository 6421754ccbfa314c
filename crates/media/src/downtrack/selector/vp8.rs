//! Temporal layers of VP8 (RFC 7741).

use super::{Choice, Limits, Window};
use crate::rtp::vp8::Descriptor;

/// The temporal layers of one stream that are sent.
#[derive(Debug, Default)]
pub(super) struct Vp8Selector {
    /// The highest temporal layer that is sent.
    current: u8,
    /// Whether a picture is sent.
    pictures: Window<bool>,
}

impl Vp8Selector {
    pub(super) fn choose(&mut self, descriptor: &Descriptor, limits: Limits) -> Choice {
        // Without numbers nobody could tell a picture that was left out from one that was lost.
        let (Some((picture, wide)), Some(temporal)) = (descriptor.picture_id, descriptor.temporal_id) else {
            return Choice::WHOLE;
        };
        let number = self.pictures.extend(picture, if wide { 15 } else { 7 });
        let sent = self.pictures.get(number).unwrap_or_else(|| {
            if self.pictures.is_latest(number) {
                self.move_on(descriptor, temporal, limits);
            }
            temporal <= self.current
        });
        self.pictures.note(number);
        self.pictures.set(number, sent);
        if sent { Choice::WHOLE } else { Choice::LeaveOut }
    }

    /// A new picture: the layers may change.
    fn move_on(&mut self, descriptor: &Descriptor, temporal: u8, limits: Limits) {
        if descriptor.keyframe_start {
            self.current = limits.temporal;
        }
        self.current = self.current.min(limits.temporal);
        // A picture that needs the lowest layer only, where nothing between is left out.
        if descriptor.layer_sync && temporal == self.current.saturating_add(1) && temporal <= limits.temporal
        {
            self.current = temporal;
        }
    }
}
