//! Access tokens.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::token::fuzz(input));
