//! The seam for engines: what loads formats and executes models, without knowing who calls it.
//!
//! Three nouns: a [`Runtime`] turns bytes into a [`Model`], a model gives [`Session`]s, and a
//! session runs a [`Call`] into [`Answers`]. A new runtime is finished when [`runtime_suite!`]
//! passes for it. An [`Adapter`] wraps a model in what a bundle declares, so that it offers another
//! contract than its own tensors.

pub mod adapter;
pub mod bundle;
pub mod call;
pub mod chain;
pub mod error;
pub mod rows;
pub mod runtime;
pub mod runtimes;
mod suite;
pub mod toy;
pub mod warmup;

pub use adapter::Adapter;
pub use bundle::{Bundle, BundleError, BundleLimits, Manifest};
pub use call::{Answers, Call, Cancel, Single};
pub use chain::Chain;
pub use error::{LoadError, RunError};
pub use rows::EachRow;
pub use runtime::{Capabilities, LoadOptions, Model, Runtime, Session};
pub use runtimes::Runtimes;

#[doc(hidden)]
pub use suite::checks;
