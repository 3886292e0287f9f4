//! The sessions of an engine, and the threads on which long calls run.
//!
//! A short call takes an idle session and runs where it is. A long one waits in the engine's bounded queue
//! until a session is idle; session and call then go together to a compute thread. After each call
//! the session goes back, and the next in the queue goes behind whatever other engines have ready: no
//! engine holds a thread for longer than one call while others wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use crossbeam_queue::ArrayQueue;
use tenon_contract::{Inputs, Parameters, Tensor};
use tenon_runtime::{Call, Cancel, RunError, Session, Single};
use tokio::sync::oneshot;

use crate::clock;
use crate::engine::Engine;
use crate::generation::Slot;
use crate::steps::{Step, Steps, ended};

/// A model that broke this often in a row is told as unhealthy.
const UNHEALTHY_AFTER: u32 = 3;

/// A call that waits for a session or runs.
pub(crate) struct Work {
    pub(crate) slot: Arc<Slot>,
    pub(crate) inputs: Inputs,
    pub(crate) parameters: Parameters,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Cancel,
    /// When it began to wait.
    pub(crate) since: Instant,
    pub(crate) steps: Option<Arc<Steps>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Tensor>, RunError>>,
}

/// A call together with the session it has got.
struct Run {
    session: Box<dyn Session>,
    work: Work,
}

/// The sessions of one engine and the calls that wait for one.
pub(crate) struct Pool {
    idle: ArrayQueue<Box<dyn Session>>,
    waiting: ArrayQueue<Work>,
    broken: AtomicU32,
}

impl Pool {
    pub(crate) fn new(sessions: Vec<Box<dyn Session>>, queue: usize) -> Self {
        let idle = ArrayQueue::new(sessions.len().max(1));
        for session in sessions {
            // The queue has a place for each.
            let _ = idle.push(session);
        }
        Self { idle, waiting: ArrayQueue::new(queue.max(1)), broken: AtomicU32::new(0) }
    }

    /// Whether the model broke several times in a row.
    pub(crate) fn is_unhealthy(&self) -> bool {
        self.broken.load(Ordering::Relaxed) >= UNHEALTHY_AFTER
    }

    /// Runs a call here and now, where a session is idle and nobody waits for one.
    pub(crate) fn run_here(
        &self,
        compute: &Compute,
        engine: &Engine,
        call: Call<'_>,
    ) -> Option<Result<Vec<Tensor>, RunError>> {
        if !self.waiting.is_empty() {
            return None;
        }
        let mut session = self.idle.pop()?;
        let result = self.run(&mut session, engine, call);
        self.give_back(session, compute);
        Some(result)
    }

    /// Lets a call wait for a session.
    ///
    /// # Errors
    /// The queue is full; the call comes back.
    pub(crate) fn wait(&self, work: Work, compute: &Compute) -> Result<(), Work> {
        self.waiting.push(work)?;
        self.dispatch(compute);
        Ok(())
    }

    fn give_back(&self, session: Box<dyn Session>, compute: &Compute) {
        // The queue has a place for each session.
        let _ = self.idle.push(session);
        self.dispatch(compute);
    }

    /// Brings idle sessions and waiting calls together. Whoever adds one or the other calls this
    /// afterwards, so that no call waits while a session is idle.
    fn dispatch(&self, compute: &Compute) {
        loop {
            if self.waiting.is_empty() {
                return;
            }
            let Some(session) = self.idle.pop() else { return };
            match self.waiting.pop() {
                Some(work) => compute.send(Run { session, work }),
                None => {
                    let _ = self.idle.push(session);
                }
            }
        }
    }

    /// One call, with panics kept inside: a session that broke is replaced.
    fn run(
        &self,
        session: &mut Box<dyn Session>,
        engine: &Engine,
        call: Call<'_>,
    ) -> Result<Vec<Tensor>, RunError> {
        let mut single = Single::default();
        let result = catch_unwind(AssertUnwindSafe(|| session.run(call, &mut single)));
        let result = result.unwrap_or_else(|panic| Err(RunError::Broken(text_of(&*panic))));
        match result {
            Ok(()) => {
                if self.broken.load(Ordering::Relaxed) != 0 {
                    self.broken.store(0, Ordering::Relaxed);
                }
                single.take()
            }
            Err(RunError::Broken(text)) => {
                self.broken.fetch_add(1, Ordering::Relaxed);
                tracing::error!(digest = %engine.digest(), error = text, "model broke; its session is replaced");
                if let Ok(fresh) = engine.model.session() {
                    *session = fresh;
                }
                Err(RunError::Broken(text))
            }
            Err(error) => Err(error),
        }
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}

/// The compute threads of a node.
///
/// They live as long as the process. The channel has no bound of its own:
/// each item in it holds a session, so there are never more than sessions.
#[derive(Clone)]
pub(crate) struct Compute {
    ready: Sender<Run>,
}

impl Compute {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        #[allow(clippy::disallowed_methods, reason = "each item holds a session: there are never more")]
        let (ready, runs) = crossbeam_channel::unbounded();
        for number in 0..threads.max(1) {
            let runs: Receiver<Run> = runs.clone();
            let name = format!("compute-{number}");
            let sender = ready.clone();
            std::thread::Builder::new().name(name).spawn(move || work(&runs, &Compute { ready: sender }))?;
        }
        Ok(Self { ready })
    }

    fn send(&self, run: Run) {
        // The receivers live as long as any sender.
        let _ = self.ready.send(run);
    }
}

fn work(runs: &Receiver<Run>, compute: &Compute) {
    while let Ok(Run { mut session, work }) = runs.recv() {
        let Work { slot, inputs, parameters, deadline, cancel, since, steps, reply } = work;
        slot.statistics().waiting.fetch_sub(1, Ordering::Relaxed);
        let engine = slot.engine();
        let call =
            Call { inputs: &inputs, parameters: &parameters, deadline, cancel: &cancel, sequence: None };
        // Whoever waited may have gone, or waited too long, while the call was in the queue.
        let result = if reply.is_closed() {
            Err(RunError::Cancelled)
        } else {
            let (waited, begun) = (clock::since(since), clock::now());
            ended(&steps, Step::Queue);
            let result = call.check().and_then(|()| engine.pool.run(&mut session, engine, call));
            slot.statistics().ran(waited, clock::since(begun));
            if result.is_ok() {
                ended(&steps, Step::Run);
            }
            result
        };
        let _ = reply.send(result);
        engine.pool.give_back(session, compute);
    }
}
