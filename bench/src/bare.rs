//! The bare loop of ONNX Runtime, over a tensor or over a picture, in the setting that is fastest here.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;
use tenon_contract::Tensor;

use crate::blocks::{Arm, Block, Effort, take_turns};
use crate::machine;
use crate::peers::Peer;
use crate::peers::onnxruntime::Ran;

/// A setting of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Loops side by side, each with a session of its own.
    pub(crate) loops: usize,
    /// Threads of a session.
    pub(crate) threads: usize,
    /// Whether threads without work spin.
    pub(crate) spinning: bool,
    /// Whether memory is taken from its arena.
    pub(crate) arena: bool,
}

impl Way {
    /// Every setting that may be the fastest on `cores` cores.
    pub(crate) fn all(cores: usize) -> Vec<Self> {
        let mut shapes = vec![(cores, 1, false)];
        if cores > 1 {
            shapes.extend([(1, cores, false), (1, cores, true)]);
        }
        let arenas =
            |(loops, threads, spinning)| [true, false].map(|arena| Self { loops, threads, spinning, arena });
        shapes.into_iter().flat_map(arenas).collect()
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spinning = if self.spinning { ", spinning" } else { "" };
        let arena = if self.arena { "arena" } else { "no arena" };
        write!(f, "{} loops of {} threads{spinning}, {arena}", self.loops, self.threads)
    }
}

/// A model and its one input, for the bare library.
pub(crate) struct Bare<'a> {
    library: &'a Path,
    model: &'a Path,
    input: Input<'a>,
    shape: String,
}

enum Input<'a> {
    /// A file with the bytes of a tensor, read once.
    Tensor(NamedTempFile),
    /// A JPEG that is decoded and resized before each run.
    Picture(&'a Path),
}

impl<'a> Bare<'a> {
    /// The library, the model and what it reads.
    ///
    /// # Errors
    /// The input cannot be written down.
    pub(crate) fn new(library: &'a Path, model: &'a Path, input: &Tensor) -> Result<Self> {
        let mut file = NamedTempFile::new()?;
        file.write_all(input.payload())?;
        let shape: Vec<_> = input.shape().iter().map(i64::to_string).collect();
        Ok(Self { library, model, input: Input::Tensor(file), shape: shape.join(",") })
    }

    /// The same for a model that sees `picture` in a square of `side` pixels, RGB.
    pub(crate) fn seeing(library: &'a Path, model: &'a Path, picture: &'a Path, side: u32) -> Self {
        Self { library, model, input: Input::Picture(picture), shape: format!("1,{side},{side},3") }
    }

    /// Starts a loop on the cores of this thread; it has run once when this returns.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn start(&self, way: Way) -> Result<Running> {
        let path = |path: &Path| path.display().to_string();
        let mut arguments = vec!["onnxruntime".to_owned()];
        let mut give = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        give("library", path(self.library));
        give("model", path(self.model));
        match &self.input {
            Input::Tensor(file) => give("input", path(file.path())),
            Input::Picture(picture) => give("picture", path(picture)),
        }
        give("shape", self.shape.clone());
        give("loops", way.loops.to_string());
        give("threads", way.threads.to_string());
        arguments.extend(way.spinning.then(|| "--spinning".to_owned()));
        arguments.extend(way.arena.then(|| "--arena".to_owned()));
        Ok(Running { peer: Peer::start(&arguments)?.0 })
    }

    /// The fastest way on `cores` cores, found in blocks that take turns.
    ///
    /// # Errors
    /// One does not run.
    pub(crate) fn fastest(&self, cores: usize, effort: Effort) -> Result<Way> {
        let ways = Way::all(cores);
        let mut running = ways.iter().map(|way| self.start(*way)).collect::<Result<Vec<_>>>()?;
        let mut arms: Vec<_> = ways
            .iter()
            .zip(&mut running)
            .map(|(way, running)| Arm::new(way.to_string(), move |duration| running.block(duration)))
            .collect();
        take_turns(&mut arms, Effort { blocks: effort.blocks.div_ceil(4), ..effort })?;
        let rates = arms.iter().map(Arm::rate).zip(&ways);
        let fastest = rates.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, way)| *way);
        fastest.context("there is a way")
    }
}

/// A loop under way.
pub(crate) struct Running {
    peer: Peer,
}

impl Running {
    /// Runs for so long.
    ///
    /// # Errors
    /// It broke.
    pub(crate) fn block(&mut self, duration: Duration) -> Result<Block> {
        let before = machine::processor_time(self.peer.id())?;
        let ran: Ran = serde_json::from_str(&self.peer.ask(&format!("run {}", duration.as_millis()))?)?;
        let used = machine::processor_time(self.peer.id())? - before;
        let server_us = used.as_secs_f64() * 1e6 / ran.runs as f64;
        Ok(Block { rate: ran.runs as f64 / ran.seconds, p99_us: ran.p99_us, server_us })
    }
}
