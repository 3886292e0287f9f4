//! Changes of what is served: the one path of first start, swap, undo, removal and restart.
//!
//! Whatever asks for the change, [`plan`] says the steps and [`Change`] walks them. The order of a swap is
//! intent in the journal, publication, `published` in the journal, acknowledgement; of an undo
//! publication, `undone` in the journal, acknowledgement. A step that fails leaves what is live as it
//! was: where publication itself could not be journalled, the old slot is put back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenon_contract::admin::{SwapOrder, Swapped};
use tenon_contract::receipt::{Event, Intent, ProofEvidence, Published, RevisionRef, Undone};
use tenon_contract::{Desired, Difference, Digest, Fault, Memory, Revision, ServiceName, Version};
use tenon_runtime::{Bundle, BundleLimits};

use crate::admission::Admitted;
use crate::clock;
use crate::engine::{EngineKey, Loaded, Proven};
use crate::faults::Moment;
use crate::generation::Slot;
use crate::node::Inner;
use crate::plan::{Step, plan};
use crate::reaper::Leaving;
use crate::state::{Departing, Placed, Warm};
use crate::tally::{ChangeKind, ChangeStep};
use crate::traffic::{Counters, Snapshot};
use crate::turn::Turn;
use crate::walked::{TracePlace, Walked};

/// How long a load waits for the memory of warm revisions to come back.
const MAKE_ROOM: Duration = Duration::from_secs(10);

/// Who asks for a change, and how it is journalled.
pub(crate) enum Why {
    /// A swap, the first one or a removal: journalled before and after publication.
    Swap(Box<SwapOrder>),
    /// Back to the previous revision: published first.
    Undo { actor: String, reason: Option<String>, arrived: Instant },
    /// After a restart: the journal says already what is served.
    Restore,
}

impl Why {
    fn kind(&self) -> ChangeKind {
        match self {
            Self::Swap(order) if order.to.is_none() => ChangeKind::Remove,
            Self::Swap(_) => ChangeKind::Swap,
            Self::Undo { .. } => ChangeKind::Undo,
            Self::Restore => ChangeKind::Restore,
        }
    }
}

/// Takes a service from what it serves to `target`, and counts what came of it.
pub(crate) fn apply(
    node: &Inner,
    service: &ServiceName,
    target: Option<Arc<Revision>>,
    why: Why,
) -> Result<Swapped, Fault> {
    let (kind, begun) = (why.kind(), clock::now());
    let result = change(node, service, target, why);
    node.state().service(service).tally.changed(kind, result.is_ok(), clock::since(begun));
    result
}

fn change(
    node: &Inner,
    service: &ServiceName,
    target: Option<Arc<Revision>>,
    why: Why,
) -> Result<Swapped, Fault> {
    let turn = Turn::take(node, service)?;
    let mut walked = Walked::begin(&node.options.traces, why.kind().name(), service, target.as_deref());
    let swapped = walk(node, service, (target, why), &mut walked);
    drop(turn);
    if let Some(walked) = walked {
        walked.end(swapped.as_ref().map(|swapped| swapped.generation));
    }
    swapped
}

/// Walks the steps of the plan.
fn walk(
    node: &Inner,
    service: &ServiceName,
    (target, why): (Option<Arc<Revision>>, Why),
    walked: &mut Option<Walked>,
) -> Result<Swapped, Fault> {
    let mut change = Change::begin(node, service, target, why)?;
    change.place = walked.as_ref().map(Walked::place);
    let desired = Desired {
        services: change.target.iter().map(|revision| (service.clone(), (**revision).clone())).collect(),
    };
    let observed = node.state().observed(service);
    for step in plan(&desired, &observed) {
        let begun = clock::now();
        let result = change.walk(&step);
        if let Some(walked) = walked {
            let prove_micros = change.proven.as_ref().map_or(0, |proven| proven.prove_micros);
            walked.step(&step, begun, prove_micros, &result);
        }
        result.map_err(|fault| fault.during(&step))?;
    }
    change.acknowledge()
}

struct Change<'a> {
    node: &'a Inner,
    service: &'a ServiceName,
    target: Option<Arc<Revision>>,
    why: Why,
    check: Difference,
    from: Option<Placed>,
    swap: u64,
    counters: Arc<Counters>,
    before: Snapshot,
    proven: Option<Proven>,
    published: Option<Publication>,
    place: Option<TracePlace>,
}

