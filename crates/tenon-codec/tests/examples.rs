//! `examples.json` through the published interface, and the files that the repository ships.

use tenon_codec::Limits;
use tenon_codec::examples::{self, ExampleFile};
use tenon_contract::{Example, Examples, NamedTensor, Tensor, Tolerance};

#[track_caller]
fn refuses(file: &str, expected: &str) {
    let fault = examples::read(file.as_bytes(), &Limits::default()).expect_err(file);
    assert_eq!(fault.text, format!("read examples: {expected}"));
}

#[test]
fn files_read_back_as_written() {
    let x =
        NamedTensor::new("x", Tensor::from_values(vec![1, 2], vec![0.1f32, f32::NAN.copysign(1.0)]).unwrap());
    let y = NamedTensor::new("y", Tensor::from_strings(vec![2], &["a\n", "é"]).unwrap());
    let example = Example { inputs: vec![x.clone(), y.clone()], outputs: vec![y] };
    let other = Example { inputs: vec![], outputs: vec![x] };
    let file = ExampleFile {
        engine: Some("onnxruntime 1.31.1".into()),
        examples: Examples {
            tolerance: Tolerance { absolute: 1e-6, relative: 0.0 },
            examples: vec![example, other],
        },
    };
    let written = examples::write(&file).unwrap();
    assert_eq!(examples::read(&written, &Limits::default()).unwrap(), file);
    assert_eq!(examples::write(&ExampleFile::default()).unwrap(), {
        b"{\"version\":1,\"tolerance\":{\"absolute\":0.00001,\"relative\":0.00001},\"examples\":[\n]}\n"
    });
}

#[test]
fn what_is_refused() {
    refuses("{}", "expected `version`, found none");
    refuses(r#"{"version":1}"#, "expected `examples`, found none");
    refuses(r#"{"version":2,"examples":[]}"#, "expected version 1, found 2: a later Tenon may read it");
    refuses(r#"{"version":1,"examples":[],"examples":[]}"#, "expected `examples` once, found it twice");
    refuses(
        r#"{"version":1,"tolerance":{"absolute":-1,"relative":0},"examples":[]}"#,
        "tolerance: expected a number of 0 or more at byte 37, found `-1`",
    );
    refuses(
        r#"{"version":1,"tolerance":{"absolute":1,"rel":0},"examples":[]}"#,
        "tolerance: expected `absolute` and `relative`, found `rel`",
    );
    refuses(r#"{"version":1,"examples":[{"inputs":[]}]}"#, "example 0: expected `outputs`, found none");
    refuses(
        r#"{"version":1,"examples":[{"outputs":[],"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[300]}]}]}"#,
        "example 0: input `x`: data of shape [1]: element [0]: expected INT8 (-128 to 127) at byte 99, found `300`",
    );
    let few = Limits { examples: 1, ..Limits::default() };
    let two = r#"{"version":1,"examples":[{"inputs":[],"outputs":[]},{"inputs":[],"outputs":[]}]}"#;
    let text = examples::read(two.as_bytes(), &few).unwrap_err().text;
    assert_eq!(text, "read examples: exceeds the limit examples of 1");
}

#[test]
fn the_fixtures_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/digits/v1/examples.json");
    let file = std::fs::read(folder).unwrap();
    let read = examples::read(&file, &Limits::default()).unwrap();
    assert_eq!(read.examples.examples.len(), 64);
    let written = examples::write(&read).unwrap();
    assert_eq!(examples::read(&written, &Limits::default()).unwrap(), read);
}
