//! Blocks: the arms of a comparison take turns in short pieces, so that what disturbs the machine
//! disturbs them alike.

use std::time::Duration;

use anyhow::Result;
use tenon_client::load::statistics::median;

use crate::machine;

/// How much trouble is taken over a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Blocks of each arm.
    pub(crate) blocks: usize,
    /// Length of a block.
    pub(crate) block: Duration,
    /// Each block begins after the machine was at rest for so long.
    pub(crate) rest: Duration,
    /// How long that is waited for.
    pub(crate) patience: Duration,
}

impl Effort {
    /// For figures that count.
    pub(crate) const FULL: Self = Self {
        blocks: 24,
        block: Duration::from_secs(1),
        rest: Duration::from_millis(500),
        patience: Duration::from_secs(20),
    };

    /// To see whether something became faster, beside other work.
    pub(crate) const QUICK: Self =
        Self { blocks: 6, block: Duration::from_millis(700), rest: Duration::ZERO, patience: Duration::ZERO };
}

/// What one block came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Answers a second.
    pub(crate) rate: f64,
    /// 99th percentile of the times of answers, microseconds.
    pub p99_us: f64,
    /// Processor time of the server for one answer, microseconds.
    pub(crate) server_us: f64,
}

/// One side of a comparison.
pub(crate) struct Arm<'a> {
    /// Its name.
    pub(crate) name: String,
    block: Box<dyn FnMut(Duration) -> Result<Block> + 'a>,
    taken: Vec<Block>,
}

impl<'a> Arm<'a> {
    /// A side that measures a block of the length it is given.
    pub(crate) fn new(name: impl Into<String>, block: impl FnMut(Duration) -> Result<Block> + 'a) -> Self {
        Self { name: name.into(), block: Box::new(block), taken: Vec::new() }
    }

    fn median(&self, of: impl Fn(&Block) -> f64) -> f64 {
        let values: Vec<f64> = self.taken.iter().map(of).collect();
        median(&values).unwrap_or(f64::NAN)
    }

    /// Median of the rates.
    pub(crate) fn rate(&self) -> f64 {
        self.median(|block| block.rate)
    }

    /// Median of the blocks' 99th percentiles, microseconds.
    pub(crate) fn p99_us(&self) -> f64 {
        self.median(|block| block.p99_us)
    }

    /// Median of the server's time for one answer, microseconds.
    pub(crate) fn server_us(&self) -> f64 {
        self.median(|block| block.server_us)
    }
}

/// Lets the arms take turns, each second round the other way about. The first block of each warms up
/// and does not count. Gives how many blocks began on a restless machine.
///
/// # Errors
/// Those of an arm.
pub(crate) fn take_turns(arms: &mut [Arm<'_>], effort: Effort) -> Result<usize> {
    let mut restless = 0;
    for round in 0..=effort.blocks {
        for turn in 0..arms.len() {
            let place = if round % 2 == 0 { turn } else { arms.len() - 1 - turn };
            let quiet = machine::rest(effort.rest, effort.patience)?;
            let block = (arms[place].block)(effort.block)?;
            if round > 0 {
                arms[place].taken.push(block);
                restless += usize::from(!quiet);
            }
        }
    }
    Ok(restless)
}
