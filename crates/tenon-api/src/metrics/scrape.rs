//! A scrape: every figure under its name, in the order of the table.

use tenon_contract::{Device, TrackRole};
use tenon_serving::{Distribution, Exemplar, Figures, Outcome, Reason, ServiceFigures, VersionStatistics};

use super::declared::{self, Metric};
use super::process::Process;
use super::text::{Form, Page};
use super::triton;
use crate::parts::Api;
use crate::spans::Door;

/// Nanoseconds of a second.
const NANOS: f64 = 1e9;

/// All that is measured, in one of the formats.
pub(super) fn page(api: &Api, form: Form) -> String {
    let figures = api.node.figures();
    let mut page = Page::new(form);
    node(&mut page, api, &figures);
    services(&mut page, &figures.services);
    requests(&mut page, &figures.services);
    swaps(&mut page, &figures.services);
    jobs(&mut page, api);
    told(&mut page, api);
    process(&mut page);
    if let Some(processors) = &api.triton {
        triton::write(&mut page, &figures, processors);
    }
    page.end()
}

fn node(page: &mut Page, api: &Api, figures: &Figures) {
    page.family(&declared::BUILD).sample(&[&api.tenon], 1);
    let mut runtimes = page.family(&declared::RUNTIME);
    for runtime in &api.runtimes {
        runtimes.sample(&[&runtime.build], u8::from(runtime.absent.is_none()));
    }
    page.family(&declared::READY).sample(&[], u8::from(figures.ready));
    page.family(&declared::GENERATION).sample(&[], figures.generation);
    page.family(&declared::IN_FLIGHT).sample(&[], figures.in_flight);
    let mut unrouted = page.family(&declared::UNROUTED);
    unrouted.sample(&["node_full"], figures.node_full);
    unrouted.sample(&["not_found"], figures.not_found);
    let mut memory = page.family(&declared::MEMORY);
    // The processor is told of also where it holds nothing.
    memory.sample(&[&Device::Cpu.to_string()], figures.memory.of(&Device::Cpu));
    for (device, bytes) in figures.memory.iter().filter(|(device, _)| **device != Device::Cpu) {
        memory.sample(&[&device.to_string()], bytes);
    }
    let mut limit = page.family(&declared::MEMORY_LIMIT);
    if figures.memory_limit.iter().all(|(device, _)| *device != Device::Cpu) {
        limit.sample(&[&Device::Cpu.to_string()], "+Inf");
    }
    for (device, bytes) in figures.memory_limit.iter() {
        limit.sample(&[&device.to_string()], bytes);
    }
}

fn services(page: &mut Page, services: &[ServiceFigures]) {
    let wanted = || services.iter().filter(|seen| seen.wanted);
    let mut ready = page.family(&declared::SERVICE_READY);
    wanted().for_each(|seen| ready.sample(&[seen.service.as_str()], u8::from(seen.ready)));
    let mut revisions = page.family(&declared::SERVICE_REVISION);
    for seen in services {
        if let Some((revision, version, digest)) = &seen.live {
            revisions.sample(&[seen.service.as_str(), &version.to_string(), &digest.to_string()], revision);
        }
    }
    let mut in_flight = page.family(&declared::SERVICE_IN_FLIGHT);
    services.iter().for_each(|seen| in_flight.sample(&[seen.service.as_str()], seen.in_flight));
    let mut undo = page.family(&declared::SERVICE_UNDO);
    wanted().for_each(|seen| undo.sample(&[seen.service.as_str()], u8::from(seen.is_undo_warm)));
}

/// The labels of a version, made once for all its families.
struct Labelled<'a> {
    seen: &'a VersionStatistics,
    version: String,
    retiring: u64,
}

impl<'a> Labelled<'a> {
    fn of(service: &'a ServiceFigures) -> impl Iterator<Item = Self> {
        service.versions.iter().map(|seen| {
            let retiring = service.retiring.iter().filter(|(version, _)| *version == seen.version);
            let retiring = retiring.map(|(_, requests)| requests).sum();
            Self { seen, version: seen.version.to_string(), retiring }
        })
    }

    fn labels(&self) -> [&str; 3] {
        [self.seen.service.as_str(), track(self.seen.track), &self.version]
    }
}

fn track(role: TrackRole) -> &'static str {
    match role {
        TrackRole::Primary => "primary",
        TrackRole::Canary => "canary",
        TrackRole::Challenger => "challenger",
        TrackRole::Shadow => "shadow",
    }
}

