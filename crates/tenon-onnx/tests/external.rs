//! External data comes from the bundle's bytes only.

mod support;

use support::build::{FLOAT, external, graph, model, node, tensor_info};
use support::{bare, fixtures, floats, load, once, runtime, zipped};

fn scales(location: &str, offset: &str) -> Vec<u8> {
    let row = |name: &str| vec![tensor_info(name, FLOAT, &[-1, 4])];
    let graph = graph(vec![node("Mul", &["x", "w"], &["y"])], row("x"), row("y"));
    model(graph.message(5, external("w", 4, &[("location", location), ("offset", offset)])))
}

#[test]
fn bundle_of_the_fixtures_answers() {
    let Some(runtime) = runtime() else { return };
    let read = |name: &str| std::fs::read(fixtures().join("onnx/external").join(name)).unwrap();
    let bundle = zipped(&[("model.onnx", &read("model.onnx")), ("weights.bin", &read("weights.bin"))]);
    let found = once(&runtime, &bundle, vec![floats("x", &[1, 4], &[1.0; 4])]).unwrap();
    assert_eq!(found.tensors()[0].values::<f32>().unwrap().as_ref(), [2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn weights_may_begin_at_any_byte() {
    let Some(runtime) = runtime() else { return };
    let bytes: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    for offset in 0..8 {
        let file = [&vec![0xff; offset], bytes.as_slice()].concat();
        let bundle =
            zipped(&[("model.onnx", &scales("deep/w.bin", &offset.to_string())), ("deep/w.bin", &file)]);
        let found = once(&runtime, &bundle, vec![floats("x", &[1, 4], &[2.0; 4])]).unwrap();
        assert_eq!(
            found.tensors()[0].values::<f32>().unwrap().as_ref(),
            [2.0, 4.0, 6.0, 8.0],
            "offset {offset}"
        );
    }
}

/// A file of that name in the working folder is what ONNX Runtime would open by itself.
#[test]
fn files_outside_the_bundle_are_never_opened() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    std::fs::write("w.bin", [0xff; 16]).unwrap();
    let refused = load(&runtime, &bare(scales("w.bin", "0"))).err().unwrap().to_string();
    assert_eq!(refused, "tensor `w`: needs `w.bin`, which is not in the bundle");
    let values: Vec<u8> = [5f32; 4].iter().flat_map(|value| value.to_le_bytes()).collect();
    let bundle = zipped(&[("model.onnx", &scales("w.bin", "0")), ("w.bin", &values)]);
    let found = once(&runtime, &bundle, vec![floats("x", &[1, 4], &[1.0; 4])]).unwrap();
    assert_eq!(found.tensors()[0].values::<f32>().unwrap().as_ref(), [5.0; 4]);
}
