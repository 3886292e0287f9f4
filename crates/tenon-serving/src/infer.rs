//! A request's way through the data plane, as a list.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tenon_contract::observed::Observer;
use tenon_contract::{Fault, Inputs, Parameters, Request, RequestId, Response, Tensor};
use tenon_runtime::{Call, Cancel, RunError};
use tokio::sync::oneshot;

use crate::clock;
use crate::generation::{Generation, Lease};
use crate::node::Node;
use crate::observe::Sample;
use crate::pool::{Compute, Work};
use crate::steps::{Step, Steps, ended};
use crate::traffic::Reason;

impl Node {
    /// Answers a request from the current generation.
    ///
    /// # Errors
    /// Refused early, not bound, or not answered by the model; the text is for the caller.
    pub fn infer(&self, request: Request) -> impl Future<Output = Result<Response, Fault>> + Send {
        self.infer_timed(request, None)
    }

    /// The same, and notes when each step ended.
    ///
    /// # Errors
    /// As [`Node::infer`].
    pub async fn infer_timed(&self, request: Request, steps: Option<Arc<Steps>>) -> Result<Response, Fault> {
        let arrived = clock::now();
        let _place = self.admit()?;
        ended(&steps, Step::Admit);
        let generation = self.pin();
        ended(&steps, Step::Pin);
        let lease = self.route(&generation, &request)?;
        ended(&steps, Step::Route);
        // Let go as soon as the lease holds its slot: a long call must not hold back the drain of other
        // services.
        drop(generation);
        answer(lease, request, arrived, steps, self.execution()).await
    }

    /// Answers a request from a generation that the caller has pinned: how adapters and pipelines call
    /// other services. Never from inside a session.
    ///
    /// # Errors
    /// As [`Node::infer`].
    pub async fn infer_in(&self, generation: &Generation, request: Request) -> Result<Response, Fault> {
        let arrived = clock::now();
        let lease = self.route(generation, &request)?;
        answer(lease, request, arrived, None, self.execution()).await
    }

    /// A place on the slot that the request asks for.
    fn route(&self, generation: &Generation, request: &Request) -> Result<Lease, Fault> {
        let lease = generation.route(&request.service, request.version);
        lease.inspect_err(|fault| self.inner().unrouted().turned_away(fault.kind))
    }
}

/// How calls are executed on a node.
#[derive(Clone)]
pub(crate) struct Execution {
    pub(crate) compute: Compute,
    /// Calls expected to take at most this run where the request is.
    pub(crate) in_place_micros: u64,
    /// Who keeps a sample.
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// Answers a call. All that needs no waiting is done at once; the future is the rest.
fn answer(
    lease: Lease,
    request: Request,
    arrived: Instant,
    steps: Option<Arc<Steps>>,
    execution: &Execution,
) -> impl Future<Output = Result<Response, Fault>> + Send + use<> {
    let trace = request.trace;
    let sample = Sample::of(&execution.observer, &request);
    let begun = begin(&lease, request, arrived, &steps, execution);
    let open = Open { lease, arrived, is_told: false };
    async move {
        let rows = begun.as_ref().map_or(0, |begun| begun.rows);
        let result = match begun {
            Ok(begun) => begun.end(&open.lease, &steps).await,
            Err(fault) => Err(fault),
        };
        let took = open.end(rows, trace, &result);
        if let (Ok(response), Some(sample)) = (&result, sample) {
            sample.answered(response, took);
        }
        result
    }
}

/// A request that is not counted yet. Each is, and once: one whose caller goes away when this is dropped.
struct Open {
    lease: Lease,
    arrived: Instant,
    is_told: bool,
}

impl Open {
    /// Counts it, and says how long it took.
    fn end(mut self, rows: usize, trace: Option<u128>, result: &Result<Response, Fault>) -> Duration {
        self.is_told = true;
        let (statistics, took) = (self.lease.slot().statistics(), clock::since(self.arrived));
        match result {
            Ok(response) => statistics.answered(rows, took, response.id.as_str(), trace),
            Err(fault) => statistics.unanswered(Reason::of(fault.kind), took),
        }
        took
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_told {
            self.lease.slot().statistics().unanswered(Reason::Cancelled, clock::since(self.arrived));
        }
    }
}

/// A call that was given to its engine.
struct Begun {
    id: RequestId,
    asked: Vec<Arc<str>>,
    /// Rows of the batch.
    rows: usize,
    ran: Ran,
}

fn begin(
    lease: &Lease,
    request: Request,
    arrived: Instant,
    steps: &Option<Arc<Steps>>,
    execution: &Execution,
) -> Result<Begun, Fault> {
    if !lease.slot().revision().contract.takes_tensors(&request.operation) {
        return Err(unknown_operation(lease, &request.operation));
    }
    lease.check_asked(&request.outputs)?;
    let inputs = lease.bind(request.inputs)?;
    let longest = Duration::from_millis(lease.slot().revision().settings.timeout_ms);
    let timeout = request.timeout.map_or(longest, |asked| asked.min(longest));
    let rows = if lease.slot().is_batched() { inputs.rows() } else { 1 };
    ended(steps, Step::Bind);
    let bound = Bound { inputs, parameters: request.parameters, deadline: arrived + timeout, steps };
    let ran = run(lease, bound, execution)?;
    Ok(Begun { id: request.id, asked: request.outputs, rows, ran })
}

impl Begun {
    async fn end(self, lease: &Lease, steps: &Option<Arc<Steps>>) -> Result<Response, Fault> {
        let outputs = match self.ran {
            Ran::Here(outputs) => outputs,
            // Apart, so that short calls do not carry the room that waiting needs.
            Ran::Elsewhere(waiting) => Box::pin(waiting.outputs()).await?,
        };
        let outputs = lease.keep(outputs, &self.asked)?;
        ended(steps, Step::Check);
        Ok(Response {
            identity: lease.slot().identity.clone(),
            generation: lease.generation(),
            id: self.id,
            parameters: Parameters::new(),
            outputs,
        })
    }
}

fn unknown_operation(lease: &Lease, name: &str) -> Fault {
    let contract = &lease.slot().revision().contract;
    let known: Vec<_> = contract.operations.iter().map(|operation| format!("`{}`", operation.name)).collect();
    let name: String = name.chars().take(80).collect();
    Fault::not_found(format!(
        "service `{}` has no operation `{name}`; it has {}",
        lease.slot().identity.service,
        known.join(", ")
    ))
}

/// How a call went that was given to an engine.
enum Ran {
    /// It is over: it ran where the request is.
    Here(Vec<Tensor>),
    /// It waits for a compute thread, or runs there.
    Elsewhere(Waiting),
}

/// A call that may be given to an engine.
struct Bound<'a> {
    inputs: Inputs,
    parameters: Parameters,
    deadline: Instant,
    steps: &'a Option<Arc<Steps>>,
}

