//! `tenon deploy`: a version becomes a service, or a service gets other settings.

use tenon_client::Client;
use tenon_contract::admin::SwapRequest;
use tenon_contract::{ServiceName, Settings};

use super::failure::{Failure, Outcome};
use super::output;
use super::remote::{Remote, VersionArg};
use super::swap::exchanged;

/// Make a service of a version, or change its version and settings
///
/// A service that exists keeps every setting that is not named here.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon deploy digits digits/1
  tenon deploy digits digits/1 --sessions 2 --threads 1
  tenon deploy digits digits --timeout-ms 500 --reason \"answers must come fast\"

Call it afterwards:
  curl -s localhost:8080/v2/models/digits/infer -d @request.json")]
pub struct Args {
    /// The service
    service: ServiceName,
    /// The version: `digits/2`, or `digits` for the latest
    version: VersionArg,
    /// Allow a change that breaks callers, and say why
    #[arg(long, value_name = "REASON")]
    breaking: Option<String>,
    /// Why, for the receipt
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    remote: Remote,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.remote.json
    }
}

/// Settings as far as they are named.
#[derive(Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Settings")]
struct Wanted {
    /// Requests computed at once; 0 lets the node choose
    #[arg(long, value_name = "N")]
    sessions: Option<u32>,
    /// Threads inside one session; 0 lets the node choose
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// How long a request may take where the caller says nothing
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// Most requests inside the node at once
    #[arg(long, value_name = "N")]
    in_flight: Option<u32>,
    /// Most requests waiting for a session
    #[arg(long, value_name = "N")]
    queue: Option<u32>,
    /// How long the previous revision stays warm for an undo
    #[arg(long, value_name = "SECONDS")]
    undo_window_s: Option<u64>,
    /// How long a drain may take before it is reported as late
    #[arg(long, value_name = "MS")]
    drain_ms: Option<u64>,
    /// Serve only versions proven on golden examples
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    require_golden: Option<bool>,
}

impl Wanted {
    fn over(&self, base: Settings) -> Settings {
        Settings {
            sessions: self.sessions.unwrap_or(base.sessions),
            threads: self.threads.unwrap_or(base.threads),
            timeout_ms: self.timeout_ms.unwrap_or(base.timeout_ms),
            in_flight: self.in_flight.unwrap_or(base.in_flight),
            queue: self.queue.unwrap_or(base.queue),
            undo_window_s: self.undo_window_s.unwrap_or(base.undo_window_s),
            drain_ms: self.drain_ms.unwrap_or(base.drain_ms),
            require_golden: self.require_golden.unwrap_or(base.require_golden),
            parameters: base.parameters,
        }
    }
}

/// Deploys.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let version = args.version.resolve(&client).await?;
    let settings = match args.wanted == Wanted::default() {
        true => None,
        false => Some(args.wanted.over(settings_of(&client, &args.service).await?)),
    };
    let wish =
        SwapRequest { version, settings, breaking: args.breaking, dry_run: false, reason: args.reason };
    let deployed = client.deploy(&args.service, &wish).await;
    let deployed = deployed
        .map_err(|error| Failure::from(error).if_not_found("`tenon models` lists what could be served"))?;
    output::show(args.remote.json, &deployed, exchanged);
    Ok(())
}

/// The settings of a service; the defaults where there is none yet.
async fn settings_of(client: &Client, service: &ServiceName) -> Outcome<Settings> {
    let services = client.services().await?;
    let found = services.into_iter().find(|view| view.service == *service);
    Ok(found.map(|view| view.settings).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let base = Settings { queue: 7, threads: 3, ..Settings::default() };
        let wanted = Wanted { threads: Some(1), require_golden: Some(true), ..Wanted::default() };
        let expected = Settings { threads: 1, require_golden: true, ..base.clone() };
        assert_eq!(wanted.over(base), expected);
    }
}
