//! What Tenon is measured beside, each a process of its own: this binary started again.
//!
//! A peer prints one line when it is ready and ends when its standard input does, so it never outlives
//! the measurement.

pub(crate) mod hello;
pub(crate) mod onnxruntime;

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use clap::Subcommand;

/// Which peer to be.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// A bare axum server.
    Hello,
    /// A bare loop of ONNX Runtime.
    Onnxruntime(onnxruntime::Loop),
}

impl Role {
    /// Plays the role until standard input ends.
    ///
    /// # Errors
    /// Those of the peer.
    pub(crate) fn play(self) -> Result<()> {
        match self {
            Self::Hello => hello::serve(),
            Self::Onnxruntime(asked) => onnxruntime::run(&asked),
        }
    }
}

/// A peer under way.
pub(crate) struct Peer {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts a peer on the cores of this thread and waits for the line that says it is ready.
    ///
    /// # Errors
    /// It did not become ready.
    pub(crate) fn start(arguments: &[String]) -> Result<(Self, String)> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("peer")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a peer")?;
        let said = BufReader::new(child.stdout.take().context("a peer has an output")?).lines();
        let mut peer = Self { child, said };
        let first = peer.hear()?;
        Ok((peer, first))
    }

    /// Sends a line and waits for the answer.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) fn ask(&mut self, line: &str) -> Result<String> {
        let input = self.child.stdin.as_mut().context("a peer has an input")?;
        writeln!(input, "{line}").context("ask a peer")?;
        self.hear()
    }

    fn hear(&mut self) -> Result<String> {
        self.said.next().context("a peer ended early")?.context("hear a peer")
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
