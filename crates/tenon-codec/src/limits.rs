//! The named limits of everything that is read.

use tenon_contract::{Fault, FaultKind, tensor::RANK_LIMIT};

/// How much one document may hold. The length of the document itself is the transport's to limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tensors in one list of inputs, of outputs or of asks for outputs.
    pub tensors: usize,
    /// Dimensions of a tensor; never more than [`RANK_LIMIT`].
    pub rank: usize,
    /// Bytes of all payloads of a document, decoded.
    pub payload_bytes: usize,
    /// Entries of one `parameters` object.
    pub parameters: usize,
    /// How deep values may nest that are read over, below an unknown key; never more than 128.
    pub depth: usize,
    /// Examples in one `examples.json`.
    pub examples: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tensors: 4096,
            rank: RANK_LIMIT,
            payload_bytes: 256 << 20,
            parameters: 256,
            depth: 64,
            examples: 10_000,
        }
    }
}

impl Limits {
    pub(crate) fn rank(&self) -> usize {
        self.rank.min(RANK_LIMIT)
    }
}

/// The fault of a document that holds more than `limit`, which is the field `name` of [`Limits`].
#[cold]
pub(crate) fn exceeded(name: &str, limit: usize) -> Fault {
    Fault::new(FaultKind::TooLarge, format!("exceeds the limit {name} of {limit}"))
}
