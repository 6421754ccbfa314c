//! Runs one program at a time and keeps what it says.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A program that runs longer than this hangs: the slowest, a cold compilation, takes a quarter.
const PATIENCE: Duration = Duration::from_secs(25 * 60);
/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where a program's output goes.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// An empty log at `path`.
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let folder = path.parent().context("a log lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let file = OpenOptions::new().append(true).read(true).open(&path)?;
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything written so far.
    pub(crate) fn text(&mut self) -> Result<String> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs the program to its end. An error when it cannot be started, does not succeed, or hangs.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        self.run_within(PATIENCE, command)
    }

    /// The same for a program that must be done sooner.
    pub(crate) fn run_within(&mut self, patience: Duration, command: &mut Command) -> Result<()> {
        writeln!(self.file, "$ {}", words(command))?;
        command.stdin(Stdio::null()).stdout(self.file.try_clone()?).stderr(self.file.try_clone()?);
        let mut child = start(command)?;
        let status = wait_within(patience, &mut child)?
            .with_context(|| format!("`{}` did not end within {} s", words(command), patience.as_secs()))?;
        judge(command, status)
    }
}

/// Runs the program with its output on the terminal.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    finish(command)
}

/// A program that starts in a folder of the repository, without what `cargo run` told this one about itself.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, folder: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(crate::places::repo(folder)).env("NO_COLOR", "1").env_remove("FORCE_COLOR");
    for (key, _) in std::env::vars_os() {
        let about_xtask = key
            .to_str()
            .is_some_and(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_"));
        if about_xtask {
            command.env_remove(key);
        }
    }
    command
}

fn finish(command: &mut Command) -> Result<()> {
    let status = start(command)?.wait()?;
    judge(command, status)
}

fn start(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("starting `{}`", words(command)))
}

fn judge(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` ended with {status}", words(command));
    }
    Ok(())
}

/// Waits for the end; a program that takes too long is ended with all that it started, and gives `None`.
fn wait_within(patience: Duration, child: &mut Child) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK_EVERY);
    }
    // Children first: once its parent is gone, a process cannot be found by it any more.
    for id in descendants(child.id()).into_iter().rev() {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Every process that `id` started, directly or not, parents before children.
fn descendants(id: u32) -> Vec<u32> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found.split_off(1)
}

fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        let mut command = Command::new("sh");
        let mut child = start(command.args(["-c", "sleep 600 & sleep 600 & wait"])).unwrap();
        let started = loop {
            let started = descendants(child.id());
            if started.len() == 2 {
                break started;
            }
            assert!(child.try_wait().unwrap().is_none(), "it runs until it is ended");
            thread::yield_now();
        };
        assert_eq!(wait_within(Duration::ZERO, &mut child).unwrap(), None);
        // An orphan that nobody waits for may stay as an entry; what it ran is gone.
        let runs = |id: &u32| fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| !line.is_empty());
        let end = Instant::now() + Duration::from_secs(10);
        while started.iter().any(runs) {
            assert!(Instant::now() < end, "still running: {started:?}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_ends_in_time_tells_how() {
        let mut child = start(Command::new("sh").args(["-c", "exit 3"])).unwrap();
        let status = wait_within(Duration::from_secs(60), &mut child).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
    }
}
