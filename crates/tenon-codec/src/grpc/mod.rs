//! The messages of gRPC that Tenon speaks, made from the files in `proto/`, and the hot two of them by hand.
//!
//! `ModelInferRequest` and `ModelInferResponse` are read and written by [`decode_request`] and
//! [`encode_response`], not by the generated types: under the limits of this crate, straight into tensors, raw
//! payloads shared with the message. The generated types are what tests compare them with, and all there is for
//! the other messages.

mod contents;
mod parameters;
mod request;
mod response;
mod wire;

pub use request::{InferCall, decode_request, names_of};
pub use response::{Contents, Message, encode_response, encode_streamed, encode_streamed_error};

/// `inference`: the Open Inference Protocol with Triton's extensions.
#[allow(missing_docs, clippy::all, reason = "generated; documented in the .proto files")]
pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

/// `grpc.health.v1`.
#[allow(missing_docs, clippy::all, reason = "generated; documented in the .proto files")]
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

/// `grpc.reflection.v1`. The messages of `v1alpha` are the same on the wire.
#[allow(missing_docs, clippy::all, reason = "generated; documented in the .proto files")]
pub mod reflection {
    include!(concat!(env!("OUT_DIR"), "/grpc.reflection.v1.rs"));
}

/// All of the above as a serialized `google.protobuf.FileDescriptorSet`, imports included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
