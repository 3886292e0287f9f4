//! Counts of values by size: what is recorded while requests are answered, and what is read of it.
//!
//! Recording is two relaxed additions. Whoever reads adds up what several threads recorded; the sums of one
//! reading may differ by what came in between.

use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Parts of a power of ten, each at most a seventh above the one before.
const PARTS: [u64; 20] =
    [100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900];

/// Places among [`PARTS`] of the edges that are published: 1, 2.5 and 5.
const PUBLISHED: [usize; 3] = [0, 8, 14];

/// Upper edges, nanoseconds, from a microsecond to a hundred seconds: fine enough to tell a 99th percentile.
pub(crate) const FINE: [u64; 161] = fine();

/// The edges among them that are published, from 10 microseconds to 10 seconds.
pub const DURATIONS: [u64; 19] = durations();

/// Upper edges of the durations of changes, nanoseconds.
pub const LONG: [u64; 13] = [
    SECOND / 1000,
    SECOND / 200,
    SECOND / 100,
    SECOND / 40,
    SECOND / 20,
    SECOND / 10,
    SECOND / 4,
    SECOND / 2,
    SECOND,
    5 * SECOND,
    10 * SECOND,
    60 * SECOND,
    600 * SECOND,
];

/// Upper edges of the rows of a batch.
pub const ROWS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

const fn fine() -> [u64; 161] {
    let mut edges = [0; 161];
    let (mut place, mut power) = (0, 10);
    while place < edges.len() {
        edges[place] = PARTS[place % PARTS.len()] * power;
        place += 1;
        if place % PARTS.len() == 0 {
            power *= 10;
        }
    }
    edges
}

const fn durations() -> [u64; 19] {
    let mut edges = [0; 19];
    let mut place = 0;
    while place < edges.len() {
        // The first power of ten is finer than anybody asks for.
        let power = 1 + place / PUBLISHED.len();
        edges[place] = FINE[power * PARTS.len() + PUBLISHED[place % PUBLISHED.len()]];
        place += 1;
    }
    edges
}

/// Counts by size. `BUCKETS` is one more than there are edges: the last bucket is for what is larger.
pub(crate) struct Histogram<const BUCKETS: usize> {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    /// Counts a value; `edges` are always the same.
    pub(crate) fn add(&self, edges: &'static [u64], value: u64) {
        debug_assert_eq!(edges.len() + 1, BUCKETS);
        self.counts[bucket(edges, value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds what was counted here to `distribution`, which has the same edges.
    pub(crate) fn add_to(&self, distribution: &mut Distribution) {
        for (sum, count) in distribution.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        distribution.sum = distribution.sum.wrapping_add(self.sum.load(Ordering::Relaxed));
    }
}

/// The bucket of a value: an edge belongs to what lies under it.
pub(crate) fn bucket(edges: &[u64], value: u64) -> usize {
    edges.partition_point(|edge| *edge < value)
}

/// How values were distributed until the moment of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Upper edges of the buckets but the last, which has none.
    pub edges: &'static [u64],
    /// Values in each bucket.
    pub counts: Vec<u64>,
    /// Sum of the values.
    pub sum: u64,
}

impl Distribution {
    /// No values yet.
    pub fn new(edges: &'static [u64]) -> Self {
        Self { edges, counts: vec![0; edges.len() + 1], sum: 0 }
    }

    /// Counts a value.
    pub(crate) fn add(&mut self, value: u64) {
        self.counts[bucket(self.edges, value)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let counts = self.counts.iter().zip(&before.counts).map(|(now, then)| now.saturating_sub(*then));
        Self { edges: self.edges, counts: counts.collect(), sum: self.sum.wrapping_sub(before.sum) }
    }

    /// The same values with fewer edges, all of which are edges here too.
    pub(crate) fn coarser(&self, edges: &'static [u64]) -> Self {
        let mut coarse = Self { sum: self.sum, ..Self::new(edges) };
        for (place, count) in self.counts.iter().enumerate() {
            let at = self.edges.get(place).map_or(edges.len(), |edge| bucket(edges, *edge));
            coarse.counts[at] += count;
        }
        coarse
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper edge of the bucket under which this part of the values lies; 0 where there are none.
    pub(crate) fn percentile(&self, part: f64) -> u64 {
        let rank = (self.count() as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                let last = self.edges.last().copied().unwrap_or(0);
                return self.edges.get(place).copied().unwrap_or(last);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_grow_by_little_and_published_ones_are_among_them() {
        assert_eq!((FINE[0], FINE[160]), (SECOND / 1_000_000, 100 * SECOND));
        for pair in FINE.windows(2) {
            let growth = pair[1] as f64 / pair[0] as f64;
            assert!(growth > 1.0 && growth <= 1.0 + 1.0 / 7.0, "{pair:?}");
        }
        assert_eq!((DURATIONS[0], DURATIONS[1], DURATIONS[18]), (10_000, 25_000, 10 * SECOND));
        for edges in [&DURATIONS[..], &LONG, &ROWS] {
            assert!(edges.is_sorted());
        }
        assert!(DURATIONS.iter().all(|edge| FINE.contains(edge)));
    }

    #[test]
    fn an_edge_belongs_to_what_lies_under_it() {
        let check = |value: u64, expected: u64| {
            let mut fine = Distribution::new(&FINE);
            fine.add(value);
            let coarse = fine.coarser(&DURATIONS);
            let at = coarse.counts.iter().position(|count| *count == 1).unwrap();
            assert_eq!(DURATIONS.get(at).copied().unwrap_or(u64::MAX), expected, "{value}");
            assert_eq!((coarse.count(), coarse.sum), (1, value));
        };
        check(0, 10_000);
        check(10_000, 10_000);
        check(10_001, 25_000);
        check(10 * SECOND, 10 * SECOND);
        check(10 * SECOND + 1, u64::MAX);
        check(3600 * SECOND, u64::MAX);
    }

    #[test]
    fn what_threads_recorded_is_added_up() {
        let one = Histogram::<162>::default();
        let other = Histogram::<162>::default();
        (0..99).for_each(|_| one.add(&FINE, 100_000));
        other.add(&FINE, 5_000_000);
        let mut both = Distribution::new(&FINE);
        one.add_to(&mut both);
        let before = both.clone();
        other.add_to(&mut both);
        assert_eq!((both.count(), both.sum), (100, 99 * 100_000 + 5_000_000));
        assert_eq!((both.percentile(0.99), both.percentile(1.0)), (100_000, 5_000_000));
        assert_eq!(both.since(&before).percentile(0.99), 5_000_000);
        assert_eq!(Distribution::new(&FINE).percentile(0.99), 0);
    }
}
