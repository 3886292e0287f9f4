//! What people and probes see of a node.

use tenon_contract::admin::ServiceView;
use tenon_contract::receipt::RevisionRef;
use tenon_contract::{Fault, Memory, Revision, ServiceName};

use crate::node::Node;
use crate::state::{Placed, ServiceState};
use crate::traffic::Snapshot;

impl Node {
    /// Whether every wanted service answers. A load in the background changes nothing here.
    pub fn is_ready(&self) -> bool {
        self.inner().state().services.values().all(|state| !state.wanted || state.live.is_some())
    }

    /// Whether one service answers.
    pub fn is_service_ready(&self, service: &ServiceName) -> bool {
        self.pin().slot(service).is_some_and(|slot| !slot.engine().pool.is_unhealthy())
    }

    /// Every wanted service.
    pub fn services(&self) -> Vec<ServiceName> {
        let state = self.inner().state();
        state.services.iter().filter(|(_, state)| state.wanted).map(|(name, _)| name.clone()).collect()
    }

    /// The revision that answers.
    pub fn live(&self, service: &ServiceName) -> Option<std::sync::Arc<Revision>> {
        self.pin().slot(service).map(|slot| slot.revision().clone())
    }

    /// Every revision that answers.
    pub fn served(&self) -> Vec<std::sync::Arc<Revision>> {
        let generation = self.pin();
        let mut served: Vec<_> = generation.slots.values().map(|slot| slot.revision().clone()).collect();
        served.sort_by(|one, other| one.service.cmp(&other.service));
        served
    }

    /// The highest revision number that this node's journal names.
    pub fn highest_revision(&self) -> u64 {
        self.inner().state().services.values().map(|state| state.highest).max().unwrap_or(0)
    }

    /// A service as it stands.
    ///
    /// # Errors
    /// There is none, or it is wanted and could not be brought up; the fault says why.
    pub fn service(&self, service: &ServiceName) -> Result<ServiceView, Fault> {
        let state = self.inner().state();
        let none = || Fault::not_found(format!("no service `{service}` is served here"));
        let seen = state.services.get(service).filter(|state| state.wanted).ok_or_else(none)?;
        let Some(live) = &seen.live else {
            let unknown = || Fault::unavailable(format!("service `{service}` is being brought up"));
            return Err(seen.fault.clone().unwrap_or_else(unknown));
        };
        let version = live.revision.version();
        let counters = &seen.counters;
        Ok(ServiceView {
            service: service.clone(),
            revision: live.revision.number,
            version: version.id.clone(),
            digest: version.digest,
            format: version.format.clone(),
            generation: self.pin().number(),
            ready: !live.engine.pool.is_unhealthy(),
            fault: live
                .engine
                .pool
                .is_unhealthy()
                .then(|| Fault::unavailable("the model broke several times in a row")),
            contract: live.revision.contract.clone(),
            settings: live.revision.settings.clone(),
            memory: memory(seen),
            undo: seen.warm.as_ref().map(|warm| RevisionRef::to(&warm.placed.revision)),
            traffic: counters.snapshot().since(&Snapshot::default()),
            in_flight: counters.in_flight.load(std::sync::atomic::Ordering::SeqCst),
            head: self.journal().head(service),
        })
    }
}

fn memory(state: &ServiceState) -> Memory {
    let held = |placed: &Placed| placed.engine.memory().clone();
    let warm = state.warm.as_ref().map(|warm| held(&warm.placed)).unwrap_or_default();
    state.live.as_ref().map(held).unwrap_or_default().plus(&warm)
}
