//! Which models lie in a file or folder of the repository, in whose layout, and what each version is made of.
//!
//! Pure: from names, sizes and a few texts to a list. Whoever laid the folder out finds it served under the name
//! and numbers that his own server gave it.

use std::collections::BTreeMap;

use tenon_contract::Fault;

use super::artifact;
use super::declared::Declared;
use super::look::{Folder, Node, Tree, Upload};
use super::mlserver::{self, SETTINGS};
use super::triton::{self, CONFIG, Config};
use super::warmup;

/// A model that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// Its name, which is to be the service's.
    pub(crate) name: String,
    /// Its versions, newest first.
    pub(crate) versions: Vec<FoundVersion>,
    /// Why no version of it can be served.
    pub(crate) reason: Option<String>,
    /// The signature that it must have.
    pub(crate) declared: Declared,
    /// Files that decide how all versions are served.
    pub(crate) settings: Vec<String>,
}

/// A version that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoundVersion {
    /// Its number, where the layout has numbers.
    pub(crate) number: Option<u64>,
    /// Whether the model's policy keeps it.
    pub(crate) kept: bool,
    /// What it is made of, or why it cannot be served.
    pub(crate) offer: Result<Upload, String>,
}

/// The models in `tree`, which stands in the repository under `name`.
pub(crate) fn recognise(name: &str, tree: &Tree) -> Vec<Found> {
    match tree.nodes.get(name) {
        // Another program's notes, or a copy that is not there yet.
        _ if name.starts_with('.') => Vec::new(),
        Some(Node::Folder) => in_folder(name, tree.folder(name)),
        Some(Node::File(_)) => bare_file(name).into_iter().collect(),
        Some(Node::Refused(reason)) => {
            let model = name.strip_suffix(".onnx").unwrap_or(name);
            vec![refused(model, format!("`{name}` {reason}"))]
        }
        None => Vec::new(),
    }
}

fn refused(name: &str, reason: String) -> Found {
    Found { name: name.to_owned(), reason: Some(reason), ..Found::default() }
}

/// A file by itself. One that is no model is nobody's business.
fn bare_file(name: &str) -> Option<Found> {
    if let Some(model) = name.strip_suffix(".onnx") {
        return Some(alone(model, Ok(Upload::Bare(name.to_owned()))));
    }
    artifact::foreign([name]).map(|what| refused(stem(name), artifact::unsupported(what)))
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// A model whose only version has no number.
fn alone(name: &str, offer: Result<Upload, String>) -> Found {
    let versions = vec![FoundVersion { number: None, kept: true, offer }];
    Found { name: name.to_owned(), versions, ..Found::default() }
}

fn in_folder(name: &str, folder: Folder<'_>) -> Vec<Found> {
    let settings: Vec<String> = std::iter::once(folder.join(SETTINGS))
        .chain(folder.folders().map(|inner| format!("{}/{SETTINGS}", folder.join(inner))))
        .filter(|path| folder.tree.texts.contains_key(path))
        .collect();
    if folder.has(CONFIG) {
        return vec![of_triton(name, folder)];
    }
    if !settings.is_empty() {
        return of_mlserver(name, folder, &settings);
    }
    let numbered = numbered(folder);
    if !folder.has("model.toml") && !numbered.is_empty() {
        return vec![of_numbers(name, folder, &numbered, &Config::default())];
    }
    // A folder that holds neither a model nor what another server would run may be anything.
    vec![alone(name, artifact::offer(folder, None, None))]
}

/// The version folders in it, highest number first.
fn numbered<'a>(folder: Folder<'a>) -> Vec<(u64, &'a str)> {
    let number = |name: &'a str| {
        let is_number = name.bytes().all(|letter| letter.is_ascii_digit());
        is_number
            .then(|| name.parse().ok())
            .flatten()
            .filter(|number| *number > 0)
            .map(|number| (number, name))
    };
    let mut numbers: Vec<_> = folder.folders().filter_map(number).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    // `1` and `01` are the same number: the first spelling has it.
    numbers.dedup_by_key(|(number, _)| *number);
    numbers
}

fn of_numbers(name: &str, folder: Folder<'_>, numbered: &[(u64, &str)], config: &Config) -> Found {
    let version = |(place, (number, inner)): (usize, &(u64, &str))| {
        let path = folder.join(inner);
        let offer = artifact::offer(folder.tree.folder(&path), config.filename.as_deref(), Some(*number));
        let offer = offer.and_then(|upload| warmup::add(&config.samples, folder, upload));
        FoundVersion { number: Some(*number), kept: config.policy.keeps(place, *number), offer }
    };
    let versions = numbered.iter().enumerate().map(version).collect();
    Found { name: name.to_owned(), versions, ..Found::default() }
}

