//! The SQLite catalog passes the suite.

use std::path::Path;

use tenon_catalog::{SqliteCatalog, SqliteOptions, catalog_suite};

async fn open(folder: &Path) -> SqliteCatalog {
    let options = SqliteOptions::at(folder.join("catalog.sqlite"));
    SqliteCatalog::open(options).await.expect("the catalog opens")
}

catalog_suite!(sqlite, open);
