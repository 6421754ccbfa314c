//! What `cargo xtask test` runs, in order.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    peers::{self, Peers},
    places,
    run::{Log, program, show},
    setup,
    stage::{Report, Skipped},
};

/// Suites of official clients against the real binary. Each folder brings a `package.json` whose `test` runs it, and may
/// bring the Python packages it needs in a `requirements.txt`.
const SUITES: [&str; 3] = ["nats", "livekit", "plugnmeet"];

/// Everything, or the named stages.
pub(crate) fn test(only: &[String]) -> Result<bool> {
    setup::check_toolchains()?;
    let mut report = Report::new(only, setup::is_ci());
    report.stage("format", Skipped::Fine, format);
    report.stage("clippy", Skipped::Fine, clippy);
    report.stage("rust", Skipped::Fine, |log| {
        // The links in real time need iproute2.
        setup::debian_packages(log)?;
        log.run(cargo("test").args(["--workspace", "--no-fail-fast"]))
    });
    if report.stage("web-packages", Skipped::Fine, |log| setup::npm_packages_logged("web", log)) {
        report.stage("web-lint", Skipped::Fine, |log| npm_run(log, &["generate", "lint"]));
        report.stage("web-types", Skipped::Fine, |log| npm_run(log, &["generate", "types"]));
        report.stage("web-unit", Skipped::Fine, |log| npm_run(log, &["generate", "test", "build", "size"]));
        report.stage("web-screens", Skipped::Fine, |log| {
            setup::debian_packages(log)?;
            npm_run(log, &["generate", "test:screens"])
        });
    } else {
        report.unreachable("web", "web-packages");
    }
    let built = report.stage("binary", Skipped::Fine, |log| log.run(&mut build_binary()));
    let peers = report.stage("peers", Skipped::Fine, |log| {
        setup::debian_packages(log)?;
        peers::install_logged(log)
    });
    for suite in SUITES {
        if built && peers {
            report.stage(suite, Skipped::PeerMissing, |log| official_clients(suite, log));
        } else {
            report.unreachable(suite, "binary or peers");
        }
    }
    if built && peers {
        report.stage("browser", Skipped::PeerMissing, |log| {
            let python = browser_packages(log)?;
            log.run(&mut playwright(&[], &python))
        });
    } else {
        report.unreachable("browser", "binary or peers");
    }
    Ok(report.close())
}

/// The quick checks, without tests.
pub(crate) fn lint() -> Result<bool> {
    let mut report = Report::new(&[], false);
    report.stage("format", Skipped::Fine, format);
    report.stage("clippy", Skipped::Fine, clippy);
    report.stage("web-packages", Skipped::Fine, |log| setup::npm_packages_logged("web", log));
    report.stage("web-lint", Skipped::Fine, |log| npm_run(log, &["generate", "lint"]));
    report.stage("web-types", Skipped::Fine, |log| npm_run(log, &["generate", "types"]));
    Ok(report.close())
}

/// The browser tests, on the terminal.
pub(crate) fn e2e(args: &[String]) -> Result<bool> {
    show(&mut build_binary())?;
    let mut log = Log::create(places::log("peers"))?;
    setup::debian_packages(&mut log).with_context(|| format!("see {}", log.path().display()))?;
    peers::install()?;
    let python = browser_packages(&mut log)?;
    show(&mut playwright(args, &python)).map(|()| true)
}

/// The web client into `web/dist`.
pub(crate) fn build_web() -> Result<()> {
    show(program("npm", "web").args(["run", "build"]))
}

fn format(log: &mut Log) -> Result<()> {
    log.run(cargo("fmt").args(["--all", "--check"]))
}

fn clippy(log: &mut Log) -> Result<()> {
    log.run(cargo("clippy").args(["--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

fn cargo(verb: &str) -> Command {
    let mut command = program("cargo", ".");
    command.arg(verb);
    if setup::is_ci() {
        // Nothing is compiled there a second time, so there is nothing to prepare for it.
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// The same packages and profile as the tests, so that dependencies compile once; with the web client inside.
pub(crate) fn build_binary() -> Command {
    let mut command = cargo("build");
    command.args(["--workspace", "--bins", "--examples"]).env("WEB_CLIENT", "build");
    command
}

fn npm_run(log: &mut Log, scripts: &[&str]) -> Result<()> {
    scripts.iter().try_for_each(|script| log.run(program("npm", "web").args(["run", script])))
}

fn official_clients(suite: &str, log: &mut Log) -> Result<()> {
    let folder = format!("tests/{suite}");
    if suite == "nats" {
        // The broker alone, with the accounts that each test wants, is one of the examples.
        log.run(&mut build_binary())?;
    }
    setup::npm_packages_logged(&folder, log)?;
    let mut tests = program("npm", &folder);
    on_binary(tests.arg("test"));
    if places::repo(&folder).join("requirements.txt").exists() {
        tests.env("PYTHON", python(suite, log)?);
    }
    log.run(&mut tests)
}

/// What the browser tests need beside a browser; gives a Python with LiveKit's SDK.
fn browser_packages(log: &mut Log) -> Result<PathBuf> {
    // People without a browser are those of plugNmeet's suite.
    for folder in ["tests/browser", "tests/plugnmeet"] {
        setup::npm_packages_logged(folder, log)?;
    }
    python("livekit", log)
}

/// The Python of a suite, with the packages that it asks for.
fn python(suite: &str, log: &mut Log) -> Result<PathBuf> {
    let requirements = format!("tests/{suite}/requirements.txt");
    Ok(setup::python_packages(&format!("python-{suite}"), &requirements, log)?.join("python"))
}

fn playwright(args: &[String], python: &Path) -> Command {
    let mut command = program("npx", "tests/browser");
    command.args(["--no-install", "playwright", "test"]).args(args).env("PYTHON", python);
    on_binary(&mut command);
    command
}

/// Tells a suite where the binary and its peers are.
pub(crate) fn on_binary(command: &mut Command) -> &mut Command {
    let Peers { nats_server, livekit_server } = Peers::places();
    command
        .env("PLENUM_BIN", places::binary("plenum"))
        .env("BROKER_BIN", places::binary("examples/broker"))
        .env("LINKS_BIN", places::binary("links"))
        .env("NATS_SERVER_BIN", nats_server)
        .env("LIVEKIT_SERVER_BIN", livekit_server)
}
