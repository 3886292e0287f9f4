//! A model that is nothing but a signature and its answers, wrapped as different tables declare.

mod support;

use std::sync::{Arc, Mutex};

use support::{Found, bundle, detections, see};
use tenon_contract::{Datatype, Difference, FaultKind, Severity, Signature, Tensor, TensorSpec};
use tenon_runtime::{Adapter as _, Answers, Call, Capabilities, LoadError, Model, RunError, Session};
use tenon_vision::ImageAdapter;
use tenon_vision::sample::to_png;

/// Gives the same answers to everything, once for each row, and keeps what it saw.
struct Puppet {
    signature: Signature,
    answers: Vec<Tensor>,
    seen: Arc<Mutex<Vec<Tensor>>>,
}

impl Model for Puppet {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(Strings { answers: self.answers.clone(), seen: self.seen.clone() }))
    }
}

struct Strings {
    answers: Vec<Tensor>,
    seen: Arc<Mutex<Vec<Tensor>>>,
}

impl Session for Strings {
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        let input = &call.inputs.tensors()[0];
        self.seen.lock().unwrap().push(input.clone());
        let rows = |answer: &Tensor| Tensor::concat_rows(&vec![answer.clone(); input.rows()]).unwrap();
        answers.send(self.answers.iter().map(rows).collect())
    }
}

fn floats(shape: &[i64], values: &[f32]) -> Tensor {
    Tensor::from_values(shape.to_vec(), values.to_vec()).unwrap()
}

struct Stage {
    model: Box<dyn Model>,
    seen: Arc<Mutex<Vec<Tensor>>>,
}

/// `batch` is the first dimension of everything.
fn stage(
    batch: i64,
    input: (&str, Datatype, [i64; 3]),
    outputs: &[(&str, Tensor)],
    adapter: &str,
) -> Result<Stage, String> {
    let with_batch = |shape: &[i64]| [&[batch], shape].concat();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let specs = outputs
        .iter()
        .map(|(name, tensor)| TensorSpec::new(name, tensor.datatype(), &with_batch(&tensor.shape()[1..])));
    let signature = Signature {
        inputs: vec![TensorSpec::new(input.0, input.1, &with_batch(&input.2))],
        outputs: specs.collect(),
    };
    let answers = outputs.iter().map(|(_, tensor)| tensor.clone()).collect();
    let puppet = Puppet { signature, answers, seen: seen.clone() };
    let manifest = format!("version = 1\nartifact = 'm'\n[adapter]\nkind = 'image'\n{adapter}");
    let bundle =
        bundle(&[("model.toml", manifest.as_bytes()), ("m", b"m"), ("names.txt", b"zero\none\ntwo\n")]);
    let model = ImageAdapter.wrap(&bundle, Arc::new(puppet)).map_err(|error| error.to_string())?;
    Ok(Stage { model, seen })
}

fn picture(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let pixels: Vec<u8> = (0..width * height).flat_map(|_| colour).collect();
    to_png(&pixels, width, height).unwrap()
}

