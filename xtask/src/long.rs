//! Hunts that take hours: each fuzz target for half an hour of processor time, 10,000 people who come and go, and calls over
//! bad links in real time. Stopped at any moment, they go on where they were: progress and what was found lie in `target/long`.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{fuzz, links, places, sim};

/// Processor time that each fuzz target gets.
const HUNT: Duration = Duration::from_secs(30 * 60);
/// Progress is kept this often: what is lost when a run is stopped.
const SLICE: Duration = Duration::from_secs(3 * 60);

/// A hunt that is no fuzz target: people of the simulation come and go.
const CHURN: &str = "churn";
/// Another: calls over bad links on two servers.
const LINKS: &str = "links";

/// Carries on; with names, only with those. `--anew` forgets what was done before.
pub(crate) fn run(args: &[String]) -> Result<bool> {
    let anew = args.iter().any(|arg| arg == "--anew");
    let named: Vec<&String> = args.iter().filter(|arg| *arg != "--anew").collect();
    let mut hunts = fuzz::targets()?;
    hunts.extend([CHURN, LINKS].map(str::to_owned));
    if let Some(unknown) = named.iter().find(|name| !hunts.contains(name)) {
        bail!("`{unknown}` is none of {}", hunts.join(", "));
    }
    let mut progress = if anew { Progress::default() } else { Progress::load()? };
    let wanted: Vec<&String> = hunts.iter().filter(|hunt| named.is_empty() || named.contains(hunt)).collect();
    for (nth, name) in wanted.iter().enumerate() {
        match name.as_str() {
            CHURN => once(CHURN, &mut progress, || sim::churn(&[]))?,
            LINKS => once(LINKS, &mut progress, || {
                // Each call that was played is kept, but for those of an earlier hunt.
                let resume = if anew { Vec::new() } else { vec!["--resume".to_owned()] };
                links::play(&places::long("links"), &resume)
            })?,
            target => hunt(target, &mut progress).with_context(|| format!("fuzz target {target}"))?,
        }
        println!("{} of {}: {name} is done", nth + 1, wanted.len());
    }
    Ok(true)
}

fn once(name: &str, progress: &mut Progress, hunt: impl FnOnce() -> Result<()>) -> Result<()> {
    if progress.spent(name).is_zero() {
        hunt()?;
        progress.add(name, Duration::from_secs(1))?;
    }
    Ok(())
}

/// Fuzzes one target until it has had its time. An input that breaks it ends everything; it goes on with `--anew` or when
/// the code is mended.
fn hunt(target: &str, progress: &mut Progress) -> Result<()> {
    if progress.spent(target) >= HUNT {
        return Ok(());
    }
    fuzz::show_fuzz("build", target, &[])?;
    // New inputs go to the first folder; those of the repository are only read.
    let found = places::long("corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("creating {}", found.display()))?;
    let folders =
        [found.display().to_string(), places::repo("fuzz/corpus").join(target).display().to_string()];
    while progress.spent(target) < HUNT {
        let slice = SLICE.min(HUNT - progress.spent(target)).max(Duration::from_secs(1));
        let limit = format!("-max_total_time={}", slice.as_secs());
        let before = processor_time()?;
        fuzz::show_fuzz("run", target, &[&folders[0], &folders[1], "--", &limit])?;
        let spent = processor_time()?.saturating_sub(before);
        ensure!(!spent.is_zero(), "the fuzzer ended at once");
        progress.add(target, spent)?;
    }
    Ok(())
}

/// Processor time that each hunt has had, in seconds, a line each; a second for one that has no time of its own and is done.
#[derive(Default)]
struct Progress(BTreeMap<String, u64>);

impl Progress {
    fn file() -> PathBuf {
        places::long("progress")
    }

    fn load() -> Result<Self> {
        match fs::read_to_string(Self::file()) {
            Ok(text) => Self::parse(&text).with_context(|| format!("reading {}", Self::file().display())),
            Err(_) => Ok(Self::default()),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let line = |line: &str| {
            let (target, seconds) = line.split_once(' ').context("a line is a name and seconds")?;
            Ok((target.to_owned(), seconds.parse()?))
        };
        text.lines().map(line).collect::<Result<_>>().map(Self)
    }

    fn spent(&self, target: &str) -> Duration {
        Duration::from_secs(self.0.get(target).copied().unwrap_or_default())
    }

    fn add(&mut self, target: &str, time: Duration) -> Result<()> {
        fs::create_dir_all(places::long(""))?;
        *self.0.entry(target.to_owned()).or_default() += time.as_secs();
        fs::write(Self::file(), self.to_string())
            .with_context(|| format!("writing {}", Self::file().display()))
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(target, seconds)| writeln!(f, "{target} {seconds}"))
    }
}

/// What the programs that were run so far have used of the processor.
fn processor_time() -> Result<Duration> {
    children_time(&fs::read_to_string("/proc/self/stat")?).context("/proc/self/stat is not as proc(5) says")
}

/// `cutime` and `cstime` of proc(5), in hundredths of a second.
fn children_time(stat: &str) -> Option<Duration> {
    // The second field, the program's name in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((next()? + next()?) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_what_was_written() {
        let progress = Progress(BTreeMap::from([("rtp".to_owned(), 190), ("sdp".to_owned(), 1_800)]));
        let read = Progress::parse(&progress.to_string()).unwrap();
        assert_eq!(read.spent("rtp"), Duration::from_secs(190));
        assert_eq!(read.spent("sdp"), HUNT);
        assert_eq!(read.spent("turn"), Duration::ZERO);
        assert!(Progress::parse("rtp many").is_err());
    }

    #[test]
    fn the_time_of_children_is_read_past_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 2000 0 0 11 12 345 55 20 0 1 0 100 1 1";
        assert_eq!(children_time(stat), Some(Duration::from_secs(4)));
        assert_eq!(children_time("7 a S 1"), None);
    }
}