/// What came of publishing.
struct Publication {
    generation: u64,
    micros: u64,
    head: Digest,
    replaced: Option<Arc<Slot>>,
    at: Instant,
    traffic: Snapshot,
}

impl<'a> Change<'a> {
    fn begin(
        node: &'a Inner,
        service: &'a ServiceName,
        target: Option<Arc<Revision>>,
        why: Why,
    ) -> Result<Self, Fault> {
        let mut state = node.state();
        let state = state.service(service);
        let from = state.live.clone();
        if target.is_none() && from.is_none() && !state.wanted {
            return Err(Fault::not_found(format!("no service `{service}` is served here")));
        }
        let check = target.as_ref().map_or_else(Difference::default, |revision| {
            check(from.as_ref().map(|from| &*from.revision), revision)
        });
        if let Why::Swap(order) = &why
            && check.is_breaking()
            && !order.breaking
        {
            return Err(Fault::conflict(format!(
                "contract of service `{service}`: {check}; repeat with a reason for the breaking change if it is meant"
            )));
        }
        let counters = state.counters.clone();
        let before = counters.snapshot();
        let swap = state.swaps + 1;
        Ok(Self {
            node,
            service,
            target,
            why,
            check,
            from,
            swap,
            counters,
            before,
            proven: None,
            published: None,
            place: None,
        })
    }

