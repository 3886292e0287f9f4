//! Figures of a run: latencies inside the swaps and between them, spreads of times.

use std::time::Duration;

use serde::Serialize;

use crate::load::histogram::{Histogram, Latency};
use crate::load::report::Sample;
use crate::load::statistics::quantile;

/// How some times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of some values; nothing where there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let at = |share: f64| quantile(&values, share);
        Some(Self { count: values.len(), p50: at(0.5)?, p99: at(0.99)?, max: at(1.0)? })
    }
}

/// Latencies inside the windows from command to drained, and in the gaps between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Windows {
    /// Requests that were inside the node during a swap.
    pub inside: Latency,
    /// All others.
    pub gaps: Latency,
    /// p99 inside divided by p99 in the gaps.
    pub ratio: Option<f64>,
    /// p99 of every other gap divided by that of the rest. Far from 1, the machine was too restless for the
    /// ratio to mean anything.
    pub control: Option<f64>,
}

impl Windows {
    /// Sorts samples into windows, which are given from the start of the load.
    pub(crate) fn over(samples: &[Sample], windows: Vec<(Duration, Duration)>) -> Self {
        let windows = apart(windows);
        let mut inside = Histogram::default();
        let mut gaps = [Histogram::default(), Histogram::default()];
        for sample in samples {
            let (due, latency) = (sample.due(), sample.latency());
            // The first window that ends at or behind the time at which the request was due.
            let next = windows.partition_point(|(_, end)| *end < due);
            match windows.get(next) {
                Some((start, _)) if *start <= due + latency => inside.record(latency),
                _ => gaps[next % 2].record(latency),
            }
        }
        let control = ratio(&gaps[0], &gaps[1]);
        let [mut all, odd] = gaps;
        all.add(&odd);
        Self { inside: inside.latency(), gaps: all.latency(), ratio: ratio(&inside, &all), control }
    }
}

/// The windows in order, those that overlap made one: a long drain may reach into the next swap.
fn apart(mut windows: Vec<(Duration, Duration)>) -> Vec<(Duration, Duration)> {
    windows.sort_unstable();
    windows.dedup_by(|next, kept| {
        let overlaps = next.0 <= kept.1;
        if overlaps {
            kept.1 = kept.1.max(next.1);
        }
        overlaps
    });
    windows
}

fn ratio(of: &Histogram, to: &Histogram) -> Option<f64> {
    let both = of.count() > 0 && to.count() > 0;
    both.then(|| of.quantile(0.99).as_secs_f64() / to.quantile(0.99).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_fall_into_windows_when_they_touch_them() {
        let ms = Duration::from_millis;
        let sample = |due: u64, latency: u64| Sample::new(ms(due), ms(latency));
        let windows = vec![(ms(100), ms(120)), (ms(300), ms(310))];
        let samples = [
            sample(10, 1),
            sample(99, 2),
            sample(110, 1),
            sample(119, 9),
            sample(121, 1),
            sample(305, 4),
            sample(400, 1),
        ];
        let found = Windows::over(&samples, windows);
        assert_eq!((found.inside.count, found.gaps.count, found.inside.max_us), (4, 3, 9000.0));
        assert!(found.ratio.is_some_and(|ratio| (8.9..9.1).contains(&ratio)), "{found:?}");
        assert!(found.control.is_some());
        assert_eq!(Windows::over(&[], vec![]).ratio, None);
    }

    #[test]
    fn windows_that_overlap_are_one() {
        let ms = Duration::from_millis;
        let windows = vec![(ms(50), ms(60)), (ms(10), ms(40)), (ms(20), ms(30)), (ms(35), ms(45))];
        assert_eq!(apart(windows), [(ms(10), ms(45)), (ms(50), ms(60))]);
    }

    #[test]
    fn spreads() {
        assert_eq!(Spread::of(std::iter::empty()), None);
        let spread = Spread::of((1..=100).map(f64::from));
        assert_eq!(spread, Some(Spread { count: 100, p50: 50.0, p99: 99.0, max: 100.0 }));
    }
}
