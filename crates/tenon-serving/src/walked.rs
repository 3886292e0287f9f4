//! A change as a trace: one span for the whole, one beneath it for each step, and the drain when it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenon_contract::trace::{Attribute, Span, SpanId, TraceId, TraceSink, Traced};
use tenon_contract::{Fault, Revision, ServiceName};

use crate::clock;
use crate::plan::Step;

/// A change under way.
pub(crate) struct Walked {
    sink: Arc<dyn TraceSink>,
    place: TracePlace,
    name: &'static str,
    begun: Instant,
    attributes: Vec<(&'static str, Attribute)>,
    steps: Vec<Taken>,
}

/// Where a change stands, for what of it comes later.
#[derive(Clone, Copy)]
pub(crate) struct TracePlace {
    trace: TraceId,
    span: SpanId,
}

/// Something that was done, and when.
struct Taken {
    name: &'static str,
    begun: Instant,
    ended: Instant,
    fault: Option<String>,
}

impl Walked {
    /// A change begins; nothing where nobody is told of it.
    pub(crate) fn begin(
        sink: &Option<Arc<dyn TraceSink>>,
        name: &'static str,
        service: &ServiceName,
        target: Option<&Revision>,
    ) -> Option<Self> {
        let sink = sink.clone()?;
        let mut drawn = [0; 24];
        getrandom::fill(&mut drawn).ok()?;
        let number = |at: usize| drawn[at..].first_chunk().map_or(1, |bytes| u64::from_ne_bytes(*bytes));
        let place =
            TracePlace { trace: TraceId::drawn(number(0), number(8)), span: SpanId::drawn(number(16)) };
        let mut attributes = vec![("tenon.service", service.as_str().into())];
        if let Some(revision) = target {
            let version = revision.version();
            attributes.push(("tenon.revision", revision.number.into()));
            attributes.push(("tenon.version", version.id.to_string().into()));
            attributes.push(("tenon.digest", version.digest.to_string().into()));
        }
        Some(Self { sink, place, name, begun: clock::now(), attributes, steps: Vec::new() })
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> TracePlace {
        self.place
    }

    /// A step was walked; the last part of a load is the proof, which took so many microseconds.
    pub(crate) fn step(
        &mut self,
        step: &Step,
        begun: Instant,
        prove_micros: u64,
        walked: &Result<(), Fault>,
    ) {
        let ended = clock::now();
        let fault = walked.as_ref().err().map(|fault| fault.text.clone());
        let name = match step {
            Step::Load { .. } => "load",
            Step::Publish { .. } => "publish",
            Step::KeepWarm { .. } => "keep warm",
            Step::Retire { .. } => "retire",
            // It only begins here; the reaper tells of it.
            Step::Drain { .. } => return,
        };
        let proof = ended.checked_sub(Duration::from_micros(prove_micros)).filter(|at| *at >= begun);
        let proof = proof.filter(|_| name == "load" && prove_micros > 0);
        self.steps.push(Taken { name, begun, ended: proof.unwrap_or(ended), fault });
        if let Some(proof) = proof {
            self.steps.push(Taken { name: "prove", begun: proof, ended, fault: None });
        }
    }

    /// It is over.
    pub(crate) fn end(self, generation: Result<u64, &Fault>) {
        let Self { sink, place, name, begun, mut attributes, steps } = self;
        let fault = match generation {
            Ok(generation) => {
                attributes.push(("tenon.generation", generation.into()));
                None
            }
            Err(fault) => Some(fault.text.clone()),
        };
        let whole = Taken { name, begun, ended: clock::now(), fault };
        sink.take(Box::new(Told { place, whole: Some(whole), attributes, steps }));
    }
}

/// The last request on a replaced revision has ended.
pub(crate) fn drained(
    sink: &Option<Arc<dyn TraceSink>>,
    place: Option<TracePlace>,
    begun: Instant,
    service: &ServiceName,
    revision: u64,
) {
    let Some((sink, place)) = sink.as_ref().zip(place) else { return };
    let attributes = vec![("tenon.service", service.as_str().into()), ("tenon.revision", revision.into())];
    let drain = Taken { name: "drain", begun, ended: clock::now(), fault: None };
    sink.take(Box::new(Told { place, whole: None, attributes, steps: vec![drain] }));
}

/// What is told: the whole with its steps, or steps that came later.
struct Told {
    place: TracePlace,
    whole: Option<Taken>,
    /// Of the whole, or of the steps where there is none.
    attributes: Vec<(&'static str, Attribute)>,
    steps: Vec<Taken>,
}

impl Traced for Told {
    fn spans(self: Box<Self>) -> Vec<Span> {
        let Self { place, whole, attributes, steps } = *self;
        // Both clocks at one moment tell when an instant was on the wall.
        let (now, wall) = (clock::now(), clock::wall_ns());
        let at = |instant: Instant| {
            let before = now.saturating_duration_since(instant).as_nanos();
            wall.saturating_sub(u64::try_from(before).unwrap_or(u64::MAX))
        };
        let span = |taken: Taken, id, parent, attributes| Span {
            trace: place.trace,
            id,
            parent,
            is_parent_remote: false,
            state: String::new(),
            name: taken.name.into(),
            is_server: false,
            begun_ns: at(taken.begun),
            ended_ns: at(taken.ended).max(at(taken.begun)),
            attributes,
            fault: taken.fault,
        };
        let (of_whole, of_steps) = match whole.is_some() {
            true => (attributes, Vec::new()),
            false => (Vec::new(), attributes),
        };
        // What comes later is told by itself: its number must be none of those before.
        let first = if whole.is_some() { 0 } else { 1000 };
        let steps = steps
            .into_iter()
            .zip(first..)
            .map(|(taken, number)| span(taken, place.span.child(number), Some(place.span), of_steps.clone()));
        let whole = whole.map(|taken| span(taken, place.span, None, of_whole));
        whole.into_iter().chain(steps).collect()
    }
}
