//! What the tests share: bundles, and answers of the models in them.

#![allow(dead_code, unreachable_pub)]

use std::io::{Cursor, Write as _};

use tenon_contract::{Fault, NamedTensor, Outputs, Parameters, Tensor};
use tenon_runtime::{Bundle, BundleLimits, Call, Cancel, Model, Session, Single};

/// A zipped bundle.
pub fn bundle(files: &[(&str, &[u8])]) -> Bundle {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    Bundle::open(bytes.into(), BundleLimits::default()).unwrap()
}

/// What a model says to encoded pictures.
pub fn see(model: &dyn Model, session: &mut dyn Session, pictures: &[&[u8]]) -> Result<Outputs, Fault> {
    let image = Tensor::from_strings(vec![pictures.len() as i64], pictures).unwrap();
    let inputs = model.signature().bind(vec![NamedTensor::new("image", image)])?;
    let (parameters, mut single, cancel) = (Parameters::new(), Single::default(), Cancel::new());
    let call =
        Call { inputs: &inputs, parameters: &parameters, deadline: None, cancel: &cancel, sequence: None };
    session.run(call, &mut single)?;
    model.signature().check(single.take()?)
}

/// Something found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub edges: [f32; 4],
    pub score: f32,
    pub class: i64,
    pub label: String,
}

/// The detections of each picture.
pub fn detections(outputs: &Outputs) -> Vec<Vec<Found>> {
    let [boxes, scores, classes, labels, counts, sizes] = outputs.tensors() else { panic!("six outputs") };
    let (boxes, scores) = (boxes.values::<f32>().unwrap(), scores.values::<f32>().unwrap());
    let labels: Vec<_> = labels.strings().unwrap().map(|label| String::from_utf8_lossy(label)).collect();
    let (classes, counts) = (classes.values::<i64>().unwrap(), counts.values::<i32>().unwrap());
    assert_eq!(sizes.shape(), [counts.len() as i64, 2]);
    let k = scores.len() / counts.len();
    let picture = |(row, count): (usize, &i32)| {
        let found = |at: usize| Found {
            edges: boxes[at * 4..at * 4 + 4].try_into().unwrap(),
            score: scores[at],
            class: classes[at],
            label: labels[at].to_string(),
        };
        let (from, to) = (row * k, row * k + *count as usize);
        for empty in (to..row * k + k).map(found) {
            assert_eq!(empty, Found { edges: [0.0; 4], score: 0.0, class: 0, label: String::new() });
        }
        (from..to).map(found).collect()
    };
    counts.iter().enumerate().map(picture).collect()
}
