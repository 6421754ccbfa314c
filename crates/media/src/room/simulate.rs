//! Test hooks of LiveKit's clients (`simulate`): each does to its own client what a network or a server might.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::DisconnectReason;
use proto::leave_request::Action;
use proto::signal_response::Message as Response;
use proto::simulate_scenario::Scenario;

use super::participant::Way;
use super::{Moment, Room};
use crate::bwe::Bitrate;
use crate::ids::Identity;
use crate::shard;
use crate::turn::Announcement;

/// Longest speech that is simulated.
const SPEECH_MAX_S: i32 = 60;
/// How loud it is (LiveKit's value).
const SPEECH_LEVEL: f32 = 0.9;
/// A broken resume is waited for so long (LiveKit's value).
const RESUME_WITHIN: Duration = Duration::from_secs(10);
/// Most participants that are to come by another way.
const WAYS_MAX: usize = 100;
/// A client tries again within one attempt, so it has to fail this often (LiveKit's value).
const CLOSED_AT_ONCE: u8 = 3;

/// What a test client has asked for.
#[derive(Debug, Default)]
pub(super) struct Simulated {
    /// It is shown as speaking until then.
    pub(super) speaks_until: Option<Instant>,
    /// What breaks, how often and until when.
    on_resume: Option<(OnResume, u8, Instant)>,
}

/// When the signal connection of a resumed session breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnResume {
    /// Before anything was said.
    CloseAtOnce,
    /// After all was said.
    CloseAfterwards,
}

impl Simulated {
    /// What is to break now.
    pub(super) fn take_on_resume(&mut self, now: Instant) -> Option<OnResume> {
        let (what, times, until) = self.on_resume.take()?;
        if now > until {
            return None;
        }
        self.on_resume = (times > 1).then_some((what, times - 1, until));
        Some(what)
    }
}

impl Room {
    pub(super) fn simulate(
        &mut self,
        moment: &mut Moment<'_>,
        identity: &Identity,
        request: &proto::SimulateScenario,
    ) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let until = moment.now + RESUME_WITHIN;
        match request.scenario {
            Some(Scenario::SpeakerUpdate(seconds)) => {
                let seconds = seconds.clamp(0, SPEECH_MAX_S).unsigned_abs();
                participant.simulated.speaks_until =
                    Some(moment.now + Duration::from_secs(u64::from(seconds)));
                self.show_speaking(identity, SPEECH_LEVEL);
            }
            // Gone without a word: the client tries to go on, and is then told to come again.
            Some(Scenario::NodeFailure(_) | Scenario::Migration(_)) => {
                self.remove(moment, identity, DisconnectReason::StateMismatch, None);
            }
            Some(Scenario::ServerLeave(_)) => {
                self.remove(moment, identity, DisconnectReason::ServerShutdown, Some(Action::Disconnect));
            }
            Some(Scenario::LeaveRequestFullReconnect(_)) => {
                self.remove(moment, identity, DisconnectReason::ServerShutdown, Some(Action::Reconnect));
            }
            Some(Scenario::DisconnectSignalOnResume(_)) => {
                participant.simulated.on_resume = Some((OnResume::CloseAfterwards, 1, until));
            }
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => {
                participant.simulated.on_resume = Some((OnResume::CloseAtOnce, CLOSED_AT_ONCE, until));
            }
            Some(Scenario::SubscriberBandwidth(bits)) => {
                let rate = u64::try_from(bits).ok().filter(|bits| *bits > 0).map(Bitrate::bps);
                let peer = participant.peer;
                self.tell_shard(peer, shard::Command::LimitDown { peer, rate });
            }
            // For sessions from now on; the client begins one.
            Some(Scenario::SwitchCandidateProtocol(protocol)) => {
                let has_tls = self.facts.turn.as_ref().is_some_and(Announcement::has_tls);
                let way = match proto::CandidateProtocol::try_from(protocol) {
                    Ok(proto::CandidateProtocol::Tls) if has_tls => Way::Tls,
                    Ok(proto::CandidateProtocol::Tls | proto::CandidateProtocol::Tcp) => Way::Tcp,
                    Ok(proto::CandidateProtocol::Udp) | Err(_) => Way::Any,
                };
                self.ways.remove(identity);
                if way != Way::Any && self.ways.len() < WAYS_MAX {
                    self.ways.insert(identity.clone(), way);
                }
            }
            None => {}
        }
    }

    pub(super) fn end_simulated_speech(&mut self, identity: &Identity) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        participant.simulated.speaks_until = None;
        self.show_speaking(identity, 0.0);
    }

    fn show_speaking(&mut self, identity: &Identity, level: f32) {
        let Some(participant) = self.participants.get(identity) else { return };
        let speaker = proto::SpeakerInfo { sid: participant.info.sid.clone(), level, active: level > 0.0 };
        let hidden = participant.permission.hidden;
        let hears = self.participants.iter().filter(|(other, _)| !hidden || *other == identity);
        let hears = hears.map(|(_, p)| p.peer).collect();
        self.send_all(hears, Response::SpeakersChanged(proto::SpeakersChanged { speakers: vec![speaker] }));
    }
}
