//! Reads how many tests a runner ran, and which failed, from what it printed: cargo, node, vitest, Playwright, pytest.

use std::ops::AddAssign;

/// Tests by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Tally {
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The tests of a whole log, `None` when no runner printed a closing line.
pub(crate) fn tests(log: &str) -> Option<Tally> {
    let mut all = Tally::default();
    for line in log.lines() {
        all += closing_line(line.trim());
    }
    (!all.is_empty()).then_some(all)
}

/// The lines of a log that name a test that failed, and where it did.
pub(crate) fn failures(log: &str) -> impl Iterator<Item = &str> {
    log.lines().map(str::trim).filter(|line| {
        // cargo, and a panic in it; node; Playwright; vitest
        (line.starts_with("test ") && line.ends_with("... FAILED"))
            || (line.starts_with("thread ") && line.contains(" panicked at "))
            || ["✖ ", "✘ ", "FAIL "].iter().any(|mark| line.starts_with(mark))
    })
}

fn closing_line(line: &str) -> Tally {
    // cargo: `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
    if let Some(rest) = line.strip_prefix("test result: ") {
        return outcomes(rest.split(['.', ';']));
    }
    // node: `# pass 3` or `ℹ pass 3`
    if let Some(rest) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) {
        return node(rest);
    }
    // vitest: `Tests  1 failed | 3 passed (4)`
    if let Some(rest) = line.strip_prefix("Tests  ") {
        return outcomes(rest.split_once('(').map_or(rest, |(counts, _)| counts).split('|'));
    }
    // pytest: `=== 1 failed, 3 passed in 0.12s ===`, or the same without bars when quiet
    let bare = line.trim_matches(|char| char == '=' || char == ' ');
    if let Some((counts, time)) = bare.rsplit_once(" in ")
        && time.starts_with(|char: char| char.is_ascii_digit())
    {
        return outcomes(counts.split(','));
    }
    playwright(line)
}

/// Playwright: one outcome a line, `3 passed (1.2m)`, `1 failed`, `2 did not run`.
fn playwright(line: &str) -> Tally {
    let counts = line.split_once(" (").map_or(line, |(counts, _)| counts);
    match counts.split_once(' ') {
        Some((_, "passed" | "failed" | "skipped" | "flaky" | "interrupted" | "did not run")) => {
            outcomes([counts])
        }
        _ => Tally::default(),
    }
}

fn node(line: &str) -> Tally {
    let Some((word, number)) = line.split_once(' ') else { return Tally::default() };
    let Ok(number) = number.parse() else { return Tally::default() };
    match word {
        "pass" => Tally { passed: number, ..Tally::default() },
        "fail" | "cancelled" => Tally { failed: number, ..Tally::default() },
        "skipped" | "todo" => Tally { skipped: number, ..Tally::default() },
        _ => Tally::default(),
    }
}

/// Adds up pieces such as `3 passed`. A test that failed first and passed later counts as failed: it is not to be trusted.
fn outcomes<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Tally {
    let mut all = Tally::default();
    for piece in pieces {
        let Some((number, outcome)) = piece.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match outcome {
            "passed" => all.passed += number,
            "failed" | "flaky" | "interrupted" | "did not run" | "error" | "errors" => all.failed += number,
            "skipped" | "ignored" => all.skipped += number,
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(log: &str, passed: u64, failed: u64, skipped: u64) {
        assert_eq!(tests(log), Some(Tally { passed, failed, skipped }), "{log}");
    }

    #[test]
    fn cargo_prints_a_line_for_each_binary() {
        let first =
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let second = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s";
        check(&format!("running 4 tests\n{first}\n\n{second}\n"), 5, 1, 1);
    }

    #[test]
    fn node_prints_a_line_for_each_outcome() {
        check(
            "# tests 5\n# suites 0\n# pass 3\n# fail 1\n# cancelled 0\n# skipped 1\n# duration_ms 51.1",
            3,
            1,
            1,
        );
        check("ℹ tests 2\nℹ pass 2\nℹ fail 0\n", 2, 0, 0);
    }

    #[test]
    fn vitest_prints_files_and_tests() {
        check(
            " Test Files  1 failed | 7 passed (8)\n      Tests  1 failed | 40 passed | 2 skipped (43)\n",
            40,
            1,
            2,
        );
    }

    #[test]
    fn pytest_prints_one_line() {
        check("========= 1 failed, 3 passed, 2 skipped, 1 warning in 4.20s =========", 3, 1, 2);
        check("5 passed in 0.30s", 5, 0, 0);
        check("=== 1 passed, 1 error in 61.00s (0:01:01) ===", 1, 1, 0);
    }

    #[test]
    fn playwright_prints_a_line_for_each_outcome() {
        check(
            "Running 4 tests using 1 worker\n\n  1 failed\n    chat.spec.ts:3:1 › chat\n  1 skipped\n  2 passed (1.2m)",
            2,
            1,
            1,
        );
        check("  1 flaky\n  3 did not run\n  5 passed (9s)", 5, 4, 0);
    }

    #[test]
    fn failures_are_named() {
        let log = "test a::b ... ok\ntest a::c ... FAILED\n\nthread 'a::c' (7) panicked at src/a.rs:1:2:\nright\n  \
                   ✔ one (2ms)\n  ✖ two (3ms)\n  ✘  4 [nats-own] › chat.spec.ts:3:1 › chat (1m)\n FAIL  src/a.test.ts > b\n";
        let expected = [
            "test a::c ... FAILED",
            "thread 'a::c' (7) panicked at src/a.rs:1:2:",
            "✖ two (3ms)",
            "✘  4 [nats-own] › chat.spec.ts:3:1 › chat (1m)",
            "FAIL  src/a.test.ts > b",
        ];
        assert_eq!(failures(log).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn other_output_counts_nothing() {
        for quiet in [
            "",
            "Compiling plenum v0.1.0",
            "3 passed the test of time",
            "Tests are cheap",
            "12 failed attempts",
        ] {
            assert_eq!(tests(quiet), None, "{quiet}");
        }
    }
}
