//! Calls of two Chromium with livekit-client, so that the publisher's congestion control is a real one. One of them is behind
//! the links; the other is where the server is, and has no link at all.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use plenum_sim::Conditions;
use serde::Deserialize;

use crate::network::Network;
use crate::report::{Play, Row};
use crate::server::{Program, Server};

/// A call of two browsers.
#[derive(Debug)]
pub struct BrowserCall {
    /// Its name.
    pub name: &'static str,
    /// Who is behind the links.
    behind: Part,
    /// Both ways of them, from when on.
    links: &'static [(u64, Conditions, Conditions)],
    /// How long it takes, in seconds.
    length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Publisher,
    Watcher,
}

const GOOD: Conditions = Conditions::kbps(5_000);

/// All of them.
pub const CALLS: &[BrowserCall] = &[
    BrowserCall {
        name: "Chromium receives 300 kbit/s",
        behind: Part::Watcher,
        links: &[(0, GOOD, GOOD), (15, GOOD, Conditions::kbps(300)), (35, GOOD, GOOD)],
        length: 60,
    },
    BrowserCall {
        name: "Chromium sends 400 kbit/s",
        behind: Part::Publisher,
        links: &[
            (0, Conditions::kbps(3_000), GOOD),
            (20, Conditions::kbps(400), GOOD),
            (40, Conditions::kbps(3_000), GOOD),
        ],
        length: 70,
    },
];

/// What the browsers' program is, and where.
#[derive(Debug, Clone)]
pub struct Script {
    /// Node.js.
    pub node: PathBuf,
    /// The script that plays one browser.
    pub script: PathBuf,
}

/// A browser takes this long to start, or to publish, at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// A browser takes this long to close at most.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// Time between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines that a browser has said and nobody has read.
const LINES_MAX: usize = 64;
/// A picture that stands for longer than this is frozen, as in the simulation.
const FREEZE: f64 = 0.183;
/// What the three layers and the voice take on a link, in kbit/s.
const WANTED: f64 = 1_907.0;

impl BrowserCall {
    /// Plays it, for `limit` at most. What the server prints goes to `log`.
    pub fn play(
        &self,
        limit: Option<Duration>,
        program: &Program,
        script: &Script,
        log: &Path,
    ) -> Result<Play> {
        let network = Network::new(1)?;
        let mut links = self.links.iter();
        let mut set = |network: &Network| {
            let (_, up, down) = links.next()?;
            network.set_links(0, "browser", *up, *down);
            links.as_slice().first().map(|(at, ..)| Duration::from_secs(*at))
        };
        let mut next = set(&network);
        let _server = Server::start(&network, program, log)?;
        let mut publisher = Browser::start(&network, self.behind == Part::Publisher, script, "publish")?;
        let mut watcher = Browser::start(&network, self.behind == Part::Watcher, script, "watch")?;
        publisher.hears("ready")?;
        watcher.hears("ready")?;
        publisher.say("go")?;
        publisher.hears("published")?;
        watcher.say("go")?;
        let start = Instant::now();
        let length = Duration::from_secs(self.length);
        let length = limit.map_or(length, |limit| limit.min(length));
        while let Some(at) = next.filter(|at| *at < length) {
            std::thread::sleep((start + at).saturating_duration_since(Instant::now()));
            next = set(&network);
        }
        std::thread::sleep((start + length).saturating_duration_since(Instant::now()));
        watcher.say("end")?;
        publisher.say("end")?;
        let seen: Seen = serde_json::from_str(&watcher.hears("seen")?)?;
        let sent: Sent = serde_json::from_str(&publisher.hears("sent")?)?;
        let row = Row {
            view: "bob ‹ alice".to_owned(),
            available: self.available(length.as_secs_f64()),
            keyframes: sent.keyframes,
            ..seen.row(length.as_secs_f64())
        };
        let limited = sent.limited_by_processor;
        let short =
            (limited > 1.0).then(|| format!("the publisher's processor was too slow for {limited:.0} s"));
        let (call, server) = (self.name.to_owned(), program.kind.name().to_owned());
        let late = network.late() * 100.0;
        Ok(Play { call, server, views: vec![row], late, broken: short.into_iter().collect() })
    }

