//! The model repository extension: `POST /v2/repository/...`.
//!
//! What Triton calls a model is our service. *Load* makes the service answer, *unload* takes it away, both
//! behind the same permit as the administration.

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tenon_contract::admin::{RepositoryView, SwapRequest};
use tenon_contract::{Fault, FaultKind, ModelName, ServiceName, VersionId};
use tenon_control::{Infer, Permit, Promote, Push};

use crate::admin::services::serve_version;
use crate::auth::Allowed;
use crate::body::{self, Document};
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{OipFault, ok};

/// Keys of `parameters.config` that say nothing which we would have to obey.
const HARMLESS: [&str; 3] = ["name", "backend", "platform"];

#[derive(Deserialize)]
pub(crate) struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    pub(crate) state: &'static str,
    pub(crate) reason: String,
}

/// `POST /v2/repository/index`: services, and models that could become some.
pub(crate) async fn index(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Document(asked): Document<IndexRequest>,
) -> Response {
    ok(&entries(&api, asked.ready).await)
}

/// Services, and models that could become some; only those that are `ready` where that is asked.
pub(crate) async fn entries(api: &Api, ready: bool) -> Vec<Entry> {
    let mut entries: Vec<_> = api.node.services().iter().map(|service| of_service(api, service)).collect();
    if let Some(repository) = &api.control.repository {
        add_repository(&mut entries, &repository.index());
    }
    match api.catalog.models().await {
        Ok(models) => {
            let served: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
            let idle =
                models.into_iter().filter(|model| !served.iter().any(|name| name == model.model.as_str()));
            entries.extend(idle.map(|model| Entry {
                name: model.model.to_string(),
                version: Some(model.latest.to_string()),
                state: "UNAVAILABLE",
                reason: "not deployed; load it".to_owned(),
            }));
        }
        // What is served is known without the catalog.
        Err(error) => tracing::warn!(%error, "models left out of the repository index"),
    }
    entries.retain(|entry| !ready || entry.state == "READY");
    entries
}

/// What lies in a model repository and is not served, and what is to be said of what is.
fn add_repository(entries: &mut Vec<Entry>, index: &RepositoryView) {
    for entry in entries.iter_mut().filter(|entry| entry.reason.is_empty()) {
        entry.reason = index.notes.get(&entry.name).cloned().unwrap_or_default();
    }
    entries.extend(index.unserved.iter().map(|entry| Entry {
        name: entry.name.clone(),
        version: entry.version.map(|number| number.to_string()),
        state: "UNAVAILABLE",
        reason: entry.reason.clone(),
    }));
}

fn of_service(api: &Api, service: &ServiceName) -> Entry {
    let entry = |version, state, reason| Entry { name: service.to_string(), version, state, reason };
    match api.node.service(service) {
        Ok(view) => {
            let version = Some(view.version.number.to_string());
            match view.fault {
                Some(fault) if !view.ready => entry(version, "UNAVAILABLE", fault.text),
                _ => entry(version, "READY", String::new()),
            }
        }
        Err(_) if api.is_starting() => entry(None, "LOADING", "being brought back after a start".to_owned()),
        Err(fault) => entry(None, "UNAVAILABLE", fault.text),
    }
}

