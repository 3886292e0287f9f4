//! Swaps under load: a version is exchanged back and forth while requests come in, each answer is
//! judged, and latencies inside the swaps are set beside those in the gaps between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tenon_codec::oip::Form;
use tenon_contract::admin::{SwapRequest, Swapped};
use tenon_contract::{Examples, ServiceName, Signature, VersionId};

use super::connection::Target;
use super::judge::Judge;
use super::ledger::Ledger;
use super::pace::Pace;
use super::questions::{Known, Origin, Questions, wide};
use super::report::Report;
use super::run::{Load, Plan, start};
use super::{AnyAnswer, Referee};
use crate::{Client, ClientError};

mod figures;
mod memory;
mod receipts;

pub use figures::{Spread, Windows};
pub use memory::{Held, Memory};
use receipts::Receipts;

/// How long the closed loop runs that finds the most the server gives.
const CAPACITY: Duration = Duration::from_secs(3);
/// Rest before the measured load, and load before the first swap and after the last.
const MARGIN: Duration = Duration::from_secs(2);
/// How often readiness is asked for.
const PROBES_PER_SECOND: f64 = 50.0;
/// Memory is asked for at most so often over a run.
const MEMORY_SAMPLES: u64 = 200;

/// How hard the load presses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Press {
    /// A share of what a closed loop reaches first.
    Share(f64),
    /// So many requests a second.
    Rate(f64),
}

/// What to try.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The service whose version is exchanged.
    pub service: ServiceName,
    /// What serves at the beginning and after every second swap.
    pub from: VersionId,
    /// What serves after every other swap.
    pub to: VersionId,
    /// How many swaps.
    pub swaps: u64,
    /// One each so often; later where the one before takes longer.
    pub every: Duration,
    /// Connections of the load.
    pub connections: usize,
    /// How hard it presses.
    pub press: Press,
    /// How many different questions are asked.
    pub questions: usize,
    /// Whether tensors are sent as JSON or binary; as fits their size where it is not said.
    pub form: Option<Form>,
    /// Go back by undo every other time.
    pub undo: bool,
}

