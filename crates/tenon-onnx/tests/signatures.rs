//! From a model's inputs and outputs to its signature, and what has none.

mod support;

use support::build::{FLOAT, Message, graph, info, model, node, tensor, tensor_info};
use support::{answer, bare, fixture, floats, load, runtime};
use tenon_contract::Memory;
use tenon_contract::signature::Dim;
use tenon_runtime::{Cancel, LoadError, LoadOptions, Runtime};

#[test]
fn names_of_dimensions_are_kept() {
    let Some(runtime) = runtime() else { return };
    let add_one = load(&runtime, &fixture("onnx/add_one.onnx")).unwrap();
    assert_eq!(add_one.signature().inputs[0].to_string(), "x FP32[-1, 4]");
    assert!(matches!(&add_one.signature().inputs[0].shape[0], Dim::Named(name) if !name.is_empty()));
    let digits = load(&runtime, &fixture("digits/v1/model.onnx")).unwrap();
    let outputs: Vec<_> = digits.signature().outputs.iter().map(ToString::to_string).collect();
    assert_eq!(outputs, ["label INT64[-1]", "probabilities FP32[-1, 10]"]);
    assert_eq!(runtime.build().split(' ').next(), Some("onnxruntime"));
    assert!(runtime.build().contains("1.31.1"), "{}", runtime.build());
}

#[test]
fn initializers_among_the_inputs_need_not_be_given() {
    let Some(runtime) = runtime() else { return };
    let x = || tensor_info("x", FLOAT, &[2]);
    let inputs = vec![x(), tensor_info("w", FLOAT, &[2])];
    let graph = graph(vec![node("Add", &["x", "w"], &["y"])], inputs, vec![tensor_info("y", FLOAT, &[2])]);
    let model = load(&runtime, &bare(model(graph.message(5, tensor("w", &[10.0, 20.0]))))).unwrap();
    assert_eq!(model.signature().inputs.len(), 1);
    let found =
        answer(&*model, &mut *model.session().unwrap(), vec![floats("x", &[2], &[1.0, 2.0])]).unwrap();
    assert_eq!(found.tensors()[0].values::<f32>().unwrap().as_ref(), [11.0, 22.0]);
}

fn refusal(bytes: Vec<u8>) -> Option<String> {
    Some(load(&runtime()?, &bare(bytes)).err().expect("a refusal").to_string())
}

#[test]
fn lists_of_maps_are_refused_with_what_to_do() {
    // A list of maps from INT64 to FP32, as ZipMap gives it.
    let float = Message::default().message(1, Message::default().number(1, FLOAT));
    let map = Message::default().message(5, Message::default().number(1, 7).message(2, float));
    let list = Message::default().message(4, Message::default().message(1, map));
    let keys =
        support::build::attribute("classlabels_int64s", 7, 99, Message::default()).number(8, 1).number(8, 2);
    let zip_map = node("ZipMap", &["x"], &["y"]).bytes(7, "ai.onnx.ml").message(5, keys);
    let graph = graph(vec![zip_map], vec![tensor_info("x", FLOAT, &[-1, 2])], vec![info("y", list)]);
    let Some(text) = refusal(model(graph)) else { return };
    assert!(text.starts_with("output `y`: is a list of maps") && text.contains("'zipmap': False"), "{text}");
}

#[test]
fn element_types_without_a_datatype_are_refused() {
    // 17 is FLOAT8E4M3FN.
    let row = |name: &str| vec![tensor_info(name, 17, &[2])];
    let Some(text) = refusal(model(graph(vec![node("Identity", &["x"], &["y"])], row("x"), row("y")))) else {
        return;
    };
    assert!(text.contains("input `x`: has the element type"), "{text}");
}

#[test]
fn unknown_operators_and_domains_are_refused() {
    let row = |name: &str| vec![tensor_info(name, FLOAT, &[2])];
    let stranger = node("Evil", &["x"], &["y"]).bytes(7, "com.evil");
    let Some(text) = refusal(model(graph(vec![stranger], row("x"), row("y")))) else { return };
    assert!(text.starts_with("onnxruntime refused the model: ") && text.contains("Evil"), "{text}");
}

#[test]
fn limits_of_the_load_hold() {
    let Some(runtime) = runtime() else { return };
    let bundle = fixture("digits/v2/model.onnx");
    let allowed = Some(Memory::cpu(60_000));
    let refused = runtime.load(&bundle, &LoadOptions { memory_budget: allowed, ..LoadOptions::default() });
    assert!(matches!(refused.err(), Some(LoadError::Memory { .. })));
    let cancel = Cancel::new();
    cancel.cancel();
    let refused = runtime.load(&bundle, &LoadOptions { cancel, ..LoadOptions::default() });
    assert_eq!(refused.err(), Some(LoadError::Cancelled));
    let device = tenon_contract::Device::Gpu(0);
    assert!(runtime.load(&bundle, &LoadOptions { device, ..LoadOptions::default() }).is_err());
}
