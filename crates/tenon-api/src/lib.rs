//! The wires of Tenon: HTTP routes, access, and the one table from fault to status.
//!
//! ```text
//! listener ─► server ─► guard (Host, Origin) ─► router ─► auth (permit) ─► infer/<wire> ─► Node
//!                                                                      └─► admin/<noun> ─► control plane
//! ```
//!
//! Calls of gRPC leave the way before the router: [`grpc`] finds their method.
//!
//! This is the only crate that knows servers. It decides nothing about models: it reads bytes, asks the
//! data plane or the control plane, and writes down what they say.
//!
//! Invariants:
//! - What changes anything passes a permit, on whatever wire it is asked ([`auth`]).
//! - Numbers of HTTP and gRPC stand in [`status`] alone.
//! - Every limit is a field of [`Limits`] and holds after decompression ([`body`]).
//! - Tokens and bodies are never logged.

mod admin;
mod auth;
mod body;
mod event_loops;
mod grpc;
mod guard;
mod identity;
mod ids;
mod infer;
mod lines;
mod metrics;
mod page;
mod parts;
mod probes;
mod router;
mod server;
mod spans;
mod status;
mod tls;

pub use admin::OPENAPI;
pub use auth::Access;
pub use parts::{ApiParts, Control, Limits, LogLines, LogSwitch, Paint, ReadExamples};
pub use router::routes;
pub use server::{ServeError, serve};
pub use spans::Tracing;
pub use tls::{TlsError, TlsFiles};
