//! What a process on this machine needs, from `/proc`.

use std::{fs, time::Duration};

use serde::Serialize;

/// Ticks of `/proc/<pid>/stat` in a second: the kernel's USER_HZ is 100 on every platform.
const TICKS: u64 = 100;

/// A moment of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Usage {
    /// Processor time of all its threads, user and system.
    #[serde(serialize_with = "super::report::seconds")]
    pub(super) cpu: Duration,
    /// Of which in the kernel.
    #[serde(serialize_with = "super::report::seconds")]
    pub(super) system: Duration,
    /// Memory that it has for itself, in KiB.
    pub(super) memory_kib: u64,
}

impl Usage {
    /// What a process has needed so far; `None` if it is not there.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&stat, &status)
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name in parentheses may contain anything; the fields after it begin with the third.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
        let time = |ticks: u64| Duration::from_millis(ticks * 1_000 / TICKS);
        let (user, system) = (time(ticks(14)?), time(ticks(15)?));
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let memory_kib = memory.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self { cpu: user + system, system, memory_kib })
    }

    /// What it needed since an earlier moment; memory as now.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            system: self.system.saturating_sub(earlier.system),
            memory_kib: self.memory_kib,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1000 10";
        let usage = Usage::parse(stat, "Name:\tx\nRssAnon:\t    1234 kB\n").expect("well-formed");
        assert_eq!((usage.cpu, usage.system), (Duration::from_secs(3), Duration::from_millis(500)));
        assert_eq!(usage.memory_kib, 1_234);
        assert_eq!(usage.since(Usage { cpu: Duration::from_secs(1), ..usage }).cpu, Duration::from_secs(2));
        assert!(Usage::of(std::process::id()).is_some());
    }
}
