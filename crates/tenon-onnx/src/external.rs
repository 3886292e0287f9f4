//! Weights that a model keeps in other files of its bundle.
//!
//! ONNX lets every tensor say "my values lie in file F". Before ONNX Runtime sees a model, all of it is
//! read here: the graph, graphs in attributes, functions, training graphs. Tensors of the main graph
//! are taken from the bundle's bytes, checked against shape and type, and handed over in memory;
//! everything else that points to a file is refused. So ONNX Runtime never has a path to open.
//!
//! The reader takes the strict side of every doubt: a tensor counts as external if *anything* of it
//! says so, since Protobuf merges what stands there twice.

use std::collections::BTreeSet;

use bytes::Bytes;
use ort::value::TensorElementType;
use tenon_runtime::LoadError;

use crate::proto::{Broken, Message, Value};

/// Messages inside each other. Protobuf's own parser stops at 100.
const DEPTH_LIMIT: usize = 100;

/// Values of one tensor of the main graph, found in the bundle.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) element: TensorElementType,
    pub(crate) shape: Vec<i64>,
    pub(crate) bytes: Bytes,
}

/// Reads all of `model` and finds every weight that lies outside it with `file`, which gives a file
/// of the bundle by its path as seen from the model.
///
/// # Errors
/// The model is no Protobuf or nested too deep; a tensor points to what the bundle does not hold or to
/// what could not be handed over in memory. The place is `artifact` or the tensor.
pub(crate) fn weights(
    model: &[u8],
    artifact: &str,
    file: &dyn Fn(&str) -> Option<Bytes>,
) -> Result<Vec<Weight>, LoadError> {
    let mut walk = Walk { artifact, file, weights: Vec::new(), names: BTreeSet::new() };
    walk.message(Kind::Model, Message::file(model), 0)?;
    let mut seen: BTreeSet<&str> = walk.names;
    for weight in &walk.weights {
        if !seen.insert(&weight.name) {
            return Err(LoadError::malformed(&weight.name, "stands in the graph twice"));
        }
    }
    Ok(walk.weights)
}

/// Messages of ONNX that can hold tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    MainGraph,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    Sparse,
    /// A tensor that the main graph names: the one place from which weights may lie outside.
    Initializer,
    Tensor,
}

impl Kind {
    /// What a field of this message holds, where that can hold a tensor. Numbers from `onnx.proto`.
    fn of_field(self, field: u32) -> Option<Kind> {
        Some(match (self, field) {
            (Self::Model, 7) => Self::MainGraph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::MainGraph, 5) => Self::Initializer,
            (Self::MainGraph | Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) => Self::Tensor,
            (Self::MainGraph | Self::Graph, 15) => Self::Sparse,
            (Self::Node, 5) => Self::Attribute,
            (Self::Attribute, 5 | 10) => Self::Tensor,
            (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Function, 7) => Self::Node,
            (Self::Function, 11) => Self::Attribute,
            (Self::Training, 1 | 2) => Self::Graph,
            (Self::Sparse, 1 | 2) => Self::Tensor,
            _ => return None,
        })
    }
}

struct Walk<'a> {
    artifact: &'a str,
    file: &'a dyn Fn(&str) -> Option<Bytes>,
    weights: Vec<Weight>,
    /// Tensors of the main graph that lie in the model itself.
    names: BTreeSet<&'a str>,
}

impl<'a> Walk<'a> {
    fn message(&mut self, kind: Kind, message: Message<'a>, depth: usize) -> Result<(), LoadError> {
        if depth > DEPTH_LIMIT {
            let text =
                format!("graphs lie deeper in each other than {DEPTH_LIMIT} levels, at byte {}", message.at);
            return Err(LoadError::malformed(self.artifact, text));
        }
        if matches!(kind, Kind::Initializer | Kind::Tensor) {
            return self.tensor(kind, message);
        }
        for field in message.fields() {
            let (field, value) = field.map_err(|broken| self.broken(broken))?;
            if let (Some(inner), Value::Message(message)) = (kind.of_field(field), value) {
                self.message(inner, message, depth + 1)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, kind: Kind, message: Message<'a>) -> Result<(), LoadError> {
        let tensor = TensorProto::read(message).map_err(|broken| self.broken(broken))?;
        if !tensor.external {
            if kind == Kind::Initializer {
                self.names.insert(tensor.name);
            }
            return Ok(());
        }
        let refused = |text: String| LoadError::malformed(tensor.place(), text);
        let entries = Entries::read(&tensor.entries).map_err(refused)?;
        let path = entries.path().map_err(refused)?;
        if kind == Kind::Tensor {
            return Err(refused(format!(
                "keeps its values in `{path}`, but only initializers of the main graph may lie outside \
                 the model; save this tensor inside it"
            )));
        }
        let file = (self.file)(&path)
            .ok_or_else(|| refused(format!("needs `{path}`, which is not in the bundle")))?;
        let bytes = tensor.cut(&entries, &path, &file).map_err(refused)?;
        let element = element(tensor.data_type).map_err(refused)?;
        self.weights.push(Weight { name: tensor.name.to_owned(), element, shape: tensor.dims, bytes });
        Ok(())
    }

    fn broken(&self, broken: Broken) -> LoadError {
        LoadError::malformed(self.artifact, broken.to_string())
    }
}

/// What a `TensorProto` says about where and how large its values are.
#[derive(Default)]
struct TensorProto<'a> {
    name: &'a str,
    data_type: u64,
    dims: Vec<i64>,
    external: bool,
    entries: Vec<Message<'a>>,
    at: usize,
}

impl<'a> TensorProto<'a> {
    fn read(message: Message<'a>) -> Result<Self, Broken> {
        let mut tensor = Self { at: message.at, ..Self::default() };
        for field in message.fields() {
            match field? {
                (1, Value::Varint(dim)) => tensor.dims.push(dim as i64),
                (1, Value::Message(packed)) => tensor.dims.extend(packed_numbers(packed)?),
                (2, Value::Varint(code)) => tensor.data_type = code,
                // A name that is no text stays empty: ONNX Runtime refuses the model itself.
                (8, Value::Message(name)) => tensor.name = std::str::from_utf8(name.bytes).unwrap_or(""),
                (13, Value::Message(entry)) => {
                    tensor.external = true;
                    tensor.entries.push(entry);
                }
                // Enums are 32 bit on the wire, whatever stands above them.
                (14, Value::Varint(location)) => tensor.external |= location as u32 != 0,
                _ => {}
            }
        }
        Ok(tensor)
    }

