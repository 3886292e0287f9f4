//! The trace extension: which requests leave a line in the log, for the server and for single services, changed
//! while it runs.
//!
//! A traced request is told with its service, version, id, outcome and times. Tensors are never logged, and no
//! file is written where a caller says: lines go where the log goes. While nothing is traced, a request looks at
//! one flag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tenon_contract::{Fault, FaultKind, RequestId, ServiceName};
use tenon_control::{Configure, Observe};
use tenon_serving::{Step, Steps};

use super::metadata;
use crate::auth::Allowed;
use crate::body::Document;
use crate::parts::{Api, Shared};
use crate::router::Named;
use crate::status::{OipFault, ok};

/// Settings as both wires carry them: texts by name.
pub(crate) type Settings = BTreeMap<&'static str, Vec<String>>;
/// Changes as both wires carry them; nothing is back to what holds otherwise.
pub(crate) type Changes = BTreeMap<String, Option<Vec<String>>>;

/// Of how many requests one is traced where nothing else is said.
const RATE: u64 = 1000;

/// What is traced.
#[derive(Default)]
pub(crate) struct Traces {
    is_on: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    server: Wishes,
    services: BTreeMap<ServiceName, Wishes>,
    /// Requests seen while something was traced.
    seen: BTreeMap<ServiceName, u64>,
}

/// What was set, at the server or at a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wishes {
    timestamps: Option<bool>,
    rate: Option<u64>,
    /// Traces that are left.
    count: Option<u64>,
    /// Whether `count` was set to have no end, which a service may want where the server does not.
    endless: bool,
}

