//! `tenon push`: bytes become a version.

use std::path::{Path, PathBuf};

use tenon_client::{Client, Progress as Upload, Source, bundle};
use tenon_contract::admin::{JobState, JobView};
use tenon_contract::{ModelName, Version};

use super::failure::{Failure, Outcome};
use super::output;
use super::progress::Progress;
use super::remote::{Remote, read};

/// Upload a model and make a version of it
///
/// PATH is a model file (.onnx), a bundle folder with model.toml, or such a folder as a zip. The bytes
/// are uploaded (an upload that broke off goes on where it stopped), recognised, proven in a process of
/// their own, and registered under the next number. The same bytes twice are one version.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon push digits model.onnx
  tenon push digits model.onnx --example examples.json
  tenon push team.churn ./bundle-folder --json

A version with examples is proven on their right answers, one without on inputs drawn from its
signature; the receipt of every swap says which.")]
pub struct Args {
    /// Name of the model, e.g. `digits` or `team.churn`
    name: ModelName,
    /// Model file, bundle folder or zip
    path: PathBuf,
    /// Examples with right answers for a bare model file
    #[arg(long, value_name = "FILE")]
    example: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.remote.json
    }
}

/// Pushes and follows the job to its end.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let source = source(&args.path, args.example.as_deref())?;
    let mut progress = Progress::new(args.remote.json);
    let digest = client
        .upload(&source, |upload| match upload {
            Upload::Hashed { bytes, total } => progress.bytes("hashing", bytes, total),
            Upload::Sent { bytes, total } => progress.bytes("uploading", bytes, total),
        })
        .await?;
    progress.end();
    let job = client.push(&args.name, digest).await?;
    let job = client.follow(&job.id, |job| steps(job, &mut progress)).await?;
    let version = finished(&client, &job).await?;
    output::show(args.remote.json, &version, |version| described(version, job.known));
    Ok(())
}

/// What is uploaded for a path.
fn source(path: &Path, example: Option<&Path>) -> Outcome<Source> {
    let is_folder = std::fs::metadata(path)
        .map(|metadata| metadata.is_dir())
        .map_err(|error| Failure::not_found(format!("read {}: {error}", path.display())))?;
    let Some(example) = example else {
        return Ok(if is_folder {
            Source::Bytes(bundle::zip_folder(path)?)
        } else {
            Source::File(path.to_owned())
        });
    };
    let artifact = if is_folder { Vec::new() } else { read(path)? };
    if is_folder || artifact.starts_with(b"PK") {
        return Err(Failure::usage("--example is for a bare model file")
            .hint("name the file in the bundle's model.toml: examples = \"examples.json\""));
    }
    Ok(Source::Bytes(bundle::with_examples(&artifact, &read(example)?)?))
}

/// Shows the steps of a job, each state once.
fn steps(job: &JobView, progress: &mut Progress) {
    let last = job.steps.iter().rev().find(|step| step.state != JobState::Waiting);
    let Some(step) = last else { return };
    let state = match step.state {
        JobState::Waiting => return,
        JobState::Running => "...",
        JobState::Done => "done",
        JobState::Failed => "failed",
    };
    let detail = step.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    progress.note(&format!("  {:11} {state}{detail}", step.name));
}

async fn finished(client: &Client, job: &JobView) -> Outcome<Version> {
    if let Some(fault) = &job.fault {
        return Err(Failure::from(fault.clone()));
    }
    let id = job
        .version
        .as_ref()
        .ok_or_else(|| Failure::new(format!("job {} ended without a version", job.id)))?;
    Ok(client.version(id).await?)
}

fn described(version: &Version, known: bool) -> String {
    let proof = &version.proof;
    let known = if known { " (these very bytes were pushed before)" } else { "" };
    let mut lines = vec![
        format!("{}{known}", version.id),
        format!("  {} {}, {}", version.format, output::bytes(version.size), version.digest),
        format!(
            "  proven on {} {} examples by {}: {} a call, loaded in {}, {}",
            proof.examples,
            proof.kind,
            proof.key.runtime,
            output::micros(proof.call_micros as f64),
            output::micros(proof.load_micros as f64),
            proof.memory
        ),
    ];
    lines.extend(proof.notes.iter().map(|note| format!("  note: {note}")));
    lines.push(format!("serve it: tenon deploy {} {}", version.id.model, version.id));
    lines.join("\n")
}
