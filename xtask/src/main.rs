//! `cargo xtask`: the chores of the repository, in Rust so that they run wherever Tenon builds.
//!
//! Answers go to standard output, everything else to standard error. A chore that fails says what to do.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands of a terminal")]
#![allow(clippy::disallowed_methods, reason = "the environment of a developer, not of a server")]

use std::process::ExitCode;

use anyhow::{Result, bail};

mod coco;
mod house;
mod image;
mod onnxruntime;
mod skips;
mod suite;
mod tidy;

const HELP: &str = "\
Chores of the repository

cargo xtask onnxruntime [--from WHEEL]   obtain the pinned ONNX Runtime library and print its path
cargo xtask coco                         put the COCO detectors together for the demo, where TENON_MODELS or
                                         ../shared/models has them, and print their folder
cargo xtask image [--to FILE.tar|DIR]    build the container image as an OCI archive or layout, and tell its size
                  [--program FILE] [--root DIR]   ... of a tenon that is built; or only what is in it, as a folder
cargo xtask tidy [--update]              check the rules of the house; with --update lower its limits first
cargo xtask test                         run every test; with CI=true only skips in tests/allowed-skips.txt pass
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["onnxruntime"] => onnxruntime::obtain(None),
        ["onnxruntime", "--from", wheel] => onnxruntime::obtain(Some(wheel.as_ref())),
        ["coco"] => coco::assemble(),
        ["image", rest @ ..] => image::run(rest),
        ["tidy"] => tidy::check(),
        ["tidy", "--update"] => tidy::update().and_then(|()| tidy::check()),
        ["test"] => suite::run(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        unknown => bail!("`{}` is no chore\n\n{HELP}", unknown.join(" ")),
    }
}
