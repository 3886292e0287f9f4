//! Measurements of Tenon beside its peers and limits.
//!
//! ```sh
//! cargo build --release -p tenon && cargo run --release -p tenon-bench -- noop heavy vision start swap
//! ```
//!
//! Every figure is taken beside a named peer in the same run, in blocks that take turns, and with the peer
//! against itself as control (`docs/bench.md`). The server is the shipped binary with its defaults.

#![allow(clippy::print_stdout)]

mod bare;
mod blocks;
mod cores;
mod figure;
mod generator;
mod grpc;
mod heavy;
mod http2;
mod machine;
mod noop;
mod peers;
mod pixels;
mod served;
mod server;
mod setting;
mod start;
mod swap;
mod vision;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tenon_onnx::{Library, SearchPath};

use crate::blocks::Effort;
use crate::figure::Outcome;
use crate::machine::Machine;
use crate::peers::Role;
use crate::setting::Setting;

/// Measures Tenon beside its peers and limits.
#[derive(Parser)]
#[command(name = "tenon-bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Process>,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Subcommand)]
enum Process {
    /// Be a peer (started by this program itself).
    #[command(hide = true, subcommand)]
    Peer(Role),
}

#[derive(Args)]
struct Asked {
    /// What to measure; everything where nothing is named.
    what: Vec<What>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// A few short blocks and swaps that wait for nothing: good for a look, not for a record.
    #[arg(long)]
    quick: bool,
    /// Swaps of a trial.
    #[arg(long)]
    swaps: Option<u64>,
    /// The server; the one beside this program where none is named.
    #[arg(long)]
    tenon: Option<PathBuf>,
    /// Folder of the real models.
    #[arg(long)]
    models: Option<PathBuf>,
    /// The library of ONNX Runtime.
    #[arg(long)]
    onnxruntime: Option<PathBuf>,
    #[arg(long, env = "XDG_CACHE_HOME", hide = true)]
    cache: Option<PathBuf>,
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A no-op model beside a bare axum hello.
    Noop,
    /// The same over gRPC beside a bare axum hello over REST.
    Grpc,
    /// A detector beside the bare ONNX Runtime.
    Heavy,
    /// Pictures through the same detector beside a bare loop, and the image adapter beside its crates.
    Vision,
    /// From exec to the first answer.
    Start,
    /// Swaps under load.
    Swap,
}

impl What {
    fn measure(self, setting: &Setting) -> Result<Outcome> {
        match self {
            Self::Noop => noop::measure(setting),
            Self::Grpc => grpc::measure(setting),
            Self::Heavy => heavy::measure(setting),
            Self::Vision => vision::measure(setting),
            Self::Start => start::measure(setting),
            Self::Swap => swap::measure(setting),
        }
    }
}

impl Asked {
    fn setting(&self) -> Result<Setting> {
        let here = std::env::current_exe()?;
        let beside = here.parent().context("a program lies in a folder")?.to_owned();
        let binary = self.tenon.clone().unwrap_or_else(|| beside.join("tenon"));
        ensure!(binary.is_file(), "{} is not there: cargo build --release -p tenon", binary.display());
        let cache = self.cache.clone().or_else(|| Some(self.home.as_ref()?.join(".cache")));
        let search = SearchPath {
            config: self.onnxruntime.clone(),
            cache_folder: cache.unwrap_or_default().join("tenon"),
            beside_executable: beside,
            ..SearchPath::default()
        };
        Ok(Setting {
            binary,
            library: Library::find(&search)?.path().to_owned(),
            models: self.models.clone().unwrap_or_else(|| setting::root().join("../shared/models")),
            effort: if self.quick { Effort::QUICK } else { Effort::FULL },
            swaps: self.swaps.unwrap_or(if self.quick { 40 } else { 1000 }),
        })
    }
}

fn main() -> Result<ExitCode> {
    let Arguments { role, asked } = Arguments::parse();
    if let Some(Process::Peer(role)) = role {
        return role.play().map(|()| ExitCode::SUCCESS);
    }
    let setting = asked.setting()?;
    let all = if asked.what.is_empty() { What::value_variants() } else { &asked.what };
    let machine = Machine::here();
    if !asked.json {
        println!("{machine}\n");
    }
    let mut outcomes = Vec::new();
    for what in all {
        let outcome = what.measure(&setting).with_context(|| format!("measure {what:?}").to_lowercase())?;
        if !asked.json {
            println!("{outcome}");
        }
        outcomes.push(outcome);
    }
    if asked.json {
        println!("{}", serde_json::json!({ "machine": machine, "outcomes": outcomes }));
    }
    Ok(if outcomes.iter().any(Outcome::has_missed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
