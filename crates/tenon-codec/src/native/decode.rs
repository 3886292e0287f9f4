//! Messages from JSON.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tenon_contract::contract::Occurs;
use tenon_contract::signature::{Dim, Misfit};
use tenon_contract::tensor::{RANK_LIMIT, elements_of};
use tenon_contract::{Datatype, Fault, Field, Message, NamedTensor, Tensor};

use super::Slot;
use crate::Limits;
use crate::json::Reader;
use crate::json::array::Array;
use crate::json::reader::{once, required, shown};
use crate::limits::exceeded;
use crate::oip::read_shape;

/// Reads the fields of `message` from a JSON object, in the order of the message. All payloads share one
/// allocation.
///
/// # Errors
/// `Invalid` that names the field which is unknown, missing, given twice or does not fit, with the element
/// and the byte; `TooLarge` with the limit that is exceeded; `Unsupported` for kinds of fields that have
/// no form in JSON yet.
pub fn decode(message: &Message, body: &[u8], limits: &Limits) -> Result<Vec<NamedTensor>, Fault> {
    read(message, body, limits).map_err(|fault| fault.during(format_args!("read {}", message.name)))
}

fn read(message: &Message, body: &[u8], limits: &Limits) -> Result<Vec<NamedTensor>, Fault> {
    let mut reader = Reader::new(body, limits.depth)?;
    let mut fields: Vec<Option<Column>> = message.fields.iter().map(|_| None).collect();
    let mut payloads = Payloads { limits, bytes: Vec::new() };
    reader.object(|reader, name| {
        let Some(index) = message.fields.iter().position(|field| &*field.name == name) else {
            return Err(unknown(message, name));
        };
        let field = &message.fields[index];
        if field.occurs == Occurs::Optional && reader.null() {
            return Ok(());
        }
        let column = Slot::of(field).and_then(|slot| payloads.field(reader, &slot));
        let column = column.map_err(|fault| fault.during(format_args!("field `{name}`")))?;
        once(&mut fields[index], name, column)
    })?;
    reader.end()?;
    payloads.finish(message, fields)
}

#[cold]
fn unknown(message: &Message, name: &str) -> Fault {
    let known: Vec<_> = message.fields.iter().map(|field| format!("`{}`", field.name)).collect();
    Fault::invalid(format!("unknown field `{}`; the fields are {}", shown(name), known.join(", ")))
}

/// A field whose payload was read.
struct Column {
    datatype: Datatype,
    shape: Vec<i64>,
    at: Range<usize>,
}

/// The payloads of a message, one behind the other.
struct Payloads<'l> {
    limits: &'l Limits,
    bytes: Vec<u8>,
}

/// The object form of a tensor while it is read.
#[derive(Default)]
struct Written<'a> {
    shape: Option<Vec<i64>>,
    data: Option<Reader<'a>>,
    b64: Option<Reader<'a>>,
}

