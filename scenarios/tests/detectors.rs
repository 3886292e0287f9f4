//! Real detectors through the built binary: right boxes over the wire, exchanged under load and back.
//!
//! The models and their expected answers lie in `../shared/models`, outside of the repository; where they are
//! absent the tests say so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::Value;
use tenon_client::{Client, Source};
use tenon_codec::Limits;
use tenon_codec::oip::{self, Form, InferRequest};
use tenon_contract::admin::SwapRequest;
use tenon_contract::{Datatype, NamedTensor, ServiceName, Tensor, VersionId};
use tenon_scenarios::binary::repository;
use tenon_scenarios::server::{Home, Server, Start};
use tenon_scenarios::skip;

/// How far scores and edges of boxes may be off on the very same pixels.
const SAME_PIXELS: (f64, f64) = (1e-3, 2e-3);
/// How far they may be off where the picture was resized in another way than for the expected answers.
const OTHER_PIXELS: (f64, f64) = (0.05, 0.03);
/// Connections of the load beside a swap.
const CALLERS: usize = 3;
const PICTURES: [&str; 3] = ["astronaut", "coffee", "pets"];

/// A picture as a request, and the detections that a model must find in it.
#[derive(Clone)]
struct Known {
    name: String,
    request: Bytes,
    json_length: usize,
    expected: Vec<Found>,
}

#[derive(Clone, Debug)]
struct Found {
    class: f64,
    score: f64,
    edges: [f64; 4],
}

fn folder() -> Option<PathBuf> {
    let folder = repository().parent()?.join("shared/models/detection");
    folder.is_dir().then_some(folder)
}

fn known(folder: &Path, name: &str, picture: &str, model: &str) -> Result<Known> {
    let text = std::fs::read_to_string(folder.join(format!("expected/{name}.json")))?;
    let document: Value = serde_json::from_str(&text)?;
    let detections = document["models"][model]["detections"].as_array().context("no detections")?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let expected = detections.iter().map(|found| Found {
        class: number(&found["class_id"]),
        score: number(&found["score"]),
        edges: std::array::from_fn(|edge| number(&found["box_yxyx"][edge])),
    });
    let encoded = oip::encode_request(&picture_as_tensor(&folder.join(picture))?, Form::Binary)?;
    let json_length = encoded.json_length.context("a picture is sent as bytes")?;
    let request = encoded.into_body();
    Ok(Known { name: name.to_owned(), request, json_length, expected: expected.collect() })
}

fn picture_as_tensor(path: &Path) -> Result<InferRequest> {
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().context("the picture is too large")?];
    let info = reader.next_frame(&mut pixels)?;
    ensure!(info.color_type == png::ColorType::Rgb && info.bit_depth == png::BitDepth::Eight);
    let shape = vec![1, info.height.into(), info.width.into(), 3];
    let tensor = Tensor::new(Datatype::Uint8, shape, pixels.into())?;
    let inputs = vec![NamedTensor::new("input_tensor", tensor)];
    Ok(InferRequest { inputs, binary_output: true, ..InferRequest::default() })
}

/// Asks for a picture, checks every box, and gives the version that answered.
async fn ask(client: &Client, service: &ServiceName, known: &Known, off: (f64, f64)) -> Result<String> {
    let encoded = oip::Encoded {
        json_length: Some(known.json_length),
        head: known.request.clone(),
        payloads: Vec::new(),
    };
    let called = client.infer(service, encoded).await?;
    let answer = oip::decode_response(called.body, called.json_length, &Limits::default())?;
    let values = |name: &str| -> Result<Vec<f32>> {
        let output = answer.outputs.iter().find(|output| &*output.name == name);
        Ok(output.with_context(|| format!("no {name}"))?.tensor.values::<f32>()?.into_owned())
    };
    let (boxes, classes, scores) =
        (values("detection_boxes")?, values("detection_classes")?, values("detection_scores")?);
    for expected in &known.expected {
        let is_it = |index: &usize| {
            let edges = &boxes[index * 4..index * 4 + 4];
            let near = edges.iter().zip(expected.edges).all(|(a, b)| (f64::from(*a) - b).abs() <= off.1);
            let score = f64::from(scores[*index]);
            near && f64::from(classes[*index]) == expected.class && (score - expected.score).abs() <= off.0
        };
        let found = (0..scores.len()).any(|index| is_it(&index));
        ensure!(found, "{}: {} does not find {expected:?}", known.name, called.answered.version);
    }
    Ok(called.answered.version)
}

