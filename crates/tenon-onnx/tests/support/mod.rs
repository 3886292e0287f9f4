//! What the tests share: the runtime or the reason why there is none, bundles, calls.

#![allow(dead_code, unreachable_pub, clippy::print_stdout, clippy::disallowed_methods)]

pub mod build;

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tenon_contract::{Datatype, Example, NamedTensor, Outputs, Parameters, Tensor, Tolerance};
use tenon_onnx::{Library, OnnxRuntime, Options, SearchPath};
use tenon_runtime::{
    Bundle, BundleLimits, Call, Cancel, LoadError, LoadOptions, Model, RunError, Runtime, Session, Single,
};

/// The repository's folder of fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// Says that the test of this thread did not run, and why.
pub fn skipped(reason: &str) {
    println!("SKIPPED: {}: {reason}", std::thread::current().name().unwrap_or("a test"));
}

/// The library of the cache folder, or a line that says that the test is skipped.
pub fn library() -> Option<Library> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
    let search = SearchPath { cache_folder: cache.join("tenon"), ..SearchPath::default() };
    Library::find(&search).map_err(|absent| skipped(&absent.to_string())).ok()
}

/// ONNX Runtime, or a line that says that the test is skipped.
pub fn runtime() -> Option<OnnxRuntime> {
    Some(OnnxRuntime::start(&library()?, Options::default()).expect("the library starts"))
}

/// A file beside the repository, in the folder of models that may be absent.
pub fn shared_model(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TENON_MODELS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| fixtures().join("../../shared/models"));
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("{} is not there; TENON_MODELS may name the folder of models", path.display()));
    None
}

pub fn bare(bytes: impl Into<Vec<u8>>) -> Bundle {
    Bundle::open(bytes.into().into(), BundleLimits::default()).expect("a bare artifact")
}

pub fn fixture(name: &str) -> Bundle {
    bare(std::fs::read(fixtures().join(name)).expect("a fixture"))
}

/// A zipped bundle of a model and other files.
pub fn zipped(files: &[(&str, &[u8])]) -> Bundle {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in
        [("model.toml", b"version = 1\nartifact = \"model.onnx\"\n".as_slice())].iter().chain(files)
    {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("a file in the zip");
        zip.write_all(content).expect("memory takes it");
    }
    let bytes = zip.finish().expect("the zip ends").into_inner();
    Bundle::open(bytes.into(), BundleLimits::default()).expect("a bundle")
}

pub fn load(runtime: &dyn Runtime, bundle: &Bundle) -> Result<Box<dyn Model>, LoadError> {
    runtime.load(bundle, &LoadOptions::default())
}

pub fn answer(
    model: &dyn Model,
    session: &mut dyn Session,
    given: Vec<NamedTensor>,
) -> Result<Outputs, RunError> {
    answer_unless(model, session, given, &Cancel::new(), None)
}

pub fn answer_unless(
    model: &dyn Model,
    session: &mut dyn Session,
    given: Vec<NamedTensor>,
    cancel: &Cancel,
    deadline: Option<std::time::Instant>,
) -> Result<Outputs, RunError> {
    let inputs = model.signature().bind(given).expect("inputs fit");
    let (parameters, mut single) = (Parameters::new(), Single::default());
    session.run(
        Call { inputs: &inputs, parameters: &parameters, deadline, cancel, sequence: None },
        &mut single,
    )?;
    Ok(model.signature().check(single.take()?).expect("outputs fit"))
}

/// Loads and answers once.
pub fn once(runtime: &dyn Runtime, bundle: &Bundle, given: Vec<NamedTensor>) -> Result<Outputs, String> {
    let model = load(runtime, bundle).map_err(|error| error.to_string())?;
    let mut session = model.session().map_err(|error| error.to_string())?;
    answer(&*model, &mut *session, given).map_err(|error| error.to_string())
}

pub fn floats(name: &str, shape: &[i64], values: &[f32]) -> NamedTensor {
    NamedTensor::new(name, Tensor::from_values(shape.to_vec(), values.to_vec()).expect("a tensor"))
}

/// Examples of a fixture.
pub fn examples(path: &Path) -> Vec<Example> {
    let text = std::fs::read(path).expect("examples");
    let file: Value = serde_json::from_slice(&text).expect("JSON");
    let side =
        |example: &Value, side: &str| example[side].as_array().expect("a list").iter().map(tensor).collect();
    let list = file["examples"].as_array().expect("a list").iter();
    list.map(|example| Example { inputs: side(example, "inputs"), outputs: side(example, "outputs") })
        .collect()
}

fn tensor(written: &Value) -> NamedTensor {
    let shape = written["shape"]
        .as_array()
        .expect("a shape")
        .iter()
        .map(|dim| dim.as_i64().expect("a size"))
        .collect();
    let data = written["data"].as_array().expect("data").iter();
    let tensor = match written["datatype"].as_str().expect("a datatype").parse() {
        Ok(Datatype::Fp32) => {
            Tensor::from_values(shape, data.map(|x| x.as_f64().expect("number") as f32).collect())
        }
        Ok(Datatype::Int64) => {
            Tensor::from_values(shape, data.map(|x| x.as_i64().expect("integer")).collect())
        }
        other => panic!("no example has {other:?}"),
    };
    NamedTensor::new(written["name"].as_str().expect("a name"), tensor.expect("a tensor"))
}

/// The case of the runtime's suite: the first digits model on four of its examples, and an endless loop.
pub fn case(memory: fn() -> u64) -> Option<tenon_runtime::checks::Case> {
    let examples = examples(&fixtures().join("digits/v1/examples.json"));
    let join = |side: fn(&Example) -> &Vec<NamedTensor>| {
        let columns = side(&examples[0]).iter().enumerate();
        let column = |(at, first): (usize, &NamedTensor)| {
            let rows: Vec<_> = examples[..4].iter().map(|example| side(example)[at].tensor.clone()).collect();
            NamedTensor::new(first.name.clone(), Tensor::concat_rows(&rows).expect("rows join"))
        };
        columns.map(column).collect()
    };
    let endless = Example { inputs: vec![floats("x", &[1, 4], &[0.0; 4])], outputs: vec![] };
    Some(tenon_runtime::checks::Case {
        runtime: Box::new(runtime()?),
        bundle: fixture("digits/v1/model.onnx"),
        example: Example {
            inputs: join(|example| &example.inputs),
            outputs: join(|example| &example.outputs),
        },
        tolerance: Tolerance { absolute: 1e-5, relative: 1e-5 },
        slow: Some((fixture("hostile/endless.onnx"), endless)),
        memory,
    })
}
