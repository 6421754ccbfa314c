//! A camera without pictures: packets that every server takes for VP8.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_media::sdp::Codec;

use crate::stamp::Picture;
use crate::track::Packet;

/// A layer of a camera, or all of one that has no layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Packets of a picture.
    pub parts: u8,
    /// Bytes of payload in each of them, at least [`Picture::MIN_LEN`].
    pub len: usize,
}

impl LayerShape {
    /// 180p, 360p and 720p of 150, 500 and 1,700 kbit/s at 30 pictures a second, as livekit-client's usual simulcast.
    pub const HD: [Self; 3] = [
        Self { width: 320, height: 180, parts: 1, len: 625 },
        Self { width: 640, height: 360, parts: 2, len: 1_042 },
        Self { width: 1280, height: 720, parts: 7, len: 1_012 },
    ];
}

/// Names of simulcast layers, lowest first.
const RIDS: [&str; 3] = ["q", "h", "f"];

/// A camera or a shared screen.
#[derive(Debug)]
pub struct Camera {
    interval: Duration,
    next: Instant,
    epoch: Instant,
    number: u32,
    /// Packets of the picture that is being sent that remain, the next one first.
    layer: usize,
    part: u8,
    layers: Vec<Layer>,
    /// A key frame has that many times the packets of another picture.
    key_weight: u8,
    /// Every picture is followed by this many packets of padding alone.
    pub padding: u8,
}

#[derive(Debug)]
struct Layer {
    shape: LayerShape,
    on: bool,
    /// A key frame was asked for.
    wanted: bool,
    /// The picture that is being sent is one.
    key: bool,
    sequence: u64,
    timestamp: u32,
    picture: u16,
    tl0: u8,
}

impl Camera {
    /// A camera with these layers, lowest first, that begins now. At most three.
    pub fn new(now: Instant, shapes: &[LayerShape], interval: Duration) -> Self {
        // Each layer counts from somewhere else, as in a browser.
        let layer = |(shape, nth): (&LayerShape, u16)| Layer {
            shape: *shape,
            on: true,
            wanted: true,
            key: false,
            sequence: 1_000 * u64::from(nth),
            timestamp: 0x1234_5678_u32.wrapping_mul(u32::from(nth)),
            picture: 5_000 * nth,
            tl0: 50 * nth as u8,
        };
        Self {
            interval,
            next: now,
            epoch: now,
            number: 0,
            layer: 0,
            part: 0,
            layers: shapes.iter().take(RIDS.len()).zip(1..).map(layer).collect(),
            key_weight: 1,
            padding: 0,
        }
    }

    /// Key frames have that many times the packets of other pictures; at least one.
    pub fn with_key_weight(mut self, weight: u8) -> Self {
        self.key_weight = weight.max(1);
        self
    }

    /// [`Picture::sent`] counts from this moment.
    pub fn with_epoch(mut self, epoch: Instant) -> Self {
        self.epoch = epoch;
        self
    }

