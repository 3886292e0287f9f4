//! The words of administration: what is asked of the control plane and what it tells.
//!
//! These are the bodies under `/api/v1`, shared by server and client. Unknown fields are refused in
//! what is asked, so that a misspelt wish is not passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::receipt::{RevisionRef, Traffic};
use crate::{
    Contract, Difference, Digest, Fault, Format, Memory, ModelName, ProofKind, Revision, ServiceName,
    Settings, VersionId,
};

/// Asks for a version from bytes that are in the store already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    /// sha256 of the upload.
    pub digest: Digest,
}

/// Asks that a service serve a version: made new, or its settings changed with the version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapRequest {
    /// The version that shall answer.
    pub version: VersionId,
    /// New settings; the service keeps its own where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Why a breaking change of the contract is wanted. Without it such a change is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaking: Option<String>,
    /// Go through everything but the exchange and tell what was found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Why, for the receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Orders a node to serve a revision, or no longer to serve the service.
#[derive(Clone, Debug, PartialEq)]
pub struct SwapOrder {
    /// The service.
    pub service: ServiceName,
    /// What shall answer; nothing takes the service away.
    pub to: Option<Revision>,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// Whether the revision may break callers of the one before.
    pub breaking: bool,
}

/// What a swap or an undo did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// The service.
    pub service: ServiceName,
    /// Number of the swap in the service's chain.
    pub swap: u64,
    /// What answered before.
    pub from: Option<RevisionRef>,
    /// What answers every request sent from now on.
    pub to: Option<RevisionRef>,
    /// The generation from which on it answers.
    pub generation: u64,
    /// The node that acknowledges.
    pub node: String,
    /// Contract of the service against what the version offers.
    pub check: Difference,
    /// Time to load and prove, microseconds; 0 where it was warm.
    pub load_micros: u64,
    /// From command to publication for an undo; time of the exchange itself for a swap, microseconds.
    pub published_micros: u64,
    /// Hash of the receipt's last entry: note it down elsewhere to verify with.
    pub head: Digest,
}

/// What a swap would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// The service.
    pub service: ServiceName,
    /// What answers now.
    pub from: Option<RevisionRef>,
    /// What would answer.
    pub version: VersionId,
    /// Contract of the service against what the version offers.
    pub check: Difference,
    /// What the version was proven on.
    pub proof: ProofKind,
    /// Memory it would need beside what is there.
    pub needs: Memory,
    /// Memory that is free under the node's limits; empty where there is none.
    pub free: Memory,
    /// The steps, in order.
    pub steps: Vec<String>,
    /// Why it would be refused; empty when it would go through.
    pub refusals: Vec<String>,
}

/// A service as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub service: ServiceName,
    /// Number of the revision that answers.
    pub revision: u64,
    /// The version behind it.
    pub version: VersionId,
    /// sha256 of its artifact.
    pub digest: Digest,
    /// Format of the artifact.
    pub format: Format,
    /// The generation that new requests see.
    pub generation: u64,
    /// Whether it answers.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What it promises.
    pub contract: Contract,
    /// Limits and manners.
    pub settings: Settings,
    /// Memory admitted for it, with the warm previous revision.
    pub memory: Memory,
    /// What an undo would go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<RevisionRef>,
    /// Requests since the node started.
    pub traffic: Traffic,
    /// Requests inside the node now.
    pub in_flight: u64,
    /// Hash of the receipt chain's last entry.
    pub head: Digest,
}

/// A model with its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelView {
    /// Its name.
    pub model: ModelName,
    /// Number of the latest version.
    pub latest: u64,
    /// How many versions there are.
    pub versions: u64,
    /// When the latest was registered, milliseconds since 1970.
    pub updated_at: u64,
}

/// What lies in a model repository and is not served, and what is to be said of what is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryView {
    /// Versions that are not served, and models none of whose versions could be found.
    pub unserved: Vec<Unserved>,
    /// By service: what its owner should know though it answers.
    pub notes: BTreeMap<String, String>,
}

/// Something in a model repository that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    /// The model, as it would be called as a service. It need not be a name.
    pub name: String,
    /// Its version, where it has a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Why it is not served.
    pub reason: String,
    /// It is meant to be served and cannot be.
    pub trouble: bool,
}

/// How far a job, or one step of it, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its turn.
    Waiting,
    /// Is being done.
    Running,
    /// Came to its end.
    Done,
    /// Was refused or broke.
    Failed,
}

impl JobState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A job with its steps. The same document is each event of `/api/v1/jobs/{id}/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// What kind of work: `onboard`.
    pub kind: String,
    /// What it is about: `team.churn`.
    pub subject: String,
    /// How far it has come.
    pub state: JobState,
    /// Its steps, in order: for onboarding stored, recognised, proven, registered.
    pub steps: Vec<JobStep>,
    /// The version it registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Whether these very bytes were a version already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// When it was made, milliseconds since 1970.
    pub created_at: u64,
}

/// One step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStep {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub state: JobState,
    /// What it found, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it changed last, milliseconds since 1970.
    pub at: u64,
}

/// The node as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Name of the node.
    pub node: String,
    /// Version of Tenon.
    pub tenon: String,
    /// The generation that new requests see.
    pub generation: u64,
    /// Whether all wanted services can answer.
    pub ready: bool,
    /// Seconds since start.
    pub uptime_s: u64,
    /// Runtimes in the order in which they are tried.
    pub runtimes: Vec<RuntimeView>,
    /// Memory admitted for models.
    pub memory: Memory,
    /// Its limit; empty where there is none.
    pub memory_limit: Memory,
    /// Public key of its receipts, 64 hex digits.
    pub key: String,
}

/// A runtime of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeView {
    /// Name and build.
    pub build: String,
    /// Formats it reads.
    pub formats: Vec<Format>,
    /// Why it cannot load now, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}
