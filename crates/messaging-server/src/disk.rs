//! The logs on the disk: threads that append, flush once per batch, and report.
//!
//! `<data>/streams/<stream>/<segment>.log`. A stream always belongs to the same thread, so its operations
//! stay in order. A thread takes everything that waits, writes it, flushes each file that it touched once,
//! and only then says what is safe: many publishers share one flush.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use plenum_messaging::{LogOp, StreamId};

use crate::{
    StartError,
    engine::{Engine, Fatal},
};

/// Flushes wait for the disk and not for the processor, so a few threads help also on one core.
const THREADS: usize = 3;

struct Job {
    stream: StreamId,
    op: LogOp,
    position: u64,
}

/// The sending side, under the broker's lock.
pub(crate) struct Disk {
    threads: Vec<(Sender<Job>, JoinHandle<()>)>,
    unwritten: Arc<AtomicUsize>,
}

/// Bytes that share one flush at most, so that under steady load the first ones do not wait for all the others.
const MAX_BATCH: usize = 1 << 20;

/// What became of a stream's operations.
pub(crate) enum Outcome {
    /// Everything up to this position is on the disk.
    Durable(u64),
    /// Nothing is known about what is on the disk, and nothing is written any more.
    Failed(String),
    /// The stream is deleted, or why it is not.
    Removed(Result<(), String>),
}

impl Disk {
    pub(crate) fn start(folder: PathBuf, engine: &Weak<Engine>) -> Disk {
        let unwritten = Arc::new(AtomicUsize::new(0));
        let threads = (0..THREADS)
            .map(|number| {
                // The queue is bounded by bytes: readers pause while `unwritten` is large.
                let (sender, jobs) = channel();
                let writer = Writer {
                    folder: folder.clone(),
                    streams: HashMap::new(),
                    engine: engine.clone(),
                    unwritten: Arc::clone(&unwritten),
                };
                let thread = std::thread::Builder::new()
                    .name(format!("stream-log-{number}"))
                    .spawn(move || writer.run(&jobs))
                    .expect("the system can start a thread");
                (sender, thread)
            })
            .collect();
        Disk { threads, unwritten }
    }

    pub(crate) fn send(&mut self, stream: StreamId, op: LogOp, position: u64) {
        if self.threads.is_empty() {
            return;
        }
        self.unwritten.fetch_add(size(&op), Ordering::Relaxed);
        // The remainder is smaller than the number of threads.
        let number = (stream.0 % self.threads.len() as u64) as usize;
        // A thread ends when this end is dropped, or takes the process with it.
        let _ = self.threads[number].0.send(Job { stream, op, position });
    }

    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Takes no more. The threads end when they have written what they have.
    pub(crate) fn close(&mut self) -> Vec<JoinHandle<()>> {
        self.threads.drain(..).map(|(_, thread)| thread).collect()
    }
}

fn size(op: &LogOp) -> usize {
    match op {
        LogOp::Append { data, .. } => data.len(),
        LogOp::Drop { .. } | LogOp::Remove => 0,
    }
}

struct Writer {
    folder: PathBuf,
    streams: HashMap<StreamId, Open>,
    engine: Weak<Engine>,
    unwritten: Arc<AtomicUsize>,
}

