//! A node: one process's share of the data plane.
//!
//! Requests read the current [`Generation`] and nothing else. Changes go through [`crate::change`], one at
//! a time for each service, on loader threads; an undo to a warm revision does not wait for those.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;
use tenon_contract::admin::{DryRun, SwapOrder, Swapped};
use tenon_contract::observed::Observer;
use tenon_contract::receipt::{Chain, Event, Retired, RevisionRef};
use tenon_contract::trace::TraceSink;
use tenon_contract::{Desired, Examples, Fault, Memory, Revision, ServiceName};
use tenon_runtime::{Bundle, Runtimes};
use tenon_store::Store;
use tokio::runtime::Handle;

use crate::admission::Admission;
use crate::cell::Cell;
use crate::change::{self, Why};
use crate::clock;
use crate::engine::EngineKey;
use crate::faults::{self, Hook};
use crate::figures::Unrouted;
use crate::generation::{Departure, Generation, Slot};
use crate::infer::Execution;
use crate::journal::Journal;
use crate::loader::Loaders;
use crate::numbers::Numbers;
use crate::plan::{Step, plan};
use crate::pool::Compute;
use crate::reaper::{self, Leaving};
use crate::state::State;

/// Reads the examples of a bundle, where it has some. Given by the binary, which knows their format.
pub type ReadExamples = fn(&Bundle) -> Result<Option<Examples>, Fault>;

/// How a node is set up.
#[derive(Clone)]
pub struct NodeOptions {
    /// Name of the node in receipts and acknowledgements.
    pub name: String,
    /// Folder of journal and key.
    pub folder: PathBuf,
    /// Cores to compute on: threads, and sessions of an engine where its service does not say.
    pub cores: usize,
    /// Calls expected to take at most this, microseconds, run where the request is.
    pub in_place_micros: u64,
    /// Most requests inside the node at once.
    pub in_flight: u64,
    /// Memory that models may hold; devices not named are free.
    pub memory: Memory,
    /// Architecture and features of the processor, part of every proof's key.
    pub processor: String,
    /// Reads examples.
    pub examples: ReadExamples,
    /// Called at the named moments of a change.
    pub hook: Hook,
    /// Who keeps a sample of what is asked and answered.
    pub observer: Option<Arc<dyn Observer>>,
    /// Where changes are traced.
    pub traces: Option<Arc<dyn TraceSink>>,
}

impl NodeOptions {
    /// Defaults for a node whose journal lies in `folder`.
    pub fn new(name: &str, folder: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            in_place_micros: 200,
            in_flight: 4096,
            memory: Memory::default(),
            processor: std::env::consts::ARCH.to_owned(),
            examples: |_| Ok(None),
            hook: faults::none(),
            observer: None,
            traces: None,
        }
    }
}

/// A node. Clones are the same node.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) options: NodeOptions,
    pub(crate) cell: Cell<Generation>,
    pub(crate) journal: Journal,
    pub(crate) store: Store,
    pub(crate) runtimes: Runtimes,
    pub(crate) admission: Arc<Admission>,
    pub(crate) departures: Sender<Departure>,
    pub(crate) hook: Hook,
    pub(crate) handle: Handle,
    execution: Execution,
    loaders: Loaders,
    leaving: Sender<Leaving>,
    retiring: AtomicU64,
    in_flight: AtomicU64,
    unrouted: Unrouted,
    publishing: Mutex<()>,
    pub(crate) numbers: Numbers,
    state: Mutex<State>,
    started: Instant,
}

