//! A runtime of a few lines for tests of the rooms that must work with any runtime.
//!
//! Its artifact is a text: `toy add=2 width=4 end`, and words that make it misbehave. It is no part of
//! the product: the binary does not list it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tenon_contract::{Datatype, Format, Memory, NamedTensor, Parameters, Signature, Tensor, TensorSpec};

use crate::{
    Answers, Bundle, Call, Cancel, Capabilities, LoadError, LoadOptions, Model, RunError, Runtime, Session,
    Single,
};

/// Asks a model once, in a session of its own and with nothing but `inputs`.
///
/// # Errors
/// The inputs do not fit the model, or it gave no answer.
pub fn ask(model: &dyn Model, inputs: Vec<NamedTensor>) -> Result<Vec<Tensor>, RunError> {
    let inputs = model.signature().bind(inputs).map_err(RunError::Refused)?;
    let (parameters, cancel, mut single) = (Parameters::new(), Cancel::new(), Single::default());
    let call =
        Call { inputs: &inputs, parameters: &parameters, deadline: None, cancel: &cancel, sequence: None };
    let mut session = model.session().map_err(|error| RunError::Failed(error.to_string()))?;
    session.run(call, &mut single)?;
    single.take()
}

/// Reads `toy` artifacts and counts what is alive.
#[derive(Default)]
pub struct Toy {
    alive: Arc<AtomicI64>,
    formats: Vec<Format>,
}

impl Toy {
    /// The runtime.
    ///
    /// # Panics
    /// Never: `toy` is a format's name.
    pub fn new() -> Self {
        Self { alive: Arc::default(), formats: vec!["toy".parse().expect("`toy` is a name")] }
    }

    /// Models and sessions in memory.
    pub fn alive(&self) -> i64 {
        self.alive.load(Ordering::SeqCst)
    }
}

impl Runtime for Toy {
    fn build(&self) -> &str {
        "toy 1"
    }

    fn formats(&self) -> &[Format] {
        &self.formats
    }

    fn recognise(&self, bytes: &[u8]) -> Option<Format> {
        bytes.starts_with(b"toy ").then(|| self.formats[0].clone())
    }

    fn load(&self, bundle: &Bundle, options: &LoadOptions) -> Result<Box<dyn Model>, LoadError> {
        let place = &bundle.manifest().artifact;
        let malformed = |text: &str| LoadError::malformed(place, text);
        let text = std::str::from_utf8(bundle.artifact()).map_err(|_| malformed("not a text"))?;
        let mut model = Affine::named("x", "y", 0.0);
        let words = text.strip_prefix("toy ").and_then(|rest| rest.strip_suffix(" end"));
        for word in words.ok_or_else(|| malformed("not between `toy` and `end`"))?.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or_else(|| malformed("expected key=value"))?;
            let number: f32 = value.parse().map_err(|_| malformed("expected a number"))?;
            match key {
                "add" => model.add = number,
                "run_ms" => model.run = Duration::from_millis(number as u64),
                "load_ms" => wait(Duration::from_millis(number as u64), &options.cancel)?,
                "panic" => model.panics_at = Some(number),
                "width" => model.set_width(number as i64),
                _ => return Err(malformed("unknown key")),
            }
        }
        model.count = Some(Alive::new(&self.alive));
        Ok(Box::new(model))
    }
}

fn wait(time: Duration, cancel: &crate::Cancel) -> Result<(), LoadError> {
    let steps = time.as_millis();
    for _ in 0..steps {
        if cancel.is_cancelled() {
            return Err(LoadError::Cancelled);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// One count of what is alive.
struct Alive(Arc<AtomicI64>);

impl Alive {
    fn new(count: &Arc<AtomicI64>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// y = x + add, for FP32 rows of some width.
pub struct Affine {
    signature: Signature,
    add: f32,
    run: Duration,
    panics_at: Option<f32>,
    count: Option<Alive>,
}

impl Affine {
    /// Adds `add` to rows of width 1.
    pub fn named(input: &str, output: &str, add: f32) -> Self {
        let spec = |name: &str| TensorSpec::new(name, Datatype::Fp32, &[-1, 1]);
        let signature = Signature { inputs: vec![spec(input)], outputs: vec![spec(output)] };
        Self { signature, add, run: Duration::ZERO, panics_at: None, count: None }
    }

    fn set_width(&mut self, width: i64) {
        let specs = self.signature.inputs.iter_mut().chain(&mut self.signature.outputs);
        specs.for_each(|spec| spec.shape[1] = tenon_contract::Dim::Fixed(width));
    }
}

impl Model for Affine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn capabilities(&self) -> Capabilities {
        let memory = Memory::cpu(64);
        Capabilities {
            rows_independent: Some(true),
            deterministic: Some(true),
            session_memory: memory.clone(),
            memory,
            ..Capabilities::default()
        }
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        let count = self.count.as_ref().map(|count| Alive::new(&count.0));
        Ok(Box::new(Adds { add: self.add, run: self.run, panics_at: self.panics_at, _count: count }))
    }
}

struct Adds {
    add: f32,
    run: Duration,
    panics_at: Option<f32>,
    _count: Option<Alive>,
}

impl Session for Adds {
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        call.check()?;
        let x = &call.inputs.tensors()[0];
        let values = x.values::<f32>().map_err(|error| RunError::Failed(error.to_string()))?;
        assert!(self.panics_at.is_none_or(|at| !values.contains(&at)), "asked to panic");
        wait(self.run, call.cancel).map_err(|_| RunError::Cancelled)?;
        let sums = values.iter().map(|value| value + self.add).collect();
        let y = Tensor::from_values(x.shape().to_vec(), sums);
        answers.send(vec![y.map_err(|error| RunError::Failed(error.to_string()))?])
    }
}
