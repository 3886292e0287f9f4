//! The control plane without HTTP: onboarding, promotion, permits and jobs.
//!
//! ```text
//! push ─► Onboarding ─► Jobs: stored ─► recognised ─► proven ─► registered ─► Catalog
//!                                    └── Prover (a child process) ──┘
//! swap ─► Promotion ─► Revision ─► NodePort ─► Catalog, receipt head, audit
//! ```
//!
//! A folder of models that is served as it is stands beside both: [`repository`].
//!
//! What stands outside comes in through ports: the node, the prover, the clock. The node is the truth
//! about what is live; the catalog follows it, and [`Promotion::reconcile`] mends it after an outage.
//!
//! Invariants:
//! - What changes anything takes a [`Permit`], which only [`authorize`] makes.
//! - A failed step leaves what is live as it was; a refused upload leaves neither version nor blob.
//! - What is proven under a key is not proven again under it.
//! - One swap of a service at a time, and a caller who goes away does not cut one in half.

mod job_figures;
mod jobs;
mod onboard;
mod permit;
mod ports;
mod promote;
pub mod repository;
mod turns;
mod whole;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod onboard_tests;
#[cfg(test)]
mod promote_tests;

pub use job_figures::{JobEnd, JobFigures, JobsEnded};
pub use jobs::{Follow, JobLimits, Jobs, StepHook, Work};
pub use onboard::Onboarding;
pub use permit::{Action, Caller, Configure, Infer, Observe, Permit, Promote, Push, authorize};
pub use ports::{Clock, Finding, NodePort, Prover, ReceiptHead, Stage, SystemClock};
pub use promote::Promotion;