impl Payloads<'_> {
    /// Reads one field, in any of its forms.
    fn field(&mut self, reader: &mut Reader<'_>, slot: &Slot<'_>) -> Result<Column, Fault> {
        // Engines read payloads in place where they are aligned.
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let start = self.bytes.len();
        let shape = match reader.peek() {
            Some(b'{') => self.object(reader, slot)?,
            _ => self.nested(reader, slot)?,
        };
        if self.bytes.len() > self.limits.payload_bytes {
            return Err(exceeded("payload_bytes", self.limits.payload_bytes));
        }
        Ok(Column { datatype: slot.datatype, shape, at: start..self.bytes.len() })
    }

    /// Reads arrays nested as deep as the field has dimensions, and gives the shape that they have.
    fn nested(&mut self, reader: &mut Reader<'_>, slot: &Slot<'_>) -> Result<Vec<i64>, Fault> {
        if slot.shape.len() > self.limits.rank() {
            return Err(exceeded("rank", self.limits.rank()));
        }
        let mut levels = [None; RANK_LIMIT];
        let sizes = &mut levels[..slot.shape.len()];
        for (level, dim) in sizes.iter_mut().zip(slot.shape) {
            *level = dim.size().and_then(|size| usize::try_from(size).ok());
        }
        self.array(reader, slot.datatype, sizes)?;
        // Below an empty array there is nothing to tell a size.
        Ok(sizes.iter().map(|size| size.unwrap_or(0) as i64).collect())
    }

    fn array(
        &mut self,
        reader: &mut Reader<'_>,
        datatype: Datatype,
        sizes: &mut [Option<usize>],
    ) -> Result<(), Fault> {
        let limit = self.limits.payload_bytes;
        Array { datatype, sizes, ceiling: limit, limit, base64_elements: true }.read(reader, &mut self.bytes)
    }

    /// Reads `{"shape","data"}` or `{"shape","b64"}`. `{"b64"}` alone is the one element of a field of
    /// BYTES that has no dimensions.
    fn object(&mut self, reader: &mut Reader<'_>, slot: &Slot<'_>) -> Result<Vec<i64>, Fault> {
        let start = reader.clone();
        let mut written = Written::default();
        reader.object(|reader, key| match key {
            "shape" => once(&mut written.shape, key, read_shape(reader, self.limits.rank())?),
            "data" => once(&mut written.data, key, reader.clone()).and_then(|()| reader.pass()),
            "b64" => once(&mut written.b64, key, reader.clone()).and_then(|()| reader.pass()),
            _ => {
                Err(Fault::invalid(format!("expected `shape` with `data` or `b64`, found `{}`", shown(key))))
            }
        })?;
        let is_element = slot.datatype == Datatype::Bytes && slot.shape.is_empty();
        if is_element && written.shape.is_none() && written.b64.is_some() {
            self.nested(&mut start.clone(), slot)?;
            return Ok(Vec::new());
        }
        let shape = required(written.shape, "shape")?;
        let elements = elements_of(&shape)?;
        let least = elements.saturating_mul(slot.datatype.size().unwrap_or(4));
        if least > self.limits.payload_bytes {
            return Err(exceeded("payload_bytes", self.limits.payload_bytes));
        }
        match (written.data, written.b64) {
            (Some(mut data), None) => self.array(&mut data, slot.datatype, &mut [Some(elements)])?,
            (None, Some(mut b64)) => self.base64(&mut b64)?,
            _ => return Err(Fault::invalid("expected one of `data` and `b64` beside `shape`")),
        }
        Ok(shape)
    }

    fn base64(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let text = reader.string()?;
        if self.bytes.len() + text.len() / 4 * 3 > self.limits.payload_bytes.saturating_add(2) {
            return Err(exceeded("payload_bytes", self.limits.payload_bytes));
        }
        STANDARD.decode_vec(text.as_bytes(), &mut self.bytes).map_err(|error| {
            let error = error.to_string().to_lowercase();
            Fault::invalid(format!("b64: {error} (before byte {})", reader.at()))
        })
    }

    /// The tensors of the fields, slices of one allocation, each as the message has it.
    fn finish(self, message: &Message, fields: Vec<Option<Column>>) -> Result<Vec<NamedTensor>, Fault> {
        let missing = || {
            message
                .fields
                .iter()
                .zip(&fields)
                .filter(|(field, column)| column.is_none() && field.occurs == Occurs::Once)
        };
        if missing().next().is_some() {
            let names: Vec<_> = missing().map(|(field, _)| format!("`{}`", field.name)).collect();
            return Err(Fault::invalid(format!("field {} is missing", names.join(", "))));
        }
        let payload = Bytes::from(self.bytes);
        let mut tensors = Vec::with_capacity(fields.len());
        for (field, column) in message.fields.iter().zip(fields) {
            let tensor = match column {
                Some(column) => tensor(field, column, &payload),
                None if field.occurs == Occurs::Repeated => empty(field),
                None => continue,
            };
            let tensor = tensor.map_err(|fault| fault.during(format_args!("field `{}`", field.name)))?;
            tensors.push(NamedTensor { name: field.name.clone(), tensor });
        }
        Ok(tensors)
    }
}

/// The tensor of a field, if its shape fits.
fn tensor(field: &Field, column: Column, payload: &Bytes) -> Result<Tensor, Fault> {
    let Column { datatype, shape, at } = column;
    let slot = Slot::of(field)?;
    let fits = |(dim, size): (&Dim, &i64)| dim.size().is_none_or(|fixed| fixed == *size);
    if shape.len() != slot.shape.len() || !slot.shape.iter().zip(&shape).all(fits) {
        let misfit = Misfit::Shape { expected: slot.wire_shape(), found: shape };
        return Err(Fault::invalid(misfit.to_string()));
    }
    Ok(Tensor::new(datatype, shape, payload.slice(at))?)
}

/// A repeated field that was left out.
fn empty(field: &Field) -> Result<Tensor, Fault> {
    Ok(Tensor::new(Slot::of(field)?.datatype, vec![0], Bytes::new())?)
}
