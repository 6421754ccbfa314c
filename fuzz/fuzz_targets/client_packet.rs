//! Media packets of any shape, as a client counts them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_client::fuzz(std::time::Instant::now(), input));
