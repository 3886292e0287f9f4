//! The Open Inference Protocol v2 with Triton's binary tensor extension, both directions.
//!
//! A server decodes requests and encodes answers, a client the other way round. A message is JSON,
//! or JSON of a length that the transport tells, with the payloads of binary tensors behind it, in the
//! order of the tensors.
//!
//! What is taken beyond the letter of the protocol:
//! * keys in any order, unknown keys ignored; a known key that stands twice is refused; `null` for an
//!   optional key is the key left out;
//! * `NaN`, `Infinity`, `-Infinity` for floats, bare or as strings; written bare;
//! * FP16 and BF16 as JSON numbers, rounded to nearest, though the protocol sends them binary only;
//! * `1.0` for an integer, 1 and 0 for BOOL.
//!
//! What is not: numbers out of the range of their datatype, shared memory, binary data that is longer or
//! shorter than its shape says.

mod classification;
mod metadata;
mod parameters;
mod request;
mod response;
mod tensors;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tenon_contract::{Fault, NamedTensor, Parameters};

pub use classification::{Classes, classify};
pub use metadata::TensorMetadata;
pub use request::{decode_raw, decode_request, encode_request};
pub use response::{Answer, InferResponse, Stem, decode_error, decode_response, encode_response};

pub(crate) use tensors::{TensorList, no_shared_memory, read_shape, write_tensor};

/// A request as it stands on the wire, its tensors not yet checked against a signature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferRequest {
    /// The caller's id.
    pub id: Option<String>,
    /// Parameters of the request, without `binary_data_output`, which is [`Self::binary_output`].
    pub parameters: Parameters,
    /// The inputs, in the order of the document.
    pub inputs: Vec<NamedTensor>,
    /// The outputs asked for; empty is all of them.
    pub outputs: Vec<OutputAsk>,
    /// Whether outputs come back binary where their own ask does not say.
    pub binary_output: bool,
}

/// One output asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputAsk {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it shall come back binary, where the ask says.
    pub binary: Option<bool>,
    /// `classification: k`, the ask for the k best classes instead of the values: see [`classify`].
    pub classification: Option<u32>,
}

/// Whether the output `name` shall come back binary, by its own ask or else by that of the request.
pub fn wants_binary(outputs: &[OutputAsk], binary_output: bool, name: &str) -> bool {
    let ask = outputs.iter().find(|ask| &*ask.name == name);
    ask.and_then(|ask| ask.binary).unwrap_or(binary_output)
}

/// Whether tensors are written as JSON or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As JSON arrays.
    Json,
    /// As bytes behind the JSON.
    Binary,
}

/// A message ready to be sent: [`Self::head`] and then [`Self::payloads`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Length of the JSON where binary data follows it: the value of the header
    /// `Inference-Header-Content-Length`. `None` where the whole body is JSON.
    pub json_length: Option<usize>,
    /// The JSON, and behind it the payloads where they are small.
    pub head: Bytes,
    /// Large payloads, shared with their tensors.
    pub payloads: Vec<Bytes>,
}

impl Encoded {
    /// Up to this many bytes, copying payloads behind the JSON is cheaper than sending them on their own.
    const COPIED: usize = 16 << 10;

    fn new(mut json: Vec<u8>, payloads: Vec<Bytes>, has_binary: bool) -> Self {
        let json_length = has_binary.then_some(json.len());
        let total: usize = payloads.iter().map(Bytes::len).sum();
        if total > Self::COPIED {
            return Self { json_length, head: json.into(), payloads };
        }
        payloads.iter().for_each(|payload| json.extend_from_slice(payload));
        Self { json_length, head: json.into(), payloads: Vec::new() }
    }

    /// Bytes of the whole body.
    pub fn length(&self) -> usize {
        self.head.len() + self.payloads.iter().map(Bytes::len).sum::<usize>()
    }

    /// The body in one piece; copies only where there are large payloads.
    pub fn into_body(self) -> Bytes {
        if self.payloads.is_empty() {
            return self.head;
        }
        let mut body = BytesMut::with_capacity(self.length());
        body.extend_from_slice(&self.head);
        self.payloads.iter().for_each(|payload| body.extend_from_slice(payload));
        body.freeze()
    }
}

/// Room for what [`Encoded::head`] will hold of `tensors`, so that the buffer seldom grows.
fn capacity(tensors: &[NamedTensor], form: impl Fn(&str) -> Form) -> usize {
    let of = |named: &NamedTensor| {
        let payload = named.tensor.payload().len();
        let room = match form(&named.name) {
            Form::Json => payload.min(1 << 20) * 3,
            Form::Binary => payload.min(Encoded::COPIED),
        };
        128 + named.name.len() + room
    };
    256 + tensors.iter().map(of).sum::<usize>()
}

/// Length of the JSON of `body`, of which the transport may say `json_length`.
fn length_of_json(body: &Bytes, json_length: Option<usize>) -> Result<usize, Fault> {
    let length = json_length.unwrap_or(body.len());
    if length > body.len() {
        return Err(Fault::invalid(format!(
            "expected {length} bytes of JSON, found a body of {}",
            body.len()
        )));
    }
    Ok(length)
}