/// A stream whose log is being written.
struct Open {
    folder: PathBuf,
    segment: u64,
    file: Option<File>,
    is_dirty: bool,
    failed: bool,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        let _fatal = Fatal("The writer of stream logs panicked");
        while let Ok(first) = jobs.recv() {
            let mut positions: HashMap<StreamId, u64> = HashMap::new();
            let mut outcomes = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(job) = next {
                bytes += size(&job.op);
                if let LogOp::Remove = job.op {
                    positions.remove(&job.stream);
                    outcomes.push((job.stream, Outcome::Removed(self.remove(job.stream))));
                } else {
                    match self.carry_out(&job) {
                        Ok(()) => {
                            positions.insert(job.stream, job.position);
                        }
                        Err(why) => self.fail(job.stream, &why, &mut outcomes),
                    }
                }
                next = if bytes < MAX_BATCH { jobs.try_recv().ok() } else { None };
            }
            for (stream, position) in positions {
                match self.streams.get_mut(&stream).map_or(Ok(()), Open::flush) {
                    Ok(()) if self.streams.get(&stream).is_some_and(|open| open.failed) => {}
                    Ok(()) => outcomes.push((stream, Outcome::Durable(position))),
                    Err(why) => self.fail(stream, &why, &mut outcomes),
                }
            }
            self.unwritten.fetch_sub(bytes, Ordering::Relaxed);
            metrics::counter!("plenum_messaging_log_batches").increment(1);
            metrics::counter!("plenum_messaging_log_bytes").increment(bytes as u64);
            if let Some(engine) = self.engine.upgrade() {
                engine.batch_written(&outcomes);
            }
        }
    }

    /// After a failure nothing is known about what is on the disk, so the stream is never written again.
    fn fail(&mut self, stream: StreamId, why: &io::Error, outcomes: &mut Vec<(StreamId, Outcome)>) {
        tracing::error!(stream.id = stream.0, error = %why, "Log of a stream cannot be written; the stream is closed");
        if let Some(open) = self.streams.get_mut(&stream) {
            open.failed = true;
        }
        outcomes.push((stream, Outcome::Failed(why.to_string())));
    }

    /// Deletes a stream, also one that could not be written any more.
    fn remove(&mut self, stream: StreamId) -> Result<(), String> {
        self.streams.remove(&stream);
        remove(&stream_folder(&self.folder, stream)).map_err(|why| {
            tracing::error!(stream.id = stream.0, error = %why, "Log of a deleted stream cannot be deleted");
            why.to_string()
        })
    }

    fn carry_out(&mut self, job: &Job) -> io::Result<()> {
        let open = self.streams.entry(job.stream).or_insert_with(|| Open {
            folder: stream_folder(&self.folder, job.stream),
            segment: 0,
            file: None,
            is_dirty: false,
            failed: false,
        });
        if open.failed {
            return Ok(());
        }
        match &job.op {
            LogOp::Append { segment, data } => open.append(*segment, data),
            LogOp::Drop { segment } => {
                open.flush()?;
                fs::remove_file(segment_path(&open.folder, *segment))?;
                // Were a later segment found gone but not this one, what that one removed would be there again.
                sync_folder(&open.folder)
            }
            // Deleting also works after a failure: see [`Writer::remove`].
            LogOp::Remove => Ok(()),
        }
    }
}

impl Open {
    fn append(&mut self, segment: u64, data: &[u8]) -> io::Result<()> {
        if self.file.is_none() || self.segment != segment {
            // An earlier segment must be whole before a later one exists: only the last may be torn.
            self.flush()?;
            self.file = Some(create(&self.folder, segment)?);
            self.segment = segment;
        }
        if let Some(file) = &mut self.file {
            self.is_dirty = true;
            file.write_all(data)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_dirty)
            && let Some(file) = &self.file
        {
            file.sync_data()?;
        }
        Ok(())
    }
}

fn stream_folder(folder: &Path, stream: StreamId) -> PathBuf {
    folder.join(format!("{:016}", stream.0))
}

fn segment_path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:016}.log"))
}

/// Makes a segment, and the folder with it, so that both are found again after a crash.
fn create(folder: &Path, segment: u64) -> io::Result<File> {
    let is_new = !folder.exists();
    fs::create_dir_all(folder)?;
    let file = OpenOptions::new().create(true).append(true).open(segment_path(folder, segment))?;
    sync_folder(folder)?;
    if let (true, Some(parent)) = (is_new, folder.parent()) {
        sync_folder(parent)?;
    }
    Ok(file)
}

/// Removes a stream's folder. It loses its name first, so that a crash leaves no half of it behind.
fn remove(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let gone = folder.with_extension("removed");
    fs::rename(folder, &gone)?;
    if let Some(parent) = folder.parent() {
        sync_folder(parent)?;
    }
    fs::remove_dir_all(gone)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Bytes that are free on the disk of this folder for processes like this one. `None`: the system does not say.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Cuts a file to its correct part.
pub(crate) fn truncate(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// A segment on the disk.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
}

/// All streams on the disk with their segments in order. Finishes removals that a crash interrupted.
pub(crate) fn streams(folder: &PathBuf) -> Result<Vec<(StreamId, Vec<Segment>)>, StartError> {
    let problem = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Data { path, source }
    };
    if !folder.exists() {
        fs::create_dir_all(folder).map_err(problem(folder))?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent).map_err(problem(parent))?;
        }
    }
    let mut streams = Vec::new();
    for entry in fs::read_dir(folder).map_err(problem(folder))? {
        let path = entry.map_err(problem(folder))?.path();
        if path.extension().is_some_and(|e| e == "removed") {
            fs::remove_dir_all(&path).map_err(problem(&path))?;
            continue;
        }
        let Some(id) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()) else {
            continue;
        };
        let mut segments = Vec::new();
        for entry in fs::read_dir(&path).map_err(problem(&path))? {
            let path = entry.map_err(problem(&path))?.path();
            let is_log = path.extension().is_some_and(|e| e == "log");
            let number = path.file_stem().and_then(|n| n.to_str()).and_then(|n| n.parse().ok());
            if let (true, Some(number)) = (is_log, number) {
                segments.push(Segment { number, path });
            }
        }
        segments.sort_by_key(|segment| segment.number);
        streams.push((StreamId(id), segments));
    }
    streams.sort_by_key(|(id, _)| *id);
    Ok(streams)
}
