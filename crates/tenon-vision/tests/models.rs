//! Real detectors and classifiers, each with nothing but its `model.toml`, against what their own engines
//! answered: `../shared/models`, where it is present.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Found, bundle, detections, see};
use tenon_contract::{Difference, Severity};
use tenon_onnx::{Library, OnnxRuntime, Options, SearchPath};
use tenon_runtime::{LoadOptions, Model, Runtimes};
use tenon_vision::ImageAdapter;

/// How far scores and edges may be off, as parts of the picture: on the very same pixels, and with our own
/// resizing.
const SAME_PIXELS: (f64, f64) = (1e-3, 2e-3);
const OWN_RESIZING: (f64, f64) = (0.05, 0.03);

/// The detectors, whose expected answers they must give, and the side of their input where it is fixed.
const DETECTORS: [(&str, &str, Option<u32>); 5] = [
    ("ssd_mobilenet_300", "ssd_mobilenet_300", Some(300)),
    ("ssd_mobilenet_tf2_dynamic", "ssd_mobilenet_tf2_dynamic", None),
    ("ssd_mobilenet_int8_10boxes", "ssd_mobilenet_int8_10boxes", Some(300)),
    ("yolox_nano_nms", "yolox_nano_nms", Some(416)),
    ("yolox_nano_raw", "yolox_nano_nms", Some(416)),
];

fn skipped(reason: &str) {
    println!("SKIPPED: {}: {reason}", std::thread::current().name().unwrap_or("a test"));
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shared(folder: &str) -> Option<PathBuf> {
    let models = std::env::var_os("TENON_MODELS").map(PathBuf::from);
    let path = models.unwrap_or_else(|| repository().join("../shared/models")).join(folder);
    if !path.is_dir() {
        skipped(&format!("{} is not there; TENON_MODELS may name the folder of models", path.display()));
        return None;
    }
    Some(path)
}

fn runtimes() -> Option<Runtimes> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
    let search = SearchPath { cache_folder: cache.join("tenon"), ..SearchPath::default() };
    let library = Library::find(&search).map_err(|absent| skipped(&absent.to_string())).ok()?;
    let onnx = OnnxRuntime::start(&library, Options::default()).unwrap();
    Some(Runtimes::adapting(vec![std::sync::Arc::new(onnx)], vec![std::sync::Arc::new(ImageAdapter)]))
}

fn load(runtimes: &Runtimes, folder: &Path, model: &str, labels: &str) -> Box<dyn Model> {
    let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let manifest = read(repository().join(format!("fixtures/vision/{model}.toml")));
    let artifact = read(folder.join(format!("{model}.onnx")));
    let labels = read(folder.join(labels));
    let bundle = bundle(&[("model.toml", &manifest), ("model.onnx", &artifact), ("labels.txt", &labels)]);
    let format = runtimes.recognise(&bundle).unwrap();
    runtimes.reading(&format).unwrap().load(&bundle, &LoadOptions::default()).unwrap()
}

/// Checks every detection that is expected, and gives how many there were.
fn compare(what: &str, found: &[Found], size: (f64, f64), expected: &Value, off: (f64, f64)) -> usize {
    let expected = expected["detections"].as_array().unwrap();
    for wanted in expected {
        let number = |value: &Value| value.as_f64().unwrap();
        let yxyx: Vec<f64> = wanted["box_yxyx"].as_array().unwrap().iter().map(number).collect();
        let edges = [yxyx[1] * size.0, yxyx[0] * size.1, yxyx[3] * size.0, yxyx[2] * size.1];
        let is_it = |found: &&Found| {
            let sides = [size.0, size.1, size.0, size.1];
            let near = (0..4).all(|at| (f64::from(found.edges[at]) - edges[at]).abs() <= off.1 * sides[at]);
            let score = (f64::from(found.score) - number(&wanted["score"])).abs() <= off.0;
            near && score && found.class == wanted["class_id"].as_i64().unwrap()
        };
        let it = found.iter().find(is_it);
        let it = it.unwrap_or_else(|| panic!("{what}: {wanted} at {edges:?} is not among {found:#?}"));
        assert_eq!(it.label, wanted["label"].as_str().unwrap(), "{what}");
    }
    expected.len()
}

