//! Detectors and classifiers as services of pictures: five detectors of different inputs and outputs exchanged
//! behind one contract, each with nothing but its `model.toml`.
//!
//! The models lie in `../shared/models`, outside of the repository; where they are absent the test says so.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tenon_client::bundle::zip_folder;
use tenon_client::{Client, Source};
use tenon_contract::admin::SwapRequest;
use tenon_contract::{ServiceName, Severity, VersionId};
use tenon_scenarios::binary::repository;
use tenon_scenarios::http::{self, Answer, Request};
use tenon_scenarios::server::{Home, Server, Start};
use tenon_scenarios::skip;

/// How far scores, and edges as parts of the picture, may be off with our own resizing.
const OFF: (f64, f64) = (0.05, 0.03);

/// The model, and the one whose expected answers it must give.
const DETECTORS: [(&str, &str); 5] = [
    ("ssd_mobilenet_300", "ssd_mobilenet_300"),
    ("yolox_nano_raw", "yolox_nano_nms"),
    ("ssd_mobilenet_tf2_dynamic", "ssd_mobilenet_tf2_dynamic"),
    ("yolox_nano_nms", "yolox_nano_nms"),
    ("ssd_mobilenet_int8_10boxes", "ssd_mobilenet_int8_10boxes"),
];

fn models() -> Option<PathBuf> {
    let folder = repository().parent()?.join("shared/models");
    folder.join("detection").is_dir().then_some(folder)
}

/// Pushes a folder of artifact, labels and declaration.
async fn push(client: &Client, home: &Home, models: &Path, model: &str, labels: &str) -> Result<VersionId> {
    let folder = home.path(model);
    std::fs::create_dir(&folder)?;
    let kind = labels.split('/').next().context("a folder of labels")?;
    let files = [
        (models.join(kind).join(format!("{model}.onnx")), "model.onnx"),
        (models.join(labels), "labels.txt"),
        (repository().join(format!("fixtures/vision/{model}.toml")), "model.toml"),
    ];
    for (from, to) in files {
        std::fs::copy(&from, folder.join(to)).with_context(|| format!("copy {}", from.display()))?;
    }
    let digest = client.upload(&Source::Bytes(zip_folder(&folder)?), |_| ()).await?;
    let name = model.replace(['_', '.'], "-").parse()?;
    let job = client.push(&name, digest).await?;
    let job = client.follow(&job.id, |_| ()).await?;
    job.version.with_context(|| format!("{model} is refused: {:?}", job.fault))
}

fn wish(version: &VersionId) -> SwapRequest {
    SwapRequest { version: version.clone(), settings: None, breaking: None, dry_run: false, reason: None }
}

fn ask(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Request { method: "POST".to_owned(), path: path.to_owned(), headers, body };
    Ok(http::send(server.port(), &request)?)
}

fn detect(server: &Server, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
    ask(server, "/services/things/methods/detect", headers, body)
}

