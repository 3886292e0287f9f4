//! Requests and answers, before and after any wire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Digest, RequestId, ServiceName, Tensor, VersionId};

/// A value of the protocol's parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// true or false.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An integer above the signed range.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
    /// A text.
    String(String),
}

/// Parameters of a request, an answer or a tensor, by name.
pub type Parameters = BTreeMap<String, Parameter>;

/// A tensor with the name it has on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name.
    pub name: Arc<str>,
    /// The values.
    pub tensor: Tensor,
}

impl NamedTensor {
    /// Gives `tensor` a name.
    pub fn new(name: impl Into<Arc<str>>, tensor: Tensor) -> Self {
        Self { name: name.into(), tensor }
    }
}

/// A call of a service's operation.
#[derive(Clone, Debug)]
pub struct Request {
    /// The service called.
    pub service: ServiceName,
    /// The version asked for by its number, where the caller insists on one.
    pub version: Option<u64>,
    /// The operation; `infer` for raw tensors.
    pub operation: Arc<str>,
    /// The id, the caller's own or one made at the door.
    pub id: RequestId,
    /// Number of the trace that it belongs to, where it is traced.
    pub trace: Option<u128>,
    /// Parameters passed through.
    pub parameters: Parameters,
    /// The fields of the input message.
    pub inputs: Vec<NamedTensor>,
    /// Names of the outputs wanted; empty is all.
    pub outputs: Vec<Arc<str>>,
    /// How long the caller waits, from arrival.
    pub timeout: Option<Duration>,
}

/// Which state of which service answered, and with what model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The service.
    pub service: ServiceName,
    /// Its revision.
    pub revision: u64,
    /// The version behind it.
    pub version: VersionId,
    /// Digest of the version's artifact.
    pub digest: Digest,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// Who answered.
    pub identity: Arc<Identity>,
    /// The generation the request was pinned to.
    pub generation: u64,
    /// The request's id.
    pub id: RequestId,
    /// Parameters of the answer.
    pub parameters: Parameters,
    /// The outputs, in the order of the signature or of the request where it names them.
    pub outputs: Vec<NamedTensor>,
}
