//! What can go wrong between this client and a server, told so that a caller can act on it.

use std::error::Error as _;

use serde::Deserialize;
use tenon_contract::{Fault, FaultKind};

/// Why a call did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the name does not resolve.
    #[error("reach {server}: {cause}")]
    Unreachable {
        /// Address of the server.
        server: String,
        /// The chain of causes.
        cause: String,
    },
    /// The connection broke while asking or answering.
    #[error("{what}: {cause}")]
    Broken {
        /// What was being asked for.
        what: String,
        /// The chain of causes.
        cause: String,
    },
    /// The server said no.
    #[error("{fault}")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// Whose fault, and what the server says about it.
        fault: Fault,
    },
    /// The answer is none that Tenon gives.
    #[error("{what}: {text}; is this a Tenon server?")]
    Unexpected {
        /// What was being asked for.
        what: String,
        /// What is odd about the answer.
        text: String,
    },
    /// Something on this side is wrong: a file, an address, a token.
    #[error("{0}")]
    Local(String),
}

/// Body of a refusal.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    kind: Option<FaultKind>,
}

impl ClientError {
    /// Sorts an error of the HTTP library: never connected, or broken on the way.
    pub(crate) fn of_transport(server: &str, what: &str, error: &reqwest::Error) -> Self {
        let cause = causes(error);
        if error.is_connect() {
            return Self::Unreachable { server: server.to_owned(), cause };
        }
        Self::Broken { what: what.to_owned(), cause }
    }

    /// Reads the refusal in an answer's body; bodies of others become the text as they are.
    pub(crate) fn of_answer(status: u16, body: &[u8]) -> Self {
        let fault = match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => Fault::new(refusal.kind.unwrap_or(kind_of(status)), refusal.error),
            Err(_) => {
                let text: String = String::from_utf8_lossy(body).trim().chars().take(300).collect();
                Fault::new(kind_of(status), format!("status {status} {text}").trim_end())
            }
        };
        Self::Refused { status, fault }
    }

    pub(crate) fn unexpected(what: &str, text: impl Into<String>) -> Self {
        Self::Unexpected { what: what.to_owned(), text: text.into() }
    }

    /// Whose fault it is, in the words of the contract.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => FaultKind::Unavailable,
            Self::Refused { fault, .. } => fault.kind,
            Self::Unexpected { .. } => FaultKind::Internal,
            Self::Local(_) => FaultKind::Invalid,
        }
    }

    /// Whether the same call may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 502 | 503 | 504),
            Self::Unexpected { .. } | Self::Local(_) => false,
        }
    }
}

/// The error with what is behind it; the HTTP library hides the telling part in its sources.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.source().is_some() { innermost.to_string() } else { error.to_string() }
}

/// Whose fault a status tells of, for answers that do not say so themselves.
fn kind_of(status: u16) -> FaultKind {
    match status {
        401 => FaultKind::Unauthenticated,
        403 => FaultKind::Denied,
        404 => FaultKind::NotFound,
        409 => FaultKind::Conflict,
        413 => FaultKind::TooLarge,
        429 => FaultKind::Overloaded,
        501 => FaultKind::Unsupported,
        503 => FaultKind::Unavailable,
        504 => FaultKind::Deadline,
        400..=499 => FaultKind::Invalid,
        _ => FaultKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_and_others_shown() {
        let check = |status: u16, body: &str, kind: FaultKind, text: &str| {
            let error = ClientError::of_answer(status, body.as_bytes());
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        };
        check(400, r#"{"error":"no","kind":"too_large"}"#, FaultKind::TooLarge, "no");
        check(404, r#"{"error":"no model x"}"#, FaultKind::NotFound, "no model x");
        check(502, "<html>", FaultKind::Internal, "status 502 <html>");
        check(500, "", FaultKind::Internal, "status 500");
    }
}
