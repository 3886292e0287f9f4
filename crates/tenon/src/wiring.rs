//! The wiring: every part of a server, and what it is given. Read [`House::build`] as a list.

mod data_folder;
mod late_catalog;
mod local_node;
mod repository_folder;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tenon_api::{Access, ApiParts, Control, LogSwitch, TlsFiles, Tracing};
use tenon_catalog::{Catalog, SqliteOptions};
use tenon_codec::native::picture::Detection;
use tenon_contract::admin::RuntimeView;
use tenon_contract::observed::Observer;
use tenon_contract::trace::TraceSink;
use tenon_contract::{Fault, Memory, ServiceName};
use tenon_control::repository::{Repository, RepositoryParts};
use tenon_control::{Clock, JobLimits, Jobs, Onboarding, Promotion, SystemClock};
use tenon_runtime::{Bundle, BundleLimits};
use tenon_serving::{Node, NodeOptions};
use tenon_store::{Options, Store};
use tenon_vision::draw::{self, Mark};
use tokio::runtime::Handle;

use crate::child::{ChildProver, processor};
use crate::config::Config;
use crate::runtimes::{self, Started};

pub use data_folder::{ADMIN_TOKEN, DataFolder, read_token};
use late_catalog::LateCatalog;
use local_node::LocalNode;
use repository_folder::RepositoryFolder;

/// This very program, also when its file was replaced meanwhile.
pub const PROGRAM: &str = "/proc/self/exe";

/// The catalog's file in the data folder.
pub const CATALOG: &str = "catalog.sqlite";

/// The node's folder in the data folder: journal, key, receipts.
pub const NODE: &str = "node";

/// What was made of a model repository, in the node's folder: it is lost with what the node serves.
const REPOSITORY_MEMORY: &str = "repository.json";

/// How long files of a repository that is not polled must have been left alone.
const SETTLE: Duration = Duration::from_secs(2);

/// Most pixels of a picture that is painted on, whatever more a model takes.
const MOST_PAINTED_PIXELS: u64 = 50_000_000;

/// How long a server that is ending lets requests under way go on.
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(30);

/// Who may do what: the tokens, read.
pub struct Tokens {
    /// For the scope admin.
    pub admin: String,
    /// For the scope infer; none lets everybody infer.
    pub infer: Option<String>,
}

/// A server, wired and not yet serving. Clones are the same one.
#[derive(Clone)]
pub struct House {
    /// The data plane.
    pub node: Node,
    /// The control plane.
    pub control: Control,
    /// The record.
    pub catalog: Arc<dyn Catalog>,
    /// The bytes.
    pub store: Store,
    config: Config,
    tokens: Arc<Tokens>,
    views: Vec<RuntimeView>,
    starting: Arc<AtomicBool>,
    log: Arc<dyn LogSwitch>,
    told: Told,
}

/// Where a server tells of what it does, beside its log.
#[derive(Clone, Default)]
pub struct Told {
    /// Traces.
    pub traces: Option<Arc<dyn TraceSink>>,
    /// A sample of requests, and feedback.
    pub observer: Option<Arc<dyn Observer>>,
}

impl House {
    /// Wires a server together, inside the async runtime that it will live in. It serves nothing yet.
    ///
    /// # Errors
    /// Store or journal cannot be opened, or the system gives no threads.
    pub fn build(
        config: Config,
        folder: &DataFolder,
        started: Started,
        tokens: Tokens,
        log: Arc<dyn LogSwitch>,
        told: Told,
    ) -> Result<Self, Fault> {
        let Started { runtimes, views, onnxruntime } = started;
        let (node_hook, job_hook) = match config.fault.clone() {
            Some(planned) => planned.arm(),
            None => (tenon_serving::faults::none(), Arc::new(|_: &str| Ok(())) as tenon_control::StepHook),
        };
        let store = Store::open(Options {
            artifact_bytes: config.limits.artifact_bytes,
            ..Options::files(folder.path().join("store"))
        })?;
        let node_options = NodeOptions {
            cores: cores(&config),
            in_flight: config.limits.in_flight.into(),
            memory: config.limits.model_memory_bytes.map(Memory::cpu).unwrap_or_default(),
            processor: processor(),
            examples: runtimes::examples,
            hook: node_hook,
            observer: told.observer.clone(),
            traces: told.traces.clone(),
            ..NodeOptions::new(&config.node, folder.path().join(NODE))
        };
        let node = Node::open(node_options, runtimes.clone(), store.clone(), Handle::current())?;
        let catalog = Arc::new(LateCatalog::new(SqliteOptions::at(folder.path().join(CATALOG))));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let prover = Arc::new(ChildProver {
            program: PROGRAM.into(),
            store: store.clone(),
            runtimes,
            onnxruntime,
            limits: config.prover.clone(),
        });
        let job_limits =
            JobLimits { running: config.limits.jobs as usize, waiting: config.limits.waiting_jobs as usize };
        let kinds = vec![Onboarding::WORK];
        let jobs = Jobs::with_hook(catalog.clone(), clock.clone(), job_limits, kinds, job_hook);
        let onboarding = Onboarding::new(catalog.clone(), store.clone(), prover, clock.clone(), jobs.clone());
        let local = Arc::new(LocalNode { node: node.clone(), store: store.clone() });
        let promotion =
            Promotion::new(catalog.clone(), local.clone(), clock.clone(), config.services.clone());
        let repository = config.repository.as_ref().map(|wanted| {
            Repository::new(RepositoryParts {
                disk: Arc::new(RepositoryFolder {
                    root: wanted.folder.clone(),
                    memory: folder.path().join(NODE).join(REPOSITORY_MEMORY),
                    artifact_bytes: store.artifact_bytes(),
                }),
                catalog: catalog.clone(),
                store: store.clone(),
                onboarding: onboarding.clone(),
                jobs: jobs.clone(),
                promotion: promotion.clone(),
                node: local,
                clock,
                settle: wanted.poll.unwrap_or(SETTLE),
            })
        });
        let control = Control { onboarding, promotion, jobs, repository };
        let (tokens, starting) = (Arc::new(tokens), Arc::new(AtomicBool::new(true)));
        Ok(Self { node, control, catalog, store, config, tokens, views, starting, log, told })
    }

