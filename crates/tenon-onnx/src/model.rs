//! A loaded model: the verified bytes, its signature and how further sessions are made.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use tenon_contract::{Device, Memory, Signature};
use tenon_runtime::{Bundle, Capabilities, LoadError, LoadOptions, Model, Session};

use crate::raw::{Runner, SharedWeight};
use crate::runtime::Options;
use crate::session::OnnxSession;
use crate::signature::signature;
use crate::{external, shapes};

/// A model that gives sessions of ONNX Runtime.
pub(crate) struct OnnxModel {
    artifact: Bytes,
    weights: Arc<[SharedWeight]>,
    signature: Arc<Signature>,
    settings: Settings,
    /// The session that loading made; the first worker gets it, so that one worker costs one session.
    first: Mutex<Option<Runner>>,
    memory: Memory,
}

impl OnnxModel {
    /// Reads the artifact and makes the first session.
    ///
    /// # Errors
    /// It is no sound model, points outside its bundle, needs more memory than allowed, or the load was
    /// cancelled. ONNX Runtime 1.17 cannot be stopped while it loads: the token is looked at before and
    /// after.
    pub(crate) fn load(
        bundle: &Bundle,
        settings: Settings,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let place = &bundle.manifest().artifact;
        let artifact = bundle.artifact().clone();
        (options.progress)("reading the graph");
        let weights = external::weights(&artifact, place, &|path| bundle.beside_artifact(path).cloned())?;
        let held =
            weights.iter().map(|weight| weight.bytes.len() as u64).sum::<u64>() + artifact.len() as u64;
        let memory = Memory::cpu(held);
        let needed = memory.clone().times(2);
        if let Some(allowed) =
            options.memory_budget.as_ref().filter(|allowed| needed.exceeds(allowed).is_some())
        {
            return Err(LoadError::Memory { needed, allowed: allowed.clone() });
        }
        not_cancelled(options)?;
        (options.progress)("building the session");
        let weights = weights.into_iter().map(SharedWeight::new).collect::<ort::Result<_>>();
        let weights = weights.map_err(|error| refused(&error))?;
        let first = settings.runner(&artifact, &weights)?;
        not_cancelled(options)?;
        let signature = Arc::new(signature(first.session())?);
        Ok(Self { artifact, weights, signature, settings, first: Mutex::new(Some(first)), memory })
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Memory is what the files weigh: once for the bytes kept here, once for each session's own copy of
    /// the weights. What runs need on top shows only in a proof.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            memory: self.memory.clone(),
            session_memory: self.memory.clone(),
            ..Capabilities::default()
        }
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let runner = match first {
            Some(runner) => runner,
            None => self.settings.runner(&self.artifact, &self.weights)?,
        };
        Ok(Box::new(OnnxSession::new(runner, self.signature.clone())))
    }
}

/// How sessions of a model are made.
pub(crate) struct Settings {
    environment: ort::environment::Environment,
    options: Options,
    threads: usize,
    spinning: bool,
}

impl Settings {
    /// # Errors
    /// The device is not one that ONNX Runtime computes on here.
    pub(crate) fn new(
        environment: ort::environment::Environment,
        options: Options,
        load: &LoadOptions,
    ) -> Result<Self, LoadError> {
        if load.device != Device::Cpu {
            return Err(LoadError::Engine(format!(
                "onnxruntime computes on cpu only here, not on {}",
                load.device
            )));
        }
        Ok(Self { environment, options, threads: load.threads.max(1), spinning: load.spinning })
    }

    fn runner(&self, artifact: &[u8], weights: &Arc<[SharedWeight]>) -> Result<Runner, LoadError> {
        let runner = self.builder(artifact).and_then(|builder| Runner::new(builder, artifact, weights));
        runner.map_err(|error| refused(&error))
    }

    fn builder(&self, artifact: &[u8]) -> ort::Result<SessionBuilder> {
        let cpu = ort::ep::CPU::default().with_arena_allocator(self.options.arena).build();
        let builder = ort::session::Session::builder(&self.environment)?
            // What Python's InferenceSession does by default, so that answers are the same bits.
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_parallel_execution(false)?
            .with_inter_threads(1)?
            .with_intra_threads(self.threads)?
            .with_intra_op_spinning(self.spinning)?
            .with_inter_op_spinning(false)?
            .with_memory_pattern(self.options.memory_pattern && shapes::inputs_are_fixed(artifact))?
            // Bytes that were checked as ONNX are read as nothing else.
            .with_config_entry("session.load_model_format", "ONNX")?
            .with_execution_providers([cpu])?;
        Ok(builder)
    }
}

fn not_cancelled(options: &LoadOptions) -> Result<(), LoadError> {
    if options.cancel.is_cancelled() { Err(LoadError::Cancelled) } else { Ok(()) }
}

fn refused(error: &ort::Error) -> LoadError {
    LoadError::Engine(format!("onnxruntime refused the model: {}", error.message()))
}
