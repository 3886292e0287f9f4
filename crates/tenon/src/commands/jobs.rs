//! `tenon jobs`: long work and how far it has come.

use tenon_contract::admin::{JobState, JobView};

use super::failure::{Failure, Outcome};
use super::output::{self, table};
use super::progress::Progress;
use super::remote::Remote;
use crate::row;

/// List jobs, or show one
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon jobs
  tenon jobs ID
  tenon jobs ID --follow     wait for its end; exit code 1 if it fails")]
pub struct Args {
    /// The job to show
    id: Option<String>,
    /// Wait for its end
    #[arg(long, requires = "id")]
    follow: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.remote.json
    }
}

/// Lists, shows or follows.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let unknown = |error| Failure::from(error).if_not_found("`tenon jobs` lists what there is");
    let Some(id) = &args.id else {
        output::show(args.remote.json, &client.jobs().await?, |jobs| listed(jobs));
        return Ok(());
    };
    let job = match args.follow {
        false => client.job(id).await.map_err(unknown)?,
        true => {
            let mut progress = Progress::new(args.remote.json);
            client.follow(id, |job| progress.note(&steps(job))).await.map_err(unknown)?
        }
    };
    output::show(args.remote.json, &job, |job| {
        format!("{}\n{}", listed(std::slice::from_ref(job)), steps(job))
    });
    match job.fault.filter(|_| args.follow) {
        Some(fault) => Err(Failure::from(fault).after_answer()),
        None => Ok(()),
    }
}

fn listed(jobs: &[JobView]) -> String {
    if jobs.is_empty() {
        return "no jobs".to_owned();
    }
    let mut rows = vec![row!["ID", "KIND", "SUBJECT", "STATE", "VERSION", "CREATED"]];
    rows.extend(jobs.iter().map(|job| {
        let version = job.version.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        row![job.id, job.kind, job.subject, state(job.state), version, output::time(job.created_at)]
    }));
    table(&rows)
}

fn steps(job: &JobView) -> String {
    let line = |step: &tenon_contract::admin::JobStep| {
        row![format!("  {}", step.name), state(step.state), step.detail.as_deref().unwrap_or_default()]
    };
    let mut text = table(&job.steps.iter().map(line).collect::<Vec<_>>());
    if let Some(fault) = &job.fault {
        text.push_str(&format!("\n  fault: {fault}"));
    }
    text
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
    }
}
