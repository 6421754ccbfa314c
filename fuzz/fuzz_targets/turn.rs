//! What strangers, clients and peers of the TURN relay send.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::turn::fuzz(std::time::Instant::now(), input));
