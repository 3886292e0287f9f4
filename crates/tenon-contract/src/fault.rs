//! What went wrong, told by whose fault it is. Numbers of HTTP and gRPC are known only to the wires.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose fault it is and what may be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The request is wrong and will be wrong again.
    Invalid,
    /// No such service, model, version, job.
    NotFound,
    /// It stands against what is there already: a breaking contract, a taken name, another swap under way.
    Conflict,
    /// No token, or one that names nobody.
    Unauthenticated,
    /// The token does not allow it.
    Denied,
    /// A named limit of size is exceeded.
    TooLarge,
    /// A queue or the memory is full now; the same request may succeed later.
    Overloaded,
    /// The service exists and cannot answer now.
    Unavailable,
    /// The caller's deadline has passed.
    Deadline,
    /// The caller went away or cancelled.
    Cancelled,
    /// The model refused or broke on an input that fits its signature.
    Model,
    /// This build or this node does not do that.
    Unsupported,
    /// Our own fault.
    Internal,
}

/// A fault with a text that is safe to show to the caller: verb + object, lowercase, no full stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Whose fault.
    pub kind: FaultKind,
    /// What the caller reads.
    pub text: String,
}

impl Fault {
    /// A fault of `kind` with a text for the caller.
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The request is wrong.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, text)
    }

    /// Nothing of that name.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, text)
    }

    /// It stands against what is there.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Conflict, text)
    }

    /// Refused early because a named limit is reached.
    pub fn overloaded(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Overloaded, text)
    }

    /// Exists, cannot answer now.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Unavailable, text)
    }

    /// Our own fault. The chain of causes belongs into the log, not here.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, text)
    }

    /// The same fault with what was being done put before it: `load churn/7: read header: ...`.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.text = format!("{what}: {}", self.text);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl From<crate::NameError> for Fault {
    fn from(error: crate::NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<crate::TensorError> for Fault {
    fn from(error: crate::TensorError) -> Self {
        Self::invalid(error.to_string())
    }
}
