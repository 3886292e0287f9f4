//! The lines in the log that requests leave: each where the log is verbose, and else those that failed or were
//! slow, once. They name no token and no body.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::response::Response;
use http::{HeaderName, Method, Request, Uri};
use tenon_contract::{Fault, FaultKind};

use crate::ids;
use crate::spans::Place;
use crate::status::{self, Failed, GRPC_STATUS};

const SERVICE: HeaderName = HeaderName::from_static("tenon-service");
const VERSION: HeaderName = HeaderName::from_static("tenon-version");

/// Most lines of failed and slow requests in a second: a service that is down must not fill the disk.
const A_SECOND: u64 = 50;

/// Most bytes of a path that is told.
const PATH: usize = 256;

/// What the log wants of requests.
pub(crate) struct Lines {
    begun: Instant,
    slow: Option<Duration>,
    /// The second that is counted, and the lines in it: 32 bits each.
    second: AtomicU64,
    kept_back: AtomicU64,
}

/// The line of one request.
pub(crate) struct Line {
    begun: Option<Instant>,
    method: Method,
    uri: Uri,
}

impl Lines {
    /// Tells of requests to services that took `slow` or longer.
    pub(crate) fn new(slow: Option<Duration>) -> Self {
        let counters = (AtomicU64::new(0), AtomicU64::new(0));
        Self { begun: Instant::now(), slow, second: counters.0, kept_back: counters.1 }
    }

    /// A request has arrived.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> Line {
        let is_timed = self.slow.is_some() && is_inference(request.uri().path()) || is_verbose();
        Line {
            begun: is_timed.then(Instant::now),
            method: request.method().clone(),
            uri: request.uri().clone(),
        }
    }

    /// It was answered.
    pub(crate) fn end(&self, line: Line, response: &Response, place: &Place) {
        let took = line.begun.map(|begun| begun.elapsed());
        let is_slow = self.is_slow(&line, took);
        let failed = response.extensions().get::<Failed>().map(|failed| &failed.0);
        if is_slow || failed.is_some() || line.begun.is_some() && is_verbose() {
            self.tell(&line, response, place, took, failed);
        }
    }

    /// Whether it took too long: administration takes its time, and says itself what it does.
    fn is_slow(&self, line: &Line, took: Option<Duration>) -> bool {
        took.zip(self.slow).is_some_and(|(took, slow)| took >= slow) && is_inference(line.uri.path())
    }

    #[cold]
    fn tell(
        &self,
        line: &Line,
        response: &Response,
        place: &Place,
        took: Option<Duration>,
        failed: Option<&Fault>,
    ) {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (method, path) = (line.method.as_str(), line.uri.path());
        let path = path.get(..PATH).unwrap_or(path);
        let status = response.status().as_u16();
        let code = header(GRPC_STATUS).and_then(|code| code.parse().ok()).map(status::code_name);
        let micros = took.map(micros);
        let (id, version) = (header(ids::REQUEST_ID), header(VERSION));
        let service = header(SERVICE).or_else(|| service(path));
        let trace = place.recording().map(|recording| recording.own().trace);
        let trace_id = trace.as_ref().map(tracing::field::display);
        let is_slow = self.is_slow(line, took);
        if failed.is_none_or(is_of_the_caller) && !is_slow {
            tracing::debug!(method, path, status, code, micros, id, trace_id, service, version, "request");
            return;
        }
        if !self.may_tell() {
            return;
        }
        match failed {
            Some(fault) if matches!(fault.kind, FaultKind::Internal | FaultKind::Model) => tracing::error!(
                method, path, status, code, micros, id, trace_id, service, error = %fault, "request failed"
            ),
            Some(fault) if !is_of_the_caller(fault) => tracing::warn!(
                method, path, status, code, micros, id, trace_id, service, error = %fault, "request failed"
            ),
            _ => tracing::warn!(
                method,
                path,
                status,
                code,
                micros,
                id,
                trace_id,
                service,
                version,
                "request was slow"
            ),
        }
    }

    /// A message of a stream could not be answered: the stream has no status of its own for that.
    #[cold]
    pub(crate) fn message_failed(&self, fault: &Fault, service: &str, id: &str) {
        if status::status(fault.kind).is_server_error() && !is_of_the_caller(fault) && self.may_tell() {
            tracing::warn!(id, service, error = %fault, "message of a stream failed");
        }
    }

    /// Whether this second has room for a line; tells how many had none in those before.
    fn may_tell(&self) -> bool {
        let now = self.begun.elapsed().as_secs() & 0xffff_ffff;
        let seen = self.second.load(Ordering::Relaxed);
        let lines = if seen >> 32 == now { (seen & 0xffff_ffff) + 1 } else { 1 };
        // A race counts a line less: the limit is no more exact than it must be.
        self.second.store(now << 32 | lines, Ordering::Relaxed);
        if lines > A_SECOND {
            self.kept_back.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let kept_back = if lines == 1 { self.kept_back.swap(0, Ordering::Relaxed) } else { 0 };
        if kept_back > 0 {
            tracing::warn!(kept_back, limit = A_SECOND, "further requests failed or were slow");
        }
        true
    }
}

fn is_verbose() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// What this build does not do is told with 501, and nobody's failure.
fn is_of_the_caller(fault: &Fault) -> bool {
    fault.kind == FaultKind::Unsupported
}

/// Whether a path is one of those that ask services.
fn is_inference(path: &str) -> bool {
    ["/v2/models/", "/services/", "/inference."].iter().any(|begin| path.starts_with(begin))
}

/// The service that a path names.
fn service(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/models/").or_else(|| path.strip_prefix("/services/"))?;
    rest.split('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_many_lines() {
        let lines = Lines::new(None);
        let told = (0..A_SECOND * 3).filter(|_| lines.may_tell()).count() as u64;
        // The second may change under the test.
        assert!((A_SECOND..=2 * A_SECOND).contains(&told), "{told}");
        assert!(lines.kept_back.load(Ordering::Relaxed) > 0 || told == 2 * A_SECOND);
    }

    #[test]
    fn paths_name_services() {
        let check = |path: &str, expected: Option<&str>| assert_eq!(service(path), expected, "{path}");
        check("/v2/models/digits/infer", Some("digits"));
        check("/services/s/methods/detect", Some("s"));
        check("/v2/models/", None);
        check("/api/v1/models/m", None);
    }
}
