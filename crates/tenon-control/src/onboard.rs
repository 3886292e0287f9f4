//! Onboarding: the bytes of an upload become a version, in four steps.
//!
//! *stored*: the blob is there. *recognised*, *proven*: a child process found out what it is and that it
//! answers. *registered*: it has its number. A refusal at any step leaves neither version nor blob. After
//! a crash the job goes on behind its last journalled step; what was proven is not proven again.

use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_catalog::{AuditEntry, Catalog, Job, NewVersion};
use tenon_contract::admin::JobView;
use tenon_contract::{Digest, Fault, Format, ModelName, Proof, Signature, Version};
use tenon_store::Store;
use tokio::sync::mpsc;

use crate::jobs::{Failure, Jobs, Outcome, Progress, Work};
use crate::{Clock, Finding, Permit, Prover, Push, Stage};

const STORED: &str = "stored";
const RECOGNISED: &str = "recognised";
const PROVEN: &str = "proven";
const REGISTERED: &str = "registered";

/// Tries to clear a refused upload away before that is left to the next start.
const CLEARING_TRIES: u32 = 3;

/// Stages that may wait to be journalled.
const STAGES: usize = 4;

/// Makes versions of uploads. Clones are the same one.
#[derive(Clone)]
pub struct Onboarding {
    inner: Arc<Inner>,
    jobs: Jobs,
}

struct Inner {
    catalog: Arc<dyn Catalog>,
    store: Store,
    prover: Arc<dyn Prover>,
    clock: Arc<dyn Clock>,
}

/// What an onboarding job is given, as it stands in the catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Input {
    version: u32,
    model: ModelName,
    /// The number that the version must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    digest: Digest,
    actor: String,
}

impl Input {
    const FORMAT: u32 = 1;
}

impl Onboarding {
    /// The kind of its jobs.
    pub const WORK: Work = Work { kind: "onboard", steps: &[STORED, RECOGNISED, PROVEN, REGISTERED] };

    /// Onboarding into `catalog` of what is in `store`.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        store: Store,
        prover: Arc<dyn Prover>,
        clock: Arc<dyn Clock>,
        jobs: Jobs,
    ) -> Self {
        Self { inner: Arc::new(Inner { catalog, store, prover, clock }), jobs }
    }

    /// Begins to make a version of `model` from the blob `digest`, which is in the store already.
    ///
    /// # Errors
    /// The store has no such blob; too many jobs wait; store or catalog refused.
    pub async fn push(
        &self,
        permit: &Permit<Push>,
        model: &ModelName,
        digest: Digest,
    ) -> Result<JobView, Fault> {
        self.push_as(permit, model, None, digest).await
    }

    /// The same for a version that must have this `number`, where there is one.
    ///
    /// # Errors
    /// Those of [`Onboarding::push`]. The job fails when the number belongs to other bytes.
    pub async fn push_as(
        &self,
        permit: &Permit<Push>,
        model: &ModelName,
        number: Option<u64>,
        digest: Digest,
    ) -> Result<JobView, Fault> {
        if self.inner.store.size(&digest).await?.is_none() {
            return Err(Fault::not_found(format!(
                "push {model}: {digest} is not in the store; upload it first"
            )));
        }
        let actor = permit.holder().to_owned();
        let input = Input { version: Input::FORMAT, model: model.clone(), number, digest, actor };
        let work = self.inner.clone().work(input.clone());
        self.jobs.begin(Self::WORK, model.as_str(), json!(input), work).await
    }

    /// Takes up what a former run left unfinished.
    ///
    /// # Errors
    /// The catalog refused.
    pub async fn resume(&self) -> Result<(), Fault> {
        for job in self.inner.catalog.unfinished_jobs().await? {
            if job.kind != Self::WORK.kind {
                continue;
            }
            tracing::info!(job = job.id, model = job.subject, "resuming job");
            match read_input(&job) {
                Ok(input) => self.jobs.resume(job, self.inner.clone().work(input)),
                Err(fault) => self.jobs.resume(job, |_| async { Err(Failure::Final(fault)) }),
            }
        }
        Ok(())
    }
}

