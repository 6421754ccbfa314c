//! Webhooks: each room's events in order to each listener, signed, tried again, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use livekit_protocol::WebhookEvent;
use plenum_media::token::{ApiKeys, sign_webhook};
use tokio::sync::mpsc;

use crate::metrics_names as names;
use crate::tally::{Node, label};
use crate::{StartError, Webhook};

/// Events of a room that may wait for one listener: everybody of a large room coming at once, with two tracks each.
const QUEUE: usize = 4_000;
/// An event older than this is given up, so that a dead listener does not hold newer ones back (LiveKit's age).
const MAX_AGE: Duration = Duration::from_secs(30);
/// Time between the tries of one event.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];
/// Time for one try.
const TIMEOUT: Duration = Duration::from_secs(10);

/// All listeners.
#[derive(Clone)]
pub(crate) struct Webhooks {
    listeners: Arc<[Listener]>,
    client: reqwest::Client,
    node: Node,
    alive: mpsc::Sender<()>,
}

struct Listener {
    hook: Webhook,
    secret: String,
}

impl Webhooks {
    /// Checks the configuration. The receiver ends when every event has left and this is dropped.
    pub(crate) fn new(
        webhooks: &[Webhook],
        keys: &ApiKeys,
        node: Node,
    ) -> Result<(Self, mpsc::Receiver<()>), StartError> {
        let listeners = webhooks
            .iter()
            .map(|webhook| {
                let secret = keys
                    .secret(&webhook.api_key)
                    .ok_or_else(|| StartError::WebhookKey(webhook.api_key.clone()))?;
                if !webhook.url.starts_with("http://") && !webhook.url.starts_with("https://") {
                    return Err(StartError::WebhookUrl);
                }
                Ok(Listener { hook: webhook.clone(), secret: secret.to_owned() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent("LiveKit-compatible Plenum")
            .build()
            .map_err(|error| StartError::System(std::io::Error::other(error)))?;
        let (alive, all_sent) = mpsc::channel(1);
        Ok((Self { listeners: listeners.into(), client, node, alive }, all_sent))
    }

    /// The queues of a new room.
    pub(crate) fn for_room(&self) -> RoomWebhooks {
        let queues = (0..self.listeners.len())
            .map(|index| {
                let (sender, events) = mpsc::channel(QUEUE);
                let (hooks, alive) = (self.clone(), self.alive.clone());
                let counts = Arc::new(Counts { dropped: AtomicU32::new(0), node: self.node.clone() });
                let queue = Queue { events: sender, counts: counts.clone() };
                tokio::spawn(async move {
                    deliver(&hooks.listeners[index], &hooks.client, events, &counts).await;
                    drop(alive);
                });
                queue
            })
            .collect();
        RoomWebhooks { listeners: self.listeners.clone(), queues }
    }
}

/// The queues of one room, one for each listener.
#[derive(Default)]
pub(crate) struct RoomWebhooks {
    listeners: Arc<[Listener]>,
    queues: Vec<Queue>,
}

struct Queue {
    events: mpsc::Sender<(Instant, WebhookEvent)>,
    counts: Arc<Counts>,
}

/// What became of one queue's events.
struct Counts {
    /// Events that did not reach the listener; the next one that does says how many.
    dropped: AtomicU32,
    node: Node,
}

impl Counts {
    fn lost(&self, reason: &'static str) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(names::WEBHOOKS_LOST, "reason" => reason).increment(1);
        self.node.count(names::LIVEKIT_WEBHOOKS, &[label("status", "drop"), label("reason", reason)]);
    }

    /// One has arrived, and with it the word of those that did not.
    fn arrived(&self, dropped: u32) {
        self.dropped.fetch_sub(dropped, Ordering::Relaxed);
        self.node.count(names::LIVEKIT_WEBHOOKS, &[label("status", "success"), label("reason", "")]);
    }
}

impl RoomWebhooks {
    /// Sends an event to everybody who wants it, unless their queue is full.
    pub(crate) fn post(&self, event: &WebhookEvent) {
        for (listener, queue) in self.listeners.iter().zip(&self.queues) {
            if listener.hook.wants(&event.event)
                && queue.events.try_send((Instant::now(), event.clone())).is_err()
            {
                queue.counts.lost("queue_full");
            }
        }
    }
}

async fn deliver(
    listener: &Listener,
    client: &reqwest::Client,
    mut events: mpsc::Receiver<(Instant, WebhookEvent)>,
    counts: &Counts,
) {
    while let Some((made, mut event)) = events.recv().await {
        if made.elapsed() >= MAX_AGE {
            counts.lost("too_old");
            continue;
        }
        let missing = counts.dropped.load(Ordering::Relaxed);
        say_dropped(&mut event, missing);
        let Ok(body) = serde_json::to_vec(&event) else { continue };
        let mut backoff = BACKOFF.into_iter();
        loop {
            match post(listener, client, body.clone()).await {
                Ok(()) => {
                    counts.arrived(missing);
                    break;
                }
                Err(Attempt::Final(error)) => {
                    tracing::warn!(%error, event = event.event, "A webhook was refused");
                    counts.lost("refused");
                    break;
                }
                Err(Attempt::Again(error)) => match backoff.next() {
                    Some(wait) if made.elapsed() + wait < MAX_AGE => tokio::time::sleep(wait).await,
                    _ => {
                        tracing::warn!(%error, event = event.event, "A webhook could not be delivered");
                        counts.lost("unreachable");
                        break;
                    }
                },
            }
        }
    }
}

#[expect(deprecated, reason = "receivers still read it, and nothing else tells them")]
fn say_dropped(event: &mut WebhookEvent, dropped: u32) {
    event.num_dropped = dropped.cast_signed();
}

enum Attempt {
    Again(String),
    Final(String),
}

async fn post(listener: &Listener, client: &reqwest::Client, body: Vec<u8>) -> Result<(), Attempt> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Signed for each try: the signature lives five minutes.
    let token = sign_webhook(&body, &listener.hook.api_key, &listener.secret, now);
    let request = client
        .post(&listener.hook.url)
        .header("content-type", "application/webhook+json")
        .header("authorization", token)
        .body(body);
    // The URL may hold a password, so errors are told without it.
    let response = request.send().await.map_err(|error| Attempt::Again(error.without_url().to_string()))?;
    let status = response.status();
    if status.is_success() {
        Ok(())
    } else if status.is_client_error() && status.as_u16() != 429 {
        Err(Attempt::Final(status.to_string()))
    } else {
        Err(Attempt::Again(status.to_string()))
    }
}
