//! Puts the web client into the binary. A release build makes it with npm first; so does any build with `WEB_CLIENT=build`.
//! Other builds (tests, clippy) take what `web/dist` holds, or a page that says how to make it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

fn main() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
    println!("cargo::rerun-if-env-changed=WEB_CLIENT");
    // What the build itself writes, generated code included, lies outside of these: else every build would ask for the next.
    for watched in ["src", "index.html", "package.json", "package-lock.json", "vite.config.ts", "public"] {
        println!("cargo::rerun-if-changed={}", web.join(watched).display());
    }
    println!("cargo::rerun-if-changed={}", web.join("../proto").display());

    let wish = env::var("WEB_CLIENT").unwrap_or_default();
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let by_clippy = env::var("RUSTC_WORKSPACE_WRAPPER").is_ok_and(|wrapper| wrapper.contains("clippy"));
    let embed = wish == "build" || (release && wish != "skip" && !by_clippy);
    if embed {
        // An unchanged package list needs no second installation.
        if !is_installed(&web) {
            npm(&web, &["ci", "--no-audit", "--no-fund"]);
        }
        let begin = SystemTime::now();
        npm(&web, &["run", "build"]);
        backdate(&web.join("dist"), begin - Duration::from_secs(60))
            .expect("files that npm wrote can be dated");
    }

    let built = web.join("dist");
    let folder = if built.join("index.html").exists() { built } else { placeholder() };
    memory_serve::load_directory_with_embed(folder, embed);
}

fn is_installed(web: &Path) -> bool {
    let modified = |path: &str| fs::metadata(web.join(path)).and_then(|meta| meta.modified()).ok();
    match (modified("node_modules/.package-lock.json"), modified("package-lock.json")) {
        (Some(installed), Some(wanted)) => installed >= wanted,
        _ => false,
    }
}

fn npm(web: &Path, arguments: &[&str]) {
    let status = Command::new("npm").args(arguments).current_dir(web).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => panic!("`npm {}` failed in web/; its output is above", arguments.join(" ")),
        Err(error) => panic!("npm cannot be started ({error}): install Node.js 20 or newer"),
    }
}

/// What a build has made is no change since it began; with its true time, cargo would take it for one and build again.
fn backdate(path: &Path, time: SystemTime) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            backdate(&entry?.path(), time)?;
        }
    }
    fs::File::open(path)?.set_modified(time)
}

fn placeholder() -> PathBuf {
    let folder = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("no-web");
    fs::create_dir_all(&folder).expect("OUT_DIR can be written");
    let page = "<!doctype html><title>Plenum</title><p>This build has no web client. \
                <code>cargo run --release</code> makes one.";
    fs::write(folder.join("index.html"), page).expect("OUT_DIR can be written");
    folder
}