impl Inner {
    /// The work of one job: its steps, and what is cleared away when one refuses.
    fn work(
        self: Arc<Self>,
        input: Input,
    ) -> impl FnOnce(Progress) -> Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send>> {
        move |progress| {
            Box::pin(async move {
                let result = self.steps(&input, &progress).await;
                self.audit(&input, &result).await;
                match result {
                    Ok(outcome) => Ok(outcome),
                    Err(fault) => match self.clear(&input.digest, &progress.id()).await {
                        Ok(()) => Err(Failure::Final(fault)),
                        Err(left) => {
                            tracing::warn!(artifact = %input.digest, %left, "refused upload is still in the store");
                            let text = format!(
                                "{}; the upload is not cleared away yet: the next start takes it up again",
                                fault.text
                            );
                            Err(Failure::Unfinished(Fault { text, ..fault }))
                        }
                    },
                }
            })
        }
    }

    async fn steps(&self, input: &Input, progress: &Progress) -> Result<Outcome, Fault> {
        let resumed = progress.kept(STORED).is_some();
        let size = self.stored(input, progress).await?;
        if !resumed && let Some(version) = self.catalog.version_by_digest(&input.model, &input.digest).await?
        {
            return self.known(version, progress).await;
        }
        let finding = match kept_finding(progress) {
            Some(finding) => finding,
            None => self.proven(input, size, progress).await?,
        };
        progress.begins(REGISTERED).await?;
        let registered = self.catalog.register(self.new_version(input, size, finding)).await?;
        let version = registered.version.id;
        // It is registered: from here on nothing can refuse it any more.
        if let Err(fault) = progress.done(REGISTERED, version.to_string(), Value::Null).await {
            tracing::warn!(%version, %fault, "registration not journalled");
        }
        Ok(Outcome { version, known: !registered.created && !resumed })
    }

    /// Whether the bytes are there, and how many.
    async fn stored(&self, input: &Input, progress: &Progress) -> Result<u64, Fault> {
        progress.begins(STORED).await?;
        let gone =
            || Fault::unavailable(format!("{} is no longer in the store; push it again", input.digest));
        let size = self.store.size(&input.digest).await?.ok_or_else(gone)?;
        progress
            .done(STORED, format!("{size} bytes, sha256 {}", input.digest.hex()), json!({ "size": size }))
            .await?;
        Ok(size)
    }

    /// These very bytes are a version of this model: nothing is proven twice.
    async fn known(&self, version: Version, progress: &Progress) -> Result<Outcome, Fault> {
        progress.done(RECOGNISED, recognised_text(&version.format), Value::Null).await?;
        progress.done(PROVEN, proven_text(&version.proof), Value::Null).await?;
        progress.done(REGISTERED, format!("{}, known already", version.id), Value::Null).await?;
        Ok(Outcome { version: version.id, known: true })
    }

    /// The finding about the bytes: from a version of another model that has the same ones and whose
    /// proof holds here and now, else from the prover.
    async fn proven(&self, input: &Input, size: u64, progress: &Progress) -> Result<Finding, Fault> {
        progress.begins(RECOGNISED).await?;
        let finding = match self.proven_before(&input.digest).await? {
            Some(finding) => {
                progress.done(RECOGNISED, recognised_text(&finding.format), Value::Null).await?;
                finding
            }
            None => {
                let finding = self.prove(input.digest, size, progress).await?;
                self.catalog.record_proof(&finding.proof).await?;
                finding
            }
        };
        let kept = serde_json::to_value(&finding)
            .map_err(|error| Fault::internal(format!("journal finding: {error}")))?;
        progress.done(PROVEN, proven_detail(&finding), kept).await?;
        Ok(finding)
    }

    async fn proven_before(&self, digest: &Digest) -> Result<Option<Finding>, Fault> {
        for twin in self.versions_of(digest).await? {
            // The bytes say how they are read: at most one of the keys has been proven.
            for key in self.prover.keys(*digest, &twin.format) {
                if let Some(proof) = self.catalog.proof(&key).await? {
                    let Version { format, signature, contract, about, .. } = twin;
                    return Ok(Some(Finding { format, signature, contract, proof, about }));
                }
            }
        }
        Ok(None)
    }

