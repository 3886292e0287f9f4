//! ONNX Runtime by itself: a loop over its own `run`, inputs and outputs bound before, no server. Where there is a
//! picture, it is decoded and resized into the input before each run.
//!
//! Asked `run MILLISECONDS` it runs for so long and answers with a line of JSON.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::IoBinding;
use ort::session::{RunOptions, Session};
use ort::value::{DynTensor, TensorElementType};
use serde::{Deserialize, Serialize};
use tenon_client::load::histogram::Histogram;

use crate::pixels::Pixels;

/// What to run and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Loop {
    /// The library.
    #[arg(long)]
    pub(crate) library: PathBuf,
    /// The model: one UINT8 or FP32 input.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// File with the bytes of the input.
    #[arg(long, required_unless_present = "picture")]
    pub(crate) input: Option<PathBuf>,
    /// A JPEG instead, for an input of bytes, RGB.
    #[arg(long)]
    pub(crate) picture: Option<PathBuf>,
    /// Shape of the input.
    #[arg(long, value_delimiter = ',')]
    pub(crate) shape: Vec<i64>,
    /// Loops side by side, each with a session of its own.
    #[arg(long, default_value_t = 1)]
    pub(crate) loops: usize,
    /// Threads of a session.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Whether threads without work spin.
    #[arg(long)]
    pub(crate) spinning: bool,
    /// Whether memory is taken from ONNX Runtime's arena.
    #[arg(long)]
    pub(crate) arena: bool,
}

/// What a run came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ran {
    /// Runs of the model, in all loops.
    pub(crate) runs: u64,
    /// For so long.
    pub(crate) seconds: f64,
    /// 99th percentile of a run, microseconds.
    pub p99_us: f64,
}

/// Loads, runs once, says `ready`, and then runs as it is asked to.
///
/// # Errors
/// ONNX Runtime's own.
pub(crate) fn run(asked: &Loop) -> Result<()> {
    let environment = ort::init_from(&asked.library)?.with_telemetry(false).build()?;
    let model = read(&asked.model)?;
    let sessions = (0..asked.loops).map(|_| session(&environment, &model, asked));
    let mut bound = sessions.map(|session| bind(session?, asked)).collect::<Result<Vec<_>>>()?;
    for bound in &mut bound {
        bound.run()?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let millis = line.strip_prefix("run ").context("expected `run MILLISECONDS`")?.parse()?;
        let ran = run_all(&mut bound, Duration::from_millis(millis))?;
        writeln!(out, "{}", serde_json::to_string(&ran)?)?;
    }
    Ok(())
}

fn session(environment: &ort::environment::Environment, model: &[u8], asked: &Loop) -> ort::Result<Session> {
    let cpu = ort::ep::CPU::default().with_arena_allocator(asked.arena).build();
    Session::builder(environment)?
        .with_intra_threads(asked.threads)?
        .with_intra_op_spinning(asked.spinning)?
        .with_execution_providers([cpu])?
        .commit_from_memory(model)
}

/// A session with its input and outputs in place: nothing is left to do but to run.
struct Bound {
    session: Session,
    binding: IoBinding,
    options: RunOptions,
    input: DynTensor,
    pixels: Option<Pixels>,
}

fn bind(session: Session, asked: &Loop) -> Result<Bound> {
    let first = session.inputs().first().context("the model has no input")?;
    let element = first.dtype().tensor_type().context("the input is no tensor")?;
    let mut tensor = DynTensor::new(&Allocator::default(), element, asked.shape.clone())?;
    if let Some(input) = &asked.input {
        fill(&mut tensor, element, &read(input)?)?;
    }
    let pixels = asked.picture.as_ref().map(|picture| pixels(&read(picture)?, &asked.shape)).transpose()?;
    let mut binding = session.create_binding()?;
    binding.bind_input(first.name(), &tensor)?;
    for output in session.outputs() {
        binding.bind_output_to_device(output.name(), &MemoryInfo::default())?;
    }
    Ok(Bound { session, binding, options: RunOptions::new()?, input: tensor, pixels })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

fn pixels(picture: &[u8], shape: &[i64]) -> Result<Pixels> {
    let &[1, height, width, 3] = shape else { anyhow::bail!("a picture has another shape than {shape:?}") };
    Ok(Pixels::new(picture.to_vec(), width.try_into()?, height.try_into()?))
}

fn fill(tensor: &mut DynTensor, element: TensorElementType, bytes: &[u8]) -> Result<()> {
    match element {
        TensorElementType::Uint8 => {
            let (_, values) = tensor.try_extract_tensor_mut::<u8>()?;
            ensure!(values.len() == bytes.len(), "the input has {} bytes, not {}", values.len(), bytes.len());
            values.copy_from_slice(bytes);
        }
        TensorElementType::Float32 => {
            let (_, values) = tensor.try_extract_tensor_mut::<f32>()?;
            ensure!(
                values.len() * 4 == bytes.len(),
                "the input has {} values, not {} bytes",
                values.len(),
                bytes.len()
            );
            let (given, _) = bytes.as_chunks();
            values.iter_mut().zip(given).for_each(|(value, given)| *value = f32::from_le_bytes(*given));
        }
        other => anyhow::bail!("an input of {other} is not made here"),
    }
    Ok(())
}

impl Bound {
    fn run(&mut self) -> Result<()> {
        if let Some(pixels) = &mut self.pixels {
            let (_, bytes) = self.input.try_extract_tensor_mut::<u8>()?;
            pixels.write(bytes)?;
        }
        self.session.run_binding_with_options(&self.binding, &self.options)?;
        Ok(())
    }

    fn run_for(&mut self, duration: Duration) -> Result<Histogram> {
        let mut times = Histogram::default();
        let begun = Instant::now();
        let mut last = begun;
        while last.duration_since(begun) < duration {
            self.run()?;
            let now = Instant::now();
            times.record(now.duration_since(last));
            last = now;
        }
        Ok(times)
    }
}

fn run_all(bound: &mut [Bound], duration: Duration) -> Result<Ran> {
    let together = Barrier::new(bound.len());
    let run = |bound: &mut Bound| {
        together.wait();
        let begun = Instant::now();
        let times = bound.run_for(duration)?;
        anyhow::Ok((times, begun.elapsed()))
    };
    let ran = std::thread::scope(|scope| {
        let threads: Vec<_> = bound.iter_mut().map(|bound| scope.spawn(|| run(bound))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a loop does not panic"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let mut all = Histogram::default();
    ran.iter().for_each(|(times, _)| all.add(times));
    let seconds = ran.iter().map(|(_, took)| took.as_secs_f64()).fold(0.0, f64::max);
    Ok(Ran { runs: all.count(), seconds, p99_us: all.latency().p99_us })
}
