//! The HTTP client of Tenon and its load generator.
//!
//! * [`Client`]: one method for each route of `/api/v1`, uploads that resume, jobs followed live, and
//!   the data plane for single requests. The command line stands on it; other nodes will.
//! * [`bundle`]: folders and examples made into the one zip that is uploaded.
//! * [`load`]: load over raw connections, open and closed loop, with a judge who knows what each
//!   version has to answer.
//!
//! This crate speaks to servers and never is one. It reads no environment: whoever makes a [`Client`]
//! says where the server is and which token to show.

pub mod bundle;
mod client;
mod data;
mod error;
mod follow;
pub mod load;
mod upload;

pub use client::{Client, ModelDetail, Options};
pub use data::{Answered, Called};
pub use error::ClientError;
pub use upload::{Progress, Source};
