//! The language of Tenon: what every other room of the house speaks, and nothing that acts.
//!
//! Pure by rule: no files, no network, no clock, no async. A value made here is already
//! checked: names fit their grammar, tensors hold as many bytes as their shape says,
//! [`Inputs`] fit a [`Signature`].

pub mod admin;
pub mod contract;
pub mod datatype;
pub mod desired;
pub mod difference;
pub mod digest;
pub mod fault;
pub mod memory;
pub mod names;
pub mod observed;
pub mod picture;
pub mod proof;
pub mod receipt;
pub mod request;
pub mod signature;
pub mod tensor;
pub mod trace;
pub mod version;

pub use contract::{Contract, Field, Kind, Message, Operation};
pub use datatype::Datatype;
pub use desired::{Desired, Observed, ObservedService, Revision, Settings, Track, TrackRole};
pub use difference::{Difference, Severity};
pub use digest::Digest;
pub use fault::{Fault, FaultKind};
pub use memory::{Device, Memory};
pub use names::{ModelName, NameError, RequestId, ServiceName, VersionId};
pub use proof::{Example, Examples, Proof, ProofKey, ProofKind, Tolerance};
pub use request::{Identity, NamedTensor, Parameter, Parameters, Request, Response};
pub use signature::{Dim, Inputs, Outputs, Signature, TensorSpec};
pub use tensor::{Tensor, TensorError};
pub use version::{Format, Version};
