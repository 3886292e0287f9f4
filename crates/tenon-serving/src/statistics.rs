//! What the requests of one version of a service came to, since the start of the node: kept while the version comes
//! and goes, and read by metrics, receipts and the statistics extension of the Open Inference Protocol.
//!
//! Measured are whole requests inside the node, calls of the model, and the wait for one. A request adds to a few
//! counters of its own thread's shard and takes no lock; whoever reads adds the shards up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenon_contract::{Fault, Memory, ServiceName, TrackRole, VersionId};

use crate::clock;
use crate::exemplar::{self, Exemplar};
use crate::histogram::{DURATIONS, Distribution, FINE, Histogram, ROWS, bucket};
use crate::node::Node;
use crate::state::ServiceState;
use crate::traffic::{Reason, Snapshot, Unanswered};

/// Versions of one service of which statistics are kept; the oldest that serves nothing is forgotten first.
const VERSIONS: usize = 16;

/// Most shards: beyond that, threads share some.
const MOST_SHARDS: usize = 8;

/// How many shards there are: one a core, so that those who count do not wait for each other's cache lines.
static SHARDS: LazyLock<usize> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.next_power_of_two().min(MOST_SHARDS)
});

thread_local! {
    /// The number of this thread among those that count.
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// Counters of one version of a service in one track.
pub(crate) struct Statistics {
    shards: Box<[Shard]>,
    /// Requests waiting for a session now.
    pub(crate) waiting: AtomicU64,
    /// How long the version took to load last, microseconds; 0 where it did not.
    load_micros: AtomicU64,
    /// One for each bucket of the times that are published.
    exemplars: [exemplar::Place; DURATIONS.len() + 1],
}

/// What some of the threads counted. As long as no other shard shares a cache line with it, nobody waits.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    /// Times of answered requests, nanoseconds.
    answered: Histogram<{ FINE.len() + 1 }>,
    /// Their rows.
    rows: Histogram<{ ROWS.len() + 1 }>,
    unanswered: [AtomicU64; Reason::ALL.len()],
    /// Times of requests that were not answered, nanoseconds.
    unanswered_nanos: AtomicU64,
    queue: Histogram<{ DURATIONS.len() + 1 }>,
    compute: Histogram<{ DURATIONS.len() + 1 }>,
    /// When the last request was answered, milliseconds since 1970.
    last_ms: AtomicU64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            shards: (0..*SHARDS).map(|_| Shard::default()).collect(),
            waiting: AtomicU64::new(0),
            load_micros: AtomicU64::new(0),
            exemplars: Default::default(),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Statistics {
    fn shard(&self) -> &Shard {
        // The number of shards is a power of two.
        &self.shards[THREAD.with(|thread| *thread) & (self.shards.len() - 1)]
    }

    /// Counts a request of `rows` rows that was answered; `id` and `trace` say which one it was.
    pub(crate) fn answered(&self, rows: usize, took: Duration, id: &str, trace: Option<u128>) {
        let (shard, nanos, now_ms) = (self.shard(), nanos(took), clock::wall_ms());
        shard.answered.add(&FINE, nanos);
        shard.rows.add(&ROWS, rows as u64);
        shard.last_ms.store(now_ms, Ordering::Relaxed);
        self.exemplars[bucket(&DURATIONS, nanos)].offer(now_ms, nanos, id, trace);
    }

    /// Counts a request that was not.
    pub(crate) fn unanswered(&self, reason: Reason, took: Duration) {
        let shard = self.shard();
        shard.unanswered[reason as usize].fetch_add(1, Ordering::Relaxed);
        shard.unanswered_nanos.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// Counts a call of the model that ran where the request was.
    pub(crate) fn ran_here(&self, took: Duration) {
        self.shard().compute.add(&DURATIONS, nanos(took));
    }

    /// Counts a call of the model that had `waited` for a session.
    pub(crate) fn ran(&self, waited: Duration, took: Duration) {
        let shard = self.shard();
        shard.queue.add(&DURATIONS, nanos(waited));
        shard.compute.add(&DURATIONS, nanos(took));
    }

    /// Notes how long the version took to load.
    pub(crate) fn loaded(&self, micros: u64) {
        self.load_micros.store(micros, Ordering::Relaxed);
    }

    /// Adds what requests came to.
    fn add_to(&self, sum: &mut Snapshot) {
        for shard in &self.shards {
            shard.answered.add_to(&mut sum.answered);
            for (count, counted) in sum.unanswered.0.iter_mut().zip(&shard.unanswered) {
                *count += counted.load(Ordering::Relaxed);
            }
        }
    }

    /// All of it, without what only the node knows.
    fn read(&self, service: ServiceName, track: TrackRole, version: VersionId) -> VersionStatistics {
        let mut requests = Snapshot::default();
        self.add_to(&mut requests);
        let sum = |edges, add: fn(&Shard, &mut Distribution)| {
            let mut sum = Distribution::new(edges);
            self.shards.iter().for_each(|shard| add(shard, &mut sum));
            sum
        };
        let unanswered_nanos = self.shards.iter().map(|shard| shard.unanswered_nanos.load(Ordering::Relaxed));
        let last_ms = self.shards.iter().map(|shard| shard.last_ms.load(Ordering::Relaxed)).max();
        VersionStatistics {
            service,
            track,
            version,
            last_ms: last_ms.unwrap_or(0),
            answered: requests.answered.coarser(&DURATIONS),
            exemplars: self.exemplars.iter().map(exemplar::Place::read).collect(),
            rows: sum(&ROWS, |shard, sum| shard.rows.add_to(sum)),
            unanswered: requests.unanswered,
            unanswered_nanos: unanswered_nanos.sum(),
            queue: sum(&DURATIONS, |shard, sum| shard.queue.add_to(sum)),
            compute: sum(&DURATIONS, |shard, sum| shard.compute.add_to(sum)),
            waiting: self.waiting.load(Ordering::Relaxed),
            load_micros: self.load_micros.load(Ordering::Relaxed),
            memory: Memory::default(),
        }
    }
}

/// A version in its part, with what was counted of it.
type Counted = (TrackRole, VersionId, Arc<Statistics>);

/// Statistics of the versions of a service.
#[derive(Default)]
pub(crate) struct OfVersions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    versions: Vec<Counted>,
    /// What the requests of forgotten versions came to.
    forgotten: Snapshot,
}

impl OfVersions {
    /// Those of `version`, made where there are none yet. Only changes and readers come here.
    pub(crate) fn of(&self, track: TrackRole, version: &VersionId) -> Arc<Statistics> {
        let mut kept = self.kept();
        let known = |(at, id, _): &&Counted| *at == track && id == version;
        if let Some((.., statistics)) = kept.versions.iter().find(known) {
            return statistics.clone();
        }
        // One that a slot still holds goes on counting.
        let idle = |(.., statistics): &Counted| Arc::strong_count(statistics) == 1;
        if kept.versions.len() >= VERSIONS
            && let Some(at) = kept.versions.iter().position(idle)
        {
            let (.., statistics) = kept.versions.remove(at);
            statistics.add_to(&mut kept.forgotten);
        }
        let statistics = Arc::<Statistics>::default();
        kept.versions.push((track, version.clone(), statistics.clone()));
        statistics
    }

    /// What the requests of all versions came to, those of forgotten ones too.
    pub(crate) fn sum(&self) -> Snapshot {
        let kept = self.kept();
        let mut sum = kept.forgotten.clone();
        kept.versions.iter().for_each(|(.., statistics)| statistics.add_to(&mut sum));
        sum
    }

    fn all(&self) -> Vec<Counted> {
        self.kept().versions.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The statistics of one version of a service at one moment.
#[derive(Clone, Debug)]
pub struct VersionStatistics {
    /// The service.
    pub service: ServiceName,
    /// The part that the version plays.
    pub track: TrackRole,
    /// The version.
    pub version: VersionId,
    /// When a request was last answered, milliseconds since 1970; 0 for never.
    pub last_ms: u64,
    /// Times inside the node of requests that were answered, nanoseconds.
    pub answered: Distribution,
    /// For each of its buckets a request that fell into it, where one is kept.
    pub exemplars: Vec<Option<Exemplar>>,
    /// Rows of answered requests: 1, or the size of the batch where the version takes batches.
    pub rows: Distribution,
    /// Requests that were not answered.
    pub unanswered: Unanswered,
    /// Their time inside the node together, nanoseconds.
    pub unanswered_nanos: u64,
    /// How long calls waited for a session, nanoseconds. One that ran where its request was did not.
    pub queue: Distribution,
    /// How long calls of the model took, nanoseconds.
    pub compute: Distribution,
    /// Requests waiting for a session now.
    pub waiting: u64,
    /// How long the version took to load last, microseconds; 0 where another service had loaded it.
    pub load_micros: u64,
    /// Memory held by admission; none for a version that is neither live nor warm.
    pub memory: Memory,
}

/// What is known of one version before it is read: done under the lock, and quick.
pub(crate) struct Known {
    counted: Counted,
    memory: Memory,
}

impl Known {
    /// The versions of a service.
    pub(crate) fn of(state: &ServiceState) -> Vec<Self> {
        let placed = [state.live.as_ref(), state.warm.as_ref().map(|warm| &warm.placed)];
        let known = |counted: Counted| {
            let holds = placed.iter().flatten().find(|placed| placed.revision.version().id == counted.1);
            Self { memory: holds.map(|placed| placed.engine.memory().clone()).unwrap_or_default(), counted }
        };
        state.counters.versions().all().into_iter().map(known).collect()
    }

    /// Adds up what was counted.
    pub(crate) fn read(self, service: &ServiceName) -> VersionStatistics {
        let (track, version, statistics) = self.counted;
        VersionStatistics { memory: self.memory, ..statistics.read(service.clone(), track, version) }
    }
}

impl Node {
    /// The statistics of every version that a service, or all services, served since the start.
    ///
    /// # Errors
    /// There is no such service.
    pub fn statistics(&self, service: Option<&ServiceName>) -> Result<Vec<VersionStatistics>, Fault> {
        let is_asked = |(name, state): &(&ServiceName, &ServiceState)| {
            state.wanted && service.is_none_or(|asked| asked == *name)
        };
        let known: Vec<_> = {
            let state = self.inner().state();
            let of = |(name, state): (&ServiceName, &ServiceState)| (name.clone(), Known::of(state));
            state.services.iter().filter(is_asked).map(of).collect()
        };
        match service {
            Some(service) if known.is_empty() => {
                Err(Fault::not_found(format!("no service `{service}` is served here")))
            }
            _ => {
                let read = |(name, known): (ServiceName, Vec<Known>)| {
                    known.into_iter().map(|known| known.read(&name)).collect::<Vec<_>>()
                };
                Ok(known.into_iter().flat_map(read).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> VersionId {
        VersionId { model: "m".parse().unwrap(), number }
    }

    #[test]
    fn versions_keep_their_counters_and_the_oldest_idle_one_is_forgotten() {
        let versions = OfVersions::default();
        let of = |number| versions.of(TrackRole::Primary, &id(number));
        of(1).answered(3, Duration::from_nanos(7), "r", None);
        of(1).unanswered(Reason::Model, Duration::from_nanos(5));
        let first = of(1);
        let seen = first.read("s".parse().unwrap(), TrackRole::Primary, id(1));
        assert_eq!((seen.answered.count(), seen.answered.sum), (1, 7));
        assert_eq!((seen.unanswered.of(Reason::Model), seen.unanswered_nanos), (1, 5));
        assert_eq!((seen.rows.count(), seen.rows.sum, seen.last_ms > 0), (1, 3, true));
        assert_eq!(seen.exemplars[0].as_ref().map(|seen| &*seen.request), Some("r"));
        (2..=17).for_each(|number| drop(of(number)));
        let numbers: Vec<_> = versions.all().iter().map(|(_, version, _)| version.number).collect();
        assert_eq!((numbers[0], numbers[1], numbers.len()), (1, 3, VERSIONS), "the first is still held");
        drop(first);
        of(18);
        assert_eq!(versions.all()[0].1.number, 3);
        assert_eq!(versions.sum().answered.count(), 1, "what was counted stays");
    }

    #[test]
    fn threads_lose_nothing() {
        let statistics = Statistics::default();
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    for number in 0..1000 {
                        statistics.answered(1, Duration::from_micros(number), "r", None);
                        statistics.ran(Duration::ZERO, Duration::from_micros(number));
                    }
                });
            }
        });
        let seen = statistics.read("s".parse().unwrap(), TrackRole::Primary, id(1));
        let sums = [&seen.answered, &seen.rows, &seen.queue, &seen.compute].map(Distribution::count);
        assert_eq!(sums, [5000; 4]);
        assert_eq!(seen.compute.sum, 5 * 1000 * (0..1000).sum::<u64>());
    }
}
