//! Calls over bad links: what must hold, and how good they are. `cargo xtask scoreboard` prints the scores, with `--write`
//! it keeps them.

use plenum_sim::scenario::play_all;

/// The scores as they are kept.
const KEPT: &str = include_str!("../scoreboard.txt");

#[test]
fn calls_are_as_good_as_they_must_be_and_as_was_kept() {
    let results = play_all(1);
    assert!(results.broken.is_empty(), "{}", results.broken.join("\n"));
    assert!(
        results.scoreboard == KEPT,
        "The scores have changed. If they may, `cargo xtask scoreboard --write` keeps them:\n{}",
        difference(KEPT, &results.scoreboard)
    );
}

#[test]
fn it_does_not_matter_how_many_media_threads_there_are() {
    let results = play_all(3);
    assert!(results.broken.is_empty(), "{}", results.broken.join("\n"));
    assert!(results.scoreboard == KEPT, "with three:\n{}", difference(KEPT, &results.scoreboard));
}

/// The lines that differ.
fn difference(kept: &str, now: &str) -> String {
    let pairs = kept.lines().zip(now.lines()).filter(|(kept, now)| kept != now);
    pairs.map(|(kept, now)| format!("- {kept}\n+ {now}\n")).collect()
}
