//! JSON of the operations over pictures: their messages on the wire, their tensor view behind it.
//!
//! A request is `{"data": "<base64>"}`, or a list of such for several pictures; the name of the view's
//! tensor, `image`, may stand for `data`, and its value may be a list. A text that is a picture is always
//! base64. Whoever asks with a list is answered with a list.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tenon_contract::tensor::push_element;
use tenon_contract::{Datatype, Fault, FaultKind, NamedTensor, Operation, Tensor, picture};

use crate::Limits;
use crate::json::Reader;
use crate::json::reader::{once, required, shown};
use crate::json::write;
use crate::limits::exceeded;

/// Pictures of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictures {
    /// The input of the view.
    pub image: NamedTensor,
    /// Whether they came as a list, and the answer shall be one.
    pub many: bool,
}

impl Pictures {
    /// From encoded pictures as they are.
    ///
    /// # Errors
    /// `TooLarge` where there are more than `limits.tensors` of them.
    pub fn new<B: AsRef<[u8]>>(pictures: &[B], many: bool, limits: &Limits) -> Result<Self, Fault> {
        if pictures.len() > limits.tensors {
            return Err(exceeded("tensors", limits.tensors));
        }
        let tensor = Tensor::from_strings(vec![pictures.len() as i64], pictures)?;
        Ok(Self { image: NamedTensor::new(picture::IMAGE, tensor), many })
    }

    /// Reads a request in JSON.
    ///
    /// # Errors
    /// `Invalid` with key and byte; `TooLarge` with the limit that is exceeded.
    pub fn decode(body: &[u8], limits: &Limits) -> Result<Self, Fault> {
        read(body, limits).map_err(|fault| fault.during("read Image"))
    }
}

fn read(body: &[u8], limits: &Limits) -> Result<Pictures, Fault> {
    let mut reader = Reader::new(body, limits.depth)?;
    let mut pictures = Payload { limits, bytes: Vec::with_capacity(body.len() / 4 * 3 + 8), count: 0 };
    let many = match reader.peek() {
        Some(b'[') => {
            reader.array(|reader, index| {
                let read = pictures.message(reader, false);
                read.map(drop).map_err(|fault| fault.during(format_args!("picture {}", index + 1)))
            })?;
            true
        }
        _ => pictures.message(&mut reader, true)?,
    };
    reader.end()?;
    let tensor = Tensor::new(Datatype::Bytes, vec![pictures.count], pictures.bytes.into())?;
    Ok(Pictures { image: NamedTensor::new(picture::IMAGE, tensor), many })
}

/// The payload of the view's input while it is filled.
struct Payload<'l> {
    limits: &'l Limits,
    bytes: Vec<u8>,
    count: i64,
}

impl Payload<'_> {
    /// Reads one message; whether it held a list.
    fn message(&mut self, reader: &mut Reader<'_>, may_be_list: bool) -> Result<bool, Fault> {
        let mut is_list = None;
        reader.object(|reader, key| match key {
            "data" | picture::IMAGE => {
                let found = match reader.peek() {
                    Some(b'[') if may_be_list => {
                        reader.array(|reader, index| {
                            let read = self.picture(reader);
                            read.map_err(|fault| fault.during(format_args!("picture {}", index + 1)))
                        })?;
                        true
                    }
                    _ => {
                        self.picture(reader)?;
                        false
                    }
                };
                once(&mut is_list, key, found)
            }
            _ => Err(Fault::invalid(format!("unknown field `{}`; the field is `data`", shown(key)))),
        })?;
        required(is_list, "data")
    }

    /// Reads `"<base64>"` or `{"b64": "<base64>"}`.
    fn picture(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        if reader.peek() != Some(b'{') {
            return self.base64(reader);
        }
        let mut read = None;
        reader.object(|reader, key| match key {
            "b64" => {
                self.base64(reader)?;
                once(&mut read, key, ())
            }
            _ => Err(Fault::invalid(format!("expected `b64`, found `{}`", shown(key)))),
        })?;
        required(read, "b64")
    }

    fn base64(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let text: Cow<'_, str> = reader.string()?;
        if self.count >= self.limits.tensors as i64 {
            return Err(exceeded("tensors", self.limits.tensors));
        }
        if self.bytes.len() + text.len() / 4 * 3 > self.limits.payload_bytes {
            return Err(exceeded("payload_bytes", self.limits.payload_bytes));
        }
        let at = self.bytes.len();
        push_element(&mut self.bytes, b"");
        STANDARD.decode_vec(text.as_bytes(), &mut self.bytes).map_err(|error| {
            let error = error.to_string().to_lowercase();
            Fault::invalid(format!("expected base64: {error} (before byte {})", reader.at()))
        })?;
        let length = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        Ok(())
    }
}

/// Something found in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// x_min, y_min, x_max, y_max in pixels of the upright picture.
    pub edges: [f32; 4],
    /// Probability.
    pub score: f32,
    /// Number of the class.
    pub class: i64,
    /// Name of the class; empty where it has none.
    pub label: String,
}

/// What was found in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Detections {
    /// Best first.
    pub detections: Vec<Detection>,
    /// Width and height of the upright picture, pixels.
    pub size: (i32, i32),
}

