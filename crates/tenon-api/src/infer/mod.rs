//! The wires of inference, one module each, and what they share.

pub(crate) mod config;
pub(crate) mod feedback;
pub(crate) mod logging;
pub(crate) mod metadata;
pub(crate) mod native;
pub(crate) mod oip_grpc;
pub(crate) mod oip_rest;
pub(crate) mod pictures;
pub(crate) mod repository;
pub(crate) mod statistics;
pub(crate) mod trace;

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tenon_codec::oip::{self, Classes, OutputAsk};
use tenon_contract::{
    Fault, FaultKind, NamedTensor, Parameter, Parameters, Request, RequestId, Response, ServiceName, picture,
};
use tenon_serving::Steps;

use crate::parts::Api;
use crate::spans;

const TIMEOUT: HeaderName = HeaderName::from_static("tenon-timeout-ms");

/// The service of a path. What is no name names nothing.
fn service(text: &str) -> Result<ServiceName, Fault> {
    text.parse().map_err(|error| Fault::not_found(format!("no such service: {error}")))
}

/// The version of a path.
fn version(text: Option<&str>) -> Result<Option<u64>, Fault> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let text: String = text.chars().take(40).collect();
        Fault::not_found(format!("no version `{text}`: versions are numbers"))
    })
}

/// How long the caller waits: the shorter of the header in milliseconds and the protocol's parameter in
/// microseconds. Zero is no wish, as in Triton.
fn timeout(headers: &HeaderMap, parameters: &Parameters) -> Result<Option<Duration>, Fault> {
    let header = headers.get(TIMEOUT).map(|value| {
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| Fault::invalid("header `tenon-timeout-ms`: expected a number of milliseconds"))
    });
    let parameter = parameters.get("timeout").map(|value| match value {
        Parameter::Int(micros) if *micros >= 0 => Ok(*micros as u64),
        Parameter::Uint(micros) => Ok(*micros),
        _ => Err(Fault::invalid("parameter `timeout`: expected a number of microseconds")),
    });
    let wishes =
        [header.transpose()?.map(Duration::from_millis), parameter.transpose()?.map(Duration::from_micros)];
    Ok(wishes.into_iter().flatten().filter(|wish| !wish.is_zero()).min())
}

/// A request for tensors, from either wire of the Open Inference Protocol.
struct Asked<'a> {
    service: ServiceName,
    version: Option<u64>,
    id: RequestId,
    timeout: Option<Duration>,
    parameters: Parameters,
    inputs: Vec<NamedTensor>,
    outputs: &'a [OutputAsk],
}

/// Asks the data plane, and puts the best classes into the place of outputs that are wanted so.
async fn ask_classified(api: &Api, asked: Asked<'_>) -> Result<Response, Fault> {
    let mut request = Request {
        service: asked.service,
        version: asked.version,
        operation: api.infer.clone(),
        id: asked.id,
        trace: None,
        timeout: asked.timeout,
        parameters: asked.parameters,
        inputs: asked.inputs,
        outputs: asked.outputs.iter().map(|output| output.name.clone()).collect(),
    };
    if asked.outputs.iter().all(|output| output.classification.is_none()) {
        return ask(api, request).await;
    }
    let is_named = names_classes(api, &request.service);
    if is_named {
        request.outputs.extend([picture::CLASSES.into(), picture::LABELS.into()]);
    }
    let mut answer = ask(api, request).await?;
    let added = answer.outputs.split_off(asked.outputs.len().min(answer.outputs.len()));
    for (ask, output) in asked.outputs.iter().zip(&mut answer.outputs) {
        let Some(count) = ask.classification.filter(|count| *count > 0) else { continue };
        let classes = match &added[..] {
            [numbers, names] if *output.name == *picture::SCORES => {
                Some(Classes { numbers: &numbers.tensor, names: &names.tensor })
            }
            _ => None,
        };
        output.tensor = oip::classify(&output.tensor, count, classes)
            .map_err(|fault| fault.during(format_args!("output `{}`", output.name)))?;
    }
    Ok(answer)
}

/// Whether a service says which classes its scores are of, as every service of pictures does.
fn names_classes(api: &Api, service: &ServiceName) -> bool {
    let Some(revision) = api.node.live(service) else { return false };
    let mut views = revision.contract.operations.iter().filter_map(|operation| operation.view.as_ref());
    views.any(|view| {
        let has = |name: &str| view.outputs.iter().any(|output| &*output.name == name);
        has(picture::CLASSES) && has(picture::LABELS) && has(picture::SCORES)
    })
}

/// Asks the data plane. A service that is wanted and not there is unavailable, not unknown.
async fn ask(api: &Api, mut request: Request) -> Result<Response, Fault> {
    let service = request.service.clone();
    // Only where traces are sent somewhere is there a recording to be found.
    let recording = api.spans.as_ref().and_then(|_| spans::current());
    request.trace = recording.as_ref().map(|recording| recording.own().trace.number());
    let noted = recording.as_ref().map(|recording| recording.asks(&service, &request.id));
    let traced = api.traces.is_on().then(|| (noted.clone().unwrap_or_else(Steps::begin), request.id.clone()));
    let steps = traced.as_ref().map(|(steps, _)| steps.clone()).or_else(|| noted.clone());
    let answer = api.node.infer_timed(request, steps).await;
    if let Some((steps, id)) = traced {
        api.traces.trace(&service, &id, &steps, &answer);
    }
    if let Some((recording, steps)) = recording.zip(noted) {
        recording.told(&steps, &answer);
    }
    answer.map_err(|fault| absent(api, &service, fault))
}

/// Says more exactly why a service does not answer.
fn absent(api: &Api, service: &ServiceName, fault: Fault) -> Fault {
    if fault.kind != FaultKind::NotFound || api.node.pin().slot(service).is_some() {
        return fault;
    }
    match api.node.service(service) {
        Ok(_) => Fault::unavailable(format!("service `{service}` is changing; try again")),
        Err(why) if why.kind == FaultKind::NotFound => fault,
        Err(why) => Fault::unavailable(format!("service `{service}` is down: {}", why.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_wish_counts() {
        let check =
            |header: Option<&str>, parameter: Option<Parameter>, expected: Result<Option<u64>, ()>| {
                let mut headers = HeaderMap::new();
                if let Some(value) = header {
                    headers.insert(TIMEOUT, value.parse().unwrap());
                }
                let parameters = parameter.into_iter().map(|value| ("timeout".to_owned(), value)).collect();
                let found = timeout(&headers, &parameters).map_err(drop);
                assert_eq!(found, expected.map(|wish| wish.map(Duration::from_micros)));
            };
        check(None, None, Ok(None));
        check(Some("2"), None, Ok(Some(2000)));
        check(Some("2"), Some(Parameter::Int(500)), Ok(Some(500)));
        check(Some("2"), Some(Parameter::Uint(5000)), Ok(Some(2000)));
        check(Some("0"), Some(Parameter::Int(0)), Ok(None));
        check(Some("soon"), None, Err(()));
        check(None, Some(Parameter::Int(-1)), Err(()));
        check(None, Some(Parameter::String("1".into())), Err(()));
    }
}
