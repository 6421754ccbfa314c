//! How much comes in of a stream: pictures in a second, and bits in a second for each of its layers.

use std::time::{Duration, Instant};

use crate::allocator::{SPATIAL, TEMPORAL};
use crate::bwe::Bitrate;
use crate::ring::Layering;
use crate::rtp::dd::Indication;

/// Pictures are counted over this time.
const PICTURE_WINDOW: Duration = Duration::from_secs(2);
/// So much of the wanted number of pictures is enough, in percent.
const ENOUGH_PERCENT: u32 = 90;
/// Bytes are counted over this time …
const SLICE: Duration = Duration::from_millis(500);
/// … and remembered for this many of them,
const SLICES: usize = 8;
/// which is so long.
pub const MEMORY: Duration = Duration::from_secs(4);
/// Bytes that each payload costs on the way beside itself: IP, UDP, RTP with extensions, tag.
const OVERHEAD: usize = 68;

/// Bytes by spatial and temporal layer.
type Bytes = [[u32; TEMPORAL]; SPATIAL];

/// Counts the pictures and the bytes of a stream.
#[derive(Debug, Default)]
pub struct Rates {
    started: Option<Instant>,
    last_timestamp: Option<u32>,
    pictures: Pictures,
    /// What each layer needs, those below it included, in the latest slices; the newest is that of number `slice`.
    slices: [Bytes; SLICES],
    slice: u64,
    /// The highest layers so far.
    top: (usize, usize),
}

/// Pictures by temporal layer.
#[derive(Debug, Default)]
struct Pictures {
    since: Option<Instant>,
    counted: [u32; TEMPORAL],
    /// Pictures in a second up to each temporal layer, from the last whole window.
    rates: Option<[u32; TEMPORAL]>,
}

impl Rates {
    /// A packet with `payload` bytes came in.
    pub fn observe(&mut self, now: Instant, timestamp: u32, payload: usize, layering: &Layering) {
        let (spatial, temporal) = match layering {
            Layering::Vp8(descriptor) => (0, descriptor.temporal_id.unwrap_or(0)),
            Layering::Vp9(descriptor) => (descriptor.spatial, descriptor.temporal),
            Layering::Dependency(descriptor) => (descriptor.spatial, descriptor.temporal),
            Layering::None | Layering::Unreadable(_) => (0, 0),
        };
        let (spatial, temporal) =
            (usize::from(spatial).min(SPATIAL - 1), usize::from(temporal).min(TEMPORAL - 1));
        // All packets of a picture have one timestamp.
        if self.last_timestamp.is_none_or(|last| timestamp.wrapping_sub(last).cast_signed() > 0) {
            self.last_timestamp = Some(timestamp);
            self.pictures.count(now, temporal);
        }
        let started = *self.started.get_or_insert(now);
        self.advance(slice_of(started, now));
        self.top = (self.top.0.max(spatial), self.top.1.max(temporal));
        let bytes = (payload + OVERHEAD) as u32;
        let newest = &mut self.slices[(self.slice % SLICES as u64) as usize];
        match layering {
            // It says which decode targets it is for.
            Layering::Dependency(descriptor) => {
                for (index, target) in descriptor.structure.targets.iter().enumerate() {
                    if descriptor.indications.of(index) != Indication::NotPresent {
                        let spatial = usize::from(target.spatial).min(SPATIAL - 1);
                        let temporal = usize::from(target.temporal).min(TEMPORAL - 1);
                        let cell = &mut newest[spatial][temporal];
                        *cell = cell.saturating_add(bytes);
                    }
                }
            }
            Layering::Vp8(_) | Layering::Vp9(_) | Layering::None | Layering::Unreadable(_) => {
                let alone = matches!(layering, Layering::Vp9(descriptor) if descriptor.not_for_upper);
                let highest = if alone { spatial } else { self.top.0 };
                for cell in
                    newest[spatial..=highest].iter_mut().flat_map(|row| &mut row[temporal..=self.top.1])
                {
                    *cell = cell.saturating_add(bytes);
                }
            }
        }
    }

    /// The lowest temporal layer with which `fps` pictures come in a second; no limit for 0.
    pub fn enough_for(&self, fps: u32) -> u8 {
        let Some(rates) = self.pictures.rates.filter(|_| fps > 0) else { return u8::MAX };
        let enough = rates.iter().position(|rate| rate * 100 >= fps.saturating_mul(ENOUGH_PERCENT));
        enough.filter(|layer| layer + 1 < TEMPORAL).map_or(u8::MAX, |layer| layer as u8)
    }

