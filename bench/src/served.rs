//! A server under load, seen from outside.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tenon_client::load::{Shot, Target};

use crate::blocks::Block;
use crate::{generator, machine};

/// A server and what is sent to it.
pub(crate) struct Served {
    process: u32,
    address: SocketAddr,
    request: Vec<u8>,
}

impl Served {
    /// The server of `process` at `target`, which is sent `shot`.
    pub(crate) fn new(process: u32, target: &Target, shot: &Shot) -> Self {
        Self { process, address: target.address(), request: shot.wire() }
    }

    /// Keeps `connections` connections busy for so long. The load runs on the cores of this thread.
    ///
    /// # Errors
    /// A request failed: what is not answered is not fast.
    pub(crate) fn block(&self, connections: usize, duration: Duration) -> Result<Block> {
        let before = machine::processor_time(self.process)?;
        let closed = generator::run(self.address, &self.request, connections, duration)?;
        let used = machine::processor_time(self.process)? - before;
        let answers = closed.latency.count();
        let server_us = used.as_secs_f64() * 1e6 / answers as f64;
        let rate = answers as f64 / closed.elapsed.as_secs_f64();
        Ok(Block { rate, p99_us: closed.latency.quantile(0.99).as_secs_f64() * 1e6, server_us })
    }
}