    /// The names of the layers; none if there is only one.
    pub fn rids(&self) -> &'static [&'static str] {
        if self.layers.len() > 1 { &RIDS[..self.layers.len()] } else { &[] }
    }

    /// What announces it.
    pub fn request(&self, source: proto::TrackSource) -> proto::AddTrackRequest {
        let layers = self.layers.iter().zip(0..).map(|(Layer { shape, .. }, quality)| proto::VideoLayer {
            quality,
            width: shape.width.into(),
            height: shape.height.into(),
            ..Default::default()
        });
        let largest = self.layers.last().map_or((0, 0), |layer| (layer.shape.width, layer.shape.height));
        proto::AddTrackRequest {
            r#type: proto::TrackType::Video as i32,
            source: source as i32,
            width: largest.0.into(),
            height: largest.1.into(),
            layers: layers.collect(),
            ..Default::default()
        }
    }

    /// Which layers are sent, lowest first. One that was not sent begins with a key frame.
    pub fn set_layers(&mut self, on: [bool; 3]) {
        for (layer, on) in self.layers.iter_mut().zip(on) {
            layer.wanted |= on && !layer.on;
            layer.on = on;
        }
    }

    /// The shapes of the layers, lowest first.
    pub fn shapes(&self) -> impl Iterator<Item = LayerShape> {
        self.layers.iter().map(|layer| layer.shape)
    }

    /// Pictures in a second.
    pub fn frame_rate(&self) -> f64 {
        1.0 / self.interval.as_secs_f64()
    }

    /// Other sizes from the next picture on.
    pub fn set_parts(&mut self, parts: [u8; 3]) {
        self.layers.iter_mut().zip(parts).for_each(|(layer, parts)| layer.shape.parts = parts);
    }

    /// The next picture of that layer is to be a key frame.
    pub fn refresh(&mut self, layer: usize) {
        self.layers.iter_mut().skip(layer).take(1).for_each(|layer| layer.wanted = true);
    }

    /// When the next picture is due.
    pub fn next_timeout(&self) -> Instant {
        self.next
    }

    /// The next packet that is due, with its layer. Call until `None`, and send each before the next call: it says
    /// when it was sent.
    pub fn poll(&mut self, now: Instant) -> Option<(usize, Packet)> {
        if now < self.next {
            return None;
        }
        while let Some(layer) = self.layers.get_mut(self.layer) {
            if layer.on && self.part == 0 {
                layer.key = std::mem::take(&mut layer.wanted);
            }
            let weight = if layer.key { self.key_weight } else { 1 };
            let parts = layer.shape.parts.saturating_mul(weight);
            if layer.on && self.part < parts {
                let sent = now.saturating_duration_since(self.epoch);
                let packet = layer.packet(self.layer as u8, self.number, (self.part, parts), sent);
                self.part += 1;
                return Some((self.layer, packet));
            }
            if layer.on && self.part < parts.saturating_add(self.padding) {
                self.part += 1;
                return Some((self.layer, layer.padding()));
            }
            layer.finish(self.interval);
            (self.layer, self.part) = (self.layer + 1, 0);
        }
        (self.layer, self.number) = (0, self.number.wrapping_add(1));
        self.next += self.interval;
        None
    }

    /// Leaves out what was due before, as after a pause in which nothing could be sent.
    pub fn skip_to(&mut self, now: Instant) {
        self.next = self.next.max(now);
    }
}

impl Layer {
    fn packet(&mut self, layer: u8, number: u32, (part, parts): (u8, u8), sent: Duration) -> Packet {
        let picture = Picture {
            id: self.picture & 0x7fff,
            tl0: self.tl0,
            key: self.key,
            layer,
            number,
            part,
            parts,
            sent,
        };
        let payload = picture.payload(self.shape.len, (self.shape.width, self.shape.height));
        Packet { marker: part + 1 == parts, ..self.next(payload) }
    }

    fn padding(&mut self) -> Packet {
        self.next(Vec::new())
    }

    fn next(&mut self, payload: Vec<u8>) -> Packet {
        self.sequence += 1;
        Packet {
            codec: Codec::Vp8,
            sequence: self.sequence - 1,
            timestamp: self.timestamp,
            marker: false,
            level: None,
            dependency: None,
            payload,
        }
    }

    fn finish(&mut self, interval: Duration) {
        if self.on {
            self.picture = self.picture.wrapping_add(1);
            self.tl0 = self.tl0.wrapping_add(1);
            self.key = false;
        }
        self.timestamp = self.timestamp.wrapping_add((interval.as_secs_f64() * 90_000.0).round() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(camera: &mut Camera, now: Instant) -> Vec<(usize, Picture, bool)> {
        std::iter::from_fn(|| camera.poll(now))
            .map(|(layer, packet)| {
                (layer, Picture::parse(&packet.payload).expect("a picture"), packet.marker)
            })
            .collect()
    }

    #[test]
    fn pictures_come_in_time_and_key_frames_when_asked_for() {
        let start = Instant::now();
        let interval = Duration::from_millis(33);
        let mut camera = Camera::new(start, &LayerShape::HD, interval).with_key_weight(2);
        assert_eq!(camera.rids(), ["q", "h", "f"]);
        let first = picture(&mut camera, start);
        assert_eq!(first.len(), 20, "key frames have twice as many packets");
        assert!(first.iter().all(|(_, picture, _)| picture.key));
        assert_eq!(first.iter().filter(|(.., marker)| *marker).count(), 3);
        assert!(picture(&mut camera, start + Duration::from_millis(32)).is_empty());
        camera.refresh(1);
        let second = picture(&mut camera, start + interval);
        assert_eq!(second.len(), 1 + 4 + 7);
        assert!(second.iter().all(|(layer, picture, _)| picture.key == (*layer == 1)));
        assert!(second.iter().all(|(_, picture, _)| picture.sent == interval && picture.number == 1));
        camera.set_layers([true, false, true]);
        assert_eq!(picture(&mut camera, start + 2 * interval).len(), 1 + 7);
        camera.skip_to(start + 100 * interval);
        assert!(picture(&mut camera, start + 99 * interval).is_empty());
    }
}