impl Node {
    /// Opens the journal and starts the node's threads; serves nothing yet: see [`Node::restore`].
    ///
    /// # Errors
    /// The journal cannot be opened, or the system gives no threads.
    pub fn open(
        options: NodeOptions,
        runtimes: Runtimes,
        store: Store,
        handle: Handle,
    ) -> Result<Self, Fault> {
        let (journal, chains) = Journal::open(&options.folder, &options.name)?;
        let failed = |error: std::io::Error| Fault::internal(format!("start a thread: {error}"));
        // Their senders are few and their items bounded: slots and revisions in memory.
        #[allow(clippy::disallowed_methods)]
        let ((departures, departed), (leaving, left)) =
            (crossbeam_channel::unbounded(), crossbeam_channel::unbounded());
        let journalled = chains.values().map(Chain::generation).max().unwrap_or(0);
        let (numbers, generation) = Numbers::open(&options.folder, journalled)?;
        let execution = Execution {
            compute: Compute::start(options.cores).map_err(failed)?,
            in_place_micros: options.in_place_micros,
            observer: options.observer.clone(),
        };
        let inner = Arc::new(Inner {
            cell: Cell::new(Arc::new(Generation { number: generation, ..Generation::default() })),
            admission: Admission::new(options.memory.clone()),
            hook: options.hook.clone(),
            loaders: Loaders::start().map_err(failed)?,
            retiring: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            unrouted: Unrouted::default(),
            publishing: Mutex::new(()),
            numbers,
            state: Mutex::default(),
            started: clock::now(),
            execution,
            options,
            journal,
            store,
            runtimes,
            departures,
            handle,
            leaving,
        });
        inner.take_up(&chains)?;
        let weak = Arc::downgrade(&inner);
        let reaper = std::thread::Builder::new().name("reaper".to_owned());
        reaper.spawn(move || reaper::run(&weak, &departed, &left)).map_err(failed)?;
        Ok(Self(inner))
    }

    /// Brings back what the journal says was served, from this node's own disk; gives the services
    /// that could not be brought back. They stay wanted, so the node is not ready without them.
    /// Blocks: not for a thread of the async runtime.
    pub fn restore(&self) -> Vec<(ServiceName, Fault)> {
        let wanted: Vec<_> = self
            .0
            .state()
            .services
            .iter()
            .filter(|(_, state)| state.wanted)
            .map(|(name, _)| name.clone())
            .collect();
        let begun: Vec<_> = wanted
            .into_iter()
            .map(|service| {
                let (inner, name) = (self.0.clone(), service.clone());
                (service, self.0.loaders.run(move || inner.restore_one(&name)))
            })
            .collect();
        let mut failed = Vec::new();
        for (service, result) in begun {
            let gone = || Fault::internal("the loader thread is gone");
            let result = result.and_then(|result| result.blocking_recv().unwrap_or_else(|_| Err(gone())));
            if let Err(fault) = result {
                tracing::error!(%service, error = %fault, "service could not be brought back");
                self.0.state().service(&service).fault = Some(fault.clone());
                failed.push((service, fault));
            }
        }
        failed
    }

    /// The current generation, pinned: it does not change under the caller.
    pub fn pin(&self) -> Arc<Generation> {
        self.0.cell.load()
    }

    /// Exchanges what a service serves, or takes it away. Returns when every request sent from then on is
    /// answered by the new revision and the receipt is on the disk.
    ///
    /// # Errors
    /// Refused or failed; what is live is as it was.
    pub async fn swap(&self, order: SwapOrder) -> Result<Swapped, Fault> {
        let inner = self.0.clone();
        let result = self.0.loaders.run(move || {
            let service = order.service.clone();
            let target = order.to.clone().map(Arc::new);
            change::apply(&inner, &service, target, Why::Swap(Box::new(order)))
        })?;
        result.await.unwrap_or_else(|_| Err(Fault::internal("the loader thread is gone")))
    }

    /// Puts a service back to its previous revision: at once where that is warm, else by loading it.
    /// Needs the multi-threaded runtime of tokio.
    ///
    /// # Errors
    /// There is none, or it cannot be loaded; what is live is as it was.
    pub async fn undo(
        &self,
        service: ServiceName,
        actor: String,
        reason: Option<String>,
    ) -> Result<Swapped, Fault> {
        let arrived = clock::now();
        let warm = self.0.warm_revision(&service);
        let inner = self.0.clone();
        let is_warm = warm.is_some();
        let work = move || {
            let target = warm.map_or_else(|| inner.previous_revision(&service).map(Arc::new), Ok)?;
            change::apply(&inner, &service, Some(target), Why::Undo { actor, reason, arrived })
        };
        if is_warm {
            // Here and now: waking another thread would take longer than the exchange itself.
            tokio::task::block_in_place(work)
        } else {
            let gone = || Err(Fault::internal("the loader thread is gone"));
            self.0.loaders.run(work)?.await.unwrap_or_else(|_| gone())
        }
    }

