//! A catalog that may come later: it is opened when it is first asked, and again until that succeeds.
//!
//! A node serves from its own disk whether there is a catalog or not. What needs one is refused with the
//! reason until it is there.

use std::sync::Arc;

use tenon_catalog::{CatalogError, SqliteCatalog, SqliteOptions};
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

tenon_catalog::pass_on!(LateCatalog, opened);

#[cfg(test)]
mod tests {
    use tenon_catalog::Versions as _;

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