/// One version of the trial as the report names it.
#[derive(Clone, Debug, Serialize)]
pub struct Party {
    /// The version.
    pub version: VersionId,
    /// Where its right answers come from.
    pub answers: Origin,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct SwapReport {
    /// The service.
    pub service: ServiceName,
    /// The versions exchanged.
    pub parties: Vec<Party>,
    /// Different questions asked.
    pub questions: usize,
    /// How many of them tell the versions apart.
    pub telling: usize,
    /// Whether tensors were sent binary.
    pub binary: bool,
    /// Connections of the load.
    pub connections: usize,
    /// Requests a second that a closed loop reached.
    pub capacity: Option<f64>,
    /// Requests a second that were due.
    pub rate: f64,
    /// Swaps done, undos among them.
    pub swaps: usize,
    /// How many of them were undos.
    pub undos: usize,
    /// What the server refused besides requests: swaps, receipts, the way back at the end.
    pub refused: Vec<String>,
    /// What the load recorded.
    pub load: Report,
    /// Latencies inside the swaps and between them.
    pub windows: Windows,
    /// From command to acknowledgement of a swap, milliseconds.
    pub swap_ms: Option<Spread>,
    /// From command to acknowledgement of an undo, milliseconds.
    pub undo_ms: Option<Spread>,
    /// From command to publication of an undo inside the node, microseconds.
    pub undo_published_us: Option<Spread>,
    /// How long the exchange itself held a serving thread, microseconds, from the receipts.
    pub publish_us: Option<Spread>,
    /// Times that readiness was asked for.
    pub probes: u64,
    /// How often the node was not ready, or did not say.
    pub not_ready: u64,
    /// Memory over the run, where the server tells.
    pub memory: Option<Memory>,
}

impl SwapReport {
    /// Whether nothing was lost, wrong, mixed or stale, no swap refused, and readiness never flipped.
    pub fn passed(&self) -> bool {
        self.load.tally.failed() == 0 && self.refused.is_empty() && self.not_ready == 0
    }
}

/// What happens while a trial runs, for whoever watches.
#[derive(Clone, Debug)]
pub enum News {
    /// A sentence about what comes next.
    Note(String),
    /// So many swaps are done.
    Swapped {
        /// Number of swaps done.
        done: u64,
        /// Number of swaps in all.
        of: u64,
    },
}

/// One swap as this side saw it.
struct Mark {
    command: Instant,
    acknowledged: Instant,
    is_undo: bool,
    swapped: Swapped,
}

/// What the swaps of a run left behind.
#[derive(Default)]
struct Done {
    marks: Vec<Mark>,
    refused: Vec<String>,
    memory: Vec<(u64, Held)>,
}

/// Runs a trial. Afterwards the service serves what it served before.
///
/// # Errors
/// The trial could not be made. Failures of answers are no errors: they stand in the report.
pub async fn run(
    client: &Client,
    trial: &Trial,
    news: &mut dyn FnMut(News),
) -> Result<SwapReport, ClientError> {
    let target = Target::of(client)?;
    let before = client.service(&trial.service).await?;
    let contract = before.contract.tensors();
    let signature = contract.ok_or_else(|| {
        ClientError::Local(format!("service {} does not offer `infer` over tensors", trial.service))
    })?;
    let outcome = async {
        let (questions, parties) = prepare(client, trial, &signature, news).await?;
        serve(client, &trial.service, &trial.from).await?;
        measure(client, trial, &target, &questions, parties, news).await
    };
    let outcome = outcome.await;
    // The service goes back to what it served, whatever the trial came to.
    let back = serve(client, &trial.service, &before.version).await;
    outcome.map(|mut report| {
        report.refused.extend(back.err().map(|error| format!("back to {}: {error}", before.version)));
        report
    })
}

/// Lets the service serve `version`, if it does not.
async fn serve(client: &Client, service: &ServiceName, version: &VersionId) -> Result<(), ClientError> {
    if client.service(service).await?.version == *version {
        return Ok(());
    }
    client.swap(service, &wish(version)).await.map(drop)
}

fn wish(version: &VersionId) -> SwapRequest {
    let reason = Some("tenon bench swap".to_owned());
    SwapRequest { version: version.clone(), settings: None, breaking: None, dry_run: false, reason }
}

/// The examples that a version was proven on.
pub async fn examples_of(client: &Client, version: &VersionId) -> Result<Option<Examples>, ClientError> {
    let Some(file) = client.examples(version).await? else { return Ok(None) };
    let read = tenon_codec::examples::read(&file, &wide());
    Ok(Some(read.map_err(|fault| ClientError::unexpected("ask for examples", fault.to_string()))?.examples))
}

/// Draws the questions and learns what each version has to answer.
async fn prepare(
    client: &Client,
    trial: &Trial,
    signature: &Signature,
    news: &mut dyn FnMut(News),
) -> Result<(Questions, Vec<Known>), ClientError> {
    let mut examples = BTreeMap::new();
    for version in [&trial.from, &trial.to] {
        examples.insert(version, examples_of(client, version).await?);
    }
    let first = examples.values().flatten().next();
    let questions = Questions::new(first, signature, trial.questions, trial.form);
    let mut parties = Vec::new();
    for version in [&trial.from, &trial.to] {
        let digest = client.version(version).await?.digest;
        let golden = examples[version].as_ref().and_then(|own| questions.golden(version, digest, own));
        let known = match golden {
            Some(golden) => golden,
            None => {
                news(News::Note(format!(
                    "{version} has no examples for these inputs: recording its answers at rest"
                )));
                serve(client, &trial.service, version).await?;
                questions.record(client, &trial.service, version, digest).await?
            }
        };
        parties.push(known);
    }
    Ok((questions, parties))
}

async fn measure(
    client: &Client,
    trial: &Trial,
    target: &Target,
    questions: &Questions,
    known: Vec<Known>,
    news: &mut dyn FnMut(News),
) -> Result<SwapReport, ClientError> {
    let parties =
        known.iter().map(|known| Party { version: known.version.clone(), answers: known.origin }).collect();
    let ledger = Arc::new(Ledger::new(0));
    let judge = Arc::new(Judge::new(Arc::clone(&ledger), known));
    let mut plan = Plan::new(target.clone(), questions.shots(target, &trial.service)?, CAPACITY);
    plan.connections = trial.connections;
    let (capacity, rate) = pressure(client, trial, &plan, &judge, news).await?;
    tokio::time::sleep(MARGIN).await;
    news(News::Note(format!(
        "{rate:.0} requests a second, {} swaps, one each {:?}",
        trial.swaps, trial.every
    )));
    plan.pace = Pace::Open { rate };
    plan.keep_samples = true;
    // Ended by hand when the swaps are done.
    plan.duration = Duration::from_secs(24 * 3600);
    let mut probe = Plan::new(target.clone(), vec![target.get("/readyz")?], plan.duration);
    (probe.connections, probe.pace) = (1, Pace::Open { rate: PROBES_PER_SECOND });
    let probe = start(probe, Arc::new(AnyAnswer))?;
    let load = start(plan, judge.clone())?;
    tokio::time::sleep(MARGIN).await;
    let mut done = exchange(client, trial, &ledger, news).await;
    tokio::time::sleep(MARGIN).await;
    load.stop();
    probe.stop();
    let (load, probe) = (finish(load).await?, finish(probe).await?);
    // Without receipts there is still a report to make, and it says so.
    let receipts = Receipts::of(client, &trial.service).await.unwrap_or_else(|error| {
        done.refused.push(format!("receipts: {error}"));
        Receipts::default()
    });
    let windows: Vec<_> = done.marks.iter().map(|mark| mark.window(&receipts, load.started)).collect();
    Ok(SwapReport {
        service: trial.service.clone(),
        parties,
        questions: questions.inputs.len(),
        telling: judge.telling(),
        binary: questions.form == Form::Binary,
        connections: trial.connections,
        capacity,
        rate,
        swaps: done.marks.len(),
        undos: done.marks.iter().filter(|mark| mark.is_undo).count(),
        windows: Windows::over(&load.samples, windows),
        swap_ms: Spread::of(done.marks.iter().filter(|mark| !mark.is_undo).map(Mark::millis)),
        undo_ms: Spread::of(done.marks.iter().filter(|mark| mark.is_undo).map(Mark::millis)),
        undo_published_us: Spread::of(done.marks.iter().filter(|mark| mark.is_undo).map(Mark::published)),
        publish_us: Spread::of(done.marks.iter().filter_map(|mark| receipts.published(mark.swapped.swap))),
        refused: done.refused,
        probes: probe.tally.sent(),
        not_ready: probe.tally.failed(),
        memory: Memory::over(&done.memory),
        load,
    })
}

/// The most that the server gives with the slower of the two versions, and the rate to keep up: what is too much for one
/// of them would measure its queue and not the swap.
async fn pressure(
    client: &Client,
    trial: &Trial,
    plan: &Plan,
    judge: &Arc<Judge>,
    news: &mut dyn FnMut(News),
) -> Result<(Option<f64>, f64), ClientError> {
    let share = match trial.press {
        Press::Rate(rate) => return Ok((None, rate)),
        Press::Share(share) => share,
    };
    let mut least = f64::INFINITY;
    // The judge begins with `from`; what the other gives is only counted.
    let referees: [(_, Arc<dyn Referee>); 2] =
        [(&trial.to, Arc::new(AnyAnswer)), (&trial.from, Arc::clone(judge) as Arc<dyn Referee>)];
    for (version, referee) in referees {
        news(News::Note(format!("finding the most {version} gives: closed loop for {CAPACITY:?}")));
        serve(client, &trial.service, version).await?;
        let closed = finish(start(plan.clone(), referee)?).await?;
        if closed.tally.right == 0 {
            let text = closed.charges.into_values().flatten().next().unwrap_or_default();
            return Err(ClientError::Local(format!("no right answer even without swaps: {text}")));
        }
        least = least.min(closed.rate);
    }
    Ok((Some(least), least * share))
}

/// Waits for the end of a load without holding up the runtime.
async fn finish(load: Load) -> Result<Report, ClientError> {
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load.finish()
}

impl Mark {
    fn millis(&self) -> f64 {
        (self.acknowledged - self.command).as_secs_f64() * 1e3
    }

