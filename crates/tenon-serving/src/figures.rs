//! All that a node measures, at one moment. Names, labels and text formats are the wires' affair.

use std::sync::atomic::Ordering;

use tenon_contract::{Digest, FaultKind, Memory, ServiceName, VersionId};

use crate::node::Node;
use crate::state::{Departing, ServiceState};
use crate::statistics::{Known, VersionStatistics};
use crate::tally::Tally;

/// The figures of a node.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The generation that new requests see.
    pub generation: u64,
    /// Whether every wanted service answers.
    pub ready: bool,
    /// Requests inside the node now.
    pub in_flight: u64,
    /// Requests that were refused because the node was full.
    pub node_full: u64,
    /// Requests for a service or version that is not served.
    pub not_found: u64,
    /// Memory admitted for models.
    pub memory: Memory,
    /// Its limit; devices not named are free.
    pub memory_limit: Memory,
    /// Services that are wanted, or were since the start.
    pub services: Vec<ServiceFigures>,
}

/// The figures of one service.
#[derive(Clone, Debug)]
pub struct ServiceFigures {
    /// Its name.
    pub service: ServiceName,
    /// Whether it should answer.
    pub wanted: bool,
    /// Whether it does.
    pub ready: bool,
    /// The revision that answers, with its version and artifact.
    pub live: Option<(u64, VersionId, Digest)>,
    /// Whether the previous revision is warm, so that an undo takes a millisecond.
    pub is_undo_warm: bool,
    /// Requests inside the node now.
    pub in_flight: u64,
    /// Its versions since the start.
    pub versions: Vec<VersionStatistics>,
    /// Requests that versions which answer no new ones still hold.
    pub retiring: Vec<(VersionId, u64)>,
    /// What its changes came to.
    pub tally: Tally,
}

impl Node {
    /// All that is measured.
    pub fn figures(&self) -> Figures {
        let known: Vec<_> = {
            let state = self.inner().state();
            let seen = state.services.iter().filter(|(_, state)| state.wanted || state.swaps > 0);
            seen.map(|(name, seen)| (of(name, seen, state.departing.values()), Known::of(seen))).collect()
        };
        let read = |(mut figures, known): (ServiceFigures, Vec<Known>)| {
            figures.versions = known.into_iter().map(|known| known.read(&figures.service)).collect();
            figures
        };
        let (memory, memory_limit) = self.memory();
        let unrouted = self.inner().unrouted();
        Figures {
            generation: self.pin().number(),
            ready: self.is_ready(),
            in_flight: self.in_flight(),
            node_full: unrouted.node_full.load(Ordering::Relaxed),
            not_found: unrouted.not_found.load(Ordering::Relaxed),
            memory,
            memory_limit,
            services: known.into_iter().map(read).collect(),
        }
    }
}

fn of<'a>(
    service: &ServiceName,
    state: &ServiceState,
    departing: impl Iterator<Item = &'a Departing>,
) -> ServiceFigures {
    let live = |placed: &crate::state::Placed| {
        let version = placed.revision.version();
        (placed.revision.number, version.id.clone(), version.digest)
    };
    let held = |departing: &Departing| {
        let slot = departing.slot.upgrade()?;
        (slot.identity.service == *service).then(|| (slot.identity.version.clone(), slot.in_flight()))
    };
    ServiceFigures {
        service: service.clone(),
        wanted: state.wanted,
        ready: state.live.as_ref().is_some_and(|live| !live.engine.pool.is_unhealthy()),
        live: state.live.as_ref().map(live),
        is_undo_warm: state.warm.is_some(),
        in_flight: state.counters.in_flight.load(Ordering::Relaxed),
        versions: Vec::new(),
        retiring: departing.filter_map(held).collect(),
        tally: state.tally.clone(),
    }
}

/// Requests that came to no service.
#[derive(Default)]
pub(crate) struct Unrouted {
    node_full: std::sync::atomic::AtomicU64,
    not_found: std::sync::atomic::AtomicU64,
}

impl Unrouted {
    /// Counts a request that was turned away before it had a place on a slot. A service that was full has counted it
    /// itself.
    pub(crate) fn turned_away(&self, kind: FaultKind) {
        if kind == FaultKind::NotFound {
            self.not_found.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request that the node had no place for.
    pub(crate) fn was_full(&self) {
        self.node_full.fetch_add(1, Ordering::Relaxed);
    }
}
