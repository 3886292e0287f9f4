//! The names that dashboards of Triton ask for, with `metrics.triton_names`: the same figures once more, by service and
//! number of the version.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tenon_serving::{Distribution, Figures, Reason, VersionStatistics};

use super::declared::{self, Metric};
use super::process;
use super::text::Page;

/// The processors of the machine as the last scrape saw them.
#[derive(Default)]
pub(crate) struct Processors(Mutex<(u64, u64)>);

impl Processors {
    /// The part of their time that they were busy since the last call; the first time since the machine started.
    fn utilization(&self) -> Option<f64> {
        let now = process::processors()?;
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (busy, all) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        *before = now;
        Some(if all == 0 { 0.0 } else { busy as f64 / all as f64 })
    }
}

/// Reasons as Triton tells them apart.
const REASONS: [&str; 4] = ["REJECTED", "CANCELED", "BACKEND", "OTHER"];

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::ServiceFull | Reason::QueueFull => REASONS[0],
        Reason::Cancelled => REASONS[1],
        Reason::Model => REASONS[2],
        _ => REASONS[3],
    }
}

/// What versions of one service with the same number came to: versions of two models, or in two tracks.
#[derive(Default)]
struct Row {
    success: u64,
    failure: BTreeMap<&'static str, u64>,
    rows: u64,
    executions: u64,
    pending: u64,
    request_us: u64,
    queue_us: u64,
    infer_us: u64,
    load_micros: u64,
}

impl Row {
    fn add(&mut self, seen: &VersionStatistics) {
        let micros = |seen: &Distribution| seen.sum / 1000;
        self.success += seen.answered.count();
        for why in Reason::ALL {
            *self.failure.entry(reason(why)).or_default() += seen.unanswered.of(why);
        }
        self.rows += seen.rows.sum;
        self.executions += seen.compute.count();
        self.pending += seen.waiting;
        self.request_us += micros(&seen.answered);
        self.queue_us += micros(&seen.queue);
        self.infer_us += micros(&seen.compute);
        self.load_micros = self.load_micros.max(seen.load_micros);
    }
}

/// A family with one sample a version.
type OfVersions = (&'static Metric, fn(&Row) -> u64);

const OF_VERSIONS: [OfVersions; 9] = [
    (&declared::NV_SUCCESS, |row| row.success),
    (&declared::NV_COUNT, |row| row.rows),
    (&declared::NV_EXEC_COUNT, |row| row.executions),
    (&declared::NV_PENDING, |row| row.pending),
    (&declared::NV_REQUEST, |row| row.request_us),
    (&declared::NV_QUEUE, |row| row.queue_us),
    (&declared::NV_INPUT, |_| 0),
    (&declared::NV_INFER, |row| row.infer_us),
    (&declared::NV_OUTPUT, |_| 0),
];

pub(super) fn write(page: &mut Page, figures: &Figures, processors: &Processors) {
    let mut rows: BTreeMap<(&str, u64), Row> = BTreeMap::new();
    for seen in figures.services.iter().flat_map(|service| &service.versions) {
        rows.entry((seen.service.as_str(), seen.version.number)).or_default().add(seen);
    }
    let rows: Vec<_> =
        rows.iter().map(|((model, version), row)| (*model, version.to_string(), row)).collect();
    for (metric, value) in OF_VERSIONS {
        let mut family = page.family(metric);
        rows.iter().for_each(|(model, version, row)| family.sample(&[model, version], value(row)));
    }
    let mut failures = page.family(&declared::NV_FAILURE);
    for (model, version, row) in &rows {
        for why in REASONS {
            failures.sample(&[model, version, why], row.failure.get(why).copied().unwrap_or(0));
        }
    }
    let mut loads = page.family(&declared::NV_LOAD);
    for (model, version, row) in &rows {
        loads.sample(&[model, version], row.load_micros as f64 / 1e6);
    }
    let mut cpu = page.family(&declared::NV_CPU);
    processors.utilization().into_iter().for_each(|part| cpu.sample(&[], part));
    let memory = process::memory();
    let mut total = page.family(&declared::NV_CPU_TOTAL);
    memory.into_iter().for_each(|(bytes, _)| total.sample(&[], bytes));
    let mut used = page.family(&declared::NV_CPU_USED);
    memory.into_iter().for_each(|(_, bytes)| used.sample(&[], bytes));
}
