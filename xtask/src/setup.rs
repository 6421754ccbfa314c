//! Installs what tests need and the machine lacks. Every step looks first, so that a second run costs nothing.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    places,
    run::{Log, program, show},
};

/// Debian packages by the file that shows they are there.
const DEBIAN: &[(&str, &str)] = &[
    ("/usr/bin/chromium", "chromium"),
    ("/usr/bin/turnutils_uclient", "coturn"),
    ("/usr/bin/firefox-esr", "firefox-esr"),
    ("/usr/share/fonts/truetype/liberation", "fonts-liberation"),
    ("/usr/sbin/ip", "iproute2"),
];

/// Browser and network tools.
pub(crate) fn debian_packages(log: &mut Log) -> Result<()> {
    let missing: Vec<&str> =
        DEBIAN.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = || {
        let mut command = program("apt-get", ".");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let advice = || format!("as root: apt-get install {}", missing.join(" "));
    log.run(apt().arg("update")).with_context(advice)?;
    log.run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&missing)).with_context(advice)
}

/// The npm packages of a folder, exactly as its lock file says.
pub(crate) fn npm_packages(folder: &str) -> Result<()> {
    match npm_install(folder) {
        Some(mut command) => show(&mut command),
        None => Ok(()),
    }
}

/// The same, into a log.
pub(crate) fn npm_packages_logged(folder: &str, log: &mut Log) -> Result<()> {
    match npm_install(folder) {
        Some(mut command) => log.run(&mut command),
        None => Ok(()),
    }
}

fn npm_install(folder: &str) -> Option<Command> {
    let wanted = places::repo(folder).join("package-lock.json");
    let installed = places::repo(folder).join("node_modules/.package-lock.json");
    if is_newer(&installed, &wanted) {
        return None;
    }
    let mut command = program("npm", folder);
    command
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    Some(command)
}

/// A Python environment of its own with what `requirements` lists. Gives its folder of programs.
pub(crate) fn python_packages(name: &str, requirements: &str, log: &mut Log) -> Result<std::path::PathBuf> {
    let environment = places::tools(name);
    let wanted = places::repo(requirements);
    let stamp = environment.join("installed");
    if !is_newer(&stamp, &wanted) {
        log.run(program("python3", ".").args(["-m", "venv"]).arg(&environment))
            .context("python3 needs its venv module (Debian: python3-venv)")?;
        let mut pip = program(environment.join("bin/python"), ".");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        log.run(pip.arg(&wanted))?;
        fs::write(&stamp, "").with_context(|| format!("writing {}", stamp.display()))?;
    }
    Ok(environment.join("bin"))
}

/// Says early, in words, what the machine must bring itself.
pub(crate) fn check_toolchains() -> Result<()> {
    let missing: Vec<&str> =
        [("node", "--version"), ("npm", "--version"), ("go", "version"), ("python3", "--version")]
            .into_iter()
            .filter(|(name, argument)| !answers(name, argument))
            .map(|(name, _)| name)
            .collect();
    if !missing.is_empty() {
        bail!("not found: {}. Tests need Node 20, Go 1.26 and Python 3.11 or newer.", missing.join(", "));
    }
    Ok(())
}

/// Whether this is CI: there, a test that cannot meet its peer is a failure.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn answers(name: &str, argument: &str) -> bool {
    let quiet = Command::new(name).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn is_newer(made: &Path, from: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    matches!((time(made), time(from)), (Some(made), Some(from)) if made >= from)
}
