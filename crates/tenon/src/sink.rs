//! The sink of what is observed: a bounded sample of requests and all feedback, as JSON lines in files.
//!
//! What serves puts records into a bounded queue and goes on. A thread of its own writes them: into files of a limited
//! size, of which the oldest leave when all together reach their limit. A disk that is full costs records, which are
//! counted, and nothing else. A file that a kill tore ends in the middle of a line: readers skip that.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_queue::ArrayQueue;
use tenon_codec::observed;
use tenon_contract::observed::{Keep, Observation, ObservedCounts, Observer, Returned};
use tenon_contract::{Identity, RequestId, ServiceName};

use crate::config::ObserveConfig;

/// Records that wait to be written; further ones are dropped.
const QUEUE: usize = 4096;
/// Bytes of the values that wait: they hold the bodies they came in.
const QUEUE_BYTES: usize = 64 << 20;
/// How often the queue is looked into.
const LOOK: Duration = Duration::from_millis(200);
/// Ids that are remembered, so that feedback about them is joined with who answered.
const REMEMBERED: usize = 65_536;
/// How long what is left may take to be written when the server ends.
const LAST: Duration = Duration::from_secs(5);
/// How far the thread steps back behind those that serve.
const NICE: i32 = 10;
/// What the names of files begin and end with; between stands when they were begun.
const NAME: (&str, &str) = ("observed-", ".jsonl");

/// The sink under way.
pub(crate) struct Sink {
    shared: Arc<Shared>,
    thread: Thread,
    ended: Receiver<()>,
}

/// What those who serve and the thread that writes share.
struct Shared {
    config: ObserveConfig,
    waiting: ArrayQueue<Record>,
    bytes: AtomicUsize,
    written: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    ending: AtomicBool,
}

enum Record {
    Observed(Box<Observation>),
    Returned(Box<Returned>),
}

impl Shared {
    fn push(&self, record: Record, bytes: usize) {
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > QUEUE_BYTES || self.waiting.push(record).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Observer for Shared {
    fn keeps(&self, service: &ServiceName) -> Keep {
        let ObserveConfig { ratio, services, keeps_values, record_bytes, .. } = &self.config;
        let is_meant = services.is_empty() || services.contains(service);
        // Each state of the standard's hashes has keys of its own.
        let drawn = || (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64;
        match is_meant && drawn() < *ratio {
            false => Keep::Nothing,
            true if *keeps_values => Keep::Values(*record_bytes),
            true => Keep::Ids,
        }
    }

    fn observed(&self, observation: Observation) {
        let bytes = observation.values.as_ref().map_or(0, |values| values.bytes());
        self.push(Record::Observed(Box::new(observation)), bytes);
    }

    fn returned(&self, returned: Returned) {
        self.push(Record::Returned(Box::new(returned)), 0);
    }

    fn counts(&self) -> ObservedCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ObservedCounts { written: read(&self.written), lost: read(&self.lost), dropped: read(&self.dropped) }
    }
}

impl Sink {
    /// Starts to write, where a folder is given.
    ///
    /// # Errors
    /// The folder cannot be made or read, or the system gives no thread.
    pub(crate) fn start(config: &ObserveConfig) -> Result<Option<Self>, String> {
        let Some(folder) = config.folder.clone() else { return Ok(None) };
        let files = Files::open(folder.clone(), config)
            .map_err(|error| format!("open the folder {}: {error}", folder.display()))?;
        let zero = || AtomicU64::new(0);
        let shared = Arc::new(Shared {
            config: config.clone(),
            waiting: ArrayQueue::new(QUEUE),
            bytes: AtomicUsize::new(0),
            written: zero(),
            lost: zero(),
            dropped: zero(),
            ending: AtomicBool::new(false),
        });
        let (done, ended) = sync_channel(1);
        let writer = Writer { shared: shared.clone(), files, recent: Recent::default(), is_failing: false };
        let work = move || {
            // Nobody is harmed where it may not step back.
            let _ = rustix::process::setpriority_process(None, NICE);
            writer.run();
            let _ = done.send(());
        };
        let started = std::thread::Builder::new().name("observed".to_owned()).spawn(work);
        let started = started.map_err(|error| format!("start a thread: {error}"))?;
        Ok(Some(Self { shared, thread: started.thread().clone(), ended }))
    }

    /// Where records are put.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        self.shared.clone()
    }

    /// Writes what is left, as far as that can be done in time. Blocks.
    pub(crate) fn end(&self) {
        self.shared.ending.store(true, Ordering::Release);
        self.thread.unpark();
        let _ = self.ended.recv_timeout(LAST);
    }
}

/// What the thread does.
struct Writer {
    shared: Arc<Shared>,
    files: Files,
    recent: Recent,
    /// Whether the last write failed: told when it changes.
    is_failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            // Before it looks: what was put in before the end is written.
            let ends = self.shared.ending.load(Ordering::Acquire);
            self.write_waiting();
            if ends {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn write_waiting(&mut self) {
        while let Some(record) = self.shared.waiting.pop() {
            let line = self.line(record);
            match self.files.write(&line) {
                Ok(()) => {
                    self.shared.written.fetch_add(1, Ordering::Relaxed);
                    self.is_failing = false;
                }
                Err(error) => {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(%error, "what is observed cannot be written; it is lost");
                    }
                }
            }
        }
    }