    /// Proves, and journals the stages as they are reached.
    async fn prove(&self, digest: Digest, size: u64, progress: &Progress) -> Result<Finding, Fault> {
        let (sender, mut stages) = mpsc::channel(STAGES);
        let mut proving = self.prover.prove(digest, size, sender);
        let finding = loop {
            tokio::select! {
                biased;
                Some(stage) = stages.recv() => note(&stage, progress).await?,
                finding = &mut proving => break finding,
            }
        };
        while let Ok(stage) = stages.try_recv() {
            note(&stage, progress).await?;
        }
        finding
    }

    fn new_version(&self, input: &Input, size: u64, finding: Finding) -> NewVersion {
        let Finding { format, signature, contract, proof, about } = finding;
        let (model, digest, registered_at) = (input.model.clone(), input.digest, self.clock.now_ms());
        let number = input.number;
        NewVersion { model, number, digest, size, format, signature, contract, proof, about, registered_at }
    }

    /// The versions of all models that have these bytes.
    async fn versions_of(&self, digest: &Digest) -> Result<Vec<Version>, Fault> {
        let mut versions = Vec::new();
        for model in self.catalog.models().await? {
            versions.extend(self.catalog.version_by_digest(&model.model, digest).await?);
        }
        Ok(versions)
    }

    /// Deletes a refused upload, unless a version has the same bytes or another job waits for them.
    async fn clear(&self, digest: &Digest, job: &str) -> Result<(), Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.clear_once(digest, job).await {
                Err(fault) if tries < CLEARING_TRIES => {
                    tracing::debug!(artifact = %digest, %fault, "refused upload not cleared; trying again");
                }
                result => return result,
            }
        }
    }

    async fn clear_once(&self, digest: &Digest, job: &str) -> Result<(), Fault> {
        if !self.versions_of(digest).await?.is_empty() {
            return Ok(());
        }
        let unfinished = self.catalog.unfinished_jobs().await?;
        let waits =
            |other: &Job| other.id != job && read_input(other).is_ok_and(|input| input.digest == *digest);
        if !unfinished.iter().any(waits) {
            self.store.delete(digest).await?;
        }
        Ok(())
    }

    async fn audit(&self, input: &Input, result: &Result<Outcome, Fault>) {
        let outcome = match result {
            Ok(Outcome { version, known: true }) => format!("known as {version}"),
            Ok(Outcome { version, .. }) => format!("registered {version}"),
            Err(fault) => format!("refused: {fault}"),
        };
        let entry = AuditEntry {
            at: self.clock.now_ms(),
            actor: input.actor.clone(),
            action: "push".to_owned(),
            subject: input.model.to_string(),
            outcome,
            request_id: None,
        };
        if let Err(error) = self.catalog.audit(entry).await {
            tracing::warn!(model = %input.model, %error, "audit not recorded");
        }
    }
}

async fn note(stage: &Stage, progress: &Progress) -> Result<(), Fault> {
    match stage {
        Stage::Recognised(format) => {
            progress.done(RECOGNISED, recognised_text(format), Value::Null).await?;
            progress.begins(PROVEN).await
        }
    }
}

fn read_input(job: &Job) -> Result<Input, Fault> {
    let input: Input = serde_json::from_value(job.input.clone())
        .map_err(|error| Fault::internal(format!("read job {}: {error}; push it again", job.id)))?;
    match input.version {
        Input::FORMAT => Ok(input),
        later => Err(Fault::internal(format!("read job {}: has format {later}; push it again", job.id))),
    }
}

fn kept_finding(progress: &Progress) -> Option<Finding> {
    serde_json::from_value(progress.kept(PROVEN)?).ok()
}

fn recognised_text(format: &Format) -> String {
    format.to_string()
}

fn proven_detail(finding: &Finding) -> String {
    format!("{}; {}", tensors_text(&finding.signature), proven_text(&finding.proof))
}

fn proven_text(proof: &Proof) -> String {
    let Proof { kind, examples, call_micros, memory, .. } = proof;
    format!("{kind}: {examples} examples answered, {call_micros} us a call, {memory}")
}

fn tensors_text(signature: &Signature) -> String {
    let list = |specs: &[tenon_contract::TensorSpec]| {
        let texts: Vec<_> = specs
            .iter()
            .map(|spec| format!("{} {}{:?}", spec.name, spec.datatype, spec.wire_shape()))
            .collect();
        texts.join(", ")
    };
    format!("{} -> {}", list(&signature.inputs), list(&signature.outputs))
}
