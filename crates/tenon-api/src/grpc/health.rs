//! `grpc.health.v1.Health`: the state of the server and of each service, now and whenever it changes.
//!
//! The empty name is the server as a whole, `inference.GRPCInferenceService` means the same; every other name is
//! that of a service. As on REST, the server's own state is free to see, that of a service needs the scope
//! `infer`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use futures::stream;
use hyper::body::Incoming;
use tenon_codec::grpc::health::health_check_response::ServingStatus;
use tenon_codec::grpc::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tenon_contract::{Fault, ServiceName};
use tenon_control::Infer;

use super::{Call, answers, frames, read, unary, unknown};
use crate::infer::oip_grpc;
use crate::parts::{Api, Shared};

pub(super) const SERVICE: &str = "grpc.health.v1.Health";
/// How long a change may take until a watcher sees it.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(200);

/// Answers a call.
pub(super) async fn call(call: Call, method: &str, body: Incoming) -> Result<Response, Fault> {
    match method {
        "Check" => {
            unary(&call, body, Ok(()), async |(), asked: HealthCheckRequest| {
                permit(&call, &asked.service)?;
                let unknown = || Fault::not_found(format!("no service `{}` is served here", asked.service));
                Ok(told(status(&call.api, &asked.service).ok_or_else(unknown)?))
            })
            .await
        }
        "List" => {
            unary(&call, body, call.permit(Infer), async |_, _: HealthListRequest| Ok(all(&call.api))).await
        }
        "Watch" => watch(call, body).await,
        _ => Err(unknown(method)),
    }
}

/// Nothing is asked of who wants to know about the server itself.
fn permit(call: &Call, service: &str) -> Result<(), Fault> {
    if is_server(service) { Ok(()) } else { call.permit(Infer).map(drop) }
}

fn is_server(service: &str) -> bool {
    service.is_empty() || service == oip_grpc::SERVICE
}

/// The state of the server or of a service; none where there is no such service.
fn status(api: &Api, service: &str) -> Option<ServingStatus> {
    let is_ready = if is_server(service) {
        api.is_ready()
    } else {
        let name: ServiceName = service.parse().ok()?;
        if !api.node.services().contains(&name) {
            return None;
        }
        !api.stopping.is_cancelled() && api.node.is_service_ready(&name)
    };
    Some(if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing })
}

fn all(api: &Api) -> HealthListResponse {
    let names = api.node.services().into_iter().map(|service| service.to_string());
    let names = names.chain([String::new(), oip_grpc::SERVICE.to_owned()]);
    let statuses: BTreeMap<_, _> =
        names.filter_map(|name| status(api, &name).map(|status| (name, told(status)))).collect();
    HealthListResponse { statuses }
}

fn told(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

async fn watch(call: Call, body: Incoming) -> Result<Response, Fault> {
    let message = frames::only(&call.api, &call.headers, body).await?;
    let asked: HealthCheckRequest = read(message.bytes)?;
    permit(&call, &asked.service)?;
    let watcher = Watcher { api: call.api, service: asked.service, told: None };
    Ok(answers::stream(stream::try_unfold(watcher, async |mut watcher| {
        let next = watcher.next().await?;
        Ok(Some(([answers::frame(&told(next))].into(), watcher)))
    })))
}

/// Somebody who wants to know of every change.
struct Watcher {
    api: Shared,
    service: String,
    told: Option<ServingStatus>,
}

impl Watcher {
    /// The state, as soon as it is another one than was told last.
    async fn next(&mut self) -> Result<ServingStatus, Fault> {
        loop {
            let now = status(&self.api, &self.service).unwrap_or(ServingStatus::ServiceUnknown);
            if self.told.replace(now) != Some(now) {
                return Ok(now);
            }
            if self.api.stopping.is_cancelled() {
                return Err(Fault::unavailable("the server is shutting down"));
            }
            let pause = tokio::time::sleep(LOOKED_AT_EVERY);
            tokio::select! {
                () = pause => {}
                () = self.api.stopping.cancelled() => {}
            }
        }
    }
}