/// The same two things, told by three models in three ways.
fn three_ways(batch: i64) -> Vec<Stage> {
    let corners = stage(
        batch,
        ("pixels", Datatype::Uint8, [100, 200, 3]),
        &[
            ("rois", floats(&[1, 3, 4], &[0.1, 0.2, 0.5, 0.4, 0.0, 0.0, 1.0, 1.0, 0.3, 0.3, 0.4, 0.4])),
            ("what", floats(&[1, 3], &[0.0, 1.0, 1.0])),
            ("sure", floats(&[1, 3], &[0.75, 0.5, 0.1])),
        ],
        "[adapter.image]\n[adapter.detect]\nboxes = 'rois'\nclasses = 'what'\nscores = 'sure'\nbox_layout = 'yxyx'\n\
         coordinates = 'normalised'\nclass_offset = 1\nlabels = 'names.txt'\ntop_k = 3",
    );
    // 512 x 512, letterboxed: a picture of 400 x 200 is 512 x 256 there, 128 rows down.
    let centres = stage(
        batch,
        ("x", Datatype::Fp32, [3, 512, 512]),
        &[
            ("b", floats(&[1, 2, 4], &[256.0, 256.0, 512.0, 256.0, 153.6, 204.8, 102.4, 102.4])),
            ("s", floats(&[1, 2, 3], &[0.0, 0.0, 0.0, 0.0, 1.0986123, -9.0])),
        ],
        "[adapter.image]\nfit = 'letterbox'\npadding = [114, 114, 114]\nscale = 0.5\n[adapter.detect]\nboxes = 'b'\n\
         scores = 's'\nactivation = 'sigmoid'\nbox_layout = 'cxcywh'\ncoordinates = 'pixels'\nclass_ids = [2, 1, 0]\n\
         labels = ['zero', 'one', 'two']\nthreshold = 0.5\ntop_k = 3",
    );
    let row = |numbers: [f32; 4], rest: [f32; 3]| [numbers.as_slice(), &rest].concat();
    let rows = [
        row([0.0, 0.0, 200.0, 100.0], [1.0, 0.0, 0.5]),
        row([40.0, 10.0, 40.0, 40.0], [1.0, 0.75, 0.0]),
        row([41.0, 11.0, 40.0, 40.0], [0.5, 0.75, 0.0]),
    ];
    let head = stage(
        batch,
        ("x", Datatype::Fp32, [100, 200, 3]),
        &[("everything", floats(&[1, 3, 7], &rows.concat()))],
        "[adapter.image]\n[adapter.detect]\nbox_layout = 'xywh'\ncoordinates = 'pixels'\nclass_offset = 1\n\
         labels = 'names.txt'\ntop_k = 3\nnms = { iou = 0.5 }\nhead = { output = 'everything', objectness = 4, classes = 5 }",
    );
    [corners, centres, head].into_iter().map(Result::unwrap).collect()
}

fn near(found: &[Found], expected: &[Found]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        let off = found.edges.iter().zip(expected.edges).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let same = (found.class, &found.label) == (expected.class, &expected.label);
        assert!(off < 0.01 && same && (found.score - expected.score).abs() < 1e-4, "{found:?} {expected:?}");
    }
}

#[test]
fn one_contract_whatever_the_model_looks_like() {
    let stages = three_ways(1);
    let promised = stages[0].model.contract();
    for stage in &stages {
        let difference = Difference::between(&promised, &stage.model.contract());
        assert_eq!(difference.severity, Severity::Identical, "{difference}");
        assert_eq!(Some(stage.model.signature()), promised.tensors().as_ref());
    }
}

#[test]
fn detections_are_in_pixels_of_the_original() {
    let found = |edges: [f32; 4], score: f32, class: i64, label: &str| Found {
        edges,
        score,
        class,
        label: label.to_owned(),
    };
    // In a picture of 400 x 200.
    let small = found([80.0, 20.0, 160.0, 100.0], 0.75, 1, "one");
    let corners = [small.clone(), found([0.0, 0.0, 400.0, 200.0], 0.5, 2, "two")];
    let head = corners.clone();
    let centres = [small, found([0.0, 0.0, 400.0, 200.0], 0.5, 2, "two")];
    for batch in [1, -1] {
        for (stage, expected) in three_ways(batch).iter().zip([&corners, &centres, &head]) {
            let mut session = stage.model.session().unwrap();
            let pictures = [picture(400, 200, [9, 9, 9]), picture(200, 100, [9, 9, 9])];
            let alone = see(&*stage.model, &mut *session, &[&pictures[0]]).unwrap();
            near(&detections(&alone)[0], expected);
            let both = see(&*stage.model, &mut *session, &[&pictures[1], &pictures[0]]).unwrap();
            let both = detections(&both);
            near(&both[1], expected);
            let half = |found: &Found| Found { edges: found.edges.map(|edge| edge / 2.0), ..found.clone() };
            near(&both[0], &expected.iter().map(half).collect::<Vec<_>>());
            let calls: Vec<usize> = stage.seen.lock().unwrap().iter().map(Tensor::rows).collect();
            assert_eq!(calls, if batch == 1 { vec![1, 1, 1] } else { vec![1, 2] }, "as the model can");
        }
    }
}

