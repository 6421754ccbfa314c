//! Dependency descriptors, one after another, each after a byte with its length.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::rtp::dd::fuzz(input));
