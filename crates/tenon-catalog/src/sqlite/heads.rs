//! Heads of receipt chains.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use tenon_contract::ServiceName;

use super::SqliteCatalog;
use super::document::{integer, number, parsed};
use crate::{CatalogError, Head, Heads};

#[async_trait]
impl Heads for SqliteCatalog {
    async fn record_head(&self, head: &Head) -> Result<(), CatalogError> {
        const ACTION: &str = "record head";
        let hash = head.hash.to_string();
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO heads (service, sequence, hash, at) VALUES (?, ?, ?, ?)
             ON CONFLICT (service, sequence) DO NOTHING",
        )
        .bind(head.service.as_str())
        .bind(integer(head.sequence)?)
        .bind(&hash)
        .bind(integer(head.at)?)
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(ACTION))?;
        let recorded: String =
            sqlx::query_scalar("SELECT hash FROM heads WHERE service = ? AND sequence = ?")
                .bind(head.service.as_str())
                .bind(integer(head.sequence)?)
                .fetch_one(&mut *transaction)
                .await
                .map_err(self.failed(ACTION))?;
        if recorded != hash {
            return Err(CatalogError::Conflict {
                what: format!("head {} of {}", head.sequence, head.service),
                reason: format!("{recorded} was recorded there, not {hash}: the chain was written anew"),
            });
        }
        transaction.commit().await.map_err(self.failed(ACTION))
    }

    async fn heads(&self, service: &ServiceName) -> Result<Vec<Head>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM heads WHERE service = ? ORDER BY sequence")
            .bind(service.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("list heads"))?;
        rows.iter().map(read_head).collect()
    }
}

fn read_head(row: &SqliteRow) -> Result<Head, CatalogError> {
    Ok(Head {
        service: parsed(row, "service", "head")?,
        sequence: number(row, "sequence", "head")?,
        hash: parsed(row, "hash", "head")?,
        at: number(row, "at", "head")?,
    })
}
