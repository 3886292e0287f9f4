//! A real server process on a free port, and the folders around it.
//!
//! A [`Home`] is where a story plays: `data` is the server's, `outside` is what somebody keeps elsewhere
//! (keys, heads), `tmp` the temporary folder of the server and its children. A [`Server`] is killed when
//! it is dropped, so that no test leaves one behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tenon_client::{Client, Options};

use crate::binary;
use crate::http::{self, Answer, Request};

/// How long a server may take to answer, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folders of one story; gone when it ends.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// Makes the folders.
    ///
    /// # Errors
    /// The disk refused.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tenon-story-").tempdir().context("make a folder")?;
        let home = Self { folder };
        for name in ["outside", "tmp"] {
            std::fs::create_dir(home.path(name)).context("make a folder")?;
        }
        Ok(home)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// What all servers of this home have logged.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Flags behind `tenon serve`.
    pub flags: Vec<String>,
    /// Environment beside the few variables that every server gets.
    pub environment: Vec<(String, String)>,
    /// Name of the data folder in the home; `data` where there is none.
    pub data: Option<String>,
    /// The port; a free one where there is none.
    pub port: Option<u16>,
}

impl Start {
    /// The same with a variable set.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running server.
pub struct Server {
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Server {
    /// Starts a server and waits until all it is meant to serve answers.
    ///
    /// # Errors
    /// It ended, or did not become ready in time; its log is in the text.
    pub fn start(home: &Home, start: &Start) -> Result<Self> {
        let mut server = Self::spawn(home, start)?;
        match server.wait_for("/readyz") {
            Ok(()) => Ok(server),
            Err(error) => bail!("{error:#}; its log:\n{}", last_lines(&home.log(), 30)),
        }
    }

    /// Starts a server and does not wait.
    ///
    /// # Errors
    /// The process cannot be made.
    pub fn spawn(home: &Home, start: &Start) -> Result<Self> {
        let port = start.port.unwrap_or_else(free_port);
        let data = home.path(start.data.as_deref().unwrap_or("data"));
        let log = log_of(home).context("open the log")?;
        let mut command = tenon(home)?;
        command.arg("serve").args(&start.flags).stdin(Stdio::null());
        command.env("TENON_LISTEN", format!("127.0.0.1:{port}")).env("TENON_DATA", &data);
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone().context("open the log")?).stderr(log);
        let child = command.spawn().context("start tenon")?;
        Ok(Self { child, port, data })
    }

    /// Waits until `path` answers 200.
    ///
    /// # Errors
    /// The server ended, or did not answer so in time.
    pub fn wait_for(&mut self, path: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.get(path).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("wait for tenon")? {
                bail!("tenon ended with {status} before {path} answered");
            }
            if Instant::now() > until {
                bail!("tenon did not answer 200 to {path} within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A client that shows the admin token.
    ///
    /// # Errors
    /// There is no token.
    pub fn client(&self) -> Result<Client> {
        let token = std::fs::read_to_string(self.data.join("admin.token")).context("read the admin token")?;
        let token = Some(token.trim().to_owned());
        Ok(Client::new(&Options { server: self.url(), token, authorities: None })?)
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// It does not answer.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.send(&Request::get(path))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// It does not answer.
    pub fn send(&self, request: &Request) -> io::Result<Answer> {
        http::send(self.port, request)
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("wait for tenon")?.is_none())
    }

    /// Kills the process as a power cut would: nothing of it runs any more.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill tenon")?;
        self.child.wait().context("wait for tenon")?;
        Ok(())
    }

    /// Asks the process to end, as a supervisor does, and does not wait.
    ///
    /// # Errors
    /// The system refused.
    pub fn terminate(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).context("signal tenon")
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(self) -> Result<ExitStatus> {
        self.terminate()?;
        self.ended()
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn ended(mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().context("wait for tenon")? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("tenon did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tenon` with an environment of its own: nothing of ours decides what a story sees.
///
/// # Errors
/// The binary cannot be built.
pub fn tenon(home: &Home) -> Result<Command> {
    let mut command = Command::new(binary::tenon()?);
    command.env_clear().current_dir(binary::repository()).env("TMPDIR", home.path("tmp"));
    command.envs(kept_environment());
    Ok(command)
}

/// What a process needs to run at all and to find ONNX Runtime in the cache folder.
pub(crate) fn kept_environment() -> impl Iterator<Item = (String, String)> {
    #[allow(clippy::disallowed_methods, reason = "a test hands on what the machine needs")]
    let all = std::env::vars();
    all.filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "XDG_CACHE_HOME" | "LANG"))
}

fn log_of(home: &Home) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(home.path("log"))
}

/// The last `count` lines of a log.
pub(crate) fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().rev().take(count).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// A port that nobody listens on, below those which the system gives to clients: between our look and the
/// server's `listen` no connection of another test can take it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 1100) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (first * 20 + step) % 22_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
