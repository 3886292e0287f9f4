//! Generations: immutable, numbered snapshots of all that a node serves.
//!
//! A request pins one generation and routes in it; the lease it gets holds the slot, so that a slot's
//! last drop says exactly that no request is on it any more and no generation names it. That drop only
//! hands the engine to the reaper: nothing is freed on a serving thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use tenon_contract::{
    Dim, Fault, Identity, NamedTensor, Outputs, Revision, ServiceName, Signature, TensorSpec, TrackRole,
};

use crate::engine::{Engine, Proven};
use crate::statistics::Statistics;
use crate::traffic::{Counters, Reason};

/// All that a node serves at one moment.
#[derive(Default)]
pub struct Generation {
    pub(crate) number: u64,
    pub(crate) slots: HashMap<ServiceName, Arc<Slot>>,
}

impl Generation {
    /// Its number, growing with each change.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next generation, in which `service` is answered by `slot`, or not at all.
    pub(crate) fn with(&self, service: &ServiceName, slot: Option<Arc<Slot>>) -> Self {
        let mut slots = self.slots.clone();
        match slot {
            Some(slot) => slots.insert(service.clone(), slot),
            None => slots.remove(service),
        };
        Self { number: self.number + 1, slots }
    }

    /// The slot of a service.
    pub fn slot(&self, service: &ServiceName) -> Option<&Arc<Slot>> {
        self.slots.get(service)
    }

    /// Takes a place on the service's slot for one request.
    ///
    /// # Errors
    /// No such service or version, or the service is full.
    pub fn route(&self, service: &ServiceName, version: Option<u64>) -> Result<Lease, Fault> {
        let slot = self.slots.get(service);
        let slot = slot.ok_or_else(|| Fault::not_found(format!("no service `{service}` is served here")))?;
        let live = &slot.identity.version;
        if let Some(asked) = version.filter(|asked| *asked != live.number) {
            return Err(Fault::not_found(format!(
                "service `{service}` is answered by {live}; version {asked} is not live"
            )));
        }
        slot.enter(self.number)
    }
}

/// A revision of a service as requests see it.
pub struct Slot {
    id: u64,
    pub(crate) identity: Arc<Identity>,
    pub(crate) revision: Arc<Revision>,
    /// The model's signature, held to what the service promises.
    signature: Signature,
    /// Places of the promised outputs among the model's.
    promised: Vec<usize>,
    engine: Arc<Engine>,
    counters: Arc<Counters>,
    statistics: Arc<Statistics>,
    is_batched: bool,
    in_flight: AtomicU64,
    departures: Sender<Departure>,
}

/// The last request on a slot has ended and no generation names it.
pub struct Departure {
    /// Which slot.
    pub(crate) slot: u64,
    /// Of which service.
    pub(crate) service: ServiceName,
    /// Handed over, so that nothing is freed where the last request ended.
    pub(crate) engine: Arc<Engine>,
}

impl Slot {
    /// Puts a proven engine into the place of a revision.
    ///
    /// # Errors
    /// The revision's contract promises what the version does not have.
    pub(crate) fn new(
        revision: Arc<Revision>,
        proven: &Proven,
        counters: Arc<Counters>,
        departures: Sender<Departure>,
    ) -> Result<Self, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let version = revision.version();
        let identity = Arc::new(Identity {
            service: revision.service.clone(),
            revision: revision.number,
            version: version.id.clone(),
            digest: version.digest,
        });
        let (signature, promised) = hold_to_promise(&version.signature, &revision)?;
        let statistics = counters.versions().of(TrackRole::Primary, &version.id);
        if proven.load_micros > 0 {
            statistics.loaded(proven.load_micros);
        }
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            identity,
            signature,
            promised,
            statistics,
            is_batched: revision.version().signature.is_batched(),
            revision,
            engine: proven.engine.clone(),
            counters,
            in_flight: AtomicU64::new(0),
            departures,
        })
    }

    /// Distinguishes this slot from every other of the process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Requests on it now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// What answers.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What a request sees: inputs in the model's order, outputs as promised.
    pub fn promise(&self) -> Signature {
        let outputs = self.promised.iter().map(|at| self.signature.outputs[*at].clone()).collect();
        Signature { inputs: self.signature.inputs.clone(), outputs }
    }

    /// Statistics of its version.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Whether its version takes batches: every tensor begins with a free dimension.
    pub fn is_batched(&self) -> bool {
        self.is_batched
    }

    /// The revision it stands for.
    pub fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    fn enter(self: &Arc<Self>, generation: u64) -> Result<Lease, Fault> {
        let limit = u64::from(self.revision.settings.in_flight);
        if self.counters.in_flight.fetch_add(1, Ordering::SeqCst) >= limit {
            self.counters.in_flight.fetch_sub(1, Ordering::SeqCst);
            self.statistics.unanswered(Reason::ServiceFull, Duration::ZERO);
            return Err(Fault::overloaded(format!(
                "service `{}` has {limit} requests in flight, its limit; try again later",
                self.identity.service
            )));
        }
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Ok(Lease { slot: self.clone(), generation })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // When the reaper is gone the node is going down, and the engine with it.
        let service = self.identity.service.clone();
        let _ = self.departures.send(Departure { slot: self.id, service, engine: self.engine.clone() });
    }
}

