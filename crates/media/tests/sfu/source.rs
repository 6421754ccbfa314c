//! Cameras and microphones of the clients.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use plenum_client::{Camera, Client, LayerShape, Microphone, TrackId};

use crate::layered::LayeredCamera;

/// Time between pictures of a camera.
pub(crate) const FRAME: Duration = Duration::from_millis(40);

/// Layers of about 80, 280 and 600 kbit/s.
pub(crate) const SHAPES: [LayerShape; 3] = [
    LayerShape { width: 160, height: 90, parts: 1, len: 400 },
    LayerShape { width: 320, height: 180, parts: 2, len: 700 },
    LayerShape { width: 640, height: 360, parts: 3, len: 1_000 },
];

/// A camera or a microphone, and the track that it is published as.
pub(crate) struct Source {
    pub(crate) track: TrackId,
    pub(crate) on: bool,
    device: Device,
}

pub(crate) enum Device {
    Camera(Camera),
    Microphone(Microphone),
    Layered { camera: Box<LayeredCamera>, next: Instant },
}

impl Source {
    pub(crate) fn new(track: TrackId, device: Device) -> Self {
        Self { track, on: true, device }
    }

    pub(crate) fn camera(&mut self) -> &mut Camera {
        let Device::Camera(camera) = &mut self.device else { panic!("no camera with simulcast layers") };
        camera
    }

    pub(crate) fn microphone(&mut self) -> &mut Microphone {
        let Device::Microphone(microphone) = &mut self.device else { panic!("no microphone") };
        microphone
    }

    pub(crate) fn layered(&mut self) -> &mut LayeredCamera {
        let Device::Layered { camera, .. } = &mut self.device else { panic!("no layered camera") };
        camera
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        match &self.device {
            Device::Camera(camera) => camera.next_timeout(),
            Device::Microphone(microphone) => microphone.next_timeout(),
            Device::Layered { next, .. } => *next,
        }
    }

    /// The next picture is a key frame.
    pub(crate) fn refresh(&mut self, layer: usize) {
        match &mut self.device {
            Device::Camera(camera) => camera.refresh(layer),
            Device::Microphone(_) => {}
            Device::Layered { camera, .. } => camera.key = true,
        }
    }

    /// Sends everything that is due.
    pub(crate) fn send(&mut self, now: Instant, client: &mut Client) {
        let mut send = |layer, packet| {
            let sent = client.send(now, self.track, layer, packet).expect("the connection lives");
            assert!(sent, "the track is accepted");
        };
        match &mut self.device {
            Device::Camera(camera) => {
                while camera.next_timeout() <= now {
                    while let Some((layer, packet)) = camera.poll(now) {
                        send(layer, packet);
                    }
                }
            }
            Device::Microphone(microphone) => {
                while let Some(packet) = microphone.poll(now) {
                    send(0, packet);
                }
            }
            Device::Layered { camera, next } => {
                while *next <= now {
                    *next += FRAME;
                    camera.picture().into_iter().for_each(|packet| send(0, packet));
                }
            }
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