    /// kbit/s that the link in question carried of what was wanted, in the mean.
    fn available(&self, length: f64) -> f64 {
        let mut sum = 0.0;
        for (nth, (from, up, down)) in self.links.iter().enumerate() {
            let to = self.links.get(nth + 1).map_or(length, |(at, ..)| *at as f64).min(length);
            let link = if self.behind == Part::Publisher { up } else { down };
            let rate = link.rate.map_or(WANTED, |rate| rate.as_bps() as f64 / 1e3);
            sum += rate.min(WANTED) * (to - *from as f64).max(0.0);
        }
        sum / length.max(1.0)
    }
}

/// What a watching browser says at the end. Times are seconds since it began to join.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    /// When each picture was shown, and its height.
    frames: Vec<(f64, u32)>,
    /// Longest concealment in a row, in seconds.
    gap: f64,
    /// Samples of sound that were made up, and all.
    concealed: f64,
    samples: f64,
    /// Of media, with headers and what came again.
    bytes: f64,
}

/// What a publishing browser says at the end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    keyframes: u32,
    /// Seconds in which the encoder had too little of the processor.
    limited_by_processor: f64,
}

impl Seen {
    fn row(&self, length: f64) -> Row {
        let times = self.frames.iter().map(|(at, _)| *at).chain([length]);
        let times: Vec<f64> = times.collect();
        let still = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|pause| *pause > FREEZE);
        let (frozen, longest) = still.fold((0.0, 0.0_f64), |(sum, most), one| (sum + one, most.max(one)));
        let switches = self.frames.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        Row {
            first: self.frames.first().map(|(at, _)| *at),
            frozen,
            longest,
            gap: self.gap,
            sound_lost: self.concealed * 100.0 / self.samples.max(1.0),
            used: self.bytes * 8.0 / 1e3 / length.max(1.0),
            switches: switches as u32,
            ..Row::default()
        }
    }
}

/// A browser with its program; both end with this value.
struct Browser {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Browser {
    fn start(network: &Network, is_behind: bool, script: &Script, part: &str) -> Result<Self> {
        let namespace = if is_behind { &network.people } else { &network.server };
        namespace.run(|| {
            let mut command = Command::new(&script.node);
            command.arg(&script.script).args([part, &Server::url(), &Server::token(part)]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().with_context(|| format!("starting {}", script.node.display()))?;
            let input = child.stdin.take().context("its input")?;
            let output = BufReader::new(child.stdout.take().context("its output")?);
            let (sender, lines) = sync_channel(LINES_MAX);
            std::thread::spawn(move || {
                let said = output.lines().map_while(Result::ok);
                said.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
            });
            Ok(Self { child, input, lines })
        })
    }

    fn say(&mut self, word: &str) -> Result<()> {
        writeln!(self.input, "{word}").context("the browser's program is gone")
    }

    /// Waits for a line that begins with that word, and gives the rest.
    fn hears(&mut self, word: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("a browser did not say `{word}` in time"),
                Err(RecvTimeoutError::Disconnected) => bail!("a browser's program ended before `{word}`"),
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.say("close");
        let end = Instant::now() + CLOSE_WITHIN;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > end {
                // Chromium ends with the program that has started it.
                let _ = self.child.kill();
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_has_seen_becomes_the_columns_of_the_simulation() {
        let said = r#"{"frames":[[0.8,180],[0.9,180],[1.4,720],[1.5,720]],"gap":0.06,"concealed":480,"samples":48000,"bytes":250000}"#;
        let seen: Seen = serde_json::from_str(said).unwrap();
        let row = seen.row(2.0);
        assert_eq!((row.first, row.switches, row.delay, row.lost), (Some(0.8), 1, None, None));
        assert!(
            (row.frozen - 1.0).abs() < 1e-9,
            "half a second between two, and as much at the end: {}",
            row.frozen
        );
        assert!((row.longest - 0.5).abs() < 1e-9 && (row.used - 1_000.0).abs() < 1e-9);
        assert!((row.sound_lost - 1.0).abs() < 1e-9 && row.gap == 0.06);
    }

    #[test]
    fn what_a_link_carried_is_counted_until_the_end() {
        let [falls, sends] = CALLS else { panic!("two calls") };
        // 15 s and 25 s of all that is wanted, 20 s of 300 kbit/s.
        assert_eq!(falls.available(60.0).round(), ((40.0 * WANTED + 20.0 * 300.0) / 60.0).round());
        assert_eq!(falls.available(15.0), WANTED);
        assert_eq!(sends.available(30.0).round(), ((20.0 * WANTED + 10.0 * 400.0) / 30.0).round());
    }
}
