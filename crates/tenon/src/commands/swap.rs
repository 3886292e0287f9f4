//! `tenon swap`: another version behind the same service. Also how the outcome of swaps is told.

use tenon_contract::admin::{DryRun, SwapRequest, Swapped};
use tenon_contract::receipt::RevisionRef;
use tenon_contract::{Difference, ServiceName};

use super::failure::{Failure, Outcome};
use super::output;
use super::remote::{Remote, VersionArg, unknown_service};

/// Exchange the version behind a service while it serves
///
/// The new version is loaded and proven beside the old one, checked against the contract of the service,
/// and published at once. When the command returns, no request sent later is answered by the old version.
/// If any step fails, what is served stays exactly as it was.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon swap digits digits/2
  tenon swap digits digits              the latest version of the model
  tenon swap digits digits/2 --dry-run  everything but the exchange
  tenon swap digits other/1 --breaking \"digits become letters, callers are told\"

`tenon undo SERVICE` goes back within a millisecond.")]
pub struct Args {
    /// The service
    service: ServiceName,
    /// The version: `digits/2`, or `digits` for the latest
    version: VersionArg,
    /// Go through everything but the exchange and tell what was found; exit code 1 if it would be refused
    #[arg(long)]
    dry_run: bool,
    /// Allow a change that breaks callers, and say why
    #[arg(long, value_name = "REASON")]
    breaking: Option<String>,
    /// Why, for the receipt
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.remote.json
    }
}

/// Swaps, or tries to.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let version = args.version.resolve(&client).await?;
    let wish = SwapRequest {
        version,
        settings: None,
        breaking: args.breaking,
        dry_run: args.dry_run,
        reason: args.reason,
    };
    if !args.dry_run {
        let swapped = client.swap(&args.service, &wish).await.map_err(unknown_service)?;
        output::show(args.remote.json, &swapped, exchanged);
        return Ok(());
    }
    let dry = client.dry_run(&args.service, &wish).await.map_err(unknown_service)?;
    output::show(args.remote.json, &dry, tried);
    match dry.refusals.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("the swap would be refused").after_answer()),
    }
}

/// Tells what a swap, a deployment or an undo did.
pub(super) fn exchanged(swapped: &Swapped) -> String {
    let named = |revision: &Option<RevisionRef>| {
        revision
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), |to| format!("{} (revision {})", to.version, to.number))
    };
    let loaded = match swapped.load_micros {
        0 => "it was warm".to_owned(),
        micros => format!("loaded and proven in {}", output::micros(micros as f64)),
    };
    let mut lines = vec![
        format!("{}: {} -> {}", swapped.service, named(&swapped.from), named(&swapped.to)),
        format!(
            "  swap {} on {}, generation {}: {loaded}, published in {}",
            swapped.swap,
            swapped.node,
            swapped.generation,
            output::micros(swapped.published_micros as f64)
        ),
        format!("  contract: {}", changes(&swapped.check)),
        format!("  receipt head: {}", swapped.head),
    ];
    if swapped.to.is_some() && swapped.from.is_some() {
        lines.push(format!("go back: tenon undo {}", swapped.service));
    }
    lines.join("\n")
}

fn tried(dry: &DryRun) -> String {
    let from = dry.from.as_ref().map_or_else(|| "nothing".to_owned(), |from| from.version.to_string());
    let mut lines = vec![
        format!("{}: {from} -> {} (dry run, nothing was changed)", dry.service, dry.version),
        format!("  contract: {}", changes(&dry.check)),
        format!("  proof: {}", dry.proof),
        format!(
            "  needs {}, free {}",
            dry.needs,
            if dry.free.iter().next().is_none() { "without limit".to_owned() } else { dry.free.to_string() }
        ),
    ];
    lines.extend(dry.steps.iter().zip(1..).map(|(step, number)| format!("  {number}. {step}")));
    match dry.refusals.is_empty() {
        true => lines.push("it would go through".to_owned()),
        false => lines.extend(dry.refusals.iter().map(|refusal| format!("it would be refused: {refusal}"))),
    }
    lines.join("\n")
}

fn changes(check: &Difference) -> String {
    let mut text = check.severity.to_string();
    for change in &check.changes {
        text.push_str(&format!("\n    {} {}: {}", change.severity, change.path, change.text));
    }
    text
}
