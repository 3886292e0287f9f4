//! The methods of `inference.GRPCInferenceService` about the server itself: tracing, logging, shared memory.

use axum::response::Response;
use hyper::body::Incoming;
use tenon_codec::grpc::inference::trace_setting_response::SettingValue;
use tenon_codec::grpc::inference::{self as proto, log_settings_request, log_settings_response};
use tenon_contract::{Fault, FaultKind, ServiceName};
use tenon_control::{Configure, Infer, Observe};

use crate::grpc::{Call, unary, unknown};
use crate::infer::logging::{self, Setting};
use crate::infer::{service, trace};

const SHARED_MEMORY: &str = "shared memory is not part of this server; send tensors with the request, raw ones \
                             are not copied";

/// Answers a call.
pub(super) async fn call(call: &Call, method: &str, body: Incoming) -> Result<Response, Fault> {
    let infer = || call.permit(Infer);
    match method {
        "TraceSetting" => unary(call, body, call.permit(Observe), async |_, asked| traces(call, asked)).await,
        "LogSettings" => unary(call, body, call.permit(Observe), async |_, asked| log(call, asked)).await,
        "SystemSharedMemoryStatus" => unary(call, body, infer(), async |_, asked| no_regions(asked)).await,
        "CudaSharedMemoryStatus" => unary(call, body, infer(), async |_, asked| no_cuda_regions(asked)).await,
        // Clients call these before they begin. Nothing is registered, so nothing is left to be done.
        "SystemSharedMemoryUnregister" => {
            unary(call, body, infer(), async |_, _: proto::SystemSharedMemoryUnregisterRequest| {
                Ok(proto::SystemSharedMemoryUnregisterResponse {})
            })
            .await
        }
        "CudaSharedMemoryUnregister" => {
            unary(call, body, infer(), async |_, _: proto::CudaSharedMemoryUnregisterRequest| {
                Ok(proto::CudaSharedMemoryUnregisterResponse {})
            })
            .await
        }
        "SystemSharedMemoryRegister" | "CudaSharedMemoryRegister" => {
            Err(Fault::new(FaultKind::Unsupported, SHARED_MEMORY))
        }
        _ => Err(unknown(method)),
    }
}

/// Settings that are given are changed; those that hold then are told.
fn traces(call: &Call, asked: proto::TraceSettingRequest) -> Result<proto::TraceSettingResponse, Fault> {
    let named: Option<ServiceName> =
        (!asked.model_name.is_empty()).then(|| service(&asked.model_name)).transpose()?;
    let named = trace::known(&call.api, named.as_ref())?;
    if !asked.settings.is_empty() {
        call.permit(Configure)?;
        let changes = asked
            .settings
            .into_iter()
            .map(|(name, setting)| (name, Some(setting.value).filter(|texts| !texts.is_empty())));
        call.api.traces.change(named, &changes.collect())?;
    }
    let settings = call.api.traces.settings(named).into_iter();
    let settings = settings.map(|(name, value)| (name.to_owned(), SettingValue { value }));
    Ok(proto::TraceSettingResponse { settings: settings.collect() })
}

fn log(call: &Call, asked: proto::LogSettingsRequest) -> Result<proto::LogSettingsResponse, Fault> {
    use log_settings_request::setting_value::ParameterChoice as Asked;
    use log_settings_response::setting_value::ParameterChoice as Told;
    if !asked.settings.is_empty() {
        call.permit(Configure)?;
        let changes = asked.settings.into_iter().map(|(name, setting)| {
            let value = setting.parameter_choice.map(|value| match value {
                Asked::BoolParam(is) => Setting::Flag(is),
                Asked::Uint32Param(number) => Setting::Number(number),
                Asked::StringParam(text) => Setting::Text(text),
            });
            (name, value)
        });
        logging::change(&call.api, changes.collect())?;
    }
    let settings = logging::settings(&call.api).into_iter().map(|(name, value)| {
        let value = match value {
            Setting::Flag(is) => Told::BoolParam(is),
            Setting::Number(number) => Told::Uint32Param(number),
            Setting::Text(text) => Told::StringParam(text),
        };
        (name.to_owned(), log_settings_response::SettingValue { parameter_choice: Some(value) })
    });
    Ok(proto::LogSettingsResponse { settings: settings.collect() })
}

fn no_regions(
    asked: proto::SystemSharedMemoryStatusRequest,
) -> Result<proto::SystemSharedMemoryStatusResponse, Fault> {
    check_region(&asked.name)?;
    Ok(proto::SystemSharedMemoryStatusResponse::default())
}

fn no_cuda_regions(
    asked: proto::CudaSharedMemoryStatusRequest,
) -> Result<proto::CudaSharedMemoryStatusResponse, Fault> {
    check_region(&asked.name)?;
    Ok(proto::CudaSharedMemoryStatusResponse::default())
}

fn check_region(name: &str) -> Result<(), Fault> {
    if name.is_empty() { Ok(()) } else { Err(Fault::not_found("no region of shared memory is registered")) }
}
