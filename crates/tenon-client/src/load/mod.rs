//! Load for measuring a server that may share the machine with it.
//!
//! One thread sends prepared requests over raw keep-alive connections ([`run`](run::start)). In a
//! *closed* loop each connection sends its next request when the answer is there: the most that the
//! server gives. In an *open* loop requests are due at fixed times whatever the server does, and
//! latency counts from the time at which a request was due, so a server that stands still is charged
//! with every request that it kept from being sent (no coordinated omission).
//!
//! A [`Referee`] looks at each answer. [`judge::Judge`] knows what each version has to answer and which
//! version may answer when; [`swaps`] exchanges versions under load and reports.

pub mod connection;
pub mod histogram;
pub mod judge;
pub mod ledger;
mod pace;
pub mod questions;
pub mod report;
pub mod run;
pub mod statistics;
pub mod swaps;

use std::fmt;

use serde::Serialize;

pub use connection::{Answer, Shot, Target};
pub use histogram::Histogram;
pub use pace::Pace;
pub use report::{Report, Tally};
pub use run::{Load, Plan, start};

/// How an answer can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Offence {
    /// No answer, or a refusal.
    Lost,
    /// No right answer of any version.
    Wrong,
    /// The right answer of one version under the name of another.
    Mixed,
    /// The right answer of a version that must not answer any more, or not yet.
    Stale,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Wrong => "wrong",
            Self::Mixed => "mixed",
            Self::Stale => "stale",
        })
    }
}

/// What stands against an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What kind of failure.
    pub offence: Offence,
    /// What was seen.
    pub text: String,
}

impl Charge {
    pub(crate) fn new(offence: Offence, text: impl Into<String>) -> Self {
        Self { offence, text: text.into() }
    }
}

/// Looks at each answer of a load. Both methods are called on the one thread that makes the load.
pub trait Referee: Send + Sync {
    /// Called right before a request is sent; the value is handed to [`Self::judge`].
    fn before(&self) -> u64;

    /// Decides about the answer to the shot number `shot` of the plan.
    ///
    /// # Errors
    /// What stands against it.
    fn judge(&self, shot: usize, before: u64, answer: &Answer) -> Result<(), Charge>;
}

/// Takes every answer with status 200 as right.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyAnswer;

impl Referee for AnyAnswer {
    fn before(&self) -> u64 {
        0
    }

    fn judge(&self, _shot: usize, _before: u64, answer: &Answer) -> Result<(), Charge> {
        answer.accepted()
    }
}
