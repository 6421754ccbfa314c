//! Where things lie in the repository.

use std::{env, path::PathBuf, sync::LazyLock};

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask lies in the repository").to_owned()
});

/// A path in the repository.
pub(crate) fn repo(path: &str) -> PathBuf {
    ROOT.join(path)
}

/// What was installed for tests only. Stays in the repository's own `target`, wherever cargo writes.
pub(crate) fn tools(path: &str) -> PathBuf {
    ROOT.join("target/tools").join(path)
}

/// Output of a stage.
pub(crate) fn log(stage: &str) -> PathBuf {
    ROOT.join("target/xtask").join(format!("{stage}.log"))
}

/// What is kept of hunts that take hours.
pub(crate) fn long(path: &str) -> PathBuf {
    ROOT.join("target/long").join(path)
}

/// A program as `cargo build` leaves it: `plenum`, or an example.
pub(crate) fn binary(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| ROOT.join("target"), PathBuf::from);
    target.join("debug").join(name)
}
