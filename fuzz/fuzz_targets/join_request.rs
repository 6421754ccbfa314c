//! Join requests of signalling v1.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::signalling::fuzz_request(input));
