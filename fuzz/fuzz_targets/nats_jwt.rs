//! Answers of the auth callout: NATS JWTs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_messaging::fuzz::jwt(input));
