//! The server's side of proving: starts the child, hands it the blob, listens, and judges its end.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tenon_contract::{Digest, Fault, Format, ProofKey};
use tenon_control::{Finding, Prover, Stage};
use tenon_runtime::Runtimes;
use tenon_store::Store;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::limits::ChildLimits;
use super::verdict::{self, End};
use super::words::{Task, Word};
use super::{ARGUMENT, processor};
use crate::runtimes;

/// Most bytes a child may say.
const WORDS_BYTES: u64 = 8 << 20;

/// How much of the end of a child's standard error is kept for the log.
const STDERR_BYTES: usize = 4 << 10;

/// Proves artifacts in a child process: this binary, started again under [`ARGUMENT`].
pub struct ChildProver {
    /// The program to start.
    pub program: PathBuf,
    /// Where the blobs are.
    pub store: Store,
    /// The runtimes of the server, whose builds the proofs are for.
    pub runtimes: Runtimes,
    /// Where the server found ONNX Runtime, or why it has none.
    pub onnxruntime: Result<PathBuf, String>,
    /// What a child may use.
    pub limits: ChildLimits,
}

/// What was heard of a child until it closed its mouth.
struct Heard {
    last: Option<Word>,
    doing: &'static str,
    garbled: bool,
}

#[async_trait]
impl Prover for ChildProver {
    async fn prove(&self, digest: Digest, size: u64, stages: mpsc::Sender<Stage>) -> Result<Finding, Fault> {
        let blob = self.open(digest).await?;
        let task = Task {
            digest,
            size,
            onnxruntime: self.onnxruntime.clone(),
            processor: processor(),
            memory_bytes: self.limits.address_space(size),
            cpu_s: self.limits.cpu_s,
            demand_filter: self.limits.demand_filter,
        };
        let finding = self.run(&task, blob, stages).await?;
        match self.keys(digest, &finding.format).contains(&finding.proof.key) {
            true => Ok(finding),
            false => Err(verdict::garbled("proven")),
        }
    }

    fn keys(&self, artifact: Digest, format: &Format) -> Vec<ProofKey> {
        let builds = self.runtimes.reading(format).map_or_else(|_| Vec::new(), |runtime| runtime.builds());
        builds.into_iter().map(|runtime| ProofKey { artifact, runtime, processor: processor() }).collect()
    }
}

impl ChildProver {
    async fn open(&self, digest: Digest) -> Result<File, Fault> {
        self.store.ensure_local(&digest).await?;
        let store = self.store.clone();
        let opened = tokio::task::spawn_blocking(move || store.open_local(&digest)).await;
        Ok(opened.map_err(|error| Fault::internal(format!("open {digest}: {error}")))??)
    }

    async fn run(&self, task: &Task, blob: File, stages: mpsc::Sender<Stage>) -> Result<Finding, Fault> {
        let mut child = self.start(task, blob)?;
        let errors = child.stderr.take().map(tail);
        let mut heard = Heard { last: None, doing: "recognised", garbled: false };
        let working = async {
            let (_, stderr) = tokio::join!(listen(&mut child, &mut heard, stages), async {
                match errors {
                    Some(errors) => errors.await,
                    None => String::new(),
                }
            });
            (child.wait().await, stderr)
        };
        let ended = tokio::time::timeout(Duration::from_secs(self.limits.wall_s), working).await;
        let Ok((status, stderr)) = ended else {
            // It is dead before its verdict is told: nothing of a refused upload goes on.
            if let Err(error) = child.kill().await {
                tracing::warn!(%error, "prover could not be killed");
            }
            return Err(verdict::too_slow(heard.doing, &self.limits));
        };
        let status = status.map_err(|error| Fault::internal(format!("wait for the prover: {error}")))?;
        if !status.success() || !stderr.is_empty() {
            tracing::info!(artifact = %task.digest, %status, stderr = stderr.trim_end(), "prover ended");
        }
        if heard.garbled {
            return Err(verdict::garbled(heard.doing));
        }
        let end = End { last: heard.last, doing: heard.doing, status, stderr: &stderr };
        verdict::judge(end, &self.limits, task.memory_bytes)
    }

    fn start(&self, task: &Task, blob: File) -> Result<Child, Fault> {
        let fault = |error: &dyn std::fmt::Display| Fault::internal(format!("start the prover: {error}"));
        let task = serde_json::to_string(task).map_err(|error| fault(&error))?;
        Command::new(&self.program)
            .args([ARGUMENT, &task])
            .env_clear()
            .envs(runtimes::ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::from(blob))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| fault(&error))
    }
}

/// Takes in what the child says until it says no more. What is no word ends it.
async fn listen(child: &mut Child, heard: &mut Heard, stages: mpsc::Sender<Stage>) {
    let Some(stdout) = child.stdout.take() else { return };
    let mut lines = BufReader::new(stdout.take(WORDS_BYTES)).lines();
    loop {
        let word = match lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str::<Word>(&line).ok(),
            Ok(None) => return,
            Err(_) => None,
        };
        let Some(word) = word else {
            heard.garbled = true;
            // It may write for ever, and nobody reads it now.
            let _ = child.start_kill();
            return;
        };
        match &word {
            Word::Recognised { format } => {
                heard.doing = "loaded";
                // Progress is for people; who does not listen misses it.
                let _ = stages.try_send(Stage::Recognised(format.clone()));
            }
            Word::Loaded => heard.doing = "proven",
            Word::Proven { .. } | Word::Refused { .. } => {}
        }
        heard.last = Some(word);
    }
}

/// The end of what a stream brings.
async fn tail(mut stream: impl AsyncRead + Unpin) -> String {
    let mut kept = VecDeque::with_capacity(STDERR_BYTES);
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        kept.extend(&chunk[..read]);
        kept.drain(..kept.len().saturating_sub(STDERR_BYTES));
    }
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tails_are_bounded() {
        let long = vec![b'x'; 100_000];
        let kept = tail(&[long.as_slice(), b"end"].concat()[..]).await;
        assert!(kept.len() == STDERR_BYTES && kept.ends_with("xend"));
        assert_eq!(tail(&b""[..]).await, "");
    }
}