    /// Says what a swap would do, and why it would be refused.
    pub fn dry_run(&self, order: &SwapOrder) -> Result<DryRun, Fault> {
        let revision = order.to.as_ref().ok_or_else(|| Fault::invalid("a dry run needs a version"))?;
        let version = revision.version();
        let (live, observed, loaded) = {
            let mut state = self.0.state();
            let key = EngineKey::new(version.digest, &revision.settings, self.0.options.cores);
            let loaded = state.engine(&key).is_some();
            let live = state.services.get(&order.service).and_then(|state| state.live.clone());
            (live, state.observed(&order.service), loaded)
        };
        let check = change::check(live.as_ref().map(|live| &*live.revision), revision);
        let key = EngineKey::new(version.digest, &revision.settings, self.0.options.cores);
        let needs = if loaded { Memory::default() } else { key.memory(version) };
        let mut refusals = Vec::new();
        if check.is_breaking() && !order.breaking {
            refusals.push(format!("contract: {check}"));
        }
        let admission = &self.0.admission;
        let free = admission.limit().clone().minus(&admission.held());
        if !admission.fits(&needs) {
            refusals
                .push(format!("memory: needs {needs}, free are {free}; warm revisions would leave first"));
        }
        if let Err(error) = self.0.store.open_local(&version.digest) {
            refusals.push(format!("bytes: {error}"));
        }
        let desired = Desired { services: [(order.service.clone(), revision.clone())].into() };
        Ok(DryRun {
            service: order.service.clone(),
            from: live.map(|live| RevisionRef::to(&live.revision)),
            version: version.id.clone(),
            check,
            proof: version.proof.kind,
            needs,
            free,
            steps: plan(&desired, &observed).iter().map(Step::to_string).collect(),
            refusals,
        })
    }

    /// The journal of the node's receipts.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// The node's options.
    pub fn options(&self) -> &NodeOptions {
        &self.0.options
    }

    /// The node's runtimes.
    pub fn runtimes(&self) -> &Runtimes {
        &self.0.runtimes
    }

    /// Memory admitted for models, and its limit.
    pub fn memory(&self) -> (Memory, Memory) {
        (self.0.admission.held(), self.0.admission.limit().clone())
    }

    /// Seconds since the node was opened.
    pub fn uptime_s(&self) -> u64 {
        clock::micros_since(self.0.started) / 1_000_000
    }

    /// Requests inside the node now.
    pub fn in_flight(&self) -> u64 {
        self.0.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn execution(&self) -> &Execution {
        &self.0.execution
    }

    /// A place inside the node for one request.
    pub(crate) fn admit(&self) -> Result<Place<'_>, Fault> {
        let limit = self.0.options.in_flight;
        let place = Place(&self.0.in_flight);
        if place.0.fetch_add(1, Ordering::SeqCst) >= limit {
            self.0.unrouted.was_full();
            return Err(Fault::overloaded(format!(
                "node has its limit of {limit} requests in flight; try again later"
            )));
        }
        Ok(place)
    }
}

