//! `ModelInferRequest`, read under limits and straight into tensors.

use bytes::Bytes;
use tenon_contract::{Datatype, Fault, NamedTensor, Parameter, Parameters, Tensor};

use super::wire::{self, Fields, Value};
use super::{contents, parameters};
use crate::Limits;
use crate::json::reader::shown;
use crate::limits::exceeded;
use crate::oip::{InferRequest, OutputAsk, no_shared_memory};

/// The parameter that asks for typed contents in the answer where it is false.
const BINARY_OUTPUT: &str = "binary_data_output";
/// The parameter that asks a stream to mark the last answer to each request.
const MARK_FINAL: &str = "triton_enable_empty_final_response";

/// A request together with what it calls.
#[derive(Clone, Debug, PartialEq)]
pub struct InferCall {
    /// What is called: in Tenon the service.
    pub model_name: String,
    /// The version that the caller insists on; empty is any.
    pub model_version: String,
    /// The request. [`InferRequest::binary_output`] is whether the answer is wanted raw, which it is where
    /// nothing is said.
    pub request: InferRequest,
    /// Whether the last answer to this request shall say that it is the last.
    pub marks_final: bool,
}

/// Reads a `ModelInferRequest`. Raw tensors and packed floats share the allocation of `message`.
///
/// # Errors
/// `Invalid` with the place where the message breaks the protocol, `TooLarge` with the name of the limit that
/// it exceeds, `Unsupported` for shared memory.
pub fn decode_request(message: &Bytes, limits: &Limits) -> Result<InferCall, Fault> {
    read(message, limits).map_err(|fault| fault.during("read request"))
}

/// What a request calls and its id, also of one that is no good otherwise: a stream tells by them which of its
/// requests went wrong.
pub fn names_of(message: &[u8]) -> (String, String) {
    let (mut model, mut id) = (String::new(), String::new());
    let mut fields = Fields::of(message);
    while let Ok(Some((number, value))) = fields.next() {
        match (number, value.text("name")) {
            (1, Ok(text)) => text.clone_into(&mut model),
            (3, Ok(text)) => text.clone_into(&mut id),
            _ => {}
        }
    }
    (model, id)
}

/// A message while it is read.
#[derive(Default)]
struct Draft<'a> {
    model_name: &'a str,
    model_version: &'a str,
    id: &'a str,
    parameters: Parameters,
    inputs: Vec<Input<'a>>,
    outputs: Vec<OutputAsk>,
    raw: Vec<&'a [u8]>,
}

/// One input without its raw elements.
struct Input<'a> {
    name: &'a str,
    datatype: Datatype,
    shape: Vec<i64>,
    contents: Option<&'a [u8]>,
}

fn read(message: &Bytes, limits: &Limits) -> Result<InferCall, Fault> {
    let mut draft = Draft::default();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        draft.field(number, value, limits)?;
    }
    let mut parameters = draft.parameters;
    let marks_final = flag(&mut parameters, MARK_FINAL)?.unwrap_or(false);
    let binary_output = flag(&mut parameters, BINARY_OUTPUT)?.unwrap_or(true);
    let inputs = tensors(draft.inputs, &draft.raw, message, limits)?;
    let id = (!draft.id.is_empty()).then(|| draft.id.to_owned());
    Ok(InferCall {
        model_name: draft.model_name.to_owned(),
        model_version: draft.model_version.to_owned(),
        request: InferRequest { id, parameters, inputs, outputs: draft.outputs, binary_output },
        marks_final,
    })
}

fn flag(parameters: &mut Parameters, name: &str) -> Result<Option<bool>, Fault> {
    match parameters.remove(name) {
        None => Ok(None),
        Some(Parameter::Bool(flag)) => Ok(Some(flag)),
        Some(_) => Err(Fault::invalid(format!("parameter `{name}`: expected true or false"))),
    }
}

