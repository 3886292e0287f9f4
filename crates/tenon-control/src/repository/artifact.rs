//! Which file of a version's folder is the model, and what stands there that no build of ours runs.

use std::collections::BTreeMap;

use serde_json::json;

use super::look::{Folder, Node, Upload};

/// The manifest of a folder that is a bundle of our own.
const MANIFEST: &str = "model.toml";

/// What other servers run, by the ends of file names.
const FOREIGN: [(&str, &str); 20] = [
    ("saved_model.pb", "a TensorFlow SavedModel"),
    ("saved_model.pbtxt", "a TensorFlow SavedModel"),
    (".savedmodel", "a TensorFlow SavedModel"),
    (".graphdef", "a TensorFlow GraphDef"),
    (".tflite", "a TensorFlow Lite model"),
    (".h5", "a Keras model"),
    (".keras", "a Keras model"),
    (".pt", "a PyTorch model"),
    (".pth", "a PyTorch model"),
    (".xml", "an OpenVINO IR"),
    (".plan", "a TensorRT plan"),
    (".engine", "a TensorRT plan"),
    (".mar", "a TorchServe archive"),
    ("MLmodel", "an MLflow model"),
    (".py", "Python code"),
    (".joblib", "a pickled Python model"),
    (".pkl", "a pickled Python model"),
    (".bst", "an XGBoost model"),
    (".ubj", "an XGBoost model"),
    (".safetensors", "weights without a graph"),
];

/// What a folder offers: an upload, or why it has none.
pub(super) fn offer(folder: Folder<'_>, named: Option<&str>, number: Option<u64>) -> Result<Upload, String> {
    offer_without(folder, named, number, &[])
}

/// The same, with files that are no part of the version.
pub(super) fn offer_without(
    folder: Folder<'_>,
    named: Option<&str>,
    number: Option<u64>,
    without: &[&str],
) -> Result<Upload, String> {
    if let Some(refusal) = folder.refusal() {
        return Err(refusal);
    }
    let files = folder.as_bundle(without);
    if folder.has(MANIFEST) {
        return Ok(Upload::Bundle { manifest: None, files });
    }
    let artifact = artifact(folder, named, &files)?;
    if number.is_none() && files.len() == 1 {
        return Ok(Upload::Bare(folder.join(&artifact)));
    }
    Ok(Upload::Bundle { manifest: Some(manifest(&artifact, number)), files })
}

/// The name in the bundle of the file that holds the model.
fn artifact(
    folder: Folder<'_>,
    named: Option<&str>,
    files: &BTreeMap<String, String>,
) -> Result<String, String> {
    let name = named.unwrap_or("model.onnx");
    if !name.ends_with(".onnx") {
        return Err(match foreign([name]) {
            Some(what) => unsupported(what),
            None => format!("`{name}` is no ONNX file; this build runs ONNX"),
        });
    }
    if files.contains_key(name) {
        return Ok(name.to_owned());
    }
    // Triton takes a folder of that name: the model and its weights in files of their own.
    let inside = format!("{name}/");
    let mut onnx: Vec<&String> = files.keys().filter(|path| path.ends_with(".onnx")).collect();
    if onnx.iter().any(|path| path.starts_with(&inside)) {
        onnx.retain(|path| path.starts_with(&inside));
        let same = format!("{inside}model.onnx");
        if files.contains_key(&same) {
            return Ok(same);
        }
    } else if named.is_some() {
        return Err(format!("there is no `{}`", folder.join(name)));
    }
    match &onnx[..] {
        [one] => Ok((*one).clone()),
        [] => Err(match foreign(names_below(folder)) {
            Some(what) => unsupported(what),
            None if files.is_empty() => "there is no file in it yet".to_owned(),
            None => format!("there is no `{}`", folder.join(name)),
        }),
        several => Err(format!("it holds {} ONNX files and none is `{name}`", several.len())),
    }
}

fn names_below<'a>(folder: Folder<'a>) -> impl Iterator<Item = &'a str> {
    folder.below().filter(|(_, node)| !matches!(node, Node::Refused(_))).map(|(path, _)| path)
}

/// What the first known one of these files is.
pub(super) fn foreign<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    paths.into_iter().find_map(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        FOREIGN.iter().find(|(end, _)| name.ends_with(end)).map(|(_, what)| *what)
    })
}

pub(super) fn unsupported(what: &str) -> String {
    format!("it is {what}; this build runs ONNX: export the model as ONNX")
}

fn manifest(artifact: &str, number: Option<u64>) -> String {
    let description = match number {
        // The number is in the bytes: the same file in two version folders is two versions, as it is elsewhere.
        Some(number) => format!("version {number} of a model repository"),
        None => "from a model repository".to_owned(),
    };
    // Texts of JSON are texts of TOML.
    let (artifact, description) = (json!(artifact), json!(description));
    format!("version = 1\nformat = \"onnx\"\nartifact = {artifact}\ndescription = {description}\n")
}