    fn published(&self) -> f64 {
        self.swapped.published_micros as f64
    }

    /// From the command to the end of the drain, counted from the start of the load. What was
    /// acknowledged was published before, so the window is rather too long than too short.
    fn window(&self, receipts: &Receipts, start: Instant) -> (Duration, Duration) {
        let from = self.command.saturating_duration_since(start);
        let to = self.acknowledged.saturating_duration_since(start);
        (from, to + receipts.drain(self.swapped.swap))
    }
}

/// The swaps of a run, each at its time.
async fn exchange(client: &Client, trial: &Trial, ledger: &Ledger, news: &mut dyn FnMut(News)) -> Done {
    let start = Instant::now();
    let sample_each = (trial.swaps / MEMORY_SAMPLES).max(1);
    let mut done = Done::default();
    for swap in 0..trial.swaps {
        let due = start + trial.every * u32::try_from(swap).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due.into()).await;
        let (target, version) = if swap % 2 == 0 { (1, &trial.to) } else { (0, &trial.from) };
        // Always at the same point of the cycle, so that figures can be compared.
        if target == 1 && swap / 2 % sample_each == 0 {
            let held = Held::settled(client, &done.memory).await;
            done.memory.extend(held.map(|held| (swap, held)));
        }
        let is_undo = trial.undo && swap % 4 == 3;
        let number = ledger.issue(target);
        let command = Instant::now();
        let answer = match is_undo {
            true => client.undo(&trial.service, Some("tenon bench swap")).await,
            false => client.swap(&trial.service, &wish(version)).await,
        };
        match answer {
            Ok(swapped) => {
                let acknowledged = Instant::now();
                ledger.acknowledge(number);
                done.marks.push(Mark { command, acknowledged, is_undo, swapped });
            }
            Err(error) => {
                if matches!(error, ClientError::Refused { .. }) {
                    ledger.refuse(number);
                }
                done.refused.push(format!("swap {}: {error}", swap + 1));
            }
        }
        news(News::Swapped { done: swap + 1, of: trial.swaps });
    }
    tokio::time::sleep(trial.every).await;
    if trial.swaps.is_multiple_of(2) {
        let held = Held::settled(client, &done.memory).await;
        done.memory.extend(held.map(|held| (trial.swaps, held)));
    }
    done
}
