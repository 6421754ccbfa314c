use super::*;

// Unit tests cannot use a crate that uses this one.
#[path = "../../../../sim/src/svc.rs"]
#[expect(unreachable_pub, reason = "public where it belongs")]
pub(crate) mod svc;

use svc::{Encoder, L1T3, L3T3, L3T3_KEY, Mode};

fn read_all(mode: Mode, pictures: u64) -> Vec<(svc::Frame, Descriptor)> {
    let mut encoder = Encoder::new(mode, 65_500);
    let mut reader = Reader::default();
    let frames = (0..pictures).flat_map(|nth| encoder.picture(nth % 20 == 0)).collect::<Vec<_>>();
    frames
        .into_iter()
        .map(|frame| {
            let raw = encoder.descriptor(&frame, true, true);
            let read = reader.read(raw.into()).expect("well-formed");
            (frame, read)
        })
        .collect()
}

#[test]
fn frames_are_read_as_the_encoder_meant_them() {
    for mode in [L1T3, L3T3, L3T3_KEY] {
        for (frame, read) in read_all(mode, 50) {
            assert_eq!(read.frame_number, frame.number as u16);
            assert_eq!((read.spatial, read.temporal), (frame.spatial, frame.temporal));
            assert_eq!(read.brings_structure, frame.key && frame.spatial == 0);
            let needs: Vec<u64> = read.diffs().iter().map(|diff| frame.number - u64::from(*diff)).collect();
            assert_eq!(needs, frame.needs);
            let structure = &read.structure;
            assert_eq!(structure.targets.len(), usize::from(mode.spatial * mode.temporal));
            assert_eq!(structure.chains, usize::from(mode.spatial));
            assert_eq!(structure.resolutions.last(), Some(&(1280, 720)));
            let best = Target { spatial: mode.spatial - 1, temporal: 2, chain: Some(mode.spatial - 1) };
            assert_eq!(structure.targets[0], best);
            assert_eq!(read.active, structure.all_targets());
            let within = |target: &Target| {
                frame.temporal <= target.temporal
                    && (frame.spatial == target.spatial
                        || (frame.spatial < target.spatial && (frame.key || !mode.key_only)))
            };
            for (index, target) in structure.targets.iter().enumerate() {
                assert_eq!(read.indications.of(index) != Indication::NotPresent, within(target));
            }
        }
    }
}

#[test]
fn the_mask_of_active_targets_is_written_everywhere() {
    for (frame, read) in read_all(L3T3_KEY, 8) {
        let mut out = vec![0xee];
        read.write(&mut out, 77, Some(0b1_0101));
        assert_eq!(out[0], 0xee, "appended");
        let again = Descriptor::parse(out[1..].into(), Some(&read.structure), 0).expect("well-formed");
        assert_eq!((again.frame_number, again.active), (77, 0b1_0101));
        assert_eq!((again.diffs(), again.chain_diffs()), (read.diffs(), read.chain_diffs()));
        assert_eq!(again.indications, read.indications);
        // What has a mask gets another one in its place.
        out.clear();
        again.write(&mut out, 78, Some(1));
        assert_eq!(out.len(), again.raw().len());
        let third = Descriptor::parse(out.as_slice().into(), Some(&read.structure), 0).expect("well-formed");
        assert_eq!((third.frame_number, third.active), (78, 1));
        assert_eq!(third.diffs().len(), frame.needs.len());
    }
}

#[test]
fn only_the_frame_number_changes_where_no_mask_is_asked_for() {
    for (_, read) in read_all(L3T3, 8) {
        let mut out = Vec::new();
        read.write(&mut out, 0xabcd, None);
        assert_eq!(out[1..3], [0xab, 0xcd]);
        assert_eq!((out[0], &out[3..]), (read.raw()[0], &read.raw()[3..]));
    }
}

#[test]
fn a_mask_holds_until_the_next() {
    let mut encoder = Encoder::new(L1T3, 0);
    let mut reader = Reader::default();
    let mut next = |mask: Option<u32>, key: bool| {
        let frame = encoder.picture(key).remove(0);
        let raw = encoder.descriptor(&frame, true, true);
        let mut bytes = Vec::new();
        let plain = reader.structure.as_ref().map(Arc::clone);
        match (mask, plain) {
            (Some(mask), Some(structure)) => {
                let read = Descriptor::parse(raw.into(), Some(&structure), 0).expect("well-formed");
                read.write(&mut bytes, read.frame_number, Some(mask));
            }
            _ => bytes = raw,
        }
        reader.read(bytes.into()).expect("well-formed").active
    };
    assert_eq!(next(None, true), 0b111);
    assert_eq!(next(Some(0b100), false), 0b100);
    assert_eq!(next(None, false), 0b100);
    assert_eq!(next(None, true), 0b111, "a structure activates everything");
}

#[test]
fn damaged_descriptors_are_refused() {
    let mut reader = Reader::default();
    let mut encoder = Encoder::new(L3T3_KEY, 0);
    let key = encoder.picture(true).remove(0);
    let raw = encoder.descriptor(&key, true, true);
    assert!(reader.read([0x80, 0, 1][..].into()).is_none(), "no structure is known");
    assert!((0..raw.len() - 1).all(|len| reader.read(raw[..len].into()).is_none()), "cut anywhere");
    assert!(reader.read(raw.clone().into()).is_some());
    assert!(reader.read([0x80 | 4, 0, 1][..].into()).is_none(), "a template that does not exist");
    assert!(reader.read(vec![0; 300].into()).is_none(), "too long");
}
