//! Who may know whom. The crates are cut by what they may know; this holds the cuts (ARCHITECTURE.md).

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Every crate with our own crates that it may use. An arrow goes down only: what is not here is not allowed.
const ARROWS: &[(&str, &[&str])] = &[
    ("plenum-protocol", &[]),
    ("plenum-media", &[]),
    ("plenum-messaging", &[]),
    ("plenum-client", &["plenum-media"]),
    ("plenum-sim", &["plenum-client", "plenum-media"]),
    ("plenum-links", &["plenum-client", "plenum-media", "plenum-sim"]),
    ("plenum-meeting", &["plenum-protocol"]),
    ("plenum-storage", &["plenum-protocol"]),
    ("plenum-media-server", &["plenum-media"]),
    ("plenum-messaging-server", &["plenum-messaging"]),
    ("plenum-control", &["plenum-meeting", "plenum-protocol", "plenum-storage"]),
    ("plenum-api", &["plenum-control", "plenum-meeting", "plenum-protocol", "plenum-storage"]),
    (
        "plenum",
        &[
            "plenum-api",
            "plenum-client",
            "plenum-control",
            "plenum-media-server",
            "plenum-meeting",
            "plenum-messaging-server",
            "plenum-storage",
        ],
    ),
    ("xtask", &[]),
];

/// Cores: bytes and time come in as arguments, and go out as values.
const PURE: &[&str] =
    &["plenum-protocol", "plenum-media", "plenum-messaging", "plenum-meeting", "plenum-client", "plenum-sim"];

/// Runtimes, sockets, HTTP, SQL, wire clients and clocks.
const IMPURE: &[&str] = &[
    "async-io",
    "async-nats",
    "async-std",
    "axum",
    "axum-server",
    "chrono",
    "hyper",
    "hyper-util",
    "if-addrs",
    "livekit-api",
    "mio",
    "quinn-udp",
    "reqwest",
    "rusqlite",
    "sea-orm",
    "smol",
    "socket2",
    "sqlx",
    "tokio",
    "tokio-tungstenite",
    "tower",
    "tower-http",
    "ureq",
];

/// Each of these is one crate's business alone.
const OWNED: &[(&str, &[&str])] = &[
    ("async-nats", &["plenum-control"]),
    ("livekit-api", &["plenum-control"]),
    ("sea-orm", &["plenum-storage"]),
    ("sea-orm-migration", &["plenum-storage"]),
    ("str0m", &["plenum-media", "plenum-client", "plenum-sim"]),
    ("tun-rs", &["plenum-links"]),
];

/// What each crate of the workspace uses when it runs; tests may use more.
fn used() -> BTreeMap<String, Vec<String>> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let uses = package["dependencies"].as_array().expect("dependencies");
            let uses = uses.iter().filter(|one| one["kind"] != "dev").map(|one| text(&one["name"])).collect();
            (text(&package["name"]), uses)
        })
        .collect()
}

fn is_ours(name: &str) -> bool {
    name == "plenum" || name.starts_with("plenum-")
}

#[test]
fn arrows_go_down_only() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for (package, uses) in used() {
        let Some(allowed) = arrows.get(package.as_str()) else {
            panic!("{package} is new: say here which of our crates it may use");
        };
        for name in uses.iter().filter(|name| is_ours(name)) {
            assert!(allowed.contains(&name.as_str()), "{package} must not know {name}");
        }
    }
}

#[test]
fn cores_know_no_runtime_socket_clock_sql_or_http() {
    let used = used();
    for package in PURE.iter().filter_map(|name| used.get_key_value(*name)) {
        for name in package.1 {
            assert!(!IMPURE.contains(&name.as_str()), "{} is a core and uses {name}", package.0);
        }
    }
}

#[test]
fn each_outside_is_one_crates_business() {
    for (package, uses) in used() {
        for (name, owners) in OWNED {
            let is_owner = owners.contains(&package.as_str());
            assert!(is_owner || !uses.iter().any(|one| one == name), "{package} must not use {name} itself");
        }
    }
}
