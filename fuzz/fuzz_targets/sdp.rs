//! Session descriptions: what can be read can be answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::sdp::fuzz(input));
