//! A catalog that may come later: it is opened when it is first asked, and again until that succeeds.
//!
//! A node serves from its own disk whether there is a catalog or not. What needs one is refused with the
//! reason until it is there.

use std::sync::Arc;

use async_trait::async_trait;
use tenon_catalog::{
    AuditEntry, Audits, CatalogError, Head, Heads, Job, JobOutcome, JobStep, Jobs, NewJob, NewVersion,
    Proofs, Registered, Services, SqliteCatalog, SqliteOptions, Versions,
};
use tenon_contract::admin::ModelView;
use tenon_contract::{Digest, ModelName, Proof, ProofKey, Revision, ServiceName, Version, VersionId};
use tokio::sync::OnceCell;

/// SQLite in a file that may be missing, locked or damaged. Clones are the same catalog.
#[derive(Clone)]
pub(crate) struct LateCatalog {
    options: SqliteOptions,
    opened: Arc<OnceCell<SqliteCatalog>>,
}

impl LateCatalog {
    /// The catalog of these options; opens nothing yet.
    pub(crate) fn new(options: SqliteOptions) -> Self {
        Self { options, opened: Arc::default() }
    }

    async fn opened(&self) -> Result<&SqliteCatalog, CatalogError> {
        self.opened.get_or_try_init(|| SqliteCatalog::open(self.options.clone())).await
    }
}

/// Implements traits of the catalog by passing each call on to the opened one.
macro_rules! pass_on {
    ($($noun:ident { $(fn $call:ident($($name:ident: $type:ty),*) -> $result:ty;)* })*) => {
        $(
            #[async_trait]
            impl $noun for LateCatalog {
                $(
                    async fn $call(&self, $($name: $type),*) -> Result<$result, CatalogError> {
                        self.opened().await?.$call($($name),*).await
                    }
                )*
            }
        )*
    };
}

pass_on! {
    Versions {
        fn register(version: NewVersion) -> Registered;
        fn restore_version(version: &Version) -> bool;
        fn version(id: &VersionId) -> Option<Version>;
        fn version_by_digest(model: &ModelName, digest: &Digest) -> Option<Version>;
        fn latest(model: &ModelName) -> Option<Version>;
        fn versions(model: &ModelName) -> Vec<Version>;
        fn models() -> Vec<ModelView>;
    }
    Services {
        fn next_revision(floor: u64) -> u64;
        fn record_service(revision: &Revision) -> ();
        fn service(service: &ServiceName) -> Option<Revision>;
        fn services() -> Vec<Revision>;
        fn remove_service(service: &ServiceName) -> bool;
    }
    Jobs {
        fn create_job(job: NewJob) -> ();
        fn advance_job(id: &str, step: JobStep) -> ();
        fn finish_job(id: &str, outcome: JobOutcome, at: u64) -> ();
        fn job(id: &str) -> Option<Job>;
        fn jobs(limit: u32) -> Vec<Job>;
        fn unfinished_jobs() -> Vec<Job>;
    }
    Heads {
        fn record_head(head: &Head) -> ();
        fn heads(service: &ServiceName) -> Vec<Head>;
    }
    Proofs {
        fn proof(key: &ProofKey) -> Option<Proof>;
        fn record_proof(proof: &Proof) -> ();
    }
    Audits {
        fn audit(entry: AuditEntry) -> ();
        fn audits(limit: u32) -> Vec<AuditEntry>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opens_when_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        std::fs::write(&path, [7; 65536]).unwrap();
        let catalog = LateCatalog::new(SqliteOptions::at(&path));
        let error = catalog.models().await.unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(catalog.models().await.unwrap(), []);
    }
}
