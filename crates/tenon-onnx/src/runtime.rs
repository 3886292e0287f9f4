//! The runtime: ONNX Runtime loaded, or its absence explained.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use tenon_contract::Format;
use tenon_runtime::{Bundle, LoadError, LoadOptions, Model, Runtime};

use crate::library::Library;
use crate::model::{OnnxModel, Settings};
use crate::{logging, raw, recognise};

/// Reads the format `onnx`.
pub struct OnnxRuntime {
    build: String,
    formats: Vec<Format>,
    engine: Result<Environment, String>,
    options: Options,
}

/// How every session manages the memory of its runs. `docs/runtimes-onnx.md` has the measurements behind
/// the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether a session keeps that memory in an arena of its own until it is dropped, instead of giving
    /// it back to the system's allocator after each run.
    pub arena: bool,
    /// Whether a run is laid out in memory as a whole. Only done for models whose inputs have one shape:
    /// ONNX Runtime keeps a plan for every shape it has seen and never forgets one.
    pub memory_pattern: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { arena: true, memory_pattern: true }
    }
}

/// Why ONNX Runtime did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The library could not be opened, is another one or too old.
    #[error("load {}: {text}", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// It was opened but did not start.
    #[error("start onnxruntime: {0}")]
    Start(String),
    /// A process can load one library only, and did.
    #[error("load {}: {} is loaded already, and a process can hold only one", asked.display(), loaded.display())]
    Another {
        /// The library asked for.
        asked: PathBuf,
        /// The library loaded before.
        loaded: PathBuf,
    },
}

/// What one process can have only once.
struct Engine {
    path: PathBuf,
    version: String,
    environment: Environment,
}

/// The library of this process. ONNX Runtime itself is one per process, so this cannot be a field.
static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);

impl OnnxRuntime {
    /// Loads the library and starts it. Further starts with the same library share the first.
    ///
    /// To be called early, before threads are at work: it sets `ORT_DISABLE_TELEMETRY` in the environment of
    /// the process, the one way to keep ONNX Runtime from reporting while it starts.
    ///
    /// # Errors
    /// The library does not load or start, or another one is loaded.
    pub fn start(library: &Library, options: Options) -> Result<Self, StartError> {
        let mut engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = match &mut *engine {
            Some(engine) => engine,
            slot => slot.insert(Engine::load(library)?),
        };
        if engine.path != library.path() {
            let (asked, loaded) = (library.path().to_owned(), engine.path.clone());
            return Err(StartError::Another { asked, loaded });
        }
        let build = format!("onnxruntime {}", engine.version);
        Ok(Self { build, formats: formats(), engine: Ok(engine.environment.clone()), options })
    }

    /// Stands for ONNX Runtime where its library is not there: knows the format, loads nothing, and tells
    /// `reason`, which should say what to do.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self {
            build: "onnxruntime absent".to_owned(),
            formats: formats(),
            engine: Err(reason.into()),
            options: Options::default(),
        }
    }
}

impl Engine {
    fn load(library: &Library) -> Result<Self, StartError> {
        let path = library.path().to_owned();
        let refused = |text: String| StartError::Load { path: path.clone(), text };
        raw::opt_out_of_telemetry();
        let builder = ort::init_from(&path).map_err(|error| refused(error.to_string()))?;
        let version = raw::version(&path).map_err(|error| refused(error.to_string()))?;
        let builder = builder.with_name("tenon").with_telemetry(false).with_logger(logging::logger());
        let environment = builder.build().map_err(|error| StartError::Start(error.to_string()))?;
        environment.set_log_level(logging::LEVEL);
        tracing::debug!(path = %path.display(), origin = %library.origin(), version, "loaded onnxruntime");
        Ok(Self { path, version, environment })
    }
}

fn formats() -> Vec<Format> {
    "onnx".parse().into_iter().collect()
}

impl Runtime for OnnxRuntime {
    fn build(&self) -> &str {
        &self.build
    }

    fn formats(&self) -> &[Format] {
        &self.formats
    }

    fn recognise(&self, bytes: &[u8]) -> Option<Format> {
        self.formats.first().filter(|_| recognise::looks_like_onnx(bytes)).cloned()
    }

    fn load(&self, bundle: &Bundle, options: &LoadOptions) -> Result<Box<dyn Model>, LoadError> {
        let environment = self.engine.clone().map_err(LoadError::Unavailable)?;
        if !recognise::looks_like_onnx(bundle.artifact()) {
            return Err(LoadError::malformed(&bundle.manifest().artifact, "is no ONNX model"));
        }
        let settings = Settings::new(environment, self.options, options)?;
        Ok(Box::new(OnnxModel::load(bundle, settings, options)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_recognises_but_does_not_load() {
        let absent = OnnxRuntime::absent("run `cargo xtask onnxruntime`");
        let model = include_bytes!("../../../fixtures/onnx/add_one.onnx");
        assert_eq!(absent.recognise(model).map(|format| format.to_string()), Some("onnx".to_owned()));
        let bundle = Bundle::open(model.to_vec().into(), tenon_runtime::BundleLimits::default()).unwrap();
        let refused = absent.load(&bundle, &LoadOptions::default()).err();
        assert_eq!(refused, Some(LoadError::Unavailable("run `cargo xtask onnxruntime`".to_owned())));
    }
}
