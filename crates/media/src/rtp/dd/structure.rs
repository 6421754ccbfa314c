//! The kinds of frames of a stream and who needs them.

use crate::rtp::bits::BitReader;

/// Most decode targets of a stream.
pub const MAX_TARGETS: usize = 32;
/// Most kinds of frames: their number has six bits.
const MAX_TEMPLATES: usize = 64;
/// Most spatial and temporal layers (libwebrtc's limits).
const MAX_SPATIAL: u8 = 4;
const MAX_TEMPORAL: u8 = 8;

/// What a frame is to a decode target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indication {
    /// Does not belong to it.
    NotPresent,
    /// Belongs to it, and no other frame of it needs this one.
    Discardable,
    /// Belongs to it; whoever can decode this frame can decode all that follow.
    Switch,
    /// Belongs to it.
    Required,
}

/// What a frame is to each of up to 32 decode targets, two bits for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indications(u64);

impl Indications {
    pub(super) fn read(bits: &mut BitReader<'_>, targets: usize) -> Option<Self> {
        let mut packed = 0;
        for target in 0..targets.min(MAX_TARGETS) {
            packed |= u64::from(bits.read(2)?) << (2 * target);
        }
        Some(Self(packed))
    }

    /// What the frame is to that target.
    pub fn of(self, target: usize) -> Indication {
        match self.0.checked_shr(2 * target as u32).unwrap_or(0) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }
}

/// A set of layers that can be decoded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Highest spatial layer in it.
    pub spatial: u8,
    /// Highest temporal layer in it.
    pub temporal: u8,
    /// The chain of frames that must be whole for it, where the stream has chains.
    pub chain: Option<u8>,
}

/// A kind of frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    pub(super) indications: Indications,
    pub(super) diffs: Vec<u16>,
    pub(super) chain_diffs: Vec<u8>,
}

/// The kinds of frames of a stream (`template_dependency_structure`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// The decode targets, 1 to 32, in the encoder's order.
    pub targets: Vec<Target>,
    /// Number of chains.
    pub chains: usize,
    /// Width and height of each spatial layer, where they are told.
    pub resolutions: Vec<(u32, u32)>,
    /// Number of the first template.
    id_offset: u8,
    pub(super) templates: Vec<Template>,
}

impl Structure {
    pub(super) fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let id_offset = bits.byte(6)?;
        let target_count = bits.byte(5)? as usize + 1;
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            template.indications = Indications::read(bits, target_count)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.diffs.push(bits.read(4)? as u16 + 1);
            }
        }
        let chains = bits.below(target_count as u32 + 1)? as usize;
        let mut protected = vec![None; target_count];
        if chains > 0 {
            for chain in &mut protected {
                *chain = Some(bits.below(chains as u32)? as u8);
            }
            for template in &mut templates {
                template.chain_diffs = (0..chains).map(|_| bits.byte(4)).collect::<Option<_>>()?;
            }
        }
        let targets = protected.into_iter().enumerate().map(|(target, chain)| {
            let within = templates.iter().filter(|t| t.indications.of(target) != Indication::NotPresent);
            Target {
                spatial: within.clone().map(|template| template.spatial).max().unwrap_or(0),
                temporal: within.map(|template| template.temporal).max().unwrap_or(0),
                chain,
            }
        });
        let targets: Vec<Target> = targets.collect();
        let top = templates.iter().map(|template| template.spatial).max()?;
        let mut resolutions = Vec::new();
        if bits.flag()? {
            for _ in 0..=top {
                resolutions.push((bits.read(16)? + 1, bits.read(16)? + 1));
            }
        }
        Some(Self { targets, chains, resolutions, id_offset, templates })
    }

    /// The index of the template with that number.
    pub(super) fn template_of(&self, id: u8) -> Option<usize> {
        let index = usize::from((id + 64 - self.id_offset) % 64);
        (index < self.templates.len()).then_some(index)
    }

    /// A bit for each target.
    pub fn all_targets(&self) -> u32 {
        u32::MAX >> (MAX_TARGETS - self.targets.len())
    }
}

/// `template_layers`: the layers go up from template to template.
fn read_layers(bits: &mut BitReader<'_>) -> Option<Vec<Template>> {
    let (mut spatial, mut temporal) = (0, 0);
    let mut templates = Vec::new();
    loop {
        if templates.len() == MAX_TEMPLATES || spatial == MAX_SPATIAL || temporal == MAX_TEMPORAL {
            return None;
        }
        templates.push(Template {
            spatial,
            temporal,
            indications: Indications::default(),
            diffs: Vec::new(),
            chain_diffs: Vec::new(),
        });
        match bits.read(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => return Some(templates),
        }
    }
}
