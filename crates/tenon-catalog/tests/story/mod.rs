//! A little of everything that a catalog holds, written and found again.

use serde_json::json;
use tenon_catalog::suite::{proof, revision, version};
use tenon_catalog::{AuditEntry, Catalog, Head, JobOutcome, JobStep, NewJob};
use tenon_contract::Digest;
use tenon_contract::admin::JobState;

/// Writes the story into an empty catalog.
pub(crate) async fn write(catalog: &dyn Catalog) {
    for bytes in ["first", "second"] {
        catalog.register(version("team.churn", bytes)).await.unwrap();
        catalog.record_proof(&proof(bytes, 12)).await.unwrap();
    }
    let number = catalog.next_revision(6).await.unwrap();
    catalog.record_service(&revision(number, "churn")).await.unwrap();
    for id in ["job-1", "job-2"] {
        let input = json!({"digest": Digest::of(b"first")});
        let (kind, subject) = ("onboard".to_owned(), "team.churn".to_owned());
        catalog.create_job(NewJob { id: id.into(), kind, subject, input, created_at: 10 }).await.unwrap();
        let step =
            JobStep { name: "stored".into(), state: JobState::Done, detail: json!({"size": 5}), at: 11 };
        catalog.advance_job(id, step).await.unwrap();
    }
    catalog.finish_job("job-1", JobOutcome::Done(json!({"version": "team.churn/1"})), 12).await.unwrap();
    for sequence in 0..2 {
        let (service, hash) = ("churn".parse().unwrap(), Digest::of(&[sequence as u8]));
        catalog.record_head(&Head { service, sequence, hash, at: 13 }).await.unwrap();
    }
    let entry = AuditEntry {
        at: 14,
        actor: "token admin".into(),
        action: "swap".into(),
        subject: "churn".into(),
        outcome: "done".into(),
        request_id: Some("r-1".into()),
    };
    catalog.audit(entry).await.unwrap();
}

/// The story is there, whole.
pub(crate) async fn assert_written(catalog: &dyn Catalog) {
    let versions = catalog.versions(&"team.churn".parse().unwrap()).await.unwrap();
    let expected = [version("team.churn", "first").numbered(1), version("team.churn", "second").numbered(2)];
    assert_eq!(versions, expected);
    assert_eq!(catalog.services().await.unwrap(), [revision(7, "churn")]);
    let unfinished = catalog.unfinished_jobs().await.unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].id.as_str(), unfinished[0].steps.len()), ("job-2", 1));
    let outcome = catalog.job("job-1").await.unwrap().unwrap().outcome;
    assert_eq!(outcome, Some(json!({"version": "team.churn/1"})));
}
