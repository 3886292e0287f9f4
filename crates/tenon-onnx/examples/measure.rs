//! Measures what `docs/runtimes-onnx.md` says: time and memory of sessions under every setting, beside
//! ONNX Runtime by itself.
//!
//! ```sh
//! cargo run --release -p tenon-onnx --example measure -- LIBRARY MODEL.onnx...
//! ```
//!
//! Every measurement is a process of its own, so that none sees memory that another left behind. The rows
//! take turns for some rounds. Of times the shortest counts, which on a machine with other work is
//! nearest to the truth; of memory the largest.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use ort::memory::{Allocator, MemoryInfo};
use ort::session::{RunOptions, SessionInputValue};
use ort::value::{DynTensor, Outlet};
use tenon_contract::{Inputs, NamedTensor, Parameters, Tensor, TensorSpec};
use tenon_onnx::{Library, OnnxRuntime, Options, SearchPath};
use tenon_runtime::{Bundle, BundleLimits, Call, Cancel, LoadOptions, Model, Runtime, Session, Single};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 3;
const SESSIONS: usize = 4;
const LOADS: usize = 200;
const RUNNING: Duration = Duration::from_secs(1);

/// What runs a model.
#[derive(Clone, Copy)]
enum Way {
    /// Tenon.
    Tenon { options: Options, threads: usize, spinning: bool },
    /// ONNX Runtime with all inputs and outputs bound before: nothing but its own run.
    Bound { threads: usize, spinning: bool },
    /// The safe interface of the crate `ort`, inputs made before, outputs copied out.
    Safe,
}

const fn tenon(arena: bool, memory_pattern: bool, threads: usize, spinning: bool) -> Way {
    Way::Tenon { options: Options { arena, memory_pattern }, threads, spinning }
}

const ROWS: [(&str, Way); 9] = [
    ("1 thread", tenon(true, true, 1, false)),
    ("1 thread, no pattern", tenon(true, false, 1, false)),
    ("1 thread, no arena, no pattern", tenon(false, false, 1, false)),
    ("2 threads", tenon(true, true, 2, false)),
    ("2 threads, spinning", tenon(true, true, 2, true)),
    ("onnxruntime, 1 thread", Way::Bound { threads: 1, spinning: false }),
    ("onnxruntime, 2 threads", Way::Bound { threads: 2, spinning: false }),
    ("onnxruntime, 2 threads, spinning", Way::Bound { threads: 2, spinning: true }),
    ("crate ort, 1 thread", Way::Safe),
];

/// Load in ms, run in us, MiB a session, KiB left by each of many loads.
type Figures = [f64; 4];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(library), models) = (arguments.first(), arguments.get(1..).unwrap_or_default()) else {
        return Err("give the library and the models to measure".into());
    };
    if let [model, row] = models
        && let Ok(row) = row.parse::<usize>()
    {
        let figures = match ROWS[row].1 {
            Way::Tenon { options, threads, spinning } => {
                let options = (options, LoadOptions { threads, spinning, ..LoadOptions::default() });
                measure_tenon(library, model, options)?
            }
            Way::Bound { threads, spinning } => measure_onnxruntime(library, model, threads, spinning, true)?,
            Way::Safe => measure_onnxruntime(library, model, 1, false, false)?,
        };
        println!("{}", figures.map(|figure| figure.to_string()).join(" "));
        return Ok(());
    }
    if let [model, word] = models
        && word == "turns"
    {
        return in_turns(library, model);
    }
    for model in models {
        table(library, model)?;
        Command::new(std::env::current_exe()?).args([library, model, "turns"]).status()?;
    }
    Ok(())
}

