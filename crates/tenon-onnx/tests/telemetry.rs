//! ONNX Runtime reports to nobody: official Linux libraries since 1.29 collect events, keep them in the
//! user's cache folder and upload them, beginning while they start.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)]

mod support;

use std::process::Command;

use support::{fixture, floats, once};
use tenon_onnx::{Library, OnnxRuntime, Options, SearchPath};

/// Names the library for the child.
const LIBRARY: &str = "TENON_TELEMETRY_LIBRARY";

/// Not a test of its own: the process whose traces are looked for.
#[test]
#[ignore = "started by the test of this file"]
fn child() {
    let Ok(path) = std::env::var(LIBRARY) else { return };
    let search = SearchPath { config: Some(path.into()), ..SearchPath::default() };
    let runtime = OnnxRuntime::start(&Library::find(&search).unwrap(), Options::default()).unwrap();
    once(&runtime, &fixture("onnx/add_one.onnx"), vec![floats("x", &[1, 4], &[0.0; 4])]).unwrap();
}

#[test]
fn nothing_is_collected() {
    let Some(library) = support::library() else { return };
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child", "--ignored"]).env(LIBRARY, library.path()).env("HOME", home.path());
    // What would keep ONNX Runtime silent without our doing.
    for name in ["ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME"]
    {
        child.env_remove(name);
    }
    assert!(child.output().unwrap().status.success());
    let left: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "it left {left:?} in the user's home");
}
