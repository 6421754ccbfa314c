//! Calls of the server API in both formats, read, and answered by a room.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::room::fuzz_api(input));
