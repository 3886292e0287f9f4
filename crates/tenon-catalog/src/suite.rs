//! What every catalog must pass. A new one is finished when [`catalog_suite!`](crate::catalog_suite) is.
//!
//! The crate that mounts the suite needs `tempfile` among its dev-dependencies.

use futures::future::join_all;
use serde_json::{Value, json};
use tenon_contract::admin::JobState;
use tenon_contract::{
    Contract, Datatype, Digest, FaultKind, Format, Memory, ModelName, Proof, ProofKey, ProofKind, Revision,
    ServiceName, Settings, Signature, TensorSpec, VersionId,
};

use crate::{AuditEntry, Catalog, CatalogError, Head, Job, JobOutcome, JobStep, NewJob, NewVersion};

/// Mounts the suite as a module of tests. `$open` is an async function from a folder to the [`Catalog`]
/// in it, made when it is not there yet.
#[macro_export]
macro_rules! catalog_suite {
    ($name:ident, $open:expr) => {
        $crate::catalog_suite!(@cases $name, $open,
            registers_versions_in_order
            puts_versions_back
            gives_the_number_asked_for
            knows_the_same_bytes_again
            gives_concurrent_versions_their_own_numbers
            lists_models
            never_gives_a_revision_twice
            records_what_is_wanted
            journals_jobs
            refuses_to_change_finished_jobs
            lists_jobs
            keeps_heads
            keeps_proofs
            keeps_the_audit
            refuses_numbers_it_cannot_hold
            survives_reopening
        );
    };
    (@cases $name:ident, $open:expr, $($case:ident)*) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[test]
                fn $case() {
                    let folder = ::tempfile::tempdir().expect("a temporary folder can be made");
                    let open = async || Box::new($open(folder.path()).await) as Box<dyn $crate::Catalog>;
                    $crate::suite::run($crate::suite::$case(open));
                }
            )*
        }
    };
}

/// Runs one case of the suite on a runtime of its own.
///
/// # Panics
/// The case fails.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be made").block_on(case);
}

/// A small version of `model` whose bytes are `bytes`.
pub fn version(model: &str, bytes: &str) -> NewVersion {
    let signature = Signature {
        inputs: vec![TensorSpec::new("x", Datatype::Fp32, &[-1, 4])],
        outputs: vec![TensorSpec::new("y", Datatype::Fp32, &[-1, 2])],
    };
    NewVersion {
        model: name(model),
        number: None,
        digest: Digest::of(bytes.as_bytes()),
        size: bytes.len() as u64,
        format: Format::ONNX,
        contract: Contract::of_signature(&signature),
        signature,
        proof: proof(bytes, 12),
        about: Default::default(),
        registered_at: 1_700_000_000_000 + bytes.len() as u64,
    }
}

/// A proof for `bytes` whose calls took `call_micros`.
pub fn proof(bytes: &str, call_micros: u64) -> Proof {
    Proof {
        key: ProofKey {
            artifact: Digest::of(bytes.as_bytes()),
            runtime: "onnxruntime 1.31.1".to_owned(),
            processor: "x86_64+avx2".to_owned(),
        },
        kind: ProofKind::Synthetic,
        examples: 3,
        rows_independent: Some(true),
        repeatable: true,
        notes: vec!["edge values give NaN".to_owned()],
        call_micros,
        load_micros: 3_400,
        memory: Memory::cpu(1 << 20),
        session_memory: Memory::cpu(1 << 16),
    }
}

/// Revision `number` of `service`, in which the first version of a model answers.
pub fn revision(number: u64, service: &str) -> Revision {
    let version = version("team.churn", "first").numbered(1);
    let service: ServiceName = service.parse().expect("it is a name");
    Revision::primary(number, service, version.contract.clone(), version, Settings::default())
}

fn name(model: &str) -> ModelName {
    model.parse().expect("it is a name")
}

fn new_job(id: &str) -> NewJob {
    NewJob {
        id: id.to_owned(),
        kind: "onboard".to_owned(),
        subject: "team.churn".to_owned(),
        input: json!({"digest": "sha256:00"}),
        created_at: 5,
    }
}

fn step(name: &str, state: JobState, at: u64) -> JobStep {
    JobStep { name: name.to_owned(), state, detail: json!({"bytes": 7}), at }
}

