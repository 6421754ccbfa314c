//! A layered encoder without pictures: which frames it makes, what each of them needs, and the dependency descriptor
//! that says so. Knows nothing of the server's reader.

use std::collections::BTreeMap;

/// Spatial and temporal layers, as in `L3T3_KEY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Spatial layers.
    pub spatial: u8,
    /// Temporal layers.
    pub temporal: u8,
    /// Only key frames are used by higher spatial layers.
    pub key_only: bool,
}

/// Three frame rates.
pub const L1T3: Mode = Mode { spatial: 1, temporal: 3, key_only: false };
/// Three sizes in three frame rates.
pub const L3T3: Mode = Mode { spatial: 3, temporal: 3, key_only: false };
/// … that are independent between key frames.
pub const L3T3_KEY: Mode = Mode { spatial: 3, temporal: 3, key_only: true };

const NOT_PRESENT: u8 = 0;
const DISCARDABLE: u8 = 1;
const SWITCH: u8 = 2;
const REQUIRED: u8 = 3;

/// A frame: one spatial layer of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Counts over all layers.
    pub(crate) number: u64,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Of a picture that needs no other.
    pub(crate) key: bool,
    /// The frames that it needs.
    pub(crate) needs: Vec<u64>,
    /// Last of its picture.
    pub(crate) last: bool,
    kind: Kind,
}

/// What a template says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    spatial: u8,
    temporal: u8,
    indications: Vec<u8>,
    diffs: Vec<u16>,
    chain_diffs: Vec<u8>,
}

/// The encoder.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) mode: Mode,
    next: u64,
    /// Pictures since the last key frame.
    picture: u64,
    /// Latest frame by spatial and temporal layer.
    latest: BTreeMap<(u8, u8), u64>,
    /// Latest frame of each chain.
    chains: Vec<Option<u64>>,
    templates: Vec<Kind>,
}

impl Encoder {
    pub(crate) fn new(mode: Mode, first: u64) -> Self {
        let mut encoder = Self {
            mode,
            next: first,
            picture: 0,
            latest: BTreeMap::new(),
            chains: vec![None; usize::from(mode.spatial)],
            templates: Vec::new(),
        };
        // Enough pictures to see every kind of frame, on a copy.
        let mut trial = encoder.clone();
        let kinds: std::collections::BTreeSet<Kind> =
            (0..9).flat_map(|nth| trial.picture(nth == 0)).map(|frame| frame.kind).collect();
        encoder.templates = kinds.into_iter().collect();
        assert!(encoder.templates.len() <= 64);
        encoder
    }

    /// The frames of the next picture, lowest layer first.
    pub(crate) fn picture(&mut self, key: bool) -> Vec<Frame> {
        if key {
            self.picture = 0;
        }
        let temporal = match (self.mode.temporal, self.picture % 4) {
            (3, 1 | 3) => 2,
            (3, 2) | (2, 1 | 3) => 1,
            _ => 0,
        };
        self.picture += 1;
        (0..self.mode.spatial).map(|spatial| self.frame(spatial, temporal, key)).collect()
    }

    fn frame(&mut self, spatial: u8, temporal: u8, key: bool) -> Frame {
        let number = self.next;
        self.next += 1;
        if key && spatial == 0 {
            self.latest.clear();
            self.chains.fill(None);
        }
        let mut needs = Vec::new();
        if !key {
            // The latest picture that is not of the same temporal layer, except for the lowest.
            let below = (0..=temporal).filter(|t| *t < temporal || *t == 0);
            needs.extend(below.filter_map(|t| self.latest.get(&(spatial, t))).max());
        }
        if spatial > 0 && (key || !self.mode.key_only) {
            needs.push(number - 1);
        }
        let chain_diffs: Vec<u8> =
            self.chains.iter().map(|latest| latest.map_or(0, |latest| (number - latest) as u8)).collect();
        for (chain, latest) in (0..).zip(&mut self.chains) {
            let within = spatial == chain || (spatial < chain && (key || !self.mode.key_only));
            if temporal == 0 && within {
                *latest = Some(number);
            }
        }
        self.latest.insert((spatial, temporal), number);
        let indications =
            self.targets().map(|target| self.indication(target, spatial, temporal, key)).collect();
        let diffs = needs.iter().map(|need| (number - need) as u16).collect();
        Frame {
            number,
            spatial,
            temporal,
            key,
            needs,
            last: spatial + 1 == self.mode.spatial,
            kind: Kind { spatial, temporal, indications, diffs, chain_diffs },
        }
    }

