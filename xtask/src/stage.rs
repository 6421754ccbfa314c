//! A stage of the tests: one line when it is done, its output only when it failed.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    count::{self, Tally},
    places,
    run::Log,
};

/// How many lines of a failed stage's output are shown; the log has all.
const SHOWN_LINES: usize = 80;
/// How many lines that name a failure are shown after these.
const SHOWN_FAILURES: usize = 20;

/// What happened so far.
pub(crate) struct Report {
    total: Tally,
    only: Vec<String>,
    peers_must_run: bool,
}

/// What a skipped test means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Its reason stands beside it.
    Fine,
    /// Something that it talks to is not installed.
    PeerMissing,
}

impl Report {
    /// For these stages; none named means all. `peers_must_run`: a test without its peer counts as failed.
    pub(crate) fn new(only: &[String], peers_must_run: bool) -> Self {
        Self { total: Tally::default(), only: only.to_vec(), peers_must_run }
    }

    /// Runs a stage if it is wanted. Tells whether what it makes can be used.
    pub(crate) fn stage(
        &mut self,
        name: &str,
        skipped: Skipped,
        work: impl FnOnce(&mut Log) -> Result<()>,
    ) -> bool {
        if !self.only.is_empty() && !self.only.iter().any(|wanted| wanted == name) {
            return true;
        }
        let start = Instant::now();
        let logged = Log::create(places::log(name)).and_then(|mut log| {
            let result = work(&mut log);
            Ok((result, log.text()?))
        });
        let (result, text) = logged.unwrap_or_else(|error| (Err(error), String::new()));
        let skips_fail = self.peers_must_run && skipped == Skipped::PeerMissing;
        let tally = judge(result.is_ok(), count::tests(&text), skips_fail);
        self.total += tally;
        println!("{}", line(name, tally, start.elapsed()));
        if tally.failed > 0 {
            print!("{}", tail(&text));
            count::failures(&text).take(SHOWN_FAILURES).for_each(|line| println!("  ! {line}"));
            match result {
                Err(error) => println!("  {error:#}"),
                Ok(()) => println!("  a skipped test is a failure here: its peer must run"),
            }
            println!("  all of it: {}", places::log(name).display());
        }
        tally.failed == 0
    }

    /// Says that a stage could not run, because what it needs failed.
    pub(crate) fn unreachable(&mut self, name: &str, needs: &str) {
        if self.only.is_empty() || self.only.iter().any(|wanted| wanted == name) {
            println!("FAIL  {name:<16} not run: {needs} failed");
            self.total.failed += 1;
        }
    }

    /// Prints the last line. Tells whether all is well.
    pub(crate) fn close(self) -> bool {
        println!("{} passed, {} failed", self.total.passed, self.total.failed);
        self.total.failed == 0
    }
}

/// A stage without counted tests is one test; one that ended badly has at least one failure.
fn judge(succeeded: bool, counted: Option<Tally>, skips_fail: bool) -> Tally {
    let mut tally = counted.unwrap_or(Tally { passed: u64::from(succeeded), ..Tally::default() });
    if skips_fail {
        tally.failed += std::mem::take(&mut tally.skipped);
    }
    if !succeeded {
        tally.failed = tally.failed.max(1);
    }
    tally
}

fn line(name: &str, tally: Tally, took: Duration) -> String {
    let verdict = if tally.failed == 0 { "ok  " } else { "FAIL" };
    let seconds = took.as_secs();
    let skipped = if tally.skipped > 0 { format!(", {} skipped", tally.skipped) } else { String::new() };
    let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
    format!(
        "{verdict}  {name:<16} {:>2}m {:02}s  {} passed{failed}{skipped}",
        seconds / 60,
        seconds % 60,
        tally.passed
    )
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let hidden = lines.len().saturating_sub(SHOWN_LINES);
    let mut shown = String::new();
    if hidden > 0 {
        shown.push_str(&format!("  … {hidden} lines before\n"));
    }
    for line in &lines[hidden..] {
        shown.push_str("  | ");
        shown.push_str(line);
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn a_stage_that_counts_nothing_is_one_test() {
        assert_eq!(judge(true, None, false), tally(1, 0, 0));
        assert_eq!(judge(false, None, false), tally(0, 1, 0));
    }

    #[test]
    fn a_bad_end_is_a_failure_even_when_every_counted_test_passed() {
        assert_eq!(judge(false, Some(tally(7, 0, 0)), false), tally(7, 1, 0));
        assert_eq!(judge(false, Some(tally(7, 3, 0)), false), tally(7, 3, 0));
    }

    #[test]
    fn a_skipped_test_fails_only_where_asked() {
        assert_eq!(judge(true, Some(tally(4, 0, 2)), false), tally(4, 0, 2));
        assert_eq!(judge(true, Some(tally(4, 0, 2)), true), tally(4, 2, 0));
    }

    #[test]
    fn a_line_tells_name_time_and_counts() {
        assert_eq!(
            line("rust", tally(412, 0, 0), Duration::from_secs(83)),
            "ok    rust              1m 23s  412 passed"
        );
        assert_eq!(
            line("browser", tally(3, 1, 2), Duration::from_secs(5)),
            "FAIL  browser           0m 05s  3 passed, 1 failed, 2 skipped"
        );
    }

    #[test]
    fn a_long_log_is_shown_from_its_end() {
        let text: String = (0..SHOWN_LINES + 5).map(|number| format!("line {number}\n")).collect();
        let shown = tail(&text);
        assert!(shown.starts_with("  … 5 lines before\n  | line 5\n"), "{shown}");
        assert!(shown.ends_with(&format!("line {}\n", SHOWN_LINES + 4)), "{shown}");
    }
}
