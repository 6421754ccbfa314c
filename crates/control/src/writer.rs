//! One writer per room in this process: it takes the commands that wait for the room, decides them one after the other on
//! one read, writes once, then answers each. Nobody else writes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use plenum_meeting::{Command, CreateRoom, Decision, Env, Refusal, Room, RoomId, state::Position};
use rand::RngExt as _;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};

use crate::{
    clock::Clock,
    outbox::{Executor, Outbox},
    repository::{Repository, StoreError, Stored},
    steps::{Step, Steps},
    token::rng,
};

/// Most commands decided on one read.
const BATCH_LEN_MAX: usize = 64;
/// Commands that may wait for one room; beyond, callers wait for a place.
const QUEUE_LEN_MAX: usize = 1024;
/// A writer without work goes after this long.
const IDLE: Duration = Duration::from_secs(60);
/// Done effects leave with the next write, or alone after this long.
const DONE_DELAY: Duration = Duration::from_secs(1);
/// A caller hears "busy" when its command could not be decided for this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// A record that a command would make larger than this is not written: the broker takes messages up to 1 MiB.
const RECORD_BYTES_MAX: usize = 900 * 1024;

/// Why a command was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// The meeting's rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The broker is out of reach; it may be done or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A decided command, with the record as of then.
#[derive(Clone)]
pub struct Outcome {
    /// What was decided.
    pub decision: Decision,
    /// The record after the batch.
    pub room: Arc<Room>,
}

enum Work {
    Create { request: Box<CreateRoom>, run: u64 },
    Command { command: Box<Command>, position: Option<Position> },
}

type Answers = Vec<Result<Outcome, CommandError>>;
type Decided = Vec<Result<Decision, Refusal>>;

struct Request {
    /// Decided in this order; after one that has to wait none is.
    works: Vec<Work>,
    since: Instant,
    answer: oneshot::Sender<Answers>,
}

/// A write that was not answered: the next look at the record tells whether it was done.
struct Unsettled {
    nonce: u64,
    decided: Vec<Decided>,
    room: Room,
}

/// The writers of this process.
#[derive(Clone)]
pub(crate) struct Writers {
    shared: Arc<Shared>,
}

struct Shared {
    repository: Repository,
    executor: Executor,
    rooms: Mutex<HashMap<RoomId, Handle>>,
    /// The process is about to end: writers leave as soon as they have nothing to do.
    closing: AtomicBool,
}

#[derive(Clone)]
struct Handle {
    requests: mpsc::Sender<Request>,
    outbox: Outbox,
    /// Makes the writer look whether it may leave.
    wake: Arc<Notify>,
}

impl Writers {
    pub(crate) fn new(repository: Repository, executor: Executor) -> Self {
        Self {
            shared: Arc::new(Shared {
                repository,
                executor,
                rooms: Mutex::default(),
                closing: AtomicBool::new(false),
            }),
        }
    }

    /// Does a command. `Ok` means that it is written.
    ///
    /// # Errors
    /// Refused, or the broker is out of reach.
    pub(crate) async fn command(&self, room: &RoomId, command: Command) -> Result<Outcome, CommandError> {
        self.one(room, Work::Command { command: Box::new(command), position: None }).await
    }

    /// Does commands of the worker stream, each once and in this order: when one has to wait, those behind it were not
    /// decided either. One answer for each.
    pub(crate) async fn sequenced(&self, room: &RoomId, commands: Vec<(Position, Command)>) -> Answers {
        if commands.is_empty() {
            return Vec::new();
        }
        let work =
            |(position, command)| Work::Command { command: Box::new(command), position: Some(position) };
        self.submit(room, commands.into_iter().map(work).collect()).await
    }

    /// Creates a room, or finds it running.
    pub(crate) async fn create(&self, request: CreateRoom, run: u64) -> Result<Outcome, CommandError> {
        let room = request.room_id.clone();
        self.one(&room, Work::Create { request: Box::new(request), run }).await
    }

    /// Does what a record's outbox says, where this process does not already.
    pub(crate) fn adopt(&self, id: &RoomId, room: &Room) {
        self.handle(id).outbox.submit(room);
    }

    /// Waits until the messages that were decided until now are out. `false`: not within `patience`.
    pub(crate) async fn flushed(&self, id: &RoomId, patience: Duration) -> bool {
        let handle = self.handle(id);
        handle.outbox.flushed(patience).await
    }

