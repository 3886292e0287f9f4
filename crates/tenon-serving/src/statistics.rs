//! What the requests of one version of a service came to, for the statistics extension of the Open Inference
//! Protocol: counts and nanoseconds since the start, kept while the version comes and goes.
//!
//! Measured are whole requests inside the node, calls of the model, and the wait for one. A request touches a
//! few counters and no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenon_contract::{Fault, Memory, ServiceName, VersionId};

use crate::clock;
use crate::node::Node;

/// Versions of one service of which statistics are kept; the oldest are forgotten first.
const VERSIONS: usize = 16;

/// Counters of one version of a service.
#[derive(Default)]
pub(crate) struct Statistics {
    success: Sum,
    fail: Sum,
    queue: Sum,
    compute: Sum,
    rows: AtomicU64,
    /// When the last request came to an end, milliseconds since 1970.
    last_ms: AtomicU64,
}

#[derive(Default)]
struct Sum {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Sum {
    fn add(&self, time: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos(time), Ordering::Relaxed);
    }

    fn spent(&self) -> Spent {
        Spent { count: self.count.load(Ordering::Relaxed), nanos: self.nanos.load(Ordering::Relaxed) }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Statistics {
    /// Counts a request of `rows` rows that was answered.
    pub(crate) fn answered(&self, rows: usize, took: Duration) {
        self.success.add(took);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.last_ms.store(clock::wall_ms(), Ordering::Relaxed);
    }

    /// Counts a request that was not.
    pub(crate) fn failed(&self, took: Duration) {
        self.fail.add(took);
    }

    /// Counts a call of the model that ran where the request was.
    pub(crate) fn ran_here(&self, took: Duration) {
        self.compute.add(took);
    }

    /// Counts a call of the model that had `waited` for a session.
    pub(crate) fn ran(&self, waited: Duration, took: Duration) {
        self.queue.add(waited);
        self.compute.add(took);
    }
}

/// Statistics of the versions of a service.
#[derive(Default)]
pub(crate) struct OfVersions(Mutex<Vec<(VersionId, Arc<Statistics>)>>);

impl OfVersions {
    /// Those of `version`, made where there are none yet. Only changes and readers come here.
    pub(crate) fn of(&self, version: &VersionId) -> Arc<Statistics> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, statistics)) = kept.iter().find(|(known, _)| known == version) {
            return statistics.clone();
        }
        if kept.len() == VERSIONS {
            kept.remove(0);
        }
        kept.push((version.clone(), Arc::default()));
        kept[kept.len() - 1].1.clone()
    }

    fn all(&self) -> Vec<(VersionId, Arc<Statistics>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How often something happened, and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How often.
    pub count: u64,
    /// Nanoseconds in all.
    pub nanos: u64,
}

/// The statistics of one version of a service at one moment.
#[derive(Clone, Debug)]
pub struct VersionStatistics {
    /// The service.
    pub service: ServiceName,
    /// The version.
    pub version: VersionId,
    /// When a request was last answered, milliseconds since 1970; 0 for never.
    pub last_ms: u64,
    /// Rows answered: requests, times the size of their batch where the version takes batches.
    pub rows: u64,
    /// Requests answered, and their time inside the node.
    pub success: Spent,
    /// Requests that were not, and theirs.
    pub fail: Spent,
    /// Calls that waited for a session, and how long.
    pub queue: Spent,
    /// Calls of the model.
    pub compute: Spent,
    /// Memory held by admission; none for a version that is neither live nor warm.
    pub memory: Memory,
}

impl Node {
    /// The statistics of every version that a service, or all services, served since the start.
    ///
    /// # Errors
    /// There is no such service.
    pub fn statistics(&self, service: Option<&ServiceName>) -> Result<Vec<VersionStatistics>, Fault> {
        let state = self.inner().state();
        let mut rows = Vec::new();
        for (name, seen) in &state.services {
            if !seen.wanted || service.is_some_and(|asked| asked != name) {
                continue;
            }
            let placed = [seen.live.as_ref(), seen.warm.as_ref().map(|warm| &warm.placed)];
            for (version, statistics) in seen.counters.versions().all() {
                let holds = placed.iter().flatten().find(|placed| placed.revision.version().id == version);
                rows.push(VersionStatistics {
                    service: name.clone(),
                    last_ms: statistics.last_ms.load(Ordering::Relaxed),
                    rows: statistics.rows.load(Ordering::Relaxed),
                    success: statistics.success.spent(),
                    fail: statistics.fail.spent(),
                    queue: statistics.queue.spent(),
                    compute: statistics.compute.spent(),
                    memory: holds.map(|placed| placed.engine.memory().clone()).unwrap_or_default(),
                    version,
                });
            }
        }
        let unknown = |service: &ServiceName| !state.services.get(service).is_some_and(|seen| seen.wanted);
        match service {
            Some(service) if unknown(service) => {
                Err(Fault::not_found(format!("no service `{service}` is served here")))
            }
            _ => Ok(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_keep_their_counters_and_the_oldest_are_forgotten() {
        let versions = OfVersions::default();
        let id = |number: u64| VersionId { model: "m".parse().unwrap(), number };
        versions.of(&id(1)).answered(3, Duration::from_nanos(7));
        versions.of(&id(1)).failed(Duration::from_nanos(5));
        let first = versions.of(&id(1));
        assert_eq!(first.success.spent(), Spent { count: 1, nanos: 7 });
        assert_eq!(first.fail.spent(), Spent { count: 1, nanos: 5 });
        assert_eq!(first.rows.load(Ordering::Relaxed), 3);
        (2..=17).for_each(|number| drop(versions.of(&id(number))));
        assert_eq!(versions.all().first().map(|(version, _)| version.number), Some(2));
        assert_eq!(versions.all().len(), VERSIONS);
    }
}