    fn place(&self) -> String {
        match self.name {
            "" => format!("tensor at byte {}", self.at),
            name => format!("tensor `{}`", name.chars().take(80).collect::<String>()),
        }
    }

    /// Its part of the file.
    fn cut(&self, entries: &Entries<'_>, path: &str, file: &Bytes) -> Result<Bytes, String> {
        let needed = self.size()?;
        let offset = entries.number("offset")?.unwrap_or(0);
        let length = entries.number("length")?.unwrap_or(needed);
        if length != needed {
            return Err(format!("has {needed} bytes by shape and type, but takes {length} from `{path}`"));
        }
        let end = offset.checked_add(length).filter(|end| *end <= file.len() as u64);
        match end {
            // Both fit: `end` lies inside the file, which is in memory.
            Some(end) => Ok(file.slice(offset as usize..end as usize)),
            None => {
                Err(format!("takes {length} bytes at {offset} from `{path}`, which has only {}", file.len()))
            }
        }
    }

    fn size(&self) -> Result<u64, String> {
        let elements = tenon_contract::tensor::elements_of(&self.dims).map_err(|error| error.to_string())?;
        let size = element(self.data_type)?.byte_size(1).unwrap_or(1) as u64;
        (elements as u64).checked_mul(size).ok_or_else(|| "is larger than any memory".to_owned())
    }
}

fn packed_numbers(packed: Message<'_>) -> Result<Vec<i64>, Broken> {
    let mut numbers = Vec::new();
    let mut rest = packed;
    while !rest.bytes.is_empty() {
        let (number, behind) = rest.varint()?;
        numbers.push(number as i64);
        rest = behind;
    }
    Ok(numbers)
}

/// The element types whose values are whole bytes and whose layout in a file is their layout in memory.
fn element(code: u64) -> Result<TensorElementType, String> {
    Ok(match code {
        1 => TensorElementType::Float32,
        2 => TensorElementType::Uint8,
        3 => TensorElementType::Int8,
        4 => TensorElementType::Uint16,
        5 => TensorElementType::Int16,
        6 => TensorElementType::Int32,
        7 => TensorElementType::Int64,
        9 => TensorElementType::Bool,
        10 => TensorElementType::Float16,
        11 => TensorElementType::Float64,
        12 => TensorElementType::Uint32,
        13 => TensorElementType::Uint64,
        16 => TensorElementType::Bfloat16,
        17 => TensorElementType::Float8E4M3FN,
        18 => TensorElementType::Float8E4M3FNUZ,
        19 => TensorElementType::Float8E5M2,
        20 => TensorElementType::Float8E5M2FNUZ,
        _ => {
            return Err(format!(
                "is of ONNX type {code}, which may not lie outside the model; save it inside"
            ));
        }
    })
}

/// The entries of `external_data`, text by text.
struct Entries<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Entries<'a> {
    fn read(entries: &[Message<'a>]) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for entry in entries {
            let (mut key, mut value) = ("", "");
            for field in entry.fields() {
                let text = |message: Message<'a>| {
                    std::str::from_utf8(message.bytes)
                        .map_err(|_| "has external data that is no text".to_owned())
                };
                match field.map_err(|broken| broken.to_string())? {
                    (1, Value::Message(message)) => key = text(message)?,
                    (2, Value::Message(message)) => value = text(message)?,
                    _ => {}
                }
            }
            if !matches!(key, "location" | "offset" | "length" | "checksum") {
                return Err(format!("has external data with the unknown key `{}`", shortened(key)));
            }
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(format!("has external data with `{key}` twice"));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let refused =
            |text| format!("has external data with {key} `{}`, which is no number", shortened(text));
        self.get(key).map(|text| text.parse().map_err(|_| refused(text))).transpose()
    }

    /// The file's path, proven to be relative and to lead downwards only.
    fn path(&self) -> Result<String, String> {
        let path = self.get("location").ok_or("has external data without a location")?;
        let refused = |fault| Err(format!("keeps its values in `{}`, {fault}", shortened(path)));
        // `*` never stands in a file's name of ours, but in marks that engines read as addresses.
        if path.is_empty() || path.len() > 1024 || path.contains(['\0', '\\', '*']) {
            return refused("which is no path of a file");
        }
        if path.starts_with('/') || path.as_bytes().get(1) == Some(&b':') {
            return refused("which is absolute: external data must lie in the bundle");
        }
        let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return refused("which leads out of the bundle");
        }
        Ok(parts.join("/"))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
#[path = "external_tests.rs"]
mod tests;
