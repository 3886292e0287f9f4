//! Probes: `/livez` and `/readyz`.
//!
//! A load in the background changes neither.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::parts::Shared;

/// `GET /livez`: the process answers.
pub(crate) async fn live() -> Response {
    text(StatusCode::OK, "live\n")
}

/// `GET /readyz`: every wanted service answers.
pub(crate) async fn ready(State(api): State<Shared>) -> Response {
    if api.is_ready() {
        return text(StatusCode::OK, "ready\n");
    }
    let why = if api.stopping.is_cancelled() {
        "not ready: shutting down\n"
    } else if api.is_starting() {
        "not ready: services are being brought back\n"
    } else {
        "not ready: a service that is wanted is down; GET /api/v1/services says which\n"
    };
    text(StatusCode::SERVICE_UNAVAILABLE, why)
}

fn text(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
