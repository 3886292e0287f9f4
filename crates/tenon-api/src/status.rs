//! The one table from fault to status, and the bodies of refusals.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tenon_contract::{Fault, FaultKind};

/// Seconds after which a refused request may be sent again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"tenon\"");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The status that tells of a kind of fault. For the Open Inference Protocol they are those of Triton
/// (internal 500, not found 404, unavailable 503, unsupported 501, else 400) told more exactly.
pub(crate) fn status(kind: FaultKind) -> StatusCode {
    match kind {
        FaultKind::Invalid => StatusCode::BAD_REQUEST,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::Conflict => StatusCode::CONFLICT,
        FaultKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        FaultKind::Denied => StatusCode::FORBIDDEN,
        FaultKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FaultKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FaultKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        // Nobody reads it: the number is what other servers log for a caller who went away.
        FaultKind::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        FaultKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        FaultKind::Model | FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The code of gRPC that tells of a kind of fault.
pub(crate) fn code(kind: FaultKind) -> Code {
    match kind {
        FaultKind::Invalid => Code::InvalidArgument,
        FaultKind::NotFound => Code::NotFound,
        FaultKind::Conflict => Code::FailedPrecondition,
        FaultKind::Unauthenticated => Code::Unauthenticated,
        FaultKind::Denied => Code::PermissionDenied,
        FaultKind::TooLarge | FaultKind::Overloaded => Code::ResourceExhausted,
        FaultKind::Unavailable => Code::Unavailable,
        FaultKind::Deadline => Code::DeadlineExceeded,
        FaultKind::Cancelled => Code::Cancelled,
        FaultKind::Unsupported => Code::Unimplemented,
        FaultKind::Model | FaultKind::Internal => Code::Internal,
    }
}

/// The codes of gRPC that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The header, or trailer, of the status of gRPC.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The codes of gRPC by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a code of gRPC.
pub(crate) fn code_name(number: u16) -> &'static str {
    CODES.get(usize::from(number)).copied().unwrap_or("UNKNOWN")
}

/// Whether a code of gRPC says that the server failed, as 500 and above do over HTTP.
pub(crate) fn is_failed_code(number: u16) -> bool {
    matches!(
        code_name(number),
        "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
    )
}

/// Goes with the answer to a request that failed, for whoever tells of it; the caller does not see it.
#[derive(Clone)]
pub(crate) struct Failed(pub(crate) Fault);

impl Failed {
    /// Lets an answer bear its fault where it is not the caller's.
    pub(crate) fn mark(response: &mut Response, fault: &Fault) {
        if status(fault.kind).is_server_error() {
            response.extensions_mut().insert(Self(fault.clone()));
        }
    }
}

/// How a refusal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `{"error"}`, as the Open Inference Protocol has it.
    Oip,
    /// `{"error","kind"}`.
    Admin,
}

impl Style {
    /// The style of the surface that a path belongs to.
    pub(crate) fn of(path: &str) -> Self {
        if path.starts_with("/api/") { Self::Admin } else { Self::Oip }
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<FaultKind>,
}

/// The answer that tells of a fault.
pub(crate) fn refusal(fault: &Fault, style: Style) -> Response {
    refusal_with(status(fault.kind), fault, style)
}

/// The same under a status that the protocol in use prescribes.
pub(crate) fn refusal_with(status: StatusCode, fault: &Fault, style: Style) -> Response {
    let kind = (style == Style::Admin).then_some(fault.kind);
    let body = serde_json::to_vec(&Refusal { error: &fault.text, kind }).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    match fault.kind {
        FaultKind::Overloaded | FaultKind::Unavailable => {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        FaultKind::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        _ => {}
    }
    Failed::mark(&mut response, fault);
    response
}

/// A fault on the administration's wire.
pub(crate) struct AdminFault(Fault);

/// A fault on the wires of inference.
pub(crate) struct OipFault(Fault);

impl<F: Into<Fault>> From<F> for AdminFault {
    fn from(fault: F) -> Self {
        Self(fault.into())
    }
}

impl<F: Into<Fault>> From<F> for OipFault {
    fn from(fault: F) -> Self {
        Self(fault.into())
    }
}

impl IntoResponse for AdminFault {
    fn into_response(self) -> Response {
        refusal(&self.0, Style::Admin)
    }
}

impl IntoResponse for OipFault {
    fn into_response(self) -> Response {
        refusal(&self.0, Style::Oip)
    }
}

/// A document as JSON under a status.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        Err(error) => refusal(&Fault::internal(format!("write answer: {error}")), Style::Admin),
    }
}

/// A document as JSON.
pub(crate) fn ok(document: &impl Serialize) -> Response {
    json(StatusCode::OK, document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        let check = |kind, expected: u16, grpc: u16| {
            assert_eq!((status(kind).as_u16(), code(kind) as u16), (expected, grpc), "{kind:?}");
        };
        check(FaultKind::Invalid, 400, 3);
        check(FaultKind::Unauthenticated, 401, 16);
        check(FaultKind::Denied, 403, 7);
        check(FaultKind::NotFound, 404, 5);
        check(FaultKind::Conflict, 409, 9);
        check(FaultKind::TooLarge, 413, 8);
        check(FaultKind::Overloaded, 429, 8);
        check(FaultKind::Cancelled, 499, 1);
        check(FaultKind::Model, 500, 13);
        check(FaultKind::Internal, 500, 13);
        check(FaultKind::Unsupported, 501, 12);
        check(FaultKind::Unavailable, 503, 14);
        check(FaultKind::Deadline, 504, 4);
        let named = [(Code::Cancelled, "CANCELLED"), (Code::Unauthenticated, "UNAUTHENTICATED")];
        for (code, name) in named {
            assert_eq!(code_name(code as u16), name);
        }
    }

    #[test]
    fn refusals_say_when_to_try_again_and_how_to_show_who_one_is() {
        let headers = |kind| refusal(&Fault::new(kind, "no"), Style::Oip).headers().clone();
        assert_eq!(headers(FaultKind::Overloaded)[RETRY_AFTER], "1");
        assert!(headers(FaultKind::Unauthenticated).contains_key(WWW_AUTHENTICATE));
        assert!(!headers(FaultKind::Invalid).contains_key(RETRY_AFTER));
    }
}
