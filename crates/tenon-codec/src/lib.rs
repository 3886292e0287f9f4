//! Values to bytes and back, outside any transport: no servers, no connections, no files.
//!
//! * [`oip`]: requests and answers of the Open Inference Protocol v2 with the binary tensor
//!   extension, for servers and for clients.
//! * [`grpc`]: the same over gRPC, and the other messages that Tenon speaks there.
//! * [`native`]: JSON of the message trees of a contract, one key for each field.
//! * [`observed`]: records of what was asked, answered and said about it.
//! * [`otlp`]: spans as collectors of OpenTelemetry take them.
//! * [`examples`]: the file `examples.json` of a bundle.
//! * [`textproto`]: Protobuf's text format without a schema, for files of other servers.
//!
//! All but those of Protobuf read JSON through one small reader of our own (`json`): one pass over the bytes, no
//! tree of values, numbers straight into the payload of their tensor. What it takes is what
//! `serde_json` takes, and the bare tokens `NaN`, `Infinity` and `-Infinity` that Python writes.
//!
//! Bytes here come from outside. Every reader holds to [`Limits`], never panics, and says in its
//! fault where the input broke: which tensor, which element, which byte.

pub mod examples;
pub mod grpc;
mod json;
mod limits;
pub mod native;
pub mod observed;
pub mod oip;
pub mod otlp;
pub mod textproto;

pub use limits::Limits;
