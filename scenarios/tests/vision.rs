//! Detectors and classifiers as services of pictures: models of different inputs and outputs exchanged behind one
//! contract, each with nothing but its `model.toml`.
//!
//! The real models lie in `../shared/models`, outside of the repository; where they are absent the test says so. The
//! SavedModel among them has no runtime yet.

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

/// How far scores, and edges as parts of the picture, may be off on the very same pixels.
const SAME_PIXELS: (f64, f64) = (1e-3, 2e-3);
/// And with our own resizing.
const OWN_RESIZING: (f64, f64) = (0.05, 0.03);
/// Everything that scores so much is among the expected answers.
const LISTED: f64 = 0.41;
const PHOTOGRAPHS: [(&str, &str, &str); 3] = [
    ("pets", "pets.jpg", "image/jpeg"),
    ("coffee", "coffee.png", "image/png"),
    ("astronaut", "astronaut.png", "image/png"),
];

/// The model, the one whose expected answers it must give, and the side of its input where that is fixed.
const DETECTORS: [(&str, &str, Option<u32>); 5] = [
    ("ssd_mobilenet_300", "ssd_mobilenet_300", Some(300)),
    ("yolox_nano_raw", "yolox_nano_nms", Some(416)),
    ("ssd_mobilenet_tf2_dynamic", "ssd_mobilenet_tf2_dynamic", None),
    ("yolox_nano_nms", "yolox_nano_nms", Some(416)),
    ("ssd_mobilenet_int8_10boxes", "ssd_mobilenet_int8_10boxes", Some(300)),
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
    push_folder(client, &folder, &model.replace(['_', '.'], "-")).await
}

