//! Runs the body of a fuzz target over its corpus, as an ordinary test. Included by the tests of the crates.

use std::path::Path;

/// Gives `run` every file of `corpus/<target>`, whole, cut, and with single bytes changed.
pub(crate) fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let bytes = std::fs::read(entry.expect("readable").path()).expect("readable");
        run(&bytes);
        for at in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
            run(&bytes[..at]);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            run(&damaged);
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}
