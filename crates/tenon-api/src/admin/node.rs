//! `/api/v1/node` and `/api/v1/openapi.json`.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tenon_contract::admin::NodeView;
use tenon_control::Observe;

use crate::auth::Allowed;
use crate::parts::Shared;
use crate::status::ok;

/// The description of every route, as it is checked in.
pub const OPENAPI: &str = include_str!("../../../../docs/reference/openapi.json");

/// `GET /api/v1/node`.
pub(crate) async fn show(State(api): State<Shared>, _: Allowed<Observe>) -> Response {
    let (memory, memory_limit) = api.node.memory();
    ok(&NodeView {
        node: api.node.options().name.clone(),
        tenon: api.tenon.clone(),
        generation: api.node.pin().number(),
        ready: api.is_ready(),
        uptime_s: api.node.uptime_s(),
        runtimes: api.runtimes.clone(),
        memory,
        memory_limit,
        key: tenon_contract::receipt::write_key(&api.node.journal().public_key()),
    })
}

/// `GET /api/v1/openapi.json`: open to everybody, as the repository is.
pub(crate) async fn openapi() -> Response {
    let mut response = Response::new(Body::from(OPENAPI));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
