//! Feedback of congestion control and what the estimator makes of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::bwe::fuzz(std::time::Instant::now(), input));
