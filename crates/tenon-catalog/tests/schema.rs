//! The schema is a file in git, and catalogs of every past version open.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tenon_catalog::suite::{revision, run, version};
use tenon_catalog::{
    Audits as _, CatalogError, Heads as _, JobOutcome, Jobs as _, Proofs as _, Services as _, SqliteCatalog,
    SqliteOptions, Versions as _,
};
use tenon_contract::admin::JobState;

mod story;

fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

async fn open(path: &Path) -> Result<SqliteCatalog, CatalogError> {
    SqliteCatalog::open(SqliteOptions::at(path)).await
}

async fn raw(path: &Path) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap()
}

/// The schema that the migrations make, as text.
async fn schema() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    open(&path).await.unwrap().close().await;
    let statements: Vec<String> = sqlx::query_scalar(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'
         ORDER BY type DESC, name",
    )
    .fetch_all(&raw(&path).await)
    .await
    .unwrap();
    format!(
        "-- What the migrations of this crate make; written by a test, do not edit.\n\n{};\n",
        statements.join(";\n\n")
    )
}

#[test]
fn the_schema_is_the_checked_in_file() {
    run(async {
        let (checked_in, made) = (own("schema.sql"), schema().await);
        if fs::read_to_string(&checked_in).unwrap_or_default() != made {
            let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema.sql");
            fs::write(&new, made).unwrap();
            panic!("the migrations make another schema: cp {} {}", new.display(), checked_in.display());
        }
    });
}

/// When the schema changes, the file this leaves in the target folder is checked in as the next version.
#[test]
fn a_catalog_of_today_opens() {
    run(async {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("catalog-today.sqlite");
        let _ = fs::remove_file(&path);
        let catalog = open(&path).await.unwrap();
        story::write(&catalog).await;
        catalog.close().await;
        story::assert_written(&open(&path).await.unwrap()).await;
    });
}

#[test]
fn a_catalog_of_version_1_opens() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        fs::copy(own("tests/catalog-1.sqlite"), &path).unwrap();
        let catalog = open(&path).await.unwrap();
        catalog.check().await.unwrap();
        story::assert_written(&catalog).await;

        let registered = catalog.register(version("team.churn", "third")).await.unwrap();
        assert_eq!(registered.version.id.number, 3);
        assert_eq!(catalog.next_revision(0).await.unwrap(), 8);
        catalog.record_service(&revision(8, "churn")).await.unwrap();
        catalog.finish_job("job-2", JobOutcome::Done("resumed".into()), 30).await.unwrap();
        assert_eq!(catalog.job("job-2").await.unwrap().unwrap().state, JobState::Done);
        assert_eq!(catalog.heads(&"churn".parse().unwrap()).await.unwrap().len(), 2);
        assert_eq!(catalog.audits(10).await.unwrap().len(), 1);
        assert!(catalog.proof(&version("team.churn", "first").proof.key).await.unwrap().is_some());
    });
}

#[test]
fn a_catalog_of_a_later_build_is_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        open(&path).await.unwrap().close().await;
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (99, 'later', TRUE, X'00', 0)";
        sqlx::query(later).execute(&raw(&path).await).await.unwrap();
        let error = open(&path).await.unwrap_err();
        assert!(matches!(error, CatalogError::Later { migration: 99, .. }), "{error}");
    });
}

#[test]
fn a_document_of_a_later_build_is_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        let catalog = open(&path).await.unwrap();
        story::write(&catalog).await;
        sqlx::query("UPDATE versions SET format = 2").execute(&raw(&path).await).await.unwrap();
        let error = catalog.versions(&"team.churn".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.to_string(), "read version from the catalog: it has form 2, this build reads 1");
    });
}

#[test]
fn only_the_owner_may_look() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/catalog.sqlite");
        let catalog = open(&path).await.unwrap();
        story::write(&catalog).await;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    });
}
