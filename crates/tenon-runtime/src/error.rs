//! What goes wrong between bytes and answers, told so that its reader knows what to do.

use tenon_contract::{Fault, FaultKind, Memory};

/// Why bytes did not become a model or a model gave no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No runtime of this build reads the format.
    #[error("no runtime reads the format `{0}`; this build reads {1}")]
    Unsupported(String, String),
    /// The runtime for it is not there; the text says how to get it.
    #[error("{0}")]
    Unavailable(String),
    /// The bytes are not what they should be.
    #[error("{place}: {text}")]
    Malformed {
        /// File, field or offset.
        place: String,
        /// What is wrong there.
        text: String,
    },
    /// It needs more memory than allowed.
    #[error("needs {needed}, allowed are {allowed}")]
    Memory {
        /// What it needs.
        needed: Memory,
        /// What it may have.
        allowed: Memory,
    },
    /// Given up because asked to.
    #[error("loading was cancelled")]
    Cancelled,
    /// The engine refused; its own words.
    #[error("{0}")]
    Engine(String),
}

impl LoadError {
    /// Malformed bytes with their place.
    pub fn malformed(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Malformed { place: place.into(), text: text.into() }
    }
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Self {
        let kind = match &error {
            LoadError::Unsupported(..) => FaultKind::Unsupported,
            LoadError::Unavailable(_) => FaultKind::Unavailable,
            LoadError::Malformed { .. } | LoadError::Engine(_) => FaultKind::Invalid,
            LoadError::Memory { .. } => FaultKind::Overloaded,
            LoadError::Cancelled => FaultKind::Cancelled,
        };
        Fault::new(kind, error.to_string())
    }
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The deadline of the call passed.
    #[error("deadline passed while the model was computing")]
    Deadline,
    /// The caller went away.
    #[error("call was cancelled")]
    Cancelled,
    /// The values are not what they should be, by the caller's fault: no picture, too large a one.
    #[error("{0}")]
    Refused(Fault),
    /// The engine refused the values; its own words. The session may be used again.
    #[error("model failed: {0}")]
    Failed(String),
    /// The engine broke. The session must not be used again.
    #[error("model broke: {0}")]
    Broken(String),
}

impl RunError {
    /// The same error with what was being done put before its text, where it has one of its own.
    #[must_use]
    pub fn during(self, what: impl std::fmt::Display) -> Self {
        match self {
            Self::Deadline | Self::Cancelled => self,
            Self::Refused(fault) => Self::Refused(fault.during(what)),
            Self::Failed(text) => Self::Failed(format!("{what}: {text}")),
            Self::Broken(text) => Self::Broken(format!("{what}: {text}")),
        }
    }
}

impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        let kind = match &error {
            RunError::Deadline => FaultKind::Deadline,
            RunError::Cancelled => FaultKind::Cancelled,
            RunError::Refused(fault) => return fault.clone(),
            RunError::Failed(_) | RunError::Broken(_) => FaultKind::Model,
        };
        Fault::new(kind, error.to_string())
    }
}
