//! `/services/{service}`: the native wire. An operation is called with its message, by content type; this
//! build reads JSON.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tenon_codec::native;
use tenon_contract::{Contract, Fault, FaultKind, Parameters, RequestId, Revision, ServiceName};
use tenon_control::Infer;

use super::{ask, timeout};
use crate::auth::Allowed;
use crate::body;
use crate::identity::Stamp;
use crate::ids::{self, Ids};
use crate::parts::Shared;
use crate::router::Named;
use crate::status::{OipFault, Style, ok, refusal};

/// `GET /services/{service}`: the service as it stands.
pub(crate) async fn service(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    Ok(ok(&api.node.service(&service)?))
}

/// `GET /services/{service}/contract`: what it promises, as JSON.
pub(crate) async fn contract(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    Ok(ok(&live(&api, &service)?.contract))
}

/// `POST /services/{service}/methods/{operation}`: calls an operation.
pub(crate) async fn call(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named((service, operation)): Named<(ServiceName, String)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let id = Ids::brought(&parts.headers).unwrap_or_else(|| api.ids.fresh());
    let answered = answer(&api, service, &operation, &parts.headers, body, id.clone()).await;
    answered.unwrap_or_else(|fault| {
        let mut response = refusal(&fault, Style::Oip);
        response.headers_mut().insert(ids::REQUEST_ID, ids::header(&id));
        response
    })
}

async fn answer(
    api: &Shared,
    service: ServiceName,
    operation: &str,
    headers: &HeaderMap,
    body: Body,
    id: RequestId,
) -> Result<Response, Fault> {
    check_content_type(headers)?;
    let revision = live(api, &service)?;
    let contract = &revision.contract;
    let called = contract.operation(operation).ok_or_else(|| unknown(&service, operation, contract))?;
    let body = body::collect(api, headers, body, 0).await?;
    let request = tenon_contract::Request {
        service,
        version: None,
        operation: called.name.clone(),
        id,
        timeout: timeout(headers, &Parameters::new())?,
        parameters: Parameters::new(),
        inputs: native::decode(&called.input, &body.bytes, &api.limits.codec)?,
        outputs: Vec::new(),
    };
    let answer = ask(api, request).await?;
    let stamp = Stamp::of(&answer);
    let document = native::encode(&called.output, &answer.outputs).map_err(|fault| {
        // The service was given another contract on purpose while the call was under way.
        let is_same = api.node.live(&answer.identity.service).is_some_and(|live| live.contract == *contract);
        if is_same {
            fault
        } else {
            Fault::conflict("the service's contract was exchanged; read it and call again")
        }
    })?;
    Ok(stamp.respond(&answer.id, Body::from(document)))
}

/// The revision that answers now. Holding it does not hold up its drain.
fn live(api: &Shared, service: &ServiceName) -> Result<Arc<Revision>, Fault> {
    let unknown =
        || super::absent(api, service, Fault::not_found(format!("no service `{service}` is served here")));
    api.node.live(service).ok_or_else(unknown)
}

fn unknown(service: &ServiceName, operation: &str, contract: &Contract) -> Fault {
    let known: Vec<_> = contract.operations.iter().map(|known| format!("`{}`", known.name)).collect();
    let operation: String = operation.chars().take(80).collect();
    Fault::not_found(format!(
        "service `{service}` has no operation `{operation}`; it has {}",
        known.join(", ")
    ))
}

/// JSON is read whatever a plain `curl -d` calls it; what is surely something else is refused.
fn check_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind.ends_with("json")
        || matches!(kind.as_str(), "" | "text/plain" | "application/x-www-form-urlencoded");
    if is_json {
        return Ok(());
    }
    let kind: String = kind.chars().take(80).collect();
    Err(Fault::new(
        FaultKind::Unsupported,
        format!("content type `{kind}` is not read yet; send application/json"),
    ))
}
