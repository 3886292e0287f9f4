//! The threads on which models are loaded: few, apart from serving, at low priority.

use crossbeam_channel::Sender;
use tenon_contract::Fault;
use tokio::sync::oneshot;

/// Loads that run at once; further ones wait for their turn.
const THREADS: usize = 2;
/// Changes that may wait for a loader.
const WAITING: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// The loader threads of a node.
pub(crate) struct Loaders(Sender<Job>);

impl Loaders {
    /// Starts the threads. They end when the loaders are dropped.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, jobs) = crossbeam_channel::bounded::<Job>(WAITING);
        for number in 0..THREADS {
            let jobs = jobs.clone();
            std::thread::Builder::new().name(format!("loader-{number}")).spawn(move || {
                lower_priority();
                jobs.iter().for_each(|job| job());
            })?;
        }
        Ok(Self(sender))
    }

    /// Runs `work` on a loader thread; a panic in it becomes a fault.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Fault>>, Fault> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = done.send(
                caught.unwrap_or_else(|_| Err(Fault::internal("change panicked; what is live is as it was"))),
            );
        });
        self.0.try_send(job).map_err(|_| Fault::overloaded(format!("{WAITING} changes wait already")))?;
        Ok(result)
    }
}

/// How far background threads step back. At rest they have what is free; where serving threads want every core, a tenth of
/// one is left to them, so that a model that is overloaded can still be exchanged for one that is not. With 19 that
/// exchange took 13 s for 64 ms of work.
const NICE: i32 = 10;

/// Makes this thread give way to the serving ones.
pub(crate) fn lower_priority() {
    let this = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(this), NICE) {
        tracing::debug!(%error, "keep the priority of a background thread");
    }
}
