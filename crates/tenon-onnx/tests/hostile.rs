//! Hostile models of the fixtures: each in a child process with limits, as the product does it.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use support::{answer_unless, fixtures, floats, runtime, skipped};
use tenon_runtime::{Bundle, BundleLimits, Cancel, LoadOptions, Runtime};

/// Names the file for the child.
const FILE: &str = "TENON_HOSTILE_FILE";

/// What became of a file in the child.
#[derive(Debug, PartialEq)]
enum End {
    /// It answered.
    Answered,
    /// An error, told in words.
    Refused(String),
    /// Killed by a limit.
    Limit,
}

fn end_of(file: &str) -> End {
    let limits =
        "ulimit -t 3; ulimit -v 4000000; ulimit -c 0; exec \"$0\" --exact child --ignored --nocapture";
    let mut child = Command::new("sh");
    child.args(["-c", limits]).arg(std::env::current_exe().unwrap()).env(FILE, file);
    let Output { status, stdout, stderr } = child.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    let after =
        |mark: &str| said.lines().find_map(|line| line.split_once(mark)).map(|(_, text)| text.to_owned());
    use std::os::unix::process::ExitStatusExt;
    match (after("ANSWERED"), after("REFUSED "), status.signal()) {
        (Some(_), ..) => End::Answered,
        (None, Some(text), _) => End::Refused(text),
        // SIGXCPU, or SIGKILL where that was not enough.
        (None, None, Some(9 | 24)) => End::Limit,
        _ => panic!("{file} crashed its child: {status}\n{said}\n{}", String::from_utf8_lossy(&stderr)),
    }
}

/// Not a test of its own: the process in which one hostile file is loaded and run.
#[test]
#[ignore = "started by the tests of this file"]
fn child() {
    let (Ok(file), Some(runtime)) = (std::env::var(FILE), runtime()) else { return };
    match attempt(&runtime, &file) {
        Ok(()) => println!("ANSWERED"),
        Err(text) => println!("REFUSED {}", text.replace('\n', " ")),
    }
}

fn attempt(runtime: &dyn Runtime, file: &str) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let bundle = Bundle::open(bytes.into(), BundleLimits::default()).map_err(|error| error.to_string())?;
    let model = runtime.load(&bundle, &LoadOptions::default()).map_err(|error| error.to_string())?;
    let mut session = model.session().map_err(|error| error.to_string())?;
    let cancel = Cancel::new();
    let timer = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        timer.cancel();
    });
    let given = vec![floats("x", &[2, 4], &[1.0; 8])];
    answer_unless(&*model, &mut *session, given, &cancel, None).map(drop).map_err(|error| error.to_string())
}

#[test]
fn each_ends_as_it_should() {
    if runtime().is_none() {
        return;
    }
    if !std::path::Path::new("/bin/sh").exists() {
        return skipped("there is no /bin/sh to set limits with");
    }
    let mut files: Vec<_> =
        std::fs::read_dir(fixtures().join("hostile")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "onnx"));
    files.sort();
    assert!(files.len() >= 15, "the fixtures are there");
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let end = end_of(&file.to_string_lossy());
        println!("{name}: {end:?}");
        let refused = |words: &str| matches!(&end, End::Refused(text) if text.contains(words));
        let right = match name.as_str() {
            // Sound for a runtime: the proof finds out.
            "nan" | "random" | "batch_mixer" => end == End::Answered,
            "endless" => refused("call was cancelled"),
            "endless_load" => end == End::Limit,
            "deep" => refused("no ONNX model"),
            "cut_off" => refused("ends early"),
            "empty" => refused("empty"),
            "escapes" => refused("leads out of the bundle"),
            "absolute" => refused("is absolute"),
            "missing_external" => refused("needs `weights.bin`"),
            _ => refused(""),
        };
        assert!(right, "{name} ended as {end:?}");
    }
}
