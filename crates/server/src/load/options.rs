//! What `plenum load` is told. Where `lk perf load-test` has a flag for something, it is the same one.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::connections::connections_max;

/// More participants than one process can play.
const PARTICIPANTS_MAX: usize = 20_000;
/// Descriptors of a participant: a signal connection, and a socket for each of two media connections.
const FILES_EACH: usize = 3;

#[derive(Args)]
pub(crate) struct Options {
    /// The server.
    #[arg(long, env = "LIVEKIT_URL", value_name = "URL", default_value = "ws://127.0.0.1:7880")]
    pub(super) url: String,
    /// An API key of the server.
    #[arg(long, env = "LIVEKIT_API_KEY", value_name = "KEY")]
    pub(super) api_key: String,
    /// Its secret; better in the environment, where other users of the machine do not see it.
    #[arg(long, env = "LIVEKIT_API_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub(super) api_secret: Secret,
    /// Rooms; what follows is for each of them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) rooms: usize,
    /// Name of the room, or of each room before a number.
    #[arg(long, value_name = "NAME", default_value = "load-test")]
    pub(super) room: String,
    /// People who publish camera and microphone and receive everybody.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) participants: usize,
    /// People who publish a camera and receive nothing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) video_publishers: usize,
    /// People who publish a microphone and receive nothing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) audio_publishers: usize,
    /// People who send data and receive no media.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) data_publishers: usize,
    /// Data packets that each of them sends in a second.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) data_rate: u32,
    /// Bytes of each.
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub(super) data_len: usize,
    /// People who receive everything and publish nothing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) subscribers: usize,
    /// What cameras publish: 720p, 360p or 180p of 1,700, 500 or 150 kbit/s.
    #[arg(long, value_enum, default_value_t = Resolution::High)]
    pub(super) video_resolution: Resolution,
    /// Cameras publish one layer only.
    #[arg(long)]
    pub(super) no_simulcast: bool,
    /// People who come in a second; 0: all at once.
    #[arg(long, visible_alias = "num-per-second", value_name = "N", default_value_t = 20.0)]
    pub(super) join_rate: f64,
    /// Time that is measured after everybody has come.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    pub(super) duration: Duration,
    /// Connections of a participant: two as the SDKs for Go and mobile devices have, or one as those for browsers.
    #[arg(long, value_enum, default_value_t = Connections::Two)]
    pub(super) connections: Connections,
    /// Threads that play the participants.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) threads: usize,
    /// Process of the server, if it runs on this machine: the report says what it needs.
    #[arg(long, value_name = "PID")]
    pub(super) server_pid: Option<u32>,
    /// The report is JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A secret that is not shown.
#[derive(Clone)]
pub(crate) struct Secret(pub(super) String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Resolution {
    Low,
    Medium,
    High,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Connections {
    One,
    Two,
}

impl Options {
    /// How many people come.
    pub(super) fn people(&self) -> usize {
        let each = [
            self.participants,
            self.video_publishers,
            self.audio_publishers,
            self.data_publishers,
            self.subscribers,
        ];
        each.iter().fold(0, |sum: usize, count| sum.saturating_add(*count)).saturating_mul(self.rooms)
    }

    /// # Errors
    /// Names the flag that is wrong.
    pub(super) fn check(&self) -> Result<()> {
        let people = self.people();
        ensure!(
            people > 0,
            "nobody would come: give --participants, --video-publishers, --audio-publishers, --data-publishers or --subscribers"
        );
        ensure!(
            people <= PARTICIPANTS_MAX,
            "{people} people are more than one process can play ({PARTICIPANTS_MAX}): start several, with different --room"
        );
        let files = connections_max();
        ensure!(
            people.saturating_mul(FILES_EACH) <= files,
            "{people} people need {} open files, and {files} are left: raise `ulimit -n`",
            people * FILES_EACH
        );
        let has_scheme =
            ["ws://", "wss://", "http://", "https://"].iter().any(|scheme| self.url.starts_with(scheme));
        ensure!(has_scheme, "--url: {} begins with none of ws://, wss://, http:// and https://", self.url);
        ensure!(!self.api_key.is_empty(), "--api-key is empty");
        ensure!(!self.api_secret.0.is_empty(), "--api-secret is empty");
        ensure!((1..=64).contains(&self.threads), "--threads: from 1 to 64");
        ensure!(
            self.join_rate >= 0.0 && self.join_rate.is_finite(),
            "--join-rate: 0 or more people a second"
        );
        ensure!((1..=1_000).contains(&self.data_rate), "--data-rate: from 1 to 1000 packets a second");
        ensure!((16..=15_000).contains(&self.data_len), "--data-len: from 16 to 15000 bytes");
        let day = Duration::from_secs(24 * 3_600);
        ensure!(self.duration <= day, "--duration: at most a day");
        Ok(())
    }
}
