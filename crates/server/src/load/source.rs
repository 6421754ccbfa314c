//! What somebody sends.

use std::time::{Duration, Instant};

use plenum_client::{Camera, Client, ClientError, Microphone, TrackId, data_payload};

/// A source that is further behind than this leaves out what it has missed.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// A camera, a microphone, or data.
pub(super) enum Source {
    Camera { camera: Box<Camera>, track: Option<TrackId>, begun: bool },
    Microphone { microphone: Microphone, track: Option<TrackId>, begun: bool },
    Data { next: Instant, interval: Duration, len: usize, epoch: Instant, begun: bool },
}

impl Source {
    /// Announces it, to another client as well.
    pub(super) fn publish(&mut self, now: Instant, client: &mut Client) {
        let (Self::Camera { begun, .. } | Self::Microphone { begun, .. } | Self::Data { begun, .. }) = self;
        *begun = false;
        match self {
            Self::Camera { camera, track, .. } => {
                *track = Some(client.publish_camera(now, camera));
            }
            Self::Microphone { microphone, track, .. } => {
                *track = Some(client.publish(now, microphone.request(), &[]));
            }
            Self::Data { .. } => client.open_channels(now),
        }
    }

    /// Whether it may send.
    pub(super) fn is_on(&self, client: &Client) -> bool {
        match self {
            Self::Camera { track, .. } | Self::Microphone { track, .. } => {
                client.is_connected(plenum_client::Side::Publisher)
                    && track.is_some_and(|track| client.is_accepted(track))
            }
            Self::Data { .. } => client.channels(plenum_client::Side::Publisher) >= 2,
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        match self {
            Self::Camera { camera, .. } => camera.next_timeout(),
            Self::Microphone { microphone, .. } => microphone.next_timeout(),
            Self::Data { next, .. } => *next,
        }
    }

    /// A new turn: how late it is.
    pub(super) fn begin(&mut self, now: Instant) -> Duration {
        let behind = now.saturating_duration_since(self.next_timeout());
        let (Self::Camera { begun, .. } | Self::Microphone { begun, .. } | Self::Data { begun, .. }) = self;
        let is_first = !std::mem::replace(begun, true);
        if is_first || behind > BEHIND_MAX {
            match self {
                Self::Camera { camera, .. } => camera.skip_to(now),
                Self::Microphone { microphone, .. } => microphone.skip_to(now),
                Self::Data { next, .. } => *next = (*next).max(now),
            }
        }
        if is_first { Duration::ZERO } else { behind }
    }

    /// Sends the next packet that is due; `false` if there is none.
    pub(super) fn send(&mut self, client: &mut Client) -> Result<bool, ClientError> {
        let now = Instant::now();
        match self {
            Self::Camera { camera, track: Some(track), .. } => match camera.poll(now) {
                Some((layer, packet)) => client.send(now, *track, layer, packet).map(|_| true),
                None => Ok(false),
            },
            Self::Microphone { microphone, track: Some(track), .. } => match microphone.poll(now) {
                Some(packet) => client.send(now, *track, 0, packet).map(|_| true),
                None => Ok(false),
            },
            Self::Data { next, interval, len, epoch, .. } if *next <= now => {
                *next += *interval;
                let payload = data_payload(now.saturating_duration_since(*epoch), *len);
                client.send_user_data(now, false, payload).map(|_| true)
            }
            _ => Ok(false),
        }
    }

    /// A key frame is wanted.
    pub(super) fn refresh(&mut self, wanted: TrackId, layer: usize) {
        if let Self::Camera { camera, track, .. } = self
            && *track == Some(wanted)
        {
            camera.refresh(layer);
        }
    }
}
