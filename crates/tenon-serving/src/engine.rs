//! From bytes to something that may answer, as a typestate: [`Loaded`] -> [`Proven`] -> [`Engine`].
//!
//! Bytes that became a model are `Loaded`; only what has been proven under this node's key becomes
//! `Proven`; and only a `Proven` can be put into a slot. The first load of a service goes the same way.

use std::sync::Arc;
use std::time::Instant;

use tenon_contract::{Digest, Examples, Fault, Memory, ProofKey, Settings, Version};
use tenon_runtime::{Bundle, LoadOptions, Model, Runtime, Session};

use crate::admission::Admitted;
use crate::clock;
use crate::pool::Pool;
use crate::prove;

/// What decides whether two services can share one engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineKey {
    digest: Digest,
    sessions: usize,
    threads: usize,
    queue: usize,
}

impl EngineKey {
    /// The engine that `settings` ask for; `cores` stands for "the node chooses".
    pub fn new(digest: Digest, settings: &Settings, cores: usize) -> Self {
        let chosen = |wanted: u32, otherwise: usize| if wanted == 0 { otherwise } else { wanted as usize };
        Self {
            digest,
            sessions: chosen(settings.sessions, cores),
            threads: chosen(settings.threads, 1),
            queue: settings.queue.max(1) as usize,
        }
    }

    /// Calls that it answers at once.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Memory that it will hold by the version's proof.
    pub fn memory(&self, version: &Version) -> Memory {
        let further = self.sessions.saturating_sub(1) as u64;
        version.proof.memory.clone().plus(&version.proof.session_memory.clone().times(further))
    }
}

/// Bytes that became a model, with its sessions.
pub struct Loaded {
    key: EngineKey,
    model: Box<dyn Model>,
    sessions: Vec<Box<dyn Session>>,
    proof_key: ProofKey,
    admitted: Admitted,
    load_micros: u64,
}

impl Loaded {
    /// Loads a version's bundle and makes the sessions that its key asks for.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn load(
        runtime: &dyn Runtime,
        bundle: &Bundle,
        key: EngineKey,
        processor: &str,
        admitted: Admitted,
    ) -> Result<Self, Fault> {
        let begun = clock::now();
        let options = LoadOptions { threads: key.threads, ..LoadOptions::default() };
        let model = runtime.load(bundle, &options)?;
        let sessions =
            model.capabilities().max_sessions.map_or(key.sessions, |most| most.min(key.sessions)).max(1);
        let sessions = (0..sessions).map(|_| model.session()).collect::<Result<_, _>>()?;
        let proof_key = ProofKey {
            artifact: bundle.digest(),
            runtime: runtime.build_for(bundle),
            processor: processor.to_owned(),
        };
        Ok(Self { key, model, sessions, proof_key, admitted, load_micros: clock::micros_since(begun) })
    }

    /// Proves it, where the version's own proof is not of this runtime and processor, and warms its
    /// sessions up.
    ///
    /// # Errors
    /// It does not give its examples' answers, or its signature is not the registered one.
    pub fn prove(mut self, version: &Version, examples: Option<&Examples>) -> Result<Proven, Fault> {
        let begun: Instant = clock::now();
        if *self.model.signature() != version.signature {
            return Err(Fault::invalid(format!("signature of {} is not the registered one", version.id)));
        }
        let mut call_micros = version.proof.call_micros;
        if version.proof.key != self.proof_key {
            let first = self.sessions.first_mut().ok_or_else(|| Fault::internal("model has no session"))?;
            call_micros = prove::prove(&*self.model, &mut **first, examples)?.call_micros;
        }
        for session in &mut self.sessions {
            prove::warm_up(&*self.model, &mut **session, examples);
        }
        let prove_micros = clock::micros_since(begun);
        let Self { key, model, sessions, admitted, load_micros, .. } = self;
        let pool = Pool::new(sessions, key.queue);
        let engine = Arc::new(Engine { key, model, pool, call_micros, admitted });
        Ok(Proven { engine, load_micros, prove_micros })
    }
}

/// What has answered its examples and is warm: it may be published.
pub struct Proven {
    pub(crate) engine: Arc<Engine>,
    pub(crate) load_micros: u64,
    pub(crate) prove_micros: u64,
}

impl Proven {
    /// An engine that is published already, or was until just now, is proven.
    pub(crate) fn warm(engine: Arc<Engine>) -> Self {
        Self { engine, load_micros: 0, prove_micros: 0 }
    }
}

/// A proven model with its sessions, shared by all slots that serve it with the same settings.
pub struct Engine {
    key: EngineKey,
    pub(crate) model: Box<dyn Model>,
    pub(crate) pool: Pool,
    call_micros: u64,
    admitted: Admitted,
}

impl Engine {
    /// What it was made for.
    pub fn key(&self) -> &EngineKey {
        &self.key
    }

    /// Memory it holds by admission.
    pub fn memory(&self) -> &Memory {
        self.admitted.memory()
    }

    /// What `rows` rows are expected to cost, microseconds, from the proof of one.
    pub fn cost_micros(&self, rows: usize) -> u64 {
        self.call_micros.saturating_mul(rows.max(1) as u64)
    }

    /// sha256 of its artifact.
    pub fn digest(&self) -> Digest {
        self.key.digest
    }
}
