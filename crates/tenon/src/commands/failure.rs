//! How a command fails: a text that says what to do, and an exit code to act on.

use std::fmt;
use std::process::ExitCode;

use serde_json::json;
use tenon_client::ClientError;
use tenon_contract::{Fault, FaultKind};

use crate::config::ConfigError;

/// The exit codes of all commands; the help of `tenon` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The server refused, or something failed on the way.
    Failed = 1,
    /// The command line is wrong (clap ends with the same code).
    Usage = 2,
    /// No such service, model, version, job or file.
    NotFound = 3,
    /// No server answers there.
    Unreachable = 4,
    /// The configuration of the server is wrong (`EX_USAGE`).
    Config = 64,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    kind: FaultKind,
    text: String,
    hint: Option<String>,
    answered: bool,
}

/// What commands give back.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Something failed or was refused.
    pub fn new(text: impl Into<String>) -> Self {
        Self { code: Code::Failed, kind: FaultKind::Invalid, text: text.into(), hint: None, answered: false }
    }

    /// The command line asks for what cannot be.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { code: Code::Usage, ..Self::new(text) }
    }

    /// Nothing of that name.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self { code: Code::NotFound, kind: FaultKind::NotFound, ..Self::new(text) }
    }

    /// Nobody answers at `url`.
    pub fn unreachable(url: &str, error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |error| error.source());
        // The first text only repeats the address; the last says what the system said.
        let cause = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        let text = format!("reach {url}: {cause}");
        Self { code: Code::Unreachable, kind: FaultKind::Unavailable, ..Self::new(text) }
    }

    /// The answer stands on stdout already: in `--json` no second document follows it.
    #[must_use]
    pub fn after_answer(mut self) -> Self {
        self.answered = true;
        self
    }

    /// Says what to do about it, where nothing more exact was said.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says what to do if the name was not found.
    #[must_use]
    pub fn if_not_found(self, hint: &str) -> Self {
        if self.code == Code::NotFound { self.hint(hint) } else { self }
    }

    /// Tells the failure: as text on stderr, and in `--json` as a document on stdout too.
    pub fn tell(&self, json: bool) -> ExitCode {
        if json && !self.answered {
            let mut document = json!({ "error": self.text, "kind": self.kind, "exit_code": self.code as u8 });
            if let Some(hint) = &self.hint {
                document["hint"] = hint.as_str().into();
            }
            super::output::line(&document.to_string());
        }
        super::output::note(&self.to_string());
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { code: Code::Config, ..Self::new(error.to_string()) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (kind, text) = (error.kind(), error.to_string());
        match error {
            ClientError::Unreachable { .. } => Self { code: Code::Unreachable, kind, ..Self::new(text) }
                .hint("start it with `tenon serve`, or name another one with --server URL"),
            ClientError::Refused { fault, .. } => fault.into(),
            ClientError::Local(_) | ClientError::Broken { .. } | ClientError::Unexpected { .. } => {
                Self { kind, ..Self::new(text) }
            }
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let code = if fault.kind == FaultKind::NotFound { Code::NotFound } else { Code::Failed };
        let hint = match fault.kind {
            FaultKind::Unauthenticated => Some(
                "show a token: --token-file FILE, or run in the folder of `tenon serve`, which keeps it in tenon-data/admin.token",
            ),
            FaultKind::Denied => {
                Some("this token is not of the scope admin: name another one with --token-file FILE")
            }
            FaultKind::Conflict if fault.text.contains("breaking") => Some(
                "callers would notice; look with --dry-run, and if that is what you want: --breaking \"REASON\"",
            ),
            FaultKind::Overloaded => Some("try again in a moment"),
            _ => None,
        };
        let failure = Self { code, kind: fault.kind, ..Self::new(fault.text) };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_to_do_and_end_with_their_code() {
        let check = |failure: Failure, code: Code, hint: &str| {
            assert_eq!(failure.code, code, "{failure}");
            assert!(failure.to_string().contains(hint), "{failure}");
        };
        let nobody = ClientError::Unreachable { server: "http://x".into(), cause: "refused".into() };
        check(nobody.into(), Code::Unreachable, "tenon serve");
        check(Fault::not_found("no service x").into(), Code::NotFound, "no service x");
        check(Fault::conflict("the change is breaking").into(), Code::Failed, "--breaking");
        check(Fault::new(FaultKind::Unauthenticated, "no token").into(), Code::Failed, "--token-file");
        check(Failure::usage("no").hint("a").hint("b"), Code::Usage, "hint: a");
    }
}
