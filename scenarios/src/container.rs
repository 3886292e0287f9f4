//! A container without an engine: an image unpacked, and what is started in it held as an engine would hold it.
//!
//! `bwrap` gives it what the strictest settings of an engine give: the root read-only, a user without rights and without
//! a way to new ones (no capabilities, no_new_privs, no user namespaces), processes and a network of its own. `/data`
//! and `/run/secrets` are mounted; there is nothing else that could be written, `/tmp` neither.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long something in a container may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An unpacked image.
pub struct Image {
    root: PathBuf,
    settings: Value,
}

/// How a container is started.
#[derive(Clone, Copy, Default)]
pub struct Run<'a> {
    /// Words behind the entrypoint; those of the image where there are none.
    pub words: &'a [&'a str],
    /// Environment beside that of the image.
    pub environment: &'a [(&'a str, &'a str)],
    /// A compiled filter of system calls that holds for all of it.
    pub filter: Option<&'a Path>,
}

/// A running container.
pub struct Container {
    engine: Child,
    process: Pid,
    program: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
}

/// Whether containers can be made here.
///
/// # Errors
/// Why not.
pub fn possible() -> Result<()> {
    let tried = Command::new("bwrap")
        .args(["--unshare-user", "--disable-userns", "--unshare-net", "--ro-bind", "/", "/", "true"])
        .output()
        .context("start bwrap (Debian: `apt-get install bubblewrap`)")?;
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    ensure!(tried.status.success(), "bwrap: {}", said.trim());
    let nsenter = Command::new("nsenter").arg("--version").output().context("start nsenter")?;
    ensure!(nsenter.status.success(), "nsenter does not work");
    Ok(())
}

impl Image {
    /// An image whose layers, packed tar archives, are unpacked one upon the other into `root`; `settings` are those of
    /// its configuration.
    ///
    /// # Errors
    /// A layer cannot be unpacked.
    pub fn unpack(layers: &[PathBuf], settings: Value, root: PathBuf) -> Result<Self> {
        fs::create_dir_all(root.join("run/secrets")).context("make a folder")?;
        for layer in layers {
            let unpacked = Command::new("tar").arg("-C").arg(&root).arg("-xzf").arg(layer).output();
            let unpacked = unpacked.context("start tar")?;
            ensure!(unpacked.status.success(), "tar: {}", String::from_utf8_lossy(&unpacked.stderr));
        }
        Ok(Self { root, settings })
    }

    /// A path in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn words(&self, key: &str) -> Vec<String> {
        let words = self.settings[key].as_array().into_iter().flatten();
        words.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Starts a container with folders for `/data` and `/run/secrets` in `home`, and waits for its first process.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn start(&self, home: &Path, run: &Run<'_>) -> Result<Container> {
        let [data, secrets, log, about] =
            ["data", "secrets", "log", "about.json"].map(|name| home.join(name));
        for folder in [&data, &secrets] {
            fs::create_dir_all(folder).context("make a folder")?;
        }
        let mut environment: Vec<(String, String)> =
            self.words("Env").iter().filter_map(|word| pair(word)).collect();
        let given = run.environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        environment.extend(given);
        let entrypoint = self.words("Entrypoint");
        let words = match run.words {
            [] => self.words("Cmd"),
            words => words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let program = self.program(&entrypoint, &environment)?;
        let user = self.settings["User"].as_str().and_then(|user| user.split_once(':')).context("a user")?;
        // The shell opens the files that bwrap wants to have open already.
        let mut engine = Command::new("sh");
        let filter = run.filter.unwrap_or(Path::new("/dev/null"));
        engine.args([
            "-c",
            "about=$1 filter=$2; shift 2; exec bwrap \"$@\" 3>\"$about\" 4<\"$filter\"",
            "sh",
        ]);
        engine.args([&about, filter]).args(["--info-fd", "3"]);
        if run.filter.is_some() {
            engine.args(["--seccomp", "4"]);
        }
        engine.args([
            "--unshare-user",
            "--uid",
            user.0,
            "--gid",
            user.1,
            "--disable-userns",
            "--cap-drop",
            "ALL",
        ]);
        engine.args(["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--as-pid-1"]);
        engine.args(["--die-with-parent", "--new-session", "--clearenv"]);
        engine.arg("--ro-bind").arg(&self.root).args(["/", "--proc", "/proc", "--dev", "/dev"]);
        engine.arg("--bind").arg(&data).arg("/data").arg("--ro-bind").arg(&secrets).arg("/run/secrets");
        for (name, value) in &environment {
            engine.args(["--setenv", name, value]);
        }
        engine.args(["--chdir", "/", "--"]).arg(&program).args(&entrypoint[1..]).args(&words);
        let output = File::options().create(true).append(true).open(&log).context("open the log")?;
        let _ = fs::remove_file(&about);
        engine.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut engine = engine.spawn().context("start sh")?;
        let process = match first_process(&about, &mut engine) {
            Ok(process) => process,
            Err(error) => {
                let _ = engine.kill();
                let _ = engine.wait();
                bail!("{error:#}; it said: {}", fs::read_to_string(&log).unwrap_or_default());
            }
        };
        Ok(Container { engine, process, program, environment, log })
    }

    /// Where the first word of the entrypoint is, as an engine searches it: in PATH of the container.
    fn program(&self, entrypoint: &[String], environment: &[(String, String)]) -> Result<PathBuf> {
        let name = entrypoint.first().context("the image has an entrypoint")?;
        let path = environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
        let places = path.split(':').map(|folder| Path::new(folder).join(name));
        let found = places
            .into_iter()
            .find(|place| self.root.join(place.strip_prefix("/").unwrap_or(place)).exists());
        found.with_context(|| format!("`{name}` is nowhere in PATH={path}"))
    }
}

impl Container {
    /// Runs the program of the entrypoint once more in the container, as `podman exec` does.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn exec(&self, words: &[&str]) -> Result<Output> {
        let mut command =
            self.enter(&["--user", "--mount", "--net", "--pid", "--ipc", "--uts", "--root", "--wd=/"]);
        command.arg(&self.program).args(words);
        command.output().context("start nsenter")
    }

    /// Runs a program of this machine in the container's network, as a client who reaches its port.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn beside(&self, program: &Path, words: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
        let mut command = self.enter(&["--user", "--net"]);
        command.env_clear().envs(environment.iter().copied());
        command.current_dir(crate::binary::repository()).arg(program).args(words);
        command.output().context("start nsenter")
    }

    fn enter(&self, namespaces: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--target", &self.process.as_raw_nonzero().to_string(), "--preserve-credentials"]);
        command.args(namespaces).arg("--").stdin(Stdio::null());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Asks its first process to end and waits for it.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(self) -> Result<ExitStatus> {
        kill_process(self.process, Signal::TERM).context("signal the container")?;
        self.ended()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn ended(mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.engine.try_wait().context("wait for the container")? {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "the container did not end within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What all containers of this home have said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What it holds dies with it.
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

fn pair(word: &str) -> Option<(String, String)> {
    word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The process that bwrap made, as soon as it tells.
fn first_process(about: &Path, engine: &mut Child) -> Result<Pid> {
    let until = Instant::now() + PATIENCE;
    loop {
        let told = fs::read_to_string(about).unwrap_or_default();
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        if let Some(process) = told["child-pid"].as_i64() {
            let process = i32::try_from(process).ok().and_then(Pid::from_raw);
            return process.context("bwrap told a wrong process");
        }
        if let Some(status) = engine.try_wait().context("wait for bwrap")? {
            bail!("bwrap ended with {status}");
        }
        ensure!(Instant::now() < until, "bwrap made nothing within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
