//! Answers: equal to those that onnxruntime itself gave, for every datatype, shape and address.

mod support;

use support::build::{FLOAT, graph, model, node, tensor, tensor_info};
use support::{answer, bare, examples, fixture, fixtures, floats, load, once, runtime, zipped};
use tenon_contract::{Datatype, Example, NamedTensor, Tensor, Tolerance};

#[test]
fn digits_answer_as_onnxruntime_did() {
    let Some(runtime) = runtime() else { return };
    for version in ["v1", "v2"] {
        let model = load(&runtime, &fixture(&format!("digits/{version}/model.onnx"))).unwrap();
        let mut session = model.session().unwrap();
        let examples = examples(&fixtures().join("digits").join(version).join("examples.json"));
        assert_eq!(examples.len(), 64);
        for Example { inputs, outputs } in examples {
            let found = answer(&*model, &mut *session, inputs).unwrap();
            for (found, expected) in found.tensors().iter().zip(&outputs) {
                found.matches(&expected.tensor, Tolerance { absolute: 1e-5, relative: 1e-5 }).unwrap();
            }
        }
    }
}

/// Two rows of two elements: every byte different, and floats that are NaN, infinite and subnormal.
fn sample(datatype: Datatype) -> Tensor {
    let payload = match datatype.size() {
        None => return Tensor::from_strings(vec![2, 2], &["", "zwei", "日本", "with\0nul"]).unwrap(),
        Some(1) if datatype == Datatype::Bool => vec![1, 0, 0, 1],
        Some(size) => (0..4 * size).map(|byte| 0xf9u8.wrapping_sub((byte * 7) as u8)).collect(),
    };
    Tensor::new(datatype, vec![2, 2], payload.into()).unwrap()
}

fn all_datatypes(of: impl Fn(Datatype) -> Tensor) -> Vec<NamedTensor> {
    let named = |datatype: &Datatype| {
        NamedTensor::new(format!("in_{}", datatype.name().to_lowercase()), of(*datatype))
    };
    Datatype::ALL.iter().map(named).collect()
}

fn assert_identity(given: &[NamedTensor]) {
    let Some(runtime) = runtime() else { return };
    let model = load(&runtime, &fixture("onnx/identity_all.onnx")).unwrap();
    let found = answer(&*model, &mut *model.session().unwrap(), given.to_vec()).unwrap();
    for (spec, found) in model.signature().outputs.iter().zip(found.tensors()) {
        let input = spec.name.replace("out_", "in_");
        let given = given.iter().find(|named| *named.name == *input).unwrap();
        assert_eq!(*found, given.tensor, "{spec}");
        assert_eq!(found.payload(), given.tensor.payload(), "{spec}: bit for bit");
    }
}

#[test]
fn every_datatype_comes_back_bit_for_bit() {
    assert_identity(&all_datatypes(sample));
}

#[test]
fn no_rows_give_no_rows() {
    assert_identity(&all_datatypes(|datatype| sample(datatype).slice_rows(0..0)));
}

#[test]
fn odd_addresses_are_copied() {
    assert_identity(&all_datatypes(|datatype| {
        let tensor = sample(datatype);
        let mut shifted = vec![0u8];
        shifted.extend_from_slice(tensor.payload());
        let payload = bytes::Bytes::from(shifted).slice(1..);
        Tensor::new(datatype, vec![2, 2], payload).unwrap()
    }));
}

#[test]
fn large_outputs_outlive_session_and_model() {
    let Some(runtime) = runtime() else { return };
    let values: Vec<f32> = (0..100_000).map(|value| value as f32).collect();
    let given = || vec![floats("x", &[1, 100_000], &values)];
    let model = load(&runtime, &fixture("onnx/identity.onnx")).unwrap();
    let mut session = model.session().unwrap();
    let first = answer(&*model, &mut *session, given()).unwrap();
    let second = answer(&*model, &mut *session, given()).unwrap();
    drop((session, model));
    for outputs in [first, second] {
        assert_eq!(outputs.tensors()[0].values::<f32>().unwrap().as_ref(), values);
    }
}

#[test]
fn strings_that_are_no_utf8_are_refused() {
    let Some(runtime) = runtime() else { return };
    let mut given = all_datatypes(sample);
    let strings = Tensor::from_strings(vec![1, 2], &[b"good".as_slice(), b"\xff"]).unwrap();
    given.last_mut().unwrap().tensor = strings;
    let error = once(&runtime, &fixture("onnx/identity_all.onnx"), given).unwrap_err();
    assert_eq!(error, "model failed: input `in_bytes` is no UTF-8 at element 1; strings of ONNX must be");
}

#[test]
fn scalars_go_in_and_out() {
    let Some(runtime) = runtime() else { return };
    let scalar = |name: &str| vec![tensor_info(name, FLOAT, &[])];
    let bytes = model(graph(vec![node("Neg", &["x"], &["y"])], scalar("x"), scalar("y")));
    let found = once(&runtime, &bare(bytes), vec![floats("x", &[], &[2.5])]).unwrap();
    assert_eq!(found.tensors()[0], floats("y", &[], &[-2.5]).tensor);
}

/// An output that is the input itself, or a constant, may be memory that is not the output's own.
#[test]
fn outputs_never_share_memory_with_what_may_go_away() {
    let Some(runtime) = runtime() else { return };
    let row = |name: &str| tensor_info(name, FLOAT, &[5000]);
    let graph = graph(vec![node("Neg", &["x"], &["y"])], vec![row("x")], vec![row("y"), row("x"), row("c")]);
    let constants: Vec<f32> = (0..5000).map(|value| value as f32).collect();
    let bytes: Vec<u8> = constants.iter().flat_map(|value| value.to_le_bytes()).collect();
    let inside = model(graph.clone().message(5, tensor("c", &constants)));
    let outside = model(graph.message(5, support::build::external("c", 5000, &[("location", "c.bin")])));
    for bundle in [bare(inside), zipped(&[("model.onnx", &outside), ("c.bin", &bytes)])] {
        let model = load(&runtime, &bundle).unwrap();
        let mut session = model.session().unwrap();
        let given = vec![floats("x", &[5000], &[1.0; 5000])];
        let addresses: Vec<_> = given.iter().map(|named| named.tensor.payload().as_ptr()).collect();
        let first = answer(&*model, &mut *session, given.clone()).unwrap();
        let second = answer(&*model, &mut *session, given).unwrap();
        for (first, second) in first.tensors().iter().zip(second.tensors()) {
            let (first, second) = (first.payload().as_ptr(), second.payload().as_ptr());
            assert!(first != second && !addresses.contains(&first), "shared with the model or the input");
        }
        drop((session, model));
        assert_eq!(second.tensors()[1].values::<f32>().unwrap().as_ref(), [1.0; 5000]);
        assert_eq!(second.tensors()[2].values::<f32>().unwrap().as_ref(), constants);
    }
}
