//! The catalog in one SQLite file.
//!
//! A rollback journal with `synchronous = FULL`: a commit is on the disk when it returns. Not WAL: its index is
//! a mapped file, and where the disk turns read-only under it SQLite dies of SIGBUS, and the server with it.
//! Transactions that read before they write begin immediately, so that they wait for each other
//! instead of failing halfway.

mod audit;
mod document;
mod heads;
mod jobs;
mod proofs;
mod services;
mod versions;

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, Transaction};

use crate::CatalogError;
use crate::error::Trouble;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Bytes of a page of the file.
const PAGE_BYTES: u32 = 4096;

/// How a [`SqliteCatalog`] is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file; created (mode 0600) when it is not there, its folder (0700) too.
    pub path: PathBuf,
    /// Most connections at once. One of them writes at a time.
    pub connections: u32,
    /// How long to wait for another writer, or for a connection.
    pub wait: Duration,
    /// Most bytes of the file; writing more is refused like a full disk.
    pub file_bytes: u64,
}

impl SqliteOptions {
    /// The file at `path`, with four connections, five seconds of patience and 16 GiB.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), connections: 4, wait: Duration::from_secs(5), file_bytes: 16 << 30 }
    }

    fn connect(&self) -> SqliteConnectOptions {
        let pages = (self.file_bytes / u64::from(PAGE_BYTES)).clamp(1, 0xffff_fffe);
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .page_size(PAGE_BYTES)
            .journal_mode(SqliteJournalMode::Truncate)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(self.wait)
            .pragma("max_page_count", pages.to_string())
            .disable_statement_logging()
    }
}

/// The facts of an installation in one SQLite file. Clones are the same catalog.
#[derive(Clone)]
pub struct SqliteCatalog {
    pool: SqlitePool,
    path: PathBuf,
}

impl SqliteCatalog {
    /// Opens the file, or makes it, and brings it to the schema of this build.
    ///
    /// # Errors
    /// The file cannot be made, opened or written, is damaged, or was written by a later build.
    pub async fn open(options: SqliteOptions) -> Result<Self, CatalogError> {
        let place = options.path.display().to_string();
        create(&options.path).map_err(|error| failed("create file", &place)(error.into()))?;
        let pool = SqlitePoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(options.wait)
            .test_before_acquire(false)
            // Where the disk fails, SQLite ends the transaction by itself. sqlx then counts it as open for ever, and
            // nothing could be written over that connection any more: another one takes its place.
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .connect_with(options.connect())
            .await
            .map_err(failed("open file", &place))?;
        MIGRATIONS.run(&pool).await.map_err(|error| match error {
            MigrateError::VersionMissing(migration) => {
                CatalogError::Later { place: place.clone(), migration }
            }
            MigrateError::Execute(error) => failed("migrate", &place)(error),
            MigrateError::ExecuteMigration(error, _) => failed("migrate", &place)(error),
            error => failed("migrate", &place)(sqlx::Error::Migrate(error.into())),
        })?;
        Ok(Self { pool, path: options.path })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file and checks its structure: for `tenon doctor`.
    ///
    /// # Errors
    /// It is damaged; the text says where.
    pub async fn check(&self) -> Result<(), CatalogError> {
        let findings: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(10)")
            .fetch_all(&self.pool)
            .await
            .map_err(self.failed("check file"))?;
        if findings == ["ok"] {
            return Ok(());
        }
        Err(CatalogError::Database {
            action: "check file",
            place: self.place(),
            trouble: Trouble::Damaged,
            error: findings.join("; "),
        })
    }

    /// Ends all connections. Not needed for durability.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins a transaction that writes. Dropped before its commit, it leaves nothing.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, CatalogError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(self.failed("begin writing"))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Names what was being done when the database refused.
    fn failed(&self, action: &'static str) -> impl FnOnce(sqlx::Error) -> CatalogError + use<> {
        failed(action, &self.place())
    }
}

impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteCatalog({})", self.path.display())
    }
}

fn failed(action: &'static str, place: &str) -> impl FnOnce(sqlx::Error) -> CatalogError + use<> {
    let place = place.to_owned();
    move |error| {
        let trouble = Trouble::of(&error);
        CatalogError::Database { action, place, trouble, error: error.to_string() }
    }
}

/// Makes an empty file, which SQLite takes for an empty database, so that it has our mode; SQLite
/// gives its log the same.
fn create(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?.sync_all()?;
    File::open(parent)?.sync_all()
}
