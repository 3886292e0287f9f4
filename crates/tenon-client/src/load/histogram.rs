//! Latencies counted in buckets that grow with the value: 128 to each power of two, so that a
//! percentile is at most 0.8 % above the true one. Recording is an index and an addition.

use std::time::Duration;

use serde::Serialize;

/// Buckets to a power of two.
const STEPS: u64 = 128;
/// Powers of two beyond the first `STEPS` nanoseconds: up to eighteen minutes.
const DOUBLINGS: u64 = 33;

/// Counted latencies.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
    max: u64,
}

/// The figures of a histogram, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many were counted.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// The largest, exactly.
    pub max_us: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = vec![0; (STEPS * (DOUBLINGS + 1)) as usize].into();
        Self { counts, total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The latency that a share of `quantile` (0 to 1) does not exceed; the upper edge of its bucket.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Duration::from_nanos(edge(bucket as u64).min(self.max));
            }
        }
        Duration::from_nanos(self.max)
    }

    /// The usual figures.
    pub fn latency(&self) -> Latency {
        let micros = |quantile: f64| self.quantile(quantile).as_nanos() as f64 / 1e3;
        Latency {
            count: self.total,
            p50_us: micros(0.5),
            p90_us: micros(0.9),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
            max_us: self.max as f64 / 1e3,
        }
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let doubling = u64::from(nanos.ilog2() - STEPS.ilog2());
    let index = (doubling + 1) * STEPS + (nanos >> doubling) - STEPS;
    index.min(STEPS * (DOUBLINGS + 1) - 1) as usize
}

/// Largest value of a bucket.
fn edge(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let doubling = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_edges_agree() {
        for nanos in
            (0..100_000).chain((17..39).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]))
        {
            let bucket = bucket(nanos) as u64;
            let (low, high) = (bucket.checked_sub(1).map_or(0, |below| edge(below) + 1), edge(bucket));
            assert!((low..=high).contains(&nanos), "{nanos} is not in {low}..={high}");
            assert!((high - low) as f64 <= 0.008 * low as f64 + 0.5, "{low}..={high} is too wide");
        }
        assert_eq!(bucket(u64::MAX), (STEPS * (DOUBLINGS + 1)) as usize - 1);
    }

    #[test]
    fn quantiles_of_a_ramp() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let latency = histogram.latency();
        for (found, expected) in [(latency.p50_us, 500.0), (latency.p99_us, 990.0), (latency.p999_us, 999.0)]
        {
            assert!((expected..expected * 1.008).contains(&found), "{found} for {expected}");
        }
        assert_eq!((latency.count, latency.max_us), (1000, 1000.0));
        let mut both = histogram.clone();
        both.add(&histogram);
        assert_eq!((both.count(), both.latency().p50_us), (2000, latency.p50_us));
        assert_eq!(Histogram::default().latency(), Latency::default());
    }
}
