//! `tenon undo`: back to what was served before.

use tenon_contract::ServiceName;

use super::failure::Outcome;
use super::output;
use super::remote::{Remote, service_or_only, unknown_service};
use super::swap::exchanged;

/// Go back to the previous revision, which is still warm
///
/// The exchange itself takes less than a millisecond and needs neither loading nor proving. Only the
/// previous revision stays warm; `tenon services SERVICE` says which that is.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon undo                 when there is one service only
  tenon undo digits --reason \"sevens are read as ones\"")]
pub struct Args {
    /// The service; may be left out when there is one only
    service: Option<ServiceName>,
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

/// Undoes.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let service = service_or_only(&client, args.service.as_ref()).await?;
    let swapped = client.undo(&service, args.reason.as_deref()).await.map_err(unknown_service)?;
    output::show(args.remote.json, &swapped, exchanged);
    Ok(())
}