#[test]
fn models_see_what_is_declared() {
    let stages = three_ways(1);
    for stage in &stages {
        see(&*stage.model, &mut *stage.model.session().unwrap(), &[&picture(400, 200, [10, 20, 30])])
            .unwrap();
    }
    let seen = |at: usize| stages[at].seen.lock().unwrap()[0].clone();
    assert_eq!(seen(0).shape(), [1, 100, 200, 3]);
    assert_eq!(seen(0).values::<u8>().unwrap()[..3], [10, 20, 30]);
    let boxed = seen(1).values::<f32>().unwrap().into_owned();
    assert_eq!((boxed[0], boxed[200 * 512 + 7], boxed[512 * 512 + 200 * 512]), (57.0, 5.0, 10.0));
}

#[test]
fn pictures_that_are_none_are_the_callers_fault() {
    let stages = three_ways(1);
    let model = &*stages[0].model;
    let mut session = model.session().unwrap();
    let good = picture(4, 4, [0; 3]);
    let fault = see(model, &mut *session, &[&good, b"text"]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(fault.text, "row 2: read picture: it is no JPEG, PNG or WebP");
    let none = see(model, &mut *session, &[]).unwrap();
    assert_eq!(none.tensors()[0].shape(), [0, 3, 4]);
    assert!(see(model, &mut *session, &[&good]).is_ok(), "the session goes on");
}

#[test]
fn tables_that_do_not_fit_the_model_are_refused() {
    let check = |adapter: &str, expected: &str| {
        let answer = [("b", floats(&[1, 1, 4], &[0.0; 4])), ("s", floats(&[1, 1, 2], &[0.0; 2]))];
        let refused = stage(1, ("x", Datatype::Fp32, [8, 8, 3]), &answer, adapter);
        let refused = refused.map(|_| ()).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    };
    let detect = "[adapter.detect]\nboxes = 'b'\nscores = 's'\nbox_layout = 'xyxy'\ncoordinates = 'pixels'\n";
    let check_image =
        |image: &str, expected: &str| check(&format!("[adapter.image]\n{image}\n{detect}"), expected);
    check_image("input = 'y'", "image.input: no input `y`; the model takes `x FP32[1, 8, 8, 3]`");
    check_image("width = 9", "image.width: is 9, the model's input");
    check_image("fit = 'as_is'", "image.fit: the model's input");
    check_image("layout = 'nchw'", "has not 3 channels there");
    check_image("channels = 'grey'", "image.layout");
    check_image("datatype = 'UINT8'", "image.datatype: the model's input is FP32");
    let image = "[adapter.image]\n";
    check(
        &format!("{image}{}", detect.replace("'b'", "'c'")),
        "detect.boxes: no output `c`; the model gives `b FP32[1, 1, 4]`",
    );
    check(&format!("{image}{detect}labels = 'no.txt'"), "labels: `no.txt` is not in the bundle");
    check("[adapter.image]\n[adapter.classify]\nscores = 's'", "classify.top_k: is 5");
    check("[adapter.image]\n[adapter.classify]", "classify.scores: no output ``");
}

#[test]
fn classes_are_ranked() {
    let scores = Tensor::from_values(vec![1, 4], vec![10u8, 40, 30, 20]).unwrap();
    let adapter = "[adapter.image]\n[adapter.classify]\nlabels = 'names.txt'\nfirst_label = 1\nclass_offset = 1\n\
                   top_k = 2\nquantised = { scale = 0.1, zero_point = 10 }";
    let stage = stage(-1, ("x", Datatype::Uint8, [8, 8, 3]), &[("logits", scores)], adapter).unwrap();
    let picture = picture(9, 9, [1, 2, 3]);
    let answer = see(&*stage.model, &mut *stage.model.session().unwrap(), &[&picture, &picture]).unwrap();
    let [classes, scores, labels] = answer.tensors() else { panic!("three outputs") };
    assert_eq!(classes.values::<i64>().unwrap().as_ref(), [2, 3, 2, 3]);
    assert_eq!(scores.values::<f32>().unwrap().as_ref(), [3.0, 2.0, 3.0, 2.0]);
    assert_eq!(labels.strings().unwrap().collect::<Vec<_>>(), [b"one", b"two", b"one", b"two"]);
    assert!(stage.model.samples(3).is_some_and(|samples| samples[0].tensor.rows() == 3));
}
