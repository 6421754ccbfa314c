//! What a NATS client sends, to the parser and to a whole broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_messaging::fuzz::protocol(input));
