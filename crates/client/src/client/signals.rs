//! Signal messages: joining, others, and the descriptions that are agreed on.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use str0m::media::{Direction, MediaKind};

use super::{Client, ClientError, Event, Side};
use crate::connection::Changes;
use crate::join::Signalling;
use crate::track::{Stage, TrackId};

/// Lines of each kind in the first offer of a client with one connection.
const FIRST_LINES: u32 = 3;

impl Client {
    /// A signal message came.
    pub fn handle_signal(&mut self, now: Instant, message: Response) -> Result<(), ClientError> {
        match message {
            Response::Join(join) => self.join(now, join),
            Response::Offer(offer) => {
                let sdp = self.subscriber.answer(&offer.sdp, &offer.mid_to_track_id)?;
                self.signals.push_back(Request::Answer(proto::SessionDescription {
                    r#type: "answer".into(),
                    sdp,
                    id: offer.id,
                    ..Default::default()
                }));
                self.settle(now, Side::Subscriber)?;
            }
            Response::Answer(answer) => {
                self.publisher.answered(&answer.sdp, &answer.mid_to_track_id)?;
                for track in &mut self.tracks {
                    if let Stage::Offered(mid) = track.stage {
                        track.stage = Stage::Accepted(mid);
                    }
                }
                self.settle(now, Side::Publisher)?;
                self.negotiate(now);
            }
            Response::Trickle(trickle) => {
                let publisher = trickle.target() == proto::SignalTarget::Publisher;
                let side = if publisher { Side::Publisher } else { Side::Subscriber };
                let init: serde_json::Value =
                    serde_json::from_str(&trickle.candidate_init).unwrap_or_default();
                if let Some(candidate) = init["candidate"].as_str() {
                    self.connection_mut(side).add_candidate(candidate);
                    self.settle(now, side)?;
                }
            }
            Response::MediaSectionsRequirement(required) => {
                self.wanted.audio_lines += required.num_audios;
                self.wanted.video_lines += required.num_videos;
                self.wanted.offer = true;
                self.negotiate(now);
            }
            Response::TrackPublished(published) => {
                let found = self.tracks.iter().position(|track| track.request.cid == published.cid);
                if let (Some(index), Some(info)) = (found, published.track) {
                    self.tracks[index].sid = Some(info.sid);
                    self.events.push_back(Event::Published(TrackId(index)));
                }
            }
            Response::Update(update) => self.meet(update.participants),
            Response::Leave(leave) => self.events.push_back(Event::Left(leave.reason())),
            _ => {}
        }
        Ok(())
    }

    fn join(&mut self, now: Instant, join: proto::JoinResponse) {
        self.joined = true;
        self.own_sid = join.participant.map(|own| own.sid).unwrap_or_default();
        self.meet(join.other_participants);
        let interval = u64::try_from(join.ping_interval).ok().filter(|seconds| *seconds > 0);
        self.ping = interval.map(Duration::from_secs).map(|interval| (interval, now + interval));
        if self.settings.signalling == Signalling::OneConnection {
            // Lines for whoever is there, as the SDKs begin.
            self.wanted.audio_lines += FIRST_LINES;
            self.wanted.video_lines += FIRST_LINES;
            self.wanted.offer = true;
        }
        self.negotiate(now);
    }

    fn meet(&mut self, participants: Vec<proto::ParticipantInfo>) {
        use proto::participant_info::State;
        for one in participants {
            if one.sid == self.own_sid {
                continue;
            }
            if one.state() == State::Disconnected {
                self.others.remove(&one.sid);
            } else {
                self.others.insert(one.sid.clone(), one);
            }
        }
    }

    /// Makes the next offer, if one is due and none is out.
    pub(super) fn negotiate(&mut self, now: Instant) {
        if !self.joined || self.publisher.has_offered() || !self.wanted.offer {
            return;
        }
        let is_first = !std::mem::replace(&mut self.has_channels, true);
        let wanted = std::mem::take(&mut self.wanted);
        // The SDKs publish when they are connected, which the first offer is for where it is for both directions.
        let later = is_first && self.settings.signalling == Signalling::OneConnection;
        let (tracks, signals) = (&mut self.tracks, &mut self.signals);
        let offer = self.publisher.offer(|changes: &mut Changes<'_>| {
            if is_first {
                changes.add_channels();
            }
            changes.add_lines(MediaKind::Audio, wanted.audio_lines);
            changes.add_lines(MediaKind::Video, wanted.video_lines);
            for track in tracks.iter_mut().filter(|_| !later) {
                match track.stage {
                    Stage::New => {
                        signals.push_back(Request::AddTrack(track.request.clone()));
                        let (stream, cid) = (Some("stream".to_owned()), Some(track.request.cid.clone()));
                        let simulcast = track.simulcast();
                        let mid =
                            changes.api.add_media(track.kind(), Direction::SendOnly, stream, cid, simulcast);
                        track.stage = Stage::Offered(mid);
                    }
                    Stage::Ending(mid) => {
                        changes.api.set_direction(mid, Direction::Inactive);
                        track.stage = Stage::Ended;
                    }
                    Stage::Offered(_) | Stage::Accepted(_) | Stage::Ended => {}
                }
            }
            if wanted.restart {
                changes.api.ice_restart(true);
            }
        });
        self.wanted.offer = later && !self.tracks.is_empty();
        if let Some(sdp) = offer {
            self.offers += 1;
            self.signals.push_back(Request::Offer(proto::SessionDescription {
                r#type: "offer".into(),
                sdp,
                id: self.offers,
                ..Default::default()
            }));
        }
        // New credentials show in the next check.
        self.publisher.deadline = now;
    }
}
