//! `/services/{service}`: the native wire. An operation is called with its message, by content type: JSON, and
//! pictures where the operation is about pictures.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use tenon_codec::native::{self, picture::encode};
use tenon_contract::{Contract, Fault, FaultKind, Parameters, RequestId, Revision, ServiceName};
use tenon_control::Infer;

use super::{ask, pictures, timeout};
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
    let revision = live(api, &service)?;
    let contract = &revision.contract;
    let called = contract.operation(operation).ok_or_else(|| unknown(&service, operation, contract))?;
    let is_of_pictures = called.view.is_some();
    if !is_of_pictures {
        check_content_type(headers)?;
    }
    let body = body::collect(api, headers, body, 0).await?;
    let mut request = tenon_contract::Request {
        service,
        version: None,
        operation: called.name.clone(),
        id,
        trace: None,
        timeout: timeout(headers, &Parameters::new())?,
        parameters: Parameters::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let mut kind = None;
    let (answer, told) = if is_of_pictures {
        let pictures = pictures::read(headers, body.bytes, &api.limits.codec).await?;
        let paints = pictures::wants_picture(headers);
        if paints {
            pictures::check_painting(called, &pictures)?;
            kind = Some(HeaderValue::from_static("image/png"));
        }
        request.inputs = vec![pictures.image.clone()];
        let answer = ask(api, request).await?;
        let told = match paints {
            true => pictures::painted(api, &pictures, &answer.outputs).await,
            false => encode(called, &answer.outputs, pictures.many),
        };
        (answer, told)
    } else {
        request.inputs = native::decode(&called.input, &body.bytes, &api.limits.codec)?;
        let answer = ask(api, request).await?;
        let told = native::encode(&called.output, &answer.outputs);
        (answer, told)
    };
    let document = told.map_err(|fault| {
        // The service was given another contract on purpose while the call was under way.
        let is_same = api.node.live(&answer.identity.service).is_some_and(|live| live.contract == *contract);
        if is_same {
            fault
        } else {
            Fault::conflict("the service's contract was exchanged; read it and call again")
        }
    })?;
    let mut response = Stamp::of(&answer).respond(&answer.id, Body::from(document));
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    Ok(response)
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

/// The content type of a request in lowercase, without its parameters; empty where it has none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a content type is, or may be, JSON.
pub(crate) fn is_json(kind: &str) -> bool {
    kind.ends_with("json") || matches!(kind, "" | "text/plain" | "application/x-www-form-urlencoded")
}

/// JSON is read whatever a plain `curl -d` calls it; what is surely something else is refused.
fn check_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = content_type(headers);
    if is_json(&kind) {
        return Ok(());
    }
    let kind: String = kind.chars().take(80).collect();
    Err(Fault::new(
        FaultKind::Unsupported,
        format!("content type `{kind}` is not read yet; send application/json"),
    ))
}
