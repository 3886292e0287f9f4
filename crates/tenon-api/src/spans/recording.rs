//! What is noted of one sampled request while it is answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::response::Response;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Version};
use tenon_contract::trace::{SpanId, TraceParent, TraceSink};
use tenon_contract::{Fault, Identity, RequestId, ServiceName};
use tenon_serving::Steps;

use crate::ids;
use crate::status::{self, Failed};

/// Most messages of a stream whose steps are noted.
const MESSAGES: usize = 64;
/// Most bytes of a path or host that is noted.
const TEXT: usize = 256;

/// A sampled request. When the last hold on it is let go, what was noted goes to the sink: with the answer, with
/// the end of the stream, or when the caller has gone away.
pub(crate) struct Recording {
    own: TraceParent,
    notes: Mutex<Option<Notes>>,
    sink: Arc<dyn TraceSink>,
}

/// All that is noted.
pub(super) struct Notes {
    pub(super) own: TraceParent,
    pub(super) parent: Option<SpanId>,
    pub(super) state: String,
    pub(super) begun: Instant,
    /// The same instant on the wall, nanoseconds since 1970.
    pub(super) begun_ns: u64,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) version: Version,
    pub(super) is_tls: bool,
    pub(super) is_call: bool,
    pub(super) is_stream: bool,
    pub(super) asked: Vec<Asked>,
    /// Messages of a stream that are not in `asked`.
    pub(super) left_out: u64,
    pub(super) answered: Option<Answered>,
    pub(super) ended: Instant,
}

/// A request to the data plane.
pub(super) struct Asked {
    pub(super) service: ServiceName,
    pub(super) id: RequestId,
    pub(super) steps: Arc<Steps>,
    /// When it was answered, by whom in which generation, or why not; nothing where the caller went away.
    pub(super) answered: Option<(Instant, Outcome)>,
}

/// Who answered in which generation, or why nobody did.
pub(super) type Outcome = Result<(Arc<Identity>, u64), Fault>;

/// How the answer began.
pub(super) struct Answered {
    pub(super) status: u16,
    /// The number of the status of gRPC.
    pub(super) code: Option<u16>,
    pub(super) id: Option<String>,
    pub(super) fault: Option<Fault>,
}

impl Recording {
    pub(super) fn begin<B>(
        own: TraceParent,
        parent: Option<SpanId>,
        state: String,
        request: &Request<B>,
        is_tls: bool,
        sink: Arc<dyn TraceSink>,
    ) -> Self {
        let begun = Instant::now();
        let text = |text: &str| text.chars().take(TEXT).collect::<String>();
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = request.uri().authority().map(|authority| authority.as_str()).or(host);
        let notes = Notes {
            own,
            parent,
            state,
            begun,
            begun_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
            method: request.method().clone(),
            path: text(request.uri().path()),
            host: text(host.unwrap_or_default()),
            version: request.version(),
            is_tls,
            is_call: crate::grpc::is_call(request),
            is_stream: false,
            asked: Vec::new(),
            left_out: 0,
            answered: None,
            ended: begun,
        };
        Self { own, notes: Mutex::new(Some(notes)), sink }
    }

    /// Where the request's own span stands.
    pub(crate) fn own(&self) -> TraceParent {
        self.own
    }

    /// The caller's state, for the answer.
    pub(super) fn state(&self) -> Option<HeaderValue> {
        let notes = self.notes();
        let state = &notes.as_ref()?.state;
        HeaderValue::from_str(state).ok().filter(|state| !state.is_empty())
    }

    /// The answer is a stream: it goes on when its head was sent.
    pub(crate) fn streams(&self) {
        if let Some(notes) = &mut *self.notes() {
            notes.is_stream = true;
        }
    }

    /// The data plane is asked; gives what it shall note its steps in.
    pub(crate) fn asks(&self, service: &ServiceName, id: &RequestId) -> Arc<Steps> {
        let steps = Steps::begin();
        if let Some(notes) = &mut *self.notes() {
            let asked =
                Asked { service: service.clone(), id: id.clone(), steps: steps.clone(), answered: None };
            match notes.asked.len() < MESSAGES {
                true => notes.asked.push(asked),
                false => notes.left_out += 1,
            }
        }
        steps
    }

    /// The data plane has answered what it was last asked.
    pub(crate) fn told(&self, steps: &Arc<Steps>, answer: &Result<tenon_contract::Response, Fault>) {
        let answer = match answer {
            Ok(answer) => Ok((answer.identity.clone(), answer.generation)),
            Err(fault) => Err(fault.clone()),
        };
        if let Some(notes) = &mut *self.notes()
            && let Some(asked) = notes.asked.last_mut().filter(|asked| Arc::ptr_eq(&asked.steps, steps))
        {
            asked.answered = Some((Instant::now(), answer));
        }
    }

    /// The stream ended by a fault.
    pub(crate) fn broke(&self, fault: &Fault) {
        if let Some(answered) = self.notes().as_mut().and_then(|notes| notes.answered.as_mut()) {
            answered.code = Some(status::code(fault.kind) as u16);
            answered.fault = Some(fault.clone());
        }
    }

    /// The answer is about to be sent.
    pub(super) fn answered(&self, response: &Response) {
        if let Some(notes) = &mut *self.notes() {
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            notes.ended = Instant::now();
            notes.answered = Some(Answered {
                status: response.status().as_u16(),
                code: header(status::GRPC_STATUS).and_then(|code| code.parse().ok()),
                id: header(ids::REQUEST_ID).map(str::to_owned),
                fault: response.extensions().get::<Failed>().map(|failed| failed.0.clone()),
            });
        }
    }

    fn notes(&self) -> MutexGuard<'_, Option<Notes>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(mut notes) = self.notes().take() {
            if notes.is_stream || notes.answered.is_none() {
                notes.ended = Instant::now();
            }
            self.sink.take(Box::new(notes));
        }
    }
}
