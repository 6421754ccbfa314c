//! Media packets of any shape, as they come in from a publisher.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::ingest::fuzz(std::time::Instant::now(), input));
