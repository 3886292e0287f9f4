//! Names of classes: in `model.toml` itself or in a file of the bundle, in the forms in which they go around.

use std::collections::BTreeMap;

use serde::Deserialize;
use tenon_runtime::{Bundle, LoadError};

use crate::declared::refused;

/// Bytes of a file of labels.
const FILE_BYTES: usize = 4 << 20;
/// Labels.
const LABELS: usize = 200_000;
/// Bytes of a label.
const LABEL_BYTES: usize = 512;

/// Where the names of classes stand.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum LabelsTable {
    /// A file of the bundle.
    File(String),
    /// The names themselves, in the order of the classes.
    Names(Vec<String>),
}

/// Names by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<i64, String>);

impl Labels {
    /// Reads what is declared. Lists begin with class `first`.
    ///
    /// # Errors
    /// The file is not in the bundle, too large, or no list of names; the text names line or key.
    pub fn read(declared: Option<&LabelsTable>, first: i64, bundle: &Bundle) -> Result<Self, LoadError> {
        let labels = match declared {
            None => return Ok(Self::default()),
            Some(LabelsTable::Names(names)) => Self::of_list(names.iter().map(String::as_str), first),
            Some(LabelsTable::File(name)) => {
                let bytes = bundle
                    .file(name)
                    .ok_or_else(|| refused("labels", format!("`{name}` is not in the bundle")))?;
                Self::parse(bytes, first).map_err(|text| LoadError::malformed(name, text))?
            }
        };
        labels.bounded().map_err(|text| refused("labels", text))
    }

    /// Reads a file: JSON (a list, or an object from class to name), a label map of the TensorFlow Object
    /// Detection API, or text with a name on each line.
    ///
    /// # Errors
    /// It is none of these, or beyond the limits.
    pub fn parse(bytes: &[u8], first: i64) -> Result<Self, String> {
        if bytes.len() > FILE_BYTES {
            return Err(format!("exceeds the limit of {FILE_BYTES} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let labels = match text.trim_start().as_bytes() {
            [b'[', ..] => {
                let list: Vec<String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
                Self::of_list(list.iter().map(String::as_str), first)
            }
            [b'{', ..] => Self(serde_json::from_str(text).map_err(|error| error.to_string())?),
            [b'i', b't', b'e', b'm', rest @ ..] if rest.trim_ascii_start().starts_with(b"{") => {
                Self::of_label_map(text)?
            }
            _ => Self::of_list(text.lines().map(str::trim_end), first),
        };
        labels.bounded()
    }

    fn of_list<'a>(names: impl Iterator<Item = &'a str>, first: i64) -> Self {
        Self((first..).zip(names.take(LABELS + 1).map(str::to_owned)).collect())
    }

    /// `item { id: 1 display_name: "person" }` and so on; other fields are passed over.
    fn of_label_map(text: &str) -> Result<Self, String> {
        let mut labels = BTreeMap::new();
        let (mut id, mut name, mut shown) = (None, None, None);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim().trim_end_matches(',');
            let place = |what: &str| format!("line {}: {what}", number + 1);
            let quoted = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
            match line.split_once(':') {
                Some(("id", value)) => {
                    id = Some(value.trim().parse().map_err(|_| place("expected a number behind `id:`"))?);
                }
                Some(("name", value)) => name = Some(quoted(value)),
                Some(("display_name", value)) => shown = Some(quoted(value)),
                _ if line == "}" => {
                    let id: i64 = id.take().ok_or_else(|| place("item without `id`"))?;
                    let (name, shown) = (name.take(), shown.take());
                    labels.insert(id, shown.or(name).ok_or_else(|| place("item without a name"))?);
                }
                _ => {}
            }
        }
        Ok(Self(labels))
    }

    fn bounded(self) -> Result<Self, String> {
        if self.0.len() > LABELS {
            return Err(format!("exceeds the limit of {LABELS} labels"));
        }
        match self.0.iter().find(|(_, label)| label.len() > LABEL_BYTES) {
            Some((class, _)) => {
                Err(format!("label of class {class} exceeds the limit of {LABEL_BYTES} bytes"))
            }
            None => Ok(self),
        }
    }

    /// The name of a class; empty where it has none.
    pub fn name(&self, class: i64) -> &str {
        self.0.get(&class).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        let check = |text: &str, first: i64, class: i64, expected: &str| {
            assert_eq!(Labels::parse(text.as_bytes(), first).unwrap().name(class), expected, "{text}");
        };
        check("person\r\nbicycle\r\n", 1, 2, "bicycle");
        check("person\nbicycle", 0, 0, "person");
        check("person\n", 0, 7, "");
        check("[\"person\", \"bicycle\"]", 0, 1, "bicycle");
        check("{\"1\": \"person\", \"90\": \"brush\"}", 0, 90, "brush");
        check("item {\n  id: 3\n  display_name: \"car\"\n}\nitem {\n name: 'x'\n id: 4\n}\n", 0, 3, "car");
        check("item {\n  name: \"/m/01\"\n  id: 3\n  display_name: \"car\"\n}\n", 0, 3, "car");
        let refused = |text: &str, expected: &str| {
            let error = Labels::parse(text.as_bytes(), 0).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused("item {\n name: 'x'\n}\n", "line 3: item without `id`");
        refused("item {\n id: x\n}\n", "line 2: expected a number");
        refused("{\"a\": \"b\"}", "expected key to be a number");
        refused(&"x".repeat(600), "label of class 0");
    }

    proptest! {
        #[test]
        fn any_file_is_labels_or_a_text(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "(item ?\\{)?[ -~\n]{0,120}") {
            let _ = Labels::parse(&bytes, 0);
            let _ = Labels::parse(text.as_bytes(), 1);
        }
    }
}