#[derive(Default, Deserialize)]
struct LoadRequest {
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// `POST /v2/repository/models/{service}/load`.
pub(crate) async fn load(
    State(api): State<Shared>,
    Allowed(promote): Allowed<Promote>,
    Allowed(push): Allowed<Push>,
    Named(service): Named<ServiceName>,
    request: axum::extract::Request,
) -> Result<Response, OipFault> {
    let (parts, body) = request.into_parts();
    // The body may carry a whole model.
    let collected = body::collect(&api, &parts.headers, body, 0).await?;
    let request = read_load(&collected.bytes)?;
    make_answer(&api, (&promote, &push), &service, request.parameters.into_iter().map(Given::of_json))
        .await?;
    Ok(done())
}

/// A parameter of a load, from either wire.
pub(crate) enum Given {
    Text(String),
    Bytes(Bytes),
    Other,
}

impl Given {
    fn of_json((name, value): (String, Value)) -> (String, Self) {
        match value {
            Value::String(text) => (name, Self::Text(text)),
            _ => (name, Self::Other),
        }
    }
}

/// Makes `service` answer, with the model that the parameters bring or else with what is there.
pub(crate) async fn make_answer(
    api: &Api,
    (promote, push): (&Permit<Promote>, &Permit<Push>),
    service: &ServiceName,
    parameters: impl IntoIterator<Item = (String, Given)>,
) -> Result<(), Fault> {
    let file = only_file(parameters)?;
    let model: ModelName = service.as_str().parse()?;
    let version = match file {
        Some(bytes) => onboard(api, push, &model, bytes).await?,
        None if load_from_repository(api, (promote, push), service).await? => return Ok(()),
        None if api.node.is_service_ready(service) => return Ok(()),
        None => latest(api, &model).await?,
    };
    serve_version(api, promote, service, wish(version)).await?;
    Ok(())
}

/// Reads the service's folder in the model repository again; `false` where it has none.
async fn load_from_repository(
    api: &Api,
    (promote, push): (&Permit<Promote>, &Permit<Push>),
    service: &ServiceName,
) -> Result<bool, Fault> {
    match &api.control.repository {
        Some(repository) => repository.load(push, promote, service).await,
        None => Ok(false),
    }
}

/// `POST /v2/repository/models/{service}/unload`.
pub(crate) async fn unload(
    State(api): State<Shared>,
    Allowed(promote): Allowed<Promote>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    take_away(&api, &promote, &service).await?;
    Ok(done())
}

/// Takes `service` away.
pub(crate) async fn take_away(
    api: &Api,
    permit: &Permit<Promote>,
    service: &ServiceName,
) -> Result<(), Fault> {
    let reason = Some("unloaded through the model repository extension".to_owned());
    api.control.promotion.remove(permit, service, reason).await.map(drop)
}

fn done() -> Response {
    ok(&Map::new())
}

fn wish(version: VersionId) -> SwapRequest {
    let reason = Some("loaded through the model repository extension".to_owned());
    SwapRequest { version, settings: None, breaking: None, dry_run: false, reason }
}

fn read_load(body: &[u8]) -> Result<LoadRequest, Fault> {
    if body.is_empty() {
        return Ok(LoadRequest::default());
    }
    serde_json::from_slice(body).map_err(|error| Fault::invalid(format!("read load request: {error}")))
}

/// The model that the request brings, where it brings one.
fn only_file(parameters: impl IntoIterator<Item = (String, Given)>) -> Result<Option<Bytes>, Fault> {
    let mut file = None;
    for (name, value) in parameters {
        if name == "config" {
            check_config(value)?;
        } else if let Some(path) = name.strip_prefix("file:") {
            if !path.ends_with("/model.onnx") || file.is_some() {
                return Err(unsupported(format!(
                    "parameter `{name}`: one file `file:<version>/model.onnx` can be loaded; push a bundle \
                     with `tenon push` for more"
                )));
            }
            let bytes = match value {
                Given::Text(text) => STANDARD.decode(text).ok().map(Bytes::from),
                Given::Bytes(bytes) => Some(bytes),
                Given::Other => None,
            };
            let expected = || Fault::invalid(format!("parameter `{name}`: expected base64"));
            file = Some(bytes.ok_or_else(expected)?);
        } else {
            return Err(unsupported(format!("parameter `{name}` of a load is not part of this server")));
        }
    }
    Ok(file)
}

/// Triton's clients send a configuration with every file; one that asks for nothing is let pass.
fn check_config(value: Given) -> Result<(), Fault> {
    let config: Option<Map<String, Value>> = match value {
        Given::Text(text) => serde_json::from_str(&text).ok(),
        _ => None,
    };
    let config =
        config.ok_or_else(|| Fault::invalid("parameter `config`: expected the text of a JSON object"))?;
    match config.keys().find(|key| !HARMLESS.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(unsupported(format!(
            "parameter `config`: model configurations are not part of this server (`{key}`); signature and \
             limits come from the model and from the service's settings, see PUT /api/v1/services"
        ))),
    }
}

fn unsupported(text: String) -> Fault {
    Fault::new(FaultKind::Unsupported, text)
}

/// Makes a version of bytes and waits for it.
async fn onboard(
    api: &Api,
    permit: &Permit<Push>,
    model: &ModelName,
    bytes: Bytes,
) -> Result<VersionId, Fault> {
    let digest = api.store.put(bytes).await?;
    let job = api.control.onboarding.push(permit, model, digest).await?;
    let done = api.control.jobs.subscribe(&job.id).await?.end().await?;
    done.version.ok_or_else(|| Fault::internal("the job registered no version"))
}

async fn latest(api: &Api, model: &ModelName) -> Result<VersionId, Fault> {
    let latest = api.catalog.latest(model).await?;
    let unknown =
        || Fault::not_found(format!("no model `{model}` to load; push it first, or load it with its file"));
    latest.map(|version| version.id).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_brings_at_most_one_model_and_no_configuration_that_asks_for_something() {
        let check = |parameters: Value, expected: Result<Option<&[u8]>, FaultKind>| {
            let request = serde_json::json!({ "parameters": parameters }).to_string();
            let parameters = read_load(request.as_bytes()).unwrap().parameters;
            let found = only_file(parameters.into_iter().map(Given::of_json));
            assert_eq!(found.as_ref().map(|file| file.as_deref()).map_err(|fault| fault.kind), expected);
        };
        check(serde_json::json!({}), Ok(None));
        check(serde_json::json!({ "file:1/model.onnx": "aGk=", "config": "{}" }), Ok(Some(b"hi")));
        check(serde_json::json!({ "config": "{\"backend\":\"onnxruntime\"}" }), Ok(None));
        check(serde_json::json!({ "config": "{\"max_batch_size\":8}" }), Err(FaultKind::Unsupported));
        check(serde_json::json!({ "config": "no" }), Err(FaultKind::Invalid));
        check(serde_json::json!({ "file:1/model.onnx": "~" }), Err(FaultKind::Invalid));
        check(serde_json::json!({ "file:1/model.plan": "aGk=" }), Err(FaultKind::Unsupported));
        check(serde_json::json!({ "unload_dependents": true }), Err(FaultKind::Unsupported));
        assert!(read_load(b"").unwrap().parameters.is_empty());
    }
}