async fn push_folder(client: &Client, folder: &Path, model: &str) -> Result<VersionId> {
    let digest = client.upload(&Source::Bytes(zip_folder(folder)?), |_| ()).await?;
    let job = client.push(&model.parse()?, digest).await?;
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

/// Checks that all that is expected of `model` in the picture was found, and nothing else that is as certain.
fn compare(models: &Path, image: &str, model: &str, found: &Value, off: (f64, f64)) -> Result<()> {
    let text = std::fs::read(models.join(format!("detection/expected/{image}.json")))?;
    let document: Value = serde_json::from_slice(&text)?;
    let (width, height) = (number(&found["width"]), number(&found["height"]));
    let detections = found["detections"].as_array().context("detections")?;
    let expected = &document["models"][format!("{model}.onnx")]["detections"];
    let expected = expected.as_array().context("expected detections")?;
    let agree = |found: &Value, wanted: &Value| {
        let side = |name: &str, at: usize, length: f64| {
            (number(&found[name]) / length - number(&wanted["box_yxyx"][at])).abs() <= off.1
        };
        found["class"] == wanted["class_id"]
            && found["label"] == wanted["label"]
            && (number(&found["score"]) - number(&wanted["score"])).abs() <= off.0
            && side("y_min", 0, height)
            && side("x_min", 1, width)
            && side("y_max", 2, height)
            && side("x_max", 3, width)
    };
    for wanted in expected {
        let is_there = detections.iter().any(|found| agree(found, wanted));
        ensure!(is_there, "{model} on {image}: no {wanted} in {found}");
    }
    for found in detections.iter().filter(|found| number(&found["score"]) >= LISTED + off.0) {
        let is_expected = expected.iter().any(|wanted| agree(found, wanted));
        ensure!(is_expected, "{model} on {image}: {found} is not expected");
    }
    Ok(())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// Every photograph as it is, and the very pixels behind the expected answers.
fn every_picture(server: &Server, models: &Path, answers: &str, side: Option<u32>) -> Result<()> {
    let folder = models.join("detection");
    for (image, file, kind) in PHOTOGRAPHS {
        let photograph = std::fs::read(folder.join("images").join(file))?;
        let answer = detect(server, &[("content-type", kind)], photograph)?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        // What takes any size sees the same pixels, unless another decoder made them.
        let is_same = side.is_none() && kind == "image/png";
        compare(models, image, answers, &answer.json(), if is_same { SAME_PIXELS } else { OWN_RESIZING })?;
        let Some(side) = side else { continue };
        let pixels = std::fs::read(folder.join(format!("inputs/{image}_{side}.png")))?;
        let found = detect(server, &[("content-type", "image/png")], pixels)?.json();
        ensure!(found["width"] == side && found["height"] == side, "size in {found}");
        compare(models, image, answers, &found, SAME_PIXELS)?;
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
    for (at, (model, answers, side)) in DETECTORS.into_iter().enumerate() {
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
        ensure!(answer.json()["width"] == 512 && answer.json()["height"] == 430, "{}", answer.text());
        every_picture(server, models, answers, side).with_context(|| model)?;
        // As parts of a form, in their order.
        let form = form(&[&coffee, &pets]);
        let answer = detect(server, &[("content-type", "multipart/form-data; boundary=cut")], form)?;
        let both = answer.json();
        ensure!(both.as_array().is_some_and(|all| all.len() == 2), "{model}: {}", answer.text());
        compare(models, "coffee", answers, &both[0], OWN_RESIZING)?;
        compare(models, "pets", answers, &both[1], OWN_RESIZING)?;
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
    let expected: Value =
        serde_json::from_slice(&std::fs::read(models.join("classification/expected.json"))?)?;
    for (at, model) in ["mobilenet_v1_0.25_224", "mobilenet_v2_1.0_224_int8"].into_iter().enumerate() {
        let version = push(&client, home, models, model, "classification/labels_1001.txt").await?;
        if at == 0 {
            client.deploy(&service, &wish(&version)).await?;
        } else {
            let swapped = client.swap(&service, &wish(&version)).await?;
            ensure!(swapped.check.severity == Severity::Identical, "{}", swapped.check);
        }
        for image in ["burger", "coffee"] {
            let picture = std::fs::read(models.join(format!("classification/inputs/{image}_224.png")))?;
            let path = "/services/kinds/methods/classify";
            let answer = ask(server, path, &[("content-type", "image/png")], picture)?;
            let classes = answer.json()["classes"].as_array().cloned().with_context(|| answer.text())?;
            let wanted = expected[image][model].as_array().context("expected classes")?;
            ensure!(classes.len() == 5, "{}", answer.text());
            // Scores of the quantised one tie, and become probabilities only here: the best class has to do.
            let told = if model.ends_with("int8") { 1 } else { 5 };
            for (found, wanted) in classes.iter().zip(wanted).take(told) {
                let same = found["class"] == wanted["class"] && found["label"] == wanted["label"];
                let off = (number(&found["score"]) - number(&wanted["prob"])).abs();
                ensure!(same && (told == 1 || off <= 1e-3), "{model} on {image}: {found}, not {wanted}");
            }
        }
    }
    Ok(())
}

/// Behind the service of the shipped detectors, and with nothing in common with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_detector_needs_a_declaration_and_nothing_else() {
    let home = Home::new().unwrap();
    let flags = vec!["--demo".to_owned(), "fixtures/scenes".to_owned()];
    let server = Server::start(&home, &Start { flags, ..Start::default() }).unwrap();
    if let Err(error) = colours(&server).await {
        panic!("{error:#}");
    }
    server.stop().unwrap();
}

async fn colours(server: &Server) -> Result<()> {
    let client = server.client()?;
    let service: ServiceName = "scenes".parse()?;
    let version = push_folder(&client, &repository().join("fixtures/onnx/colours"), "colours").await?;
    let swapped = client.swap(&service, &wish(&version)).await?;
    ensure!(swapped.check.severity == Severity::Identical, "{}", swapped.check);
    // 1024 x 512 is 512 x 256 in the input, 128 rows down: edges at even numbers are edges of pixels there.
    let picture = painted_blocks(
        1024,
        512,
        &[([200, 300, 400, 500], [255, 0, 0]), ([600, 20, 1000, 40], [0, 0, 255])],
    )?;
    let answer = ask(server, "/services/scenes/methods/detect", &[("content-type", "image/png")], picture)?;
    ensure!(answer.status == 200 && answer.header("tenon-version") == "colours/1", "{}", answer.text());
    let found = answer.json();
    ensure!(found["width"] == 1024 && found["height"] == 512, "{found}");
    let wanted = [("red", 1, [200.0, 300.0, 400.0, 500.0]), ("blue", 2, [600.0, 20.0, 1000.0, 40.0])];
    let detections = found["detections"].as_array().context("detections")?;
    ensure!(detections.len() == wanted.len(), "{found}");
    for (label, class, edges) in wanted {
        let it = detections.iter().find(|one| one["label"] == label).with_context(|| found.to_string())?;
        ensure!(it["class"] == class && number(&it["score"]) == 1.0, "{it}");
        for (name, edge) in ["x_min", "y_min", "x_max", "y_max"].into_iter().zip(edges) {
            ensure!((number(&it[name]) - edge).abs() < 0.01, "{name} is not {edge} in {it}");
        }
    }
    client.undo(&service, None).await?;
    Ok(())
}

/// Blocks of a colour on grey, each from its upper left corner up to its lower right one.
fn painted_blocks(width: usize, height: usize, blocks: &[([usize; 4], [u8; 3])]) -> Result<Vec<u8>> {
    let mut pixels = vec![128; width * height * 3];
    for ([left, top, right, bottom], colour) in blocks {
        for y in *top..*bottom {
            let row = &mut pixels[(y * width + left) * 3..(y * width + right) * 3];
            row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(colour));
        }
    }
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(picture)
}
