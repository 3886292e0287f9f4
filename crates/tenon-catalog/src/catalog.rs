//! What the house asks of a catalog, one trait a noun. Everything is object safe: `Arc<dyn Catalog>`.

use async_trait::async_trait;
use serde_json::Value;
use tenon_contract::admin::{JobState, ModelView};
use tenon_contract::version::About;
use tenon_contract::{
    Contract, Digest, Format, ModelName, Proof, ProofKey, Revision, ServiceName, Signature, Version,
    VersionId,
};

use crate::CatalogError;

/// All facts of an installation.
pub trait Catalog: Versions + Services + Jobs + Heads + Proofs + Audits {}

impl<T: Versions + Services + Jobs + Heads + Proofs + Audits> Catalog for T {}

/// A version that has no number yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVersion {
    /// The line it belongs to.
    pub model: ModelName,
    /// The number that it must have; none is the next one.
    pub number: Option<u64>,
    /// sha256 of the uploaded bytes.
    pub digest: Digest,
    /// Bytes of the upload.
    pub size: u64,
    /// How the artifact is encoded.
    pub format: Format,
    /// Tensors it takes and gives.
    pub signature: Signature,
    /// Operations it offers.
    pub contract: Contract,
    /// Proof from onboarding.
    pub proof: Proof,
    /// Description, licence, card.
    pub about: About,
    /// When, milliseconds since 1970.
    pub registered_at: u64,
}

impl NewVersion {
    /// The version under its number.
    pub fn numbered(self, number: u64) -> Version {
        let Self { model, digest, size, format, signature, contract, proof, about, registered_at, .. } = self;
        let id = VersionId { model, number };
        Version { id, digest, size, format, signature, contract, proof, about, registered_at }
    }
}

/// What became of a [`NewVersion`].
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// The version, new or found.
    pub version: Version,
    /// `false` when the model had these bytes already.
    pub created: bool,
}

/// Models and their versions.
#[async_trait]
pub trait Versions: Send + Sync {
    /// Gives `version` the number that it asks for, else the next one of its model: one above the highest, from 1
    /// on. When the model has the same digest already, the existing version comes back as it was. A conflict when
    /// the number belongs to other bytes.
    async fn register(&self, version: NewVersion) -> Result<Registered, CatalogError>;

    /// Puts a version back under its own number, after the catalog was lost; `false` when it is there. A
    /// conflict when the number or the bytes belong to another version of the model.
    async fn restore_version(&self, version: &Version) -> Result<bool, CatalogError>;

    /// The version of this id.
    async fn version(&self, id: &VersionId) -> Result<Option<Version>, CatalogError>;

    /// The version of the model that has these bytes.
    async fn version_by_digest(
        &self,
        model: &ModelName,
        digest: &Digest,
    ) -> Result<Option<Version>, CatalogError>;

    /// The version with the highest number.
    async fn latest(&self, model: &ModelName) -> Result<Option<Version>, CatalogError>;

    /// All versions of a model, by number; none when there is no such model.
    async fn versions(&self, model: &ModelName) -> Result<Vec<Version>, CatalogError>;

    /// All models, by name.
    async fn models(&self) -> Result<Vec<ModelView>, CatalogError>;
}

/// Revisions, and what is wanted of each service.
#[async_trait]
pub trait Services: Send + Sync {
    /// A number above `floor` and above every number given or recorded before. A node that knows
    /// higher numbers than the catalog passes its highest as `floor`.
    async fn next_revision(&self, floor: u64) -> Result<u64, CatalogError>;

    /// From now on `revision` is wanted of its service. It may be an older one: that is an undo.
    async fn record_service(&self, revision: &Revision) -> Result<(), CatalogError>;

    /// The revision wanted of a service.
    async fn service(&self, service: &ServiceName) -> Result<Option<Revision>, CatalogError>;

    /// The revision wanted of each service, by name.
    async fn services(&self) -> Result<Vec<Revision>, CatalogError>;

    /// Nothing is wanted of the service any more; `false` when nothing was.
    async fn remove_service(&self, service: &ServiceName) -> Result<bool, CatalogError>;
}

