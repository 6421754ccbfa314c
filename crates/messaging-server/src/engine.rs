//! The broker with everything around it that acts: connections to wake, logs to write, a timer.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use plenum_messaging::{
    Broker, BrokerConfig, CloseReason, ConnectionId, Limits, Output, StreamId, Timestamp, Transport,
};
use tokio::sync::Notify;

use crate::{
    Config, StartError,
    clock::Clock,
    disk::{self, Disk, Outcome},
};

/// Reading pauses while more than this waits to be written to the disk.
const MAX_UNWRITTEN: usize = 64 << 20;

/// The shared state of a server.
pub(crate) struct Engine {
    inner: Mutex<Inner>,
    clock: Clock,
    pub(crate) limits: Limits,
    /// Wakes the timer when something is due earlier than it believes.
    timer: Notify,
    timer_at: AtomicI64,
    /// Wakes readers that waited for the disk.
    written: Notify,
    /// Where the logs are.
    data: PathBuf,
    disk_is_short: AtomicBool,
}

struct Inner {
    broker: Broker,
    links: std::collections::HashMap<ConnectionId, Arc<Link>>,
    disk: Disk,
}

/// Ends the process when the thread or task that holds it panics. Without time, or without a disk, the broker would go on
/// as if all were well while leases never end and publishers wait for ever; a supervisor starts a whole one again.
pub(crate) struct Fatal(pub(crate) &'static str);

impl Drop for Fatal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(message = self.0);
            std::process::abort();
        }
    }
}

/// A connection while its task runs. However that ends, by a panic too, the broker learns of it.
pub(crate) struct Connected {
    engine: Arc<Engine>,
    pub(crate) id: ConnectionId,
    pub(crate) link: Arc<Link>,
    /// Why it ends.
    pub(crate) reason: CloseReason,
}

impl Connected {
    pub(crate) fn new(engine: &Arc<Engine>, transport: Transport, host: &str) -> Connected {
        let (id, link) = engine.connect(transport, host);
        Connected { engine: Arc::clone(engine), id, link, reason: CloseReason::ClientClosed }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.engine.closed(self.id, self.reason);
    }
}

/// How the broker reaches the task of a connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) flush: Notify,
    pub(crate) resume: Notify,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Reads all logs and is ready for clients.
    pub(crate) fn open(config: Config, local_addr: SocketAddr) -> Result<Arc<Engine>, StartError> {
        let limits = config.limits.clone();
        let mut broker = Broker::new(
            BrokerConfig {
                server_name: config.server_name,
                accounts: config.accounts,
                system_account: config.system_account,
                auth_callout: config.auth_callout,
                limits: limits.clone(),
            },
            rand::random(),
        )?;
        broker.set_address(&local_addr.ip().to_string(), local_addr.port());
        let clock = Clock::new();
        let streams = config.data.join("streams");
        recover(&mut broker, &streams, &limits, clock.now())?;
        let engine = Arc::new_cyclic(|engine: &Weak<Engine>| Engine {
            inner: Mutex::new(Inner {
                broker,
                links: std::collections::HashMap::new(),
                disk: Disk::start(streams, engine),
            }),
            clock,
            limits,
            timer: Notify::new(),
            timer_at: AtomicI64::new(i64::MAX),
            written: Notify::new(),
            data: config.data,
            disk_is_short: AtomicBool::new(false),
        });
        // What recovery removed is written before the first client.
        engine.with(|_, _| {});
        engine.measure_disk();
        Ok(engine)
    }

    /// Does something with the broker, and carries out what comes of it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Broker, Timestamp) -> T) -> T {
        let mut inner = self.inner.lock();
        let now = self.clock.now();
        let result = work(&mut inner.broker, now);
        let Inner { broker, links, disk } = &mut *inner;
        while let Some(output) = broker.poll_output() {
            match output {
                Output::Flush(id) => {
                    if let Some(link) = links.get(&id) {
                        link.flush.notify_one();
                    }
                }
                Output::Resume(id) => {
                    if let Some(link) = links.get(&id) {
                        link.resume.notify_one();
                    }
                }
                Output::Log { stream, op, position } => disk.send(stream, op, position),
            }
        }
        if let Some(deadline) = broker.next_deadline()
            && deadline.0 < self.timer_at.load(Ordering::Relaxed)
        {
            self.timer_at.store(deadline.0, Ordering::Relaxed);
            self.timer.notify_one();
        }
        result
    }

    /// Takes in a connection.
    fn connect(&self, transport: Transport, host: &str) -> (ConnectionId, Arc<Link>) {
        let link = Arc::new(Link::default());
        let id = self.with(|broker, now| broker.handle_connect(transport, host, now));
        self.inner.lock().links.insert(id, Arc::clone(&link));
        // The greeting was ready before the link was known.
        link.flush.notify_one();
        metrics::gauge!("plenum_messaging_connections").increment(1.0);
        (id, link)
    }

    /// The socket of a connection is gone.
    fn closed(&self, id: ConnectionId, reason: CloseReason) {
        self.inner.lock().links.remove(&id);
        self.with(|broker, now| broker.handle_closed(id, reason, now));
        metrics::gauge!("plenum_messaging_connections").decrement(1.0);
    }

    /// Waits while the disk is behind.
    pub(crate) async fn disk_has_room(&self) {
        loop {
            let written = self.written.notified();
            if self.inner.lock().disk.unwritten() < MAX_UNWRITTEN {
                return;
            }
            written.await;
        }
    }

    pub(crate) fn disk_is_behind(&self) -> bool {
        self.inner.lock().disk.unwritten() >= MAX_UNWRITTEN
    }

    /// A batch is on the disk.
    pub(crate) fn batch_written(&self, outcomes: &[(StreamId, Outcome)]) {
        self.with(|broker, now| {
            for (stream, outcome) in outcomes {
                match outcome {
                    Outcome::Durable(position) => broker.handle_durable(*stream, *position, now),
                    Outcome::Failed(why) => broker.handle_log_failed(*stream, why, now),
                    Outcome::Removed(Ok(())) => broker.handle_removed(*stream, Ok(()), now),
                    Outcome::Removed(Err(why)) => broker.handle_removed(*stream, Err(why), now),
                }
            }
        });
        self.written.notify_waiters();
    }

    /// Asks the disk what is free on it. Where it does not say, the first write that fails does.
    fn measure_disk(&self) {
        let Some(free) = disk::free(&self.data) else { return };
        metrics::gauge!("plenum_messaging_disk_free_bytes").set(free as f64);
        let is_short = free <= self.limits.min_free_disk;
        match (self.disk_is_short.swap(is_short, Ordering::Relaxed), is_short) {
            (false, true) => tracing::error!(
                free_bytes = free,
                min_free_bytes = self.limits.min_free_disk,
                "The disk is nearly full: streams take no messages until there is room again"
            ),
            (true, false) => tracing::info!(free_bytes = free, "There is room on the disk again"),
            (false, false) | (true, true) => {}
        }
        self.with(|broker, _| broker.handle_disk_free(free));
    }

    /// Writes what is left and ends the writer threads.
    pub(crate) fn close_disk(&self) {
        let threads = self.inner.lock().disk.close();
        for thread in threads {
            // A writer that panicked has reported nothing as written.
            let _ = thread.join();
        }
    }
}

