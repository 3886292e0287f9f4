//! The data plane without a protocol: what answers requests, and how that is exchanged.
//!
//! A request's way is the list in [`infer`](mod@infer); the way of a change is [`plan`] and [`change`](mod@change). Between
//! them stands the [`Generation`]: an immutable snapshot of all that is served, exchanged whole.

pub mod admission;
pub mod cell;
#[cfg(test)]
mod cell_twin;
mod change;
mod clock;
mod disk;
pub mod engine;
mod exemplar;
pub mod faults;
mod figures;
pub mod generation;
mod histogram;
mod infer;
pub mod journal;
mod loader;
mod node;
mod numbers;
mod observe;
pub mod plan;
mod pool;
pub mod prove;
mod reaper;
mod state;
mod statistics;
mod steps;
mod sync;
mod synthetic;
mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod traffic;
mod turn;
mod views;
mod walked;

pub use exemplar::Exemplar;
pub use figures::{Figures, ServiceFigures};
pub use generation::{Generation, Lease, Slot};
pub use histogram::{DURATIONS, Distribution, LONG, ROWS};
pub use node::{Node, NodeOptions, ReadExamples};
pub use prove::{Evidence, prove};
pub use statistics::VersionStatistics;
pub use steps::{Step, Steps};
pub use tally::{ChangeKind, ChangeStep, Tally};
pub use traffic::{Outcome, Reason, Unanswered};
