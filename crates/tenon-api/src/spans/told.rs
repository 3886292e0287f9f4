//! Spans over what was noted: one for the request, and beneath it one for each step of the request list. Names and
//! attributes are those of OpenTelemetry's conventions for HTTP and RPC; ours begin with `tenon.`.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{Method, Version};
use tenon_contract::trace::{Attribute, Span, SpanId, Traced};
use tenon_contract::{Fault, FaultKind, Identity};
use tenon_serving::{Step, Steps};

use super::recording::{Asked, Notes};
use crate::infer::oip_grpc;
use crate::router::routes;
use crate::status;

type Attributes = Vec<(&'static str, Attribute)>;

impl Traced for Notes {
    fn spans(self: Box<Self>) -> Vec<Span> {
        let mut story = Story { notes: &self, spans: Vec::with_capacity(12), next: 0 };
        story.tell();
        story.spans
    }
}

struct Story<'a> {
    notes: &'a Notes,
    spans: Vec<Span>,
    next: u64,
}

impl Story<'_> {
    fn tell(&mut self) {
        let notes = self.notes;
        self.spans.push(self.request());
        let server = notes.own.span;
        match notes.asked.as_slice() {
            asked if notes.is_stream => asked.iter().for_each(|asked| self.message(asked)),
            [] if self.is_inference() => {
                let fault = notes.answered.as_ref().and_then(|answered| answered.fault.as_ref());
                self.push(server, "decode", notes.begun, notes.ended, fault);
            }
            [] => {}
            [asked, ..] => {
                self.push(server, "decode", notes.begun, asked.steps.begun(), None);
                self.steps(server, asked);
                if let Some((at, _)) = asked.answered {
                    self.push(server, "encode", at, notes.ended, None);
                }
            }
        }
    }

    /// The span of the request itself.
    fn request(&self) -> Span {
        let notes = self.notes;
        let mut attributes = self.place();
        let (name, fault) =
            if notes.is_call { self.call(&mut attributes) } else { self.http(&mut attributes) };
        if let Some(error) = &fault {
            attributes.push(("error.type", error.clone().into()));
        }
        let asked = notes.asked.first();
        let own_id = notes.answered.as_ref().and_then(|answered| answered.id.clone());
        if let Some(id) = own_id.or_else(|| asked.map(|asked| asked.id.to_string())) {
            attributes.push(("tenon.request.id", id.into()));
        }
        if let Some(asked) = asked.filter(|_| !notes.is_stream) {
            attributes.extend(identity(asked));
        }
        if notes.left_out > 0 {
            attributes.push(("tenon.messages.left_out", notes.left_out.into()));
        }
        let text = notes.answered.as_ref().and_then(|answered| answered.fault.as_ref());
        Span {
            trace: notes.own.trace,
            id: notes.own.span,
            parent: notes.parent,
            is_parent_remote: notes.parent.is_some(),
            state: notes.state.clone(),
            name,
            is_server: true,
            begun_ns: notes.begun_ns,
            ended_ns: self.at(notes.ended),
            attributes,
            fault: fault.map(|error| text.map_or(error, |fault| fault.text.clone())),
        }
    }

    /// Where and how the request was sent.
    fn place(&self) -> Attributes {
        let notes = self.notes;
        let version = match notes.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        let (address, port) = match notes.host.rsplit_once(':') {
            Some((address, port)) => (address, port.parse::<u64>().ok()),
            None => (notes.host.as_str(), None),
        };
        let mut attributes: Attributes = vec![("network.protocol.version", version.into())];
        if !address.is_empty() {
            attributes.push(("server.address", address.into()));
        }
        attributes.extend(port.map(|port| ("server.port", port.into())));
        attributes
    }

    /// Name of a call, what is known of it, and its kind of error.
    fn call(&self, attributes: &mut Attributes) -> (Cow<'static, str>, Option<String>) {
        let notes = self.notes;
        let method = notes.path.trim_start_matches('/').to_owned();
        attributes.push(("rpc.system.name", "grpc".into()));
        attributes.push(("rpc.method", method.clone().into()));
        let Some(answered) = &notes.answered else { return (method.into(), Some(gone())) };
        let code = answered.code.unwrap_or_default();
        let name = status::code_name(code);
        attributes.push(("rpc.response.status_code", name.into()));
        (method.into(), status::is_failed_code(code).then(|| name.to_owned()))
    }

    /// The same of a request over HTTP.
    fn http(&self, attributes: &mut Attributes) -> (Cow<'static, str>, Option<String>) {
        let notes = self.notes;
        let route = route(&notes.method, &notes.path);
        attributes.push(("http.request.method", notes.method.as_str().into()));
        attributes.push(("url.scheme", if notes.is_tls { "https" } else { "http" }.into()));
        attributes.push(("url.path", notes.path.as_str().into()));
        attributes.extend(route.map(|route| ("http.route", route.into())));
        let name = match route {
            Some(route) => format!("{} {route}", notes.method),
            None => notes.method.to_string(),
        };
        let Some(answered) = &notes.answered else { return (name.into(), Some(gone())) };
        attributes.push(("http.response.status_code", u64::from(answered.status).into()));
        (name.into(), (answered.status >= 500).then(|| answered.status.to_string()))
    }

    fn is_inference(&self) -> bool {
        let notes = self.notes;
        let route = || route(&notes.method, &notes.path).unwrap_or_default();
        notes.path == oip_grpc::INFER
            || !notes.is_call && (route().ends_with("/infer") || route().ends_with("/{operation}"))
    }

    /// One message of a stream with its steps.
    fn message(&mut self, asked: &Asked) {
        let ended = asked.answered.as_ref().map_or(self.notes.ended, |(at, _)| *at);
        let fault = asked.answered.as_ref().and_then(|(_, answer)| answer.as_ref().err());
        let id = self.push(self.notes.own.span, "message", asked.steps.begun(), ended, fault);
        if let Some(span) = self.spans.last_mut() {
            span.attributes.push(("tenon.request.id", asked.id.as_str().into()));
            span.attributes.extend(identity(asked));
        }
        self.steps(id, asked);
    }

    /// The steps of the data plane. The one that failed ends with the answer, and none comes after it.
    fn steps(&mut self, parent: SpanId, asked: &Asked) {
        let steps: &Arc<Steps> = &asked.steps;
        let end_of = |step| steps.end(step).map(|end| steps.begun() + end);
        let answered_at = asked.answered.as_ref().map_or(self.notes.ended, |(at, _)| *at);
        let went = Fault::new(FaultKind::Cancelled, gone());
        let fault = match &asked.answered {
            Some((_, answer)) => answer.as_ref().err(),
            None => Some(&went),
        };
        let mut begun = steps.begun();
        for step in Step::ALL.into_iter().filter(|step| *step != Step::Queue) {
            let end = end_of(step);
            let fault = if end.is_none() { fault } else { None };
            let ended = end.unwrap_or(answered_at);
            let id = self.push(parent, step.name(), begun, ended, fault);
            if step == Step::Run {
                self.run(id, (begun, end_of(Step::Queue), ended), fault);
            }
            if end.is_none() {
                return;
            }
            begun = ended;
        }
    }

    /// What a run consists of: nothing more where it was in place, else waiting and computing.
    fn run(&mut self, run: SpanId, times: (Instant, Option<Instant>, Instant), fault: Option<&Fault>) {
        let (begun, started, ended) = times;
        if let Some(span) = self.spans.last_mut() {
            span.attributes.push(("tenon.run.in_place", (started.is_none() && fault.is_none()).into()));
        }
        if let Some(started) = started {
            self.push(run, "queue", begun, started, None);
            self.push(run, "compute", started, ended, fault);
        }
    }

    fn push(
        &mut self,
        parent: SpanId,
        name: &'static str,
        begun: Instant,
        ended: Instant,
        fault: Option<&Fault>,
    ) -> SpanId {
        let id = self.notes.own.span.child(self.next);
        self.next += 1;
        let begun_ns = self.at(begun);
        self.spans.push(Span {
            trace: self.notes.own.trace,
            id,
            parent: Some(parent),
            is_parent_remote: false,
            state: String::new(),
            name: name.into(),
            is_server: false,
            begun_ns,
            ended_ns: self.at(ended).max(begun_ns),
            attributes: Vec::new(),
            fault: fault.map(|fault| fault.text.clone()),
        });
        id
    }

    fn at(&self, instant: Instant) -> u64 {
        let since: Duration = instant.saturating_duration_since(self.notes.begun);
        self.notes.begun_ns.saturating_add(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

fn gone() -> String {
    "cancelled".to_owned()
}

/// Who answered, or who was asked.
fn identity(asked: &Asked) -> Attributes {
    match &asked.answered {
        Some((_, Ok((identity, generation)))) => {
            let Identity { service, revision, version, digest } = &**identity;
            vec![
                ("tenon.service", service.as_str().into()),
                ("tenon.revision", (*revision).into()),
                ("tenon.version", version.to_string().into()),
                ("tenon.digest", digest.to_string().into()),
                ("tenon.generation", (*generation).into()),
            ]
        }
        _ => vec![("tenon.service", asked.service.as_str().into())],
    }
}

/// The route that a path belongs to.
fn route(method: &Method, path: &str) -> Option<&'static str> {
    static ROUTES: OnceLock<Vec<(Method, &'static str)>> = OnceLock::new();
    let fits = |route: &str| {
        let (mut names, mut parts) = (route.split('/'), path.split('/'));
        loop {
            match (names.next(), parts.next()) {
                (None, None) => return true,
                (Some(name), Some(part)) if name == part => {}
                (Some(name), Some(part)) if name.starts_with('{') && !part.is_empty() => {}
                _ => return false,
            }
        }
    };
    let routes = ROUTES.get_or_init(routes).iter();
    let mut of_method = routes.filter(|(known, _)| known == method).map(|(_, route)| *route);
    // A fixed name goes before a parameter.
    of_method.clone().find(|route| *route == path).or_else(|| of_method.find(|route| fits(route)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_their_route() {
        let check = |method: Method, path: &str, expected: Option<&str>| {
            assert_eq!(route(&method, path), expected, "{method} {path}");
        };
        check(Method::POST, "/v2/models/digits/infer", Some("/v2/models/{service}/infer"));
        check(Method::GET, "/v2/models/digits", Some("/v2/models/{service}"));
        check(Method::POST, "/services/s/methods/detect", Some("/services/{service}/methods/{operation}"));
        check(Method::GET, "/v2", Some("/v2"));
        check(Method::GET, "/v2/models/stats", Some("/v2/models/stats"));
        check(Method::GET, "/v2/models//infer", None);
        check(Method::GET, "/secret/path", None);
    }
}
