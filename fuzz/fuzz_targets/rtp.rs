//! STUN headers, RTP payload descriptors, RED, RTCP.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plenum_media::rtp::fuzz(input));
