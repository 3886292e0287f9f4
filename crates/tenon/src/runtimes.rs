//! The runtimes of this build, as a list. Server and proving child have the same one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenon_contract::{Examples, Fault};
use tenon_onnx::{Library, OnnxRuntime, SearchPath};
use tenon_runtime::{Bundle, Runtime, Runtimes};

use crate::config::OnnxConfig;

/// What the environment must say before a runtime's library is loaded. The builds of ONNX Runtime that
/// its makers publish report to them over the network from the moment they are loaded, before any call
/// could forbid it; this variable is what forbids it.
pub const ENVIRONMENT: [(&str, &str); 1] = [("ORT_DISABLE_TELEMETRY", "1")];

/// Every runtime, in the order in which they are tried.
pub fn list(onnxruntime: &Result<PathBuf, String>) -> Runtimes {
    Runtimes::new(vec![onnx(onnxruntime)])
}

/// The library of ONNX Runtime, as the configuration says.
///
/// # Errors
/// It is not there, with every place that was tried and what to do.
pub fn find_onnxruntime(config: &OnnxConfig) -> Result<PathBuf, String> {
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

/// The examples of a bundle, where it has some.
///
/// # Errors
/// They cannot be read; the text names file and place.
pub fn examples(bundle: &Bundle) -> Result<Option<Examples>, Fault> {
    let Some(bytes) = bundle.examples() else { return Ok(None) };
    let file = tenon_codec::examples::read(bytes, &tenon_codec::Limits::default())?;
    Ok(Some(file.examples))
}

/// ONNX Runtime, or what stands for it and says what to do.
fn onnx(found: &Result<PathBuf, String>) -> Arc<dyn Runtime> {
    let started = found.clone().and_then(|path| {
        // The path is one that a search gave before; searching for it alone checks the file again.
        let library = Library::find(&SearchPath { config: Some(path), ..SearchPath::default() });
        let library = library.map_err(|absent| absent.to_string())?;
        OnnxRuntime::start(&library, tenon_onnx::Options::default()).map_err(|error| error.to_string())
    });
    Arc::new(started.unwrap_or_else(OnnxRuntime::absent))
}