/// The detections that the tensors of the view of `detect` are, picture by picture.
///
/// # Errors
/// `Internal` where a tensor is missing or they do not go together: whoever answers has checked them.
pub fn detections(outputs: &[NamedTensor]) -> Result<Vec<Detections>, Fault> {
    let broken = || Fault::internal("the tensors of the detections do not go together");
    let counts = find(outputs, picture::COUNTS)?;
    let (counts, sizes) = (counts.values::<i32>()?, find(outputs, picture::SIZES)?.values::<i32>()?);
    let (boxes, scores) =
        (find(outputs, picture::BOXES)?.values::<f32>()?, find(outputs, picture::SCORES)?.values::<f32>()?);
    let classes = find(outputs, picture::CLASSES)?.values::<i64>()?;
    let labels: Vec<&[u8]> = find(outputs, picture::LABELS)?.strings()?.collect();
    let k = scores.len().checked_div(counts.len()).unwrap_or(0);
    let all = counts.len() * k;
    let lengths = [boxes.len() / 4, scores.len(), classes.len(), labels.len()];
    if sizes.len() != counts.len() * 2 || lengths.iter().any(|length| *length != all) {
        return Err(broken());
    }
    let mut pictures = Vec::with_capacity(counts.len());
    for (row, count) in counts.iter().enumerate() {
        let count = usize::try_from(*count).ok().filter(|count| *count <= k).ok_or_else(broken)?;
        let found = |at: usize| Detection {
            edges: [boxes[at * 4], boxes[at * 4 + 1], boxes[at * 4 + 2], boxes[at * 4 + 3]],
            score: scores[at],
            class: classes[at],
            label: String::from_utf8_lossy(labels[at]).into_owned(),
        };
        let detections = (row * k..row * k + count).map(found).collect();
        pictures.push(Detections { detections, size: (sizes[row * 2], sizes[row * 2 + 1]) });
    }
    Ok(pictures)
}

fn find<'t>(outputs: &'t [NamedTensor], name: &str) -> Result<&'t Tensor, Fault> {
    let found = outputs.iter().find(|named| &*named.name == name);
    found.map(|named| &named.tensor).ok_or_else(|| Fault::internal(format!("output `{name}` is missing")))
}

/// Writes the answer of an operation over pictures: its message, or a list of them.
///
/// # Errors
/// `Unsupported` where the operation is none of them; else as [`detections`].
pub fn encode(operation: &Operation, outputs: &[NamedTensor], many: bool) -> Result<Vec<u8>, Fault> {
    let messages = match &*operation.name {
        picture::DETECT => detections(outputs)?.iter().map(write_detections).collect(),
        picture::CLASSIFY => classes(outputs)?,
        name => {
            let text = format!("messages of operation `{name}` have no form in JSON yet");
            return Err(Fault::new(FaultKind::Unsupported, text));
        }
    };
    match (many, &messages[..]) {
        (false, [one]) => Ok(one.clone()),
        (false, _) => Err(Fault::internal("one picture was asked about, not one answer came")),
        (true, all) => {
            let mut out = vec![b'['];
            write::list(&mut out, all, |out, message| out.extend_from_slice(message));
            out.push(b']');
            Ok(out)
        }
    }
}

fn write_detections(found: &Detections) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + found.detections.len() * 128);
    out.extend_from_slice(b"{\"detections\":[");
    write::list(&mut out, &found.detections, |out, detection| {
        for (name, edge) in
            ["{\"x_min\":", ",\"y_min\":", ",\"x_max\":", ",\"y_max\":"].into_iter().zip(detection.edges)
        {
            out.extend_from_slice(name.as_bytes());
            write::float32(out, edge);
        }
        out.extend_from_slice(b",\"score\":");
        write::float32(out, detection.score);
        class(out, detection.class, &detection.label);
    });
    out.extend_from_slice(b"],\"width\":");
    write::integer(&mut out, found.size.0);
    out.extend_from_slice(b",\"height\":");
    write::integer(&mut out, found.size.1);
    out.push(b'}');
    out
}

fn class(out: &mut Vec<u8>, class: i64, label: &str) {
    out.extend_from_slice(b",\"class\":");
    write::integer(out, class);
    out.extend_from_slice(b",\"label\":");
    write::string(out, label);
    out.push(b'}');
}

fn classes(outputs: &[NamedTensor]) -> Result<Vec<Vec<u8>>, Fault> {
    let classes = find(outputs, picture::CLASSES)?;
    let (rows, numbers) = (classes.rows(), classes.values::<i64>()?);
    let scores = find(outputs, picture::SCORES)?.values::<f32>()?;
    let labels: Vec<&[u8]> = find(outputs, picture::LABELS)?.strings()?.collect();
    if scores.len() != numbers.len() || labels.len() != numbers.len() {
        return Err(Fault::internal("the tensors of the classes do not go together"));
    }
    let k = numbers.len().checked_div(rows).unwrap_or(0);
    let message = |row: usize| {
        let mut out = b"{\"classes\":[".to_vec();
        write::list(&mut out, row * k..row * k + k, |out, at| {
            out.extend_from_slice(b"{\"score\":");
            write::float32(out, scores[at]);
            class(out, numbers[at], &String::from_utf8_lossy(labels[at]));
        });
        out.extend_from_slice(b"]}");
        out
    };
    Ok((0..rows).map(message).collect())
}
