//! The thread that gives memory back, at low priority and away from every request.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::Receiver;
use tenon_contract::receipt::{Drained, Event, Retired};
use tenon_contract::{Memory, ServiceName};

use crate::clock;
use crate::engine::Engine;
use crate::faults::Moment;
use crate::generation::Departure;
use crate::node::Inner;
use crate::state::Placed;
use crate::walked;

/// How often the reaper looks at undo windows and drain deadlines at the least.
const LOOK: Duration = Duration::from_millis(200);

/// A revision that shall leave memory.
pub(crate) struct Leaving {
    pub(crate) service: ServiceName,
    pub(crate) placed: Placed,
    pub(crate) cause: &'static str,
}

/// Runs until the node is gone.
pub(crate) fn run(node: &Weak<Inner>, departures: &Receiver<Departure>, leaving: &Receiver<Leaving>) {
    crate::loader::lower_priority();
    let mut pending: Vec<Leaving> = Vec::new();
    loop {
        crossbeam_channel::select! {
            recv(departures) -> departure => {
                let Ok(departure) = departure else { return };
                let Some(node) = node.upgrade() else { return };
                drained(&node, departure);
            }
            recv(leaving) -> leaving => {
                let Ok(leaving) = leaving else { return };
                pending.push(leaving);
            }
            default(LOOK) => {}
        }
        let Some(node) = node.upgrade() else { return };
        let (expired, _) = node.state().expired(clock::now());
        let window = |(service, placed)| Leaving { service, placed, cause: "undo window closed" };
        for leaving in expired.into_iter().map(window) {
            node.leave(leaving);
        }
        warn_of_late_drains(&node);
        pending = pending.into_iter().filter_map(|leaving| retire(&node, leaving)).collect();
    }
}

/// Journals the end of a drain. The engine's count that came with it is let go here.
fn drained(node: &Inner, departure: Departure) {
    let Departure { slot, service, engine } = departure;
    drop(engine);
    let (departing, counters) = {
        let mut state = node.state();
        let Some(departing) = state.departing.remove(&slot) else { return };
        let took = clock::since(departing.since);
        let state = state.service(&service);
        state.tally.drained(took.as_millis() <= departing.drain_ms.into(), took);
        (departing, state.counters.clone())
    };
    let drain_micros = clock::micros_since(departing.since);
    let traces = &node.options.traces;
    walked::drained(traces, departing.place, departing.since, &service, departing.revision);
    let event = Event::Drained(Drained {
        swap: departing.swap,
        revision: departing.revision,
        drain_micros,
        late: drain_micros / 1000 > departing.drain_ms,
        during_drain: counters.snapshot().since(&departing.traffic),
    });
    let journalled = (node.hook)(Moment::Drained).and_then(|()| node.journal.append(&service, event));
    if let Err(fault) = journalled {
        tracing::error!(%service, error = %fault, "drained, but not journalled");
    }
}

/// Drops an engine that nobody else holds; one that still drains comes back.
fn retire(node: &Inner, leaving: Leaving) -> Option<Leaving> {
    let drains = |engine: &Arc<Engine>| Arc::strong_count(engine) > 1;
    let shared = drains(&leaving.placed.engine) && node.is_held_elsewhere(&leaving.placed.engine);
    if drains(&leaving.placed.engine) && !shared {
        return Some(leaving);
    }
    if let Err(fault) = (node.hook)(Moment::Retire) {
        tracing::error!(service = %leaving.service, error = %fault, "retire later");
        return Some(leaving);
    }
    let Leaving { service, placed: Placed { revision, engine }, cause } = leaving;
    let memory = if shared { Memory::default() } else { engine.memory().clone() };
    drop(engine);
    node.state().service(&service).tally.retired(cause, &memory);
    node.left();
    let event = Event::Retired(Retired {
        revision: revision.number,
        memory,
        cause: cause.to_owned(),
        undo_costs: format!("loading {} again, about {} ms", revision.version().id, load_ms(&revision)),
    });
    let journalled = (node.hook)(Moment::Retired).and_then(|()| node.journal.append(&service, event));
    if let Err(fault) = journalled {
        tracing::error!(%service, error = %fault, "retired, but not journalled");
    }
    None
}

fn load_ms(revision: &tenon_contract::Revision) -> u64 {
    revision.version().proof.load_micros.div_ceil(1000)
}

fn warn_of_late_drains(node: &Inner) {
    for departing in node.state().departing.values() {
        let waited = clock::micros_since(departing.since) / 1000;
        let look = LOOK.as_millis() as u64;
        // Once, in the look after the deadline.
        if waited > departing.drain_ms && waited <= departing.drain_ms + look {
            tracing::warn!(revision = departing.revision, waited, "drain takes longer than its deadline");
        }
    }
}
