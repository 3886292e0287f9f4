//! Real detectors against what onnxruntime 1.31.1 answered on the same pixels.

#![allow(clippy::print_stdout)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{answer, bare, load, runtime, shared_model};
use tenon_contract::{NamedTensor, Tensor};

/// Pixels of an RGB image as `[1, height, width, 3]`.
fn pixels(path: &Path) -> Tensor {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((frame.color_type, frame.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    bytes.truncate(frame.buffer_size());
    Tensor::from_values(vec![1, i64::from(frame.height), i64::from(frame.width), 3], bytes).unwrap()
}

fn check(model: &str) {
    let Some(folder) = shared_model("detection") else { return };
    let Some(runtime) = runtime() else { return };
    let loaded = load(&runtime, &bare(std::fs::read(folder.join(model)).unwrap())).unwrap();
    let mut session = loaded.session().unwrap();
    let input = loaded.signature().inputs[0].name.clone();
    for image in ["pets", "astronaut", "coffee"] {
        let text = std::fs::read(folder.join(format!("expected/{image}.json"))).unwrap();
        let expected: Value = serde_json::from_slice(&text).unwrap();
        let expected = &expected["models"][model];
        // A name, and for some models what the file is. A JPEG has no exact pixels, so it is left out.
        let file = expected["input"].as_str().unwrap().split(' ').next().unwrap();
        if !file.ends_with(".png") {
            continue;
        }
        let given = vec![NamedTensor::new(input.clone(), pixels(&folder.join(file)))];
        let outputs = answer(&*loaded, &mut *session, given).unwrap();
        let output = |name: &str| {
            let at = loaded.signature().outputs.iter().position(|spec| *spec.name == *name).unwrap();
            outputs.tensors()[at].values::<f32>().unwrap().into_owned()
        };
        let (boxes, scores, classes) =
            (output("detection_boxes"), output("detection_scores"), output("detection_classes"));
        let near = |found: f32, expected: &Value, tolerance: f64| {
            let expected = expected.as_f64().unwrap();
            assert!(
                (f64::from(found) - expected).abs() <= tolerance,
                "{model} on {image}: {found} is not {expected}"
            );
        };
        let detections = expected["detections"].as_array().unwrap();
        for (at, detection) in detections.iter().enumerate() {
            near(scores[at], &detection["score"], 1e-3);
            near(classes[at], &detection["class_id"], 0.0);
            (0..4).for_each(|side| near(boxes[at * 4 + side], &detection["box_yxyx"][side], 2e-3));
        }
        println!("{model} on {image}: {} detections", detections.len());
    }
}

#[test]
fn ssd_mobilenet() {
    check("ssd_mobilenet_300.onnx");
}

#[test]
fn ssd_mobilenet_with_its_loop() {
    check("ssd_mobilenet_tf2_dynamic.onnx");
}

#[test]
fn yolox_nano() {
    check("yolox_nano_nms.onnx");
}
