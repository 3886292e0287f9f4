//! Proofs by what would change them.

use async_trait::async_trait;
use tenon_contract::{Proof, ProofKey};

use super::SqliteCatalog;
use super::document::{self, FORMAT};
use crate::{CatalogError, Proofs};

#[async_trait]
impl Proofs for SqliteCatalog {
    async fn proof(&self, key: &ProofKey) -> Result<Option<Proof>, CatalogError> {
        let row = sqlx::query(
            "SELECT format, document FROM proofs WHERE artifact = ? AND runtime = ? AND processor = ?",
        )
        .bind(key.artifact.to_string())
        .bind(&key.runtime)
        .bind(&key.processor)
        .fetch_optional(&self.pool)
        .await
        .map_err(self.failed("find proof"))?;
        row.map(|row| document::read(&row, "proof")).transpose()
    }

    async fn record_proof(&self, proof: &Proof) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO proofs (artifact, runtime, processor, format, document) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (artifact, runtime, processor) DO UPDATE
             SET format = excluded.format, document = excluded.document",
        )
        .bind(proof.key.artifact.to_string())
        .bind(&proof.key.runtime)
        .bind(&proof.key.processor)
        .bind(FORMAT)
        .bind(document::write(proof))
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(self.failed("record proof"))
    }
}
