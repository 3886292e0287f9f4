//! The contracts of pictures: what every detector and every classifier promises, whatever model is behind.
//!
//! The messages are what callers of the operation see; the view is the same as tensors, one row a picture,
//! which is what models compute and what the Open Inference Protocol shows. Neither depends on a model: two
//! detectors with other inputs, outputs and sizes offer the same contract, and one can replace the other.

use std::sync::Arc;

use crate::contract::Occurs;
use crate::{Contract, Datatype, Field, Kind, Message, Operation, Signature, TensorSpec};

/// Finds things and where they are: `detect(Image) -> Detections`.
pub const DETECT: &str = "detect";
/// Says what a picture shows: `classify(Image) -> Classes`.
pub const CLASSIFY: &str = "classify";

/// Encoded pictures, BYTES `[n]`.
pub const IMAGE: &str = "image";
/// Edges, FP32 `[n, k, 4]`: x_min, y_min, x_max, y_max in pixels of the upright original.
pub const BOXES: &str = "boxes";
/// Scores in descending order, FP32 `[n, k]`.
pub const SCORES: &str = "scores";
/// Numbers of classes, INT64 `[n, k]`.
pub const CLASSES: &str = "classes";
/// Names of classes, BYTES `[n, k]`; empty where a class has none.
pub const LABELS: &str = "labels";
/// Detections found, INT32 `[n]`; what stands behind them is zero and empty.
pub const COUNTS: &str = "counts";
/// Width and height of the upright original in pixels, INT32 `[n, 2]`.
pub const SIZES: &str = "sizes";

/// What a detector promises that gives at most `top_k` detections of a picture.
pub fn detect(top_k: usize) -> Contract {
    let k = top_k as i64;
    let detection = message(
        "Detection",
        vec![
            once("x_min", Kind::Scalar(Datatype::Fp32)),
            once("y_min", Kind::Scalar(Datatype::Fp32)),
            once("x_max", Kind::Scalar(Datatype::Fp32)),
            once("y_max", Kind::Scalar(Datatype::Fp32)),
            once("score", Kind::Scalar(Datatype::Fp32)),
            once("class", Kind::Scalar(Datatype::Int64)),
            once("label", Kind::Text),
        ],
    );
    let detections = message(
        "Detections",
        vec![
            repeated("detections", detection),
            once("width", Kind::Scalar(Datatype::Int32)),
            once("height", Kind::Scalar(Datatype::Int32)),
        ],
    );
    let outputs = vec![
        TensorSpec::new(BOXES, Datatype::Fp32, &[-1, k, 4]),
        TensorSpec::new(SCORES, Datatype::Fp32, &[-1, k]),
        TensorSpec::new(CLASSES, Datatype::Int64, &[-1, k]),
        TensorSpec::new(LABELS, Datatype::Bytes, &[-1, k]),
        TensorSpec::new(COUNTS, Datatype::Int32, &[-1]),
        TensorSpec::new(SIZES, Datatype::Int32, &[-1, 2]),
    ];
    operation(DETECT, detections, outputs)
}

/// What a classifier promises that gives the `top_k` likeliest classes of a picture.
pub fn classify(top_k: usize) -> Contract {
    let k = top_k as i64;
    let class = message(
        "Class",
        vec![
            once("class", Kind::Scalar(Datatype::Int64)),
            once("score", Kind::Scalar(Datatype::Fp32)),
            once("label", Kind::Text),
        ],
    );
    let outputs = vec![
        TensorSpec::new(CLASSES, Datatype::Int64, &[-1, k]),
        TensorSpec::new(SCORES, Datatype::Fp32, &[-1, k]),
        TensorSpec::new(LABELS, Datatype::Bytes, &[-1, k]),
    ];
    operation(CLASSIFY, message("Classes", vec![repeated("classes", class)]), outputs)
}

fn operation(name: &str, output: Message, outputs: Vec<TensorSpec>) -> Contract {
    let input = message("Image", vec![once("data", Kind::Scalar(Datatype::Bytes))]);
    let inputs = vec![TensorSpec::new(IMAGE, Datatype::Bytes, &[-1])];
    let view = Some(Signature { inputs, outputs });
    Contract { operations: vec![Operation { name: name.into(), input, output, view }] }
}

fn message(name: &str, mut fields: Vec<Field>) -> Message {
    for (field, number) in fields.iter_mut().zip(1..) {
        field.number = number;
    }
    Message { name: name.into(), fields }
}

fn once(name: &str, kind: Kind) -> Field {
    Field { name: Arc::from(name), number: 0, kind, occurs: Occurs::Once }
}

fn repeated(name: &str, message: Message) -> Field {
    Field {
        name: Arc::from(name),
        number: 0,
        kind: Kind::Message(Box::new(message)),
        occurs: Occurs::Repeated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Difference, Severity};

    #[test]
    fn contracts_read_back_and_depend_on_nothing_but_the_count() {
        for contract in [detect(100), classify(5)] {
            let text = serde_json::to_string(&contract).unwrap();
            assert_eq!(serde_json::from_str::<Contract>(&text).unwrap(), contract);
            assert_eq!(Difference::between(&contract, &contract).severity, Severity::Identical);
            assert_eq!(contract.tensors().unwrap().inputs[0].to_string(), "image BYTES[-1]");
            assert!(contract.takes_tensors(crate::contract::INFER));
        }
        assert!(!detect(5).takes_tensors(CLASSIFY));
    }

    #[test]
    fn another_count_or_another_operation_breaks_callers() {
        let fewer = Difference::between(&detect(100), &detect(10));
        assert!(fewer.is_breaking(), "{fewer}");
        assert!(fewer.to_string().contains("detect.view.output.boxes"), "{fewer}");
        assert!(Difference::between(&detect(5), &classify(5)).is_breaking());
        let mut bare = detect(5);
        bare.operations[0].view = None;
        assert!(Difference::between(&detect(5), &bare).is_breaking());
        assert_eq!(Difference::between(&bare, &detect(5)).severity, Severity::Compatible);
    }
}
