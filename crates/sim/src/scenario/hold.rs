//! What must hold in a call.

use std::time::{Duration, Instant};

use livekit_protocol as proto;

use super::score::{LATEST_SOUND, SOUND, missing, played};
use super::{Played, View};
use crate::source::Slides;
use crate::viewer::Screen;

/// Something that must hold between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// For whom.
    pub view: View,
    /// From then on …
    pub from: Duration,
    /// … until then, or the end.
    pub to: Duration,
    /// What.
    pub law: Law,
}

/// What must hold.
#[derive(Debug, Clone, Copy)]
pub enum Law {
    /// No longer time without sound in a row.
    Sound(Duration),
    /// No longer time without a new picture.
    Pictures(Duration),
    /// Only pictures of these layers, counted from 0.
    Layers(u8, u8),
    /// A picture of that layer within that time.
    Reaches(u8, Duration),
    /// Nothing is said to be paused.
    Unpaused,
    /// A new page of the slides is seen within that time.
    Pages(Duration),
    /// No more key frames are asked of the publisher.
    Keyframes(usize),
    /// No more changes of layers.
    Switches(usize),
}

/// Key frames of the lowest layer are not asked for more often, those of others half as often …
const THROTTLE: Duration = Duration::from_millis(500);
/// … but for what a queue on the way to the publisher makes of it.
const SLACK: Duration = Duration::from_millis(300);

impl Played {
    /// What did not hold.
    pub fn broken(&self) -> Vec<String> {
        let broken = self.scenario.holds.iter().filter_map(|hold| {
            let found = self.breach(hold)?;
            let View { who, whom } = hold.view;
            let (from, to) = (hold.from.as_secs_f64(), hold.to.min(self.scenario.length).as_secs_f64());
            let name = self.scenario.name;
            Some(format!("{name}: {who} of {whom}, {from} s to {to} s: {:?}, but {found}", hold.law))
        });
        broken.chain(self.scenario.cast.iter().filter_map(|role| self.unthrottled(role.name))).collect()
    }

    fn breach(&self, hold: &Hold) -> Option<String> {
        let (from, to) = (self.moment(hold.from), self.moment(hold.to));
        let view = hold.view;
        let shown = || {
            let all = self.screen(view).map_or(&[][..], Screen::shown);
            all.iter().filter(move |one| one.at >= from && one.at <= to)
        };
        match hold.law {
            Law::Sound(most) => {
                let Some(speaker) = self.speaker(view) else { return Some("nothing was heard".into()) };
                // What is still on its way at the end is not missing.
                let to = to.min(self.end - LATEST_SOUND);
                let [first, until] = [from, to].map(|at| self.numbers_until(speaker, at));
                let gap = SOUND * missing(speaker, first, until).into_iter().max().unwrap_or_default();
                (gap > most).then(|| format!("{gap:?}"))
            }
            Law::Pictures(most) => {
                let all = self.screen(view).map_or(&[][..], Screen::shown);
                let gap = longest_pause(from, to, played(all));
                (gap > most).then(|| format!("{gap:?}"))
            }
            Law::Layers(low, high) => {
                let odd = shown().find(|one| !(low..=high).contains(&one.layer))?;
                Some(format!("layer {} at {:?}", odd.layer, odd.at - self.start))
            }
            Law::Reaches(layer, within) => {
                let took = shown().find(|one| one.layer == layer).map(|one| one.at - from);
                took.is_none_or(|took| took > within).then(|| format!("{took:?}"))
            }
            Law::Unpaused => {
                let states = self.states(view.who);
                states.contains(&proto::StreamState::Paused).then(|| format!("{states:?}"))
            }
            Law::Pages(most) => {
                let pages = shown().filter(|one| one.parts == Slides::PARTS);
                let slowest = pages.map(|one| one.at - self.epoch - one.sent).max();
                slowest.is_none_or(|slowest| slowest > most).then(|| format!("{slowest:?}"))
            }
            Law::Keyframes(most) => {
                let asked = self.asked(view.whom).iter().filter(|(at, _)| *at >= from && *at <= to).count();
                (asked > most).then(|| format!("{asked}"))
            }
            Law::Switches(most) => {
                let layers: Vec<u8> = shown().map(|one| one.layer).collect();
                let switches = layers.windows(2).filter(|pair| pair[0] != pair[1]).count();
                (switches > most).then(|| format!("{switches}"))
            }
        }
    }

    /// Whether key frames were asked of somebody more often than the throttle allows; holds in every call.
    fn unthrottled(&self, whom: &str) -> Option<String> {
        (0..3).find_map(|layer| {
            let asked = self.asked(whom).iter().filter(|(_, own)| *own == layer);
            let times: Vec<Instant> = asked.map(|(at, _)| *at).collect();
            let interval = if layer == 0 { THROTTLE } else { 2 * THROTTLE };
            let soon =
                times.windows(2).map(|pair| pair[1] - pair[0]).find(|time| *time + SLACK < interval)?;
            let name = self.scenario.name;
            Some(format!("{name}: two key frames of layer {layer} were asked of {whom} within {soon:?}"))
        })
    }
}

fn longest_pause(from: Instant, to: Instant, played: Vec<Instant>) -> Duration {
    let between = played.into_iter().filter(|at| *at >= from && *at <= to);
    let moments: Vec<Instant> = std::iter::once(from).chain(between).chain([to]).collect();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
