//! The runtimes of this build, as a list. Server and proving child have the same one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenon_contract::admin::RuntimeView;
use tenon_contract::{Examples, Fault};
use tenon_onnx::{Library, OnnxRuntime, SearchPath};
use tenon_runtime::{Adapter, Bundle, Runtime, Runtimes};
use tenon_vision::ImageAdapter;

use crate::config::OnnxruntimeConfig;

/// What the environment of a process must say in which a runtime's library is loaded: the builds of ONNX
/// Runtime that its makers publish report to them as soon as they start, and this forbids it. `tenon-onnx`
/// sets it too; a child has it before its first thread.
pub const ENVIRONMENT: [(&str, &str); 1] = [("ORT_DISABLE_TELEMETRY", "1")];

/// The runtimes, started.
pub struct Started {
    /// Every runtime, in the order in which they are tried.
    pub runtimes: Runtimes,
    /// What people see of each.
    pub views: Vec<RuntimeView>,
    /// The library of ONNX Runtime, for proving children, or why there is none.
    pub onnxruntime: Result<PathBuf, String>,
}

/// Starts every runtime. To be called before threads are at work.
pub fn start(onnxruntime: Result<PathBuf, String>) -> Started {
    let list = vec![onnx(onnxruntime.clone())];
    let view = |(runtime, absent): &(Arc<dyn Runtime>, Option<String>)| RuntimeView {
        build: runtime.build().to_owned(),
        formats: runtime.formats().to_vec(),
        absent: absent.clone(),
    };
    let views = list.iter().map(view).collect();
    let list = list.into_iter().map(|(runtime, _)| runtime).collect();
    let runtimes = Runtimes::adapting(list, adapters());
    Started { runtimes, views, onnxruntime }
}

/// The library of ONNX Runtime, as the configuration says.
///
/// # Errors
/// It is not there, with every place that was tried and what to do.
pub fn find_onnxruntime(config: &OnnxruntimeConfig) -> Result<PathBuf, String> {
    let executable = std::env::current_exe().unwrap_or_default();
    let search = SearchPath {
        config: config.library.clone(),
        cache_folder: config.cache_folder.clone(),
        beside_executable: executable.parent().unwrap_or(Path::new("/")).to_owned(),
        environment: config.environment_library.clone(),
        allow_environment: config.allow_environment_library,
    };
    let library = Library::find(&search).map_err(|absent| absent.to_string())?;
    Ok(library.path().to_owned())
}

/// The examples of a bundle, where it has some, and behind them its requests without right answers.
///
/// # Errors
/// They cannot be read; the text names file and place.
pub fn examples(bundle: &Bundle) -> Result<Option<Examples>, Fault> {
    let mut examples = match bundle.examples() {
        Some(bytes) => tenon_codec::examples::read(bytes, &tenon_codec::Limits::default())?.examples,
        None => Examples::default(),
    };
    examples.examples.extend(bundle.warm_ups()?);
    Ok(Some(examples).filter(|examples| !examples.examples.is_empty()))
}

/// The adapters of this build, by the `kind` in `[adapter]` of `model.toml`.
fn adapters() -> Vec<Arc<dyn Adapter>> {
    vec![Arc::new(ImageAdapter)]
}

/// ONNX Runtime; or what stands for it, and why and what to do.
fn onnx(found: Result<PathBuf, String>) -> (Arc<dyn Runtime>, Option<String>) {
    let started = found.and_then(|path| {
        // The path is one that a search gave before; searching for it alone checks the file again.
        let library = Library::find(&SearchPath { config: Some(path), ..SearchPath::default() });
        let library = library.map_err(|absent| absent.to_string())?;
        OnnxRuntime::start(&library, tenon_onnx::Options::default()).map_err(|error| error.to_string())
    });
    match started {
        Ok(runtime) => (Arc::new(runtime), None),
        Err(reason) => (Arc::new(OnnxRuntime::absent(reason.clone())), Some(reason)),
    }
}
