//! Infer requests: read by a server, written by a client.

use bytes::Bytes;
use tenon_contract::{
    Datatype, Fault, NamedTensor, Parameter, Parameters, Tensor, TensorSpec, tensor::push_element,
};

use super::tensors::no_shared_memory;
use super::{
    Encoded, Form, InferRequest, OutputAsk, TensorList, capacity, length_of_json, parameters, write_tensor,
};
use crate::Limits;
use crate::json::Reader;
use crate::json::reader::{once, required};
use crate::json::write;
use crate::limits::exceeded;

/// The parameter that asks for all outputs as binary data.
const BINARY_OUTPUT: &str = "binary_data_output";

/// Reads a request: JSON, or `json_length` bytes of JSON with binary data behind them. Binary tensors
/// share the allocation of `body`.
///
/// # Errors
/// `Invalid` with the place where the document breaks the protocol, `TooLarge` with the name of the limit
/// that it exceeds, `Unsupported` for shared memory.
pub fn decode_request(
    body: Bytes,
    json_length: Option<usize>,
    limits: &Limits,
) -> Result<InferRequest, Fault> {
    read_request(&body, json_length, limits).map_err(|fault| fault.during("read request"))
}

fn read_request(body: &Bytes, json_length: Option<usize>, limits: &Limits) -> Result<InferRequest, Fault> {
    let length = length_of_json(body, json_length)?;
    let mut reader = Reader::new(&body[..length], limits.depth)?;
    let (mut id, mut parameters, mut outputs) = (None, None, None);
    let (mut inputs, mut tensors) = (None, TensorList::new(limits));
    reader.object(|reader, key| match key {
        "id" if reader.null() => Ok(()),
        "id" => once(&mut id, key, reader.string().map_err(|fault| fault.during("id"))?.into_owned()),
        "parameters" => once(&mut parameters, key, parameters::read(reader, limits)?),
        "inputs" => once(&mut inputs, key, ()).and_then(|()| tensors.read(reader, "input")).map(drop),
        "outputs" => once(&mut outputs, key, read_asks(reader, limits)?),
        _ => reader.skip(),
    })?;
    reader.end()?;
    required(inputs, "inputs")?;
    let mut parameters = parameters.unwrap_or_default();
    Ok(InferRequest {
        id,
        binary_output: take_binary_output(&mut parameters)?,
        parameters,
        inputs: tensors.finish(body, length)?,
        outputs: outputs.unwrap_or_default(),
    })
}

fn take_binary_output(parameters: &mut Parameters) -> Result<bool, Fault> {
    match parameters.remove(BINARY_OUTPUT) {
        None => Ok(false),
        Some(Parameter::Bool(binary)) => Ok(binary),
        Some(_) => Err(Fault::invalid(format!("parameter `{BINARY_OUTPUT}`: expected true or false"))),
    }
}

fn read_asks(reader: &mut Reader<'_>, limits: &Limits) -> Result<Vec<OutputAsk>, Fault> {
    let mut asks = Vec::new();
    if reader.null() {
        return Ok(asks);
    }
    reader.array(|reader, index| {
        if index == limits.tensors {
            return Err(exceeded("tensors", limits.tensors));
        }
        asks.push(read_ask(reader, limits).map_err(|fault| fault.during(format_args!("output {index}")))?);
        Ok(())
    })?;
    Ok(asks)
}

fn read_ask(reader: &mut Reader<'_>, limits: &Limits) -> Result<OutputAsk, Fault> {
    let (mut name, mut binary, mut classification) = (None, None, None);
    reader.object(|reader, key| match key {
        "name" => once(&mut name, key, reader.string()?.as_ref().into()),
        "parameters" => parameters::entries(reader, limits, |reader, key| match key {
            "binary_data" => once(&mut binary, key, reader.bool()?),
            "classification" => once(&mut classification, key, reader.unsigned("a number of labels")?),
            _ if key.starts_with("shared_memory_") => Err(no_shared_memory()),
            _ => reader.skip(),
        }),
        _ => reader.skip(),
    })?;
    Ok(OutputAsk { name: required(name, "name")?, binary, classification })
}

