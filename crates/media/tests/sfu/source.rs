//! Cameras and microphones of the clients.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::media::{KeyframeRequest, MediaKind, Mid, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite};

use crate::layered::LayeredCamera;
use crate::picture::Picture;

/// Time between pictures of a camera, and between packets of a microphone.
pub(crate) const FRAME: Duration = Duration::from_millis(40);
const SOUND: Duration = Duration::from_millis(20);
/// A camera or a microphone.
pub(crate) struct Source {
    pub(crate) cid: String,
    kind: MediaKind,
    /// Known when the answer has come.
    pub(crate) mid: Mid,
    pub(crate) accepted: bool,
    pub(crate) on: bool,
    /// How loud, in dB below the loudest (RFC 6464).
    pub(crate) level: u8,
    /// Every picture is followed by this many packets of padding alone.
    pub(crate) padding: u32,
    /// Packets of a picture, by layer.
    pub(crate) parts: [u8; 3],
    layers: Vec<Layer>,
    /// What is sent instead of simulcast layers.
    pub(crate) layered: Option<LayeredCamera>,
    number: u32,
    pub(crate) next: Instant,
}

struct Layer {
    rid: Option<Rid>,
    /// Nothing is sent on a layer that is off.
    on: bool,
    sequence: u64,
    timestamp: u32,
    picture: u16,
    tl0: u8,
    key: bool,
}

impl Source {
    /// `rids`: the simulcast layers, lowest first; none for a single stream.
    pub(crate) fn new(now: Instant, cid: String, kind: MediaKind, mid: Mid, rids: &[&str]) -> Self {
        let rids: Vec<Option<Rid>> =
            if rids.is_empty() { vec![None] } else { rids.iter().map(|rid| Some((*rid).into())).collect() };
        // Each layer counts from somewhere else, as in a browser.
        let layers = rids.into_iter().zip(1..).map(|(rid, nth): (_, u16)| Layer {
            rid,
            on: true,
            sequence: 1_000 * u64::from(nth),
            timestamp: 0x1234_5678 * u32::from(nth),
            picture: 5_000 * nth,
            tl0: 50 * nth as u8,
            key: true,
        });
        Self {
            cid,
            kind,
            mid,
            accepted: false,
            on: true,
            level: 20,
            padding: 0,
            parts: [1, 2, 3],
            layers: layers.collect(),
            layered: None,
            number: 0,
            next: now,
        }
    }

    /// Which layers are sent.
    pub(crate) fn set_layers(&mut self, on: [bool; 3]) {
        self.layers.iter_mut().zip(on).for_each(|(layer, on)| layer.on = on);
    }

    /// The next picture or sound is a key frame; for what `asked` names.
    pub(crate) fn refresh(&mut self, asked: &KeyframeRequest) {
        if self.mid == asked.mid {
            self.layers.iter_mut().filter(|layer| layer.rid == asked.rid).for_each(|layer| layer.key = true);
            self.layered.iter_mut().for_each(|layered| layered.key = true);
        }
    }

    pub(crate) fn send(&mut self, now: Instant, rtc: &mut Rtc) {
        let at = self.next;
        match self.kind {
            MediaKind::Audio => {
                self.next += SOUND;
                let layer = &mut self.layers[0];
                let ext_vals = ExtensionValues {
                    audio_level: Some(-self.level.cast_signed()),
                    voice_activity: Some(true),
                    ..Default::default()
                };
                let payload = self.number.to_be_bytes().to_vec();
                let packet =
                    RtpWrite::new(111.into(), layer.sequence.into(), layer.timestamp, at.min(now), payload);
                layer.sequence += 1;
                layer.timestamp = layer.timestamp.wrapping_add(960);
                let mut api = rtc.direct_api();
                let stream = api.stream_tx_by_mid(self.mid, None).expect("negotiated");
                stream.write_rtp(packet.ext_vals(ext_vals));
            }
            MediaKind::Video => {
                self.next += FRAME;
                if let Some(layered) = &mut self.layered {
                    layered.send(at.min(now), rtc, self.mid);
                    return;
                }
                for (nth, (layer, parts)) in self.layers.iter_mut().zip(self.parts).enumerate() {
                    if layer.on {
                        let picture = (nth as u8, self.number, parts);
                        layer.send(at.min(now), rtc, self.mid, picture, self.padding);
                    }
                    layer.timestamp = layer.timestamp.wrapping_add(90 * FRAME.as_millis() as u32);
                }
            }
        }
        self.number += 1;
    }
}

impl Layer {
    fn send(
        &mut self,
        at: Instant,
        rtc: &mut Rtc,
        mid: Mid,
        (nth, number, parts): (u8, u32, u8),
        padding: u32,
    ) {
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, self.rid).expect("negotiated");
        for part in 0..parts {
            let picture =
                Picture { id: self.picture, tl0: self.tl0, key: self.key, layer: nth, number, part };
            let packet =
                RtpWrite::new(96.into(), self.sequence.into(), self.timestamp, at, picture.payload());
            stream.write_rtp(packet.marker(part + 1 == parts).nackable(true));
            self.sequence += 1;
        }
        for _ in 0..padding {
            let empty = RtpWrite::new(96.into(), self.sequence.into(), self.timestamp, at, Vec::new());
            stream.write_rtp(empty.nackable(true));
            self.sequence += 1;
        }
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        self.tl0 = self.tl0.wrapping_add(1);
        self.key = false;
    }
}