/// In place where the proof says that it is short, else on a compute thread.
fn run(lease: &Lease, bound: Bound<'_>, execution: &Execution) -> Result<Ran, Fault> {
    let Bound { inputs, parameters, deadline, steps } = bound;
    let engine = lease.engine();
    if engine.cost_micros(inputs.rows()) <= execution.in_place_micros {
        let call = Call {
            inputs: &inputs,
            parameters: &parameters,
            deadline: Some(deadline),
            cancel: &Cancel::never(),
            sequence: None,
        };
        let begun = clock::now();
        if let Some(result) = engine.pool.run_here(&execution.compute, engine, call) {
            lease.slot().statistics().ran_here(clock::since(begun));
            let outputs = result?;
            ended(steps, Step::Run);
            return Ok(Ran::Here(outputs));
        }
    }
    let (cancel, (reply, answer)) = (Cancel::new(), oneshot::channel());
    let work = Work {
        slot: lease.shared_slot(),
        inputs,
        parameters,
        deadline: Some(deadline),
        cancel: cancel.clone(),
        since: clock::now(),
        steps: steps.clone(),
        reply,
    };
    let waiting = &lease.slot().statistics().waiting;
    waiting.fetch_add(1, Ordering::Relaxed);
    if engine.pool.wait(work, &execution.compute).is_err() {
        waiting.fetch_sub(1, Ordering::Relaxed);
        return Err(Fault::overloaded(format!(
            "service `{}` has its limit of {} requests waiting; try again later",
            lease.slot().identity.service,
            lease.slot().revision().settings.queue
        )));
    }
    Ok(Ran::Elsewhere(Waiting { answer, deadline, _gone: CancelOnDrop(cancel) }))
}

/// A call that is not over. Dropped when the caller goes away: then the computation may stop.
struct Waiting {
    answer: oneshot::Receiver<Result<Vec<Tensor>, RunError>>,
    deadline: Instant,
    _gone: CancelOnDrop,
}

impl Waiting {
    async fn outputs(self) -> Result<Vec<Tensor>, Fault> {
        match tokio::time::timeout_at(self.deadline.into(), self.answer).await {
            Ok(Ok(result)) => result.map_err(Fault::from),
            Ok(Err(_)) => Err(Fault::internal("the compute thread gave no answer")),
            Err(_) => Err(RunError::Deadline.into()),
        }
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
