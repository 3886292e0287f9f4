//! Catalogs that stand before another one: each call goes on to it.

/// Implements every noun of [`Catalog`](crate::Catalog) for `$type` by passing each call on. `$reach` is an async method
/// of the type without arguments that gives the catalog behind it, or the error of the call.
///
/// The crate that uses it needs `async-trait` and `tenon-contract` among its dependencies.
#[macro_export]
macro_rules! pass_on {
    ($type:ty, $reach:ident) => {
        $crate::pass_on! { @nouns $type, $reach,
            Versions {
                fn register(version: $crate::NewVersion) -> $crate::Registered;
                fn restore_version(version: &::tenon_contract::Version) -> bool;
                fn version(id: &::tenon_contract::VersionId) -> Option<::tenon_contract::Version>;
                fn version_by_digest(
                    model: &::tenon_contract::ModelName,
                    digest: &::tenon_contract::Digest
                ) -> Option<::tenon_contract::Version>;
                fn latest(model: &::tenon_contract::ModelName) -> Option<::tenon_contract::Version>;
                fn versions(model: &::tenon_contract::ModelName) -> Vec<::tenon_contract::Version>;
                fn models() -> Vec<::tenon_contract::admin::ModelView>;
            }
            Services {
                fn next_revision(floor: u64) -> u64;
                fn record_service(revision: &::tenon_contract::Revision) -> ();
                fn service(service: &::tenon_contract::ServiceName) -> Option<::tenon_contract::Revision>;
                fn services() -> Vec<::tenon_contract::Revision>;
                fn remove_service(service: &::tenon_contract::ServiceName) -> bool;
            }
            Jobs {
                fn create_job(job: $crate::NewJob) -> ();
                fn advance_job(id: &str, step: $crate::JobStep) -> ();
                fn finish_job(id: &str, outcome: $crate::JobOutcome, at: u64) -> ();
                fn job(id: &str) -> Option<$crate::Job>;
                fn jobs(limit: u32) -> Vec<$crate::Job>;
                fn unfinished_jobs() -> Vec<$crate::Job>;
            }
            Heads {
                fn record_head(head: &$crate::Head) -> ();
                fn heads(service: &::tenon_contract::ServiceName) -> Vec<$crate::Head>;
            }
            Proofs {
                fn proof(key: &::tenon_contract::ProofKey) -> Option<::tenon_contract::Proof>;
                fn record_proof(proof: &::tenon_contract::Proof) -> ();
            }
            Audits {
                fn audit(entry: $crate::AuditEntry) -> ();
                fn audits(limit: u32) -> Vec<$crate::AuditEntry>;
            }
        }
    };
    (@nouns $type:ty, $reach:ident,
        $($noun:ident { $(fn $call:ident($($name:ident: $given:ty),*) -> $result:ty;)* })*
    ) => {
        $(
            #[::async_trait::async_trait]
            impl $crate::$noun for $type {
                $(
                    async fn $call(&self, $($name: $given),*) -> Result<$result, $crate::CatalogError> {
                        let behind = self.$reach().await?;
                        $crate::$noun::$call(behind, $($name),*).await
                    }
                )*
            }
        )*
    };
}
