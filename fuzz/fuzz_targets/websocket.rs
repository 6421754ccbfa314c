//! WebSocket frames with NATS in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_messaging_server::fuzz(input));
