//! Values to bytes and back, outside any transport: no HTTP, no gRPC, no files.
//!
//! * [`oip`]: requests and answers of the Open Inference Protocol v2 with the binary tensor
//!   extension, for servers and for clients.
//! * [`native`]: JSON of the message trees of a contract, one key for each field.
//! * [`examples`]: the file `examples.json` of a bundle.
//!
//! All of them read JSON through one small reader of our own (`json`): one pass over the bytes, no
//! tree of values, numbers straight into the payload of their tensor. What it takes is what
//! `serde_json` takes, and the bare tokens `NaN`, `Infinity` and `-Infinity` that Python writes.
//!
//! Bytes here come from outside. Every reader holds to [`Limits`], never panics, and says in its
//! fault where the input broke: which tensor, which element, which byte.

pub mod examples;
mod json;
mod limits;
pub mod native;
pub mod oip;

pub use limits::Limits;
