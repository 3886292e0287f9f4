//! Tensors of the protocol: `{"name","shape","datatype","parameters"?,"data"?}`.
//!
//! Keys come in any order. Where datatype and shape stand before `data`, as all known clients write
//! them, the elements go straight into the payload; else `data` is read over and read again at the end.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tenon_contract::tensor::{Columns, RANK_LIMIT, elements_of};
use tenon_contract::{Datatype, Fault, FaultKind, NamedTensor, Tensor};

use super::{Form, parameters};
use crate::Limits;
use crate::json::array::Array;
use crate::json::reader::{Reader, once, required, shown};
use crate::json::write::{self, Unwritable};
use crate::limits::exceeded;

/// Bytes that an element of BYTES takes beside its own.
const LENGTH_OF_BYTES: usize = 4;

/// The tensors of one document while it is read.
///
/// Payloads from JSON gather in one allocation; binary ones are taken from behind the JSON at the end.
pub(crate) struct TensorList<'l> {
    limits: &'l Limits,
    columns: Columns,
    read: Vec<(Arc<str>, Place)>,
    /// Bytes of payload that may still come.
    room: usize,
}

/// Where the payload of a tensor is.
enum Place {
    /// In the next column.
    Column,
    /// Behind the JSON, as many bytes as the last number says.
    Behind(Datatype, Vec<i64>, usize),
}

/// One tensor while its keys are read.
#[derive(Default)]
struct Draft<'a> {
    name: Option<Arc<str>>,
    shape: Option<Vec<i64>>,
    datatype: Option<Datatype>,
    parameters: Option<Option<usize>>,
    data: Option<Elements<'a>>,
}

/// The elements of a tensor in JSON.
enum Elements<'a> {
    /// Already in a column.
    Read,
    /// Read over: datatype or shape were not known yet. The reader stands before them.
    Passed(Reader<'a>),
}

impl<'l> TensorList<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Self { limits, columns: Columns::default(), read: Vec::new(), room: limits.payload_bytes }
    }

    /// Reads an array of tensors, each called `what` in faults. Gives their places among all that
    /// [`Self::finish`] gives.
    pub(crate) fn read<'a>(&mut self, reader: &mut Reader<'a>, what: &str) -> Result<Range<usize>, Fault> {
        let before = self.read.len();
        reader.array(|reader, index| {
            if index == self.limits.tensors {
                return Err(exceeded("tensors", self.limits.tensors));
            }
            let mut draft = Draft::default();
            self.tensor(&mut draft, reader).map_err(|fault| match &draft.name {
                Some(name) => fault.during(format_args!("{what} `{}`", shown(name))),
                None => fault.during(format_args!("{what} {index}")),
            })
        })?;
        Ok(before..self.read.len())
    }

    fn tensor<'a>(&mut self, draft: &mut Draft<'a>, reader: &mut Reader<'a>) -> Result<(), Fault> {
        reader.object(|reader, key| self.member(draft, reader, key))?;
        let name = required(draft.name.clone(), "name")?;
        let place = match (draft.data.take(), draft.parameters.flatten()) {
            (Some(Elements::Read), None) => Place::Column,
            (Some(Elements::Passed(mut passed)), None) => {
                self.data(draft, &mut passed)?;
                Place::Column
            }
            (None, Some(size)) => {
                self.room = self.room.checked_sub(size).ok_or_else(|| self.too_large())?;
                let datatype = required(draft.datatype, "datatype")?;
                Place::Behind(datatype, required(draft.shape.take(), "shape")?, size)
            }
            (data, _) => {
                let found = if data.is_some() { "both" } else { "none" };
                let text = format!("expected `data` or `parameters.binary_data_size`, found {found}");
                return Err(Fault::invalid(text));
            }
        };
        self.read.push((name, place));
        Ok(())
    }

    fn member<'a>(&mut self, draft: &mut Draft<'a>, reader: &mut Reader<'a>, key: &str) -> Result<(), Fault> {
        match key {
            "name" => once(&mut draft.name, key, reader.string()?.as_ref().into()),
            "datatype" => {
                let datatype: Datatype = reader
                    .string()?
                    .parse()
                    .map_err(|unknown| Fault::invalid(format!("{unknown} (before byte {})", reader.at())))?;
                once(&mut draft.datatype, key, datatype)
            }
            "shape" => once(&mut draft.shape, key, read_shape(reader, self.limits.rank())?),
            "parameters" => {
                let size = self.binary_size(reader).map_err(|fault| fault.during("parameters"))?;
                once(&mut draft.parameters, key, size)
            }
            "data" if draft.datatype.is_some() && draft.shape.is_some() => {
                once(&mut draft.data, key, Elements::Read)?;
                self.data(draft, reader)
            }
            "data" => {
                once(&mut draft.data, key, Elements::Passed(reader.clone()))?;
                reader.pass()
            }
            _ => reader.skip(),
        }
    }

    /// `binary_data_size` of a tensor's parameters. Other parameters mean nothing to us, but for shared
    /// memory, which would have to be where the caller put it.
    fn binary_size(&self, reader: &mut Reader<'_>) -> Result<Option<usize>, Fault> {
        let mut size = None;
        parameters::entries(reader, self.limits, |reader, name| match name {
            "binary_data_size" => once(&mut size, name, reader.unsigned("a number of bytes")?),
            _ if name.starts_with("shared_memory_") => Err(no_shared_memory()),
            _ => reader.skip(),
        })?;
        Ok(size)
    }

    /// Reads the elements of a tensor, whose datatype and shape have to be known by now.
    fn data(&mut self, draft: &Draft<'_>, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let datatype = required(draft.datatype, "datatype")?;
        let shape = required(draft.shape.as_deref(), "shape")?;
        self.elements(reader, datatype, shape)
            .map_err(|fault| fault.during(format_args!("data of shape {shape:?}")))
    }

    /// Reads elements, flat or nested as the shape, into a column of their own.
    fn elements(&mut self, reader: &mut Reader<'_>, datatype: Datatype, shape: &[i64]) -> Result<(), Fault> {
        let elements = elements_of(shape)?;
        let size = datatype.size().unwrap_or(LENGTH_OF_BYTES);
        let least = elements.saturating_mul(size);
        if least > self.room {
            return Err(self.too_large());
        }
        let mut levels = [None; RANK_LIMIT];
        let sizes = if nests(reader) {
            let sizes = &mut levels[..shape.len()];
            sizes.iter_mut().zip(shape).for_each(|(level, size)| *level = usize::try_from(*size).ok());
            sizes
        } else {
            levels[0] = Some(elements);
            &mut levels[..1]
        };
        // An element takes at least two bytes of JSON, whatever the shape promises.
        let plausible = (reader.rest().len() / 2 + 1).saturating_mul(size);
        let (limit, room) = (self.limits.payload_bytes, self.room);
        let mut written = 0;
        self.columns.push(datatype, shape.to_vec(), |payload| -> Result<(), Fault> {
            let start = payload.len();
            payload.reserve(least.min(plausible));
            let ceiling = start.saturating_add(room);
            let array = Array { datatype, sizes, ceiling, limit, base64_elements: false };
            array.read(reader, payload)?;
            written = payload.len() - start;
            Ok(())
        })?;
        self.room -= written;
        Ok(())
    }

    #[cold]
    fn too_large(&self) -> Fault {
        exceeded("payload_bytes", self.limits.payload_bytes)
    }

    /// The tensors, those with binary data as slices of `body` from `json_length` on, which they use up.
    pub(crate) fn finish(self, body: &Bytes, json_length: usize) -> Result<Vec<NamedTensor>, Fault> {
        let mut columns = self.columns.finish()?.into_iter();
        let mut at = json_length;
        let mut tensors = Vec::with_capacity(self.read.len());
        for (name, place) in self.read {
            let tensor = match place {
                Place::Column => columns.next().ok_or_else(|| Fault::internal("lost a column"))?,
                Place::Behind(datatype, shape, size) => {
                    let start = at;
                    at += size;
                    binary(datatype, shape, body, start..at)
                        .map_err(|fault| fault.during(format_args!("tensor `{}`", shown(&name))))?
                }
            };
            tensors.push(NamedTensor { name, tensor });
        }
        if at < body.len() {
            let (expected, found) = (at - json_length, body.len() - json_length);
            let text = format!("expected {expected} bytes of binary data, found {found}");
            return Err(Fault::invalid(text));
        }
        Ok(tensors)
    }
}

