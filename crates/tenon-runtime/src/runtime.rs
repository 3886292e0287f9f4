//! The traits of an engine.

use tenon_contract::{Contract, Device, Format, Memory, NamedTensor, Signature};

use crate::{Answers, Bundle, Call, Cancel, LoadError, RunError};

/// Reads one or more model formats.
pub trait Runtime: Send + Sync {
    /// Name and build, part of every proof's key: `onnxruntime 1.31.1`.
    fn build(&self) -> &str;

    /// As [`Runtime::build`], with what else turns this bundle's bytes into answers, such as its adapter.
    fn build_for(&self, bundle: &Bundle) -> String {
        let _ = bundle;
        self.build().to_owned()
    }

    /// Every build under which one of its models may be proven: [`Runtime::build_for`] of any bundle.
    fn builds(&self) -> Vec<String> {
        vec![self.build().to_owned()]
    }

    /// The formats it reads.
    fn formats(&self) -> &[Format];

    /// Which of its formats `bytes` look like, from their content alone.
    fn recognise(&self, bytes: &[u8]) -> Option<Format>;

    /// Turns a bundle's artifact into a model. Only the bytes of the bundle are used: nothing is
    /// opened by path.
    ///
    /// # Errors
    /// The bytes are no such model, or the engine is not there.
    fn load(&self, bundle: &Bundle, options: &LoadOptions) -> Result<Box<dyn Model>, LoadError>;
}

/// A model in memory: immutable, shared by every thread.
pub trait Model: Send + Sync {
    /// Tensors taken and given.
    fn signature(&self) -> &Signature;

    /// What it offers to callers: `infer` over its tensors, unless it stands for more than tensors.
    fn contract(&self) -> Contract {
        Contract::of_signature(self.signature())
    }

    /// Inputs with `rows` rows that it can answer, each row drawn from its number alone; `None` where any
    /// values of the signature's datatypes and shapes will do.
    fn samples(&self, rows: usize) -> Option<Vec<NamedTensor>> {
        let _ = rows;
        None
    }

    /// What it can do and what it costs.
    fn capabilities(&self) -> Capabilities;

    /// One more worker's execution state.
    ///
    /// # Errors
    /// The engine refused.
    fn session(&self) -> Result<Box<dyn Session>, LoadError>;
}

/// One worker's execution state. `&mut self`, so it needs no lock.
pub trait Session: Send {
    /// Runs a call; sends every part of the answer before it returns.
    ///
    /// # Errors
    /// No answer, or no further part.
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError>;
}

/// What a model can do and what it costs. Where a proof measured something, the proof is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether rows of a batch do not see each other; `None` where the engine cannot tell.
    pub rows_independent: Option<bool>,
    /// Most rows of one call; `None` is no limit.
    pub max_batch: Option<usize>,
    /// Whether calls of a sequence share state in the session.
    pub stateful: bool,
    /// Whether an answer has more than one part.
    pub streams: bool,
    /// Whether equal inputs give equal answers; `None` where the engine cannot tell.
    pub deterministic: Option<bool>,
    /// Memory of the model itself, as far as the engine knows.
    pub memory: Memory,
    /// Memory of each session, as far as the engine knows.
    pub session_memory: Memory,
    /// Most sessions at once; `None` is no limit.
    pub max_sessions: Option<usize>,
}

/// How a model shall be loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where it computes.
    pub device: Device,
    /// Threads inside one call of a session.
    pub threads: usize,
    /// Whether those threads wait busily for work: faster alone, costly beside others.
    pub spinning: bool,
    /// What it may hold; `None` is no limit.
    pub memory_budget: Option<Memory>,
    /// Fires when the load is not wanted any more.
    pub cancel: Cancel,
    /// Told in words what is being done.
    pub progress: fn(&str),
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            threads: 1,
            spinning: false,
            memory_budget: None,
            cancel: Cancel::new(),
            progress: |_| (),
        }
    }
}