impl<'a> Draft<'a> {
    fn field(&mut self, number: u64, value: Value<'a>, limits: &Limits) -> Result<(), Fault> {
        let is_full = |length: usize| match length < limits.tensors {
            true => Ok(()),
            false => Err(exceeded("tensors", limits.tensors)),
        };
        match number {
            1 => self.model_name = value.text("model_name")?,
            2 => self.model_version = value.text("model_version")?,
            3 => self.id = value.text("id")?,
            4 => parameters::read_into(&mut self.parameters, value.bytes("parameters")?, limits)?,
            5 => {
                is_full(self.inputs.len())?;
                let input = read_input(value.bytes("inputs")?, limits);
                self.inputs
                    .push(input.map_err(|fault| fault.during(format_args!("input {}", self.inputs.len())))?);
            }
            6 => {
                is_full(self.outputs.len())?;
                let ask = read_ask(value.bytes("outputs")?, limits);
                self.outputs
                    .push(ask.map_err(|fault| fault.during(format_args!("output {}", self.outputs.len())))?);
            }
            7 => {
                is_full(self.raw.len())?;
                self.raw.push(value.bytes("raw_input_contents")?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn read_input<'a>(message: &'a [u8], limits: &Limits) -> Result<Input<'a>, Fault> {
    let (mut name, mut datatype, mut shape, mut contents) = ("", None, Vec::new(), None);
    let mut parameters = 0;
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text("name")?,
            2 => {
                let text = value.text("datatype")?;
                datatype = Some(text.parse().map_err(|unknown| Fault::invalid(format!("{unknown}")))?);
            }
            3 => read_shape(&mut shape, value, limits)?,
            4 => {
                parameters += 1;
                check_parameter(value.bytes("parameters")?, parameters, limits)?;
            }
            5 if contents.is_some() => {
                return Err(Fault::invalid("expected `contents` once, found it twice"));
            }
            5 => contents = Some(value.bytes("contents")?),
            _ => {}
        }
    }
    let datatype: Datatype =
        datatype.ok_or_else(|| Fault::invalid(format!("`{}` has no datatype", shown(name))))?;
    Ok(Input { name, datatype, shape, contents })
}

/// Parameters of tensors mean nothing here, but for shared memory.
fn check_parameter(entry: &[u8], count: usize, limits: &Limits) -> Result<Option<Parameter>, Fault> {
    if count > limits.parameters {
        return Err(exceeded("parameters", limits.parameters));
    }
    let (name, value) = parameters::read_entry(entry)?;
    if name.starts_with("shared_memory_") {
        return Err(no_shared_memory());
    }
    Ok((name == "classification").then_some(value))
}

fn read_shape(shape: &mut Vec<i64>, value: Value<'_>, limits: &Limits) -> Result<(), Fault> {
    let mut push = |number: u64| {
        if shape.len() == limits.rank() {
            return Err(exceeded("rank", limits.rank()));
        }
        let size =
            i64::try_from(number).map_err(|_| Fault::invalid("shape: expected dimensions of 0 or more"))?;
        shape.push(size);
        Ok(())
    };
    match value {
        Value::Varint(number) => push(number),
        value => {
            let mut packed = value.bytes("shape")?;
            while !packed.is_empty() {
                let number = wire::varint(&mut packed).ok_or_else(|| Fault::invalid("shape breaks off"))?;
                push(number)?;
            }
            Ok(())
        }
    }
}

fn read_ask(message: &[u8], limits: &Limits) -> Result<OutputAsk, Fault> {
    let (mut name, mut classification, mut parameters) = ("", None, 0);
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text("name")?,
            2 => {
                parameters += 1;
                if let Some(asked) = check_parameter(value.bytes("parameters")?, parameters, limits)? {
                    let number = match asked {
                        Parameter::Int(number) => u32::try_from(number).ok(),
                        _ => None,
                    };
                    let wrong = || Fault::invalid("parameter `classification`: expected a number of classes");
                    classification = Some(number.ok_or_else(wrong)?);
                }
            }
            _ => {}
        }
    }
    // Where zero classes are asked for, the tensor itself is.
    Ok(OutputAsk { name: name.into(), binary: None, classification: classification.filter(|k| *k > 0) })
}

/// Joins inputs and their elements: all typed or all raw.
fn tensors(
    inputs: Vec<Input<'_>>,
    raw: &[&[u8]],
    message: &Bytes,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Fault> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        let (expected, found) = (inputs.len(), raw.len());
        let text = format!("expected {expected} raw_input_contents, one for each input, found {found}");
        return Err(Fault::invalid(text));
    }
    let mut room = limits.payload_bytes;
    let mut tensors = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.into_iter().enumerate() {
        let name = input.name;
        let tensor = match (raw.get(index), input.contents) {
            (Some(raw), None | Some([])) => raw_tensor(input, raw, message, &mut room, limits),
            (Some(_), Some(_)) => {
                Err(Fault::invalid("expected `contents` or raw_input_contents, found both"))
            }
            (None, contents) => {
                let (datatype, shape) = (input.datatype, input.shape);
                contents::read(datatype, shape, contents.unwrap_or_default(), message, &mut room, limits)
            }
        };
        let tensor = tensor.map_err(|fault| fault.during(format_args!("input `{}`", shown(name))))?;
        tensors.push(NamedTensor::new(name, tensor));
    }
    Ok(tensors)
}

fn raw_tensor(
    input: Input<'_>,
    raw: &[u8],
    message: &Bytes,
    room: &mut usize,
    limits: &Limits,
) -> Result<Tensor, Fault> {
    let too_large = || exceeded("payload_bytes", limits.payload_bytes);
    *room = room.checked_sub(raw.len()).ok_or_else(too_large)?;
    Ok(Tensor::new(input.datatype, input.shape, message.slice_ref(raw))?)
}