/// Work that is about to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its id, chosen by the caller.
    pub id: String,
    /// What kind of work: `onboard`.
    pub kind: String,
    /// What it is about: `team.churn`.
    pub subject: String,
    /// All that is needed to do it, or to go on after a crash.
    pub input: Value,
    /// When, milliseconds since 1970.
    pub created_at: u64,
}

/// One entry of a job's journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JobStep {
    /// The step it is about. A step has several entries: running, then done or failed.
    pub name: String,
    /// How far the step has come.
    pub state: JobState,
    /// What was found.
    pub detail: Value,
    /// When, milliseconds since 1970.
    pub at: u64,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum JobOutcome {
    /// It did what was asked, with this result.
    Done(Value),
    /// It did not, for this reason.
    Failed(Value),
}

/// A job with its journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What kind of work.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What it was given.
    pub input: Value,
    /// How far it has come: waiting until the first step, running until it is finished.
    pub state: JobState,
    /// Result or reason, once it is finished.
    pub outcome: Option<Value>,
    /// The journal, in the order of writing.
    pub steps: Vec<JobStep>,
    /// When it was created, milliseconds since 1970.
    pub created_at: u64,
    /// When it changed last, milliseconds since 1970.
    pub updated_at: u64,
}

/// Long work and how far it has come.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Notes that a job waits to begin; a conflict when the id is taken.
    async fn create_job(&self, job: NewJob) -> Result<(), CatalogError>;

    /// Appends to the job's journal; a conflict when it is finished.
    async fn advance_job(&self, id: &str, step: JobStep) -> Result<(), CatalogError>;

    /// Ends a job at `at`, milliseconds since 1970; a conflict when it is finished.
    async fn finish_job(&self, id: &str, outcome: JobOutcome, at: u64) -> Result<(), CatalogError>;

    /// The job of this id.
    async fn job(&self, id: &str) -> Result<Option<Job>, CatalogError>;

    /// The last `limit` jobs, newest first.
    async fn jobs(&self, limit: u32) -> Result<Vec<Job>, CatalogError>;

    /// Jobs that wait or run, oldest first: what is to be resumed after a crash.
    async fn unfinished_jobs(&self) -> Result<Vec<Job>, CatalogError>;
}

/// The hash of one entry of a service's receipt chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The service.
    pub service: ServiceName,
    /// Place of the entry in its chain.
    pub sequence: u64,
    /// sha256 of the entry.
    pub hash: Digest,
    /// When it was recorded, milliseconds since 1970.
    pub at: u64,
}

/// Heads of receipt chains, kept apart from the chains.
#[async_trait]
pub trait Heads: Send + Sync {
    /// Keeps a head. The same one again is nothing new; another hash in the same place is a conflict,
    /// because somebody wrote that chain anew.
    async fn record_head(&self, head: &Head) -> Result<(), CatalogError>;

    /// All heads of a service, in the order of the chain.
    async fn heads(&self, service: &ServiceName) -> Result<Vec<Head>, CatalogError>;
}

/// Proofs by what would change them.
#[async_trait]
pub trait Proofs: Send + Sync {
    /// The proof under this key.
    async fn proof(&self, key: &ProofKey) -> Result<Option<Proof>, CatalogError>;

    /// Keeps a proof, in place of the one under the same key.
    async fn record_proof(&self, proof: &Proof) -> Result<(), CatalogError>;
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, milliseconds since 1970.
    pub at: u64,
    /// Who.
    pub actor: String,
    /// What: `swap`.
    pub action: String,
    /// To what: `churn`.
    pub subject: String,
    /// What came of it: `done`, or why it was refused.
    pub outcome: String,
    /// The request it came with, if any.
    pub request_id: Option<String>,
}

/// The record of who did what; appended to, never changed.
#[async_trait]
pub trait Audits: Send + Sync {
    /// Appends an entry.
    async fn audit(&self, entry: AuditEntry) -> Result<(), CatalogError>;

    /// The last `limit` entries, newest first.
    async fn audits(&self, limit: u32) -> Result<Vec<AuditEntry>, CatalogError>;
}
