//! What a load recorded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::histogram::{Histogram, Latency};
use super::statistics::median;
use super::{Charge, Offence};

/// Length of a block.
const BLOCK: Duration = Duration::from_secs(1);
/// So many charges are kept with their text.
const SHOWN: usize = 10;

/// How many answers were right, and how many failed in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Right answers.
    pub right: u64,
    /// No answer, or a refusal.
    pub lost: u64,
    /// No right answer of any version.
    pub wrong: u64,
    /// The answer of one version under the name of another.
    pub mixed: u64,
    /// The answer of a version that must not answer any more, or not yet.
    pub stale: u64,
}

impl Tally {
    /// Everything that was sent.
    pub fn sent(&self) -> u64 {
        self.right + self.failed()
    }

    /// Everything that failed.
    pub fn failed(&self) -> u64 {
        self.lost + self.wrong + self.mixed + self.stale
    }

    fn charge(&mut self, offence: Offence) {
        *match offence {
            Offence::Lost => &mut self.lost,
            Offence::Wrong => &mut self.wrong,
            Offence::Mixed => &mut self.mixed,
            Offence::Stale => &mut self.stale,
        } += 1;
    }
}

/// One answer: when it was due, counted from the start, and how long it took from then.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// In steps of 10 microseconds, so that half a day fits.
    due: u32,
    /// In steps of 100 nanoseconds, so that seven minutes fit.
    latency: u32,
}

impl Sample {
    pub(super) fn new(due: Duration, latency: Duration) -> Self {
        let steps = |value: Duration, step: u128| u32::try_from(value.as_nanos() / step).unwrap_or(u32::MAX);
        Self { due: steps(due, 10_000), latency: steps(latency, 100) }
    }

    /// When it was due, from the start of the load.
    pub fn due(&self) -> Duration {
        Duration::from_micros(u64::from(self.due) * 10)
    }

    /// From then to its last byte.
    pub fn latency(&self) -> Duration {
        Duration::from_nanos(u64::from(self.latency) * 100)
    }
}

/// One second of a load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Block {
    /// Which second, from 0.
    pub second: u64,
    /// Its figures.
    #[serde(flatten)]
    pub latency: Latency,
}

/// What a load recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// From the start to the last answer.
    pub seconds: f64,
    /// Answers a second.
    pub rate: f64,
    /// What became of the requests.
    pub tally: Tally,
    /// Figures over all answers.
    pub latency: Latency,
    /// Median of the 99th percentiles of the full seconds, microseconds.
    pub block_p99_us: Option<f64>,
    /// Processor time of the generator for one request, microseconds.
    pub generator_us: f64,
    /// The first failures of each kind, in words.
    pub charges: BTreeMap<Offence, Vec<String>>,
    /// The seconds one by one.
    pub blocks: Vec<Block>,
    /// When the load started.
    #[serde(skip)]
    pub started: Instant,
    /// The answers one by one, where the plan asked to keep them.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// Takes down what happens.
pub(super) struct Recorder {
    started: Instant,
    tally: Tally,
    charges: BTreeMap<Offence, Vec<String>>,
    blocks: BTreeMap<u64, Histogram>,
    samples: Option<Vec<Sample>>,
}

impl Recorder {
    pub(super) fn new(started: Instant, keep_samples: bool) -> Self {
        let samples = keep_samples.then(Vec::new);
        Self { started, tally: Tally::default(), charges: BTreeMap::new(), blocks: BTreeMap::new(), samples }
    }

    pub(super) fn answered(&mut self, due: Instant, ended: Instant) {
        let (due, latency) =
            (due.saturating_duration_since(self.started), ended.saturating_duration_since(due));
        self.blocks.entry(due.as_secs() / BLOCK.as_secs()).or_default().record(latency);
        if let Some(samples) = &mut self.samples {
            samples.push(Sample::new(due, latency));
        }
    }

    pub(super) fn judged(&mut self, verdict: Result<(), Charge>) {
        match verdict {
            Ok(()) => self.tally.right += 1,
            Err(charge) => {
                self.tally.charge(charge.offence);
                let shown = self.charges.entry(charge.offence).or_default();
                if shown.len() < SHOWN {
                    shown.push(charge.text);
                }
            }
        }
    }

    pub(super) fn finish(self, processor: Duration) -> Report {
        let elapsed = self.started.elapsed();
        let mut all = Histogram::default();
        self.blocks.values().for_each(|block| all.add(block));
        let blocks: Vec<Block> = self
            .blocks
            .iter()
            .map(|(second, block)| Block { second: *second, latency: block.latency() })
            .collect();
        // The last second is seldom a full one.
        let full = &blocks[..blocks.len().saturating_sub(1)];
        let p99s: Vec<f64> = full.iter().map(|block| block.latency.p99_us).collect();
        Report {
            seconds: elapsed.as_secs_f64(),
            rate: all.count() as f64 / elapsed.as_secs_f64(),
            tally: self.tally,
            latency: all.latency(),
            block_p99_us: median(&p99s),
            generator_us: processor.as_secs_f64() * 1e6 / self.tally.sent().max(1) as f64,
            charges: self.charges,
            blocks,
            started: self.started,
            samples: self.samples.unwrap_or_default(),
        }
    }
}