    fn line(&mut self, record: Record) -> Vec<u8> {
        match record {
            Record::Observed(mut observation) => {
                let bytes = observation.values.as_ref().map_or(0, |values| values.bytes());
                self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.recent.remember(&observation);
                let line = observed::request(&observation);
                if line.len() <= self.shared.config.record_bytes || observation.values.is_none() {
                    return line;
                }
                // Values take more room as text than they did on the wire.
                (observation.values, observation.is_cut) = (None, true);
                observed::request(&observation)
            }
            Record::Returned(returned) => {
                let answered = self.recent.of(&returned.service, &returned.feedback.request_id);
                observed::feedback(
                    &returned,
                    answered.map(|(identity, generation)| (&**identity, *generation)),
                )
            }
        }
    }
}

/// Who answered the last requests that were observed.
#[derive(Default)]
struct Recent {
    answered: HashMap<RequestId, (Arc<Identity>, u64)>,
    order: VecDeque<RequestId>,
}

impl Recent {
    fn remember(&mut self, observation: &Observation) {
        let who = (observation.identity.clone(), observation.generation);
        // An id that callers use again stands for the last request that bore it.
        if self.answered.insert(observation.id.clone(), who).is_none() {
            self.order.push_back(observation.id.clone());
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.answered.remove(&oldest);
        }
    }

    fn of(&self, service: &ServiceName, id: &RequestId) -> Option<&(Arc<Identity>, u64)> {
        self.answered.get(id).filter(|(identity, _)| identity.service == *service)
    }
}

/// The files of a folder, under their limits.
struct Files {
    folder: PathBuf,
    file_bytes: u64,
    total_bytes: u64,
    /// Closed files with their sizes, the oldest first.
    closed: VecDeque<(PathBuf, u64)>,
    open: Option<(PathBuf, File, u64)>,
    /// The number in the name of the last file: names grow, whatever the clock does.
    last: u64,
}

impl Files {
    fn open(folder: PathBuf, config: &ObserveConfig) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut closed = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_ours =
                name.to_str().is_some_and(|name| name.starts_with(NAME.0) && name.ends_with(NAME.1));
            if is_ours && entry.file_type()?.is_file() {
                closed.push((entry.path(), entry.metadata()?.len()));
            }
        }
        closed.sort();
        let last = closed.iter().filter_map(|(path, _)| number(path)).max().unwrap_or(0);
        let (file_bytes, total_bytes) = (config.file_bytes, config.total_bytes);
        Ok(Self { folder, file_bytes, total_bytes, closed: closed.into(), open: None, last })
    }

    /// Writes one line. After an error the next one goes into a new file, behind no torn line.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = line.len() as u64;
        let is_full = |(_, _, size): &(PathBuf, File, u64)| *size > 0 && size + bytes > self.file_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.close();
        }
        self.make_room(bytes);
        if self.open.is_none() {
            self.last = self.last.saturating_add(1).max(now_ms());
            self.open = Some(new_file(&self.folder, self.last)?);
        }
        let Some((_, file, size)) = &mut self.open else { return Ok(()) };
        let written = file.write_all(line);
        *size += bytes;
        if written.is_err() {
            self.close();
        }
        written
    }

    fn close(&mut self) {
        if let Some((path, file, size)) = self.open.take() {
            // What was written, also where a write broke off.
            let size = file.metadata().map_or(size, |metadata| metadata.len());
            self.closed.push_back((path, size));
        }
    }

    /// Lets the oldest files go until a line of so many bytes fits.
    fn make_room(&mut self, bytes: u64) {
        let open = self.open.as_ref().map_or(0, |(_, _, size)| *size);
        let mut total = open + bytes + self.closed.iter().map(|(_, size)| size).sum::<u64>();
        while total > self.total_bytes
            && let Some((path, size)) = self.closed.pop_front()
        {
            total -= size;
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old file of what was observed stays");
            }
        }
    }
}

