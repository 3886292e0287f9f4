//! What is kept of requests for later: a sample of what was asked and answered, and what callers say about it
//! afterwards.

use std::sync::Arc;

use serde::Deserialize;

use crate::{Identity, NamedTensor, RequestId, ServiceName};

/// What is kept of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is not one of the sample.
    Nothing,
    /// Who answered what, when and how fast.
    Ids,
    /// That, and inputs and outputs of at most so many bytes together.
    Values(usize),
}

/// A request of the sample that was answered.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Its id.
    pub id: RequestId,
    /// What was called.
    pub operation: Arc<str>,
    /// Who answered.
    pub identity: Arc<Identity>,
    /// In which generation.
    pub generation: u64,
    /// How long it was inside the node, microseconds.
    pub micros: u64,
    /// What was asked and answered; nothing where that is not kept.
    pub values: Option<Values>,
    /// Whether that would be kept, but is larger than a record may be.
    pub is_cut: bool,
}

/// Inputs and outputs of a request.
#[derive(Clone, Debug)]
pub struct Values {
    /// What was asked.
    pub inputs: Vec<NamedTensor>,
    /// What was answered.
    pub outputs: Vec<NamedTensor>,
}

impl Values {
    /// Bytes of all tensors.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.inputs) + bytes_of(&self.outputs)
    }
}

/// Bytes of tensors.
pub fn bytes_of(tensors: &[NamedTensor]) -> usize {
    tensors.iter().map(|named| named.tensor.payload().len()).sum()
}

/// What a caller says about a request that was answered: the body of the feedback route.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// The id that the answer bore.
    pub request_id: RequestId,
    /// What would have been right; any JSON.
    #[serde(default)]
    pub truth: Option<serde_json::Value>,
    /// How good the answer was; what the number means is the caller's affair.
    #[serde(default)]
    pub score: Option<f64>,
    /// Words about it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Feedback as it arrived.
#[derive(Clone, Debug)]
pub struct Returned {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// About whose answer.
    pub service: ServiceName,
    /// What was said.
    pub feedback: Feedback,
}

/// Where what is observed goes. Given by the binary. It takes at once and without waiting; what there is no room for
/// is dropped and counted.
pub trait Observer: Send + Sync {
    /// What is kept of the next request to a service.
    fn keeps(&self, service: &ServiceName) -> Keep;

    /// Takes a request of the sample.
    fn observed(&self, observation: Observation);

    /// Takes feedback.
    fn returned(&self, returned: Returned);

    /// What became of it.
    fn counts(&self) -> ObservedCounts;
}

/// What became of observations and feedback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObservedCounts {
    /// Records that were written.
    pub written: u64,
    /// Records that could not be written.
    pub lost: u64,
    /// Records for which there was no room.
    pub dropped: u64,
}
