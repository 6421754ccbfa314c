//! LiveKit signal messages in both formats, read, and said in a room.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    plenum_media::signalling::fuzz(input);
    plenum_media::room::fuzz(input);
});