    /// Spatial and temporal layer of each decode target, the best first.
    fn targets(&self) -> impl Iterator<Item = (u8, u8)> + use<> {
        let Mode { spatial, temporal, .. } = self.mode;
        (0..spatial).rev().flat_map(move |s| (0..temporal).rev().map(move |t| (s, t)))
    }

    fn indication(&self, target: (u8, u8), spatial: u8, temporal: u8, key: bool) -> u8 {
        let within = spatial == target.0 || (spatial < target.0 && (key || !self.mode.key_only));
        match () {
            () if !within || temporal > target.1 => NOT_PRESENT,
            () if key => SWITCH,
            () if spatial < target.0 => REQUIRED,
            () if temporal > 0 && temporal == target.1 => DISCARDABLE,
            () => SWITCH,
        }
    }

    /// The dependency descriptor of a packet.
    pub(crate) fn descriptor(&self, frame: &Frame, starts: bool, ends: bool) -> Vec<u8> {
        const FIRST_TEMPLATE: usize = 5;
        let mut bits = Bits::default();
        let template = self.templates.iter().position(|kind| *kind == frame.kind);
        // A kind that is not among the templates is written out.
        let same_layer = |kind: &Kind| (kind.spatial, kind.temporal) == (frame.spatial, frame.temporal);
        let fallback = || self.templates.iter().position(same_layer).expect("a template for each layer");
        let index = template.unwrap_or_else(fallback);
        bits.push(u32::from(starts), 1);
        bits.push(u32::from(ends), 1);
        bits.push(((FIRST_TEMPLATE + index) % 64) as u32, 6);
        bits.push(frame.number as u16 as u32, 16);
        let structure = frame.key && frame.spatial == 0 && starts;
        if structure || template.is_none() {
            bits.push(u32::from(structure), 1);
            bits.push(0, 1);
            bits.push(if template.is_none() { 0b111 } else { 0 }, 3);
            if structure {
                self.write_structure(&mut bits, FIRST_TEMPLATE as u32);
            }
            if template.is_none() {
                frame.kind.indications.iter().for_each(|i| bits.push(u32::from(*i), 2));
                for diff in &frame.kind.diffs {
                    bits.push(3, 2);
                    bits.push(u32::from(*diff) - 1, 12);
                }
                bits.push(0, 2);
                frame.kind.chain_diffs.iter().for_each(|diff| bits.push(u32::from(*diff), 8));
            }
        }
        bits.0
            .chunks(8)
            .map(|byte| byte.iter().zip(0..).fold(0, |sum, (bit, at)| sum | (u8::from(*bit) << (7 - at))))
            .collect()
    }

    fn write_structure(&self, bits: &mut Bits, first: u32) {
        let targets: Vec<(u8, u8)> = self.targets().collect();
        bits.push(first, 6);
        bits.push(targets.len() as u32 - 1, 5);
        for (kind, next) in self.templates.iter().zip(self.templates.iter().skip(1).map(Some).chain([None])) {
            let step = match next {
                None => 3,
                Some(next) if next.spatial > kind.spatial => 2,
                Some(next) if next.temporal > kind.temporal => 1,
                Some(_) => 0,
            };
            bits.push(step, 2);
        }
        for kind in &self.templates {
            kind.indications.iter().for_each(|i| bits.push(u32::from(*i), 2));
        }
        for kind in &self.templates {
            for diff in &kind.diffs {
                bits.push(1, 1);
                bits.push(u32::from(*diff) - 1, 4);
            }
            bits.push(0, 1);
        }
        let chains = u32::from(self.mode.spatial);
        bits.below(chains, targets.len() as u32 + 1);
        targets.iter().for_each(|(spatial, _)| bits.below(u32::from(*spatial), chains));
        for kind in &self.templates {
            kind.chain_diffs.iter().for_each(|diff| bits.push(u32::from(*diff), 4));
        }
        bits.push(1, 1);
        for spatial in (0..self.mode.spatial).rev() {
            bits.push((1280 >> spatial) - 1, 16);
            bits.push((720 >> spatial) - 1, 16);
        }
    }
}

#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).rev().map(|shift| value >> shift & 1 == 1));
    }

    /// `ns(n)` of the AV1 specification.
    fn below(&mut self, value: u32, n: u32) {
        let width = n.ilog2() + 1;
        let short = (1 << width) - n;
        if value < short {
            self.push(value, width - 1);
        } else {
            self.push(value + short, width);
        }
    }
}
