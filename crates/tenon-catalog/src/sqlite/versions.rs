//! Models and their versions.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};
use tenon_contract::admin::ModelView;
use tenon_contract::{Digest, ModelName, Version, VersionId};

use super::SqliteCatalog;
use super::document::{self, FORMAT, integer, number, parsed};
use crate::{CatalogError, NewVersion, Registered, Versions};

#[async_trait]
impl Versions for SqliteCatalog {
    async fn register(&self, version: NewVersion) -> Result<Registered, CatalogError> {
        const ACTION: &str = "register version";
        let mut transaction = self.begin().await?;
        let known = sqlx::query("SELECT format, document FROM versions WHERE model = ? AND digest = ?")
            .bind(version.model.as_str())
            .bind(version.digest.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(self.failed(ACTION))?;
        if let Some(row) = known {
            return Ok(Registered { version: read(&row)?, created: false });
        }
        let number = match version.number {
            Some(number) => self.free(&mut transaction, &version.model, number).await?,
            None => {
                let next: i64 =
                    sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) + 1 FROM versions WHERE model = ?")
                        .bind(version.model.as_str())
                        .fetch_one(&mut *transaction)
                        .await
                        .map_err(self.failed(ACTION))?;
                next.unsigned_abs()
            }
        };
        let version = version.numbered(number);
        self.insert(&mut transaction, &version).await?;
        transaction.commit().await.map_err(self.failed(ACTION))?;
        Ok(Registered { version, created: true })
    }

    async fn restore_version(&self, version: &Version) -> Result<bool, CatalogError> {
        const ACTION: &str = "restore version";
        let mut transaction = self.begin().await?;
        let known: Vec<(i64, String)> = sqlx::query_as(
            "SELECT number, digest FROM versions WHERE model = ? AND (number = ? OR digest = ?)",
        )
        .bind(version.id.model.as_str())
        .bind(integer(version.id.number)?)
        .bind(version.digest.to_string())
        .fetch_all(&mut *transaction)
        .await
        .map_err(self.failed(ACTION))?;
        let itself = (integer(version.id.number)?, version.digest.to_string());
        match known.iter().find(|other| **other != itself) {
            Some((number, digest)) => {
                let reason = format!("version {number} of the model is {digest}");
                return Err(CatalogError::Conflict { what: version.id.to_string(), reason });
            }
            None if !known.is_empty() => return Ok(false),
            None => {}
        }
        self.insert(&mut transaction, version).await?;
        transaction.commit().await.map_err(self.failed(ACTION))?;
        Ok(true)
    }

    async fn version(&self, id: &VersionId) -> Result<Option<Version>, CatalogError> {
        let row = sqlx::query("SELECT format, document FROM versions WHERE model = ? AND number = ?")
            .bind(id.model.as_str())
            .bind(integer(id.number)?)
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("find version"))?;
        row.as_ref().map(read).transpose()
    }

    async fn version_by_digest(
        &self,
        model: &ModelName,
        digest: &Digest,
    ) -> Result<Option<Version>, CatalogError> {
        let row = sqlx::query("SELECT format, document FROM versions WHERE model = ? AND digest = ?")
            .bind(model.as_str())
            .bind(digest.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("find version"))?;
        row.as_ref().map(read).transpose()
    }

    async fn latest(&self, model: &ModelName) -> Result<Option<Version>, CatalogError> {
        let row =
            sqlx::query("SELECT format, document FROM versions WHERE model = ? ORDER BY number DESC LIMIT 1")
                .bind(model.as_str())
                .fetch_optional(&self.pool)
                .await
                .map_err(self.failed("find latest version"))?;
        row.as_ref().map(read).transpose()
    }

    async fn versions(&self, model: &ModelName) -> Result<Vec<Version>, CatalogError> {
        let rows = sqlx::query("SELECT format, document FROM versions WHERE model = ? ORDER BY number")
            .bind(model.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("list versions"))?;
        rows.iter().map(read).collect()
    }

    async fn models(&self) -> Result<Vec<ModelView>, CatalogError> {
        let rows = sqlx::query(
            "SELECT model, MAX(number) AS latest, COUNT(*) AS versions, MAX(registered_at) AS updated_at
             FROM versions GROUP BY model ORDER BY model",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(self.failed("list models"))?;
        let model = |row: &SqliteRow| {
            Ok(ModelView {
                model: parsed(row, "model", "model")?,
                latest: number(row, "latest", "model")?,
                versions: number(row, "versions", "model")?,
                updated_at: number(row, "updated_at", "model")?,
            })
        };
        rows.iter().map(model).collect()
    }
}

impl SqliteCatalog {
    /// The number that a new version asks for, if no version of the model has it.
    async fn free(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        model: &ModelName,
        number: u64,
    ) -> Result<u64, CatalogError> {
        let holder: Option<String> =
            sqlx::query_scalar("SELECT digest FROM versions WHERE model = ? AND number = ?")
                .bind(model.as_str())
                .bind(integer(number)?)
                .fetch_optional(&mut **transaction)
                .await
                .map_err(self.failed("register version"))?;
        match holder {
            None => Ok(number),
            Some(digest) => Err(CatalogError::Conflict {
                what: format!("{model}/{number}"),
                reason: format!("the number belongs to {digest}, and a version never changes"),
            }),
        }
    }

    async fn insert(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        version: &Version,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "INSERT INTO versions (model, number, digest, registered_at, format, document)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(version.id.model.as_str())
        .bind(integer(version.id.number)?)
        .bind(version.digest.to_string())
        .bind(integer(version.registered_at)?)
        .bind(FORMAT)
        .bind(document::write(version))
        .execute(&mut **transaction)
        .await
        .map_err(self.failed("write version"))?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<Version, CatalogError> {
    document::read(row, "version")
}
