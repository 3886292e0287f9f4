//! Every file of `fixtures/hostile` is refused with its reason (`fixtures/README.md`) and leaves nothing: no
//! version, no blob, no stray file, no process; and the server serves on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use tenon_client::{Client, ClientError, Source};
use tenon_contract::ModelName;
use tenon_contract::admin::JobView;
use tenon_scenarios::binary::repository;
use tenon_scenarios::deed::{Deed, SERVICE};
use tenon_scenarios::server::{Server, Start};
use tenon_scenarios::site::Site;
use tenon_scenarios::witness::look;

/// File, and what the refusal must say.
const REFUSED: &[(&str, &str)] = &[
    ("absolute.onnx", "external"),
    ("absolute.zip", "/tmp/tenon-evil.onnx"),
    ("bad_toml.zip", "model.toml"),
    ("bomb.zip", "limit"),
    ("corrupt.onnx", ""),
    ("cut_off.onnx", ""),
    ("deep.onnx", ""),
    ("empty.onnx", "empty"),
    ("endless.onnx", "did not finish"),
    ("endless_load.onnx", "did not finish"),
    ("escapes.onnx", "leads out"),
    ("flipped_weights.zip", "example"),
    ("huge_initializer.onnx", ""),
    ("huge_load.onnx", "memory"),
    ("huge_memory.onnx", "memory"),
    ("lying_sizes.zip", ""),
    ("missing_external.onnx", "weights.bin"),
    ("nan.onnx", "finite"),
    ("no_manifest.zip", "model.toml"),
    ("overlap.zip", ""),
    ("random.onnx", "two answers"),
    ("symlink.zip", "link"),
    ("text.onnx", "not recognised"),
    ("traversal.zip", "evil.onnx"),
    ("two_manifests.zip", "listed"),
    ("wrong_example.zip", "example"),
    ("wrong_format.zip", "xgboost"),
];

/// Taken: its rows are not independent, and its proof says so.
const TAKEN: &str = "batch_mixer.onnx";

#[test]
fn hostile_files_are_refused_and_leave_nothing() {
    let mut site = Site::new().unwrap();
    // Patience of a test: what is endless shall end soon.
    let limits = [("CPU_S", "4"), ("WALL_S", "10"), ("MEMORY_BYTES", "2GiB")];
    let start = limits
        .into_iter()
        .fold(Start::default(), |start, (limit, value)| start.with(&format!("TENON_PROVER_{limit}"), value));
    let server = site.start(&start).unwrap();
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failures = client.block_on(try_all(&site, &server));
    drop(client);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // It is as able as before.
    let upload = site.upload(1).unwrap();
    site.must(&server, Deed::Push(upload)).unwrap();
    server.stop().unwrap();
}

/// What is wrong with the answers to each file.
async fn try_all(site: &Site, server: &Server) -> Vec<String> {
    let mut failures = Vec::new();
    for (file, reason) in REFUSED {
        if let Err(error) = refused(site, server, file, reason).await {
            failures.push(format!("{file}: {error:#}"));
        }
    }
    if let Err(error) = taken(server).await {
        failures.push(format!("{}: {error:#}", TAKEN));
    }
    failures
}

#[test]
fn every_hostile_file_is_tried() {
    for entry in std::fs::read_dir(repository().join("fixtures/hostile")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let tried = name == TAKEN || REFUSED.iter().any(|(file, _)| *file == name);
        assert!(tried, "{name} is not tried");
    }
}

async fn refused(site: &Site, server: &Server, file: &str, reason: &str) -> Result<()> {
    let before = kept(server.data());
    let client = server.client()?;
    let text = match push(&client, file).await {
        Ok(JobView { fault: Some(fault), .. }) => fault.text,
        Ok(job) => bail!("was taken: {job:?}"),
        Err(error @ (ClientError::Refused { .. } | ClientError::Local(_))) => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    ensure!(text.contains(reason), "the refusal does not say `{reason}`: {text}");
    ensure!(text.len() < 2000 && !text.contains("panicked"), "that is no text for people: {text}");
    ensure!(kept(server.data()) == before, "left behind: {:?}, before {before:?}", kept(server.data()));
    ensure!(
        std::fs::read_dir(site.home.path("tmp"))?.next().is_none(),
        "left a file in the temporary folder"
    );
    for path in ["/tmp/tenon-evil.onnx", "/tmp/evil.onnx"] {
        ensure!(!Path::new(path).exists(), "{path} came to be");
    }
    let children = children(server)?;
    ensure!(children.is_empty(), "left the processes {children}");
    let gone = client.model(&name(file)).await.err();
    ensure!(matches!(gone, Some(ClientError::Refused { status: 404, .. })), "left a model: {gone:?}");
    ensure!(look(server.port(), SERVICE)?.is_some(), "the service is gone");
    Ok(())
}

async fn taken(server: &Server) -> Result<()> {
    let client = server.client()?;
    let job = push(&client, TAKEN).await?;
    let id = job.version.with_context(|| format!("was refused: {:?}", job.fault))?;
    let proof = client.version(&id).await?.proof;
    ensure!(proof.rows_independent == Some(false), "its rows are not independent: {proof:?}");
    Ok(())
}

async fn push(client: &Client, file: &str) -> Result<JobView, ClientError> {
    let source = Source::File(repository().join("fixtures/hostile").join(file));
    let digest = client.upload(&source, |_| ()).await?;
    let job = client.push(&name(file), digest).await?;
    client.follow(&job.id, |_| ()).await
}

/// A model of the file's own name.
fn name(file: &str) -> ModelName {
    format!("hostile.{}", file.replace(['.', '_'], "-")).parse().expect("is a name")
}

/// Every file of the data folder with its size, but for those of the catalog, which keeps its jobs and audit.
fn kept(data: &Path) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("catalog") {
                files.insert(name, entry.metadata().map_or(0, |metadata| metadata.len()));
            }
        }
    }
    files
}

/// The processes that the server has made and that still run.
fn children(server: &Server) -> Result<String> {
    let mut children = String::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", server.id()))? {
        let path = task?.path().join("children");
        // A thread may end while we look.
        children += &std::fs::read_to_string(path).unwrap_or_default();
    }
    Ok(children)
}