    /// What each layer needs together with those below it, over the last `time`, at most [`MEMORY`]; zero for layers
    /// of which nothing came.
    pub fn bitrates(&self, now: Instant, time: Duration) -> [[Bitrate; TEMPORAL]; SPATIAL] {
        let mut rates = [[Bitrate::ZERO; TEMPORAL]; SPATIAL];
        let Some(started) = self.started else { return rates };
        let current = slice_of(started, now).max(self.slice);
        let wanted = (time.as_millis() / SLICE.as_millis()).clamp(1, SLICES as u128) as u64;
        let first = (current + 1).saturating_sub(wanted);
        let since = started + SLICE * u32::try_from(first).unwrap_or(u32::MAX);
        // What began a moment ago has sent little yet, or a key frame.
        let passed = now.saturating_duration_since(since).max(SLICE);
        for slice in first..=self.slice {
            let bytes = &self.slices[(slice % SLICES as u64) as usize];
            for (rate, bytes) in rates.iter_mut().flatten().zip(bytes.iter().flatten()) {
                *rate = rate.plus(Bitrate::bps(u64::from(*bytes)));
            }
        }
        for rate in rates.iter_mut().flatten() {
            *rate = Bitrate::of(rate.as_bps(), passed);
        }
        rates
    }

    /// Goes on to a slice and forgets those that are too old.
    fn advance(&mut self, slice: u64) {
        let skipped = slice.saturating_sub(self.slice).min(SLICES as u64);
        for empty in slice + 1 - skipped..=slice {
            self.slices[(empty % SLICES as u64) as usize] = Bytes::default();
        }
        self.slice = self.slice.max(slice);
    }
}

impl Pictures {
    fn count(&mut self, now: Instant, temporal: usize) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= PICTURE_WINDOW {
            let mut sum = 0;
            self.rates = Some(self.counted.map(|count| {
                sum += count;
                (f64::from(sum) / passed.as_secs_f64()).round() as u32
            }));
            self.counted = [0; TEMPORAL];
            self.since = Some(now);
        }
        self.counted[temporal] += 1;
    }
}

fn slice_of(started: Instant, now: Instant) -> u64 {
    (now.saturating_duration_since(started).as_millis() / SLICE.as_millis()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::vp8;

    const SECOND: Duration = Duration::from_secs(1);

    fn vp8(temporal: u8) -> Layering {
        let payload = [0x90, 0x20, temporal << 6, 1];
        Layering::Vp8(vp8::Descriptor::parse(&payload).expect("well-formed"))
    }

    #[test]
    fn pictures_are_counted_by_temporal_layer() {
        let start = Instant::now();
        let mut rates = Rates::default();
        assert_eq!(rates.enough_for(5), u8::MAX, "nothing is known yet");
        for nth in 0..100u32 {
            let temporal = [0, 2, 1, 2][nth as usize % 4];
            rates.observe(start + Duration::from_millis(33) * nth, nth * 3_000, 4, &vp8(temporal));
        }
        assert_eq!((rates.enough_for(7), rates.enough_for(15), rates.enough_for(30)), (0, 1, 2));
        assert_eq!((rates.enough_for(0), rates.enough_for(60)), (u8::MAX, u8::MAX));
    }

    #[test]
    fn a_layer_needs_those_below_it() {
        let start = Instant::now();
        let mut rates = Rates::default();
        let mut now = start;
        // 25 pictures of 932 bytes a second, every other one of the higher layer.
        for nth in 0..100u32 {
            now = start + Duration::from_millis(40) * nth;
            rates.observe(now, nth * 3_600, 932, &vp8((nth % 2) as u8));
        }
        let [[low, high, none, _], upper, _] = rates.bitrates(now, 2 * SECOND);
        assert!((95..106).contains(&(low.as_bps() / 1_000)), "{low:?}");
        assert!((190..211).contains(&(high.as_bps() / 1_000)), "{high:?}");
        assert_eq!((none, upper[0]), (Bitrate::ZERO, Bitrate::ZERO), "not there");
        // A second later, half of it is forgotten; after five, all.
        let [[low, ..], ..] = rates.bitrates(now + SECOND, 2 * SECOND);
        assert!((35..66).contains(&(low.as_bps() / 1_000)), "{low:?}");
        assert_eq!(rates.bitrates(now + 5 * SECOND, 4 * SECOND)[0][0], Bitrate::ZERO);
        rates.observe(now + 9 * SECOND, 1 << 30, 932, &vp8(0));
        let [[low, ..], ..] = rates.bitrates(now + 9 * SECOND, 4 * SECOND);
        assert!(low < Bitrate::kbps(5), "{low:?}");
    }

    #[test]
    fn what_began_a_moment_ago_is_not_taken_for_a_flood() {
        let now = Instant::now();
        let mut rates = Rates::default();
        rates.observe(now, 0, 1_932, &Layering::None);
        assert_eq!(rates.bitrates(now, SECOND)[0][0], Bitrate::kbps(32));
    }
}
