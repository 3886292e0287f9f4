//! Infer answers: written by a server, read by a client.

use bytes::Bytes;
use tenon_contract::{Fault, NamedTensor, Parameters};

use super::{Encoded, Form, TensorList, capacity, length_of_json, parameters, write_tensor};
use crate::Limits;
use crate::json::Reader;
use crate::json::reader::{once, required};
use crate::json::write;

/// An answer to be written.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What the caller called; in Tenon the service.
    pub model_name: &'a str,
    /// The version that answered.
    pub model_version: Option<&'a str>,
    /// Id of the request.
    pub id: Option<&'a str>,
    /// Parameters of the answer; none are left out of the document.
    pub parameters: &'a Parameters,
    /// The outputs, in their order on the wire.
    pub outputs: &'a [NamedTensor],
}

/// An answer that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferResponse {
    /// What answered.
    pub model_name: String,
    /// Its version.
    pub model_version: Option<String>,
    /// Id of the request.
    pub id: Option<String>,
    /// Parameters of the answer.
    pub parameters: Parameters,
    /// The outputs, in the order of the document.
    pub outputs: Vec<NamedTensor>,
}

/// Name, version and parameters of an answer, written once for all answers that share them.
#[derive(Clone, Debug)]
pub struct Stem {
    /// The document up to its id.
    head: Vec<u8>,
    /// The parameters with what leads to the outputs.
    middle: Vec<u8>,
}

impl Stem {
    /// Writes them down; parameters of which there are none are left out of the document.
    pub fn new(model_name: &str, model_version: Option<&str>, parameters: &Parameters) -> Self {
        let mut head = br#"{"model_name":"#.to_vec();
        write::string(&mut head, model_name);
        if let Some(version) = model_version {
            head.extend_from_slice(br#","model_version":"#);
            write::string(&mut head, version);
        }
        let mut middle = Vec::new();
        if !parameters.is_empty() {
            middle.extend_from_slice(br#","parameters":{"#);
            write::parameters(&mut middle, parameters);
            middle.push(b'}');
        }
        middle.extend_from_slice(br#","outputs":["#);
        Self { head, middle }
    }

    /// Writes the answer that begins so, as [`encode_response`].
    ///
    /// # Errors
    /// Those of [`encode_response`].
    pub fn encode(
        &self,
        id: Option<&str>,
        outputs: &[NamedTensor],
        form: impl Fn(&str) -> Form,
    ) -> Result<Encoded, Fault> {
        let mut json = Vec::with_capacity(self.head.len() + self.middle.len() + capacity(outputs, &form));
        json.extend_from_slice(&self.head);
        if let Some(id) = id {
            json.extend_from_slice(br#","id":"#);
            write::string(&mut json, id);
        }
        json.extend_from_slice(&self.middle);
        let mut payloads = Vec::new();
        for (index, output) in outputs.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            let form = form(&output.name);
            write_tensor(&mut json, output, form)?;
            payloads.extend((form == Form::Binary).then(|| output.tensor.payload().clone()));
        }
        json.extend_from_slice(b"]}");
        let has_binary = !payloads.is_empty();
        Ok(Encoded::new(json, payloads, has_binary))
    }
}

/// Writes an answer, each output in the form that `form` gives for its name. Large binary payloads are
/// shared, not copied.
///
/// # Errors
/// `Invalid` for a BYTES output in [`Form::Json`] that is not UTF-8; says to ask for binary data.
pub fn encode_response(answer: &Answer<'_>, form: impl Fn(&str) -> Form) -> Result<Encoded, Fault> {
    let Answer { model_name, model_version, id, parameters, outputs } = *answer;
    Stem::new(model_name, model_version, parameters).encode(id, outputs, form)
}

/// Reads an answer: JSON, or `json_length` bytes of JSON with binary data behind them.
///
/// # Errors
/// As [`super::decode_request`].
pub fn decode_response(
    body: Bytes,
    json_length: Option<usize>,
    limits: &Limits,
) -> Result<InferResponse, Fault> {
    read_response(&body, json_length, limits).map_err(|fault| fault.during("read answer"))
}

fn read_response(body: &Bytes, json_length: Option<usize>, limits: &Limits) -> Result<InferResponse, Fault> {
    let length = length_of_json(body, json_length)?;
    let mut reader = Reader::new(&body[..length], limits.depth)?;
    let (mut model_name, mut model_version, mut id, mut parameters) = (None, None, None, None);
    let (mut outputs, mut tensors) = (None, TensorList::new(limits));
    reader.object(|reader, key| match key {
        "model_version" | "id" if reader.null() => Ok(()),
        "model_name" => once(&mut model_name, key, reader.string()?.into_owned()),
        "model_version" => once(&mut model_version, key, reader.string()?.into_owned()),
        "id" => once(&mut id, key, reader.string()?.into_owned()),
        "parameters" => once(&mut parameters, key, parameters::read(reader, limits)?),
        "outputs" => once(&mut outputs, key, ()).and_then(|()| tensors.read(reader, "output")).map(drop),
        _ => reader.skip(),
    })?;
    reader.end()?;
    required(outputs, "outputs")?;
    Ok(InferResponse {
        // Triton's own documentation leaves it out.
        model_name: model_name.unwrap_or_default(),
        model_version,
        id,
        parameters: parameters.unwrap_or_default(),
        outputs: tensors.finish(body, length)?,
    })
}

/// The text of an error's body, `{"error":"..."}`; `None` where the body is something else.
pub fn decode_error(body: &[u8]) -> Option<String> {
    let mut text = None;
    let mut reader = Reader::new(body, Limits::default().depth).ok()?;
    let read = reader.object(|reader, key| match key {
        "error" => once(&mut text, key, reader.string()?.into_owned()),
        _ => reader.skip(),
    });
    read.and_then(|()| reader.end()).ok().and(text)
}
