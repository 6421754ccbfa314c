//! A disk that takes no more.

use std::path::{Path, PathBuf};

use async_nats::jetstream::{self, stream};
use plenum_messaging_server::Limits;

use crate::common::{Broker, meeting, soon};

async fn publish(js: &jetstream::Context, subject: &'static str) -> Result<u64, String> {
    let sent = js.publish(subject, vec![b'x'; 1_000].into()).await.map_err(|error| error.to_string())?;
    soon("an answer", sent.into_future()).await.map(|ack| ack.sequence).map_err(|error| format!("{error:?}"))
}

async fn create(js: &jetstream::Context, name: &str) {
    let config = stream::Config {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        ..stream::Config::default()
    };
    js.create_stream(config).await.expect("created");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("read").path()).collect();
    paths.sort();
    paths
}

/// `/dev/full` answers each write as a full disk does.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_and_costs_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = meeting(folder.path(), None);
    config.limits = Limits { segment_size: 8_192, ..Limits::default() };
    let broker = Broker::start_with(config.clone(), folder).await;
    let js = broker.jetstream().await;
    create(&js, "full").await;
    create(&js, "other").await;
    let mut stored = publish(&js, "full.a").await.expect("there is room");
    let log = entries(&broker.folder.path().join("streams")).remove(0);
    let newest = entries(&log).pop().expect("a segment");
    let number: u64 = newest
        .file_stem()
        .and_then(|name| name.to_str())
        .and_then(|name| name.parse().ok())
        .expect("a number");
    let next = log.join(format!("{:016}.log", number + 1));
    std::os::unix::fs::symlink("/dev/full", &next).expect("linked");

    // Whether the message that met the full disk is on it nobody knows, so nobody says; those after it are refused.
    while let Ok(sequence) = publish(&js, "full.a").await {
        stored = sequence;
        assert!(stored < 100, "the segment is never full");
    }
    let refused = publish(&js, "full.a").await.expect_err("refused");
    assert!(refused.contains("stream storage failed"), "{refused}");
    for sequence in 1..20 {
        assert_eq!(publish(&js, "other.a").await, Ok(sequence), "other streams go on");
    }

    let folder = broker.stop().await;
    std::fs::remove_file(next).expect("unlinked");
    config.data = folder.path().to_owned();
    let broker = Broker::start_with(config, folder).await;
    let js = broker.jetstream().await;
    let state = js.get_stream("full").await.expect("there").cached_info().state.clone();
    assert_eq!((state.messages, state.last_sequence), (stored, stored));
    assert_eq!(publish(&js, "full.a").await, Ok(stored + 1));
}

/// The disk is measured before anybody can write.
#[tokio::test]
async fn a_disk_that_is_nearly_full_takes_no_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = meeting(folder.path(), None);
    config.limits = Limits { min_free_disk: u64::MAX, ..Limits::default() };
    let broker = Broker::start_with(config, folder).await;
    let js = broker.jetstream().await;
    create(&js, "s").await;
    let refused = publish(&js, "s.a").await.expect_err("no room");
    assert!(refused.contains("insufficient storage"), "{refused}");
}