/// Reads a request that is nothing but the bytes of the one input `spec`: Triton's raw binary request,
/// whose header tells a JSON of no length.
///
/// One free dimension follows from the length of the body. A BYTES input is one element, all of the
/// body. Outputs come back binary, as Triton does.
///
/// # Errors
/// `Invalid` where the shape does not follow from the length.
pub fn decode_raw(body: Bytes, spec: &TensorSpec) -> Result<InferRequest, Fault> {
    let tensor =
        if spec.datatype == Datatype::Bytes { raw_bytes(&body, spec) } else { raw_numbers(body, spec) };
    let tensor = tensor.map_err(|fault| fault.during(format_args!("read raw request: input `{spec}`")))?;
    let inputs = vec![NamedTensor::new(spec.name.clone(), tensor)];
    Ok(InferRequest { inputs, binary_output: true, ..InferRequest::default() })
}

fn raw_bytes(body: &[u8], spec: &TensorSpec) -> Result<Tensor, Fault> {
    if spec.shape.iter().any(|dim| dim.size().is_some_and(|size| size != 1)) {
        return Err(Fault::invalid("expected an input of one element, as a raw body is one"));
    }
    if u32::try_from(body.len()).is_err() {
        return Err(Fault::invalid("expected a body shorter than 4 GiB"));
    }
    let mut payload = Vec::with_capacity(4 + body.len());
    push_element(&mut payload, body);
    Ok(Tensor::new(Datatype::Bytes, vec![1; spec.shape.len()], payload.into())?)
}

fn raw_numbers(body: Bytes, spec: &TensorSpec) -> Result<Tensor, Fault> {
    let mut shape = spec.wire_shape();
    let known = shape.iter().filter(|size| **size >= 0).map(|size| *size as usize);
    let row = known.fold(spec.datatype.size().unwrap_or(1), usize::saturating_mul);
    let mut free = shape.iter_mut().filter(|size| **size < 0);
    if let Some(size) = free.next() {
        if free.next().is_some() {
            return Err(Fault::invalid("expected at most one free dimension, as the body tells only one"));
        }
        if row == 0 || !body.len().is_multiple_of(row) {
            return Err(Fault::invalid(format!("expected a multiple of {row} bytes, found {}", body.len())));
        }
        *size = (body.len() / row) as i64;
    }
    Ok(Tensor::new(spec.datatype, shape, body)?)
}

/// Writes a request with its inputs in `form`. The asks for outputs are written as they are.
///
/// # Errors
/// `Invalid` for a BYTES input that is not UTF-8 in [`Form::Json`].
pub fn encode_request(request: &InferRequest, form: Form) -> Result<Encoded, Fault> {
    let mut json = Vec::with_capacity(capacity(&request.inputs, |_| form));
    json.push(b'{');
    if let Some(id) = &request.id {
        json.extend_from_slice(br#""id":"#);
        write::string(&mut json, id);
        json.push(b',');
    }
    write_parameters(&mut json, request);
    json.extend_from_slice(br#""inputs":["#);
    for (index, input) in request.inputs.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_tensor(&mut json, input, form)?;
    }
    json.push(b']');
    if !request.outputs.is_empty() {
        json.extend_from_slice(br#","outputs":["#);
        write::list(&mut json, &request.outputs, write_ask);
        json.push(b']');
    }
    json.push(b'}');
    let is_binary = form == Form::Binary && !request.inputs.is_empty();
    let payloads = request.inputs.iter().filter(|_| is_binary).map(|input| input.tensor.payload().clone());
    Ok(Encoded::new(json, payloads.collect(), is_binary))
}

fn write_parameters(json: &mut Vec<u8>, request: &InferRequest) {
    if request.parameters.is_empty() && !request.binary_output {
        return;
    }
    json.extend_from_slice(br#""parameters":{"#);
    if request.binary_output {
        json.extend_from_slice(br#""binary_data_output":true"#);
        json.extend((!request.parameters.is_empty()).then_some(b','));
    }
    write::parameters(json, &request.parameters);
    json.extend_from_slice(b"},");
}

fn write_ask(json: &mut Vec<u8>, ask: &OutputAsk) {
    json.extend_from_slice(br#"{"name":"#);
    write::string(json, &ask.name);
    let binary = ask.binary.map(|binary| ("binary_data".to_owned(), Parameter::Bool(binary)));
    let classification = ask.classification.map(|k| ("classification".to_owned(), Parameter::Int(k.into())));
    let parameters: Parameters = binary.into_iter().chain(classification).collect();
    if !parameters.is_empty() {
        json.extend_from_slice(br#","parameters":{"#);
        write::parameters(json, &parameters);
        json.push(b'}');
    }
    json.push(b'}');
}