fn table(library: &str, model: &str) -> Result<()> {
    let mut rows: [Vec<Figures>; ROWS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (row, rounds) in rows.iter_mut().enumerate() {
            // Neither way may report to anybody, nor be slowed by it.
            let mut child = Command::new(std::env::current_exe()?);
            child.args([library, model, &row.to_string()]).env("ORT_DISABLE_TELEMETRY", "1");
            let child = child.output()?;
            let text = String::from_utf8(child.stdout)?;
            let figures: Vec<f64> =
                text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
            rounds.push(figures.try_into().map_err(|_| format!("row {row} failed"))?);
        }
    }
    println!(
        "\n{model}\n\n| | load, ms | run, us | MiB a session | KiB left by a load |\n|---|---|---|---|---|"
    );
    for ((name, way), rounds) in ROWS.iter().zip(rows) {
        let of = |figure: usize| rounds.iter().map(move |round| round[figure]);
        let (load, run) = (of(0).fold(f64::INFINITY, f64::min), of(1).fold(f64::INFINITY, f64::min));
        print!("| {name} | {load:.1} | {run:.1} |");
        match way {
            Way::Tenon { .. } => {
                println!(" {:.1} | {:.1} |", of(2).fold(f64::MIN, f64::max), of(3).fold(f64::MIN, f64::max));
            }
            _ => println!(" | |"),
        }
    }
    Ok(())
}

