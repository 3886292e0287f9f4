//! Health and metadata of the Open Inference Protocol: `GET /v2...`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use tenon_codec::oip::TensorMetadata;
use tenon_contract::{Fault, FaultKind, Format, ServiceName, TensorSpec};
use tenon_control::Infer;

use super::{absent, version};
use crate::auth::Allowed;
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{OipFault, json, ok};

/// What this server answers beyond the protocol's core.
const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "model_repository", "parameters"];

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
struct ModelMetadata {
    name: ServiceName,
    versions: Vec<String>,
    platform: String,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
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
    ok(&ServerMetadata { name: "tenon", version: &api.tenon, extensions: EXTENSIONS })
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
    Ok(readiness(&api, &service, None)?)
}

/// `GET /v2/models/{service}/versions/{version}/ready`.
pub(crate) async fn model_version_ready(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named((service, version)): Named<(ServiceName, String)>,
) -> Result<Response, OipFault> {
    Ok(readiness(&api, &service, Some(&version))?)
}

fn metadata(api: &Api, service: ServiceName, asked: Option<&str>) -> Result<ModelMetadata, Fault> {
    let generation = api.node.pin();
    let slot = generation.slot(&service).ok_or_else(|| unknown(api, &service))?;
    let live = slot.revision().version();
    check_version(&service, live.id.number, asked)?;
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

fn readiness(api: &Api, service: &ServiceName, asked: Option<&str>) -> Result<Response, Fault> {
    let generation = api.node.pin();
    let Some(slot) = generation.slot(service) else {
        // One that is wanted and down is known, and not ready.
        return match unknown(api, service) {
            fault if fault.kind == FaultKind::NotFound => Err(fault),
            _ => Ok(told(service, false)),
        };
    };
    check_version(service, slot.revision().version().id.number, asked)?;
    Ok(told(service, api.node.is_service_ready(service)))
}

fn told(service: &ServiceName, ready: bool) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &ModelReady { name: service, ready })
}

fn unknown(api: &Api, service: &ServiceName) -> Fault {
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
fn platform(format: &Format) -> String {
    if *format == Format::ONNX { "onnx_onnxv1".to_owned() } else { format!("tenon_{format}") }
}
