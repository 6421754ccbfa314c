//! What people publish.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::{Camera, Client, ClientError, LayerShape, Microphone, TrackId};
use plenum_media::bwe::Bitrate;

use crate::layered::LayeredCamera;

/// Time between pictures of a camera.
pub const FRAME: Duration = Duration::from_millis(40);

/// Layers of about 80, 280 and 600 kbit/s.
pub const SHAPES: [LayerShape; 3] = [
    LayerShape { width: 160, height: 90, parts: 1, len: 400 },
    LayerShape { width: 320, height: 180, parts: 2, len: 700 },
    LayerShape { width: 640, height: 360, parts: 3, len: 1_000 },
];

/// A camera or a microphone, and the track that it is published as.
pub struct Source {
    /// What the client calls it.
    pub track: TrackId,
    /// Whether anything is sent.
    pub on: bool,
    device: Device,
    /// What the server and the publisher's link allow.
    allowed: Allowed,
    /// Something was sent.
    has_begun: bool,
}

pub(crate) enum Device {
    Camera(Camera),
    Microphone(Microphone),
    Layered { camera: Box<LayeredCamera>, next: Instant },
    Slides(Slides),
}

/// How many of its layers a camera sends, counted from below.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    /// Those that anybody wants (dynacast).
    wanted: usize,
    /// Those that the publisher's link carries.
    carried: usize,
}

/// A layer is sent again when there is this much more room than it needs (libwebrtc's `SimulcastRateAllocator`).
const HYSTERESIS: f64 = 1.2;
/// Packets of a picture of each layer of [`LayerShape::HD`] at least: 150, 250 and 730 kbit/s.
const LEAST_PARTS: [u8; 3] = [1, 1, 3];
/// What is left to pictures, in part: the rest is for headers, reports and sound.
const PICTURES: f64 = 0.9;

impl Source {
    pub(crate) fn new(track: TrackId, device: Device) -> Self {
        let allowed = Allowed { wanted: usize::MAX, carried: usize::MAX };
        Self { track, on: true, device, allowed, has_begun: false }
    }

    /// The server says how many layers anybody wants.
    pub(crate) fn set_wanted(&mut self, layers: usize) {
        self.allowed.wanted = layers;
        self.apply();
    }

    /// The publisher believes that its link carries that much. As libwebrtc does it, lower layers have theirs first, higher
    /// ones become smaller, and are left out when they would be too small.
    pub(crate) fn set_carried(&mut self, rate: Bitrate) {
        let Device::Camera(camera) = &mut self.device else { return };
        let mut room = rate.as_bps() as f64 * PICTURES;
        let (mut carried, mut parts) = (0, [1; 3]);
        for ((layer, shape), least) in camera.shapes().enumerate().zip(LEAST_PARTS) {
            let one = shape.len as f64 * 8.0 * camera.frame_rate();
            let needed =
                one * f64::from(least) * if layer >= self.allowed.carried { HYSTERESIS } else { 1.0 };
            // Whoever has no room for the lowest sends it all the same.
            if layer > 0 && room < needed {
                break;
            }
            parts[layer] = ((room / one) as u8).clamp(least, LayerShape::HD[layer].parts);
            room -= one * f64::from(parts[layer]);
            carried += 1;
        }
        camera.set_parts(parts);
        self.allowed.carried = carried;
        self.apply();
    }

    fn apply(&mut self) {
        let layers = self.allowed.wanted.min(self.allowed.carried);
        if let Device::Camera(camera) = &mut self.device {
            camera.set_layers([0, 1, 2].map(|layer| layer < layers));
        }
    }

    /// The camera that it is.
    pub fn camera(&mut self) -> &mut Camera {
        let Device::Camera(camera) = &mut self.device else { panic!("no camera with simulcast layers") };
        camera
    }

    /// The microphone that it is.
    pub fn microphone(&mut self) -> &mut Microphone {
        let Device::Microphone(microphone) = &mut self.device else { panic!("no microphone") };
        microphone
    }

