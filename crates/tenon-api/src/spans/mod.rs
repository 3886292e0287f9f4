//! Traces of requests: which are recorded, and what is recorded of them.
//!
//! The decision comes first: by the `traceparent` that a request brings, else by a draw against the ratio. Of a
//! request that is not sampled nothing is built. A sampled one has a [`Recording`], found by whoever answers it
//! through [`current`], without a parameter on the way; it notes instants, and its spans are made where they are
//! sent ([`told`]).

mod recording;
mod told;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tenon_contract::trace::{SpanId, TraceCounts, TraceId, TraceParent, TraceSink};

pub(crate) use recording::Recording;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Most bytes of a `tracestate` that is passed on, as W3C Trace Context asks for at the least.
const STATE: usize = 512;
/// Bits of a trace's id that decide whether it is sampled: the last 56, as OpenTelemetry has it.
const DRAWN: u64 = (1 << 56) - 1;

/// Where the spans of requests go, and of how many.
pub struct Tracing {
    /// Of requests that bring no decision of their caller: the share that is sampled, from 0 to 1.
    pub ratio: f64,
    /// Where they go.
    pub sink: Arc<dyn TraceSink>,
}

tokio::task_local! {
    static CURRENT: Arc<Recording>;
}

/// The recording of the request that is being answered here, where it is sampled.
pub(crate) fn current() -> Option<Arc<Recording>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Answers a sampled request: whoever asks for [`current`] meanwhile gets its recording.
pub(crate) async fn within<T>(recording: Arc<Recording>, work: impl Future<Output = T>) -> T {
    CURRENT.scope(recording, work).await
}

/// The door of a server that traces.
pub(crate) struct Door {
    sink: Arc<dyn TraceSink>,
    /// A draw from here on is sampled.
    least: u64,
}

/// Where a request stands in a trace.
pub(crate) enum Place {
    /// Nowhere.
    Nowhere,
    /// In a trace that its caller does not keep.
    Unsampled(TraceParent),
    /// It is recorded.
    Sampled(Arc<Recording>),
}

impl Door {
    pub(crate) fn new(tracing: Tracing) -> Self {
        let left_out = (1.0 - tracing.ratio.clamp(0.0, 1.0)) * (DRAWN + 1) as f64;
        Self { sink: tracing.sink, least: left_out as u64 }
    }

    /// What became of traces.
    pub(crate) fn counts(&self) -> TraceCounts {
        self.sink.counts()
    }

    /// Decides on a request.
    pub(crate) fn place<B>(&self, request: &Request<B>, is_tls: bool) -> Place {
        let brought = request.headers().get(TRACEPARENT);
        if let Some(parent) = brought.and_then(|header| TraceParent::read(header.as_bytes())) {
            let own = TraceParent { span: SpanId::drawn(draw()), ..parent };
            return match parent.is_sampled {
                false => Place::Unsampled(own),
                true => self.record(own, Some(parent.span), request, is_tls),
            };
        }
        let drawn = draw();
        if drawn & DRAWN < self.least || is_probe(request.uri().path()) {
            return Place::Nowhere;
        }
        let trace = TraceId::drawn(draw(), drawn);
        let own = TraceParent { trace, span: SpanId::drawn(draw()), is_sampled: true };
        self.record(own, None, request, is_tls)
    }

    #[cold]
    fn record<B>(
        &self,
        own: TraceParent,
        parent: Option<SpanId>,
        request: &Request<B>,
        is_tls: bool,
    ) -> Place {
        // Without a parent there is no state of a caller.
        let state = parent.map(|_| state(request.headers())).unwrap_or_default();
        let recording = Recording::begin(own, parent, state, request, is_tls, self.sink.clone());
        Place::Sampled(Arc::new(recording))
    }
}

impl Place {
    /// The recording, where there is one.
    pub(crate) fn recording(&self) -> Option<&Arc<Recording>> {
        match self {
            Self::Sampled(recording) => Some(recording),
            _ => None,
        }
    }

