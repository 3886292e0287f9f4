//! `/api/v1/models`: models, their versions, and how bytes become one.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use tenon_contract::admin::{ModelView, PushRequest};
use tenon_contract::{Digest, Fault, ModelName, Version, VersionId};
use tenon_control::{Observe, Push};

use crate::auth::Allowed;
use crate::body::{collect_document, paced};
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{AdminFault, json, ok};

#[derive(Serialize)]
struct ModelDetail {
    model: ModelView,
    versions: Vec<Version>,
}

/// `GET /api/v1/models`.
pub(crate) async fn list(State(api): State<Shared>, _: Allowed<Observe>) -> Result<Response, AdminFault> {
    Ok(ok(&api.catalog.models().await?))
}

/// `GET /api/v1/models/{model}`.
pub(crate) async fn show(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named(model): Named<ModelName>,
) -> Result<Response, AdminFault> {
    let versions = api.catalog.versions(&model).await?;
    let latest = versions.last().ok_or_else(|| Fault::not_found(format!("no model `{model}`")))?;
    let (latest, updated_at) = (latest.id.number, latest.registered_at);
    let view = ModelView { model, latest, versions: versions.len() as u64, updated_at };
    Ok(ok(&ModelDetail { model: view, versions }))
}

/// `GET /api/v1/models/{model}/versions/{number}`.
pub(crate) async fn version(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named((model, number)): Named<(ModelName, u64)>,
) -> Result<Response, AdminFault> {
    Ok(ok(&find(&api, VersionId { model, number }).await?))
}

/// `GET /api/v1/models/{model}/versions/{number}/examples`: the file as it is in the upload.
pub(crate) async fn examples(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named((model, number)): Named<(ModelName, u64)>,
) -> Result<Response, AdminFault> {
    let version = find(&api, VersionId { model, number }).await?;
    let upload = api.store.read(&version.digest).await?;
    let read = api.examples;
    let read = tokio::task::spawn_blocking(move || read(upload)).await;
    let file = read.map_err(|_| Fault::internal("reading the examples broke"))??;
    let none = || Fault::not_found(format!("version `{}` came without examples", version.id));
    let mut response = Response::new(Body::from(file.ok_or_else(none)?));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// `POST /api/v1/models/{model}/versions`: a version from an upload, or from the body itself.
pub(crate) async fn push(
    State(api): State<Shared>,
    Allowed(permit): Allowed<Push>,
    Named(model): Named<ModelName>,
    request: Request,
) -> Result<Response, AdminFault> {
    let digest = upload(&api, request).await?;
    let job = api.control.onboarding.push(&permit, &model, digest).await?;
    tracing::info!(%model, %digest, job = job.id, actor = permit.holder(), "onboarding began");
    Ok(json(StatusCode::ACCEPTED, &job))
}

async fn upload(api: &Shared, request: Request) -> Result<Digest, Fault> {
    let (parts, body) = request.into_parts();
    if is_json(&parts.headers) {
        let body = collect_document(api, &parts.headers, body).await?;
        let push: PushRequest =
            serde_json::from_slice(&body).map_err(|error| Fault::invalid(format!("read body: {error}")))?;
        return Ok(push.digest);
    }
    Ok(api.store.put_stream(paced(body, api.limits.body_timeout)).await?.digest)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn find(api: &Api, id: VersionId) -> Result<Version, Fault> {
    let version = api.catalog.version(&id).await?;
    version.ok_or_else(|| Fault::not_found(format!("no version `{id}`")))
}
