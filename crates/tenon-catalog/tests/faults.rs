//! Kills, cut-off callers, full disks, read-only and damaged files: nothing half, and clear words.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tenon_catalog::suite::{run, version};
use tenon_catalog::{
    Catalog, CatalogError, JobOutcome, JobStep, Jobs as _, SqliteCatalog, SqliteOptions, Trouble,
    Versions as _,
};
use tenon_contract::admin::JobState;
use tenon_contract::{FaultKind, ModelName};

mod story;

const KILLS: u32 = 20;

fn churn() -> ModelName {
    "churn".parse().unwrap()
}

async fn open(path: &Path) -> SqliteCatalog {
    SqliteCatalog::open(SqliteOptions::at(path)).await.unwrap()
}

/// Every acknowledged version is there, none is half, and the numbers have no gaps.
async fn assert_whole(catalog: &SqliteCatalog, acknowledged: &[u64]) {
    catalog.check().await.unwrap();
    let versions = catalog.versions(&churn()).await.unwrap();
    for (index, found) in versions.iter().enumerate() {
        assert_eq!(found.id.number, index as u64 + 1, "no gaps");
    }
    let last = acknowledged.last().copied().unwrap_or(0);
    assert!(versions.len() as u64 >= last, "version {last} was acknowledged, {} are there", versions.len());
}

#[test]
fn a_kill_at_any_moment_leaves_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "registers_until_killed", "--nocapture"])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = (&mut lines).map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("acknowledged ").map(|number| number.parse::<u64>().unwrap())
        });
        let mut acknowledged = vec![told.next().expect("the child registers")];
        std::thread::sleep(Duration::from_micros(u64::from(kill) * 1_700));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(told);
        run(async { assert_whole(&open(&path).await, &acknowledged).await });
    }
}

/// The child of the test above: given a path, it registers versions and says each number until it is
/// killed. Among the other tests, where nobody gives a path, it does nothing.
#[test]
fn registers_until_killed() {
    let Some(path) = std::env::args().find(|argument| argument.ends_with("/catalog.sqlite")) else { return };
    run(async {
        let catalog = open(Path::new(&path)).await;
        let first = catalog.latest(&churn()).await.unwrap().map_or(1, |version| version.id.number + 1);
        for number in first.. {
            let registered = catalog.register(version("churn", &number.to_string())).await.unwrap();
            // Rust's standard output is written line by line.
            println!("\nacknowledged {}", registered.version.id.number);
        }
    });
}

#[test]
fn a_caller_that_goes_away_leaves_nothing_half() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(&folder.path().join("catalog.sqlite")).await;
        let mut acknowledged = Vec::new();
        for micros in 0..60 {
            let bytes = micros.to_string();
            let register = catalog.register(version("churn", &bytes));
            if let Ok(registered) = tokio::time::timeout(Duration::from_micros(micros * 100), register).await
            {
                acknowledged.push(registered.unwrap().version.id.number);
            }
        }
        assert_whole(&catalog, &acknowledged).await;
    });
}

#[test]
fn a_fault_between_two_writes_takes_back_both() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        let catalog = open(&path).await;
        story::write(&catalog).await;
        let before = catalog.job("job-2").await.unwrap();
        let raw = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path)).await.unwrap();
        let fault = "CREATE TRIGGER fault BEFORE INSERT ON job_steps BEGIN SELECT RAISE(ABORT, 'fault'); END";
        sqlx::query(fault).execute(&raw).await.unwrap();
        let step = JobStep { name: "proven".into(), state: JobState::Done, detail: "x".into(), at: 99 };
        catalog.advance_job("job-2", step.clone()).await.unwrap_err();
        assert_eq!(catalog.job("job-2").await.unwrap(), before, "the job's own row was taken back");
        sqlx::query("DROP TRIGGER fault").execute(&raw).await.unwrap();
        catalog.advance_job("job-2", step).await.unwrap();
    });
}

fn assert_trouble<T: std::fmt::Debug>(result: Result<T, CatalogError>, expected: Trouble, words: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error, CatalogError::Database { trouble, .. } if *trouble == expected), "{error}");
    assert!(error.to_string().contains(words) && error.to_string().contains("catalog.sqlite"), "{error}");
}

#[test]
fn a_full_disk_is_told_and_leaves_what_was_there() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        let small = SqliteOptions { file_bytes: 256 << 10, ..SqliteOptions::at(&path) };
        let catalog = SqliteCatalog::open(small).await.unwrap();
        story::write(&catalog).await;
        let mut registered = 0;
        let refused = loop {
            match catalog.register(version("churn", &registered.to_string())).await {
                Ok(_) => registered += 1,
                refused => break refused,
            }
        };
        assert_trouble(refused, Trouble::Full, "free some");
        story::assert_written(&catalog).await;
        assert_eq!(catalog.versions(&churn()).await.unwrap().len(), registered);
        // No connection is left in the transaction that SQLite ended by itself: with space, the same catalog goes on.
        for _ in 0..8 {
            let refused = catalog.register(version("churn", "once more")).await;
            assert_trouble(refused, Trouble::Full, "free some");
        }
        drop(catalog);
        let catalog = open(&path).await;
        assert!(catalog.register(version("churn", "with space")).await.unwrap().created);
    });
}

#[test]
fn what_cannot_be_opened_is_told() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("catalog.sqlite")).unwrap();
        let result = SqliteCatalog::open(SqliteOptions::at(folder.path().join("catalog.sqlite"))).await;
        assert_trouble(result, Trouble::Unreachable, "cannot be opened");

        std::fs::write(folder.path().join("file"), "").unwrap();
        let below = folder.path().join("file/catalog.sqlite");
        assert_trouble(
            SqliteCatalog::open(SqliteOptions::at(below)).await,
            Trouble::Unreachable,
            "check path",
        );
    });
}

#[test]
fn a_damaged_file_is_told() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        std::fs::write(&path, "this is a letter to my aunt, not a database".repeat(100)).unwrap();
        let result = SqliteCatalog::open(SqliteOptions::at(&path)).await;
        assert_trouble(result, Trouble::Damaged, "put a backup in its place");

        std::fs::remove_file(&path).unwrap();
        let catalog = open(&path).await;
        story::write(&catalog).await;
        catalog.close().await;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8192..].fill(0xAA);
        std::fs::write(&path, bytes).unwrap();
        let found = async {
            let catalog = SqliteCatalog::open(SqliteOptions::at(&path)).await?;
            catalog.check().await
        };
        assert_trouble(found.await, Trouble::Damaged, "put a backup in its place");
    });
}

#[test]
fn a_catalog_that_others_hold_is_busy_and_then_free() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        let wait = Duration::from_millis(50);
        let catalog = SqliteCatalog::open(SqliteOptions { wait, ..SqliteOptions::at(&path) }).await.unwrap();
        let raw = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path)).await.unwrap();
        let held = raw.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let refused = catalog.register(version("churn", "1")).await;
        assert_eq!(refused.as_ref().unwrap_err().kind(), FaultKind::Overloaded);
        assert_trouble(refused, Trouble::Busy, "try again");
        assert_eq!(catalog.versions(&churn()).await.unwrap(), [], "readers do not wait");
        held.rollback().await.unwrap();
        catalog.register(version("churn", "1")).await.unwrap();
    });
}

#[test]
fn a_catalog_is_an_object() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog: std::sync::Arc<dyn Catalog> =
            std::sync::Arc::new(open(&folder.path().join("catalog.sqlite")).await);
        story::write(catalog.as_ref()).await;
        catalog.finish_job("job-2", JobOutcome::Failed("late".into()), 15).await.unwrap();
    });
}
