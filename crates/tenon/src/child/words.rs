//! What the server and its proving child say to each other.
//!
//! The task goes to the child as one JSON argument, the blob as its standard input. The child answers
//! with JSON lines on what was its standard output; the last of them is a verdict.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tenon_contract::{Digest, Fault, Format};
use tenon_control::Finding;

/// What the child shall do, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// What the bytes on standard input must be.
    pub(crate) digest: Digest,
    /// How many they must be.
    pub(crate) size: u64,
    /// Where the server found ONNX Runtime, or why it has none.
    pub(crate) onnxruntime: Result<PathBuf, String>,
    /// The kind of processor that the proof is for.
    pub(crate) processor: String,
    /// Address space, bytes.
    pub(crate) memory_bytes: u64,
    /// Computing time, seconds.
    pub(crate) cpu_s: u64,
    /// Refuse to work without a system call filter.
    pub(crate) demand_filter: bool,
}

/// One line of the child.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Word {
    /// The bytes are verified and their format is known.
    Recognised {
        /// The format.
        format: Format,
    },
    /// The artifact became a model in memory.
    Loaded,
    /// The artifact is proven. The last word.
    Proven {
        /// All that was found out.
        finding: Box<Finding>,
    },
    /// The artifact is refused, or could not be proven. The last word.
    Refused {
        /// Why.
        fault: Fault,
    },
}

impl Word {
    /// The word as a line without its end.
    pub(crate) fn write(&self) -> String {
        // Words are plain data with string keys: they are always writable.
        serde_json::to_string(self).unwrap_or_default()
    }
}