#[test]
fn five_detectors_are_served_by_their_declarations_alone() {
    let Some(folder) = shared("detection") else { return };
    let Some(runtimes) = runtimes() else { return };
    let mut promised = None;
    for (model, answers, side) in DETECTORS {
        let loaded = load(&runtimes, &folder, model, "labels/coco_labels_90.txt");
        let contract = loaded.contract();
        let promised = promised.get_or_insert(contract.clone());
        assert_eq!(Difference::between(promised, &contract).severity, Severity::Identical, "{model}");
        let mut session = loaded.session().unwrap();
        for (image, file, width, height) in [
            ("pets", "pets.jpg", 512.0, 430.0),
            ("astronaut", "astronaut.png", 512.0, 512.0),
            ("coffee", "coffee.png", 600.0, 400.0),
        ] {
            let expected = std::fs::read(folder.join(format!("expected/{image}.json"))).unwrap();
            let expected: Value = serde_json::from_slice(&expected).unwrap();
            let expected = &expected["models"][format!("{answers}.onnx")];
            let photo = std::fs::read(folder.join("images").join(file)).unwrap();
            let outputs = see(&*loaded, &mut *session, &[&photo]).unwrap();
            let found = detections(&outputs).remove(0);
            let exact = side.is_none() && file.ends_with(".png");
            let off = if exact { SAME_PIXELS } else { OWN_RESIZING };
            let count = compare(&format!("{model} on {file}"), &found, (width, height), expected, off);
            println!("{model} on {file}: {count} of {} within {off:?}", found.len());
            let Some(side) = side else { continue };
            let pixels = std::fs::read(folder.join(format!("inputs/{image}_{side}.png"))).unwrap();
            let outputs = see(&*loaded, &mut *session, &[&pixels]).unwrap();
            let found = detections(&outputs).remove(0);
            let size = (f64::from(side), f64::from(side));
            let count = compare(&format!("{model} on {image}_{side}"), &found, size, expected, SAME_PIXELS);
            println!("{model} on {image}_{side}.png: {count} of {} within {SAME_PIXELS:?}", found.len());
        }
        let mut batch: Vec<Vec<u8>> = Vec::new();
        for file in ["pets.jpg", "coffee.png", "astronaut.png"] {
            batch.push(std::fs::read(folder.join("images").join(file)).unwrap());
        }
        let pictures: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        let all = see(&*loaded, &mut *session, &pictures).unwrap();
        for (row, picture) in pictures.iter().enumerate() {
            let alone = see(&*loaded, &mut *session, &[picture]).unwrap();
            assert_eq!(detections(&all)[row], detections(&alone)[0], "{model}, picture {row}");
        }
    }
}

#[test]
fn two_classifiers_are_served_by_their_declarations_alone() {
    let Some(folder) = shared("classification") else { return };
    let Some(runtimes) = runtimes() else { return };
    let expected = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    for model in ["mobilenet_v1_0.25_224", "mobilenet_v2_1.0_224_int8"] {
        let loaded = load(&runtimes, &folder, model, "labels_1001.txt");
        let mut session = loaded.session().unwrap();
        for image in ["burger", "coffee"] {
            let picture = std::fs::read(folder.join(format!("inputs/{image}_224.png"))).unwrap();
            let answer = see(&*loaded, &mut *session, &[&picture]).unwrap();
            let [classes, scores, labels] = answer.tensors() else { panic!("three outputs") };
            let (classes, scores) = (classes.values::<i64>().unwrap(), scores.values::<f32>().unwrap());
            let labels: Vec<_> = labels.strings().unwrap().map(String::from_utf8_lossy).collect();
            let wanted = expected[image][model].as_array().unwrap();
            // Quantised scores tie; whatever has the score of a place may stand there.
            assert_eq!(classes[0], wanted[0]["class"].as_i64().unwrap(), "{model} on {image}");
            assert_eq!(labels[0], wanted[0]["label"].as_str().unwrap());
            assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]));
            if model.ends_with("int8") {
                assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
                continue;
            }
            for (at, wanted) in wanted.iter().enumerate() {
                assert_eq!(classes[at], wanted["class"].as_i64().unwrap(), "{model} on {image}");
                let off = (f64::from(scores[at]) - wanted["prob"].as_f64().unwrap()).abs();
                assert!(off <= 1e-3, "{model} on {image}: off by {off}");
            }
            println!("{model} on {image}: {} {}", labels[0], scores[0]);
        }
    }
}