    /// Returns when everything that was decided is done and nothing waits. The caller sets the time limit.
    pub(crate) async fn drain(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        loop {
            {
                let rooms =
                    self.shared.rooms.lock().expect("no code panics while it holds the list of writers");
                if rooms.is_empty() {
                    return;
                }
                for handle in rooms.values() {
                    handle.wake.notify_one();
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn one(&self, room: &RoomId, work: Work) -> Result<Outcome, CommandError> {
        self.submit(room, vec![work]).await.pop().unwrap_or_else(|| Err(stopping()))
    }

    async fn submit(&self, room: &RoomId, works: Vec<Work>) -> Answers {
        let count = works.len();
        let (answer, answered) = oneshot::channel();
        let mut request = Request { works, since: Instant::now(), answer };
        // A writer that went idle at this moment hands the request back.
        loop {
            let handle = self.handle(room);
            match handle.requests.send(request).await {
                Ok(()) => break,
                Err(mpsc::error::SendError(back)) => {
                    self.forget(room, &handle);
                    request = back;
                }
            }
        }
        answered.await.unwrap_or_else(|_| (0..count).map(|_| Err(stopping())).collect())
    }

    fn handle(&self, room: &RoomId) -> Handle {
        let mut rooms = self.shared.rooms.lock().expect("no code panics while it holds the list of writers");
        if let Some(handle) = rooms.get(room).filter(|handle| !handle.requests.is_closed()) {
            return handle.clone();
        }
        let (requests, queue) = mpsc::channel(QUEUE_LEN_MAX);
        let (done_sender, done) = mpsc::unbounded_channel();
        let outbox = self.shared.executor.outbox(room.clone(), done_sender);
        let wake = Arc::new(Notify::new());
        let writer = Writer {
            room: room.clone(),
            shared: Arc::downgrade(&self.shared),
            repository: self.shared.repository.clone(),
            outbox: outbox.clone(),
            queue,
            done,
            waiting: Vec::new(),
            finished: Vec::new(),
            finished_at: None,
            unsettled: None,
            wake: Arc::clone(&wake),
            steps: self.shared.executor.steps.clone(),
            clock: self.shared.executor.clock.clone(),
        };
        let span = info_span!("room", room.id = %room, room.sid = field::Empty);
        tokio::spawn(writer.run().instrument(span));
        let handle = Handle { requests, outbox, wake };
        rooms.insert(room.clone(), handle.clone());
        handle
    }

    fn forget(&self, room: &RoomId, handle: &Handle) {
        let mut rooms = self.shared.rooms.lock().expect("no code panics while it holds the list of writers");
        if rooms.get(room).is_some_and(|held| held.requests.same_channel(&handle.requests)) {
            rooms.remove(room);
        }
    }
}

struct Writer {
    room: RoomId,
    shared: Weak<Shared>,
    repository: Repository,
    outbox: Outbox,
    queue: mpsc::Receiver<Request>,
    /// Effects that were done. Unbounded in type, bounded in fact: a record holds at most 64 effects and a few more.
    done: mpsc::UnboundedReceiver<u64>,
    waiting: Vec<Request>,
    finished: Vec<u64>,
    finished_at: Option<Instant>,
    unsettled: Option<Unsettled>,
    wake: Arc<Notify>,
    steps: Steps,
    clock: Clock,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let wake_at = match (self.waiting.is_empty(), self.finished_at) {
                (false, _) => Instant::now() + Duration::from_millis(20),
                (true, Some(at)) => at + DONE_DELAY,
                (true, None) => Instant::now() + IDLE,
            };
            let mut may_leave = false;
            let wake = Arc::clone(&self.wake);
            tokio::select! {
                biased;
                Some(id) = self.done.recv() => self.note_done(id),
                request = self.queue.recv(), if self.waiting.is_empty() => match request {
                    Some(request) => self.waiting.push(request),
                    None => return,
                },
                () = wake.notified() => may_leave = true,
                () = tokio::time::sleep_until(wake_at) => may_leave = self.finished_at.is_none(),
            }
            while let Ok(id) = self.done.try_recv() {
                self.note_done(id);
            }
            while self.waiting.len() < BATCH_LEN_MAX {
                match self.queue.try_recv() {
                    Ok(request) => self.waiting.push(request),
                    Err(_) => break,
                }
            }
            let closing = self.shared.upgrade().is_none_or(|shared| shared.closing.load(Ordering::Relaxed));
            let alone = self.finished_at.is_some_and(|at| closing || at.elapsed() >= DONE_DELAY);
            if !self.waiting.is_empty() || alone {
                self.batch().await;
            } else if may_leave && self.outbox.is_idle() {
                break self.leave();
            }
        }
    }

    /// No new request comes in; what came in meanwhile is handed back by the closed channel's sender.
    fn leave(mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut rooms = shared.rooms.lock().expect("no code panics while it holds the list of writers");
        self.queue.close();
        if rooms.get(&self.room).is_some_and(|held| held.requests.is_closed()) {
            rooms.remove(&self.room);
        }
        drop(rooms);
        let room = self.room.clone();
        let writers = Writers { shared };
        while let Ok(request) = self.queue.try_recv() {
            let (writers, room) = (writers.clone(), room.clone());
            tokio::spawn(async move {
                let answers = writers.submit(&room, request.works).await;
                let _ = request.answer.send(answers);
            });
        }
    }

    fn note_done(&mut self, id: u64) {
        self.finished.push(id);
        self.finished_at.get_or_insert_with(Instant::now);
    }

    /// Decides what waits, until it is written or the callers' patience ends.
    async fn batch(&mut self) {
        let mut attempt: u32 = 0;
        loop {
            let error = match self.attempt().await {
                Ok(()) => return,
                Err(error) => error,
            };
            let expired = self.waiting.first().is_none_or(|request| request.since.elapsed() >= PATIENCE);
            if expired || matches!(error, StoreError::Damaged(_)) {
                if !self.waiting.is_empty() {
                    warn!(error = %error, commands.count = self.waiting.len(), "Commands could not be written");
                }
                self.unsettled = None;
                for request in self.waiting.drain(..) {
                    let answers = request.works.iter().map(|_| Err(error.clone().into())).collect();
                    let _ = request.answer.send(answers);
                }
                // What is only to be noted as done waits for its next turn.
                if self.finished_at.is_some() {
                    self.finished_at = Some(Instant::now());
                }
                return;
            }
            if matches!(error, StoreError::Conflict) {
                debug!("Another server wrote the room's record, deciding again");
                let pause = rand::rng().random_range(5..20);
                sleep(Duration::from_millis(pause)).await;
            } else {
                attempt += 1;
                sleep(Duration::from_millis(100 * u64::from(attempt.min(10)))).await;
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), StoreError> {
        let stored = self.repository.load(&self.room).await?;
        self.steps.reached(Step::Read).await;
        if let Some(unsettled) = self.unsettled.take()
            && stored.as_ref().is_some_and(|stored| stored.room.has_write(unsettled.nonce))
        {
            self.written(unsettled.room, unsettled.decided).await;
            return Ok(());
        }
        let revision = stored.as_ref().map(|stored| stored.revision);
        let before = stored.map(|Stored { room, .. }| room);
        let mut room = before.clone();
        let mut rng = rng();
        let now = self.clock.now();

        if let Some(room) = &mut room
            && !self.finished.is_empty()
        {
            let done = Command::Done(self.finished.clone());
            let _ = room.decide(done, &mut Env { now, rng: &mut rng });
        }

        let mut decided: Vec<Decided> = Vec::with_capacity(self.waiting.len());
        for request in &self.waiting {
            let patient = request.since.elapsed() < PATIENCE;
            let Some(answers) = decide_all(&mut room, request, patient, &mut Env { now, rng: &mut rng })
            else {
                // This one and those behind it wait until effects are done: their order holds.
                break;
            };
            decided.push(answers);
        }

        if room == before {
            self.answer(room.unwrap_or_default(), decided);
            return Ok(());
        }
        let mut room = room.unwrap_or_default();
        let nonce = rng.random();
        room.stamp(nonce);
        match self.write(&room, revision, nonce).await {
            Ok(()) => {
                self.written(room, decided).await;
                Ok(())
            }
            Err(error) => {
                self.unsettled = Some(Unsettled { nonce, decided, room });
                Err(error)
            }
        }
    }

    async fn written(&mut self, room: Room, decided: Vec<Decided>) {
        self.steps.reached(Step::Written).await;
        Span::current().record("room.sid", room.sid.as_str());
        debug!(
            room.v = room.v,
            commands.count = decided.len(),
            effects.count = room.outbox.len(),
            "Room written"
        );
        self.outbox.submit(&room);
        self.finished.clear();
        self.finished_at = None;
        self.answer(room, decided);
        self.steps.reached(Step::Answered).await;
    }

    fn answer(&mut self, room: Room, decided: Vec<Decided>) {
        let room = Arc::new(room);
        for (request, decided) in self.waiting.drain(..decided.len()).zip(decided) {
            let outcome = |decision: Result<Decision, Refusal>| {
                decision
                    .map(|decision| Outcome { decision, room: Arc::clone(&room) })
                    .map_err(CommandError::from)
            };
            let _ = request.answer.send(decided.into_iter().map(outcome).collect());
        }
    }

    /// Compare-and-set; a write without an answer is settled by reading. [`StoreError::Conflict`] only when somebody else
    /// wrote: a write that the broker does not take ends with the callers' patience.
    async fn write(&self, room: &Room, revision: Option<u64>, nonce: u64) -> Result<(), StoreError> {
        let refused = match timeout(PATIENCE, self.repository.store(&self.room, room, revision)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(StoreError::Conflict)) => StoreError::Conflict,
            Ok(Err(error)) => {
                info!(error = %error, "A write was not answered, looking whether it was done");
                error
            }
            Err(_) => StoreError::Silent("a write was not answered in time".to_owned()),
        };
        match self.repository.load(&self.room).await? {
            Some(stored) if stored.room.has_write(nonce) => Ok(()),
            stored if stored.as_ref().map(|stored| stored.revision) == revision => Err(refused),
            _ => Err(StoreError::Conflict),
        }
    }
}

fn stopping() -> CommandError {
    StoreError::Silent("the server is stopping".to_owned()).into()
}

/// What must be decided even when the outbox is full: it makes room or must not be lost.
fn may_wait(work: &Work) -> bool {
    match work {
        Work::Create { .. } => true,
        Work::Command { command, .. } => !matches!(
            **command,
            Command::Done(_)
                | Command::Close { .. }
                | Command::ConnectionClosed { .. }
                | Command::ConnectionsSilent(_)
                | Command::ConnectionUp { .. }
        ),
    }
}

/// `None`: the first of them has to wait, and may.
fn decide_all(
    room: &mut Option<Room>,
    request: &Request,
    patient: bool,
    env: &mut Env<'_>,
) -> Option<Decided> {
    let mut decided = Decided::with_capacity(request.works.len());
    for work in &request.works {
        let one = decide(room, work, env);
        if matches!(one, Err(Refusal::Busy)) && may_wait(work) && matches!(work, Work::Command { .. }) {
            if decided.is_empty() && patient {
                return None;
            }
            decided.resize_with(request.works.len(), || Err(Refusal::Busy));
            break;
        }
        decided.push(one);
    }
    Some(decided)
}

fn decide(room: &mut Option<Room>, work: &Work, env: &mut Env<'_>) -> Result<Decision, Refusal> {
    let (command, position) = match work {
        Work::Create { request, run } => {
            let next = request.as_ref().clone().into_room(*run, env);
            let created = match room.as_ref() {
                Some(held) => held.recreated(next)?,
                None => next,
            };
            *room = Some(created);
            return Ok(Decision::default());
        }
        Work::Command { command, position } => (command, position),
    };
    let Some(room) = room else { return Err(Refusal::RoomUnknown) };
    let repeatable = matches!(&**command, Command::FromClient { event, .. } if event.is_repeatable());
    if !repeatable && position.is_some_and(|position| room.has_applied(position)) {
        return Ok(Decision::default());
    }
    let before = room.clone();
    let decision = room.decide(command.as_ref().clone(), env);
    debug_assert!(decision.is_ok() || *room == before, "a refused command leaves the record as it was");
    let decision = decision?;
    if *room == before {
        return Ok(decision);
    }
    // Only a command that wants something done has to wait for a place: lists, pings and chat go on.
    let crowded = room.next_effect > before.next_effect && !before.has_room_for_effects() && may_wait(work);
    let size = prost::Message::encoded_len(room);
    if crowded || (size > RECORD_BYTES_MAX && size > prost::Message::encoded_len(&before)) {
        *room = before;
        return Err(Refusal::Busy);
    }
    if let Some(position) = position {
        room.apply(*position);
    }
    Ok(decision)
}