/// One request's place inside the node.
pub(crate) struct Place<'a>(&'a AtomicU64);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that came to no service.
    pub(crate) fn unrouted(&self) -> &Unrouted {
        &self.unrouted
    }

    /// Publishes the next generation; gives its number and the slot that it replaced.
    pub(crate) fn exchange(
        &self,
        service: &ServiceName,
        slot: Option<Arc<Slot>>,
    ) -> (u64, Option<Arc<Slot>>) {
        let turn = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.cell.load().with(service, slot);
        let number = next.number;
        self.numbers.cover(number);
        let old = self.cell.swap(Arc::new(next));
        drop(turn);
        (number, old.slots.get(service).cloned())
    }

    /// Hands a revision to the reaper.
    pub(crate) fn leave(&self, leaving: Leaving) {
        self.retiring.fetch_add(1, Ordering::SeqCst);
        if self.leaving.send(leaving).is_err() {
            self.retiring.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The reaper has given a revision's memory back.
    pub(crate) fn left(&self) {
        self.retiring.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether memory is about to come back.
    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::SeqCst) > 0
    }

    /// Lets every warm revision go.
    pub(crate) fn let_warm_go(&self, cause: &'static str) {
        let warm: Vec<_> = {
            let mut state = self.state();
            let take = |(service, state): (&ServiceName, &mut crate::state::ServiceState)| {
                state.warm.take().map(|warm| (service.clone(), warm.placed))
            };
            state.services.iter_mut().filter_map(take).collect()
        };
        for (service, placed) in warm {
            self.leave(Leaving { service, placed, cause });
        }
    }

    /// Whether a service lives on this engine or keeps it warm.
    pub(crate) fn is_held_elsewhere(&self, engine: &Arc<crate::engine::Engine>) -> bool {
        self.state().services.values().any(|state| {
            let placed = [state.live.as_ref(), state.warm.as_ref().map(|warm| &warm.placed)];
            placed.into_iter().flatten().any(|placed| Arc::ptr_eq(&placed.engine, engine))
        })
    }

    /// Takes up where the chains of the former run end.
    fn take_up(&self, chains: &std::collections::BTreeMap<ServiceName, Chain>) -> Result<(), Fault> {
        for (service, chain) in chains {
            {
                let mut state = self.state();
                let state = state.service(service);
                state.wanted = chain.serves().is_some();
                state.swaps = chain.last_swap();
                state.highest = chain.highest_revision();
            }
            if let Some(swap) = chain.unfinished() {
                let reason = "the node stopped before it was published".to_owned();
                self.journal.append(service, Event::Abandoned { swap, reason })?;
            }
            if let Some(previous) = chain.previous().filter(|previous| !is_retired(chain, previous)) {
                let retired = Retired {
                    revision: previous.number,
                    memory: Memory::default(),
                    cause: "node stopped".to_owned(),
                    undo_costs: format!("loading {} again", previous.version),
                };
                self.journal.append(service, Event::Retired(retired))?;
            }
        }
        Ok(())
    }

    fn restore_one(&self, service: &ServiceName) -> Result<(), Fault> {
        let chain = self.chain(service)?;
        let Some(reference) = chain.serves() else { return Ok(()) };
        let revision = self.document(reference)?;
        change::apply(self, service, Some(Arc::new(revision)), Why::Restore).map(drop)
    }

    fn warm_revision(&self, service: &ServiceName) -> Option<Arc<Revision>> {
        let state = self.state();
        Some(state.services.get(service)?.warm.as_ref()?.placed.revision.clone())
    }

    fn previous_revision(&self, service: &ServiceName) -> Result<Revision, Fault> {
        let chain = self.chain(service)?;
        if chain.serves().is_none() {
            return Err(Fault::conflict(format!("service `{service}` is not served; deploy it instead")));
        }
        let nothing =
            || Fault::conflict(format!("service `{service}` has no previous revision to go back to"));
        self.document(chain.previous().ok_or_else(nothing)?)
    }

    fn chain(&self, service: &ServiceName) -> Result<Chain, Fault> {
        let text = self.journal.text(service)?;
        Chain::read(&text, None)
            .map_err(|error| Fault::internal(format!("read receipts of {service}: {error}")))
    }

    fn document(&self, reference: &RevisionRef) -> Result<Revision, Fault> {
        let bytes = self.store.read_blocking(&reference.document)?;
        Revision::read(&bytes)
            .map_err(|error| Fault::internal(format!("revision {}: {error}", reference.number)))
    }
}

/// Whether the last that the chain says of a revision is that it left memory.
fn is_retired(chain: &Chain, reference: &RevisionRef) -> bool {
    let of = |event: &Event| match event {
        Event::Retired(retired) if retired.revision == reference.number => Some(true),
        Event::Published(published) if published.to.as_ref() == Some(reference) => Some(false),
        Event::Undone(undone) if undone.to == *reference || undone.from == *reference => Some(false),
        _ => None,
    };
    chain.entries.iter().rev().find_map(|(entry, _)| of(&entry.event)).unwrap_or(true)
}
