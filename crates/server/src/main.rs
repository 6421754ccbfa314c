//! `plenum`: a meeting server in one binary. This file is the command line; what it starts is in [`serve`].

mod config;
mod connections;
mod data;
mod gate;
mod load;
mod peers;
mod pillars;
mod process;
mod proxy;
mod reach;
mod serve;
mod standalone;
mod status;
mod surface;
mod tunnel;
mod web;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use config::{Config, Secrets};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-hosted meeting server in one binary.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Role {
    /// Runs the server; the same as no subcommand.
    Serve(Options),
    /// Prints the configuration as it holds, with secrets hidden.
    Config {
        #[command(flatten)]
        options: Options,
        /// Of a stock server that takes a pillar's place, instead.
        peer: Option<Peer>,
    },
    /// Makes a one-time link that signs a host in.
    HostLink(Options),
    /// Runs the media server alone, in livekit-server's place: with its flags, environment and configuration keys.
    #[command(version = MEDIA_VERSION)]
    Media(standalone::Options),
    /// Plays participants against a media server, this one or another of LiveKit's protocol, and reports what it carried.
    Load(Box<load::Options>),
}

/// Ours, and the server whose protocol and API it speaks.
const MEDIA_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (as livekit-server 1.13.5)");

#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    /// The configuration of a matching nats-server.
    NatsServer,
    /// The configuration of a matching livekit-server.
    LivekitServer,
}

#[derive(Args, Clone, Default)]
struct Options {
    /// YAML file with the configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of everything that lasts [default: ./plenum-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port of the HTTP server [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    listen: Option<std::net::SocketAddr>,
}

impl Options {
    fn load(&self) -> Result<Config, config::ConfigError> {
        let mut overrides = Vec::new();
        if let Some(data) = &self.data {
            overrides.push(("data", data.to_string_lossy().into_owned().into()));
        }
        if let Some(listen) = &self.listen {
            overrides.push(("listen", listen.to_string().into()));
        }
        Config::load(self.config.as_deref(), std::env::vars_os(), &overrides)
    }
}

fn main() -> std::process::ExitCode {
    match run(Command::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // `anyhow`'s alternate form is one line with all causes.
            eprintln!("plenum: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "what a subcommand prints is its result")]
fn run(command: Command) -> anyhow::Result<()> {
    match command.role {
        None => serve::run(command.options.load()?),
        Some(Role::Serve(options)) => serve::run(options.load()?),
        Some(Role::Media(options)) => standalone::run(&options),
        Some(Role::Load(options)) => load::run(&options),
        Some(Role::Config { options, peer: None }) => {
            print!("{}", config::show(&options.load()?));
            Ok(())
        }
        Some(Role::Config { options, peer: Some(peer) }) => {
            let config = options.load()?;
            let secrets = Secrets::of_folder(&config.data)?;
            print!(
                "{}",
                match peer {
                    Peer::NatsServer => peers::nats_server(&config, &secrets)?,
                    Peer::LivekitServer => peers::livekit_server(&config, &secrets),
                }
            );
            Ok(())
        }
        Some(Role::HostLink(options)) => {
            let config = options.load()?;
            let links = plenum_api::HostLinks::new(data::existing(&config.data)?.join("host-links"));
            println!("{}/host#{}", reach::shown_url(&config), links.issue()?);
            Ok(())
        }
    }
}