/// Sessions of every setting in one process, which run by turns: what else the machine does meets all of
/// them alike. The way to compare times.
fn in_turns(library: &str, model: &str) -> Result<()> {
    let library = found(library)?;
    let bundle = Bundle::open(std::fs::read(model)?.into(), BundleLimits::default())?;
    let mut sessions = Vec::new();
    for (name, way) in ROWS {
        if let Way::Tenon { options, threads, spinning } = way {
            let load = LoadOptions { threads, spinning, ..LoadOptions::default() };
            let loaded = OnnxRuntime::start(&library, options)?.load(&bundle, &load)?;
            sessions.push((name, loaded.session()?, inputs(&*loaded)?, Vec::new()));
        }
    }
    let begin = Instant::now();
    while begin.elapsed() < RUNNING * 25 {
        for (_, session, inputs, times) in &mut sessions {
            // The first two find the caches as another session left them.
            (0..2).try_for_each(|_| answer(&mut **session, inputs))?;
            for _ in 0..6 {
                let start = Instant::now();
                answer(&mut **session, inputs)?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    println!("\n| by turns | run, us | fastest tenth |\n|---|---|---|");
    for (name, _, _, mut times) in sessions {
        times.sort_by(f64::total_cmp);
        println!("| {name} | {:.1} | {:.1} |", times[times.len() / 2], times[times.len() / 10]);
    }
    Ok(())
}

fn measure_tenon(library: &str, model: &str, (options, load): (Options, LoadOptions)) -> Result<Figures> {
    let runtime = OnnxRuntime::start(&found(library)?, options)?;
    let bundle = Bundle::open(std::fs::read(model)?.into(), BundleLimits::default())?;
    // What any first load and run of a process leaves behind is no session's cost.
    turn(&runtime, &bundle, &load)?;

    let before = resident()?;
    let start = Instant::now();
    let loaded = runtime.load(&bundle, &load)?;
    let load_time = start.elapsed();
    let inputs = inputs(&*loaded)?;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = loaded.session()?;
        (0..5).try_for_each(|_| answer(&mut *session, &inputs))?;
        sessions.push(session);
    }
    let held = (resident()? - before) / SESSIONS as f64;
    let run = median_us(|| answer(&mut *sessions[0], &inputs))?;
    drop((sessions, loaded));

    (0..50).try_for_each(|_| turn(&runtime, &bundle, &load))?;
    let before = resident()?;
    (0..LOADS).try_for_each(|_| turn(&runtime, &bundle, &load))?;
    let left = (resident()? - before) / LOADS as f64;
    Ok([load_time.as_secs_f64() * 1e3, run, held / f64::from(1 << 20), left / 1024.0])
}

/// Loads, runs once and drops.
fn turn(runtime: &OnnxRuntime, bundle: &Bundle, options: &LoadOptions) -> Result<()> {
    let model = runtime.load(bundle, options)?;
    answer(&mut *model.session()?, &inputs(&*model)?)
}

fn answer(session: &mut dyn Session, inputs: &Inputs) -> Result<()> {
    let (parameters, cancel, mut single) = (Parameters::new(), Cancel::new(), Single::default());
    let call = Call { inputs, parameters: &parameters, deadline: None, cancel: &cancel, sequence: None };
    session.run(call, &mut single)?;
    single.take()?;
    Ok(())
}

/// Zeros for every input; free dimensions are 1.
fn inputs(model: &dyn Model) -> Result<Inputs> {
    let zeros = |spec: &TensorSpec| -> Result<NamedTensor> {
        let shape: Vec<i64> = spec.shape.iter().map(|dim| dim.size().unwrap_or(1)).collect();
        let bytes = shape.iter().product::<i64>() as usize * spec.datatype.size().unwrap_or(4);
        Ok(NamedTensor::new(spec.name.clone(), Tensor::new(spec.datatype, shape, vec![0; bytes].into())?))
    };
    let given = model.signature().inputs.iter().map(zeros).collect::<Result<_>>()?;
    model.signature().bind(given).map_err(|fault| fault.text.into())
}

/// The same without Tenon, with the defaults of Python's `InferenceSession`.
fn measure_onnxruntime(
    library: &str,
    model: &str,
    threads: usize,
    spinning: bool,
    bound: bool,
) -> Result<Figures> {
    let environment = ort::init_from(found(library)?.path())?.with_telemetry(false).build()?;
    let bytes = std::fs::read(model)?;
    let build = || -> ort::Result<_> {
        let builder = ort::session::Session::builder(&environment)?.with_intra_threads(threads)?;
        builder.with_intra_op_spinning(spinning)?.commit_from_memory(&bytes)
    };
    drop(build()?);
    let start = Instant::now();
    let mut session = build()?;
    let load = start.elapsed();
    let values = session.inputs().iter().map(value).collect::<Result<Vec<_>>>()?;
    let run = if bound { bound_run(&mut session, &values)? } else { safe_run(&mut session, &values)? };
    Ok([load.as_secs_f64() * 1e3, run, 0.0, 0.0])
}

fn value(input: &Outlet) -> Result<DynTensor> {
    let (Some(element), Some(shape)) = (input.dtype().tensor_type(), input.dtype().tensor_shape()) else {
        return Err("an input is no tensor".into());
    };
    let shape: Vec<i64> = shape.iter().map(|size| (*size).max(1)).collect();
    let mut value = DynTensor::new(&Allocator::default(), element, shape)?;
    // Other types keep what the allocator gave; their time does not depend on it.
    if let Ok((_, floats)) = value.try_extract_tensor_mut::<f32>() {
        floats.fill(0.0);
    }
    Ok(value)
}

fn bound_run(session: &mut ort::session::Session, values: &[DynTensor]) -> Result<f64> {
    let mut binding = session.create_binding()?;
    for (input, value) in session.inputs().iter().zip(values) {
        binding.bind_input(input.name(), value)?;
    }
    for output in session.outputs() {
        binding.bind_output_to_device(output.name(), &MemoryInfo::default())?;
    }
    let options = RunOptions::new()?;
    median_us(|| {
        session.run_binding_with_options(&binding, &options)?;
        Ok(())
    })
}

fn safe_run(session: &mut ort::session::Session, values: &[DynTensor]) -> Result<f64> {
    median_us(|| {
        let inputs: Vec<_> = values.iter().map(SessionInputValue::from).collect();
        for (_, value) in session.run(inputs.as_slice())?.iter() {
            let copied =
                value.try_extract_tensor::<f32>().map(|(shape, values)| (shape.clone(), values.to_vec()));
            drop(std::hint::black_box(copied));
        }
        Ok(())
    })
}

fn found(library: &str) -> Result<Library> {
    Ok(Library::find(&SearchPath { config: Some(library.into()), ..SearchPath::default() })?)
}

/// Median of many runs, in microseconds.
fn median_us(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < RUNNING {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Bytes of this process in memory.
fn resident() -> Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u32 = statm.split(' ').nth(1).ok_or("statm has no second number")?.parse()?;
    Ok(f64::from(pages) * 4096.0)
}