    fn walk(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::Load { .. } => self.load(),
            Step::Publish { .. } => timed(self.node, self.service, ChangeStep::Publish, || self.publish()),
            Step::Drain { .. } => {
                self.drain();
                Ok(())
            }
            Step::KeepWarm { .. } => {
                self.keep_warm();
                Ok(())
            }
            Step::Retire { revision, .. } => {
                self.retire(*revision);
                Ok(())
            }
        }
    }

    /// Reads, admits, loads and proves the target, unless another service has the same engine.
    fn load(&mut self) -> Result<(), Fault> {
        let Some(revision) = self.target.clone() else { return Ok(()) };
        let version = revision.version();
        let key = EngineKey::new(version.digest, &revision.settings, self.node.options.cores);
        if let Some(engine) = self.node.state().engine(&key) {
            self.proven = Some(Proven::warm(engine));
            return Ok(());
        }
        let (loaded, bundle) =
            timed(self.node, self.service, ChangeStep::Load, || self.loaded(version, key))?;
        let proven = timed(self.node, self.service, ChangeStep::Prove, || {
            (self.node.hook)(Moment::Prove)?;
            let examples = (self.node.options.examples)(&bundle)?;
            loaded.prove(version, examples.as_ref())
        })?;
        self.node.state().remember(&proven.engine);
        self.proven = Some(proven);
        Ok(())
    }

    /// The bytes of a version as a model, together with its bundle.
    fn loaded(&self, version: &Version, key: EngineKey) -> Result<(Loaded, Bundle), Fault> {
        let hook = &self.node.hook;
        hook(Moment::Read)?;
        let bytes = self.node.store.read_blocking(&version.digest)?;
        let bundle = Bundle::open(bytes, BundleLimits::default())?;
        let runtime = self.node.runtimes.reading(&version.format)?;
        hook(Moment::Admit)?;
        let admitted = self.admit(&key.memory(version))?;
        hook(Moment::Load)?;
        let processor = &self.node.options.processor;
        let loaded = Loaded::load(&**runtime, &bundle, key, processor, admitted)?;
        Ok((loaded, bundle))
    }

    /// Admits memory; where it is short, warm revisions leave first, and their receipts say so.
    fn admit(&self, memory: &Memory) -> Result<Admitted, Fault> {
        let admission = &self.node.admission;
        if !admission.fits(memory) {
            self.node.let_warm_go("memory needed");
            let until = clock::now() + MAKE_ROOM;
            while !admission.fits(memory) && self.node.is_retiring() && clock::now() < until {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        admission.admit(memory)
    }

    fn publish(&mut self) -> Result<(), Fault> {
        let slot = self.slot()?;
        if let Why::Swap(order) = &self.why {
            if let Some(revision) = &self.target {
                (self.node.hook)(Moment::Document)?;
                let document = revision.write().into();
                self.node.handle.block_on(self.node.store.put(document))?;
            }
            (self.node.hook)(Moment::Intent)?;
            self.node.journal.append(self.service, Event::Intent(Box::new(self.intent(order))))?;
            self.node.state().service(self.service).swaps = self.swap;
        }
        if let Err(fault) = (self.node.hook)(Moment::Publish) {
            self.abandon(&fault);
            return Err(fault);
        }
        let published = self.exchange(slot);
        match self.journal(&published) {
            Ok(head) => {
                self.node.numbers.top_up(published.generation);
                self.record(&published);
                self.published = Some(Publication { head, ..published });
                Ok(())
            }
            Err(fault) => {
                self.node.exchange(self.service, published.replaced.clone());
                self.abandon(&fault);
                Err(fault)
            }
        }
    }

    fn slot(&mut self) -> Result<Option<Arc<Slot>>, Fault> {
        let Some(revision) = self.target.clone() else { return Ok(None) };
        if self.proven.is_none() {
            let state = self.node.state();
            let state = state.services.get(self.service);
            let warm = state.and_then(|state| state.warm.as_ref());
            let warm = warm.filter(|warm| warm.placed.revision.number == revision.number);
            self.proven = warm.map(|warm| Proven::warm(warm.placed.engine.clone()));
        }
        let proven = self.proven.as_ref().ok_or_else(|| Fault::internal("publish what is not proven"))?;
        let departures = self.node.departures.clone();
        Slot::new(revision, proven, self.counters.clone(), departures).map(|slot| Some(Arc::new(slot)))
    }

    /// The exchange itself: from here on new requests see the target.
    fn exchange(&self, slot: Option<Arc<Slot>>) -> Publication {
        let begun = clock::now();
        let (generation, replaced) = self.node.exchange(self.service, slot);
        let at = clock::now();
        let micros = match &self.why {
            Why::Undo { arrived, .. } => at.saturating_duration_since(*arrived).as_micros() as u64,
            _ => at.saturating_duration_since(begun).as_micros() as u64,
        };
        let traffic = self.counters.snapshot();
        Publication { generation, micros, head: Digest::ZERO, replaced, at, traffic }
    }

    fn journal(&self, published: &Publication) -> Result<Digest, Fault> {
        let in_flight = published.replaced.as_ref().map_or(0, |slot| slot.in_flight());
        let to = self.target.as_deref().map(RevisionRef::to);
        match (&self.why, &self.from, to) {
            (Why::Restore, ..) => Ok(self.node.journal.head(self.service)),
            (Why::Undo { actor, reason, .. }, Some(from), Some(to)) => {
                (self.node.hook)(Moment::Undone)?;
                let event = Event::Undone(Undone {
                    swap: self.swap,
                    generation: published.generation,
                    from: RevisionRef::to(&from.revision),
                    to,
                    actor: actor.clone(),
                    reason: reason.clone(),
                    published_micros: published.micros,
                    in_flight,
                });
                self.node.journal.append(self.service, event)
            }
            (_, _, to) => {
                (self.node.hook)(Moment::Published)?;
                let event = Event::Published(Published {
                    swap: self.swap,
                    generation: published.generation,
                    to,
                    in_flight,
                    publish_micros: published.micros,
                    during_load: published.traffic.since(&self.before),
                });
                self.node.journal.append(self.service, event)
            }
        }
    }

    fn intent(&self, order: &SwapOrder) -> Intent {
        let version = self.target.as_deref().map(Revision::version);
        let proof = version.map(|version| ProofEvidence {
            proof: version.proof.kind,
            examples: version.proof.examples,
            key: version.proof.key.clone(),
        });
        let micros = |of: fn(&Proven) -> u64| self.proven.as_ref().map_or(0, of);
        Intent {
            swap: self.swap,
            from: self.from.as_ref().map(|from| RevisionRef::to(&from.revision)),
            to: self.target.as_deref().map(RevisionRef::to),
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            check: self.check.clone(),
            proof,
            memory: self.proven.as_ref().map(|proven| proven.engine.memory().clone()).unwrap_or_default(),
            load_micros: micros(|proven| proven.load_micros),
            prove_micros: micros(|proven| proven.prove_micros),
        }
    }

    /// Says in the chain that the intent came to nothing. Where not even that can be written, the
    /// next start says it.
    fn abandon(&self, fault: &Fault) {
        if matches!(self.why, Why::Swap(_)) {
            let event = Event::Abandoned { swap: self.swap, reason: fault.text.clone() };
            if let Err(error) = self.node.journal.append(self.service, event) {
                tracing::error!(service = %self.service, %error, "swap abandoned, but not journalled");
            }
        }
    }

    fn record(&self, published: &Publication) {
        let mut state = self.node.state();
        let state = state.service(self.service);
        state.wanted = self.target.is_some();
        state.fault = None;
        state.swaps = if matches!(self.why, Why::Restore) { state.swaps } else { self.swap };
        state.highest = state.highest.max(self.target.as_ref().map_or(0, |revision| revision.number));
        let engine = self.proven.as_ref().map(|proven| proven.engine.clone());
        let placed = self.target.clone().zip(engine).map(|(revision, engine)| Placed { revision, engine });
        let same = |warm: &mut Warm| {
            placed.as_ref().is_some_and(|to| to.revision.number == warm.placed.revision.number)
        };
        // What was warm and is live now is not warm any more.
        drop(state.warm.take_if(same));
        state.live = placed;
        tracing::info!(service = %self.service, generation = published.generation, "published");
    }

    /// The old slot's last request will be seen by the reaper; what it journals then is noted down here,
    /// before our own hold on the slot is let go.
    fn drain(&mut self) {
        let Some(published) = &mut self.published else { return };
        let Some(slot) = published.replaced.take() else { return };
        let departing = Departing {
            swap: self.swap,
            revision: slot.revision().number,
            since: published.at,
            drain_ms: slot.revision().settings.drain_ms,
            traffic: published.traffic.clone(),
            slot: Arc::downgrade(&slot),
            place: self.place,
        };
        self.node.state().departing.insert(slot.id(), departing);
        drop(slot);
    }

    fn keep_warm(&self) {
        let Some(placed) = self.from.clone() else { return };
        let window = self.target.as_ref().map_or(0, |revision| revision.settings.undo_window_s);
        let until = clock::now() + Duration::from_secs(window.min(u64::from(u32::MAX)));
        let mut state = self.node.state();
        let older = state.service(self.service).warm.replace(Warm { placed, until });
        drop(state);
        if let Some(older) = older {
            self.leave(older.placed, "superseded");
        }
    }

    fn retire(&self, revision: u64) {
        let warm = {
            let mut state = self.node.state();
            let of = |warm: &mut Warm| warm.placed.revision.number == revision;
            state.service(self.service).warm.take_if(of).map(|warm| warm.placed)
        };
        let live = self.from.clone().filter(|from| from.revision.number == revision && self.target.is_none());
        let cause = if self.target.is_none() { "removed" } else { "superseded" };
        for placed in warm.into_iter().chain(live) {
            self.leave(placed, cause);
        }
    }

    fn leave(&self, placed: Placed, cause: &'static str) {
        self.node.leave(Leaving { service: self.service.clone(), placed, cause });
    }

    fn acknowledge(mut self) -> Result<Swapped, Fault> {
        let reference = |placed: &Placed| RevisionRef::to(&placed.revision);
        let published = self.published.take();
        if let Err(fault) = (self.node.hook)(Moment::Acknowledge) {
            tracing::error!(service = %self.service, error = %fault, "a change stands that could not be acknowledged");
            return Err(fault);
        }
        Ok(Swapped {
            service: self.service.clone(),
            swap: self.swap,
            from: self.from.as_ref().map(reference),
            to: self.target.as_deref().map(RevisionRef::to),
            generation: published
                .as_ref()
                .map_or_else(|| self.node.cell.load().number, |done| done.generation),
            node: self.node.options.name.clone(),
            check: self.check.clone(),
            load_micros: self.proven.as_ref().map_or(0, |proven| proven.load_micros + proven.prove_micros),
            published_micros: published.as_ref().map_or(0, |done| done.micros),
            head: published.map_or_else(|| self.node.journal.head(self.service), |done| done.head),
        })
    }
}

/// Does a step and counts what came of it.
fn timed<T>(
    node: &Inner,
    service: &ServiceName,
    step: ChangeStep,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let begun = clock::now();
    let result = work();
    node.state().service(service).tally.stepped(step, result.is_ok(), clock::since(begun));
    result
}

/// What callers of the service would notice: the promise of what is live against what the version
/// offers and against what the new revision promises.
pub(crate) fn check(live: Option<&Revision>, revision: &Revision) -> Difference {
    let promised = live.map_or(&revision.contract, |live| &live.contract);
    Difference::between(promised, &revision.version().contract)
}
