//! Tenon as a user runs it: the shipped binary with its defaults, a data folder of its own, and models
//! brought in through its own interface.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tenon_client::{Client, ClientError, Options, Source, bundle};
use tenon_contract::admin::SwapRequest;
use tenon_contract::{ServiceName, Settings, VersionId};
use tokio::runtime::Runtime;

/// How long a start, a push or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before asking again.
const PAUSE: Duration = Duration::from_millis(20);

/// A server under way, with a client of it.
pub(crate) struct Tenon {
    binary: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    child: Child,
    runtime: Runtime,
    client: Client,
}

impl Tenon {
    /// Starts `binary` in a new data folder, on the cores of this thread, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn start(binary: &Path) -> Result<Self> {
        let folder = TempDir::with_prefix("tenon-bench-")?;
        let address = free_address()?;
        let child = exec(binary, folder.path(), address)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let server = format!("http://{address}");
        let open = Client::new(&Options { server: server.clone(), ..Options::default() })?;
        let mut tenon = Self { binary: binary.to_owned(), folder, address, child, runtime, client: open };
        tenon.wait_until_ready()?;
        let token =
            std::fs::read_to_string(tenon.data().join("admin.token")).context("read the admin token")?;
        let token = Some(token.trim().to_owned());
        tenon.client = Client::new(&Options { server, token, authorities: None })?;
        Ok(tenon)
    }

    /// Ends the server; its data stay.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(process, Signal::TERM)?;
        }
        let give_up = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < give_up, "the server does not end");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Starts it again on the same data; it may not be ready yet when this returns.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.child = exec(&self.binary, self.data(), self.address)?;
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while self.runtime.block_on(self.client.metrics()).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}");
            }
            ensure!(Instant::now() < give_up, "the server does not answer");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Brings in a bare model or a bundle's folder as a version, and waits for its proof.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn push(&self, model: &str, path: &Path) -> Result<VersionId> {
        let source = match path.is_dir() {
            true => Source::Bytes(bundle::zip_folder(path)?),
            false => Source::File(path.to_owned()),
        };
        let done = self.ask(async |client| {
            let digest = client.upload(&source, |_| {}).await?;
            let job = client.push(&model.parse().expect("a name of our own"), digest).await?;
            client.follow(&job.id, |_| {}).await
        })?;
        if let Some(fault) = done.fault {
            bail!("{}: {fault}", path.display());
        }
        done.version.with_context(|| format!("{}: the job names no version", path.display()))
    }

    /// Lets `service` serve `version` with default settings.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn deploy(
        &self,
        service: &ServiceName,
        version: &VersionId,
        settings: Option<Settings>,
    ) -> Result<()> {
        let (version, reason) = (version.clone(), Some("bench".to_owned()));
        let wish = SwapRequest { version, settings, breaking: None, dry_run: false, reason };
        self.ask(async |client| client.deploy(service, &wish).await).map(drop)
    }

    /// Asks the server for something.
    ///
    /// # Errors
    /// The client's.
    pub(crate) fn ask<T>(&self, ask: impl AsyncFnOnce(&Client) -> Result<T, ClientError>) -> Result<T> {
        Ok(self.runtime.block_on(ask(&self.client))?)
    }

    /// The client, with the admin token.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Tenon {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn exec(binary: &Path, data: &Path, address: SocketAddr) -> Result<Child> {
    let log = std::fs::File::create(data.join("bench.log"))?;
    Command::new(binary)
        .arg("serve")
        .arg("--data")
        .arg(data)
        .args(["--listen", &address.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))
}

/// A port that was free just now.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
