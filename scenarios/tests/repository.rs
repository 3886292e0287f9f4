//! `tenon serve --repository`: folders that other servers wrote, served by the built binary as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tenon_scenarios::binary::repository;
use tenon_scenarios::http::{Connection, Request};
use tenon_scenarios::server::{Home, Server, Start};

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
name: "digits"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [ { name: "pixels" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [ { name: "label" data_type: TYPE_INT64 dims: [] }, { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
model_warmup [ {
  name: "zeros" batch_size: 4
  inputs { key: "pixels" value: { data_type: TYPE_FP32 dims: [ 64 ] zero_data: true } }
} ]
"#;

/// A folder of models in a home.
struct Shelf {
    home: Home,
    root: PathBuf,
}

impl Shelf {
    fn new() -> Result<Self> {
        let home = Home::new()?;
        let root = home.path("models");
        fs::create_dir(&root)?;
        Ok(Self { home, root })
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    }

    /// A version of the digits as a bare ONNX file.
    fn digits(&self, path: &str, version: &str) -> Result<()> {
        self.write(path, digits(version)?)
    }

    fn start(&self, poll: &str) -> Result<Server> {
        let root = self.root.display().to_string();
        let flags = ["--repository", &root, "--repository-poll", poll].map(str::to_owned).to_vec();
        Server::start(&self.home, &Start { flags, ..Start::default() })
    }
}

fn fixture(path: &str) -> PathBuf {
    repository().join("fixtures").join(path)
}

fn digits(version: &str) -> Result<Vec<u8>> {
    let path = fixture(&format!("digits/{version}/model.onnx"));
    fs::read(&path).with_context(|| format!("read {}", path.display()))
}

fn question(service: &str) -> Result<Request> {
    let body = fs::read(fixture("digits/request.json"))?;
    Ok(Request::post(&format!("/v2/models/{service}/infer"), body))
}

/// The number of the version that answers a service's callers.
fn answers(server: &Server, service: &str) -> Result<String> {
    let answer = server.send(&question(service)?)?;
    ensure!(answer.status == 200, "{service}: {} {}", answer.status, answer.text());
    let document = answer.json();
    ensure!(document["outputs"][0]["name"] == "label", "{document}");
    Ok(document["model_version"].as_str().unwrap_or_default().to_owned())
}

/// What the repository index says: `name/version STATE reason`, one a line.
fn index(server: &Server) -> Result<Vec<String>> {
    let answer = server.send(&Request::post("/v2/repository/index", "{}"))?;
    let entry = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        format!("{}/{} {} {}", text("name"), text("version"), text("state"), text("reason"))
    };
    Ok(answer.json().as_array().context("no list")?.iter().map(entry).collect())
}

/// Waits for a line of the index that begins and goes on so.
fn told(server: &Server, begins: &str, holds: &str) -> Result<()> {
    within(|| {
        let index = index(server)?;
        let found = index.iter().any(|line| line.starts_with(begins) && line.contains(holds));
        ensure!(found, "no `{begins} ... {holds}` in {index:#?}");
        Ok(())
    })
}

/// Waits until this version answers a service's callers.
fn answered_by(server: &Server, service: &str, version: &str) -> Result<()> {
    within(|| {
        let answers = answers(server, service)?;
        ensure!(answers == version, "{service} is still answered by {answers}");
        Ok(())
    })
}

fn within(check: impl Fn() -> Result<()>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn post(server: &Server, path: &str) -> Result<(u16, String)> {
    let token = fs::read_to_string(server.data().join("admin.token"))?;
    let mut request = Request::post(path, "{}");
    request.headers.push(("authorization".to_owned(), format!("Bearer {}", token.trim())));
    let answer = server.send(&request)?;
    Ok((answer.status, answer.text()))
}

/// Callers who ask without a pause and want every answer.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn start(server: &Server, service: &str) -> Result<Self> {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut callers = Vec::new();
        for _ in 0..3 {
            let (stop, answered) = (stop.clone(), answered.clone());
            let (question, port) = (question(service)?, server.port());
            callers.push(std::thread::spawn(move || {
                let mut connection = Connection::open(port)?;
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.send(&question)?;
                    ensure!(answer.status == 200, "lost: {} {}", answer.status, answer.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Ok(Self { stop, answered, callers })
    }

    /// Ends it; gives how many were answered.
    fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            match caller.join() {
                Ok(result) => result?,
                Err(_) => bail!("a caller broke"),
            }
        }
        Ok(self.answered.load(Ordering::Relaxed))
    }
}

#[test]
fn a_version_that_appears_is_swapped_in_under_load_and_nothing_that_vanishes_takes_it_away() {
    let shelf = Shelf::new().unwrap();
    shelf.write("digits/config.pbtxt", CONFIG).unwrap();
    shelf.digits("digits/1/model.onnx", "v1").unwrap();
    let server = shelf.start("0.3").unwrap();
    assert_eq!(answers(&server, "digits").unwrap(), "1", "ready says that it is served");

    let load = Load::start(&server, "digits").unwrap();
    let whole = digits("v2").unwrap();
    for part in [whole.len() / 2, whole.len() - 1] {
        shelf.write("digits/5/model.onnx", &whole[..part]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(answers(&server, "digits").unwrap(), "1", "half a file is nothing");
    }
    shelf.write("digits/5/model.onnx", &whole).unwrap();
    answered_by(&server, "digits", "5").unwrap();
    assert!(load.end().unwrap() > 0);
    let versioned = server.get("/v2/models/digits/versions/5").unwrap();
    assert_eq!((versioned.status, &versioned.json()["versions"]), (200, &json!(["5"])));

    // The same bytes in a folder of another number are another version, renamed in whole.
    fs::create_dir(shelf.root.join(".new")).unwrap();
    fs::copy(shelf.root.join("digits/5/model.onnx"), shelf.root.join(".new/model.onnx")).unwrap();
    fs::rename(shelf.root.join(".new"), shelf.root.join("digits/6")).unwrap();
    answered_by(&server, "digits", "6").unwrap();

    // One that is no model leaves what answers, and tells why.
    shelf.write("digits/7/model.onnx", "not an ONNX file").unwrap();
    told(&server, "digits/7 UNAVAILABLE ", "").unwrap();
    within(|| {
        let index = index(&server)?;
        let still = index.iter().any(|line| line.starts_with("digits/7") && line.contains("being written"));
        ensure!(!still, "{index:#?}");
        Ok(())
    })
    .unwrap();
    assert_eq!(answers(&server, "digits").unwrap(), "6");

    // The storage goes away, also over a restart.
    let away = shelf.home.path("away");
    fs::rename(&shelf.root, &away).unwrap();
    told(&server, "digits/6 READY read repository", "No such file").unwrap();
    assert_eq!(answers(&server, "digits").unwrap(), "6");
    server.stop().unwrap();
    let server = shelf.start("0.3").unwrap();
    assert_eq!(answers(&server, "digits").unwrap(), "6", "a node restarts from its own disk");
    fs::rename(&away, &shelf.root).unwrap();
    told(&server, "digits/1 UNAVAILABLE the version policy leaves it out", "").unwrap();
    fs::remove_dir_all(shelf.root.join("digits")).unwrap();
    told(&server, "digits/6 READY its folder is gone", "serves on").unwrap();
    assert_eq!(answers(&server, "digits").unwrap(), "6");
    server.stop().unwrap();
}

#[test]
fn layouts_of_others_are_served_and_what_is_not_is_listed_with_the_reason() {
    let shelf = Shelf::new().unwrap();
    // TensorFlow Serving and OpenVINO Model Server.
    shelf.digits("numbered/1/model.onnx", "v1").unwrap();
    shelf.digits("numbered/12/anything.onnx", "v2").unwrap();
    shelf.write("savedmodel/1/saved_model.pb", "x").unwrap();
    shelf.write("savedmodel/1/variables/variables.index", "x").unwrap();
    shelf.write("intermediate/1/model.xml", "<net/>").unwrap();
    shelf.write("intermediate/1/model.bin", "x").unwrap();
    // MLServer.
    let settings = |name: &str, rest: &str| format!("{{\"name\": \"{name}\", {rest}}}");
    let onnx = r#""implementation": "mlserver_onnx.OnnxModel", "parameters": {"uri": "./net.onnx", "version": "v3"}"#;
    shelf.write("ml/model-settings.json", settings("mlserver", onnx)).unwrap();
    shelf.digits("ml/net.onnx", "v1").unwrap();
    let sklearn =
        r#""implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}"#;
    shelf.write("forest/model-settings.json", settings("forest", sklearn)).unwrap();
    // Bare files, and bundles of our own.
    shelf.digits("bare.onnx", "v1").unwrap();
    shelf.digits("folder/model.onnx", "v2").unwrap();
    for file in ["model.toml", "model.onnx", "examples.json", "card.md"] {
        shelf
            .write(&format!("bundle/{file}"), fs::read(fixture(&format!("digits/v1/{file}"))).unwrap())
            .unwrap();
    }
    // Triton, by policy.
    shelf.write("chosen/config.pbtxt", "version_policy { specific { versions: 2 } }").unwrap();
    shelf.digits("chosen/2/model.onnx", "v1").unwrap();
    shelf.digits("chosen/3/model.onnx", "v2").unwrap();
    shelf.write("torch/config.pbtxt", "platform: \"pytorch_libtorch\"").unwrap();
    shelf.write("torch/1/model.pt", "x").unwrap();
    shelf
        .write(
            "ensemble/config.pbtxt",
            "platform: \"ensemble\" ensemble_scheduling { step [ { model_name: \"a\" } ] }",
        )
        .unwrap();
    shelf.write("ensemble/1/.keep", "").unwrap();
    // What is wrong or hostile.
    shelf
        .write("differs/config.pbtxt", "input { name: \"pixels\" data_type: TYPE_FP32 dims: [ -1, 63 ] }")
        .unwrap();
    shelf.digits("differs/1/model.onnx", "v1").unwrap();
    shelf.write("deep/config.pbtxt", "input {".repeat(100_000)).unwrap();
    shelf.digits("deep/1/model.onnx", "v1").unwrap();
    shelf
        .write(
            "cold/config.pbtxt",
            "model_warmup { name: \"w\" inputs { key: \"nothing\" value { data_type: TYPE_FP32 dims: 1 } } }",
        )
        .unwrap();
    shelf.digits("cold/1/model.onnx", "v1").unwrap();
    fs::create_dir_all(shelf.root.join("leads/1")).unwrap();
    fs::copy(fixture("digits/v1/model.onnx"), shelf.home.path("outside/model.onnx")).unwrap();
    symlink(shelf.home.path("outside/model.onnx"), shelf.root.join("leads/1/model.onnx")).unwrap();
    symlink("bare.onnx", shelf.root.join("link.onnx")).unwrap();

    let server = shelf.start("1").unwrap();
    let served = [
        ("numbered", "12"),
        ("mlserver", "3"),
        ("bare", "1"),
        ("folder", "1"),
        ("bundle", "1"),
        ("chosen", "2"),
        ("link", "1"),
    ];
    for (service, version) in served {
        assert_eq!(answers(&server, service).unwrap(), version, "{service}");
    }
    let listed = [
        ("numbered/1 UNAVAILABLE", "the version policy leaves it out"),
        ("chosen/3 UNAVAILABLE", "the version policy leaves it out"),
        ("savedmodel/1 UNAVAILABLE", "a TensorFlow SavedModel"),
        ("intermediate/1 UNAVAILABLE", "an OpenVINO IR"),
        ("forest/ UNAVAILABLE", "mlserver_sklearn.SKLearnModel"),
        ("torch/ UNAVAILABLE", "its platform is `pytorch_libtorch`"),
        ("ensemble/ UNAVAILABLE", "it is an ensemble"),
        (
            "differs/1 UNAVAILABLE",
            "config.pbtxt declares input `pixels` as FP32[-1, 63] (batch included), the model has FP32[-1, 64]",
        ),
        ("deep/ UNAVAILABLE", "config.pbtxt: line 1, column 232: more than 32 messages inside each other"),
        ("cold/1 UNAVAILABLE", "warm-up 1: unknown input `nothing`"),
        ("leads/1 UNAVAILABLE", "`leads/1/model.onnx` is a link that leads out of the repository"),
    ];
    for (begins, holds) in listed {
        told(&server, begins, holds).unwrap();
    }
    let log = shelf.home.log();
    assert_eq!(log.matches("a TensorFlow SavedModel").count(), 1, "it is logged once: {log}");

    let unserved = server.get("/api/v1/repository").unwrap().json()["unserved"].clone();
    let torch = unserved.as_array().unwrap().iter().find(|entry| entry["name"] == "torch").unwrap();
    assert_eq!((&torch["version"], &torch["trouble"]), (&Value::Null, &json!(true)), "{unserved}");

    // A restart onboards nothing again.
    let jobs = || shelf_jobs(&server);
    let before = jobs().unwrap();
    server.stop().unwrap();
    let server = shelf.start("1").unwrap();
    for (service, version) in served {
        assert_eq!(answers(&server, service).unwrap(), version, "{service}");
    }
    told(&server, "torch/ UNAVAILABLE", "its platform").unwrap();
    let again: Vec<_> =
        shelf_jobs(&server).unwrap().into_iter().filter(|job| !before.contains(job)).collect();
    assert!(
        again.iter().all(|job| job.starts_with("cold")),
        "only what was refused is tried again: {again:?}"
    );
    server.stop().unwrap();
}

/// Every job as `model id`.
fn shelf_jobs(server: &Server) -> Result<Vec<String>> {
    let token = fs::read_to_string(server.data().join("admin.token"))?;
    let mut request = Request::get("/api/v1/jobs");
    request.headers.push(("authorization".to_owned(), format!("Bearer {}", token.trim())));
    let answer = server.send(&request)?.json();
    let job = |job: &Value| format!("{} {}", job["subject"].as_str().unwrap_or_default(), job["id"]);
    Ok(answer.as_array().context("no list of jobs")?.iter().map(job).collect())
}

#[test]
fn load_reads_the_folder_and_unload_takes_out_until_load() {
    let shelf = Shelf::new().unwrap();
    shelf.digits("digits/1/model.onnx", "v1").unwrap();
    let server = shelf.start("0").unwrap();
    assert_eq!(answers(&server, "digits").unwrap(), "1");
    let load = || post(&server, "/v2/repository/models/digits/load").unwrap();
    let unload = || post(&server, "/v2/repository/models/digits/unload").unwrap();
    shelf.digits("digits/2/model.onnx", "v2").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(answers(&server, "digits").unwrap(), "1", "nobody looks");
    assert_eq!(load(), (200, "{}".to_owned()));
    assert_eq!(answers(&server, "digits").unwrap(), "2");
    assert_eq!(unload().0, 200);
    assert_eq!(server.send(&question("digits").unwrap()).unwrap().status, 404);
    server.stop().unwrap();
    let server = shelf.start("0.2").unwrap();
    told(&server, "digits/2 UNAVAILABLE", "taken out; load it").unwrap();
    assert_eq!(post(&server, "/v2/repository/models/digits/load").unwrap().0, 200);
    assert_eq!(answers(&server, "digits").unwrap(), "2");
    let none = post(&server, "/v2/repository/models/none/load").unwrap();
    assert_eq!(none.0, 404, "{}", none.1);
    shelf.write("broken/1/model.onnx", "x").unwrap();
    let (status, text) = post(&server, "/v2/repository/models/broken/load").unwrap();
    assert!(status >= 400 && text.contains("error"), "{status} {text}");
    fs::remove_dir_all(Path::new(&shelf.root)).unwrap();
    assert_eq!(answers(&server, "digits").unwrap(), "2");
    server.stop().unwrap();
}