impl Traces {
    /// Whether any request is traced.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Leaves the line of a request that has ended, if it is its turn.
    #[cold]
    pub(super) fn trace(
        &self,
        service: &ServiceName,
        id: &RequestId,
        steps: &Steps,
        answer: &Result<tenon_contract::Response, Fault>,
    ) {
        // Names that nobody serves are not counted: there is no end of them.
        let is_known = !matches!(answer, Err(fault) if fault.kind == FaultKind::NotFound);
        if !is_known || !self.kept().takes(service) {
            return;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let took = |step| steps.took(step).map(micros);
        let (queue_micros, run_micros) = (took(Step::Queue), took(Step::Run));
        let (version, outcome) = match answer {
            Ok(answer) => (Some(answer.identity.version.to_string()), "answered".to_owned()),
            Err(fault) => (None, format!("{:?}", fault.kind).to_lowercase()),
        };
        let micros = micros(steps.begun().elapsed());
        tracing::info!(%service, version, %id, micros, queue_micros, run_micros, outcome, "trace");
    }

    /// The settings of the server, or those that hold for a service.
    pub(crate) fn settings(&self, service: Option<&ServiceName>) -> Settings {
        let kept = self.kept();
        let own = service.and_then(|service| kept.services.get(service)).cloned().unwrap_or_default();
        let timestamps = own.timestamps.or(kept.server.timestamps).unwrap_or(false);
        let count = if own.endless { None } else { own.count.or(kept.server.count) };
        let texts = [
            ("trace_level", if timestamps { "TIMESTAMPS" } else { "OFF" }.to_owned()),
            ("trace_rate", own.rate.or(kept.server.rate).unwrap_or(RATE).to_string()),
            ("trace_count", count.map_or("-1".to_owned(), |count| count.to_string())),
            ("log_frequency", "0".to_owned()),
            ("trace_file", String::new()),
            ("trace_mode", "triton".to_owned()),
        ];
        texts.into_iter().map(|(name, text)| (name, vec![text])).collect()
    }

    /// Changes settings of the server, or of a service: all that is asked for, or nothing.
    pub(crate) fn change(&self, service: Option<&ServiceName>, changes: &Changes) -> Result<(), Fault> {
        let mut kept = self.kept();
        let wishes = match service {
            None => &mut kept.server,
            Some(service) => kept.services.entry(service.clone()).or_default(),
        };
        let mut changed = wishes.clone();
        changes.iter().try_for_each(|(name, texts)| changed.set(name, texts.as_deref()))?;
        *wishes = changed;
        let mut all = kept.services.values().chain([&kept.server]);
        self.is_on.store(all.any(|wishes| wishes.timestamps == Some(true)), Ordering::Relaxed);
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether the next request of `service` is traced.
    fn takes(&mut self, service: &ServiceName) -> bool {
        let own = self.services.get_mut(service);
        let (timestamps, rate) = own.as_ref().map_or((None, None), |own| (own.timestamps, own.rate));
        if !timestamps.or(self.server.timestamps).unwrap_or(false) {
            return false;
        }
        let seen = self.seen.entry(service.clone()).or_default();
        *seen += 1;
        if !(*seen - 1).is_multiple_of(rate.or(self.server.rate).unwrap_or(RATE)) {
            return false;
        }
        let left = match own {
            Some(own) if own.endless => return true,
            Some(Wishes { count: Some(left), .. }) => Some(left),
            _ => self.server.count.as_mut(),
        };
        match left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl Wishes {
    fn set(&mut self, name: &str, texts: Option<&[String]>) -> Result<(), Fault> {
        let wrong = |expected: &str| Fault::invalid(format!("trace setting `{name}`: expected {expected}"));
        let one = || match texts {
            None | Some([]) => Ok(None),
            Some([text]) => Ok(Some(text.as_str())),
            Some(_) => Err(wrong("one value")),
        };
        match name {
            "trace_level" => self.timestamps = level(texts)?,
            "trace_rate" => {
                let rate = one()?.map(|text| text.parse().ok().filter(|rate| *rate > 0));
                self.rate = rate.map(|rate| rate.ok_or_else(|| wrong("a number above 0"))).transpose()?;
            }
            "trace_count" => {
                let count = one()?;
                self.endless = count == Some("-1");
                let count = count.filter(|text| *text != "-1").map(str::parse);
                self.count = count.transpose().map_err(|_| wrong("a number, or -1 for no end"))?;
            }
            "log_frequency" | "trace_file" | "trace_mode" => {
                let fixed = ["0", "", "triton"];
                if one()?.is_some_and(|text| !fixed.contains(&text)) {
                    return Err(unsupported(format!(
                        "trace setting `{name}` cannot be changed here; traces are lines of the log"
                    )));
                }
            }
            _ => {
                return Err(Fault::invalid(format!(
                    "no trace setting `{}`; there are trace_level, trace_rate and trace_count",
                    name.chars().take(40).collect::<String>()
                )));
            }
        }
        Ok(())
    }
}

fn level(texts: Option<&[String]>) -> Result<Option<bool>, Fault> {
    let mut level = None;
    for text in texts.unwrap_or_default() {
        match text.as_str() {
            "OFF" => level = Some(level.unwrap_or(false)),
            "TIMESTAMPS" => level = Some(true),
            "TENSORS" => {
                return Err(unsupported(
                    "trace level `TENSORS`: tensors are never logged; use TIMESTAMPS".to_owned(),
                ));
            }
            _ => return Err(Fault::invalid("trace setting `trace_level`: expected OFF or TIMESTAMPS")),
        }
    }
    Ok(level)
}

fn unsupported(text: String) -> Fault {
    Fault::new(FaultKind::Unsupported, text)
}

/// A service whose settings are asked for has to be there.
pub(crate) fn known<'s>(
    api: &Api,
    service: Option<&'s ServiceName>,
) -> Result<Option<&'s ServiceName>, Fault> {
    match service {
        Some(service) if !api.node.services().contains(service) => Err(metadata::unknown(api, service)),
        service => Ok(service),
    }
}

/// `GET /v2/trace/setting`.
pub(crate) async fn show(State(api): State<Shared>, _: Allowed<Observe>) -> Response {
    told(&api, None)
}

/// `POST /v2/trace/setting`.
pub(crate) async fn set(
    State(api): State<Shared>,
    _: Allowed<Configure>,
    Document(asked): Document<Map<String, Value>>,
) -> Result<Response, OipFault> {
    api.traces.change(None, &changes(asked)?)?;
    Ok(told(&api, None))
}

/// `GET /v2/models/{service}/trace/setting`.
pub(crate) async fn show_model(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named(service): Named<ServiceName>,
) -> Result<Response, OipFault> {
    Ok(told(&api, known(&api, Some(&service))?))
}

/// `POST /v2/models/{service}/trace/setting`.
pub(crate) async fn set_model(
    State(api): State<Shared>,
    _: Allowed<Configure>,
    Named(service): Named<ServiceName>,
    Document(asked): Document<Map<String, Value>>,
) -> Result<Response, OipFault> {
    api.traces.change(known(&api, Some(&service))?, &changes(asked)?)?;
    Ok(told(&api, Some(&service)))
}

/// Triton writes the level as a list and everything else as a text.
fn told(api: &Api, service: Option<&ServiceName>) -> Response {
    let member = |(name, texts): (&str, Vec<String>)| {
        let value = if name == "trace_level" { json!(texts) } else { json!(texts.concat()) };
        (name.to_owned(), value)
    };
    ok(&api.traces.settings(service).into_iter().map(member).collect::<Map<_, _>>())
}

fn changes(asked: Map<String, Value>) -> Result<Changes, Fault> {
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let change = |(name, value): (String, Value)| {
        let texts = match value {
            Value::Null => Some(None),
            Value::Array(values) => values.into_iter().map(text).collect::<Option<Vec<_>>>().map(Some),
            value => text(value).map(|text| Some(vec![text])),
        };
        let wrong = || Fault::invalid(format!("trace setting `{name}`: expected texts, or null"));
        let texts = texts.ok_or_else(wrong)?;
        Ok((name, texts))
    };
    asked.into_iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes_of(text: &str) -> Changes {
        changes(serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn services_follow_the_server_but_for_what_they_set() {
        let traces = Traces::default();
        let service: ServiceName = "s".parse().unwrap();
        let check = |service: Option<&ServiceName>, expected: [&str; 3]| {
            let settings = traces.settings(service);
            let found = ["trace_level", "trace_rate", "trace_count"].map(|name| settings[name].concat());
            assert_eq!(found, expected);
        };
        check(None, ["OFF", "1000", "-1"]);
        traces.change(None, &changes_of(r#"{"trace_level":["TIMESTAMPS"],"trace_count":"3"}"#)).unwrap();
        traces.change(Some(&service), &changes_of(r#"{"trace_rate":2,"trace_count":"-1"}"#)).unwrap();
        check(None, ["TIMESTAMPS", "1000", "3"]);
        check(Some(&service), ["TIMESTAMPS", "2", "-1"]);
        traces.change(Some(&service), &changes_of(r#"{"trace_rate":null,"trace_count":null}"#)).unwrap();
        check(Some(&service), ["TIMESTAMPS", "1000", "3"]);
        assert!(traces.is_on());
        traces.change(None, &changes_of(r#"{"trace_level":null}"#)).unwrap();
        assert!(!traces.is_on());
    }

    #[test]
    fn one_of_some_is_taken_until_none_are_left() {
        let traces = Traces::default();
        let service: ServiceName = "s".parse().unwrap();
        traces
            .change(None, &changes_of(r#"{"trace_level":["TIMESTAMPS"],"trace_rate":"2","trace_count":"2"}"#))
            .unwrap();
        let taken: Vec<_> = (0..6).map(|_| traces.kept().takes(&service)).collect();
        assert_eq!(taken, [true, false, true, false, false, false]);
        assert_eq!(traces.settings(None)["trace_count"], ["0"]);
    }

    #[test]
    fn what_cannot_be_set_changes_nothing() {
        let traces = Traces::default();
        let check = |text: &str, kind: FaultKind| {
            assert_eq!(traces.change(None, &changes_of(text)).unwrap_err().kind, kind, "{text}");
            assert_eq!(traces.settings(None)["trace_rate"], ["1000"]);
        };
        check(r#"{"trace_rate":"5","trace_level":["TENSORS"]}"#, FaultKind::Unsupported);
        check(r#"{"trace_level":"MAX"}"#, FaultKind::Invalid);
        check(r#"{"trace_rate":"0"}"#, FaultKind::Invalid);
        check(r#"{"trace_rate":["1","2"]}"#, FaultKind::Invalid);
        check(r#"{"trace_count":"-2"}"#, FaultKind::Invalid);
        check(r#"{"trace_file":"/etc/passwd"}"#, FaultKind::Unsupported);
        check(r#"{"trace_rates":"5"}"#, FaultKind::Invalid);
        assert!(changes(serde_json::from_str(r#"{"trace_rate":true}"#).unwrap()).is_err());
    }
}
