//! Stories of onboarding, with the toy runtime.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tenon_catalog::{Jobs as _, Versions as _};
use tenon_contract::admin::{JobState, JobView};
use tenon_contract::{Digest, Fault, FaultKind, ModelName};
use tenon_store::testing::Faults;

use crate::fakes::House;
use crate::{Caller, JobLimits, Jobs, Onboarding, Permit, Push, authorize};

const TOY: &str = "toy add=2 end";

struct Desk {
    house: House,
    jobs: Jobs,
    onboarding: Onboarding,
}

impl Desk {
    async fn new() -> Self {
        let house = House::new().await;
        let (jobs, onboarding) = open(&house);
        Self { house, jobs, onboarding }
    }

    /// What a restart does: nothing is kept but what the catalog and the store have.
    async fn restart(self) -> Self {
        let Self { house, jobs, onboarding } = self;
        drop((jobs, onboarding));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (jobs, onboarding) = open(&house);
        onboarding.resume().await.unwrap();
        Self { house, jobs, onboarding }
    }

    async fn push(&self, model: &str, text: &str) -> Result<JobView, Fault> {
        let digest = self.house.store.put(text.to_owned().into()).await.unwrap();
        let job = self.onboarding.push(&permit(), &name(model), digest).await?;
        self.jobs.subscribe(&job.id).await?.end().await
    }

    async fn versions(&self, model: &str) -> usize {
        self.house.sqlite.versions(&name(model)).await.unwrap().len()
    }

    async fn blobs(&self) -> usize {
        self.house.store.list().await.unwrap().len()
    }

    fn proofs(&self) -> u64 {
        self.house.prover.proofs.load(Ordering::SeqCst)
    }
}

fn open(house: &House) -> (Jobs, Onboarding) {
    let limits = JobLimits { running: 1, waiting: 2 };
    let jobs = Jobs::new(house.catalog.clone(), house.clock.clone(), limits, vec![Onboarding::WORK]);
    let (catalog, store, prover) = (house.catalog.clone(), house.store.clone(), house.prover.clone());
    (jobs.clone(), Onboarding::new(catalog, store, prover, house.clock.clone(), jobs))
}

fn permit() -> Permit<Push> {
    authorize(&Caller::admin("ada"), Push).unwrap()
}

fn name(model: &str) -> ModelName {
    model.parse().unwrap()
}

#[tokio::test]
async fn an_upload_becomes_a_version_step_by_step() {
    let desk = Desk::new().await;
    let digest = desk.house.store.put(TOY.into()).await.unwrap();
    let job = desk.onboarding.push(&permit(), &name("churn"), digest).await.unwrap();
    let mut follow = desk.jobs.subscribe(&job.id).await.unwrap();
    let mut last = follow.next().await.unwrap();
    while let Some(view) = follow.next().await {
        let done = |view: &JobView| view.steps.iter().filter(|step| step.state == JobState::Done).count();
        assert!(done(&view) >= done(&last), "steps go forward");
        last = view;
    }
    assert_eq!((last.state, last.known), (JobState::Done, false));
    assert_eq!(last.version.as_ref().unwrap().to_string(), "churn/1");
    let steps: Vec<_> = last.steps.iter().map(|step| (step.name.as_str(), step.state)).collect();
    let done = JobState::Done;
    assert_eq!(steps, [("stored", done), ("recognised", done), ("proven", done), ("registered", done)]);
    assert_eq!(last.steps[1].detail.as_deref(), Some("toy"));
    assert_eq!(desk.jobs.view(&job.id).await.unwrap(), last, "the journal tells the same");
    assert_eq!(desk.jobs.recent(10).await.unwrap(), [last]);
}

#[tokio::test]
async fn the_same_bytes_are_proven_once() {
    let desk = Desk::new().await;
    desk.push("churn", TOY).await.unwrap();
    let again = desk.push("churn", TOY).await.unwrap();
    assert!(again.known && again.version.unwrap().to_string() == "churn/1");
    let other = desk.push("other", TOY).await.unwrap();
    assert!(!other.known && other.version.unwrap().to_string() == "other/1");
    assert_eq!(desk.proofs(), 1);
    *desk.house.prover.processor.lock().unwrap() = "another".to_owned();
    desk.push("third", TOY).await.unwrap();
    assert_eq!(desk.proofs(), 2, "a proof holds for its kind of processor only");
}

#[tokio::test]
async fn a_version_may_ask_for_its_number() {
    let desk = Desk::new().await;
    let push = async |text: &'static str, number| {
        let digest = desk.house.store.put(text.into()).await.unwrap();
        let job = desk.onboarding.push_as(&permit(), &name("churn"), Some(number), digest).await?;
        desk.jobs.subscribe(&job.id).await?.end().await
    };
    assert_eq!(push(TOY, 7).await.unwrap().version.unwrap().to_string(), "churn/7");
    let fault = push("toy add=3 end", 7).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict, "{fault}");
    assert_eq!((desk.versions("churn").await, desk.blobs().await), (1, 1), "it leaves nothing");
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing() {
    let desk = Desk::new().await;
    for wrong in ["no toy", "toy add=2", "toy fly=1 end"] {
        let fault = desk.push("churn", wrong).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
        assert_eq!((desk.versions("churn").await, desk.blobs().await), (0, 0), "{wrong}");
    }
    let job = &desk.jobs.recent(1).await.unwrap()[0];
    assert_eq!(
        (job.state, job.steps[2].state),
        (JobState::Failed, JobState::Failed),
        "it failed being proven"
    );
    assert!(job.fault.as_ref().unwrap().text.contains("unknown key"));
    let figures = &desk.jobs.figures()[0];
    let counts: Vec<_> = figures.ended.iter().map(|(end, ended)| (end.name(), ended.count)).collect();
    assert_eq!(counts, [("done", 0), ("failed", 3), ("refused", 0)]);
    assert_eq!((figures.kind, figures.waiting, figures.running), ("onboard", 0, 0));
}

