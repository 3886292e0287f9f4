//! Facts: models and their versions, what is wanted of services, jobs, receipt heads, proofs, audit.
//!
//! [`Catalog`] is what the control plane speaks to; [`SqliteCatalog`] keeps it in one file. Another
//! database joins by passing [`catalog_suite!`]. The catalog knows no bytes of artifacts, and no node
//! needs it to go on serving.
//!
//! What is acknowledged survives kill -9 and power loss. What is written together is one transaction.
//!
//! ```no_run
//! # async fn example() -> Result<(), tenon_catalog::CatalogError> {
//! use tenon_catalog::{Services as _, SqliteCatalog, SqliteOptions};
//!
//! let catalog = SqliteCatalog::open(SqliteOptions::at("tenon-data/catalog.sqlite")).await?;
//! let number = catalog.next_revision(0).await?;
//! # Ok(()) }
//! ```

mod catalog;
mod error;
mod pass_on;
mod sqlite;
pub mod suite;

pub use catalog::{
    AuditEntry, Audits, Catalog, Head, Heads, Job, JobOutcome, JobStep, Jobs, NewJob, NewVersion, Proofs,
    Registered, Services, Versions,
};
pub use error::{CatalogError, Trouble};
pub use sqlite::{SqliteCatalog, SqliteOptions};