async fn push(client: &Client, folder: &Path, model: &str) -> Result<VersionId> {
    let digest = client.upload(&Source::File(folder.join(format!("{model}.onnx"))), |_| ()).await?;
    let name = model.replace('_', "-").parse()?;
    let job = client.push(&name, digest).await?;
    let job = client.follow(&job.id, |_| ()).await?;
    job.version.with_context(|| format!("{model} is refused: {:?}", job.fault))
}

fn wish(version: &VersionId) -> SwapRequest {
    SwapRequest { version: version.clone(), settings: None, breaking: None, dry_run: false, reason: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detectors_answer_right_and_are_exchanged_under_load() {
    let Some(folder) = folder() else { return skip("../shared/models/detection is absent") };
    let home = Home::new().unwrap();
    let server = Server::start(&home, &Start::default()).unwrap();
    if let Err(error) = exchange(&server, &folder).await {
        panic!("{error:#}");
    }
    server.stop().unwrap();
}

async fn exchange(server: &Server, folder: &Path) -> Result<()> {
    let client = server.client()?;
    let fixed = push(&client, folder, "ssd_mobilenet_300").await?;
    let dynamic = push(&client, folder, "ssd_mobilenet_tf2_dynamic").await?;
    any_size(&client, folder, &dynamic).await?;
    let service: ServiceName = "detector".parse()?;
    client.deploy(&service, &wish(&fixed)).await?;
    let mut pictures = Vec::new();
    for name in PICTURES {
        let picture = known(folder, name, &format!("inputs/{name}_300.png"), "ssd_mobilenet_300.onnx")?;
        let answered = ask(&client, &service, &picture, SAME_PIXELS).await?;
        ensure!(answered == fixed.to_string(), "answered by {answered}");
        pictures.push(picture);
    }
    let load = Load::start(server, &service, &pictures)?;
    for version in [&dynamic, &fixed, &dynamic] {
        load.some_more().await;
        let swapped = client.swap(&service, &wish(version)).await?;
        ensure!(!swapped.check.is_breaking(), "the swap breaks callers: {:?}", swapped.check);
        let answered = ask(&client, &service, &pictures[0], OTHER_PIXELS).await?;
        ensure!(answered == version.to_string(), "answered by {answered} after the swap to {version}");
    }
    load.some_more().await;
    let undone = client.undo(&service, None).await?;
    ensure!(undone.load_micros == 0, "the previous detector was not warm");
    load.some_more().await;
    let answered = ask(&client, &service, &pictures[0], SAME_PIXELS).await?;
    ensure!(answered == fixed.to_string(), "answered by {answered} after the undo");
    load.end().await
}

/// The detector that takes pictures of any size, on pictures as they are.
async fn any_size(client: &Client, folder: &Path, dynamic: &VersionId) -> Result<()> {
    let service: ServiceName = "any-size".parse()?;
    client.deploy(&service, &wish(dynamic)).await?;
    for name in ["astronaut", "coffee"] {
        let picture = known(folder, name, &format!("images/{name}.png"), "ssd_mobilenet_tf2_dynamic.onnx")?;
        ask(client, &service, &picture, SAME_PIXELS).await?;
    }
    client.remove(&service).await?;
    Ok(())
}

/// A few callers who look at every box. Which of the two detectors answers is not theirs to know.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Load {
    fn start(server: &Server, service: &ServiceName, pictures: &[Known]) -> Result<Self> {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let (client, service, pictures) = (server.client()?, service.clone(), pictures.to_vec());
            let (stop, answered) = (stop.clone(), answered.clone());
            callers.push(tokio::spawn(async move {
                for picture in pictures.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    ask(&client, &service, picture, OTHER_PIXELS).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Ok(Self { stop, answered, callers })
    }

    /// Waits until every caller has had some answers, or has given up.
    async fn some_more(&self) {
        let enough = self.answered.load(Ordering::Relaxed) + 2 * CALLERS as u64;
        while self.answered.load(Ordering::Relaxed) < enough
            && !self.callers.iter().any(tokio::task::JoinHandle::is_finished)
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await?.context("under load")?;
        }
        Ok(())
    }
}
