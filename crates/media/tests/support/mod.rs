//! A subscriber's sending side and what is forwarded to it, for tests and measurements of that alone.

use std::sync::Arc;

use dimpl::SrtpProfile;
use plenum_media::downtrack::{DownConfig, Wanted};
use plenum_media::egress::Egress;
use plenum_media::ids::{DownKey, SourceKey};
use plenum_media::ingest::RawPacket;
use plenum_media::sdp::{Codec, MediaKind};
use plenum_media::sending::{Path, PathProtocol};
use plenum_media::srtp::SrtpKeys;

/// Bytes of a packet's payload.
const PAYLOAD: usize = 1_100;

/// Somebody with that many tracks, of which the first comes from [`packet`].
pub(crate) fn subscriber(nth: usize, tracks: u64) -> Egress {
    let mut egress = Egress::new(false);
    let keys = SrtpKeys::new(SrtpProfile::AEAD_AES_256_GCM, &[nth as u8; 88]).expect("long enough");
    egress.set_sender(keys.contexts(false).0);
    let remote = ([10, 0, (nth >> 8) as u8, nth as u8], 5_000).into();
    egress.set_path(Path { protocol: PathProtocol::Udp, local: None, remote });
    (1..=tracks).for_each(|track| _ = egress.add(config(track)));
    egress
}

fn config(track: u64) -> DownConfig {
    DownConfig {
        key: DownKey(track),
        source: SourceKey(track),
        kind: MediaKind::Video,
        is_screen: false,
        mid: Some((9, track.to_string())),
        ssrc: 2 * track as u32,
        rtx: Some((2 * track as u32 + 1, 97)),
        payload_types: vec![(Codec::Vp8, 96)],
        dependency: None,
        transport: Some(3),
        cname: "c".into(),
        playout_delay: None,
        wanted: Wanted { max_layer: 2, ..Wanted::default() },
        first_sequence: 1,
        first_timestamp: 0,
    }
}

/// The packets of a camera; every hundredth begins a key frame.
pub(crate) fn packet(nth: u64) -> RawPacket {
    let [high, low] = (nth as u16 & 0x7fff | 0x8000).to_be_bytes();
    let mut payload = vec![0x90, 0xc0, high, low, nth as u8, u8::from(!nth.is_multiple_of(100))];
    payload.resize(PAYLOAD, 0x55);
    RawPacket {
        sequence: nth + 1,
        timestamp: nth as u32 * 270,
        marker: true,
        codec: Some(Codec::Vp8),
        audio_level: None,
        dependency: None,
        payload: Arc::from(payload),
    }
}
