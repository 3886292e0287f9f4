//! `tenon services`: what is served.

use tenon_contract::ServiceName;
use tenon_contract::admin::{RepositoryView, ServiceView};

use super::failure::Outcome;
use super::output::{self, table};
use super::remote::{Remote, unknown_service};
use crate::row;

/// List services, or show one
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon services
  tenon services digits
  tenon services digits --json | jq -r .version")]
pub struct Args {
    /// The service to show
    name: Option<ServiceName>,
    #[command(flatten)]
    remote: Remote,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.remote.json
    }
}

/// Lists or shows.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    match &args.name {
        None => {
            let services = client.services().await?;
            // Only people are told what else there could be.
            let repository = match args.remote.json {
                true => RepositoryView::default(),
                false => client.repository().await?,
            };
            output::show(args.remote.json, &services, |services| {
                format!("{}{}", listed(services), unserved(&repository))
            });
        }
        Some(name) => {
            let view = client.service(name).await.map_err(unknown_service)?;
            output::show(args.remote.json, &view, shown);
        }
    }
    Ok(())
}

fn listed(services: &[ServiceView]) -> String {
    if services.is_empty() {
        return "no services yet: make one with `tenon deploy SERVICE VERSION`".to_owned();
    }
    let mut rows =
        vec![row!["SERVICE", "VERSION", "REVISION", "STATE", "UNDO TO", "ANSWERED", "FAILED", "P99"]];
    rows.extend(services.iter().map(|view| {
        let undo = view.undo.as_ref().map_or_else(|| "-".to_owned(), |to| to.version.to_string());
        let (traffic, p99) = (view.traffic, output::micros(view.traffic.p99_micros as f64));
        row![
            view.service,
            view.version,
            view.revision,
            state(view),
            undo,
            traffic.answered,
            traffic.failed,
            p99
        ]
    }));
    table(&rows)
}

/// What the model repository holds beside that, and why; empty where there is nothing to tell.
fn unserved(repository: &RepositoryView) -> String {
    let troubles: Vec<_> = repository.unserved.iter().filter(|unserved| unserved.trouble).collect();
    let mut text = String::new();
    if !troubles.is_empty() {
        let mut rows = vec![row!["NOT SERVED", "REASON"]];
        rows.extend(troubles.into_iter().map(|unserved| match unserved.version {
            Some(version) => row![format!("{}/{version}", unserved.name), unserved.reason],
            None => row![unserved.name, unserved.reason],
        }));
        text = format!("\n\n{}", table(&rows));
    }
    for (service, note) in &repository.notes {
        text += &format!("\n\n{service}: {note}");
    }
    text
}

fn state(view: &ServiceView) -> &'static str {
    if view.ready { "ready" } else { "not ready" }
}

fn shown(view: &ServiceView) -> String {
    let (traffic, settings) = (view.traffic, &view.settings);
    let chosen = |count: u32| if count == 0 { "as the node chooses".to_owned() } else { count.to_string() };
    let operations: Vec<_> =
        view.contract.operations.iter().map(|operation| operation.name.to_string()).collect();
    let undo = view.undo.as_ref().map_or_else(
        || "nothing to go back to".to_owned(),
        |to| format!("{} (revision {})", to.version, to.number),
    );
    let mut rows = vec![
        row!["service", view.service],
        row![
            "state",
            view.fault.as_ref().map_or_else(|| state(view).to_owned(), |fault| format!("not ready: {fault}"))
        ],
        row!["version", format!("{} ({} {})", view.version, view.format, view.digest.short())],
        row!["revision", format!("{}, in generation {}", view.revision, view.generation)],
        row!["undo to", undo],
        row!["operations", operations.join(", ")],
        row!["memory", view.memory],
        row![
            "sessions",
            format!("{}, threads in each: {}", chosen(settings.sessions), chosen(settings.threads))
        ],
        row![
            "limits",
            format!(
                "{} in flight, {} waiting, {} ms",
                settings.in_flight, settings.queue, settings.timeout_ms
            )
        ],
        row![
            "requests",
            format!(
                "{} answered, {} failed, {} refused, {} in flight",
                traffic.answered, traffic.failed, traffic.refused, view.in_flight
            )
        ],
        row!["p99", output::micros(traffic.p99_micros as f64)],
        row!["receipts", view.head],
    ];
    if let Some(signature) = view.contract.tensors() {
        rows.extend(signature.inputs.iter().map(|spec| row!["in", spec]));
        rows.extend(signature.outputs.iter().map(|spec| row!["out", spec]));
    }
    table(&rows)
}
