//! How good a call was for those who saw and heard it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use plenum_media::bwe::Bitrate;

use super::{Media, Played, Scenario, View};
use crate::viewer::{Screen, Shown, Speaker};

/// Sound that comes later than this after it was spoken is of no use any more: the way, a full queue, and a repetition.
pub(super) const LATEST_SOUND: Duration = Duration::from_millis(500);
/// What a receiver waits for late pictures: about what libwebrtc's grows to where packets are repeated.
const PLAYOUT_DELAY: Duration = Duration::from_millis(200);
/// Length of a packet of sound.
pub(super) const SOUND: Duration = Duration::from_millis(20);
/// Bytes around a payload: IP, UDP, RTP with extensions, tag.
const OVERHEAD: u64 = 68;

/// What one person saw and heard of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    /// From coming in to the first picture; nothing where none was seen.
    pub first: Option<Duration>,
    /// Time in which the picture stood still, paused or not.
    pub frozen: Duration,
    /// The longest of it.
    pub longest: Duration,
    /// From being sent to being seen, for 19 of 20 pictures.
    pub delay: Duration,
    /// Longest time without sound in a row.
    pub gap: Duration,
    /// Thousandths of the sound that did not come, or not in time.
    pub sound_lost: u32,
    /// Thousandths of the packets of pictures that did not come, or not in time.
    pub pictures_lost: u32,
    /// What was seen and heard, of everybody.
    pub used: Bitrate,
    /// What the link carried of all that was wanted.
    pub available: Bitrate,
    /// Changes between layers.
    pub switches: u32,
    /// Key frames that were asked of the publisher, by anybody.
    pub keyframes: u32,
}

impl Played {
    /// The score of a view.
    pub fn score(&self, view: View) -> Score {
        let end = self.end;
        let mut score = Score { keyframes: self.asked(view.whom).len() as u32, ..Score::default() };
        if let Some(screen) = self.screen(view) {
            let shown = screen.shown();
            score.first = shown.first().map(|first| first.at - self.people[view.who].came);
            let limit = self.freeze(view);
            let played = played(shown);
            let still = pauses(&played, end).filter(|pause| *pause > limit);
            (score.frozen, score.longest) = still
                .fold((Duration::ZERO, Duration::ZERO), |(sum, most), pause| (sum + pause, most.max(pause)));
            score.delay = nineteen_of_twenty(shown.iter().map(|one| one.at - self.epoch - one.sent));
            score.pictures_lost = screen.lost();
            score.switches = shown.windows(2).filter(|pair| pair[0].layer != pair[1].layer).count() as u32;
        }
        if let Some(speaker) = self.speaker(view) {
            let first = speaker.heard().keys().next().copied().unwrap_or_default();
            // What is still on its way is not missing.
            let until = self.numbers_until(speaker, end - LATEST_SOUND);
            let runs = missing(speaker, first, until);
            score.gap = SOUND * runs.iter().copied().max().unwrap_or_default();
            score.sound_lost = runs.iter().sum::<u32>() * 1_000 / until.saturating_sub(first).max(1);
        }
        (score.used, score.available) = self.rates(view.who);
        score
    }

    /// A picture that stands for longer than this is frozen (libwebrtc: three times the usual time, or 150 ms more).
    pub(super) fn freeze(&self, view: View) -> Duration {
        Duration::from_millis(if self.publishes(view.whom, Media::Slides) { 600 } else { 183 })
    }

    /// The number of the sound that is spoken at a moment.
    pub(super) fn numbers_until(&self, speaker: &Speaker, at: Instant) -> u32 {
        let Some((number, (_, sent))) = speaker.heard().first_key_value() else { return 0 };
        let passed = at.saturating_duration_since(self.epoch + *sent);
        number + (passed.as_millis() / SOUND.as_millis()) as u32
    }

