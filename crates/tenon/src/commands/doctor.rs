//! `tenon doctor`: what a server needs on this machine, checked one by one, with what to do.

use std::net::TcpListener;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tenon_catalog::{Services as _, SqliteCatalog, SqliteOptions};
use tenon_contract::receipt::{Chain, read_key};

use super::failure::{Failure, Outcome};
use super::output;
use super::serve::SettingArgs;
use crate::config::Config;
use crate::row;
use crate::wiring::{CATALOG, DataFolder, NODE, PROGRAM};
use crate::{child, runtimes};

/// Free space below which a disk is wrong, and below which it is worth a word.
const DISK_BYTES: (u64, u64) = (100 << 20, 1 << 30);

/// 2025-01-01: a clock before this build was written is wrong for sure.
const EARLIEST_S: u64 = 1_735_689_600;

/// Check what a server needs on this machine
///
/// Looks at the same settings as `tenon serve` and changes nothing. Ends with 1 when something is wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.json
    }
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Fine,
    Doubtful,
    Wrong,
}

/// One check with what it found.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    state: State,
    found: String,
}

impl Check {
    fn new(what: &'static str, found: Result<String, String>) -> Self {
        match found {
            Ok(found) => Self { what, state: State::Fine, found },
            Err(found) => Self { what, state: State::Wrong, found },
        }
    }

    fn doubtful(mut self, is_doubtful: bool) -> Self {
        if is_doubtful {
            self.state = State::Doubtful;
        }
        self
    }
}

/// Checks everything.
pub async fn run(args: Args) -> Outcome {
    let config = args.settings.raw()?.check()?;
    let is_serving = DataFolder::is_held(&config.data);
    let sandbox = child::try_out(Path::new(PROGRAM));
    let sandbox_optional = sandbox.is_err() && !config.prover.demand_filter;
    let checks = vec![
        onnxruntime(&config),
        Check::new(
            "sandbox",
            sandbox.map(|()| "proving children are barred from network, files and programs".into()),
        )
        .doubtful(sandbox_optional),
        Check::new("data folder", writable(&config.data)),
        disk(&config.data),
        Check::new("clock", clock()),
        Check::new("port", port(&config, is_serving)),
        Check::new("catalog", catalog(&config.data, is_serving).await),
        Check::new("receipts", receipts(&config.data)),
    ];
    output::show(args.json, &checks, |checks| {
        let mut rows = vec![row!["CHECK", "STATE", "FOUND"]];
        let state = |state: State| match state {
            State::Fine => "ok",
            State::Doubtful => "doubtful",
            State::Wrong => "WRONG",
        };
        rows.extend(checks.iter().map(|check| row![check.what, state(check.state), check.found]));
        output::table(&rows)
    });
    match checks.iter().filter(|check| check.state == State::Wrong).count() {
        0 => Ok(()),
        count => Err(Failure::new(format!("checks that failed: {count}")).after_answer()),
    }
}

fn onnxruntime(config: &Config) -> Check {
    let found = runtimes::find_onnxruntime(&config.onnxruntime);
    let started = found.and_then(|path| {
        let started = runtimes::start(Ok(path.clone()));
        match started.views.into_iter().next() {
            Some(view) => view.absent.map_or_else(|| Ok(format!("{}, {}", view.build, path.display())), Err),
            None => Err("this build has no runtime for ONNX".to_owned()),
        }
    });
    Check::new("ONNX Runtime", started)
}

/// The folder, or the nearest one above it that is there.
fn existing(folder: &Path) -> &Path {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut above = folder.ancestors().filter(|above| above.exists());
    above.next().unwrap_or(if folder.is_absolute() { Path::new("/") } else { Path::new(".") })
}

fn writable(data: &Path) -> Result<String, String> {
    let folder = existing(data);
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) if data.exists() => Ok(format!("{} can be written", data.display())),
        Ok(()) => Ok(format!("{} can be made", data.display())),
        Err(error) => Err(format!(
            "{} cannot be written: {error}; give the user that runs tenon access, or name another one with --data",
            folder.display()
        )),
    }
}

fn disk(data: &Path) -> Check {
    let folder = existing(data);
    match rustix::fs::statvfs(folder) {
        Err(error) => Check::new("disk", Err(format!("{}: {error}", folder.display()))),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{} free", output::bytes(free));
            let found = if free < DISK_BYTES.0 { Err(format!("{text}; free some space")) } else { Ok(text) };
            Check::new("disk", found).doubtful((DISK_BYTES.0..DISK_BYTES.1).contains(&free))
        }
    }
}

fn clock() -> Result<String, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = output::time(since.as_millis() as u64);
    match since.as_secs() >= EARLIEST_S {
        true => Ok(text),
        false => Err(format!("{text}: set the clock, receipts bear its time")),
    }
}

fn port(config: &Config, is_serving: bool) -> Result<String, String> {
    match TcpListener::bind(config.listen) {
        Ok(_) => Ok(format!("{} is free", config.listen)),
        Err(_) if is_serving => {
            Ok(format!("{} is taken; a tenon serves from this data folder", config.listen))
        }
        Err(error) => Err(format!("{}: {error}; choose another one with --listen", config.listen)),
    }
}

async fn catalog(data: &Path, is_serving: bool) -> Result<String, String> {
    let path = data.join(CATALOG);
    if !path.exists() {
        return Ok("is made at the first start".to_owned());
    }
    if is_serving {
        return Ok(format!("{} is in use by the server", path.display()));
    }
    let opened = SqliteCatalog::open(SqliteOptions::at(&path)).await.map_err(|error| error.to_string())?;
    let services = opened.services().await.map_err(|error| error.to_string())?;
    Ok(format!("{} opens; services: {}", path.display(), services.len()))
}

/// Every chain, with the public key that lies beside them: this finds damage, not forgery.
fn receipts(data: &Path) -> Result<String, String> {
    let node = data.join(NODE);
    let folder = node.join("receipts");
    if !folder.exists() {
        return Ok("begin with the first service".to_owned());
    }
    let failed = |path: &Path, error: String| format!("{}: {error}", path.display());
    let key_path = node.join("receipts.pub");
    let key = std::fs::read_to_string(&key_path).map_err(|error| failed(&key_path, error.to_string()))?;
    let key = read_key(&key).map_err(|error| failed(&key_path, error))?;
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).map_err(|error| failed(&folder, error.to_string()))? {
        let path = entry.map_err(|error| failed(&folder, error.to_string()))?.path();
        if path.extension().is_none_or(|extension| extension != "chain") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error.to_string()))?;
        Chain::read(&text, Some(&key)).map_err(|error| failed(&path, error.to_string()))?;
        count += 1;
    }
    Ok(format!("chains that verify with the key beside them: {count}"))
}
