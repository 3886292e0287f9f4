//! The child's side of proving: verify the bytes, enter the cage, load, prove, measure.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use tenon_contract::{Digest, Examples, Fault, FaultKind, Memory, Proof, ProofKey};
use tenon_control::Finding;
use tenon_runtime::{Bundle, LoadOptions, Model, Runtimes};

use super::words::{Task, Word};
use super::{cage, limits, measure};
use crate::runtimes;

/// What a peak may be above twice the model's memory before it is worth a note; pages of the engine's
/// own files are in it.
const PEAK_BYTES: u64 = 64 << 20;

/// Most bytes of a model card.
const CARD_BYTES: usize = 1 << 20;

/// The child's whole life. `argument` is its task.
pub(super) fn run(argument: &str) -> ExitCode {
    let Ok(mut voice) = Voice::take() else { return ExitCode::FAILURE };
    let verdict = serde_json::from_str(argument)
        .map_err(|error| Fault::internal(format!("read the prover's task: {error}")))
        .and_then(|task: Task| {
            catch_unwind(AssertUnwindSafe(|| work(&task, &mut voice)))
                .unwrap_or_else(|panic| Err(broke(&*panic)))
        });
    let word = match verdict {
        Ok(finding) => Word::Proven { finding: Box::new(finding) },
        Err(fault) => Word::Refused { fault },
    };
    match voice.say(&word) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work(task: &Task, voice: &mut Voice) -> Result<Finding, Fault> {
    voice.end_with_the_listener()?;
    let bytes = verified(task)?;
    let notes = enter_cage(task)?;
    let runtimes = runtimes::start(task.onnxruntime.clone()).runtimes;
    let bundle = Bundle::open(bytes, limits::bundle_limits(task.size))?;
    let format = runtimes.recognise(&bundle)?;
    voice.tell(&Word::Recognised { format: format.clone() })?;
    let about = bundle.about();
    if about.card.as_ref().is_some_and(|card| card.len() > CARD_BYTES) {
        return Err(Fault::new(
            FaultKind::TooLarge,
            format!("model card: exceeds the limit of {CARD_BYTES} bytes"),
        ));
    }
    let examples = runtimes::examples(&bundle)?;
    let loaded = Loaded::load(&runtimes, &bundle, &format)?;
    voice.tell(&Word::Loaded)?;
    let signature = loaded.model.signature().clone();
    let contract = loaded.model.contract();
    let key =
        ProofKey { artifact: task.digest, runtime: loaded.build.clone(), processor: task.processor.clone() };
    let proof = loaded.prove(key, examples.as_ref(), notes)?;
    Ok(Finding { format, signature, contract, proof, about })
}

/// All of standard input, if it is what was announced.
fn verified(task: &Task) -> Result<Bytes, Fault> {
    let mut bytes = Vec::with_capacity(usize::try_from(task.size).unwrap_or(0));
    let read = std::io::stdin().lock().take(task.size.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Fault::internal(format!("read artifact: {error}")))?;
    let found = Digest::of(&bytes);
    if found != task.digest {
        let text = format!("read artifact: bytes are {found}, expected {}; push it again", task.digest);
        return Err(Fault::internal(text));
    }
    Ok(bytes.into())
}

/// From here on nothing that a model does can leave this process. Gives notes for the proof.
fn enter_cage(task: &Task) -> Result<Vec<String>, Fault> {
    cage::offer_to_the_kernel();
    cage::limit(task.memory_bytes, task.cpu_s).map_err(Fault::unavailable)?;
    match cage::bar() {
        Ok(()) => Ok(Vec::new()),
        Err(reason) if task.demand_filter => {
            let text = format!("{reason}; the configuration demands it (`prover.demand_filter`)");
            Err(Fault::unavailable(text))
        }
        Err(reason) => Ok(vec![format!("proven without a filter of system calls: {reason}")]),
    }
}

/// A model in memory, and what it cost to get there.
struct Loaded {
    model: Box<dyn Model>,
    build: String,
    load_micros: u64,
    held_before: u64,
    resident_before: u64,
}

impl Loaded {
    fn load(runtimes: &Runtimes, bundle: &Bundle, format: &tenon_contract::Format) -> Result<Self, Fault> {
        let runtime = runtimes.reading(format)?;
        let (held_before, resident_before) = (measure::held(), measure::resident());
        let begun = now();
        let model = runtime.load(bundle, &LoadOptions::default())?;
        let load_micros = begun.elapsed().as_micros() as u64;
        Ok(Self { model, build: runtime.build_for(bundle), load_micros, held_before, resident_before })
    }

    fn prove(
        &self,
        key: ProofKey,
        examples: Option<&Examples>,
        mut notes: Vec<String>,
    ) -> Result<Proof, Fault> {
        let mut session = self.model.session()?;
        let evidence = tenon_serving::prove(&*self.model, &mut *session, examples)?;
        let with_one = measure::held();
        let session_memory = self.measure_session(examples, with_one)?;
        let capabilities = self.model.capabilities();
        let known = capabilities.memory.plus(&capabilities.session_memory);
        let memory = at_least(Memory::cpu(with_one.saturating_sub(self.held_before)), &known);
        let peak = Memory::cpu(measure::peak().saturating_sub(self.resident_before));
        if peak.exceeds(&memory.clone().times(2).plus(&Memory::cpu(PEAK_BYTES))).is_some() {
            notes.push(format!("needs up to {peak} while it is loaded and proven"));
        }
        notes.extend(evidence.notes);
        Ok(Proof {
            key,
            kind: evidence.kind,
            examples: evidence.examples,
            rows_independent: evidence.rows_independent,
            repeatable: evidence.repeatable,
            notes,
            call_micros: evidence.call_micros,
            load_micros: self.load_micros,
            memory,
            session_memory: at_least(session_memory, &capabilities.session_memory),
        })
    }

    /// What a second session adds after it has worked as the first one did.
    fn measure_session(&self, examples: Option<&Examples>, with_one: u64) -> Result<Memory, Fault> {
        let mut second = self.model.session()?;
        tenon_serving::prove(&*self.model, &mut *second, examples)?;
        Ok(Memory::cpu(measure::held().saturating_sub(with_one)))
    }
}

/// What was measured, or what the engine knows of itself where that is more: pages that were there
/// already hide small models.
fn at_least(measured: Memory, known: &Memory) -> Memory {
    match measured.exceeds(known) {
        Some(_) => measured,
        None => known.clone(),
    }
}

#[allow(clippy::disallowed_methods, reason = "the child measures; it decides nothing by the clock")]
fn now() -> Instant {
    Instant::now()
}

fn broke(panic: &(dyn std::any::Any + Send)) -> Fault {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Fault::invalid(format!("model broke its runtime: {}", text.unwrap_or("panic without words")))
}

/// What was standard output. Whatever an engine prints goes to standard error instead.
struct Voice(File);

impl Voice {
    fn take() -> std::io::Result<Self> {
        let own = std::io::stdout().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdout(std::io::stderr())?;
        Ok(Self(File::from(own)))
    }

    /// Ends this process when nobody listens any more: a killed server leaves no child behind.
    fn end_with_the_listener(&self) -> Result<(), Fault> {
        let fault = |error: std::io::Error| Fault::internal(format!("watch the server: {error}"));
        let watched = self.0.try_clone().map_err(fault)?;
        let watch = move || {
            // The writing end of a pipe reports an error when its reader is gone, and nothing else.
            let mut ends = [PollFd::new(&watched, PollFlags::empty())];
            while poll(&mut ends, None).is_err() {}
            std::process::abort();
        };
        std::thread::Builder::new().name("watch".to_owned()).spawn(watch).map_err(fault)?;
        Ok(())
    }

    fn tell(&mut self, word: &Word) -> Result<(), Fault> {
        self.say(word).map_err(|error| Fault::internal(format!("tell the server: {error}")))
    }

    fn say(&mut self, word: &Word) -> std::io::Result<()> {
        self.0.write_all(format!("{}\n", word.write()).as_bytes())
    }
}