/// The tensor whose payload stands at `at` in `body`.
fn binary(datatype: Datatype, shape: Vec<i64>, body: &Bytes, at: Range<usize>) -> Result<Tensor, Fault> {
    if at.end > body.len() {
        let left = body.len() - at.start;
        let text = format!("expected {} bytes of binary data, found {left}", at.len());
        return Err(Fault::invalid(text));
    }
    Ok(Tensor::new(datatype, shape, body.slice(at))?)
}

/// Whether an array is next whose first value is an array.
fn nests(reader: &Reader<'_>) -> bool {
    let mut ahead = reader.clone();
    ahead.eat(b'[') && ahead.peek() == Some(b'[')
}

/// Reads a shape: sizes, none negative, at most `rank` of them.
pub(crate) fn read_shape(reader: &mut Reader<'_>, rank: usize) -> Result<Vec<i64>, Fault> {
    let mut shape = Vec::with_capacity(4);
    reader
        .array(|reader, index| {
            if index == rank {
                return Err(exceeded("rank", rank));
            }
            let size: u64 = reader.unsigned("a dimension of 0 or more")?;
            shape.push(i64::try_from(size).unwrap_or(i64::MAX));
            Ok(())
        })
        .map_err(|fault| fault.during("shape"))?;
    Ok(shape)
}

pub(crate) fn no_shared_memory() -> Fault {
    Fault::new(FaultKind::Unsupported, "shared memory is not supported: send the data with the request")
}

/// Appends `named` as an object; its payload, where binary, is for the caller to put behind the JSON.
pub(crate) fn write_tensor(out: &mut Vec<u8>, named: &NamedTensor, form: Form) -> Result<(), Fault> {
    let NamedTensor { name, tensor } = named;
    out.extend_from_slice(br#"{"name":"#);
    write::string(out, name);
    out.extend_from_slice(br#","shape":"#);
    write::shape(out, tensor.shape());
    out.extend_from_slice(br#","datatype":""#);
    out.extend_from_slice(tensor.datatype().name().as_bytes());
    match form {
        Form::Binary => {
            out.extend_from_slice(br#"","parameters":{"binary_data_size":"#);
            write::integer(out, tensor.payload().len());
            out.extend_from_slice(b"}}");
        }
        Form::Json => {
            out.extend_from_slice(br#"","data":"#);
            let flat = [tensor.elements() as i64];
            write::elements(out, tensor, &flat, write::text).map_err(|error| unwritable(name, &error))?;
            out.push(b'}');
        }
    }
    Ok(())
}

#[cold]
fn unwritable(name: &str, error: &Unwritable) -> Fault {
    let advice = match error {
        Unwritable::NotText(_) => "; ask for it as binary data",
        Unwritable::Tensor(_) => "",
    };
    Fault::invalid(format!("write tensor `{}` as JSON: {error}{advice}", shown(name)))
}
