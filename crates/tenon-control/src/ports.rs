//! What the control plane needs from outside, as traits: a node to order, a prover, a clock.
//!
//! The binary wires the real ones; tests bring their own.

use async_trait::async_trait;
use tenon_contract::admin::{DryRun, SwapOrder, Swapped};
use tenon_contract::version::About;
use tenon_contract::{Contract, Digest, Fault, Format, Proof, ProofKey, Revision, ServiceName, Signature};
use tokio::sync::mpsc;

/// A serving node. It is the truth about what is live; the catalog follows it.
#[async_trait]
pub trait NodePort: Send + Sync {
    /// Exchanges what a service serves. When this returns `Ok`, no later request is answered by the
    /// old revision, and the exchange survives a crash.
    ///
    /// # Errors
    /// What is live is as it was.
    async fn swap(&self, order: SwapOrder) -> Result<Swapped, Fault>;

    /// Goes back to the previous revision.
    ///
    /// # Errors
    /// There is none, or the node is at fault; what is live is as it was.
    async fn undo(
        &self,
        service: &ServiceName,
        actor: &str,
        reason: Option<String>,
    ) -> Result<Swapped, Fault>;

    /// Goes through everything of a swap but the exchange.
    ///
    /// # Errors
    /// It could not even be tried; refusals of the swap itself stand in the answer.
    async fn dry_run(&self, order: &SwapOrder) -> Result<DryRun, Fault>;

    /// The revision of a service that answers now.
    fn live(&self, service: &ServiceName) -> Option<Revision>;

    /// Every revision that answers now.
    fn served(&self) -> Vec<Revision>;

    /// Every service that is meant to answer, also one that could not be brought back after a restart.
    fn wanted(&self) -> Vec<ServiceName>;

    /// The highest revision number the node has ever seen.
    fn highest_revision(&self) -> u64;

    /// The last entry of a service's receipt chain.
    fn head(&self, service: &ServiceName) -> Option<ReceiptHead>;
}

/// The end of a receipt chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptHead {
    /// Place of the entry in the chain, from 1.
    pub sequence: u64,
    /// sha256 of the entry.
    pub hash: Digest,
}

/// How far a proof has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The bytes were verified and their format is known.
    Recognised(Format),
}

/// What a prover found out about an artifact.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// How the artifact is encoded.
    pub format: Format,
    /// Tensors it takes and gives.
    pub signature: Signature,
    /// Operations it offers.
    pub contract: Contract,
    /// That it answered, and what that cost.
    pub proof: Proof,
    /// What people say about it.
    pub about: About,
}

/// Loads and proves bytes from outside where they can do no harm.
#[async_trait]
pub trait Prover: Send + Sync {
    /// Recognises, loads and proves the blob `digest` of the store. Tells each stage as it is reached;
    /// nobody need listen.
    ///
    /// # Errors
    /// The artifact is refused (`Invalid`, `TooLarge`, `Unsupported`), or cannot be proven now
    /// (`Unavailable`, `Internal`).
    async fn prove(&self, digest: Digest, size: u64, stages: mpsc::Sender<Stage>) -> Result<Finding, Fault>;

    /// The keys under which a proof of `artifact` may be made here and now, one for each way in which its
    /// bundle can be read; none where no runtime reads `format`.
    fn keys(&self, artifact: Digest, format: &Format) -> Vec<ProofKey>;
}

/// The time of day.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 is broken; the order of events does not hang on it.
        since.map_or(0, |since| since.as_millis() as u64)
    }
}
