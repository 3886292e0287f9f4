//! `/api/v1/blobs/{digest}`: uploads that are cut off and resumed.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tenon_contract::{Digest, Fault};
use tenon_control::{Observe, Push};
use tenon_store::{StoreError, UploadState};

use crate::auth::Allowed;
use crate::body::paced;
use crate::parts::Shared;
use crate::router::Named;
use crate::status::{AdminFault, Style, refusal};

const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// `HEAD /api/v1/blobs/{digest}`: how far an upload has come.
pub(crate) async fn state(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named(digest): Named<String>,
) -> Result<Response, AdminFault> {
    let digest = read_digest(&digest)?;
    Ok(match api.store.upload_state(&digest).await? {
        UploadState::Absent => answer(StatusCode::NOT_FOUND, 0),
        UploadState::Partial(offset) => with_complete(answer(StatusCode::OK, offset), "false"),
        UploadState::Complete(offset) => with_complete(answer(StatusCode::OK, offset), "true"),
    })
}

/// `PATCH /api/v1/blobs/{digest}`: the next bytes, from `Upload-Offset` on.
pub(crate) async fn append(
    State(api): State<Shared>,
    _: Allowed<Push>,
    Named(digest): Named<String>,
    request: Request,
) -> Result<Response, AdminFault> {
    let digest = read_digest(&digest)?;
    let (parts, body) = request.into_parts();
    let offset = number(&parts.headers, &OFFSET)?;
    let total = number(&parts.headers, &LENGTH)?;
    let bytes = paced(body, api.limits.body_timeout);
    match api.store.append(&digest, total, offset, bytes).await {
        Ok(reached) => Ok(answer(StatusCode::NO_CONTENT, reached)),
        Err(error) => {
            let expected = match &error {
                StoreError::Offset { expected, .. } => Some(*expected),
                _ => None,
            };
            let mut response = refusal(&error.into(), Style::Admin);
            if let Some(expected) = expected {
                response.headers_mut().insert(OFFSET, HeaderValue::from(expected));
            }
            Ok(response)
        }
    }
}

fn answer(status: StatusCode, offset: u64) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(OFFSET, HeaderValue::from(offset));
    response
}

fn with_complete(mut response: Response, complete: &'static str) -> Response {
    response.headers_mut().insert(COMPLETE, HeaderValue::from_static(complete));
    response
}

fn read_digest(text: &str) -> Result<Digest, Fault> {
    text.parse().map_err(|error: tenon_contract::digest::DigestError| Fault::invalid(error.to_string()))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Fault> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let number = value.and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| Fault::invalid(format!("header `{name}`: expected a number of bytes")))
}
