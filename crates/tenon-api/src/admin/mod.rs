//! `/api/v1`: administration, one module a noun.

pub(crate) mod blobs;
pub(crate) mod jobs;
pub(crate) mod models;
pub(crate) mod node;
pub(crate) mod repository;
pub(crate) mod services;

pub use node::OPENAPI;
