//! Health and metadata of the Open Inference Protocol: `GET /v2...`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use tenon_codec::oip::TensorMetadata;
use tenon_contract::{Fault, FaultKind, Format, ServiceName, TensorSpec};
use tenon_control::Infer;
use tenon_serving::Slot;

use super::{absent, version};
use crate::auth::Allowed;
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{OipFault, json, ok};

/// What this server answers beyond the protocol's core.
pub(crate) const EXTENSIONS: [&str; 8] = [
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
    "trace",
];
/// The name of this server.
pub(crate) const SERVER: &str = "tenon";

#[derive(Serialize)]
struct Health {
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
}

#[derive(Serialize)]
struct ServerMetadata<'a> {
    name: &'static str,
    version: &'a str,
    extensions: [&'static str; EXTENSIONS.len()],
}

#[derive(Serialize)]
struct Models {
    models: Vec<ServiceName>,
}

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a ServiceName,
    ready: bool,
}

#[derive(Serialize)]
pub(crate) struct ModelMetadata {
    pub(crate) name: ServiceName,
    pub(crate) versions: Vec<String>,
    pub(crate) platform: String,
    pub(crate) inputs: Vec<TensorMetadata>,
    pub(crate) outputs: Vec<TensorMetadata>,
}

/// `GET /v2/health/live`.
pub(crate) async fn live() -> Response {
    ok(&Health { live: true, ready: None })
}

/// `GET /v2/health/ready`. The specification's schema calls its field `live` by mistake: both stand.
pub(crate) async fn ready(State(api): State<Shared>) -> Response {
    let ready = api.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Health { live: true, ready: Some(ready) })
}

/// `GET /v2`.
pub(crate) async fn server(State(api): State<Shared>, _: Allowed<Infer>) -> Response {
    ok(&ServerMetadata { name: SERVER, version: &api.tenon, extensions: EXTENSIONS })
}

/// `GET /v2/models`.
pub(crate) async fn models(State(api): State<Shared>, _: Allowed<Infer>) -> Response {
    ok(&Models { models: api.node.services() })
}

/// `GET /v2/models/{service}`.
pub(crate) async fn model(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    Ok(ok(&metadata(&api, service, None)?))
}

/// `GET /v2/models/{service}/versions/{version}`.
pub(crate) async fn model_version(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named((service, version)): Named<(ServiceName, String)>,
) -> Result<Response, OipFault> {
    Ok(ok(&metadata(&api, service, Some(&version))?))
}

/// `GET /v2/models/{service}/ready`.
pub(crate) async fn model_ready(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    Ok(told(&service, is_ready(&api, &service, None)?))
}

/// `GET /v2/models/{service}/versions/{version}/ready`.
pub(crate) async fn model_version_ready(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named((service, version)): Named<(ServiceName, String)>,
) -> Result<Response, OipFault> {
    Ok(told(&service, is_ready(&api, &service, Some(&version))?))
}

/// `GET /v2/{system,cuda}sharedmemory/status`: there are no regions.
pub(crate) async fn no_regions(_: Allowed<Infer>) -> Response {
    ok(&[(); 0])
}

/// `POST /v2/{system,cuda}sharedmemory/unregister`: clients call it before they begin; nothing is registered.
pub(crate) async fn no_region_left(_: Allowed<Infer>) -> Response {
    json(StatusCode::OK, &serde_json::Map::new())
}

/// What a service takes and gives, in the words of the protocol.
pub(crate) fn metadata(api: &Api, service: ServiceName, asked: Option<&str>) -> Result<ModelMetadata, Fault> {
    let slot = slot(api, &service, asked)?;
    let live = slot.revision().version();
    let promise = slot.promise();
    let tensors = |specs: &[TensorSpec]| specs.iter().map(TensorMetadata::from).collect();
    Ok(ModelMetadata {
        versions: vec![live.id.number.to_string()],
        platform: platform(&live.format),
        inputs: tensors(&promise.inputs),
        outputs: tensors(&promise.outputs),
        name: service,
    })
}

/// The slot of a service, where it is answered by the version asked for.
pub(super) fn slot(api: &Api, service: &ServiceName, asked: Option<&str>) -> Result<Arc<Slot>, Fault> {
    let generation = api.node.pin();
    let slot = generation.slot(service).ok_or_else(|| unknown(api, service))?;
    check_version(service, slot.revision().version().id.number, asked)?;
    Ok(slot.clone())
}

/// Whether a service answers. One that is wanted and down is known, and not ready.
pub(crate) fn is_ready(api: &Api, service: &ServiceName, asked: Option<&str>) -> Result<bool, Fault> {
    let generation = api.node.pin();
    let Some(slot) = generation.slot(service) else {
        return match unknown(api, service) {
            fault if fault.kind == FaultKind::NotFound => Err(fault),
            _ => Ok(false),
        };
    };
    check_version(service, slot.revision().version().id.number, asked)?;
    Ok(api.node.is_service_ready(service))
}

fn told(service: &ServiceName, ready: bool) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &ModelReady { name: service, ready })
}

pub(super) fn unknown(api: &Api, service: &ServiceName) -> Fault {
    absent(api, service, Fault::not_found(format!("no service `{service}` is served here")))
}

fn check_version(service: &ServiceName, live: u64, asked: Option<&str>) -> Result<(), Fault> {
    match version(asked)? {
        Some(asked) if asked != live => Err(Fault::not_found(format!(
            "service `{service}` is answered by version {live}; version {asked} is not live"
        ))),
        _ => Ok(()),
    }
}

/// The protocol writes platforms as `project_format`.
pub(super) fn platform(format: &Format) -> String {
    if *format == Format::ONNX { "onnx_onnxv1".to_owned() } else { format!("tenon_{format}") }
}
