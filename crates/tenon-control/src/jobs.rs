//! Long work as journalled jobs: bounded, followed live, resumed after a crash.
//!
//! A job is known to the catalog before it begins, and every step is in its journal before anybody is
//! told of it. A job that a crash cut off is *unfinished* there; who knows its kind resumes it at start.
//! Dropping [`Jobs`] stops what runs, and leaves it unfinished in just the same way.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde_json::{Value, json};
use tenon_catalog::{Catalog, Job, JobOutcome, JobStep, NewJob};
use tenon_contract::admin::{JobState, JobView};
use tenon_contract::{Fault, FaultKind, VersionId};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::Clock;
use crate::job_figures::{Ended, JobEnd, JobFigures};
use crate::whole::to_its_end;

/// How many jobs there may be at once.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// Jobs that run.
    pub running: usize,
    /// Jobs that wait for their turn; one more is refused.
    pub waiting: usize,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self { running: 1, waiting: 64 }
    }
}

/// A kind of work: its name and its steps in order.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its name: `onboard`.
    pub kind: &'static str,
    /// The names of its steps.
    pub steps: &'static [&'static str],
}

/// Called at the named moments of a job, where tests make it fail or the process die: with a step's name
/// before its begin and before its end are journalled, with [`Jobs::ENDED`] before the job's end is.
pub type StepHook = Arc<dyn Fn(&str) -> Result<(), Fault> + Send + Sync>;

/// What a job came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The version it registered or found.
    pub(crate) version: VersionId,
    /// Whether that was there before.
    pub(crate) known: bool,
}

/// How a job's work ends without an outcome.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The job has failed for good.
    Final(Fault),
    /// It has failed, but left something to clear away: the next start takes it up again.
    Unfinished(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Final(fault)
    }
}

/// The runner of jobs. Clones are the same one.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    limits: JobLimits,
    kinds: Vec<Work>,
    hook: StepHook,
    turns: Arc<Semaphore>,
    live: Mutex<HashMap<String, Live>>,
    tasks: Mutex<JoinSet<()>>,
    count: AtomicU64,
    ended: Ended,
}

/// A job of this process that is not finished.
struct Live {
    input: Value,
    views: watch::Sender<JobView>,
}

impl Jobs {
    /// The moment before the end of a job is journalled.
    pub const ENDED: &'static str = "ended";

