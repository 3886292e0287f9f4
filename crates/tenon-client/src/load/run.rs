//! The load itself: one thread, many connections.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::LocalSet;

use super::connection::{Connection, Shot, Target};
use super::pace::{Pace, Ticket, Tickets};
use super::report::{Recorder, Report};
use super::{Charge, Offence, Referee};
use crate::ClientError;

/// Pause of a connection that could not be opened.
const PAUSE: Duration = Duration::from_millis(10);

/// What to send and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: Target,
    /// The requests, sent in turn.
    pub shots: Vec<Shot>,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// How requests follow each other.
    pub pace: Pace,
    /// When to stop.
    pub duration: Duration,
    /// Stop after so many requests, where it comes first.
    pub count: Option<u64>,
    /// After which time a request without an answer is lost.
    pub timeout: Duration,
    /// Keep every answer's time: eight bytes each.
    pub keep_samples: bool,
}

impl Plan {
    /// A closed loop over `shots` for `duration`, with eight connections.
    pub fn new(target: Target, shots: Vec<Shot>, duration: Duration) -> Self {
        Self {
            target,
            shots,
            connections: 8,
            pace: Pace::Closed,
            duration,
            count: None,
            timeout: Duration::from_secs(30),
            keep_samples: false,
        }
    }
}

/// A load under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Report>>,
}

impl Load {
    /// Ends the load before its time; requests under way are still waited for.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end. Blocks the thread.
    ///
    /// # Errors
    /// The load could not be made at all.
    pub fn finish(self) -> Result<Report, ClientError> {
        let report = self.thread.join().map_err(|_| ClientError::Local("the load broke off".to_owned()))?;
        report.map_err(|error| ClientError::Local(format!("make load: {error}")))
    }
}

/// Starts a load on a thread of its own.
///
/// # Errors
/// The plan has nothing to send, or there is no thread to be had.
pub fn start(plan: Plan, referee: Arc<dyn Referee>) -> Result<Load, ClientError> {
    let paced = !matches!(plan.pace, Pace::Open { rate } if !(rate.is_finite() && rate > 0.0));
    if plan.shots.is_empty() || plan.connections == 0 || !paced {
        return Err(ClientError::Local(
            "a load needs a request, a connection and a rate above zero".to_owned(),
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(plan, referee, stopped))
    });
    let thread = thread.map_err(|error| ClientError::Local(format!("make load: {error}")))?;
    Ok(Load { stop, thread })
}

/// What the connections share.
struct Shared {
    plan: Plan,
    referee: Arc<dyn Referee>,
    tickets: Tickets,
    recorder: RefCell<Recorder>,
    /// Requests that could not be sent until then are lost.
    give_up: Instant,
}

async fn run(plan: Plan, referee: Arc<dyn Referee>, stop: Arc<AtomicBool>) -> io::Result<Report> {
    let before = processor_time();
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(Connection::open(plan.target.address).await.ok());
    }
    let start = Instant::now();
    let end = start + plan.duration;
    let shared = Rc::new(Shared {
        tickets: Tickets::new(plan.pace, start, plan.count),
        recorder: RefCell::new(Recorder::new(start, plan.keep_samples)),
        give_up: end + plan.timeout,
        plan,
        referee,
    });
    let workers: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::task::spawn_local(Rc::clone(&shared).work(connection)))
        .collect();
    let stopped = || stop.load(Ordering::Relaxed) || Instant::now() >= end;
    shared.tickets.run(workers.len(), stopped).await?;
    for worker in workers {
        worker.await.map_err(io::Error::other)?;
    }
    let processor = processor_time().saturating_sub(before);
    let shared = Rc::try_unwrap(shared).map_err(|_| io::Error::other("a connection outlived the load"))?;
    Ok(shared.recorder.into_inner().finish(processor))
}

impl Shared {
    /// One connection from the first ticket to the last.
    async fn work(self: Rc<Self>, mut connection: Option<Connection>) {
        while let Some(ticket) = self.tickets.take().await {
            let verdict = if Instant::now() > self.give_up {
                Err(Charge::new(Offence::Lost, "not sent before the end of the load"))
            } else {
                self.send(&mut connection, &ticket).await
            };
            self.recorder.borrow_mut().judged(verdict);
        }
    }

    async fn send(&self, connection: &mut Option<Connection>, ticket: &Ticket) -> Result<(), Charge> {
        let lost = |text: String| Charge::new(Offence::Lost, text);
        let index = (ticket.number % self.plan.shots.len() as u64) as usize;
        let mut open = match connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => match Connection::open(self.plan.target.address).await {
                Ok(open) => open,
                Err(text) => {
                    tokio::time::sleep(PAUSE).await;
                    return Err(lost(text));
                }
            },
        };
        let before = self.referee.before();
        let exchange = tokio::time::timeout(self.plan.timeout, open.exchange(&self.plan.shots[index]));
        let answer = exchange.await.map_err(|_| lost(format!("no answer within {:?}", self.plan.timeout)))?;
        let answer = answer.map_err(lost)?;
        let ended = Instant::now();
        *connection = Some(open);
        let verdict = self.referee.judge(index, before, &answer);
        self.recorder.borrow_mut().answered(ticket.due, ended);
        verdict
    }
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
