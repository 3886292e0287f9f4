//! Revisions, and what is wanted of each service.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use tenon_contract::{Revision, ServiceName};

use super::SqliteCatalog;
use super::document::{FORMAT, column, integer};
use crate::{CatalogError, Services};

#[async_trait]
impl Services for SqliteCatalog {
    async fn next_revision(&self, floor: u64) -> Result<u64, CatalogError> {
        let given: i64 =
            sqlx::query_scalar("UPDATE revision_counter SET given = MAX(given, ?) + 1 RETURNING given")
                // One below the highest number, so that the sum is a number still.
                .bind(integer(floor.saturating_add(1))? - 1)
                .fetch_one(&self.pool)
                .await
                .map_err(self.failed("give a revision number"))?;
        Ok(given.unsigned_abs())
    }

    async fn record_service(&self, revision: &Revision) -> Result<(), CatalogError> {
        const ACTION: &str = "record service";
        let mut transaction = self.begin().await?;
        let number = integer(revision.number)?;
        sqlx::query(
            "INSERT INTO services (service, revision, format, document) VALUES (?, ?, ?, ?)
             ON CONFLICT (service) DO UPDATE
             SET revision = excluded.revision, format = excluded.format, document = excluded.document",
        )
        .bind(revision.service.as_str())
        .bind(number)
        .bind(FORMAT)
        .bind(String::from_utf8_lossy(&revision.write()).into_owned())
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(ACTION))?;
        sqlx::query("UPDATE revision_counter SET given = MAX(given, ?)")
            .bind(number)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(ACTION))?;
        transaction.commit().await.map_err(self.failed(ACTION))
    }

    async fn service(&self, service: &ServiceName) -> Result<Option<Revision>, CatalogError> {
        let row = sqlx::query("SELECT format, document FROM services WHERE service = ?")
            .bind(service.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("find service"))?;
        row.as_ref().map(read).transpose()
    }

    async fn services(&self) -> Result<Vec<Revision>, CatalogError> {
        let rows = sqlx::query("SELECT format, document FROM services ORDER BY service")
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("list services"))?;
        rows.iter().map(read).collect()
    }

    async fn remove_service(&self, service: &ServiceName) -> Result<bool, CatalogError> {
        let removed = sqlx::query("DELETE FROM services WHERE service = ?")
            .bind(service.as_str())
            .execute(&self.pool)
            .await
            .map_err(self.failed("remove service"))?;
        Ok(removed.rows_affected() > 0)
    }
}

/// A revision carries the number of its form itself, and the contract reads every form.
fn read(row: &SqliteRow) -> Result<Revision, CatalogError> {
    let document: &str = column(row, "document", "revision")?;
    Revision::read(document.as_bytes())
        .map_err(|reason| CatalogError::Document { what: "revision".to_owned(), reason })
}
