//! What a node knows of its services beside the generation: what is live, what is warm, what changes.
//!
//! Only changes look here, under one short lock; requests never do.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tenon_contract::{Fault, Observed, ObservedService, Revision, ServiceName};

use crate::engine::{Engine, EngineKey};
use crate::generation::Slot;
use crate::tally::Tally;
use crate::traffic::{Counters, Snapshot};
use crate::walked::TracePlace;

/// A revision with the engine behind it.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) revision: Arc<Revision>,
    pub(crate) engine: Arc<Engine>,
}

/// The previous revision, kept for an undo.
pub(crate) struct Warm {
    pub(crate) placed: Placed,
    pub(crate) until: Instant,
}

/// A slot that no longer answers and waits for its last request to end.
pub(crate) struct Departing {
    pub(crate) swap: u64,
    pub(crate) revision: u64,
    pub(crate) since: Instant,
    pub(crate) drain_ms: u64,
    pub(crate) traffic: Snapshot,
    /// The slot itself, which this does not hold: its last drop says that nobody does.
    pub(crate) slot: Weak<Slot>,
    /// Where the change stands that replaced it.
    pub(crate) place: Option<TracePlace>,
}

/// One service of a node.
#[derive(Default)]
pub(crate) struct ServiceState {
    pub(crate) live: Option<Placed>,
    pub(crate) warm: Option<Warm>,
    /// Whether it should answer: false before its first swap and after its removal.
    pub(crate) wanted: bool,
    /// Whether a change of it is under way.
    pub(crate) changing: bool,
    /// Why it does not answer although it should.
    pub(crate) fault: Option<Fault>,
    /// Number of its last swap.
    pub(crate) swaps: u64,
    /// The highest revision number that its chain names.
    pub(crate) highest: u64,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tally: Tally,
}

/// All services, and the engines in memory.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) services: BTreeMap<ServiceName, ServiceState>,
    pub(crate) departing: HashMap<u64, Departing>,
    engines: HashMap<EngineKey, Weak<Engine>>,
}

impl State {
    /// The service's state, made where it is not there yet.
    pub(crate) fn service(&mut self, service: &ServiceName) -> &mut ServiceState {
        self.services.entry(service.clone()).or_default()
    }

    /// An engine that is in memory already.
    pub(crate) fn engine(&mut self, key: &EngineKey) -> Option<Arc<Engine>> {
        self.engines.retain(|_, engine| engine.strong_count() > 0);
        self.engines.get(key).and_then(Weak::upgrade)
    }

    /// Remembers an engine, so that others can share it.
    pub(crate) fn remember(&mut self, engine: &Arc<Engine>) {
        self.engines.insert(engine.key().clone(), Arc::downgrade(engine));
    }

    /// What the planner sees of one service.
    pub(crate) fn observed(&self, service: &ServiceName) -> Observed {
        let number = |placed: &Placed| placed.revision.number;
        let see = |state: &ServiceState| ObservedService {
            live: state.live.as_ref().map(number),
            warm: state.warm.as_ref().map(|warm| number(&warm.placed)),
            loaded: [state.live.as_ref(), state.warm.as_ref().map(|warm| &warm.placed)]
                .into_iter()
                .flatten()
                .map(|placed| placed.engine.digest())
                .collect(),
        };
        let services = self.services.get(service).map(|state| (service.clone(), see(state)));
        Observed { generation: 0, services: services.into_iter().collect() }
    }

    /// Takes the warm revisions whose window has closed, and tells when the next one does.
    pub(crate) fn expired(&mut self, now: Instant) -> (Vec<(ServiceName, Placed)>, Option<Instant>) {
        let mut expired = Vec::new();
        for (service, state) in &mut self.services {
            if !state.changing
                && let Some(warm) = state.warm.take_if(|warm| warm.until <= now)
            {
                expired.push((service.clone(), warm.placed));
            }
        }
        let next =
            self.services.values().filter_map(|state| state.warm.as_ref()).map(|warm| warm.until).min();
        (expired, next)
    }
}