/// The model's signature narrowed to the service's promise: what callers may send is what was promised,
/// and an output that the model leaves open is held to what was promised.
fn hold_to_promise(model: &Signature, revision: &Revision) -> Result<(Signature, Vec<usize>), Fault> {
    let Some(promise) = revision.contract.tensors() else {
        return Err(Fault::internal("the contract has no tensor view"));
    };
    let misfit = |what: &str, name: &str| {
        Fault::conflict(format!("{what} `{name}` of {} does not fit the contract", revision.version().id))
    };
    let inputs = model.inputs.iter().map(|spec| {
        let promised = promise.inputs.iter().find(|promised| promised.name == spec.name);
        promised.cloned().ok_or_else(|| misfit("input", &spec.name))
    });
    let mut outputs = model.outputs.clone();
    let mut places = Vec::with_capacity(promise.outputs.len());
    for promised in &promise.outputs {
        let at = model.outputs.iter().position(|spec| spec.name == promised.name);
        let at = at.ok_or_else(|| misfit("output", &promised.name))?;
        outputs[at] = narrowed(&model.outputs[at], promised);
        places.push(at);
    }
    Ok((Signature { inputs: inputs.collect::<Result<_, _>>()?, outputs }, places))
}

fn narrowed(model: &TensorSpec, promised: &TensorSpec) -> TensorSpec {
    let narrow =
        |(own, promised): (&Dim, &Dim)| if own.size().is_some() { own.clone() } else { promised.clone() };
    let shape = model.shape.iter().zip(&promised.shape).map(narrow).collect();
    TensorSpec { name: promised.name.clone(), datatype: promised.datatype, shape }
}

/// One request's place on a slot.
pub struct Lease {
    slot: Arc<Slot>,
    generation: u64,
}

impl Lease {
    /// The generation that the request was pinned to.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The slot.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.slot.engine
    }

    /// The slot for the thread that computes: held until the computation is over, also when the caller
    /// has gone.
    pub(crate) fn shared_slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }

    /// Puts the request's inputs into the model's order.
    ///
    /// # Errors
    /// They do not fit what the service promises.
    pub(crate) fn bind(&self, inputs: Vec<NamedTensor>) -> Result<tenon_contract::Inputs, Fault> {
        self.slot.signature.bind(inputs)
    }

    /// Checks what the model gave and keeps what was promised and asked for.
    ///
    /// # Errors
    /// The model broke the promise, or an output asked for is none.
    pub(crate) fn keep(
        &self,
        outputs: Vec<tenon_contract::Tensor>,
        asked: &[Arc<str>],
    ) -> Result<Vec<NamedTensor>, Fault> {
        let outputs: Outputs = self.slot.signature.check(outputs)?;
        let specs = &self.slot.signature.outputs;
        let named = |at: &usize| NamedTensor::new(specs[*at].name.clone(), outputs.tensors()[*at].clone());
        if asked.is_empty() {
            return Ok(self.slot.promised.iter().map(named).collect());
        }
        let find = |name: &Arc<str>| {
            let at = self.slot.promised.iter().find(|at| specs[**at].name == *name);
            at.map(named).ok_or_else(|| self.unknown_output(name))
        };
        asked.iter().map(find).collect()
    }

    /// Checks early that the outputs asked for exist.
    pub(crate) fn check_asked(&self, asked: &[Arc<str>]) -> Result<(), Fault> {
        let specs = &self.slot.signature.outputs;
        let exists = |name: &&Arc<str>| self.slot.promised.iter().any(|at| specs[*at].name == **name);
        asked.iter().find(|name| !exists(name)).map_or(Ok(()), |name| Err(self.unknown_output(name)))
    }

    fn unknown_output(&self, name: &str) -> Fault {
        let known: Vec<_> = self
            .slot
            .promised
            .iter()
            .map(|at| format!("`{}`", self.slot.signature.outputs[*at].name))
            .collect();
        let name: String = name.chars().take(80).collect();
        Fault::invalid(format!("unknown output `{name}`; the outputs are {}", known.join(", ")))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slot.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.slot.counters.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
