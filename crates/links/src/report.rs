//! What everybody saw and heard, servers side by side: as a table and as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use plenum_sim::scenario::{Played, Score};
use serde::{Deserialize, Serialize};

use crate::server::Kind;

/// A call on a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Play {
    /// Which call.
    pub call: String,
    /// On which server, by its name.
    pub server: String,
    /// Every view of somebody on somebody.
    pub views: Vec<Row>,
    /// Percent of the packets that this machine carried late: how little to believe.
    pub late: f64,
    /// What must hold in the simulation and did not here.
    pub broken: Vec<String>,
}

/// What somebody saw and heard of somebody; nothing where it cannot be measured. What it means is in docs/sim.md.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    /// Who, and whom.
    pub view: String,
    /// Seconds from coming in to the first picture.
    pub first: Option<f64>,
    /// Seconds in which the picture stood still.
    pub frozen: f64,
    /// The longest of it.
    pub longest: f64,
    /// Seconds from being sent to being shown, for 19 of 20 pictures.
    pub delay: Option<f64>,
    /// Longest time without sound in a row, in seconds.
    pub gap: f64,
    /// Percent of the sound that did not come in time.
    pub sound_lost: f64,
    /// kbit/s that were seen and heard.
    pub used: f64,
    /// kbit/s that the link carried of what was wanted.
    pub available: f64,
    /// Percent of the packets of pictures that did not come in time, after all repetitions.
    pub lost: Option<f64>,
    /// Changes of layers.
    pub switches: u32,
    /// Key frames that were asked of the publisher.
    pub keyframes: u32,
}

impl Play {
    /// What became of a call of the simulation. One that was cut short breaks no laws.
    pub fn of(played: &Played, late: f64, kind: Kind, is_whole: bool) -> Self {
        let there = |name: &str| played.people.contains_key(name);
        let views = played.scenario.watched.iter().filter(|view| there(view.who) && there(view.whom));
        let row = |view: &plenum_sim::scenario::View| Row {
            view: format!("{} ‹ {}", view.who, view.whom),
            ..Row::from(played.score(*view))
        };
        let broken = if is_whole { played.broken() } else { Vec::new() };
        let (call, server) = (played.scenario.name.to_owned(), kind.name().to_owned());
        Self { call, server, views: views.map(row).collect(), late: late * 100.0, broken }
    }
}

impl From<Score> for Row {
    fn from(score: Score) -> Self {
        let seconds = |time: Duration| time.as_secs_f64();
        Self {
            view: String::new(),
            first: score.first.map(seconds),
            frozen: seconds(score.frozen),
            longest: seconds(score.longest),
            delay: Some(seconds(score.delay)),
            gap: seconds(score.gap),
            sound_lost: f64::from(score.sound_lost) / 10.0,
            used: score.used.as_bps() as f64 / 1e3,
            available: score.available.as_bps() as f64 / 1e3,
            lost: Some(f64::from(score.pictures_lost) / 10.0),
            switches: score.switches,
            keyframes: score.keyframes,
        }
    }
}

/// The table: for each view a line for each server.
pub fn table(plays: &[Play]) -> String {
    let mut text = String::from(
        "call                                   view            server    first  frozen longest   delay |    gap  lost |   used  avail     | lost switches keys\n",
    );
    let mut calls: Vec<&str> = Vec::new();
    for play in plays.iter().filter(|play| !play.views.is_empty()) {
        if !calls.contains(&play.call.as_str()) {
            calls.push(&play.call);
        }
    }
    for call in calls {
        let of_call: Vec<&Play> = plays.iter().filter(|play| play.call == call).collect();
        let views = of_call.iter().map(|play| play.views.len()).max().unwrap_or_default();
        let mut title = call;
        for nth in 0..views {
            let mut view = of_call[0].views.get(nth).map_or("", |row| &row.view);
            for play in &of_call {
                let Some(row) = play.views.get(nth) else { continue };
                line(&mut text, std::mem::take(&mut title), std::mem::take(&mut view), &play.server, row);
            }
        }
    }
    text
}

fn line(text: &mut String, title: &str, view: &str, server: &str, row: &Row) {
    let or_dash =
        |value: Option<f64>, digits| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
    let first = row.first.map_or("never".to_owned(), |first| format!("{first:.2}"));
    let Row { frozen, longest, gap, sound_lost, used, available, switches, keyframes, .. } = row;
    let share = (used * 100.0 / available.max(1.0)).round();
    let (delay, lost) = (or_dash(row.delay, 2), or_dash(row.lost, 1));
    let _ = writeln!(
        text,
        "{title:<38} {view:<15} {server:<8} {first:>6} {frozen:>7.2} {longest:>7.2} {delay:>7} | {gap:>6.2} {sound_lost:>5.1} | {used:>6.0} {available:>6.0} {share:>3}% | {lost:>4} {switches:>8} {keyframes:>4}",
    );
}

/// What was kept before; nothing where nothing was.
pub fn load(file: &Path) -> Result<Vec<Play>> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("reading {}", file.display())),
        Err(_) => Ok(Vec::new()),
    }
}

/// Keeps everything so far.
pub fn save(file: &Path, plays: &[Play]) -> Result<()> {
    let text = serde_json::to_string_pretty(plays)?;
    std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_stand_side_by_side_and_what_is_unknown_is_no_number() {
        let row = |used| Row { view: "bob ‹ alice".into(), used, available: 1_000.0, ..Row::default() };
        let play = |call: &str, server: &str, used| Play {
            call: call.into(),
            server: server.into(),
            views: vec![row(used)],
            late: 0.0,
            broken: Vec::new(),
        };
        let plays =
            [play("fall", "plenum", 900.0), play("loss", "plenum", 1.0), play("fall", "livekit", 500.0)];
        let text = table(&plays);
        let lines: Vec<Vec<&str>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..6], ["fall", "bob", "‹", "alice", "plenum", "never"]);
        assert_eq!(lines[1][..3], ["livekit", "never", "0.00"]);
        assert_eq!(lines[2][0], "loss");
        assert!(text.contains("90%") && text.contains("50%") && lines[0].contains(&"–"), "{text}");
        let read: Vec<Play> = serde_json::from_str(&serde_json::to_string(&plays).unwrap()).unwrap();
        assert_eq!(table(&read), text);
    }
}
