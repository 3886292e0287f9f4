//! The statistics extension: `GET /v2/models/[{service}[/versions/{version}]/]stats`, and the same over gRPC.
//!
//! What the data plane does not measure stays 0: the copies of inputs and outputs, which there are none of, and
//! figures for each size of a batch. Times of a request do not hold those of its decoding.

use axum::extract::State;
use axum::response::Response;
use tenon_codec::grpc::inference::{
    InferStatistics, MemoryUsage, ModelStatistics, ModelStatisticsResponse, StatisticDuration,
};
use tenon_contract::{Device, Fault, ServiceName};
use tenon_control::Infer;
use tenon_serving::{Distribution, VersionStatistics};

use crate::auth::Allowed;
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{OipFault, ok};

/// `GET /v2/models/stats`.
pub(crate) async fn all(State(api): State<Shared>, _: Allowed<Infer>) -> Result<Response, OipFault> {
    Ok(ok(&of(&api, None, None)?))
}

/// `GET /v2/models/{service}/stats`.
pub(crate) async fn model(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    Ok(ok(&of(&api, Some(&service), None)?))
}

/// `GET /v2/models/{service}/versions/{version}/stats`.
pub(crate) async fn model_version(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named((service, version)): Named<(ServiceName, String)>,
) -> Result<Response, OipFault> {
    Ok(ok(&of(&api, Some(&service), Some(&version))?))
}

/// The statistics of all services or of one, of all its versions or of one.
pub(crate) fn of(
    api: &Api,
    service: Option<&ServiceName>,
    version: Option<&str>,
) -> Result<ModelStatisticsResponse, Fault> {
    let version = super::version(version)?;
    let mut seen = api.node.statistics(service)?;
    seen.retain(|row| version.is_none_or(|asked| asked == row.version.number));
    if let (true, Some(service), Some(version)) = (seen.is_empty(), service, version) {
        return Err(Fault::not_found(format!("service `{service}` did not serve a version {version}")));
    }
    Ok(ModelStatisticsResponse { model_stats: seen.iter().map(row).collect() })
}

fn row(seen: &VersionStatistics) -> ModelStatistics {
    let duration = |count: u64, ns: u64| Some(StatisticDuration { count, ns });
    let of = |seen: &Distribution| duration(seen.count(), seen.sum);
    let none = Some(StatisticDuration::default());
    let memory = seen.memory.of(&Device::Cpu);
    let memory = (memory > 0).then(|| MemoryUsage { r#type: "CPU".to_owned(), id: 0, byte_size: memory });
    ModelStatistics {
        name: seen.service.to_string(),
        version: seen.version.number.to_string(),
        last_inference: seen.last_ms,
        inference_count: seen.rows.sum,
        execution_count: seen.compute.count(),
        inference_stats: Some(InferStatistics {
            success: of(&seen.answered),
            fail: duration(seen.unanswered.count(), seen.unanswered_nanos),
            // Each call waited, if only for no time.
            queue: duration(seen.compute.count(), seen.queue.sum),
            compute_input: none,
            compute_infer: of(&seen.compute),
            compute_output: none,
            cache_hit: none,
            cache_miss: none,
        }),
        memory_usage: memory.into_iter().collect(),
        ..ModelStatistics::default()
    }
}
