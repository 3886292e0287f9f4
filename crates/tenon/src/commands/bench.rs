//! `tenon bench`: what the server gives, and what a swap costs those who call it.

pub mod infer;
pub mod swap;

use clap::Subcommand;
use tenon_client::load::Report;
use tenon_client::load::histogram::Latency;

use super::failure::Outcome;
use super::output::{micros, table};
use crate::row;

/// Measure a server, with answers that are checked
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Infer(infer::Args),
    Swap(swap::Args),
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        match &self.what {
            What::Infer(args) => args.remote.json,
            What::Swap(args) => args.remote.json,
        }
    }
}

/// Measures.
pub async fn run(args: Args) -> Outcome {
    match args.what {
        What::Infer(args) => infer::run(args).await,
        What::Swap(args) => swap::run(args).await,
    }
}

/// Latencies as rows of a table, each with its name.
fn latencies(rows: &[(&str, &Latency)]) -> String {
    let mut lines = vec![row!["", "REQUESTS", "P50", "P90", "P99", "P99.9", "MAX"]];
    lines.extend(rows.iter().map(|(name, it)| {
        row![
            name,
            it.count,
            micros(it.p50_us),
            micros(it.p90_us),
            micros(it.p99_us),
            micros(it.p999_us),
            micros(it.max_us)
        ]
    }));
    table(&lines)
}

/// What became of the requests, with the first failures in words.
fn verdict(report: &Report) -> String {
    let tally = &report.tally;
    let mut text = format!(
        "{} right, {} lost, {} wrong, {} mixed, {} stale",
        tally.right, tally.lost, tally.wrong, tally.mixed, tally.stale
    );
    for (offence, charges) in &report.charges {
        for charge in charges {
            text.push_str(&format!("\n  {offence}: {charge}"));
        }
    }
    text
}