    /// What the wires are given.
    pub fn api(&self) -> ApiParts {
        let Config { listen, limits, allowed_hosts, tls, .. } = &self.config;
        let access = Access::new(&self.tokens.admin, listen.ip().is_loopback()).hosts(allowed_hosts.clone());
        let tls = tls
            .as_ref()
            .map(|files| TlsFiles { certificate: files.certificate.clone(), key: files.key.clone() });
        ApiParts {
            node: self.node.clone(),
            control: self.control.clone(),
            catalog: self.catalog.clone(),
            store: self.store.clone(),
            examples: examples_of_upload,
            paint,
            access: match &self.tokens.infer {
                Some(token) => access.infer_token(token),
                None => access,
            },
            limits: tenon_api::Limits {
                request_bytes: usize::try_from(limits.request_bytes).unwrap_or(usize::MAX),
                shutdown_drain: SHUTDOWN_DRAIN,
                ..tenon_api::Limits::default()
            },
            event_loops: cores(&self.config),
            tls,
            tenon: env!("CARGO_PKG_VERSION").to_owned(),
            runtimes: self.views.clone(),
            starting: self.starting.clone(),
            log: self.log.clone(),
            triton_names: self.config.triton_names,
            slow: self.config.log.slow,
            tracing: {
                let ratio = self.config.telemetry.ratio;
                self.told.traces.clone().map(|sink| Tracing { ratio, sink })
            },
        }
    }

    /// Brings back what was served, from this node's own disk and nothing else; gives what could not be.
    pub async fn restore(&self) -> Vec<(ServiceName, Fault)> {
        let node = self.node.clone();
        let restored = tokio::task::spawn_blocking(move || node.restore()).await;
        restored.unwrap_or_else(|error| {
            tracing::error!(%error, "bringing services back broke");
            Vec::new()
        })
    }

    /// Mends the catalog and takes up unfinished jobs.
    ///
    /// # Errors
    /// The catalog is not there; the node serves on.
    pub async fn take_up(&self) -> Result<(), Fault> {
        self.control.promotion.reconcile().await?;
        self.control.onboarding.resume().await
    }

    /// Serves the model repository, where there is one: looks at it once.
    pub async fn begin_repository(&self) {
        if let Some(repository) = &self.control.repository {
            repository.begin().await;
        }
    }

    /// Goes on looking at the model repository, for ever where it is polled.
    pub async fn watch_repository(&self) {
        let poll = self.config.repository.as_ref().and_then(|wanted| wanted.poll);
        if let (Some(repository), Some(poll)) = (&self.control.repository, poll) {
            repository.watch(poll).await;
        }
    }

    /// From now on the node is ready when all wanted services answer.
    pub fn started(&self) {
        self.starting.store(false, Ordering::Release);
    }

    /// The address for people.
    pub fn url(&self) -> String {
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.config.listen)
    }
}

/// Threads to compute on.
pub fn cores(config: &Config) -> usize {
    let given = config.limits.compute_threads.map(|count| count as usize);
    given.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Paints what was found in a picture onto it.
fn paint(picture: &[u8], found: &[Detection]) -> Result<Vec<u8>, Fault> {
    let mark = |found: &Detection| Mark {
        edges: found.edges,
        class: found.class,
        text: match found.label.as_str() {
            "" => format!("{} {:.2}", found.class, found.score),
            label => format!("{label} {:.2}", found.score),
        },
    };
    let marks: Vec<Mark> = found.iter().map(mark).collect();
    draw::annotate(picture, &marks, MOST_PAINTED_PIXELS)
}

/// The file of examples in an upload, where it has one.
fn examples_of_upload(upload: Bytes) -> Result<Option<Bytes>, Fault> {
    let bundle = Bundle::open(upload, BundleLimits::default())?;
    Ok(bundle.examples().cloned())
}
