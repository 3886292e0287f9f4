//! The logging extension: `/v2/logging`, and the same over gRPC. What the log holds can be changed while the
//! server runs; where it goes and what its lines look like is set at the start.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenon_contract::{Fault, FaultKind};
use tenon_control::{Configure, Observe};

use crate::auth::Allowed;
use crate::body::Document;
use crate::parts::{Api, LogLines, Shared};
use crate::status::{OipFault, ok};

/// The one form of time in lines.
const FORMAT: &str = "ISO8601";

/// A value of a setting, as both wires carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Setting {
    Flag(bool),
    Number(u32),
    Text(String),
}

/// Every setting as it is.
pub(crate) fn settings(api: &Api) -> BTreeMap<&'static str, Setting> {
    let lines = api.log.lines();
    BTreeMap::from([
        ("log_file", Setting::Text(String::new())),
        ("log_info", Setting::Flag(lines.info)),
        ("log_warning", Setting::Flag(lines.warning)),
        ("log_error", Setting::Flag(lines.error)),
        ("log_verbose_level", Setting::Number(lines.verbose)),
        ("log_format", Setting::Text(FORMAT.to_owned())),
    ])
}

/// Changes settings: all that is asked for, or nothing. What is given no value stays as it is.
pub(crate) fn change(api: &Api, changes: BTreeMap<String, Option<Setting>>) -> Result<(), Fault> {
    let lines = changed(api.log.lines(), changes)?;
    api.log.set(lines)
}

fn changed(mut lines: LogLines, changes: BTreeMap<String, Option<Setting>>) -> Result<LogLines, Fault> {
    for (name, value) in changes {
        let Some(value) = value else { continue };
        match (name.as_str(), value) {
            ("log_info", Setting::Flag(is)) => lines.info = is,
            ("log_warning", Setting::Flag(is)) => lines.warning = is,
            ("log_error", Setting::Flag(is)) => lines.error = is,
            ("log_verbose_level", Setting::Number(level)) => lines.verbose = level,
            ("log_file", Setting::Text(file)) if file.is_empty() => {}
            ("log_format", Setting::Text(format)) if format == FORMAT => {}
            ("log_file" | "log_format", _) => {
                return Err(Fault::new(
                    FaultKind::Unsupported,
                    format!(
                        "log setting `{name}` cannot be changed while the server runs; set the log at its start"
                    ),
                ));
            }
            _ => {
                let name: String = name.chars().take(40).collect();
                let text = format!(
                    "no log setting `{name}` of that type; there are log_info, log_warning and log_error, true or \
                     false, and log_verbose_level, a number"
                );
                return Err(Fault::invalid(text));
            }
        }
    }
    Ok(lines)
}

/// `GET /v2/logging`.
pub(crate) async fn show(State(api): State<Shared>, _: Allowed<Observe>) -> Response {
    ok(&settings(&api))
}

/// `POST /v2/logging`.
pub(crate) async fn set(
    State(api): State<Shared>,
    _: Allowed<Configure>,
    Document(asked): Document<BTreeMap<String, Option<Setting>>>,
) -> Result<Response, OipFault> {
    change(&api, asked)?;
    Ok(ok(&settings(&api)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_set_is_and_the_rest_is_refused() {
        let before = LogLines { info: true, warning: true, error: true, verbose: 0 };
        let check = |text: &str, expected: Result<LogLines, FaultKind>| {
            let found = changed(before, serde_json::from_str(text).unwrap()).map_err(|fault| fault.kind);
            assert_eq!(found, expected, "{text}");
        };
        check("{}", Ok(before));
        check(r#"{"log_info":false,"log_error":null}"#, Ok(LogLines { info: false, ..before }));
        check(r#"{"log_verbose_level":2,"log_format":"ISO8601"}"#, Ok(LogLines { verbose: 2, ..before }));
        check(r#"{"log_format":"default"}"#, Err(FaultKind::Unsupported));
        check(r#"{"log_file":"/tmp/x"}"#, Err(FaultKind::Unsupported));
        check(r#"{"log_info":1}"#, Err(FaultKind::Invalid));
        check(r#"{"log_infos":true}"#, Err(FaultKind::Invalid));
    }
}
