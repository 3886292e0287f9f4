//! `tenon bench infer`: how fast a service answers.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tenon_client::Client;
use tenon_client::load::judge::Judge;
use tenon_client::load::ledger::Ledger;
use tenon_client::load::questions::{Origin, Questions};
use tenon_client::load::swaps::examples_of;
use tenon_client::load::{AnyAnswer, Load, Pace, Plan, Referee, Report, Target, start};
use tenon_codec::oip::Form;
use tenon_contract::ServiceName;
use tenon_contract::admin::ServiceView;

use super::{latencies, verdict};
use crate::commands::failure::{Failure, Outcome};
use crate::commands::output;
use crate::commands::progress::Progress;
use crate::commands::remote::{Remote, duration, service_or_only, unknown_service};

/// Measure how fast a service answers
///
/// A closed loop, where each connection sends again as soon as it has its answer, finds the most that the
/// server gives. With --rate requests are due at fixed times whatever the server does, and latency counts
/// from the time at which a request was due: a server that stands still is charged with every request it
/// kept from being sent.
///
/// The questions are the examples that the version was proven on, and each answer is compared with the right
/// one. Where there are none, inputs are drawn from the contract and answers are only counted.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon bench infer                                  when there is one service only
  tenon bench infer digits --connections 64 --duration 30s
  tenon bench infer digits --rate 2000 --json
  tenon bench infer detector --binary --inputs 8

Exit code 1 if a request was lost or an answer wrong.")]
pub struct Args {
    /// The service; may be left out when there is one only
    service: Option<ServiceName>,
    /// Connections, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    connections: usize,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Requests a second in an open loop
    #[arg(long, value_name = "R", conflicts_with = "closed")]
    rate: Option<f64>,
    /// Closed loop, which is what is done without --rate
    #[arg(long)]
    closed: bool,
    /// Stop after so many requests
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Send and get tensors as bytes; large ones always are
    #[arg(long)]
    binary: bool,
    /// Different inputs to send in turn
    #[arg(long, value_name = "N", default_value_t = 64)]
    inputs: usize,
    #[command(flatten)]
    pub(super) remote: Remote,
}

/// The outcome as `--json` gives it.
#[derive(Serialize)]
struct Told {
    service: ServiceName,
    version: tenon_contract::VersionId,
    connections: usize,
    rate_wanted: Option<f64>,
    binary: bool,
    inputs: usize,
    answers: Option<Origin>,
    #[serde(flatten)]
    report: Report,
}

/// Measures.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let service = service_or_only(&client, args.service.as_ref()).await?;
    let view = client.service(&service).await.map_err(unknown_service)?;
    let target = Target::of(&client)?;
    let (questions, referee, answers) = questions(&client, &view, &args).await?;
    let mut plan = Plan::new(target.clone(), questions.shots(&target, &service)?, args.duration);
    plan.connections = args.connections;
    plan.pace = args.rate.map_or(Pace::Closed, |rate| Pace::Open { rate });
    plan.count = args.count;
    let report = watch(start(plan, referee)?, args.duration, &Progress::new(args.remote.json)).await?;
    let failed = report.tally.failed();
    let told = Told {
        service,
        version: view.version,
        connections: args.connections,
        rate_wanted: args.rate,
        binary: questions.form == Form::Binary,
        inputs: questions.inputs.len(),
        answers,
        report,
    };
    output::show(args.remote.json, &told, shown);
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} requests failed")).after_answer()),
    }
}

async fn questions(
    client: &Client,
    view: &ServiceView,
    args: &Args,
) -> Outcome<(Questions, Arc<dyn Referee>, Option<Origin>)> {
    let signature = view.contract.tensors();
    let signature = signature.ok_or_else(|| {
        Failure::new(format!("service {} does not offer `infer` over tensors", view.service))
    })?;
    let examples = examples_of(client, &view.version).await?;
    let form = args.binary.then_some(Form::Binary);
    let questions = Questions::new(examples.as_ref(), &signature, args.inputs.max(1), form);
    let known = examples.and_then(|examples| questions.golden(&view.version, view.digest, &examples));
    Ok(match known {
        Some(known) => {
            let origin = Some(known.origin);
            (questions, Arc::new(Judge::new(Arc::new(Ledger::new(0)), vec![known])), origin)
        }
        None => (questions, Arc::new(AnyAnswer), None),
    })
}

/// Waits for the end of a load and shows how far it is.
async fn watch(load: Load, duration: Duration, progress: &Progress) -> Outcome<Report> {
    let begun = std::time::Instant::now();
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let seconds = begun.elapsed().min(duration).as_secs();
        progress.steps("measuring", seconds, duration.as_secs());
    }
    progress.end();
    Ok(load.finish()?)
}

fn shown(told: &Told) -> String {
    let report = &told.report;
    let pace = match told.rate_wanted {
        Some(rate) => format!("open loop at {rate} a second"),
        None => "closed loop".to_owned(),
    };
    let form = if told.binary { "binary tensors" } else { "JSON" };
    let answers = match told.answers {
        Some(origin) => format!("answers compared with {origin}"),
        None => "no examples: answers are counted, not compared".to_owned(),
    };
    let block = report
        .block_p99_us
        .map(|p99| format!("; median p99 of the seconds {}", output::micros(p99)))
        .unwrap_or_default();
    [
        format!(
            "{} ({}), {} connections, {pace}, {form}, {} inputs, {answers}",
            told.service, told.version, told.connections, told.inputs
        ),
        format!("  {:.0} requests a second over {:.1} s", report.rate, report.seconds),
        format!("  {}", verdict(report)),
        latencies(&[("latency", &report.latency)]),
        format!("the generator took {:.1} us of processor time a request{block}", report.generator_us),
    ]
    .join("\n")
}