    /// What somebody saw and heard, and could have at most.
    fn rates(&self, who: &str) -> (Bitrate, Bitrate) {
        let (person, end) = (self.person(who), self.end);
        let of_pictures = |one: &Shown| one.bytes as u64 + u64::from(one.parts) * OVERHEAD;
        let seen: u64 = person.viewer.pictures().values().flat_map(Screen::shown).map(of_pictures).sum();
        // Sound repeats what came before, and says so in five bytes.
        let heard = person.viewer.sounds().values().map(|speaker| speaker.heard().len() as u64);
        let heard = heard.sum::<u64>() * (2 * 80 + 5 + OVERHEAD);
        let others = self.scenario.cast.iter().filter(|role| role.name != who);
        let wanted: u64 = others.flat_map(|role| role.publishes).map(|media| media.kbps()).sum();
        let carried = &self.people[who].carried;
        let mut bits = 0.0;
        for (nth, (from, conditions)) in carried.iter().enumerate() {
            let to = carried.get(nth + 1).map_or(end, |(at, _)| *at);
            let rate = conditions.rate.map(|rate| rate.minus(conditions.competing));
            let rate = rate.map_or(wanted as f64, |rate| rate.as_bps() as f64 / 1e3);
            bits += rate.min(wanted as f64) * 1e3 * (to - *from).as_secs_f64();
        }
        let time = end - self.people[who].came;
        (Bitrate::of(seen + heard, time), Bitrate::of((bits / 8.0) as u64, time))
    }
}

impl Media {
    /// What it takes on a link, at most.
    const fn kbps(self) -> u64 {
        match self {
            Self::Camera => 1_814,
            Self::Voice => 93,
            Self::Slides => 250,
        }
    }
}

/// When each picture is played: a receiver waits so long that most of what comes late does not show.
pub(super) fn played(shown: &[Shown]) -> Vec<Instant> {
    let quickest = shown.iter().map(|one| one.at - one.sent).min();
    let due = |one: &Shown| quickest.map_or(one.at, |quickest| quickest + one.sent + PLAYOUT_DELAY);
    shown.iter().map(|one| one.at.max(due(one))).collect()
}

/// Times between pictures, and from the last to the end.
fn pauses(played: &[Instant], end: Instant) -> impl Iterator<Item = Duration> {
    let between = played.windows(2).map(|pair| pair[1] - pair[0]);
    between.chain(played.last().map(|last| end.saturating_duration_since(*last)))
}

/// Lengths of the runs of sound that did not come in time.
pub(super) fn missing(speaker: &Speaker, first: u32, until: u32) -> Vec<u32> {
    let epoch = speaker.heard().values().map(|(at, sent)| *at - *sent).min();
    let in_time = |number: u32| {
        let heard = speaker.heard().get(&number).zip(epoch);
        heard.is_some_and(|((at, sent), epoch)| *at - (epoch + *sent) <= LATEST_SOUND)
    };
    let mut runs = vec![0];
    for number in first..until {
        match (in_time(number), runs.last_mut()) {
            (false, Some(run)) => *run += 1,
            _ => runs.push(0),
        }
    }
    runs
}

fn nineteen_of_twenty(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() * 19 / 20).copied().unwrap_or_default()
}

/// The table of all scores.
pub(super) fn scoreboard(rows: &[(&Scenario, View, Score)]) -> String {
    let mut text = String::from(
        "scenario                       view            first  frozen longest   delay |    gap  lost |   used  avail     | lost switches keys\n",
    );
    let mut name = "";
    for (scenario, view, score) in rows {
        let shown =
            if std::mem::replace(&mut name, scenario.name) == scenario.name { "" } else { scenario.name };
        let view = format!("{} ‹ {}", view.who, view.whom);
        let Score { first, frozen, longest, delay, gap, sound_lost, pictures_lost, .. } = score;
        let first = first.map_or("never".to_owned(), seconds);
        let (used, available) = (score.used.as_bps() / 1_000, score.available.as_bps() / 1_000);
        let _ = writeln!(
            text,
            "{shown:<30} {view:<14} {first:>6} {:>7} {:>7} {:>7} | {:>6} {:>5} | {used:>6} {available:>6} {:>3}% | {:>4} {:>8} {:>4}",
            seconds(*frozen),
            seconds(*longest),
            seconds(*delay),
            seconds(*gap),
            percent(*sound_lost),
            used * 100 / available.max(1),
            percent(*pictures_lost),
            score.switches,
            score.keyframes,
        );
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

fn percent(thousandths: u32) -> String {
    format!("{}.{}", thousandths / 10, thousandths % 10)
}
