//! `plenum load`: how much does a media server carry? Plays any number of participants against a LiveKit-compatible server,
//! ours or another, and reports what came out.

mod absence;
mod clock;
mod opening;
mod options;
mod participant;
mod report;
mod socket;
mod source;
mod watched;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use clock::Clock;
use options::{Connections, Resolution};
use participant::{Outcome, Phase, Role, Shared, play};
use plenum_client::{Camera, LayerShape, Microphone, Signalling, access_token};
use report::{DelaySpreads, Generator, Joins, Report, Server, Spread, ms};
use source::Source;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use watched::Usage;

pub(crate) use options::Options;

/// After everybody has come, before the measurement: first pictures arrive, and congestion control finds its rate.
const SETTLING: Duration = Duration::from_secs(3);
/// Time between two pictures.
const FRAME: Duration = Duration::from_micros(33_333);
/// A key frame has that many times the packets of another picture.
const KEY_WEIGHT: u8 = 3;
/// Bytes of an Opus packet: 32 kbit/s.
const SOUND_LEN: usize = 80;
/// An answer to the first question comes sooner.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Everybody has left by then, or is left behind.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options) -> Result<()> {
    options.check()?;
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok().context("TLS was already set up")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_all().build()?;
    // On a worker: the main thread would be one more.
    let report = runtime.block_on(Box::pin(load(options)))?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    show(options, &report)?;
    ensure!(report.is_clean(), "not everybody came and stayed, or packets were damaged");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is the result")]
