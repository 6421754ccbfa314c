//! Media sections of clients with one connection: they offer lines to receive on, and we put tracks on them.
//!
//! A server cannot offer there. What is to change waits for the client's next offer, and
//! `media_sections_requirement` asks for one, with more lines where there are too few.

use std::collections::HashMap;

use livekit_protocol as proto;
use proto::leave_request::Action;
use proto::signal_response::Message as Response;
use proto::{DisconnectReason, SubscriptionError};

use super::participant::{Line, Outstanding, Participant, SubscriberSide};
use super::subscribe::{ANSWER_TIMEOUT, new_line};
use super::{Moment, Room};
use crate::ids::Identity;
use crate::sdp::{Codec, Direction, DownLine, Media, MediaKind, MediaPlan, MediaType, SendPlan, Session};

/// Lines of each kind that the libraries below offer from the beginning, without being asked.
const OFFERED_FIRST: usize = 3;
/// Those libraries: what they offer is known, and they offer again also when no more lines are required.
const KNOWN: [&str; 8] = ["js", "reactnative", "rust", "python", "node", "cpp", "unity", "go"];

impl Room {
    /// Brings lines and an offer together: lines come and go, and free ones take the tracks that wait.
    pub(super) fn fill_lines(&mut self, identity: &Identity, offer: &Session) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let peer = participant.peer;
        let (side, published) = (&mut participant.subscriber, &participant.publisher.lines);
        side.outstanding = None;
        // Whoever takes a track back may go on to receive on its line (LiveKit's Rust core does): it stays one to send on.
        let to_receive = |media: &&Media| is_to_receive(media) && !published.contains_key(&media.mid);
        for media in offer.media.iter().filter(to_receive) {
            let Some(kind) = kind_of(media) else { continue };
            if side.lines.len() < SubscriberSide::LINES_MAX && side.line(&media.mid).is_none() {
                let sdp = DownLine {
                    mid: media.mid.clone(),
                    kind,
                    codecs: Vec::new(),
                    sending: None,
                    playout_delay: false,
                };
                side.lines.push(Line { sdp, carrying: None, shown: false });
                let requested = side.requested.of(kind);
                *requested = requested.saturating_sub(1);
            }
        }
        // A line that is not to receive on any more takes its track with it.
        let is_gone = |line: &&Line| !offer.by_mid(&line.sdp.mid).is_some_and(is_to_receive);
        let carried = |line: &Line| line.carrying.as_ref().map(|carrying| carrying.track.clone());
        let mut refused: Vec<String> = side.lines.iter().filter(is_gone).filter_map(carried).collect();
        for sid in &refused {
            self.drop_subscription(identity, sid);
        }