fn requests(page: &mut Page, services: &[ServiceFigures]) {
    let versions: Vec<_> = services.iter().flat_map(Labelled::of).collect();
    let mut requests = page.family(&declared::REQUESTS);
    for version in &versions {
        let [service, track, id] = version.labels();
        for outcome in Outcome::ALL {
            let count = match outcome {
                Outcome::Answered => version.seen.answered.count(),
                outcome => version.seen.unanswered.with(outcome),
            };
            requests.sample(&[service, track, id, outcome.name()], count);
        }
    }
    let mut unanswered = page.family(&declared::UNANSWERED);
    for version in &versions {
        let [service, track, id] = version.labels();
        for reason in Reason::ALL {
            unanswered.sample(&[service, track, id, reason.name()], version.seen.unanswered.of(reason));
        }
    }
    let mut durations = |metric: &'static Metric, of: fn(&VersionStatistics) -> Of<'_>, unit: f64| {
        let mut family = page.family(metric);
        for version in &versions {
            let (seen, exemplars) = of(version.seen);
            family.histogram(&version.labels(), seen, unit, exemplars);
        }
    };
    durations(&declared::REQUEST_DURATION, |seen| (&seen.answered, &seen.exemplars), NANOS);
    durations(&declared::QUEUE_DURATION, |seen| (&seen.queue, &[]), NANOS);
    durations(&declared::COMPUTE_DURATION, |seen| (&seen.compute, &[]), NANOS);
    durations(&declared::ROWS, |seen| (&seen.rows, &[]), 1.0);
    let mut waiting = page.family(&declared::WAITING);
    versions.iter().for_each(|version| waiting.sample(&version.labels(), version.seen.waiting));
    let mut retiring = page.family(&declared::RETIRING);
    for version in &versions {
        let [service, _, id] = version.labels();
        retiring.sample(&[service, id], version.retiring);
    }
    let mut memory = page.family(&declared::VERSION_MEMORY);
    for version in &versions {
        let [service, _, id] = version.labels();
        for (device, bytes) in version.seen.memory.iter() {
            memory.sample(&[service, id, &device.to_string()], bytes);
        }
    }
}

/// A distribution, with requests that fell into its buckets.
type Of<'a> = (&'a Distribution, &'a [Option<Exemplar>]);

fn swaps(page: &mut Page, services: &[ServiceFigures]) {
    let published = |went_well: bool| if went_well { "published" } else { "failed" };
    let mut swaps = page.family(&declared::SWAPS);
    for seen in services {
        for kind in tenon_serving::ChangeKind::ALL {
            for went_well in [true, false] {
                let count = seen.tally.changes.get(&(kind, went_well)).map_or(0, Distribution::count);
                swaps.sample(&[seen.service.as_str(), kind.name(), published(went_well)], count);
            }
        }
    }
    let mut durations = page.family(&declared::SWAP_DURATION);
    for seen in services {
        for ((kind, went_well), took) in &seen.tally.changes {
            let labels = [seen.service.as_str(), kind.name(), published(*went_well)];
            durations.histogram(&labels, took, NANOS, &[]);
        }
    }
    let mut steps = page.family(&declared::SWAP_STEP);
    for seen in services {
        for ((step, went_well), took) in &seen.tally.steps {
            let labels = [seen.service.as_str(), step.name(), if *went_well { "done" } else { "failed" }];
            steps.histogram(&labels, took, NANOS, &[]);
        }
    }
    let mut drains = page.family(&declared::DRAIN);
    for seen in services {
        for (in_time, took) in &seen.tally.drains {
            let outcome = if *in_time { "in_time" } else { "late" };
            drains.histogram(&[seen.service.as_str(), outcome], took, NANOS, &[]);
        }
    }
    let mut retired = page.family(&declared::RETIRED);
    for seen in services {
        for (cause, count) in &seen.tally.retired {
            retired.sample(&[seen.service.as_str(), &cause.replace(' ', "_")], count);
        }
    }
    let mut released = page.family(&declared::RELEASED);
    for seen in services {
        for (device, bytes) in seen.tally.released.iter() {
            released.sample(&[seen.service.as_str(), &device.to_string()], bytes);
        }
    }
}

fn jobs(page: &mut Page, api: &Api) {
    let kinds = api.control.jobs.figures();
    let mut under_way = page.family(&declared::JOBS);
    for jobs in &kinds {
        under_way.sample(&[jobs.kind, "waiting"], jobs.waiting);
        under_way.sample(&[jobs.kind, "running"], jobs.running);
    }
    let mut counts = page.family(&declared::JOBS_ENDED);
    for jobs in &kinds {
        jobs.ended.iter().for_each(|(end, ended)| counts.sample(&[jobs.kind, end.name()], ended.count));
    }
    let mut durations = page.family(&declared::JOB_DURATION);
    for jobs in &kinds {
        for (end, ended) in jobs.ended.iter().filter(|(_, ended)| ended.count > 0) {
            durations.summary(&[jobs.kind, end.name()], ended.count, ended.millis as f64 / 1e3);
        }
    }
}

/// What became of traces, observations and feedback.
fn told(page: &mut Page, api: &Api) {
    let mut feedback = page.family(&declared::FEEDBACK);
    api.feedback.all().iter().for_each(|(service, count)| feedback.sample(&[service.as_str()], count));
    let traces = api.spans.as_ref().map(Door::counts).unwrap_or_default();
    let mut spans = page.family(&declared::SPANS);
    spans.sample(&["sent"], traces.sent);
    spans.sample(&["lost"], traces.lost);
    page.family(&declared::TRACES_DROPPED).sample(&[], traces.dropped);
    let observed = api.node.options().observer.as_ref().map(|observer| observer.counts()).unwrap_or_default();
    let mut records = page.family(&declared::OBSERVED);
    records.sample(&["written"], observed.written);
    records.sample(&["lost"], observed.lost);
    records.sample(&["dropped"], observed.dropped);
}

fn process(page: &mut Page) {
    let Some(process) = Process::read() else { return };
    page.family(&declared::PROCESS_CPU).sample(&[], process.cpu);
    page.family(&declared::PROCESS_RESIDENT).sample(&[], process.resident);
    page.family(&declared::PROCESS_START).sample(&[], process.start);
    page.family(&declared::PROCESS_FDS).sample(&[], process.files);
}