/// Checks that everything expected of `model` in the picture was found.
fn compare(models: &Path, image: &str, model: &str, found: &Value) -> Result<()> {
    let text = std::fs::read(models.join(format!("detection/expected/{image}.json")))?;
    let document: Value = serde_json::from_slice(&text)?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let (width, height) = (number(&document["width"]), number(&document["height"]));
    ensure!((number(&found["width"]), number(&found["height"])) == (width, height), "size in {found}");
    let detections = found["detections"].as_array().context("detections")?;
    let expected = &document["models"][format!("{model}.onnx")]["detections"];
    for wanted in expected.as_array().context("expected detections")? {
        let is_it = |found: &&Value| {
            let side = |name: &str, at: usize, length: f64| {
                (number(&found[name]) / length - number(&wanted["box_yxyx"][at])).abs() <= OFF.1
            };
            found["class"] == wanted["class_id"]
                && found["label"] == wanted["label"]
                && (number(&found["score"]) - number(&wanted["score"])).abs() <= OFF.0
                && side("y_min", 0, height)
                && side("x_min", 1, width)
                && side("y_max", 2, height)
                && side("x_max", 3, width)
        };
        ensure!(detections.iter().any(|found| is_it(&found)), "{model} on {image}: no {wanted} in {found}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_answered_whatever_model_is_behind() {
    let Some(models) = models() else { return skip("../shared/models/detection is absent") };
    let home = Home::new().unwrap();
    let server = Server::start(&home, &Start::default()).unwrap();
    if let Err(error) = detectors(&server, &home, &models).await {
        panic!("{error:#}");
    }
    if let Err(error) = classifiers(&server, &home, &models).await {
        panic!("{error:#}");
    }
    server.stop().unwrap();
}

async fn detectors(server: &Server, home: &Home, models: &Path) -> Result<()> {
    let client = server.client()?;
    let service: ServiceName = "things".parse()?;
    let read = |file: &str| std::fs::read(models.join("detection/images").join(file));
    let (pets, coffee) = (read("pets.jpg")?, read("coffee.png")?);
    for (at, (model, answers)) in DETECTORS.into_iter().enumerate() {
        let version = push(&client, home, models, model, "detection/labels/coco_labels_90.txt").await?;
        if at == 0 {
            client.deploy(&service, &wish(&version)).await?;
        } else {
            let swapped = client.swap(&service, &wish(&version)).await?;
            ensure!(swapped.check.severity == Severity::Identical, "{model}: {}", swapped.check);
        }
        let answer = detect(server, &[("content-type", "image/jpeg")], pets.clone())?;
        ensure!(answer.status == 200, "{model}: {} {}", answer.status, answer.text());
        ensure!(answer.header("tenon-version") == version.to_string(), "answered by another version");
        compare(models, "pets", answers, &answer.json())?;
        // As parts of a form, in their order.
        let form = form(&[&coffee, &pets]);
        let answer = detect(server, &[("content-type", "multipart/form-data; boundary=cut")], form)?;
        let both = answer.json();
        ensure!(both.as_array().is_some_and(|all| all.len() == 2), "{model}: {}", answer.text());
        compare(models, "coffee", answers, &both[0])?;
        compare(models, "pets", answers, &both[1])?;
        tensors(server, &coffee)?;
    }
    let undone = client.undo(&service, None).await?;
    ensure!(undone.load_micros == 0, "the previous detector was not warm");
    painted(server, &pets)?;
    refused(server, &pets)
}

fn form(pictures: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for picture in pictures {
        body.extend(b"--cut\r\ncontent-disposition: form-data; name=\"picture\"; filename=\"p\"\r\n\r\n");
        body.extend(*picture);
        body.extend(b"\r\n");
    }
    body.extend(b"--cut--\r\n");
    body
}

/// The view on the Open Inference Protocol, with the picture as bytes behind the JSON.
fn tensors(server: &Server, picture: &[u8]) -> Result<()> {
    let metadata = http::send(server.port(), &Request::get("/v2/models/things"))?.json();
    let names = |part: &str| -> Vec<String> {
        let tensors = metadata[part].as_array().into_iter().flatten();
        tensors
            .map(|tensor| format!("{} {} {}", tensor["name"], tensor["datatype"], tensor["shape"]))
            .collect()
    };
    ensure!(names("inputs") == ["\"image\" \"BYTES\" [-1]"], "{metadata}");
    ensure!(names("outputs")[0] == "\"boxes\" \"FP32\" [-1,100,4]", "{metadata}");
    let size = picture.len() + 4;
    let head = json!({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1],
        "parameters": {"binary_data_size": size}}]});
    let head = head.to_string();
    let length = head.len().to_string();
    let body = [head.as_bytes(), &(picture.len() as u32).to_le_bytes(), picture].concat();
    let headers =
        [("inference-header-content-length", length.as_str()), ("content-type", "application/octet-stream")];
    let answer = ask(server, "/v2/models/things/infer", &headers, body)?;
    let document = answer.json();
    let output = |name: &str| -> Result<Value> {
        let outputs = document["outputs"].as_array().with_context(|| answer.text())?;
        let found = outputs.iter().find(|output| output["name"] == name);
        Ok(found.with_context(|| format!("no {name}"))?.clone())
    };
    ensure!(output("boxes")?["shape"] == json!([1, 100, 4]), "{document}");
    ensure!(output("labels")?["data"][0] == "cup", "{document}");
    ensure!(output("sizes")?["data"] == json!([600, 400]), "{document}");
    ensure!(output("counts")?["data"][0].as_i64() >= Some(1), "{document}");
    Ok(())
}

/// The picture itself, with the boxes on it.
fn painted(server: &Server, picture: &[u8]) -> Result<()> {
    let headers = [("content-type", "image/jpeg"), ("accept", "image/png")];
    let answer = detect(server, &headers, picture.to_vec())?;
    ensure!(answer.header("content-type") == "image/png", "{} {}", answer.status, answer.text());
    let mut reader = png::Decoder::new(std::io::Cursor::new(&answer.body)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().context("a large picture")?];
    let frame = reader.next_frame(&mut pixels)?;
    ensure!((frame.width, frame.height) == (512, 430), "{} x {}", frame.width, frame.height);
    Ok(())
}

/// What is no picture is the caller's fault, and a bomb is refused by its header.
fn refused(server: &Server, picture: &[u8]) -> Result<()> {
    let check = |kind: &str, body: Vec<u8>, status: u16, text: &str| -> Result<()> {
        let answer = detect(server, &[("content-type", kind)], body)?;
        ensure!(
            answer.status == status && answer.text().contains(text),
            "{} {}",
            answer.status,
            answer.text()
        );
        Ok(())
    };
    check("image/jpeg", b"no picture".to_vec(), 400, "no JPEG, PNG or WebP")?;
    check("application/json", b"{\"data\":\"####\"}".to_vec(), 400, "expected base64")?;
    check("text/csv", b"a,b".to_vec(), 501, "content type `text/csv`")?;
    let mut bomb = picture.to_vec();
    // The last: a thumbnail may stand before it.
    let frame = bomb.windows(2).rposition(|marker| marker == [0xff, 0xc0]).context("a frame")?;
    bomb[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    check("image/jpeg", bomb, 413, "it is 60000 x 60000")
}

async fn classifiers(server: &Server, home: &Home, models: &Path) -> Result<()> {
    let client = server.client()?;
    let service: ServiceName = "kinds".parse()?;
    let burger = std::fs::read(models.join("classification/inputs/burger_224.png"))?;
    for (at, model) in ["mobilenet_v1_0.25_224", "mobilenet_v2_1.0_224_int8"].into_iter().enumerate() {
        let version = push(&client, home, models, model, "classification/labels_1001.txt").await?;
        if at == 0 {
            client.deploy(&service, &wish(&version)).await?;
        } else {
            let swapped = client.swap(&service, &wish(&version)).await?;
            ensure!(swapped.check.severity == Severity::Identical, "{}", swapped.check);
        }
        let path = "/services/kinds/methods/classify";
        let answer = ask(server, path, &[("content-type", "image/png")], burger.clone())?;
        let classes = &answer.json()["classes"];
        ensure!(classes[0]["label"] == "cheeseburger" && classes[0]["class"] == 934, "{}", answer.text());
        ensure!(classes.as_array().map(Vec::len) == Some(5), "{classes}");
    }
    Ok(())
}