        let Some(participant) = self.participants.get_mut(identity) else { return };
        for (publisher, sid) in std::mem::take(&mut participant.subscriber.waiting) {
            let Some(own) = self.participants.get(identity) else { return };
            let Some(track) = self.participants.get(&publisher).and_then(|p| p.tracks.get(&sid)) else {
                continue;
            };
            let fresh = new_line(own, track);
            let free = own.subscriber.lines.iter().position(|line| {
                let is_free = line.carrying.is_none() && !line.shown && line.sdp.kind == fresh.kind;
                is_free && offer.by_mid(&line.sdp.mid).is_some_and(is_to_receive)
            });
            let Some(index) = free else {
                if let Some(own) = self.participants.get_mut(identity) {
                    own.subscriber.waiting.push((publisher, sid));
                }
                continue;
            };
            let media = offer.by_mid(&own.subscriber.lines[index].sdp.mid);
            let takes = |codec: &_| media.is_some_and(|m| m.codecs.iter().any(|o| o.codec == *codec));
            let codecs: Vec<_> = fresh.codecs.into_iter().filter(takes).collect();
            if codecs.is_empty() {
                refused.push(sid);
                continue;
            }
            if let Some(own) = self.participants.get_mut(identity) {
                own.subscriber.lines[index].sdp.codecs = codecs;
            }
            self.carry(identity, &publisher, &sid, index);
        }
        for track_sid in refused {
            if let Some(own) = self.participants.get_mut(identity) {
                own.subscriber.failed.insert(track_sid.clone());
            }
            let err = SubscriptionError::SeCodecUnsupported as i32;
            let response = proto::SubscriptionResponse { track_sid, err };
            self.send(peer, Response::SubscriptionResponse(response));
        }
    }

    /// The answer is on its way: what it names is sent from now on, or once the participant is active.
    pub(super) fn lines_agreed(&mut self, moment: &mut Moment<'_>, identity: &Identity, offer: Session) {
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let reuse = participant.takes_used_lines();
        let side = &mut participant.subscriber;
        for line in &mut side.lines {
            line.shown = line.carrying.is_some() || (line.shown && !reuse);
            if let Some(carrying) = &mut line.carrying {
                carrying.offered = true;
            }
        }
        if !side.waiting.is_empty() {
            self.unsettled.insert(identity.clone());
        }
        if participant.is_active() {
            self.activate_lines(moment, identity, &offer);
        } else {
            participant.subscriber.held_answer = Some(offer);
        }
    }

    /// Asks for an offer, if one is needed and not yet on its way.
    pub(super) fn require_sections(&mut self, moment: &mut Moment<'_>, identity: &Identity) {
        let Some(participant) = self.participants.get(identity) else { return };
        if participant.subscriber.is_worn_out() {
            self.remove(moment, identity, DisconnectReason::StateMismatch, Some(Action::Reconnect));
            return;
        }
        let peer = participant.peer;
        let is_known = KNOWN.contains(&participant.params.sdk.as_str());
        let reuse = participant.takes_used_lines();
        let is_first = participant.publisher.remote_ufrag.is_none();
        let waiting = |kind| {
            let tracks = participant.subscriber.waiting.iter();
            tracks.filter(|(publisher, sid)| self.kind_of_track(publisher, sid) == Some(kind)).count()
        };
        let side = &participant.subscriber;
        let free = |kind| {
            let is_free =
                |line: &&Line| line.sdp.kind == kind && line.carrying.is_none() && (reuse || !line.shown);
            let to_come = if is_first && is_known { OFFERED_FIRST } else { 0 };
            side.lines.iter().filter(is_free).count() + to_come
        };
        let needed = |kind| {
            let missing = waiting(kind).saturating_sub(free(kind) + side.requested.get(kind));
            // Others might take a message that asks for nothing as one that says nothing.
            if waiting(kind) > 0 && !is_known { missing.max(1) } else { missing }
        };
        let fits = |kind| waiting(kind) > 0 && free(kind) > 0;
        let kinds = [MediaKind::Audio, MediaKind::Video];
        let [audios, videos] = kinds.map(needed);
        let is_over = |line: &Line| line.shown && line.carrying.is_none();
        let is_due = is_first
            || audios + videos > 0
            || kinds.into_iter().any(fits)
            || (reuse && side.lines.iter().any(is_over));
        let is_coming = side.outstanding.is_some() && audios + videos == 0;
        if !is_due || is_coming {
            return;
        }
        let Some(participant) = self.participants.get_mut(identity) else { return };
        let side = &mut participant.subscriber;
        *side.requested.of(MediaKind::Audio) += audios;
        *side.requested.of(MediaKind::Video) += videos;
        // Nobody is cut off for a line that stays as it was.
        let answer_by = (!side.waiting.is_empty()).then(|| moment.now + ANSWER_TIMEOUT);
        side.outstanding = Some(Outstanding { id: 0, answer_by });
        let requirement =
            proto::MediaSectionsRequirement { num_audios: audios as u32, num_videos: videos as u32 };
        self.send(peer, Response::MediaSectionsRequirement(requirement));
    }

    fn kind_of_track(&self, publisher: &Identity, sid: &str) -> Option<MediaKind> {
        Some(self.participants.get(publisher)?.tracks.get(sid)?.kind)
    }
}

impl Participant {
    /// What we send on an m-line of an offer; `None` if it is not one to receive on.
    pub(super) fn plan_to_send(&self, media: &Media) -> Option<MediaPlan> {
        let line = self.subscriber.line(&media.mid).filter(|_| self.has_one_connection())?;
        if !is_to_receive(media) {
            return None;
        }
        let Some(sending) = line.sdp.sending.clone() else {
            return Some(match media.codecs.is_empty() {
                true => MediaPlan::Reject,
                false => MediaPlan::Inactive(media.codecs.clone()),
            });
        };
        let sent = |codec: &Codec| media.codecs.iter().find(|offered| offered.codec == *codec).cloned();
        let codecs = line.sdp.codecs.iter().filter_map(sent).collect();
        Some(MediaPlan::Send(SendPlan { codecs, sending }))
    }

    /// The track of each m-line that carries one.
    pub(super) fn tracks_of_lines(&self) -> HashMap<String, String> {
        let lines = self.subscriber.lines.iter();
        let named =
            lines.filter_map(|line| Some((line.sdp.mid.clone(), line.carrying.as_ref()?.track.clone())));
        named.collect()
    }
}

fn is_to_receive(media: &Media) -> bool {
    !media.rejected && media.direction == Direction::RecvOnly && kind_of(media).is_some()
}

fn kind_of(media: &Media) -> Option<MediaKind> {
    match media.kind {
        MediaType::Audio => Some(MediaKind::Audio),
        MediaType::Video => Some(MediaKind::Video),
        MediaType::Application | MediaType::Other => None,
    }
}
