//! A server under load, seen from outside.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tenon_client::load::{self, AnyAnswer, Plan, Shot, Target};

use crate::blocks::Block;
use crate::machine;

/// A server and what is sent to it.
pub(crate) struct Served {
    /// Its process.
    pub(crate) process: u32,
    /// Where it listens.
    pub(crate) target: Target,
    /// What it is sent.
    pub(crate) shot: Shot,
}

impl Served {
    /// Keeps `connections` connections busy for so long. The load runs on the cores of this thread.
    ///
    /// # Errors
    /// A request failed: what is not answered is not fast.
    pub(crate) fn block(&self, connections: usize, duration: Duration) -> Result<Block> {
        let mut plan = Plan::new(self.target.clone(), vec![self.shot.clone()], duration);
        plan.connections = connections;
        let before = machine::processor_time(self.process)?;
        let report = load::start(plan, Arc::new(AnyAnswer))?.finish()?;
        let used = machine::processor_time(self.process)? - before;
        ensure!(report.tally.failed() == 0, "requests failed: {:?}", report.charges);
        let server_us = used.as_secs_f64() * 1e6 / report.tally.right as f64;
        Ok(Block { rate: report.rate, p99_us: report.latency.p99_us, server_us })
    }
}