    /// The request was answered: the answer says where it stands in the trace.
    pub(crate) fn end(self, response: &mut Response) {
        let own = match &self {
            Self::Nowhere => return,
            Self::Unsampled(own) => *own,
            Self::Sampled(recording) => {
                recording.answered(response);
                if let Some(state) = recording.state() {
                    response.headers_mut().insert(TRACESTATE, state);
                }
                recording.own()
            }
        };
        if let Ok(value) = HeaderValue::try_from(own.to_string()) {
            response.headers_mut().insert(TRACEPARENT, value);
        }
    }
}

/// What the caller's headers say beside the parent; too long it is left out, as a whole.
fn state(headers: &HeaderMap) -> String {
    let lines = headers.get_all(TRACESTATE).iter().filter_map(|line| line.to_str().ok());
    let state = lines.collect::<Vec<_>>().join(",");
    if state.len() <= STATE { state } else { String::new() }
}

/// Whether a path only asks how the server is: of these there are many, and nobody wants to see them.
fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics")
        || path.starts_with("/v2/health/")
        || path.starts_with("/grpc.health.v1.")
}

/// A number that no other draw gives but by chance: each state of the standard's hashes has keys of its own.
fn draw() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tenon_contract::trace::{Span, Traced};

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Span>>);

    impl TraceSink for Kept {
        fn take(&self, traced: Box<dyn Traced>) {
            self.0.lock().unwrap().extend(traced.spans());
        }

        fn counts(&self) -> TraceCounts {
            TraceCounts::default()
        }
    }

    fn door(ratio: f64) -> (Door, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        (Door::new(Tracing { ratio, sink: kept.clone() }), kept)
    }

    fn request(path: &str, parent: &str) -> Request<()> {
        let request = Request::builder().uri(path);
        let request = if parent.is_empty() { request } else { request.header("traceparent", parent) };
        request.body(()).unwrap()
    }

    #[test]
    fn the_caller_decides_and_else_the_ratio() {
        let check = |ratio, path: &str, parent: &str, expected: &str| {
            let found = match door(ratio).0.place(&request(path, parent), false) {
                Place::Nowhere => "nowhere",
                Place::Unsampled(_) => "unsampled",
                Place::Sampled(_) => "sampled",
            };
            assert_eq!(found, expected, "{ratio} {path} {parent}");
        };
        let parent = |flags: &str| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        check(0.0, "/v2", "", "nowhere");
        check(1.0, "/v2", "", "sampled");
        check(1.0, "/v2", "no parent", "sampled");
        check(1.0, "/readyz", "", "nowhere");
        check(0.0, "/readyz", &parent("01"), "sampled");
        check(0.0, "/v2", &parent("01"), "sampled");
        check(1.0, "/v2", &parent("00"), "unsampled");
    }

    #[test]
    fn the_share_that_is_sampled_is_the_ratio() {
        let door = door(0.1).0;
        let request = request("/v2", "");
        let sampled =
            (0..20_000).filter(|_| matches!(door.place(&request, false), Place::Sampled(_))).count();
        assert!((1_700..2_300).contains(&sampled), "{sampled}");
    }

    #[test]
    fn answers_say_where_they_stand() {
        let (door, kept) = door(0.0);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut asked = request("/v2", parent);
        asked.headers_mut().insert("tracestate", "a=1".parse().unwrap());
        let mut response = Response::default();
        door.place(&asked, false).end(&mut response);
        let own = TraceParent::read(response.headers()["traceparent"].as_bytes()).unwrap();
        let told = kept.0.lock().unwrap();
        assert_eq!((told.len(), told[0].trace, told[0].id), (1, own.trace, own.span));
        assert_eq!(told[0].parent.unwrap().to_string(), "b7ad6b7169203331");
        assert_eq!((&*told[0].state, &response.headers()["tracestate"]), ("a=1", &"a=1".parse().unwrap()));
    }
}