fn of_triton(name: &str, folder: Folder<'_>) -> Found {
    let path = folder.join(CONFIG);
    let config = text(folder.tree, &path)
        .and_then(|text| triton::read(text, name).map_err(|fault| format!("{CONFIG}: {fault}")));
    let numbered = numbered(folder);
    match config {
        Err(reason) => Found { settings: vec![path], ..refused(name, reason) },
        Ok(_) if numbered.is_empty() => {
            Found { settings: vec![path], ..refused(name, "there is no version folder in it yet".to_owned()) }
        }
        Ok(config) => Found {
            settings: vec![path],
            declared: config.declared.clone(),
            ..of_numbers(name, folder, &numbered, &config)
        },
    }
}

/// MLServer takes names from the settings, and puts versions into folders of any name.
fn of_mlserver(name: &str, folder: Folder<'_>, settings: &[String]) -> Vec<Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for path in settings {
        let place = path.strip_suffix(SETTINGS).unwrap_or(path).trim_end_matches('/');
        let read = text(folder.tree, path)
            .and_then(|text| mlserver::read(text).map_err(|fault: Fault| fault.to_string()));
        match read {
            Err(reason) => {
                let named = || refused(name, format!("{path}: {reason}"));
                found.entry(name.to_owned()).or_insert_with(named);
            }
            Ok(read) => {
                let offer = artifact::offer_without(
                    folder.tree.folder(place),
                    read.artifact.as_deref(),
                    read.number,
                    &[SETTINGS],
                );
                let version = FoundVersion { number: read.number, kept: true, offer };
                let model = found.entry(read.name.clone()).or_default();
                model.name = read.name;
                model.settings.push(path.clone());
                model.versions.push(version);
            }
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    for model in &mut found {
        model.versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        model.versions.dedup_by_key(|version| version.number);
    }
    found
}

fn text<'a>(tree: &'a Tree, path: &str) -> Result<&'a [u8], String> {
    match (tree.texts.get(path), tree.nodes.get(path)) {
        (Some(Ok(text)), _) => Ok(text),
        (Some(Err(reason)), _) => Err(format!("`{path}` {reason}")),
        (None, Some(Node::Refused(reason))) => Err(format!("`{path}` {reason}")),
        _ => Err(format!("`{path}` could not be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::look::Stamp;

    /// A tree of these files; one whose name ends with `/` is a folder, one with `->` leads out.
    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            let mut folder = String::new();
            for part in path.split('/').filter(|part| !part.is_empty()) {
                if !folder.is_empty() {
                    tree.nodes.insert(folder.clone(), Node::Folder);
                    folder.push('/');
                }
                folder += part;
            }
            let node = match *text {
                "->" => Node::Refused("is a link that leads out of the repository".to_owned()),
                _ if path.ends_with('/') => Node::Folder,
                _ => Node::File(Stamp::default()),
            };
            let path = path.trim_end_matches('/').to_owned();
            if super::super::look::is_text(&path) && matches!(node, Node::File(_)) {
                tree.texts.insert(path.clone(), Ok(text.to_string().into()));
            }
            tree.nodes.insert(path, node);
        }
        tree
    }

    /// What is found, a line a version: `name/number kept files` or the reason.
    fn told(name: &str, files: &[(&str, &str)]) -> Vec<String> {
        let found = recognise(name, &tree(files));
        let version = |model: &Found, version: &FoundVersion| {
            let number = version.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let kept = if version.kept { "" } else { " left out" };
            let offer = match &version.offer {
                Ok(Upload::Bare(path)) => format!("bare {path}"),
                Ok(Upload::Bundle { manifest, files }) => {
                    let artifact = manifest.as_deref().map_or("own model.toml", |manifest| {
                        manifest.lines().find_map(|line| line.strip_prefix("artifact = ")).unwrap_or_default()
                    });
                    format!("{artifact} of {}", files.keys().cloned().collect::<Vec<_>>().join(" "))
                }
                Err(reason) => reason.clone(),
            };
            format!("{}/{number}{kept}: {offer}", model.name)
        };
        let lines = found.iter().flat_map(|model| {
            let reason = model.reason.iter().map(|reason| format!("{}: {reason}", model.name));
            reason.chain(model.versions.iter().map(|found| version(model, found))).collect::<Vec<_>>()
        });
        lines.collect()
    }

    #[test]
    fn layouts_are_recognised() {
        let check = |name: &str, files: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(told(name, files), expected, "{files:?}");
        };
        check("a.onnx", &[("a.onnx", "")], &["a/-: bare a.onnx"]);
        check("a.txt", &[("a.txt", "")], &[]);
        check("m", &[("m/model.onnx", "")], &["m/-: bare m/model.onnx"]);
        check("m", &[("m/net.onnx", "")], &["m/-: bare m/net.onnx"]);
        check("m", &[("m/model.onnx", ""), ("m/w.bin", "")], &["m/-: \"model.onnx\" of model.onnx w.bin"]);
        check("m", &[("m/model.toml", ""), ("m/1/x", "")], &["m/-: own model.toml of 1/x model.toml"]);
        // TensorFlow Serving and OpenVINO Model Server: nothing but numbers.
        check(
            "m",
            &[
                ("m/1/model.onnx", ""),
                ("m/10/model.onnx", ""),
                ("m/2/x.onnx", ""),
                ("m/notes/model.onnx", ""),
            ],
            &[
                "m/10: \"model.onnx\" of model.onnx",
                "m/2 left out: \"x.onnx\" of x.onnx",
                "m/1 left out: \"model.onnx\" of model.onnx",
            ],
        );
        check(
            "m",
            &[("m/3/model.toml", ""), ("m/3/e.json", "")],
            &["m/3: own model.toml of e.json model.toml"],
        );
        check("m", &[("m/0/model.onnx", "")], &["m/-: bare m/0/model.onnx"]);
        check(
            "m",
            &[("m/01/model.onnx", ""), ("m/1/model.onnx", "")],
            &["m/1: \"model.onnx\" of model.onnx"],
        );
        // Triton.
        let two = [("m/1/model.onnx", ""), ("m/2/model.onnx", ""), ("m/labels.txt", "")];
        let with = |config: &'static str| [&two[..], &[("m/config.pbtxt", config)]].concat();
        check(
            "m",
            &with(""),
            &["m/2: \"model.onnx\" of model.onnx", "m/1 left out: \"model.onnx\" of model.onnx"],
        );
        check(
            "m",
            &with("version_policy { specific { versions: 1 } }"),
            &["m/2 left out: \"model.onnx\" of model.onnx", "m/1: \"model.onnx\" of model.onnx"],
        );
        check(
            "m",
            &with("default_model_filename: 'x.onnx' version_policy { all {} }"),
            &["m/2: there is no `m/2/x.onnx`", "m/1: there is no `m/1/x.onnx`"],
        );
        check(
            "m",
            &[("m/config.pbtxt", ""), ("m/1/model.onnx/model.onnx", ""), ("m/1/model.onnx/weights", "")],
            &["m/1: \"model.onnx/model.onnx\" of model.onnx/model.onnx model.onnx/weights"],
        );
        // MLServer.
        check(
            "m",
            &[
                ("m/model-settings.json", r#"{"name":"digits","parameters":{"uri":"./a.onnx"}}"#),
                ("m/a.onnx", ""),
            ],
            &["digits/-: bare m/a.onnx"],
        );
        let version = |number: &str| format!(r#"{{"name":"digits","parameters":{{"version":"{number}"}}}}"#);
        check(
            "m",
            &[
                ("m/old/model-settings.json", &version("v1")),
                ("m/old/model.onnx", ""),
                ("m/new/model-settings.json", &version("v2")),
                ("m/new/model.onnx", ""),
            ],
            &["digits/2: \"model.onnx\" of model.onnx", "digits/1: \"model.onnx\" of model.onnx"],
        );
    }

    #[test]
    fn what_is_not_served_is_listed_with_its_reason() {
        let check = |files: &[(&str, &str)], expected: &str| {
            let told = told("m", files);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(expected), "{told:?}");
        };
        check(&[("m/1/saved_model.pb", ""), ("m/1/variables/x", "")], "it is a TensorFlow SavedModel");
        check(
            &[("m/1/model.savedmodel/saved_model.pb", ""), ("m/config.pbtxt", "")],
            "it is a TensorFlow SavedModel",
        );
        check(&[("m/1/model.xml", ""), ("m/1/model.bin", "")], "it is an OpenVINO IR");
        check(
            &[("m/1/model.pt", ""), ("m/config.pbtxt", "platform: 'pytorch_libtorch'")],
            "its platform is `pytorch_libtorch`",
        );
        check(&[("m/1/model.py", "")], "it is Python code");
        check(
            &[("m/1/", ""), ("m/config.pbtxt", "platform: 'ensemble' ensemble_scheduling {}")],
            "it is an ensemble",
        );
        check(&[("m/config.pbtxt", "")], "no version folder in it yet");
        check(&[("m/config.pbtxt", "input {"), ("m/1/model.onnx", "")], "config.pbtxt: line 1, column 8");
        check(
            &[("m/config.pbtxt", "->"), ("m/1/model.onnx", "")],
            "`m/config.pbtxt` is a link that leads out",
        );
        check(&[("m/1/model.onnx", "->")], "`m/1/model.onnx` is a link that leads out");
        check(&[("m", "->")], "`m` is a link that leads out");
        check(&[("m/1/", "")], "there is no file in it yet");
        check(&[("m/", "")], "there is no file in it yet");
        check(&[("m/1/a.onnx", ""), ("m/1/b.onnx", "")], "it holds 2 ONNX files and none is `model.onnx`");
        check(
            &[("m/config.pbtxt", "default_model_filename: 'm.pt'"), ("m/1/m.pt", "")],
            "it is a PyTorch model",
        );
        check(&[("m/model-settings.json", "{"), ("m/m.onnx", "")], "m/model-settings.json: EOF");
        check(
            &[("m/model-settings.json", r#"{"name":"d","implementation":"mlserver_xgboost.XGBoostModel"}"#)],
            "its implementation is",
        );
        check(&[("m/.git/x", ""), ("m/readme.md", "")], "there is no `m/model.onnx`");
    }
}
