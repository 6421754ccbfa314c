//! Which server works on which shard: leases in key-value, renewed by compare-and-set.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream::{self, kv};
use futures_util::StreamExt as _;
use plenum_meeting::{SHARDS, Shard, state::UnixMs};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::{debug, info};

use crate::{clock::Clock, layout::LEASE_BUCKET};

/// A holder renews this often.
const RENEW_EVERY: Duration = Duration::from_millis(1500);
/// A holder stops this long after *sending* its last good renewal: well before the lease can be somebody else's.
const STOP_AFTER: Duration = Duration::from_millis(3500);
/// Others try this often.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// A server that holds more than its share gives up one shard this often.
const SHED_EVERY: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(5) };

/// That each shard had a holder says so for this long: one that changes hands is without for a moment.
const COVERED_FOR: Duration = Duration::from_secs(10);

/// A held shard. Everything that is done for the shard ends when `ended` says so.
pub(crate) struct Lease {
    pub(crate) shard: Shard,
    /// Names this holder for ever.
    pub(crate) epoch: Epoch,
    pub(crate) ended: watch::Receiver<bool>,
}

/// Orders the holders of a shard: later ones are greater, also when the bucket of leases was made anew between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch {
    /// When the bucket was made, in Unix ms.
    bucket: UnixMs,
    /// Revision of the lease's creation in it.
    revision: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.bucket, self.revision)
    }
}

impl FromStr for Epoch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (bucket, revision) = text.split_once('_').ok_or(())?;
        Ok(Self { bucket: bucket.parse().map_err(|_| ())?, revision: revision.parse().map_err(|_| ())? })
    }
}

/// Takes part in the distribution of shards.
pub(crate) struct Leases {
    store: kv::Store,
    /// The stream behind it.
    stream: jetstream::stream::Stream<()>,
    server: String,
    /// Until when it is known that somebody works on each shard.
    covered: Arc<Mutex<Option<Instant>>>,
    clock: Clock,
}

impl Leases {
    pub(crate) async fn open(js: &jetstream::Context, server: String, clock: Clock) -> Result<Self, String> {
        let store = js.get_key_value(LEASE_BUCKET).await.map_err(|error| error.to_string())?;
        let stream =
            js.get_stream_no_info(format!("KV_{LEASE_BUCKET}")).await.map_err(|error| error.to_string())?;
        Ok(Self { store, stream, server, covered: Arc::default(), clock })
    }