/// How often the disk is asked what is free on it.
const DISK_INTERVAL: Duration = Duration::from_secs(2);

/// Tells the broker what is free on the disk of the logs.
pub(crate) async fn watch_disk(engine: Arc<Engine>) {
    let mut ticks = tokio::time::interval(DISK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Arc::clone(&engine);
        // A network disk may keep its answer to itself for a while.
        let _ = tokio::task::spawn_blocking(move || asked.measure_disk()).await;
    }
}

/// How often counts become metrics.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Makes metrics of what the broker counts.
pub(crate) async fn report(engine: Arc<Engine>) {
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    loop {
        ticks.tick().await;
        let counts = engine.with(|broker, _| broker.statistics());
        for (name, count) in [
            ("plenum_messaging_messages_in", counts.messages_in),
            ("plenum_messaging_messages_out", counts.messages_out),
            ("plenum_messaging_slow_consumers", counts.slow_consumers),
            ("plenum_messaging_clients_refused", counts.refused),
            ("plenum_messaging_responses_refused", counts.responses_refused),
        ] {
            metrics::counter!(name).absolute(count);
        }
        for (name, count) in [
            ("plenum_messaging_streams", counts.streams),
            ("plenum_messaging_streams_failed", counts.streams_failed),
            ("plenum_messaging_consumers", counts.consumers),
        ] {
            metrics::gauge!(name).set(count as f64);
        }
    }
}

/// Calls the broker when something is due.
pub(crate) async fn keep_time(engine: Arc<Engine>) {
    let _fatal = Fatal("The timer of the broker panicked");
    loop {
        let (deadline, now) = {
            let inner = engine.inner.lock();
            let now = engine.clock.now();
            let deadline = inner.broker.next_deadline();
            engine.timer_at.store(deadline.map_or(i64::MAX, |at| at.0), Ordering::Relaxed);
            (deadline, now)
        };
        match deadline {
            None => engine.timer.notified().await,
            Some(at) if at > now => {
                // The system's clock may jump, so a long sleep is looked at again.
                let wait = at.since(now).min(Duration::from_secs(10));
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = engine.timer.notified() => continue,
                }
            }
            Some(_) => {
                engine.with(plenum_messaging::Broker::handle_timeout);
                // Others may have a turn when there is always something due.
                tokio::task::yield_now().await;
                continue;
            }
        }
        engine.with(plenum_messaging::Broker::handle_timeout);
    }
}

fn recover(
    broker: &mut Broker,
    streams: &PathBuf,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), StartError> {
    for (id, segments) in disk::streams(streams)? {
        let mut recovery = Broker::recovery(limits, id);
        for (at, segment) in segments.iter().enumerate() {
            let is_last = at + 1 == segments.len();
            let path = &segment.path;
            let problem = |source| StartError::Data { path: path.clone(), source };
            let data = std::fs::read(path).map_err(problem)?;
            let correct = recovery
                .segment(segment.number, &data, is_last)
                .map_err(|damaged| StartError::Damaged { path: path.clone(), offset: damaged.offset })?;
            if correct < data.len() as u64 {
                tracing::info!(
                    stream.id = id.0,
                    cut_bytes = data.len() as u64 - correct,
                    "Torn end of a log cut off"
                );
                disk::truncate(path, correct).map_err(problem)?;
            }
        }
        match broker.recover(recovery, now) {
            plenum_messaging::Recovered::Stream | plenum_messaging::Recovered::Incomplete => {}
            plenum_messaging::Recovered::UnknownAccount(account) => {
                tracing::warn!(
                    stream.id = id.0,
                    account,
                    "Log of an account that is not configured is left alone"
                );
            }
        }
    }
    Ok(())
}
