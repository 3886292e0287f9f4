//! Who did what.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::SqliteCatalog;
use super::document::{column, integer, number};
use crate::{AuditEntry, Audits, CatalogError};

#[async_trait]
impl Audits for SqliteCatalog {
    async fn audit(&self, entry: AuditEntry) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO audit (at, actor, action, subject, outcome, request_id) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(integer(entry.at)?)
        .bind(entry.actor)
        .bind(entry.action)
        .bind(entry.subject)
        .bind(entry.outcome)
        .bind(entry.request_id)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(self.failed("audit"))
    }

    async fn audits(&self, limit: u32) -> Result<Vec<AuditEntry>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM audit ORDER BY position DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("list audit"))?;
        rows.iter().map(read_audit).collect()
    }
}

fn read_audit(row: &SqliteRow) -> Result<AuditEntry, CatalogError> {
    const WHAT: &str = "audit entry";
    Ok(AuditEntry {
        at: number(row, "at", WHAT)?,
        actor: column(row, "actor", WHAT)?,
        action: column(row, "action", WHAT)?,
        subject: column(row, "subject", WHAT)?,
        outcome: column(row, "outcome", WHAT)?,
        request_id: column(row, "request_id", WHAT)?,
    })
}
