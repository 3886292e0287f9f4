//! What a service's requests came to: counters that survive swaps, for metrics and receipts.

use std::sync::atomic::{AtomicU64, Ordering};

use tenon_contract::FaultKind;
use tenon_contract::receipt::Traffic;

use crate::statistics::OfVersions;

/// Sub-buckets of each power of two: an error of at most 1/8.
const FINE: usize = 8;
/// Powers of two of microseconds, up to over an hour.
const POWERS: usize = 32;

/// Counters of one service.
pub struct Counters {
    /// Requests inside the node now.
    pub(crate) in_flight: AtomicU64,
    /// Requests waiting for a session now.
    pub(crate) waiting: AtomicU64,
    answered: AtomicU64,
    invalid: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    micros: AtomicU64,
    buckets: Vec<AtomicU64>,
    versions: OfVersions,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            in_flight: zero(),
            waiting: zero(),
            answered: zero(),
            invalid: zero(),
            failed: zero(),
            refused: zero(),
            micros: zero(),
            buckets: (0..FINE * POWERS).map(|_| zero()).collect(),
            versions: OfVersions::default(),
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests answered.
    pub answered: u64,
    /// Requests that were wrong by the caller's fault.
    pub invalid: u64,
    /// Requests failed by the model's or our fault.
    pub failed: u64,
    /// Requests refused early.
    pub refused: u64,
    /// Sum of the times of answered requests, microseconds.
    pub micros: u64,
    buckets: Vec<u64>,
}

impl Counters {
    /// Counts a request that was answered in `micros`.
    pub(crate) fn answered(&self, micros: u64) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was not.
    pub(crate) fn faulted(&self, kind: FaultKind) {
        let counter = match kind {
            FaultKind::Overloaded => &self.refused,
            FaultKind::Model | FaultKind::Internal | FaultKind::Unavailable | FaultKind::Deadline => {
                &self.failed
            }
            _ => &self.invalid,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The statistics of the service's versions.
    pub(crate) fn versions(&self) -> &OfVersions {
        &self.versions
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            answered: read(&self.answered),
            invalid: read(&self.invalid),
            failed: read(&self.failed),
            refused: read(&self.refused),
            micros: read(&self.micros),
            buckets: self.buckets.iter().map(read).collect(),
        }
    }
}

impl Snapshot {
    /// What happened since `before`.
    pub fn since(&self, before: &Snapshot) -> Traffic {
        let of = |index: usize| before.buckets.get(index).copied().unwrap_or(0);
        let counts: Vec<u64> =
            self.buckets.iter().enumerate().map(|(index, count)| count.saturating_sub(of(index))).collect();
        Traffic {
            answered: self.answered.saturating_sub(before.answered),
            failed: self.failed.saturating_sub(before.failed),
            refused: self.refused.saturating_sub(before.refused),
            p99_micros: percentile(&counts, 0.99),
        }
    }

    /// Requests answered within `micros`, to the upper edge of its bucket.
    pub fn within(&self, micros: u64) -> u64 {
        self.buckets.iter().take(bucket(micros) + 1).sum()
    }
}

/// Log-linear: each power of two in [`FINE`] parts.
fn bucket(micros: u64) -> usize {
    if micros < FINE as u64 {
        return micros as usize;
    }
    let power = micros.ilog2() as usize;
    let part = (micros >> (power - 3)) as usize - FINE;
    ((power - 2) * FINE + part).min(FINE * POWERS - 1)
}

/// Upper edge of a bucket, microseconds.
fn edge(bucket: usize) -> u64 {
    if bucket < FINE {
        return bucket as u64;
    }
    let (power, part) = (bucket / FINE + 2, bucket % FINE);
    ((FINE + part + 1) as u64) << (power - 3)
}

fn percentile(counts: &[u64], part: f64) -> u64 {
    let total: u64 = counts.iter().sum();
    let rank = (total as f64 * part).ceil() as u64;
    let mut seen = 0;
    for (index, count) in counts.iter().enumerate() {
        seen += count;
        if *count > 0 && seen >= rank {
            return edge(index);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_under_the_edge_of_its_bucket_and_near_it() {
        for micros in (0..5_000).chain([1 << 20, (1 << 20) + 12_345, 1 << 31]) {
            let edge = edge(bucket(micros));
            assert!(edge >= micros && edge as f64 <= micros as f64 * 1.13 + 1.0, "{micros} {edge}");
        }
    }

    #[test]
    fn windows_are_differences() {
        let counters = Counters::default();
        (0..99).for_each(|_| counters.answered(100));
        let before = counters.snapshot();
        counters.answered(5_000);
        counters.faulted(FaultKind::Overloaded);
        counters.faulted(FaultKind::Model);
        counters.faulted(FaultKind::Invalid);
        let window = counters.snapshot().since(&before);
        assert_eq!((window.answered, window.refused, window.failed), (1, 1, 1));
        assert!((5_000..5_700).contains(&window.p99_micros));
        assert!(counters.snapshot().since(&Snapshot::default()).p99_micros < 120);
    }
}
