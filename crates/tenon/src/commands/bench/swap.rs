//! `tenon bench swap`: what a swap does to those who call the service meanwhile.

use std::time::Duration;

use tenon_client::Client;
use tenon_client::load::swaps::{self, Memory, News, Press, Spread, SwapReport, Trial};
use tenon_codec::oip::Form;
use tenon_contract::{ServiceName, VersionId};

use super::{latencies, verdict};
use crate::commands::failure::{Failure, Outcome};
use crate::commands::output::{self, bytes, micros};
use crate::commands::progress::Progress;
use crate::commands::remote::{Remote, VersionArg, duration, service_or_only, share, unknown_service};

/// Exchange versions back and forth under load and check every answer
///
/// First a closed loop finds the most that the server gives; then requests come at a share of it in an open
/// loop, latency counted from the time at which each was due. Meanwhile the versions are exchanged, half of the
/// ways back by undo. The right answer of each version to each input is known, so that every answer is one of:
/// right; lost (none, or a refusal); wrong (of no version); mixed (the body of one version under the name of
/// another); stale (of the old version, to a request sent after the swap was acknowledged).
///
/// Right answers are the examples that a version was proven on. For versions without the same examples
/// inputs are drawn from the contract, and what the server answers at rest is taken as right.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon bench swap --to digits/2                     when there is one service only
  tenon bench swap digits --from digits/1 --to digits/2 --swaps 1000 --connections 64
  tenon bench swap detector --to detector/2 --rate 20 --inputs 8

Exit code 1 if any answer was lost, wrong, mixed or stale, a swap was refused, or readiness
flipped. The service serves afterwards what it served before.")]
pub struct Args {
    /// The service; may be left out when there is one only
    service: Option<ServiceName>,
    /// The version to swap to: `digits/2`, or `digits` for the latest
    #[arg(long, value_name = "VERSION")]
    to: VersionArg,
    /// The version to swap from; what is served now where none is named
    #[arg(long, value_name = "VERSION")]
    from: Option<VersionArg>,
    /// How many swaps, ways back among them
    #[arg(long, value_name = "N", default_value_t = 40)]
    swaps: u64,
    /// One swap each so often
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = duration)]
    every: Duration,
    /// Connections of the load
    #[arg(long, value_name = "N", default_value_t = 8)]
    connections: usize,
    /// Load as a share of what a closed loop reaches first
    #[arg(long, value_name = "SHARE", default_value = "60%", value_parser = share)]
    load: f64,
    /// Load in requests a second; no closed loop is run first
    #[arg(long, value_name = "R", conflicts_with = "load")]
    rate: Option<f64>,
    /// Send and get tensors as bytes; large ones always are
    #[arg(long)]
    binary: bool,
    /// Different inputs to send in turn
    #[arg(long, value_name = "N", default_value_t = 64)]
    inputs: usize,
    /// Go back by swaps only, never by undo
    #[arg(long)]
    no_undo: bool,
    #[command(flatten)]
    pub(super) remote: Remote,
}

/// Runs the trial.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let trial = trial(&client, &args).await?;
    let mut progress = Progress::new(args.remote.json);
    let mut news = |news: News| match news {
        News::Note(text) => progress.note(&text),
        News::Swapped { done, of } => progress.steps("swapping", done, of),
    };
    let report = swaps::run(&client, &trial, &mut news).await?;
    progress.end();
    output::show(args.remote.json, &report, shown);
    if report.passed() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} answers failed, {} swaps were refused, readiness flipped {} times",
        report.load.tally.failed(),
        report.refused.len(),
        report.not_ready
    ))
    .after_answer())
}

async fn trial(client: &Client, args: &Args) -> Outcome<Trial> {
    let service = service_or_only(client, args.service.as_ref()).await?;
    let to = args.to.resolve(client).await?;
    let from: VersionId = match &args.from {
        Some(from) => from.resolve(client).await?,
        None => client.service(&service).await.map_err(unknown_service)?.version,
    };
    if from == to {
        return Err(Failure::usage(format!("{service} serves {to} already"))
            .hint("name the other version with --from, or another one with --to"));
    }
    Ok(Trial {
        service,
        from,
        to,
        swaps: args.swaps,
        every: args.every,
        connections: args.connections,
        press: args.rate.map_or(Press::Share(args.load), Press::Rate),
        questions: args.inputs.max(1),
        form: args.binary.then_some(Form::Binary),
        undo: !args.no_undo,
    })
}

fn shown(report: &SwapReport) -> String {
    let versions: Vec<_> =
        report.parties.iter().map(|party| format!("{} ({})", party.version, party.answers)).collect();
    let most = report.capacity.map(|most| format!(" of {most:.0} at most")).unwrap_or_default();
    let form = if report.binary { "binary tensors" } else { "JSON" };
    let windows = &report.windows;
    let mut lines = vec![
        format!("{}: {}", report.service, versions.join(" <-> ")),
        format!(
            "  {} connections, {:.0} requests a second{most}, {form}; {} inputs, of which {} tell the versions apart",
            report.connections, report.rate, report.questions, report.telling
        ),
        format!(
            "  {} swaps, {} of them undone; {} refused",
            report.swaps,
            report.undos,
            report.refused.len()
        ),
        format!("  {}", verdict(&report.load)),
    ];
    lines.extend(report.refused.iter().take(10).map(|refusal| format!("  {refusal}")));
    lines.push(latencies(&[
        ("in swaps", &windows.inside),
        ("between", &windows.gaps),
        ("all", &report.load.latency),
    ]));
    lines.push(ratio(report));
    lines.extend(times(report));
    lines.push(format!("readiness: asked {} times, not ready {} times", report.probes, report.not_ready));
    lines.extend(report.memory.iter().map(memory));
    lines.push(format!("the generator took {:.1} us of processor time a request", report.load.generator_us));
    lines.join("\n")
}

fn ratio(report: &SwapReport) -> String {
    let number = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let (ratio, control) = (report.windows.ratio, report.windows.control);
    let restless = control.is_some_and(|control| !(0.85..=1.18).contains(&control));
    let doubt = if restless { ": the machine was too restless for the ratio to count" } else { "" };
    format!(
        "p99 in swaps / between: {} (control, gaps against gaps: {}{doubt})",
        number(ratio),
        number(control)
    )
}

fn times(report: &SwapReport) -> impl Iterator<Item = String> {
    let millis = |name: &'static str, spread: &Option<Spread>, unit: f64| {
        spread.map(|it| {
            let (p50, p99, max) = (micros(it.p50 * unit), micros(it.p99 * unit), micros(it.max * unit));
            format!("{name}: median {p50}, p99 {p99}, max {max} of {}", it.count)
        })
    };
    [
        millis("swap, command to acknowledgement", &report.swap_ms, 1e3),
        millis("undo, command to acknowledgement", &report.undo_ms, 1e3),
        millis("undo, command to publication inside the node", &report.undo_published_us, 1.0),
        millis("exchange itself, from the receipts", &report.publish_us, 1.0),
    ]
    .into_iter()
    .flatten()
}

fn memory(memory: &Memory) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| bytes(value as u64));
    let same = if memory.models_same { "the same each time" } else { "NOT the same each time" };
    let slope =
        memory.resident_per_swap.map_or_else(String::new, |slope| format!(", {slope:+.0} bytes a swap"));
    format!(
        "memory: models {} -> {}, {same}; process {} -> {}{slope}",
        shown(memory.first.models),
        shown(memory.last.models),
        shown(memory.first.resident),
        shown(memory.last.resident)
    )
}
