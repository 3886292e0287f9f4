//! ONNX models through ONNX Runtime, a shared library loaded at start.
//!
//! ```text
//! Library::find ─► OnnxRuntime::start ─► Runtime::load ─► Model::session ─► Session::run
//!   (library.rs)      (runtime.rs)     recognise, external,   (model.rs)     (session.rs)
//!                                          signature
//! ```
//!
//! Invariants:
//! - The library is the one that [`Library::find`] gave; `ort` never searches for one itself.
//! - ONNX Runtime sees a model only after `external.rs` has read all of it: no tensor of it lies
//!   outside the bundle, and nothing is ever opened by a path that a model names.
//! - One session of ours is one session of ONNX Runtime; none is shared by two workers.
//! - `unsafe` stands in `raw.rs` alone.

mod external;
mod library;
mod logging;
mod model;
mod proto;
#[allow(unsafe_code)]
mod raw;
mod recognise;
mod runtime;
mod session;
mod shapes;
mod signature;

pub use library::{Absent, Library, Origin, SearchPath, VERSION};
pub use runtime::{OnnxRuntime, Options, StartError};