fn assert_kind<T: std::fmt::Debug>(result: Result<T, CatalogError>, kind: FaultKind) {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

/// Numbers begin at 1 for each model, and every way of asking finds the same version.
pub async fn registers_versions_in_order(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let churn = name("team.churn");
    assert_eq!(catalog.latest(&churn).await.expect("latest"), None);
    assert_eq!(catalog.versions(&churn).await.expect("versions"), []);
    let mut expected = Vec::new();
    for (index, bytes) in ["first", "second", "third"].into_iter().enumerate() {
        let registered = catalog.register(version("team.churn", bytes)).await.expect("register");
        assert!(registered.created);
        assert_eq!(registered.version, version("team.churn", bytes).numbered(index as u64 + 1));
        expected.push(registered.version);
    }
    catalog.register(version("team.fraud", "first")).await.expect("the same bytes, another model");
    assert_eq!(catalog.versions(&churn).await.expect("versions"), expected);
    assert_eq!(catalog.latest(&churn).await.expect("latest").as_ref(), expected.last());
    for version in &expected {
        assert_eq!(catalog.version(&version.id).await.expect("version").as_ref(), Some(version));
        let found = catalog.version_by_digest(&churn, &version.digest).await.expect("by digest");
        assert_eq!(found.as_ref(), Some(version));
    }
    let absent = VersionId { model: churn.clone(), number: 4 };
    assert_eq!(catalog.version(&absent).await.expect("version"), None);
    assert_eq!(catalog.version_by_digest(&churn, &Digest::ZERO).await.expect("by digest"), None);
}

/// A version goes back under its own number, and the next one gets a number above it.
pub async fn puts_versions_back(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let third = version("churn", "third").numbered(3);
    assert!(catalog.restore_version(&third).await.expect("restore"));
    assert!(!catalog.restore_version(&third).await.expect("restore again"));
    assert_eq!(catalog.latest(&name("churn")).await.expect("latest"), Some(third));
    let next = catalog.register(version("churn", "fourth")).await.expect("register");
    assert_eq!(next.version.id.number, 4);
    let other_bytes = version("churn", "other").numbered(3);
    assert_kind(catalog.restore_version(&other_bytes).await, FaultKind::Conflict);
    let other_number = version("churn", "third").numbered(9);
    assert_kind(catalog.restore_version(&other_number).await, FaultKind::Conflict);
}

/// A version gets the number that it asks for, once; the next one gets a number above the highest.
pub async fn gives_the_number_asked_for(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let asks = |bytes: &str, number| NewVersion { number: Some(number), ..version("churn", bytes) };
    for (bytes, number, created) in [("seven", 7, true), ("three", 3, true), ("seven", 9, false)] {
        let registered = catalog.register(asks(bytes, number)).await.expect("register");
        assert_eq!(registered.created, created, "{bytes}");
        assert_eq!(registered.version.id.number, if created { number } else { 7 }, "the bytes decide");
    }
    assert_kind(catalog.register(asks("other", 3)).await, FaultKind::Conflict);
    let next = catalog.register(version("churn", "next")).await.expect("register");
    assert_eq!(next.version.id.number, 8);
}

/// The same bytes are the version they were, whatever else is said about them now.
pub async fn knows_the_same_bytes_again(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let first = catalog.register(version("churn", "bytes")).await.expect("register");
    let again = NewVersion { registered_at: 9, proof: proof("bytes", 99), ..version("churn", "bytes") };
    let again = catalog.register(again).await.expect("register again");
    assert!(!again.created);
    assert_eq!(again.version, first.version);
    assert_eq!(catalog.versions(&name("churn")).await.expect("versions").len(), 1);
    let next = catalog.register(version("churn", "other")).await.expect("register");
    assert_eq!(next.version.id.number, 2, "no number is lost");
}

/// Registering at once gives every version its own number and the same bytes one.
pub async fn gives_concurrent_versions_their_own_numbers(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let bytes = |index: usize| format!("bytes {}", index % 8);
    let registered = join_all((0..24).map(|index| catalog.register(version("churn", &bytes(index))))).await;
    let created = registered.iter().filter(|result| result.as_ref().expect("register").created).count();
    assert_eq!(created, 8);
    let versions = catalog.versions(&name("churn")).await.expect("versions");
    let numbers: Vec<u64> = versions.iter().map(|version| version.id.number).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
}

/// Models stand in the order of names with what their versions add up to.
pub async fn lists_models(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    assert_eq!(catalog.models().await.expect("models"), []);
    for (model, bytes) in [("fraud", "1"), ("churn", "1"), ("churn", "22")] {
        catalog.register(version(model, bytes)).await.expect("register");
    }
    let models = catalog.models().await.expect("models");
    let told: Vec<_> =
        models.iter().map(|model| (model.model.as_str(), model.latest, model.versions)).collect();
    assert_eq!(told, [("churn", 2, 2), ("fraud", 1, 1)]);
    assert_eq!(models[0].updated_at, version("churn", "22").registered_at);
}

/// Numbers grow over everything given, recorded, or known to the caller.
pub async fn never_gives_a_revision_twice(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    assert_eq!(catalog.next_revision(0).await.expect("next"), 1);
    assert_eq!(catalog.next_revision(0).await.expect("next"), 2);
    assert_eq!(catalog.next_revision(40).await.expect("next"), 41);
    assert_eq!(catalog.next_revision(7).await.expect("next"), 42);
    catalog.record_service(&revision(100, "churn")).await.expect("record");
    assert_eq!(catalog.next_revision(0).await.expect("next"), 101);
    catalog.record_service(&revision(3, "churn")).await.expect("record an older one");
    let mut given: Vec<u64> = join_all((0..20).map(|_| catalog.next_revision(0)))
        .await
        .into_iter()
        .map(|number| number.expect("next"))
        .collect();
    given.sort_unstable();
    assert_eq!(given, (102..122).collect::<Vec<_>>());
}

/// The revision recorded last is what is wanted, until the service is removed.
pub async fn records_what_is_wanted(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let churn: ServiceName = "churn".parse().expect("it is a name");
    assert_eq!(catalog.service(&churn).await.expect("service"), None);
    for number in [5, 6, 5] {
        catalog.record_service(&revision(number, "churn")).await.expect("record");
        assert_eq!(catalog.service(&churn).await.expect("service"), Some(revision(number, "churn")));
    }
    catalog.record_service(&revision(7, "alarm")).await.expect("record");
    let services = catalog.services().await.expect("services");
    assert_eq!(services, [revision(7, "alarm"), revision(5, "churn")]);
    assert!(catalog.remove_service(&churn).await.expect("remove"));
    assert!(!catalog.remove_service(&churn).await.expect("remove again"));
    assert_eq!(catalog.services().await.expect("services"), [revision(7, "alarm")]);
}

/// A job's journal has every entry in the order of writing, and its state follows.
pub async fn journals_jobs(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    assert_eq!(catalog.job("1").await.expect("job"), None);
    catalog.create_job(new_job("1")).await.expect("create");
    let job = catalog.job("1").await.expect("job").expect("it is there");
    assert_eq!((job.state, job.steps.len(), job.created_at, job.updated_at), (JobState::Waiting, 0, 5, 5));
    assert_eq!(job.input, new_job("1").input);
    let entries = [
        step("stored", JobState::Running, 6),
        step("stored", JobState::Done, 7),
        step("recognised", JobState::Failed, 8),
    ];
    for entry in &entries {
        catalog.advance_job("1", entry.clone()).await.expect("advance");
    }
    let job = catalog.job("1").await.expect("job").expect("it is there");
    assert_eq!((job.state, job.outcome, job.updated_at), (JobState::Running, None, 8));
    assert_eq!(job.steps, entries);
    let reason = json!({"kind": "invalid", "text": "read onnx: cut off"});
    catalog.finish_job("1", JobOutcome::Failed(reason.clone()), 9).await.expect("finish");
    let job = catalog.job("1").await.expect("job").expect("it is there");
    assert_eq!((job.state, job.outcome, job.updated_at), (JobState::Failed, Some(reason), 9));
    assert_eq!(job.steps, entries, "the journal stays");
}

/// What is finished stays as it is, and what is not there cannot be changed.
pub async fn refuses_to_change_finished_jobs(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    assert_kind(catalog.advance_job("1", step("stored", JobState::Done, 6)).await, FaultKind::NotFound);
    assert_kind(catalog.finish_job("1", JobOutcome::Done(Value::Null), 6).await, FaultKind::NotFound);
    catalog.create_job(new_job("1")).await.expect("create");
    assert_kind(catalog.create_job(new_job("1")).await, FaultKind::Conflict);
    catalog.finish_job("1", JobOutcome::Done(json!("churn/1")), 7).await.expect("finish");
    let finished = catalog.job("1").await.expect("job");
    assert_kind(catalog.advance_job("1", step("stored", JobState::Done, 8)).await, FaultKind::Conflict);
    assert_kind(catalog.finish_job("1", JobOutcome::Failed(Value::Null), 8).await, FaultKind::Conflict);
    assert_eq!(catalog.job("1").await.expect("job"), finished);
}

/// Newest first for people, oldest first for resuming; journals stay with their jobs.
pub async fn lists_jobs(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    for id in ["a", "b", "c", "d"] {
        catalog.create_job(new_job(id)).await.expect("create");
    }
    catalog.advance_job("b", step("stored", JobState::Done, 6)).await.expect("advance");
    catalog.advance_job("c", step("stored", JobState::Done, 6)).await.expect("advance");
    catalog.finish_job("c", JobOutcome::Done(Value::Null), 7).await.expect("finish");
    let jobs = catalog.jobs(3).await.expect("jobs");
    assert_eq!(ids(&jobs), ["d", "c", "b"]);
    assert_eq!(jobs.iter().map(|job| job.steps.len()).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(ids(&catalog.unfinished_jobs().await.expect("unfinished")), ["a", "b", "d"]);
    assert_eq!(catalog.jobs(0).await.expect("jobs"), []);
}

/// Heads stay in the order of their chain, and a chain that was written anew is noticed.
pub async fn keeps_heads(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let service: ServiceName = "churn".parse().expect("it is a name");
    let head = |sequence, bytes: &str| Head {
        service: service.clone(),
        sequence,
        hash: Digest::of(bytes.as_bytes()),
        at: 3,
    };
    for new in [head(0, "a"), head(2, "c"), head(1, "b"), head(1, "b")] {
        catalog.record_head(&new).await.expect("record");
    }
    assert_kind(catalog.record_head(&head(1, "forged")).await, FaultKind::Conflict);
    let heads = catalog.heads(&service).await.expect("heads");
    assert_eq!(heads, [head(0, "a"), head(1, "b"), head(2, "c")]);
    assert_eq!(catalog.heads(&"other".parse().expect("it is a name")).await.expect("heads"), []);
}

/// A proof is found under its key and no other; a newer one takes its place.
pub async fn keeps_proofs(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let old = proof("bytes", 10);
    assert_eq!(catalog.proof(&old.key).await.expect("proof"), None);
    catalog.record_proof(&old).await.expect("record");
    assert_eq!(catalog.proof(&old.key).await.expect("proof").as_ref(), Some(&old));
    let new = proof("bytes", 11);
    catalog.record_proof(&new).await.expect("record");
    assert_eq!(catalog.proof(&old.key).await.expect("proof"), Some(new));
    for other in [
        ProofKey { artifact: Digest::ZERO, ..old.key.clone() },
        ProofKey { runtime: "onnxruntime 1.20.1".to_owned(), ..old.key.clone() },
        ProofKey { processor: "aarch64".to_owned(), ..old.key.clone() },
    ] {
        assert_eq!(catalog.proof(&other).await.expect("proof"), None);
    }
}

/// Entries come back newest first, quotes and all.
pub async fn keeps_the_audit(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let entry = |at, request_id: Option<&str>| AuditEntry {
        at,
        actor: "o'brien; DROP TABLE audit".to_owned(),
        action: "swap".to_owned(),
        subject: "churn".to_owned(),
        outcome: "refused: breaking".to_owned(),
        request_id: request_id.map(str::to_owned),
    };
    for new in [entry(1, None), entry(3, Some("r-1")), entry(2, None)] {
        catalog.audit(new).await.expect("audit");
    }
    assert_eq!(catalog.audits(2).await.expect("audits"), [entry(2, None), entry(3, Some("r-1"))]);
}

/// Numbers that no database holds are refused, and nothing is written.
pub async fn refuses_numbers_it_cannot_hold(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let late = NewVersion { registered_at: u64::MAX, ..version("churn", "bytes") };
    assert_kind(catalog.register(late).await, FaultKind::Invalid);
    assert_kind(catalog.next_revision(u64::MAX).await, FaultKind::Invalid);
    assert_kind(catalog.record_service(&revision(u64::MAX, "churn")).await, FaultKind::Invalid);
    assert_eq!(catalog.models().await.expect("models"), []);
    assert_eq!(catalog.services().await.expect("services"), []);
    assert_eq!(catalog.next_revision(0).await.expect("next"), 1);
}

/// What was acknowledged is there after a restart.
pub async fn survives_reopening(open: impl AsyncFn() -> Box<dyn Catalog>) {
    let catalog = open().await;
    let registered = catalog.register(version("churn", "bytes")).await.expect("register");
    let number = catalog.next_revision(0).await.expect("next");
    catalog.record_service(&revision(number, "churn")).await.expect("record");
    catalog.create_job(new_job("1")).await.expect("create");
    drop(catalog);
    let catalog = open().await;
    assert_eq!(catalog.latest(&name("churn")).await.expect("latest"), Some(registered.version));
    assert_eq!(catalog.services().await.expect("services"), [revision(number, "churn")]);
    assert_eq!(catalog.unfinished_jobs().await.expect("unfinished").len(), 1);
    assert_eq!(catalog.next_revision(0).await.expect("next"), number + 1);
}
