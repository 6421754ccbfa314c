//! Layers of VP9 by its payload descriptor (RFC 9628), where there is no dependency descriptor.

use super::{Choice, Limits, Window};
use crate::rtp::vp9::Descriptor;

/// The layers of one stream that are sent. Lower spatial layers are sent even where the encoder does without them, so
/// that going down is possible at every picture.
#[derive(Debug, Default)]
pub(super) struct Vp9Selector {
    /// The highest layers that are sent.
    spatial: u8,
    temporal: u8,
    /// After the latest picture higher temporal layers may begin.
    may_rise: bool,
    /// The highest spatial layer of a picture that is sent; none if nothing of it is.
    pictures: Window<Option<u8>>,
}

impl Vp9Selector {
    pub(super) fn choose(&mut self, descriptor: &Descriptor, limits: Limits) -> Choice {
        let Some((picture, wide)) = descriptor.picture_id else { return Choice::WHOLE };
        let number = self.pictures.extend(picture, if wide { 15 } else { 7 });
        let latest = self.pictures.is_latest(number);
        let top = self.pictures.get(number).unwrap_or_else(|| {
            if latest {
                self.move_on(descriptor, limits);
            }
            (descriptor.temporal <= self.temporal).then_some(self.spatial)
        });
        self.pictures.note(number);
        self.pictures.set(number, top);
        match top {
            Some(top) if descriptor.spatial <= top => {
                if latest {
                    // Every layer of the picture must agree.
                    self.may_rise &= descriptor.switching_up;
                }
                let ends_picture = descriptor.ends_frame && descriptor.spatial == top;
                Choice::Send { ends_picture, mask: None }
            }
            _ => Choice::LeaveOut,
        }
    }

    /// A new picture: the layers may change.
    fn move_on(&mut self, descriptor: &Descriptor, limits: Limits) {
        let key = !descriptor.inter_picture && !descriptor.inter_layer && descriptor.spatial == 0;
        self.spatial = if key { limits.spatial } else { self.spatial.min(limits.spatial) };
        self.temporal =
            if key || self.may_rise { limits.temporal } else { self.temporal.min(limits.temporal) };
        // Only a picture that is sent says something about those after it.
        self.may_rise = descriptor.temporal <= self.temporal;
    }

    pub(super) fn wants_keyframe(&self, limits: Limits) -> bool {
        self.spatial < limits.spatial
    }
}
