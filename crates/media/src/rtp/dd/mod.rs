//! The dependency descriptor (AV1 RTP specification, appendix A): which frames a frame needs, and who needs it.
//!
//! It stands outside of the encrypted payload and is the same for every codec. The structure, which describes all kinds
//! of frames of a stream, comes with key frames; other packets only name one of its templates.

mod structure;

use std::sync::Arc;

pub use structure::{Indication, Indications, MAX_TARGETS, Structure, Target};

use super::bits::{BitReader, BitWriter};

/// Longest descriptor that is read: with a mask added it still fits into a header extension (255 bytes, RFC 8285 §4.3).
const MAX_LEN: usize = 240;
/// A descriptor that is longer has the fields beyond frame number and template.
const MANDATORY_LEN: usize = 3;
/// Where the fields beyond the mandatory ones begin, in bits, and how many flags stand there.
const FLAGS_AT: usize = 24;
const FLAGS: usize = 5;

/// Reads the descriptors of one stream, in the order in which they come.
#[derive(Debug, Default)]
pub struct Reader {
    structure: Option<Arc<Structure>>,
    /// Targets that the publisher sends.
    active: u32,
}

impl Reader {
    /// Reads the descriptor of the next packet. `None` if it is damaged or of a structure that is not known.
    pub fn read(&mut self, raw: Arc<[u8]>) -> Option<Descriptor> {
        let descriptor = Descriptor::parse(raw, self.structure.as_ref(), self.active)?;
        if descriptor.brings_structure {
            self.structure = Some(descriptor.structure.clone());
        }
        self.active = descriptor.active;
        Some(descriptor)
    }
}

/// The number of the frame, which can be read without a structure.
pub fn frame_number(raw: &[u8]) -> Option<u16> {
    let [_, high, low, ..] = raw else { return None };
    Some(u16::from_be_bytes([*high, *low]))
}

/// What the descriptor of a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// First packet of its frame.
    pub starts_frame: bool,
    /// Last packet of its frame.
    pub ends_frame: bool,
    /// Number of the frame; counts over all layers.
    pub frame_number: u16,
    /// The structure that holds for the frame.
    pub structure: Arc<Structure>,
    /// The packet carries the structure: a decoder can begin here.
    pub brings_structure: bool,
    /// Decode targets that the publisher sends at this time, one bit for each.
    pub active: u32,
    /// Spatial layer, from 0 to 3.
    pub spatial: u8,
    /// Temporal layer, from 0 to 7.
    pub temporal: u8,
    /// What the frame is to each decode target.
    pub indications: Indications,
    template: usize,
    /// Where they differ from those of the template.
    diffs: Option<Vec<u16>>,
    chain_diffs: Option<Vec<u8>>,
    raw: Arc<[u8]>,
    /// Bits where the mask of active targets stands or would stand.
    mask_at: usize,
    has_mask: bool,
    /// Bits that mean something.
    len: usize,
}

impl Descriptor {
    fn parse(raw: Arc<[u8]>, known: Option<&Arc<Structure>>, active: u32) -> Option<Self> {
        if raw.len() > MAX_LEN {
            return None;
        }
        let mut bits = BitReader::new(&raw);
        let (starts_frame, ends_frame) = (bits.flag()?, bits.flag()?);
        let template_id = bits.byte(6)?;
        let frame_number = bits.read(16)? as u16;
        let extended = raw.len() > MANDATORY_LEN;
        let mut flags = [false; FLAGS];
        if extended {
            for flag in &mut flags {
                *flag = bits.flag()?;
            }
        }
        let [brings_structure, has_mask, own_indications, own_diffs, own_chains] = flags;
        let structure = if brings_structure { Arc::new(Structure::read(&mut bits)?) } else { known?.clone() };
        let mask_at = bits.position();
        let active = if has_mask {
            bits.read(structure.targets.len())?
        } else if brings_structure {
            structure.all_targets()
        } else {
            active
        };
        let template = structure.template_of(template_id)?;
        let kind = structure.templates.get(template)?;
        let (spatial, temporal) = (kind.spatial, kind.temporal);
        let indications = if own_indications {
            Indications::read(&mut bits, structure.targets.len())?
        } else {
            kind.indications
        };
        let diffs = if own_diffs { Some(read_diffs(&mut bits)?) } else { None };
        let chain_diffs = if own_chains {
            Some((0..structure.chains).map(|_| bits.byte(8)).collect::<Option<Vec<u8>>>()?)
        } else {
            None
        };
        Some(Self {
            starts_frame,
            ends_frame,
            frame_number,
            brings_structure,
            active,
            spatial,
            temporal,
            indications,
            template,
            diffs,
            chain_diffs,
            mask_at,
            has_mask,
            len: bits.position(),
            structure,
            raw,
        })
    }