#[tokio::test]
async fn bytes_of_another_version_outlive_a_refusal() {
    let desk = Desk::new().await;
    desk.push("churn", TOY).await.unwrap();
    *desk.house.prover.processor.lock().unwrap() = "another".to_owned();
    desk.house.fail(&Faults::at(8));
    assert!(desk.push("other", TOY).await.is_err());
    assert_eq!((desk.versions("churn").await, desk.versions("other").await, desk.blobs().await), (1, 0, 1));
}

#[tokio::test]
async fn what_is_not_stored_is_not_begun() {
    let desk = Desk::new().await;
    let fault = desk.onboarding.push(&permit(), &name("churn"), Digest::of(b"absent")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotFound);
    assert!(desk.jobs.recent(1).await.unwrap().is_empty());
    assert_eq!(desk.jobs.view("none").await.unwrap_err().kind, FaultKind::NotFound);
}

#[tokio::test]
async fn jobs_are_bounded_and_not_begun_twice() {
    let desk = Desk::new().await;
    *desk.house.prover.delay.lock().unwrap() = Duration::from_millis(200);
    let mut ids = Vec::new();
    for text in ["toy add=1 end", "toy add=1 end", "toy add=2 end", "toy add=3 end"] {
        let digest = desk.house.store.put(text.into()).await.unwrap();
        ids.push(desk.onboarding.push(&permit(), &name("churn"), digest).await.unwrap().id);
    }
    assert_eq!(ids[0], ids[1], "the same work is one job");
    let digest = desk.house.store.put("toy add=4 end".into()).await.unwrap();
    let fault = desk.onboarding.push(&permit(), &name("churn"), digest).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Overloaded);
    for id in ids {
        desk.jobs.subscribe(&id).await.unwrap().end().await.unwrap();
    }
    assert_eq!(desk.versions("churn").await, 3);
}

#[tokio::test]
async fn a_restart_takes_unfinished_jobs_up_again() {
    for (cut_after_ms, gone) in [(0, false), (30, false), (30, true)] {
        let desk = Desk::new().await;
        *desk.house.prover.delay.lock().unwrap() = Duration::from_millis(100);
        let digest = desk.house.store.put(TOY.into()).await.unwrap();
        let job = desk.onboarding.push(&permit(), &name("churn"), digest).await.unwrap();
        tokio::time::sleep(Duration::from_millis(cut_after_ms)).await;
        if gone {
            desk.house.store.delete(&digest).await.unwrap();
        }
        let desk = desk.restart().await;
        let end = desk.jobs.subscribe(&job.id).await.unwrap().end().await;
        if gone {
            assert!(end.unwrap_err().text.contains("no longer in the store"));
            assert_eq!(desk.versions("churn").await, 0);
        } else {
            let view = end.unwrap();
            assert!(!view.known, "the same job registered it");
            assert_eq!((desk.versions("churn").await, desk.blobs().await), (1, 1));
        }
        assert!(desk.house.sqlite.unfinished_jobs().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_fault_at_any_step_leaves_all_or_nothing() {
    for nth in 0.. {
        let desk = Desk::new().await;
        let digest = desk.house.store.put(TOY.into()).await.unwrap();
        let faults = Faults::at(nth);
        desk.house.fail(&faults);
        let begun = desk.onboarding.push(&permit(), &name("churn"), digest).await;
        let pushed = match begun {
            Ok(job) => desk.jobs.subscribe(&job.id).await.unwrap().end().await,
            // Nothing was begun: the upload waits to be pushed again.
            Err(_) => {
                assert_eq!((desk.versions("churn").await, desk.blobs().await), (0, 1), "fault at step {nth}");
                continue;
            }
        };
        let expected = if pushed.is_ok() { (1, 1) } else { (0, 0) };
        assert_eq!((desk.versions("churn").await, desk.blobs().await), expected, "fault at step {nth}");
        let reached = faults.taken() > nth;
        desk.house.fail(&Faults::none());
        // A start after it finds everything in order, whatever was not journalled.
        let desk = desk.restart().await;
        for job in desk.house.sqlite.unfinished_jobs().await.unwrap() {
            let _ = desk.jobs.subscribe(&job.id).await.unwrap().end().await;
        }
        assert_eq!((desk.versions("churn").await, desk.blobs().await), expected, "restart after step {nth}");
        assert!(desk.house.sqlite.unfinished_jobs().await.unwrap().is_empty());
        if !reached {
            assert!(pushed.is_ok() && nth > 10, "{nth} steps");
            break;
        }
    }
}