    /// The layered camera that it is.
    pub fn layered(&mut self) -> &mut LayeredCamera {
        let Device::Layered { camera, .. } = &mut self.device else { panic!("no layered camera") };
        camera
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        match &self.device {
            Device::Camera(camera) => camera.next_timeout(),
            Device::Microphone(microphone) => microphone.next_timeout(),
            Device::Layered { next, .. } => *next,
            Device::Slides(slides) => slides.camera.next_timeout(),
        }
    }

    /// The next picture is a key frame.
    pub(crate) fn refresh(&mut self, layer: usize) {
        match &mut self.device {
            Device::Camera(camera) => camera.refresh(layer),
            Device::Microphone(_) => {}
            Device::Layered { camera, .. } => camera.key = true,
            Device::Slides(slides) => slides.camera.refresh(layer),
        }
    }

    /// Sends everything that is due.
    pub(crate) fn send(&mut self, now: Instant, client: &mut Client) -> Result<(), ClientError> {
        // What was due before there was a connection is not sent late.
        if !std::mem::replace(&mut self.has_begun, true) {
            match &mut self.device {
                Device::Camera(camera) => camera.skip_to(now),
                Device::Microphone(microphone) => microphone.skip_to(now),
                Device::Layered { next, .. } => *next = now,
                Device::Slides(slides) => slides.camera.skip_to(now),
            }
        }
        let mut send = |layer, packet| {
            let sent = client.send(now, self.track, layer, packet)?;
            assert!(sent, "the track is accepted");
            Ok::<(), ClientError>(())
        };
        match &mut self.device {
            Device::Camera(camera) => {
                while camera.next_timeout() <= now {
                    while let Some((layer, packet)) = camera.poll(now) {
                        send(layer, packet)?;
                    }
                }
            }
            Device::Slides(slides) => {
                while slides.camera.next_timeout() <= now {
                    slides.turn_page();
                    while let Some((layer, packet)) = slides.camera.poll(now) {
                        send(layer, packet)?;
                    }
                }
            }
            Device::Microphone(microphone) => {
                while let Some(packet) = microphone.poll(now) {
                    send(0, packet)?;
                }
            }
            Device::Layered { camera, next } => {
                while *next <= now {
                    *next += FRAME;
                    camera.picture().into_iter().try_for_each(|packet| send(0, packet))?;
                }
            }
        }
        Ok(())
    }
}

/// A shared screen that shows slides: pictures with little in them, and now and then one that is all new.
pub(crate) struct Slides {
    pub(crate) camera: Camera,
    pictures: u32,
}

impl Slides {
    /// Pictures from one page to the next.
    const PAGE: u32 = 40;
    /// Packets of a new page, and so of a key frame.
    pub(crate) const PARTS: u8 = 40;
    const SHAPE: LayerShape = LayerShape { width: 1920, height: 1080, parts: 1, len: 1_000 };

    pub(crate) fn new(now: Instant, epoch: Instant) -> Self {
        let camera = Camera::new(now, &[Self::SHAPE], Duration::from_millis(200)).with_epoch(epoch);
        Self { camera: camera.with_key_weight(Self::PARTS), pictures: 0 }
    }

    fn turn_page(&mut self) {
        self.pictures += 1;
        // A new page is coded anew; that is what a key frame is, too.
        if self.pictures.is_multiple_of(Self::PAGE) {
            self.camera.refresh(0);
        }
    }
}

/// What announces a layered camera, as livekit-client does it: the highest layer first.
pub(crate) fn layered_request(source: proto::TrackSource, camera: &LayeredCamera) -> proto::AddTrackRequest {
    let sizes = [(640, 360), (320, 180), (160, 90)].into_iter().zip([2, 1, 0]);
    let layers = sizes
        .skip(3 - usize::from(camera.mode().spatial))
        .map(|((width, height), quality)| proto::VideoLayer { width, height, quality, ..Default::default() });
    let layers: Vec<_> = layers.collect();
    proto::AddTrackRequest {
        r#type: proto::TrackType::Video as i32,
        source: source as i32,
        layers: layers.clone(),
        simulcast_codecs: vec![proto::SimulcastCodec {
            codec: camera.codec_name().into(),
            layers,
            video_layer_mode: proto::video_layer::Mode::MultipleSpatialLayersPerStream as i32,
            ..Default::default()
        }],
        ..Default::default()
    }
}
