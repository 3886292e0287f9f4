//! Triton's `model_warmup` as the warm-ups of our own bundles.

use std::fmt::Write as _;

use serde_json::json;
use tenon_codec::textproto::Message;
use tenon_contract::{Datatype, Fault};

use super::look::{Folder, Upload};
use super::triton::read_datatype;

/// The folder in which Triton keeps the files of samples.
const FOLDER: &str = "warmup";

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    name: String,
    count: u32,
    inputs: Vec<Input>,
}

#[derive(Clone, Debug, PartialEq)]
struct Input {
    name: String,
    datatype: Datatype,
    shape: Vec<i64>,
    data: Data,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Zeros,
    Random,
    File(String),
}

/// Reads the samples of a configuration.
pub(super) fn read(config: &Message, batched: bool) -> Result<Vec<Sample>, Fault> {
    let sample = |sample: &Message| {
        let rows = i64::from(sample.integer::<u32>("batch_size")?.unwrap_or(1).max(1));
        let input = |entry: &&Message| read_input(entry, batched.then_some(rows));
        Ok(Sample {
            name: sample.text("name")?.unwrap_or_default().to_owned(),
            // Triton takes 0 for once.
            count: sample.integer::<u32>("count")?.unwrap_or(1).max(1),
            inputs: sample.messages("inputs")?.iter().map(input).collect::<Result<_, Fault>>()?,
        })
    };
    config.messages("model_warmup")?.into_iter().map(sample).collect()
}

fn read_input(entry: &Message, rows: Option<i64>) -> Result<Input, Fault> {
    let name = entry.text("key")?.unwrap_or_default().to_owned();
    let missing = || Fault::invalid(format!("`model_warmup`: input `{name}` has no value"));
    let value = entry.message("value")?.ok_or_else(missing)?;
    let data = match value.text("input_data_file")? {
        Some(file) if file.is_empty() || file.starts_with(['/', '.']) || file.contains("..") => {
            return Err(Fault::invalid(format!(
                "`model_warmup`: `{file}` is no file of the folder `{FOLDER}`"
            )));
        }
        Some(file) => Data::File(file.to_owned()),
        None if value.truth("random_data")? => Data::Random,
        None => Data::Zeros,
    };
    let shape = rows.into_iter().chain(value.integers::<i64>("dims")?).collect();
    Ok(Input { datatype: read_datatype(value)?, name, shape, data })
}

/// Puts the samples of the model in `folder` into a version's upload.
pub(super) fn add(samples: &[Sample], folder: Folder<'_>, upload: Upload) -> Result<Upload, String> {
    // A bundle of our own says for itself what warms it up.
    let Upload::Bundle { manifest: Some(mut manifest), mut files } = upload else { return Ok(upload) };
    for Sample { name, count, inputs } in samples {
        // Texts and lists of JSON are those of TOML.
        let _ = write!(manifest, "\n[[warmup]]\nname = {}\ncount = {count}\ninputs = [", json!(name));
        for Input { name, datatype, shape, data } in inputs {
            let data = match data {
                Data::Zeros => "fill = \"zeros\"".to_owned(),
                Data::Random => "fill = \"random\"".to_owned(),
                Data::File(file) => {
                    let file = format!("{FOLDER}/{file}");
                    let path = folder.join(&file);
                    if !folder.has(&file) {
                        return Err(format!("there is no `{path}`, which `model_warmup` names"));
                    }
                    if let Some(refusal) = folder.tree.folder(&folder.join(FOLDER)).refusal() {
                        return Err(refusal);
                    }
                    let text = format!("file = {}", json!(file));
                    files.insert(file, path);
                    text
                }
            };
            let (name, shape) = (json!(name), json!(shape));
            let _ = write!(
                manifest,
                "\n  {{ name = {name}, datatype = \"{datatype}\", shape = {shape}, {data} }},"
            );
        }
        manifest += "\n]\n";
    }
    Ok(Upload::Bundle { manifest: Some(manifest), files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::look::{Node, Stamp, Tree};
    use tenon_codec::textproto::{self, TextLimits};

    const CONFIG: &str = r#"
        model_warmup [
          { name: "zeros" batch_size: 2 inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } },
          { name: "file" count: 4 inputs: { key: "x" value { data_type: TYPE_STRING dims: 1 input_data_file: "raw" } } }
        ]"#;

    fn samples(text: &str, batched: bool) -> Result<Vec<Sample>, Fault> {
        read(&textproto::read(text.as_bytes(), &TextLimits::default())?, batched)
    }

    #[test]
    fn samples_become_warm_ups() {
        let file = || Node::File(Stamp::default());
        let nodes = [
            ("m".to_owned(), Node::Folder),
            ("m/warmup".to_owned(), Node::Folder),
            ("m/warmup/raw".to_owned(), file()),
        ];
        let mut tree = Tree { nodes: nodes.into(), ..Tree::default() };
        let upload = || Upload::Bundle {
            manifest: Some(String::new()),
            files: [("model.onnx".to_owned(), "m/1/model.onnx".to_owned())].into(),
        };
        let samples = samples(CONFIG, true).unwrap();
        let Upload::Bundle { manifest, files } = add(&samples, tree.folder("m"), upload()).unwrap() else {
            panic!()
        };
        assert_eq!(
            manifest.unwrap(),
            "\n[[warmup]]\nname = \"zeros\"\ncount = 1\ninputs = [\n  { name = \"x\", datatype = \"FP32\", shape = [2,3], fill = \"zeros\" },\n]\n\
             \n[[warmup]]\nname = \"file\"\ncount = 4\ninputs = [\n  { name = \"x\", datatype = \"BYTES\", shape = [1,1], file = \"warmup/raw\" },\n]\n"
        );
        assert_eq!(files["warmup/raw"], "m/warmup/raw");
        tree.nodes.remove("m/warmup/raw");
        let reason = add(&samples, tree.folder("m"), upload()).unwrap_err();
        assert_eq!(reason, "there is no `m/warmup/raw`, which `model_warmup` names");
    }

    #[test]
    fn without_batches_shapes_are_whole() {
        let found = samples(
            "model_warmup { inputs { key: 'x' value { data_type: TYPE_INT8 dims: 5 random_data: true } } }",
            false,
        )
        .unwrap();
        let input =
            Input { name: "x".to_owned(), datatype: Datatype::Int8, shape: vec![5], data: Data::Random };
        assert_eq!(found, [Sample { name: String::new(), count: 1, inputs: vec![input] }]);
        for file in ["../x", "/etc/passwd", "a/../../x", ""] {
            let text = format!(
                "model_warmup {{ inputs {{ key: 'x' value {{ data_type: TYPE_INT8 input_data_file: '{file}' }} }} }}"
            );
            assert!(samples(&text, false).unwrap_err().text.contains("is no file of the folder"), "{file}");
        }
    }
}
