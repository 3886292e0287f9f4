//! The model configuration extension: `GET /v2/models/{service}[/versions/{version}]/config`, and the same over
//! gRPC.
//!
//! There is no `config.pbtxt` here. The configuration says in Triton's words what the service's signature and
//! settings are: the server puts no requests together, so `max_batch_size` is 0 and `dims` are whole shapes.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tenon_codec::grpc::inference::model_instance_group::Kind;
use tenon_codec::grpc::inference::model_version_policy::{Latest, PolicyChoice};
use tenon_codec::grpc::inference::{
    DataType, ModelConfig, ModelInput, ModelInstanceGroup, ModelOutput, ModelVersionPolicy,
};
use tenon_contract::{Datatype, Fault, Format, ServiceName};
use tenon_control::Infer;

use super::metadata;
use crate::auth::Allowed;
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{OipFault, ok};

/// `GET /v2/models/{service}/config`.
pub(crate) async fn model(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    Ok(ok(&as_json(&of(&api, &service, None)?)))
}

/// `GET /v2/models/{service}/versions/{version}/config`.
pub(crate) async fn model_version(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named((service, version)): Named<(ServiceName, String)>,
) -> Result<Response, OipFault> {
    Ok(ok(&as_json(&of(&api, &service, Some(&version))?)))
}

/// The configuration of a service as it stands.
pub(crate) fn of(api: &Api, service: &ServiceName, asked: Option<&str>) -> Result<ModelConfig, Fault> {
    let slot = metadata::slot(api, service, asked)?;
    let (version, promise) = (slot.revision().version(), slot.promise());
    let (platform, backend, file) = engine(&version.format);
    let input = promise.inputs.iter().map(|spec| ModelInput {
        name: spec.name.to_string(),
        data_type: data_type(spec.datatype).into(),
        dims: spec.wire_shape(),
        ..ModelInput::default()
    });
    let output = promise.outputs.iter().map(|spec| ModelOutput {
        name: spec.name.to_string(),
        data_type: data_type(spec.datatype).into(),
        dims: spec.wire_shape(),
        ..ModelOutput::default()
    });
    let sessions = slot.engine().key().sessions();
    let group = ModelInstanceGroup {
        name: service.to_string(),
        kind: Kind::Cpu.into(),
        count: i32::try_from(sessions).unwrap_or(i32::MAX),
        ..ModelInstanceGroup::default()
    };
    let latest = PolicyChoice::Latest(Latest { num_versions: 1 });
    Ok(ModelConfig {
        name: service.to_string(),
        platform,
        backend,
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(latest) }),
        max_batch_size: 0,
        input: input.collect(),
        output: output.collect(),
        instance_group: vec![group],
        default_model_filename: file,
        ..ModelConfig::default()
    })
}

/// Platform, backend and file of a format, in Triton's words where it has some.
fn engine(format: &Format) -> (String, String, String) {
    if *format == Format::ONNX {
        return ("onnxruntime_onnx".to_owned(), "onnxruntime".to_owned(), "model.onnx".to_owned());
    }
    (metadata::platform(format), format.to_string(), String::new())
}

fn data_type(datatype: Datatype) -> DataType {
    match datatype {
        Datatype::Bool => DataType::TypeBool,
        Datatype::Uint8 => DataType::TypeUint8,
        Datatype::Uint16 => DataType::TypeUint16,
        Datatype::Uint32 => DataType::TypeUint32,
        Datatype::Uint64 => DataType::TypeUint64,
        Datatype::Int8 => DataType::TypeInt8,
        Datatype::Int16 => DataType::TypeInt16,
        Datatype::Int32 => DataType::TypeInt32,
        Datatype::Int64 => DataType::TypeInt64,
        Datatype::Fp16 => DataType::TypeFp16,
        Datatype::Bf16 => DataType::TypeBf16,
        Datatype::Fp32 => DataType::TypeFp32,
        Datatype::Fp64 => DataType::TypeFp64,
        Datatype::Bytes => DataType::TypeString,
    }
}

/// The fields that are filled in, as Triton writes them in JSON.
fn as_json(config: &ModelConfig) -> Value {
    let tensor = |name: &str, data_type: DataType, dims: &[i64]| json!({ "name": name, "data_type": data_type.as_str_name(), "dims": dims });
    let input = config.input.iter().map(|input| tensor(&input.name, input.data_type(), &input.dims));
    let output = config.output.iter().map(|output| tensor(&output.name, output.data_type(), &output.dims));
    let groups = config
        .instance_group
        .iter()
        .map(|group| json!({ "name": group.name, "kind": group.kind().as_str_name(), "count": group.count }));
    json!({
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "version_policy": { "latest": { "num_versions": 1 } },
        "max_batch_size": config.max_batch_size,
        "input": input.collect::<Vec<_>>(),
        "output": output.collect::<Vec<_>>(),
        "instance_group": groups.collect::<Vec<_>>(),
        "default_model_filename": config.default_model_filename,
    })
}
