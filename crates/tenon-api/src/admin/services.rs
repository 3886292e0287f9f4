//! `/api/v1/services`: what services serve, and how that is changed.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use tenon_contract::admin::{ServiceView, SwapRequest, Swapped};
use tenon_contract::receipt::Traffic;
use tenon_contract::{Fault, FaultKind, Memory, ServiceName};
use tenon_control::{Observe, Permit, Promote};

use crate::auth::Allowed;
use crate::body::Document;
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{AdminFault, ok};

/// Why something is undone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndoRequest {
    #[serde(default)]
    reason: Option<String>,
}

/// `GET /api/v1/services`: every service that is wanted, also one that is down.
pub(crate) async fn list(State(api): State<Shared>, _: Allowed<Observe>) -> Response {
    let mut views = Vec::new();
    for service in api.node.services() {
        match view(&api, &service).await {
            Ok(view) => views.push(view),
            Err(fault) => tracing::warn!(%service, error = %fault, "service left out of the list"),
        }
    }
    ok(&views)
}

/// `GET /api/v1/services/{service}`.
pub(crate) async fn show(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named(service): Named<ServiceName>,
) -> Result<Response, AdminFault> {
    Ok(ok(&view(&api, &service).await?))
}

/// `PUT /api/v1/services/{service}`: makes it, or changes what it serves.
pub(crate) async fn put(
    State(api): State<Shared>,
    Allowed(permit): Allowed<Promote>,
    Named(service): Named<ServiceName>,
    Document(wish): Document<SwapRequest>,
) -> Result<Response, AdminFault> {
    if wish.dry_run {
        return Ok(ok(&api.control.promotion.dry_run(&permit, &service, &wish).await?));
    }
    Ok(ok(&serve_version(&api, &permit, &service, wish).await?))
}

/// `POST /api/v1/services/{service}/swap`.
pub(crate) async fn swap(
    State(api): State<Shared>,
    Allowed(permit): Allowed<Promote>,
    Named(service): Named<ServiceName>,
    Document(wish): Document<SwapRequest>,
) -> Result<Response, AdminFault> {
    if wish.dry_run {
        return Ok(ok(&api.control.promotion.dry_run(&permit, &service, &wish).await?));
    }
    let swapped = api.control.promotion.swap(&permit, &service, wish).await?;
    Ok(told("swapped", &permit, &swapped))
}

/// `POST /api/v1/services/{service}/undo`.
pub(crate) async fn undo(
    State(api): State<Shared>,
    Allowed(permit): Allowed<Promote>,
    Named(service): Named<ServiceName>,
    Document(UndoRequest { reason }): Document<UndoRequest>,
) -> Result<Response, AdminFault> {
    let undone = api.control.promotion.undo(&permit, &service, reason).await?;
    Ok(told("undone", &permit, &undone))
}

/// `DELETE /api/v1/services/{service}`.
pub(crate) async fn remove(
    State(api): State<Shared>,
    Allowed(permit): Allowed<Promote>,
    Named(service): Named<ServiceName>,
) -> Result<Response, AdminFault> {
    let removed = api.control.promotion.remove(&permit, &service, None).await?;
    Ok(told("removed", &permit, &removed))
}

/// `GET /api/v1/services/{service}/receipts`: the chain, exactly as its file stands.
pub(crate) async fn receipts(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named(service): Named<ServiceName>,
) -> Result<Response, AdminFault> {
    let node = api.node.clone();
    let read = tokio::task::spawn_blocking(move || node.journal().text(&service)).await;
    let text = read.map_err(|_| Fault::internal("reading the receipts broke"))??;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Lets a service serve a version, whether it is there already or not.
pub(crate) async fn serve_version(
    api: &Api,
    permit: &Permit<Promote>,
    service: &ServiceName,
    wish: SwapRequest,
) -> Result<Swapped, Fault> {
    let promotion = &api.control.promotion;
    let exists = api.node.services().contains(service);
    let result = match exists {
        true => promotion.swap(permit, service, wish).await,
        false => promotion.deploy(permit, service, wish).await,
    };
    let swapped = result?;
    log("deployed", permit, &swapped);
    Ok(swapped)
}

fn told(what: &'static str, permit: &Permit<Promote>, swapped: &Swapped) -> Response {
    log(what, permit, swapped);
    ok(swapped)
}

fn log(what: &'static str, permit: &Permit<Promote>, swapped: &Swapped) {
    let to = swapped.to.as_ref().map(|to| to.version.to_string());
    let (service, generation, actor) = (&swapped.service, swapped.generation, permit.holder());
    tracing::info!(%service, to, generation, actor, "service {what}");
}

/// A service as it stands. Of one that is down, the catalog knows what it should be.
pub(crate) async fn view(api: &Api, service: &ServiceName) -> Result<ServiceView, Fault> {
    let fault = match api.node.service(service) {
        Ok(view) => return Ok(view),
        Err(fault) if fault.kind == FaultKind::NotFound && !api.node.services().contains(service) => {
            return Err(fault);
        }
        Err(fault) => fault,
    };
    let wanted = api.catalog.service(service).await?;
    let revision = wanted.ok_or_else(|| fault.clone())?;
    let version = revision.version();
    Ok(ServiceView {
        service: service.clone(),
        revision: revision.number,
        version: version.id.clone(),
        digest: version.digest,
        format: version.format.clone(),
        generation: api.node.pin().number(),
        ready: false,
        fault: Some(fault),
        contract: revision.contract.clone(),
        settings: revision.settings.clone(),
        memory: Memory::default(),
        undo: None,
        traffic: Traffic::default(),
        in_flight: 0,
        head: api.node.journal().head(service),
    })
}
