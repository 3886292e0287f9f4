//! `tenon models`: what could be served.

use tenon_client::ModelDetail;
use tenon_contract::admin::ModelView;
use tenon_contract::{ModelName, TensorSpec, Version};

use super::failure::Outcome;
use super::output::{self, table};
use super::remote::{Remote, unknown_model};
use crate::row;

/// List models, or show one with its versions
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon models
  tenon models digits
  tenon models --json | jq -r '.[].model'")]
pub struct Args {
    /// The model to show
    name: Option<ModelName>,
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
        None => output::show(args.remote.json, &client.models().await?, |models| listed(models)),
        Some(name) => {
            let detail = client.model(name).await.map_err(unknown_model)?;
            output::show(args.remote.json, &detail, shown);
        }
    }
    Ok(())
}

fn listed(models: &[ModelView]) -> String {
    if models.is_empty() {
        return "no models yet: push one with `tenon push NAME PATH`".to_owned();
    }
    let mut rows = vec![row!["MODEL", "VERSIONS", "LATEST", "UPDATED"]];
    rows.extend(models.iter().map(|view| {
        row![
            view.model,
            view.versions,
            format!("{}/{}", view.model, view.latest),
            output::time(view.updated_at)
        ]
    }));
    table(&rows)
}

fn shown(detail: &ModelDetail) -> String {
    let mut rows = vec![row!["VERSION", "FORMAT", "SIZE", "PROOF", "CALL", "MEMORY", "REGISTERED", "DIGEST"]];
    rows.extend(detail.versions.iter().map(|version| {
        row![
            version.id,
            version.format,
            output::bytes(version.size),
            format!("{} ({})", version.proof.kind, version.proof.examples),
            output::micros(version.proof.call_micros as f64),
            version.proof.memory,
            output::time(version.registered_at),
            version.digest.short()
        ]
    }));
    let mut text = table(&rows);
    if let Some(latest) = detail.versions.last() {
        text.push_str(&signature(latest));
    }
    text
}

fn signature(version: &Version) -> String {
    let list = |specs: &[TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let about = version.about.description.as_ref().map(|about| format!("\n{about}")).unwrap_or_default();
    let (inputs, outputs) = (list(&version.signature.inputs), list(&version.signature.outputs));
    format!("\n\n{}{about}\n  in   {inputs}\n  out  {outputs}", version.id)
}