    /// A runner for these kinds of work.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        limits: JobLimits,
        kinds: Vec<Work>,
    ) -> Self {
        Self::with_hook(catalog, clock, limits, kinds, Arc::new(|_| Ok(())))
    }

    /// A runner that passes its named moments to `hook`; an error fails the step that follows.
    pub fn with_hook(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        limits: JobLimits,
        kinds: Vec<Work>,
        hook: StepHook,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(limits.running));
        let (live, tasks, count) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        let ended = Ended::default();
        Self(Arc::new(Inner { catalog, clock, limits, kinds, hook, turns, live, tasks, count, ended }))
    }

    /// Journals a new job and lets it run when it is its turn. The same work that is under way already
    /// is not begun twice: its view comes back.
    ///
    /// # Errors
    /// Too many jobs wait; the catalog refused, and nothing was begun.
    pub(crate) async fn begin<F>(
        &self,
        kind: Work,
        subject: &str,
        input: Value,
        work: impl FnOnce(Progress) -> F + Send + 'static,
    ) -> Result<JobView, Fault>
    where
        F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
    {
        let now = self.0.clock.now_ms();
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        let job = Job {
            id: format!("{now:012x}-{number:x}"),
            kind: kind.kind.to_owned(),
            subject: subject.to_owned(),
            input,
            state: JobState::Waiting,
            outcome: None,
            steps: Vec::new(),
            created_at: now,
            updated_at: now,
        };
        let view = self.0.view(&job);
        if let Some(same) = self.0.enter(&job, view.clone())? {
            return Ok(same);
        }
        let jobs = self.clone();
        to_its_end(async move {
            if let Err(error) = jobs.0.catalog.create_job(new(&job)).await {
                jobs.0.live().remove(&job.id);
                return Err(Fault::from(error).during("begin job"));
            }
            jobs.run(job, work);
            Ok(view)
        })
        .await
    }

    /// Takes a job up again that a former run left unfinished. It waits for its turn beyond the limit,
    /// because it was admitted once.
    pub(crate) fn resume<F>(&self, job: Job, work: impl FnOnce(Progress) -> F + Send + 'static)
    where
        F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
    {
        let live = Live { input: job.input.clone(), views: watch::channel(self.0.view(&job)).0 };
        self.0.live().insert(job.id.clone(), live);
        self.run(job, work);
    }

    /// A job as it stands.
    ///
    /// # Errors
    /// There is none of this id; the catalog refused.
    pub async fn view(&self, id: &str) -> Result<JobView, Fault> {
        if let Some(live) = self.0.live().get(id) {
            return Ok(live.views.borrow().clone());
        }
        let job = self.0.catalog.job(id).await?;
        job.map(|job| self.0.view(&job)).ok_or_else(|| Fault::not_found(format!("no job `{id}`")))
    }

    /// The last `limit` jobs, newest first.
    ///
    /// # Errors
    /// The catalog refused.
    pub async fn recent(&self, limit: u32) -> Result<Vec<JobView>, Fault> {
        let jobs = self.0.catalog.jobs(limit).await?;
        Ok(jobs.iter().map(|job| self.0.view(job)).collect())
    }

    /// How many jobs of each kind there are, and what became of those before.
    pub fn figures(&self) -> Vec<JobFigures> {
        let live = self.0.live();
        let figures = |work: &Work| {
            let in_state = |state: JobState| {
                let is = |live: &&Live| {
                    let view = live.views.borrow();
                    view.kind == work.kind && view.state == state
                };
                live.values().filter(is).count() as u64
            };
            let (waiting, running) = (in_state(JobState::Waiting), in_state(JobState::Running));
            JobFigures { kind: work.kind, waiting, running, ended: self.0.ended.of(work.kind) }
        };
        self.0.kinds.iter().map(figures).collect()
    }

    /// Follows a job: how it stands now, then how it stands after each change, until nothing more will
    /// happen. Who is slow misses documents in between, never the last one.
    ///
    /// # Errors
    /// There is none of this id; the catalog refused.
    pub async fn subscribe(&self, id: &str) -> Result<Follow, Fault> {
        let live = self.0.live().get(id).map(|live| live.views.subscribe());
        let views = match live {
            Some(views) => views,
            None => watch::channel(self.view(id).await?).1,
        };
        Ok(Follow { views, begun: false })
    }

    fn run<F>(&self, job: Job, work: impl FnOnce(Progress) -> F + Send + 'static)
    where
        F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
    {
        // The tasks belong to `Inner`: if they held it, it would never be dropped, nor they aborted.
        let inner = Arc::downgrade(&self.0);
        let (catalog, clock, turns) = (self.0.catalog.clone(), self.0.clock.clone(), self.0.turns.clone());
        let hook = self.0.hook.clone();
        let task = async move {
            let Ok(_turn) = turns.acquire_owned().await else { return };
            let progress = Progress { catalog, clock, hook, job: Arc::new(Mutex::new(job)), jobs: inner };
            // A set of one: work that panics ends its job, and work whose job is dropped ends with it.
            let mut alone = JoinSet::new();
            alone.spawn(work(progress.clone()));
            let broke = || Err(Failure::Final(Fault::internal("the job broke; tenon's log says where")));
            let result = alone.join_next().await.and_then(Result::ok).unwrap_or_else(broke);
            progress.finish(result).await;
        };
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is cleared away here, so that the set stays as small as the limits.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a job as live, unless there are too many or the same work is under way.
    fn enter(&self, job: &Job, view: JobView) -> Result<Option<JobView>, Fault> {
        let mut live = self.live();
        for other in live.values() {
            let view = other.views.borrow();
            if view.kind == job.kind && view.subject == job.subject && other.input == job.input {
                return Ok(Some(view.clone()));
            }
        }
        let limit = self.limits.running + self.limits.waiting;
        if live.len() >= limit {
            self.ended.count(&job.kind, JobEnd::Refused, 0);
            return Err(Fault::overloaded(format!(
                "begin job: {limit} jobs are under way (`limits.waiting_jobs`); try again later"
            )));
        }
        live.insert(job.id.clone(), Live { input: job.input.clone(), views: watch::channel(view).0 });
        Ok(None)
    }

    fn view(&self, job: &Job) -> JobView {
        let steps = self.kinds.iter().find(|work| work.kind == job.kind).map_or(&[][..], |work| work.steps);
        view(job, steps)
    }
}

/// What a job's work tells of its steps.
#[derive(Clone)]
pub(crate) struct Progress {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    hook: StepHook,
    job: Arc<Mutex<Job>>,
    /// Who follows; gone when tenon is stopping, and then nobody is told.
    jobs: Weak<Inner>,
}

impl Progress {
    /// The job's id.
    pub(crate) fn id(&self) -> String {
        self.job().id.clone()
    }

    /// What the journal kept of a step that was done, from this run or a former one.
    pub(crate) fn kept(&self, step: &str) -> Option<Value> {
        let job = self.job();
        let done = job.steps.iter().rev().find(|entry| entry.name == step && entry.state == JobState::Done);
        done.map(|entry| entry.detail["kept"].clone())
    }

    /// A step begins.
    ///
    /// # Errors
    /// The catalog refused.
    pub(crate) async fn begins(&self, step: &str) -> Result<(), Fault> {
        self.note(step, JobState::Running, Value::Null).await
    }

    /// A step is done: what it found for people, and what a resumed job needs of it.
    ///
    /// # Errors
    /// The catalog refused.
    pub(crate) async fn done(&self, step: &str, text: String, kept: Value) -> Result<(), Fault> {
        self.note(step, JobState::Done, json!({ "text": text, "kept": kept })).await
    }

    async fn note(&self, name: &str, state: JobState, detail: Value) -> Result<(), Fault> {
        (self.hook)(name)?;
        let step = JobStep { name: name.to_owned(), state, detail, at: self.clock.now_ms() };
        let id = self.id();
        self.catalog
            .advance_job(&id, step.clone())
            .await
            .map_err(|error| Fault::from(error).during("journal job"))?;
        self.tell(|job| {
            job.state = JobState::Running;
            job.steps.push(step);
        });
        Ok(())
    }

    async fn finish(&self, result: Result<Outcome, Failure>) {
        let now = self.clock.now_ms();
        let (state, outcome, keep_open) = match &result {
            Ok(outcome) => {
                (JobState::Done, json!({ "version": outcome.version, "known": outcome.known }), false)
            }
            Err(Failure::Final(fault)) => (JobState::Failed, json!(fault), false),
            Err(Failure::Unfinished(fault)) => (JobState::Failed, json!(fault), true),
        };
        let id = self.id();
        if !keep_open {
            let recorded = match state {
                JobState::Done => JobOutcome::Done(outcome.clone()),
                _ => JobOutcome::Failed(outcome.clone()),
            };
            let recorded = match (self.hook)(Jobs::ENDED) {
                Ok(()) => self.catalog.finish_job(&id, recorded, now).await.map_err(Fault::from),
                Err(fault) => Err(fault),
            };
            if let Err(error) = recorded {
                tracing::warn!(job = id, %error, "end of job not recorded; the next start takes it up again");
            }
        }
        // Before anybody is told, so that who waited for the end finds it counted.
        self.count(state, now);
        self.tell(|job| {
            job.state = state;
            job.outcome = Some(outcome);
            job.updated_at = now;
        });
        if let Some(jobs) = self.jobs.upgrade() {
            jobs.live().remove(&id);
        }
    }

    fn count(&self, state: JobState, now: u64) {
        let Some(jobs) = self.jobs.upgrade() else { return };
        let end = if state == JobState::Done { JobEnd::Done } else { JobEnd::Failed };
        let job = self.job();
        jobs.ended.count(&job.kind, end, now.saturating_sub(job.created_at));
    }

    /// Changes the job and tells those who follow it.
    fn tell(&self, change: impl FnOnce(&mut Job)) {
        let mut job = self.job();
        change(&mut job);
        let Some(jobs) = self.jobs.upgrade() else { return };
        let view = jobs.view(&job);
        if let Some(live) = jobs.live().get(&job.id) {
            live.views.send_replace(view);
        }
    }

    fn job(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job being followed.
pub struct Follow {
    views: watch::Receiver<JobView>,
    begun: bool,
}

impl Follow {
    /// How the job stands: at once the first time, then after each change; `None` after the last.
    pub async fn next(&mut self) -> Option<JobView> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(self.views.borrow_and_update().clone());
        }
        if self.views.borrow().state.is_final() && !self.views.has_changed().unwrap_or(false) {
            return None;
        }
        // An error is a job that ended with its runner: nobody will tell more of it.
        self.views.changed().await.ok()?;
        Some(self.views.borrow_and_update().clone())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The job failed, or tenon is stopping before it ended.
    pub async fn end(mut self) -> Result<JobView, Fault> {
        let mut last = None;
        while let Some(view) = self.next().await {
            last = Some(view);
        }
        match last {
            Some(JobView { state: JobState::Failed, fault: Some(fault), .. }) => Err(fault),
            Some(view) if view.state.is_final() => Ok(view),
            _ => Err(Fault::unavailable("tenon is stopping; the job goes on after the next start")),
        }
    }
}

/// A job as people see it: one entry a step, the last word of each.
fn view(job: &Job, steps: &[&str]) -> JobView {
    let step = |name: &&str| {
        let last = job.steps.iter().rev().find(|entry| entry.name == **name);
        let mut state = last.map_or(JobState::Waiting, |entry| entry.state);
        // A step that was running when its job failed is where it failed.
        if job.state == JobState::Failed && state == JobState::Running {
            state = JobState::Failed;
        }
        let detail = last.and_then(|entry| entry.detail["text"].as_str()).map(str::to_owned);
        let at = last.map_or(job.created_at, |entry| entry.at);
        tenon_contract::admin::JobStep { name: (*name).to_owned(), state, detail, at }
    };
    let outcome = job.outcome.as_ref().unwrap_or(&Value::Null);
    let unreadable = || Fault::new(FaultKind::Internal, "the job failed; its reason cannot be read");
    let fault = (job.state == JobState::Failed)
        .then(|| serde_json::from_value(outcome.clone()).unwrap_or_else(|_| unreadable()));
    JobView {
        id: job.id.clone(),
        kind: job.kind.clone(),
        subject: job.subject.clone(),
        state: job.state,
        steps: steps.iter().map(step).collect(),
        version: serde_json::from_value(outcome["version"].clone()).ok(),
        known: outcome["known"].as_bool().unwrap_or(false),
        fault,
        created_at: job.created_at,
    }
}

fn new(job: &Job) -> NewJob {
    NewJob {
        id: job.id.clone(),
        kind: job.kind.clone(),
        subject: job.subject.clone(),
        input: job.input.clone(),
        created_at: job.created_at,
    }
}
