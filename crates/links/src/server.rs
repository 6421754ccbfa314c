//! A media server in its namespace: ours, or livekit-server.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use plenum_client::access_token;

use crate::network::{Network, SERVER};

const PORT: u16 = 7880;
const KEY: &str = "links";
const SECRET: &str = "a-secret-of-at-least-32-characters";
/// The room that everybody comes into.
const ROOM: &str = "room";
/// A server that does not listen after this long does not start.
const START_WITHIN: Duration = Duration::from_secs(20);
/// Time between two looks whether it listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longer than any call.
const VALIDITY: Duration = Duration::from_secs(3_600);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ours: `plenum media`.
    Plenum,
    /// The stock livekit-server.
    Livekit,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plenum => "plenum",
            Self::Livekit => "livekit",
        }
    }
}

/// A program that can be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// Which server it is.
    pub kind: Kind,
    /// Where it lies.
    pub path: PathBuf,
}

/// A server that runs; it ends with this value.
pub struct Server(Child);

impl Server {
    /// Starts it in its namespace, with its output in a file, and waits until it listens.
    pub fn start(network: &Network, program: &Program, log: &Path) -> Result<Self> {
        let path = program.path.display();
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        // Both understand the same configuration. What is not said here is as each has it by default.
        let configuration = format!(
            "port: {PORT}\n\
             bind_addresses: [{SERVER}]\n\
             rtc: {{udp_port: 7882, tcp_port: 7881, use_external_ip: false, node_ip: {SERVER}}}\n\
             keys: {{{KEY}: {SECRET}}}\n"
        );
        network.server.run(|| {
            let mut command = Command::new(&program.path);
            if program.kind == Kind::Plenum {
                command.arg("media");
            }
            command.env("LIVEKIT_CONFIG", configuration).stdin(Stdio::null());
            command.stdout(output.try_clone()?).stderr(output);
            let mut server = Self(command.spawn().with_context(|| format!("starting {path}"))?);
            let end = Instant::now() + START_WITHIN;
            while TcpStream::connect((SERVER, PORT)).is_err() {
                if let Some(status) = server.0.try_wait()? {
                    bail!("{path} ended with {status} while it started: {}", log.display());
                }
                if Instant::now() > end {
                    bail!("{path} does not listen after {START_WITHIN:?}: {}", log.display());
                }
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(server)
        })
    }

    /// `ws://host:port`
    pub fn url() -> String {
        format!("ws://{SERVER}:{PORT}")
    }

    /// A token that lets somebody into the room.
    pub fn token(name: &str) -> String {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        access_token(KEY, SECRET, ROOM, name, unix, VALIDITY)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that would have to be kept.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