fn show(options: &Options, report: &Report) -> Result<()> {
    if options.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

async fn load(options: &Options) -> Result<Report> {
    let url = options.url.trim_end_matches('/').replacen("http", "ws", 1);
    let server = address(&url).await?;
    ask(options, &url).await?;
    let local = socket::local_address(server).context("no way leads to the server")?;
    let more = socket::other_addresses(local);
    let clock = Clock::new();
    let signalling = match options.connections {
        Connections::One => Signalling::OneConnection,
        Connections::Two => Signalling::TwoConnections,
    };
    let shared = Arc::new(Shared { url, local, more, signalling, clock });
    let usage = || {
        options
            .server_pid
            .map(|pid| Usage::of(pid).with_context(|| format!("--server-pid: no process {pid}")))
    };
    let before = usage().transpose()?;

    let mut crowd = Crowd::new(shared, options.people());
    // First those who only send, so that whoever comes later finds pictures.
    let (first, second): (Vec<Role>, Vec<Role>) =
        roles(options, clock).into_iter().partition(|role| !role.subscribes);
    let start = Instant::now();
    for group in [first, second] {
        crowd.enter(group, options.join_rate).await;
    }
    let joins = crowd.joins(start.elapsed());
    let joined = usage().transpose()?;
    sleep(SETTLING).await;

    let began = (Instant::now(), usage().transpose()?, Usage::of(std::process::id()).unwrap_or_default());
    crowd.phase.send_replace(Phase::Measuring);
    progress(format_args!("measuring for {:?}", options.duration));
    sleep(options.duration).await;
    let own = Usage::of(std::process::id()).unwrap_or_default().since(began.2);
    let (measured, ended) = (began.0.elapsed(), usage().transpose()?);
    let outcomes = crowd.leave().await;

    let watched = match (before, joined, began.1, ended) {
        (Some(before), Some(joined), Some(began), Some(ended)) => Some(Server {
            idle_kib: before.memory_kib,
            joining: joined.since(before),
            measuring: ended.since(began),
            cpu_us_per_packet: None,
            cpu_ms_per_join: None,
        }),
        _ => None,
    };
    let mut report = Report {
        people: options.people(),
        rooms: options.rooms,
        joins,
        first_picture_ms: None,
        without_picture: 0,
        tracks: 0,
        tracks_expected: 0,
        measured,
        sent: 0,
        received: 0,
        missing: 0,
        repeated: 0,
        bytes: 0,
        opened: 0,
        damaged: 0,
        data: 0,
        delays_us: DelaySpreads::default(),
        srtp_profiles: BTreeMap::new(),
        lost: BTreeMap::new(),
        returns: BTreeMap::new(),
        return_ms: None,
        generator: Generator {
            cores: own.cpu.as_secs_f64() / measured.as_secs_f64().max(f64::EPSILON),
            late_ms: 0.0,
        },
        server: watched,
    };
    report.add(outcomes);
    report.finish();
    Ok(report)
}

/// Everybody who takes part.
struct Crowd {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<Outcome>,
    came: mpsc::UnboundedReceiver<Result<Duration, String>>,
    told: mpsc::UnboundedSender<Result<Duration, String>>,
    people: usize,
    times: Vec<Duration>,
    failed: BTreeMap<String, usize>,
}

impl Crowd {
    fn new(shared: Arc<Shared>, people: usize) -> Self {
        // Bounded by the number of people, each of whom tells once.
        let (told, came) = mpsc::unbounded_channel();
        Self {
            shared,
            phase: watch::Sender::new(Phase::Joining),
            tasks: JoinSet::new(),
            came,
            told,
            people,
            times: Vec::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Lets a group come at a rate, and waits until everybody is there or has failed.
    async fn enter(&mut self, group: Vec<Role>, rate: f64) {
        let (start, count) = (tokio::time::Instant::now(), group.len());
        for (role, nth) in group.into_iter().zip(0u32..) {
            if rate > 0.0 {
                sleep_until(start + Duration::from_secs_f64(f64::from(nth) / rate)).await;
            }
            self.tasks.spawn(play(self.shared.clone(), role, self.told.clone(), self.phase.subscribe()));
        }
        let before = self.told();
        while self.told() < before + count {
            match timeout(Duration::from_secs(2), self.came.recv()).await {
                Ok(Some(Ok(time))) => self.times.push(time),
                Ok(Some(Err(reason))) => *self.failed.entry(reason).or_default() += 1,
                // Each task tells before it ends, and `told` is kept here.
                Ok(None) => return,
                Err(_) => progress(format_args!("{} of {} have come", self.times.len(), self.people)),
            }
        }
        progress(format_args!("{} of {} have come", self.times.len(), self.people));
    }

    fn told(&self) -> usize {
        self.times.len() + self.failed.values().sum::<usize>()
    }

    fn joins(&mut self, took: Duration) -> Joins {
        let joined = self.times.len();
        Joins {
            joined,
            failed: std::mem::take(&mut self.failed),
            time_ms: Spread::of(self.times.drain(..).map(ms).collect()),
            per_second: joined as f64 / took.as_secs_f64().max(f64::EPSILON),
        }
    }

    /// Everybody leaves; what became of them.
    async fn leave(mut self) -> Vec<Outcome> {
        self.phase.send_replace(Phase::Ended);
        let mut outcomes = Vec::new();
        let all = async {
            while let Some(outcome) = self.tasks.join_next().await {
                outcomes.extend(outcome);
            }
        };
        if timeout(LEAVE_WITHIN, all).await.is_err() {
            progress(format_args!("not everybody has left in time"));
        }
        outcomes
    }
}

/// Everybody who is to come, room by room.
fn roles(options: &Options, clock: Clock) -> Vec<Role> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Whoever comes last still needs it, and servers renew it.
    let validity = Duration::from_secs(6 * 3_600);
    let mut roles = Vec::new();
    let tracks = options.video_publishers + options.audio_publishers + 2 * options.participants;
    for room in 0..options.rooms {
        let name = if options.rooms == 1 { options.room.clone() } else { format!("{}-{room}", options.room) };
        let mut add =
            |kind: &str, count: usize, sources: &dyn Fn() -> Vec<Source>, receives: bool, tracks: usize| {
                for nth in 0..count {
                    let identity = format!("{kind}-{nth}");
                    roles.push(Role {
                        token: access_token(
                            &options.api_key,
                            &options.api_secret.0,
                            &name,
                            &identity,
                            now,
                            validity,
                        ),
                        sources: sources(),
                        subscribes: receives,
                        tracks,
                        times_first_picture: kind == "subscriber" && options.video_publishers > 0,
                    });
                }
            };
        let camera = || camera(options, clock);
        let microphone = || microphone(clock);
        add("camera", options.video_publishers, &|| vec![camera()], false, 0);
        add("microphone", options.audio_publishers, &|| vec![microphone()], false, 0);
        add("data", options.data_publishers, &|| vec![data(options, clock)], false, 0);
        add(
            "participant",
            options.participants,
            &|| vec![camera(), microphone()],
            true,
            tracks.saturating_sub(2),
        );
        add("subscriber", options.subscribers, &Vec::new, true, tracks);
    }
    roles
}

fn camera(options: &Options, clock: Clock) -> Source {
    let [low, medium, high] = LayerShape::HD;
    let layers = match options.video_resolution {
        Resolution::Low => vec![low],
        Resolution::Medium => vec![low, medium],
        Resolution::High => vec![low, medium, high],
    };
    let layers = if options.no_simulcast { &layers[layers.len() - 1..] } else { &layers[..] };
    let camera =
        Camera::new(sometime(FRAME), layers, FRAME).with_key_weight(KEY_WEIGHT).with_epoch(clock.start);
    Source::Camera { camera: Box::new(camera), track: None, begun: false }
}

fn microphone(clock: Clock) -> Source {
    let begin = sometime(Duration::from_millis(20));
    Source::Microphone {
        microphone: Microphone::new(begin, SOUND_LEN).with_epoch(clock.start),
        track: None,
        begun: false,
    }
}

fn data(options: &Options, clock: Clock) -> Source {
    let interval = Duration::from_secs(1) / options.data_rate;
    Source::Data {
        next: sometime(interval),
        interval,
        len: options.data_len,
        epoch: clock.start,
        begun: false,
    }
}

/// A moment within an interval, so that not everybody sends at once.
fn sometime(interval: Duration) -> Instant {
    Instant::now() + interval.mul_f64(rand::random_range(0.0..1.0))
}

/// Where the server is.
async fn address(url: &str) -> Result<SocketAddr> {
    let uri: axum::http::Uri = url.parse().with_context(|| format!("--url: {url} is no URL"))?;
    let host = uri.host().with_context(|| format!("--url: {url} names no host"))?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("wss") { 443 } else { 80 });
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found =
        tokio::net::lookup_host((host, port)).await.with_context(|| format!("--url: {host} is not known"))?;
    found.next().with_context(|| format!("--url: {host} has no address"))
}

/// Asks the server whether it would let somebody in, before hundreds come.
async fn ask(options: &Options, url: &str) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let token = access_token(
        &options.api_key,
        &options.api_secret.0,
        &options.room,
        "load-test",
        now,
        Duration::from_secs(60),
    );
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
    let request = client.get(format!("{}/rtc/validate", url.replacen("ws", "http", 1))).bearer_auth(token);
    let answer = request.send().await.with_context(|| format!("--url: no answer from {url}"))?;
    match answer.status().as_u16() {
        200 => Ok(()),
        401 | 403 => {
            let text = answer.text().await.unwrap_or_default();
            bail!("the server does not take --api-key with --api-secret: {}", text.trim())
        }
        status => bail!("--url: {url} answers with HTTP status {status}: is it a LiveKit-compatible server?"),
    }
}

/// Says how far it is, beside the report.
fn progress(what: std::fmt::Arguments<'_>) {
    eprintln!("plenum load: {what}");
}