    async fn bucket_made(&self) -> Result<UnixMs, String> {
        let info = self.stream.get_info().await.map_err(|error| error.to_string())?;
        Ok(u64::try_from(info.created.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
    }

    /// Says that this server lives, and reads the broker's time from when it was stored.
    pub(crate) async fn sign_of_life(&self) -> Result<(), String> {
        let key = format!("server.{}", self.server);
        let sent = self.clock.machine();
        let revision = self.store.put(&key, "".into()).await.map_err(|error| error.to_string())?;
        let acknowledged = self.clock.machine();
        let entry = self.store.entry(&key).await.map_err(|error| error.to_string())?;
        if let Some(entry) = entry.filter(|entry| entry.revision == revision) {
            let stored_ms = entry.created.unix_timestamp_nanos() / 1_000_000;
            self.clock.observe(sent, u64::try_from(stored_ms).unwrap_or(0), acknowledged);
        }
        Ok(())
    }

    /// Tells whether somebody works on each shard, this server or another.
    pub(crate) fn coverage(&self) -> Coverage {
        Coverage { until: Arc::clone(&self.covered) }
    }

    /// Forgets all leases: for the only server on its broker, whose predecessor may have died with leases in hand.
    pub(crate) async fn clear(js: &jetstream::Context) -> Result<(), String> {
        let stream =
            js.get_stream_no_info(format!("KV_{LEASE_BUCKET}")).await.map_err(|error| error.to_string())?;
        stream.purge().await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Runs until `stop`; `work` is spawned for every lease and must end soon after [`Lease::ended`].
    pub(crate) async fn run<F, W>(self, mut stop: watch::Receiver<bool>, work: F)
    where
        F: Fn(Lease) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let leases = Arc::new(self);
        let work = Arc::new(work);
        let (fair_sender, fair) = watch::channel(usize::from(SHARDS));
        let mut shards = JoinSet::new();
        let share = Arc::new(Mutex::new(Share { held: 0, shed_at: None }));
        for shard in Shard::all() {
            let candidate = Candidate {
                leases: Arc::clone(&leases),
                shard,
                fair: fair.clone(),
                share: Arc::clone(&share),
                stop: stop.clone(),
            };
            let work = Arc::clone(&work);
            shards.spawn(async move { candidate.run(&*work).await });
        }
        let liveness = leases.keep_alive(fair_sender);
        tokio::select! {
            () = liveness => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        while shards.join_next().await.is_some() {}
        let _ = leases.store.delete(format!("server.{}", leases.server)).await;
    }

    /// Says that this server lives, and how many shards are a fair share.
    async fn keep_alive(&self, fair: watch::Sender<usize>) {
        let mut ticks = interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.sign_of_life().await {
                debug!(error = %error, "This server's sign of life was not taken");
                continue;
            }
            let Ok(mut keys) = self.store.keys().await else { continue };
            let (mut live, mut worked_on) = (0, 0);
            while let Some(Ok(key)) = keys.next().await {
                live += usize::from(key.starts_with("server."));
                worked_on += usize::from(key.starts_with("shard."));
            }
            fair.send_replace(usize::from(SHARDS).div_ceil(live.max(1)));
            if worked_on >= usize::from(SHARDS) {
                *self.covered.lock().expect("no code panics while it holds the coverage") =
                    Some(Instant::now() + COVERED_FOR);
            }
        }
    }
}

/// See [`Leases::coverage`].
#[derive(Clone)]
pub(crate) struct Coverage {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Coverage {
    pub(crate) fn is_full(&self) -> bool {
        let until = *self.until.lock().expect("no code panics while it holds the coverage");
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// What this server holds of all shards.
struct Share {
    held: usize,
    shed_at: Option<Instant>,
}

struct Candidate {
    leases: Arc<Leases>,
    shard: Shard,
    fair: watch::Receiver<usize>,
    share: Arc<Mutex<Share>>,
    stop: watch::Receiver<bool>,
}

impl Candidate {
    async fn run<F, W>(mut self, work: &F)
    where
        F: Fn(Lease) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        let key = format!("shard.{}", self.shard);
        loop {
            if *self.stop.borrow() {
                return;
            }
            let mut pause = TRY_EVERY;
            if self.has_room() && self.is_free(&key).await && self.takes_one_more() {
                let sent = Instant::now();
                if let Ok(revision) = self.leases.store.create(&key, self.leases.server.clone().into()).await
                {
                    let surplus = self.hold(&key, revision, sent, work).await;
                    if surplus {
                        // Somebody else's turn.
                        pause = SHED_EVERY;
                    }
                }
                self.share().held -= 1;
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.share().held < *self.fair.borrow()
    }

    /// Whether nobody holds the shard. Asked before a place is reserved: a server that has room for one more would give the
    /// place to those who try in vain, while the shard that is free waits for its turn.
    async fn is_free(&self, key: &str) -> bool {
        matches!(self.leases.store.get(key).await, Ok(None))
    }

    /// Reserves a place in this server's fair share, so that candidates side by side do not go beyond it.
    fn takes_one_more(&self) -> bool {
        let mut share = self.share();
        let takes = share.held < *self.fair.borrow();
        share.held += usize::from(takes);
        takes
    }

    /// Whether this shard is to be given up now: one at a time, and not while the last one is still on its way.
    fn sheds(&self) -> bool {
        let mut share = self.share();
        let surplus = share.held > *self.fair.borrow();
        let sheds = surplus && share.shed_at.is_none_or(|at| at.elapsed() >= SHED_EVERY);
        if sheds {
            share.shed_at = Some(Instant::now());
        }
        sheds
    }

    fn share(&self) -> std::sync::MutexGuard<'_, Share> {
        self.share.lock().expect("no code panics while it holds the share")
    }

    /// Holds the shard until it is lost, given up or not worked on any more. `true`: given up as surplus.
    async fn hold<F, W>(&mut self, key: &str, mut revision: u64, mut sent: Instant, work: &F) -> bool
    where
        F: Fn(Lease) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        let (end, ended) = watch::channel(false);
        // Without an answer the lease runs out by itself.
        let Ok(bucket) = self.leases.bucket_made().await else { return false };
        let lease = Lease { shard: self.shard, epoch: Epoch { bucket, revision }, ended };
        let mut task = tokio::spawn(work(lease));
        let taken = Instant::now();
        loop {
            let (stopping, finished) = tokio::select! {
                () = tokio::time::sleep_until(sent + RENEW_EVERY) => (false, false),
                _ = self.stop.wait_for(|stop| *stop) => (true, false),
                _ = &mut task => (false, true),
            };
            let surplus = !stopping && !finished && taken.elapsed() >= SHED_EVERY && self.sheds();
            if stopping || finished || surplus {
                // Drained first: the next holder begins after the last of our acknowledgements.
                end.send_replace(true);
                if !finished {
                    let _ = task.await;
                }
                let _ = self.leases.store.delete_expect_revision(key, Some(revision)).await;
                if surplus {
                    info!(shard = %self.shard, "Shard given up to another server");
                }
                return surplus;
            }
            let now = Instant::now();
            let renewal = self.leases.store.update(key, self.leases.server.clone().into(), revision);
            match tokio::time::timeout_at(sent + STOP_AFTER, renewal).await {
                Ok(Ok(next)) => {
                    revision = next;
                    sent = now;
                }
                Ok(Err(error)) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => {
                    info!(shard = %self.shard, "Shard lost");
                    break;
                }
                Ok(Err(error)) => {
                    debug!(error = %error, shard = %self.shard, "Lease not renewed, trying again");
                    if sent.elapsed() >= STOP_AFTER {
                        break;
                    }
                    sleep(Duration::from_millis(200)).await;
                }
                Err(_) => break,
            }
        }
        end.send_replace(true);
        let _ = task.await;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_holders_are_greater_also_in_a_bucket_made_anew() {
        let epoch = |bucket, revision| Epoch { bucket, revision };
        assert!(epoch(1, 9) < epoch(1, 10));
        assert!(epoch(1, 900) < epoch(2, 1));
        assert_eq!(epoch(17, 4).to_string().parse(), Ok(epoch(17, 4)));
        assert_eq!("17".parse::<Epoch>(), Err(()));
    }
}