    /// How far back the frames are that this frame needs; each at least 1.
    pub fn diffs(&self) -> &[u16] {
        let template = &self.structure.templates[self.template];
        self.diffs.as_deref().unwrap_or(&template.diffs)
    }

    /// For each chain, how far back its latest frame before this one is; 0 where there is none.
    pub fn chain_diffs(&self) -> &[u8] {
        let template = &self.structure.templates[self.template];
        self.chain_diffs.as_deref().unwrap_or(&template.chain_diffs)
    }

    /// Whether the packet says itself which decode targets are active.
    pub fn has_mask(&self) -> bool {
        self.has_mask
    }

    /// Whether the packet begins a picture that needs no other, with all that a decoder must know.
    pub fn starts_keyframe(&self) -> bool {
        self.starts_frame && self.brings_structure && self.diffs().is_empty()
    }

    /// The bytes as they came.
    pub fn raw(&self) -> &Arc<[u8]> {
        &self.raw
    }

    /// Appends the descriptor with another frame number and, where it is given, with another mask of active decode
    /// targets; all the rest stays as it came.
    pub fn write(&self, to: &mut Vec<u8>, frame_number: u16, mask: Option<u32>) {
        let start = to.len();
        match mask {
            None => to.extend_from_slice(&self.raw),
            Some(mask) => self.write_with_mask(to, mask),
        }
        to[start + 1..start + MANDATORY_LEN].copy_from_slice(&frame_number.to_be_bytes());
    }

    /// Length of what [`Descriptor::write`] appends, in bytes.
    pub fn written_len(&self, mask: Option<u32>) -> usize {
        let width = self.structure.targets.len();
        match mask {
            None => self.raw.len(),
            Some(_) if self.has_mask => self.len.div_ceil(8),
            Some(_) if self.raw.len() > MANDATORY_LEN => (self.len + width).div_ceil(8),
            Some(_) => (FLAGS_AT + FLAGS + width).div_ceil(8),
        }
    }

    fn write_with_mask(&self, to: &mut Vec<u8>, mask: u32) {
        let width = self.structure.targets.len();
        let mut bits = BitWriter::new(to);
        bits.copy(&self.raw, 0, FLAGS_AT);
        if self.raw.len() > MANDATORY_LEN {
            bits.copy(&self.raw, FLAGS_AT, FLAGS_AT + 1);
            bits.write(1, 1);
            bits.copy(&self.raw, FLAGS_AT + 2, self.mask_at);
        } else {
            bits.write(0b01000, FLAGS);
        }
        bits.write(mask, width);
        let rest = self.mask_at + if self.has_mask { width } else { 0 };
        bits.copy(&self.raw, rest, self.len);
    }
}

fn read_diffs(bits: &mut BitReader<'_>) -> Option<Vec<u16>> {
    let mut diffs = Vec::new();
    loop {
        match bits.read(2)? as usize {
            0 => return Some(diffs),
            size => diffs.push(bits.read(4 * size)? as u16 + 1),
        }
    }
}

/// Body of the fuzz target `dependency_descriptor`: a sequence of values, each after a byte with its length, is read
/// without harm, and what is written anew says the same.
pub fn fuzz(mut input: &[u8]) {
    let mut reader = Reader::default();
    while let [len, rest @ ..] = input {
        let (value, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        input = rest;
        let known = reader.structure.clone();
        let Some(read) = reader.read(value.into()) else { continue };
        assert_eq!(read.chain_diffs().len(), read.structure.chains);
        let mut out = Vec::new();
        read.write(&mut out, read.frame_number, None);
        assert_eq!(out, value, "nothing is changed");
        for (frame_number, mask) in [(7, None), (7, Some(read.active ^ 1)), (0, Some(0))] {
            out.clear();
            read.write(&mut out, frame_number, mask);
            assert!(out.len() <= 255, "it fits into a header");
            if out.len() > MAX_LEN {
                continue;
            }
            let again = Descriptor::parse(out.as_slice().into(), known.as_ref(), read.active);
            let again = again.expect("rewriting keeps the shape");
            assert_eq!((again.frame_number, again.active), (frame_number, mask.unwrap_or(read.active)));
            assert_eq!((&again.structure, again.indications), (&read.structure, read.indications));
            assert_eq!((again.diffs(), again.chain_diffs()), (read.diffs(), read.chain_diffs()));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
