//! `inference.GRPCInferenceService`: the Open Inference Protocol over gRPC with Triton's extensions.
//!
//! [`ask`] and [`stream`] ask services for answers. For all other methods stands here what they take and who may
//! call them; what they do is done by the same functions as on the REST wire.

mod ask;
mod settings;
mod stream;

use axum::response::Response;
use hyper::body::Incoming;
use tenon_codec::grpc::inference::model_metadata_response::TensorMetadata;
use tenon_codec::grpc::inference::model_repository_parameter::ParameterChoice;
use tenon_codec::grpc::inference::repository_index_response::ModelIndex;
use tenon_codec::grpc::inference::{self as proto, ModelRepositoryParameter};
use tenon_codec::oip;
use tenon_contract::{Fault, FaultKind};
use tenon_control::{Infer, Promote, Push};

pub(crate) use ask::infer;

use super::repository::{self, Given};
use super::{config, metadata, service, statistics};
use crate::grpc::{Call, unary};
use crate::parts::Api;

/// The service's full name.
pub(crate) const SERVICE: &str = "inference.GRPCInferenceService";
/// The path of the hot method.
pub(crate) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Answers a call of any method but `ModelInfer`.
pub(crate) async fn call(call: Call, method: &str, body: Incoming) -> Result<Response, Fault> {
    let (api, call) = (call.api.clone(), &call);
    let infer = || call.permit(Infer);
    match method {
        "ServerLive" => unary(call, body, Ok(()), async |(), asked| live(&asked)).await,
        "ServerReady" => unary(call, body, Ok(()), async |(), asked| ready(&api, &asked)).await,
        "ServerMetadata" => unary(call, body, infer(), async |_, asked| server(&api, &asked)).await,
        "ModelReady" => unary(call, body, infer(), async |_, asked| model_ready(&api, &asked)).await,
        "ModelMetadata" => unary(call, body, infer(), async |_, asked| model(&api, &asked)).await,
        "ModelConfig" => unary(call, body, infer(), async |_, asked| model_config(&api, &asked)).await,
        "ModelStatistics" => unary(call, body, infer(), async |_, asked| of_models(&api, &asked)).await,
        "ModelStreamInfer" => stream::infer(call, body),
        "RepositoryIndex" => unary(call, body, infer(), async |_, asked| index(&api, asked).await).await,
        "RepositoryModelLoad" => {
            let may = call.permit(Promote).and_then(|promote| Ok((promote, call.permit(Push)?)));
            unary(call, body, may, async |(promote, push), asked: proto::RepositoryModelLoadRequest| {
                let name = service(&asked.model_name)?;
                let parameters = asked.parameters.into_iter().map(given);
                repository::make_answer(&api, (&promote, &push), &name, parameters).await?;
                Ok(proto::RepositoryModelLoadResponse {})
            })
            .await
        }
        "RepositoryModelUnload" => {
            let may = call.permit(Promote);
            unary(call, body, may, async |promote, asked: proto::RepositoryModelUnloadRequest| {
                repository::take_away(&api, &promote, &service(&asked.model_name)?).await?;
                Ok(proto::RepositoryModelUnloadResponse {})
            })
            .await
        }
        _ => settings::call(call, method, body).await,
    }
}

fn live(_: &proto::ServerLiveRequest) -> Result<proto::ServerLiveResponse, Fault> {
    Ok(proto::ServerLiveResponse { live: true })
}

fn ready(api: &Api, _: &proto::ServerReadyRequest) -> Result<proto::ServerReadyResponse, Fault> {
    Ok(proto::ServerReadyResponse { ready: api.is_ready() })
}

fn server(api: &Api, _: &proto::ServerMetadataRequest) -> Result<proto::ServerMetadataResponse, Fault> {
    Ok(proto::ServerMetadataResponse {
        name: metadata::SERVER.to_owned(),
        version: api.tenon.clone(),
        extensions: metadata::EXTENSIONS.map(str::to_owned).to_vec(),
    })
}

/// A service that is not there is not ready, as clients of Triton expect it.
fn model_ready(api: &Api, asked: &proto::ModelReadyRequest) -> Result<proto::ModelReadyResponse, Fault> {
    let ready =
        service(&asked.name).and_then(|service| metadata::is_ready(api, &service, version(&asked.version)));
    match ready {
        Err(fault) if fault.kind != FaultKind::NotFound => Err(fault),
        ready => Ok(proto::ModelReadyResponse { ready: ready.unwrap_or(false) }),
    }
}

fn model(api: &Api, asked: &proto::ModelMetadataRequest) -> Result<proto::ModelMetadataResponse, Fault> {
    let found = metadata::metadata(api, service(&asked.name)?, version(&asked.version))?;
    let tensors = |tensors: Vec<oip::TensorMetadata>| {
        let tensor = |tensor: oip::TensorMetadata| TensorMetadata {
            name: tensor.name.to_string(),
            datatype: tensor.datatype.to_string(),
            shape: tensor.shape,
        };
        tensors.into_iter().map(tensor).collect()
    };
    Ok(proto::ModelMetadataResponse {
        name: found.name.to_string(),
        versions: found.versions,
        platform: found.platform,
        inputs: tensors(found.inputs),
        outputs: tensors(found.outputs),
    })
}

fn model_config(api: &Api, asked: &proto::ModelConfigRequest) -> Result<proto::ModelConfigResponse, Fault> {
    let config = config::of(api, &service(&asked.name)?, version(&asked.version))?;
    Ok(proto::ModelConfigResponse { config: Some(config) })
}

fn of_models(
    api: &Api,
    asked: &proto::ModelStatisticsRequest,
) -> Result<proto::ModelStatisticsResponse, Fault> {
    let named = (!asked.name.is_empty()).then(|| service(&asked.name)).transpose()?;
    statistics::of(api, named.as_ref(), version(&asked.version))
}

async fn index(
    api: &Api,
    asked: proto::RepositoryIndexRequest,
) -> Result<proto::RepositoryIndexResponse, Fault> {
    let entries = repository::entries(api, asked.ready).await.into_iter().map(|entry| ModelIndex {
        name: entry.name,
        version: entry.version.unwrap_or_default(),
        state: entry.state.to_owned(),
        reason: entry.reason,
    });
    Ok(proto::RepositoryIndexResponse { models: entries.collect() })
}

fn given((name, value): (String, ModelRepositoryParameter)) -> (String, Given) {
    let given = match value.parameter_choice {
        Some(ParameterChoice::StringParam(text)) => Given::Text(text),
        Some(ParameterChoice::BytesParam(bytes)) => Given::Bytes(bytes),
        _ => Given::Other,
    };
    (name, given)
}

/// The version of a message: an empty text insists on none.
fn version(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
