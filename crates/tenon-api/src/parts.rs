//! What the wires are given, and what every handler shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tenon_catalog::Catalog;
use tenon_codec::native::picture::Detection;
use tenon_contract::admin::RuntimeView;
use tenon_contract::{Fault, contract};
use tenon_control::repository::Repository;
use tenon_control::{Jobs, Onboarding, Promotion};
use tenon_serving::Node;
use tenon_store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::Access;
use crate::ids::Ids;
use crate::infer::feedback;
use crate::infer::pictures::PAINTED_AT_ONCE;
use crate::infer::trace::Traces;
use crate::lines::Lines;
use crate::metrics::triton::Processors;
use crate::spans::{Door, Tracing};
use crate::tls::TlsFiles;

/// Takes the file of examples out of an upload, where it has one. Given by the binary, because the wires
/// know nothing of bundles. It may block.
pub type ReadExamples = fn(Bytes) -> Result<Option<Bytes>, Fault>;

/// Paints detections onto an encoded picture and gives it as PNG. Given by the binary, because the wires know
/// nothing of pixels. It may block.
pub type Paint = fn(&[u8], &[Detection]) -> Result<Vec<u8>, Fault>;

/// Everything that [`crate::serve`] needs.
pub struct ApiParts {
    /// The data plane.
    pub node: Node,
    /// The control plane.
    pub control: Control,
    /// Models, versions and services that are wanted.
    pub catalog: Arc<dyn Catalog>,
    /// Bytes by digest.
    pub store: Store,
    /// Takes examples out of an upload.
    pub examples: ReadExamples,
    /// Paints detections.
    pub paint: Paint,
    /// Who may do what.
    pub access: Access,
    /// Named limits.
    pub limits: Limits,
    /// Threads that drive connections: as many as cores.
    pub event_loops: usize,
    /// Certificate and key; none is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Version of Tenon.
    pub tenon: String,
    /// The node's runtimes, with what keeps one from loading.
    pub runtimes: Vec<RuntimeView>,
    /// True while services are being brought back after a start. The node is not ready until it is false.
    pub starting: Arc<AtomicBool>,
    /// Changes what is logged.
    pub log: Arc<dyn LogSwitch>,
    /// Tells the metrics under the names of Triton too.
    pub triton_names: bool,
    /// Requests that take at least this long leave a line in the log; none: no request is slow.
    pub slow: Option<Duration>,
    /// Where the traces of requests go; none traces nothing.
    pub tracing: Option<Tracing>,
}

/// What the log holds, to be read and changed while the server runs. Given by the binary, which owns the log.
pub trait LogSwitch: Send + Sync {
    /// What it holds now.
    fn lines(&self) -> LogLines;

    /// Lets it hold something else from now on.
    ///
    /// # Errors
    /// The log cannot be changed.
    fn set(&self, lines: LogLines) -> Result<(), Fault>;
}

/// Kinds of lines that a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLines {
    /// What happens.
    pub info: bool,
    /// What should not happen and does no harm.
    pub warning: bool,
    /// What goes wrong.
    pub error: bool,
    /// Above 0, also each request.
    pub verbose: u32,
}

/// The control plane.
#[derive(Clone)]
pub struct Control {
    /// Makes versions of uploads.
    pub onboarding: Onboarding,
    /// Changes what services serve.
    pub promotion: Promotion,
    /// Long work.
    pub jobs: Jobs,
    /// A folder of models that is served as it is.
    pub repository: Option<Repository>,
}

/// The named limits of the wires.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body, also after decompression. Uploads have the store's own limit.
    pub request_bytes: usize,
    /// Bytes of a body under `/api/v1` that is JSON.
    pub document_bytes: usize,
    /// Bytes of bodies that came in more than one piece, over all requests under way.
    pub buffered_bytes: usize,
    /// Bytes of all headers of a request.
    pub header_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Connections at once; one more is answered 503 and closed.
    pub connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// How long the headers of a request may take, and how long a connection may be idle between two.
    pub header_timeout: Duration,
    /// How long a body that is collected may take, and how long an upload may pause.
    pub body_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long new connections are still taken after readiness has failed, for balancers to notice.
    pub shutdown_notice: Duration,
    /// How long requests under way may take to end after that.
    pub shutdown_drain: Duration,
    /// What one message may hold.
    pub codec: tenon_codec::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 64 << 20,
            document_bytes: 1 << 20,
            buffered_bytes: 1 << 30,
            header_bytes: 256 << 10,
            headers: 100,
            connections: 4096,
            streams: 256,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            shutdown_notice: Duration::ZERO,
            shutdown_drain: Duration::from_secs(30),
            codec: tenon_codec::Limits::default(),
        }
    }
}

/// What every handler shares.
pub(crate) struct Api {
    pub(crate) node: Node,
    pub(crate) control: Control,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) store: Store,
    pub(crate) examples: ReadExamples,
    pub(crate) access: Access,
    pub(crate) paint: Paint,
    pub(crate) painters: Semaphore,
    pub(crate) limits: Limits,
    pub(crate) tenon: String,
    pub(crate) runtimes: Vec<RuntimeView>,
    pub(crate) ids: Ids,
    /// `infer`, shared by all requests for raw tensors.
    pub(crate) infer: Arc<str>,
    /// Set when the server is to end: readiness fails, and streams without an end of their own stop.
    pub(crate) stopping: CancellationToken,
    pub(crate) buffers: crate::body::Buffers,
    pub(crate) traces: Traces,
    pub(crate) log: Arc<dyn LogSwitch>,
    /// Present where metrics have the names of Triton too.
    pub(crate) triton: Option<Processors>,
    pub(crate) lines: Lines,
    pub(crate) spans: Option<Door>,
    pub(crate) feedback: feedback::Counted,
    pub(crate) is_tls: bool,
    starting: Arc<AtomicBool>,
}

/// The state of the router.
pub(crate) type Shared = Arc<Api>;

impl Api {
    pub(crate) fn new(parts: ApiParts) -> Self {
        let buffers = crate::body::Buffers::new(&parts.limits);
        Self {
            node: parts.node,
            control: parts.control,
            catalog: parts.catalog,
            store: parts.store,
            examples: parts.examples,
            paint: parts.paint,
            painters: Semaphore::new(PAINTED_AT_ONCE),
            access: parts.access,
            limits: parts.limits,
            tenon: parts.tenon,
            runtimes: parts.runtimes,
            ids: Ids::new(),
            infer: contract::INFER.into(),
            stopping: CancellationToken::new(),
            buffers,
            traces: Traces::default(),
            log: parts.log,
            triton: parts.triton_names.then(Processors::default),
            lines: Lines::new(parts.slow),
            spans: parts.tracing.map(Door::new),
            feedback: feedback::Counted::default(),
            is_tls: parts.tls.is_some(),
            starting: parts.starting,
        }
    }

    /// Whether services are still being brought back after the start.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Acquire)
    }

    /// Whether all wanted services answer and will go on doing so.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_starting() && !self.stopping.is_cancelled() && self.node.is_ready()
    }
}