fn new_file(folder: &Path, number: u64) -> io::Result<(PathBuf, File, u64)> {
    let path = folder.join(format!("{}{number:013}{}", NAME.0, NAME.1));
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file, 0))
}

/// The number in the name of a file.
fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?.parse().ok()
}

/// The wall clock, milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tenon_contract::observed::Feedback;

    use super::*;

    fn config(folder: &Path) -> ObserveConfig {
        ObserveConfig {
            folder: Some(folder.to_owned()),
            ratio: 1.0,
            services: Vec::new(),
            keeps_values: false,
            total_bytes: 10_000,
            file_bytes: 2_000,
            record_bytes: 1_000,
        }
    }

    fn observation(id: &str) -> Observation {
        let identity = Identity {
            service: "s".parse().unwrap(),
            revision: 1,
            version: "m/1".parse().unwrap(),
            digest: tenon_contract::Digest::ZERO,
        };
        Observation {
            at_ms: 1,
            id: id.parse().unwrap(),
            operation: "infer".into(),
            identity: Arc::new(identity),
            generation: 2,
            micros: 3,
            values: None,
            is_cut: false,
        }
    }

    fn returned(id: &str, service: &str) -> Returned {
        let feedback = format!(r#"{{"request_id":"{id}","truth":1}}"#);
        let feedback: Feedback = serde_json::from_str(&feedback).unwrap();
        Returned { at_ms: 4, service: service.parse().unwrap(), feedback }
    }

    /// The files of a folder in their order, as lines.
    fn lines(folder: &Path) -> Vec<Vec<String>> {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        paths.iter().map(read).collect()
    }

    #[test]
    fn files_turn_over_and_the_oldest_leave() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine.txt"), vec![b'x'; 50_000]).unwrap();
        let mut files = Files::open(folder.path().to_owned(), &config(folder.path())).unwrap();
        for number in 0..40 {
            files.write(format!("{number:0>999}\n").as_bytes()).unwrap();
        }
        drop(files);
        fs::remove_file(folder.path().join("mine.txt")).unwrap();
        let found = lines(folder.path());
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 2, 2]);
        let numbers: Vec<u64> = found.concat().iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (30..40).collect::<Vec<_>>());
        // Another start counts what is there, and begins a file of its own.
        let mut files = Files::open(folder.path().to_owned(), &config(folder.path())).unwrap();
        files.write(b"{}\n").unwrap();
        let found = lines(folder.path());
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 2, 1]);
        assert_eq!(found[4], ["{}"]);
    }

    #[test]
    fn feedback_is_joined_with_who_answered() {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(&config(folder.path())).unwrap().unwrap();
        let observer = sink.observer();
        assert_eq!(observer.keeps(&"s".parse().unwrap()), Keep::Ids);
        observer.observed(observation("a"));
        observer.returned(returned("a", "s"));
        observer.returned(returned("a", "other"));
        observer.returned(returned("b", "s"));
        sink.end();
        let found = lines(folder.path()).concat();
        let names: Vec<_> = found.iter().map(|line| line.contains(r#""answered_by":"m/1""#)).collect();
        assert_eq!(names, [true, true, false, false], "{found:?}");
        assert_eq!(observer.counts(), ObservedCounts { written: 4, lost: 0, dropped: 0 });
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(&config(folder.path())).unwrap().unwrap();
        sink.end();
        let observer = sink.observer();
        (0..QUEUE + 10).for_each(|_| observer.observed(observation("a")));
        assert_eq!(observer.counts().dropped, 10);
    }

    #[test]
    fn only_the_services_that_are_named_are_observed() {
        let config = ObserveConfig { services: vec!["a".parse().unwrap()], ..config(Path::new("")) };
        let folder = tempfile::tempdir().unwrap();
        let config = ObserveConfig { folder: Some(folder.path().to_owned()), keeps_values: true, ..config };
        let sink = Sink::start(&config).unwrap().unwrap();
        let observer = sink.observer();
        assert_eq!(observer.keeps(&"a".parse().unwrap()), Keep::Values(1_000));
        assert_eq!(observer.keeps(&"b".parse().unwrap()), Keep::Nothing);
    }
}
