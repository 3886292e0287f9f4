//! `InferTensorContents`: the elements of a tensor in the one repeated field that belongs to its datatype.

use bytes::Bytes;
use tenon_contract::tensor::{elements_of, push_element};
use tenon_contract::{Datatype, Fault, Tensor};

use super::wire::{self, Fields, Value, mistyped};
use crate::Limits;
use crate::limits::exceeded;

/// Bytes that an element of BYTES takes in a payload beside its own.
const LENGTH_OF_BYTES: usize = 4;

/// Names of the fields, by their number less one.
const NAMES: [&str; 8] = [
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
];

/// Number of the field that holds elements of `datatype`.
fn field_of(datatype: Datatype) -> Result<u64, Fault> {
    Ok(match datatype {
        Datatype::Bool => 1,
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => 2,
        Datatype::Int64 => 3,
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => 4,
        Datatype::Uint64 => 5,
        Datatype::Fp32 => 6,
        Datatype::Fp64 => 7,
        Datatype::Bytes => 8,
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Fault::invalid(format!(
                "{datatype} has no field in typed contents; send it in raw contents"
            )));
        }
    })
}

/// Reads the elements of a tensor of `shape`. `room` is what payloads may still take. Packed floats are shared
/// with `message`, of which `contents` is a part.
pub(super) fn read(
    datatype: Datatype,
    shape: Vec<i64>,
    contents: &[u8],
    message: &Bytes,
    room: &mut usize,
    limits: &Limits,
) -> Result<Tensor, Fault> {
    let field = field_of(datatype)?;
    let size = datatype.size().unwrap_or(LENGTH_OF_BYTES);
    let elements = elements_of(&shape)?;
    let too_large = || exceeded("payload_bytes", limits.payload_bytes);
    if elements.saturating_mul(size) > *room {
        return Err(too_large());
    }
    let mut fields = Fields::of(contents);
    let mut found = Found { datatype, elements, count: 0, payload: Vec::new(), room: *room };
    while let Some((number, value)) = fields.next()? {
        if number != field {
            check_empty(datatype, field, number, value)?;
            continue;
        }
        match value {
            // The usual case for floats: all of them in one piece, as they are in memory.
            Value::Delimited(packed)
                if matches!(datatype, Datatype::Fp32 | Datatype::Fp64)
                    && packed.len() == elements * size
                    && found.count == 0
                    && fields.clone().next()?.is_none() =>
            {
                *room -= packed.len();
                return Ok(Tensor::new(datatype, shape, message.slice_ref(packed))?);
            }
            Value::Delimited(bytes) => found.delimited(bytes)?,
            single => found.element(single)?,
        }
        if found.payload.len() > *room {
            return Err(too_large());
        }
    }
    *room -= found.payload.len();
    if found.count != elements {
        return Err(found.miscounted(&shape));
    }
    Ok(Tensor::new(datatype, shape, found.payload.into())?)
}

/// Elements in a field of another datatype are a mistake, not something to read over.
fn check_empty(datatype: Datatype, field: u64, number: u64, value: Value<'_>) -> Result<(), Fault> {
    let Some(name) = number.checked_sub(1).and_then(|at| NAMES.get(at as usize)) else { return Ok(()) };
    if value == Value::Delimited(&[]) && number != 8 {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "expected the elements of {datatype} in `{}`, found some in `{name}`",
        NAMES[field as usize - 1]
    )))
}

/// Elements found so far.
struct Found {
    datatype: Datatype,
    /// How many the shape asks for.
    elements: usize,
    count: usize,
    payload: Vec<u8>,
    room: usize,
}

impl Found {
    /// An element of BYTES, or packed numbers.
    fn delimited(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self.datatype {
            Datatype::Bytes => {
                self.next()?;
                if bytes.len() > self.room || u32::try_from(bytes.len()).is_err() {
                    return Err(exceeded("payload_bytes", self.room));
                }
                push_element(&mut self.payload, bytes);
            }
            Datatype::Fp32 => self.packed_floats::<4>(bytes)?,
            Datatype::Fp64 => self.packed_floats::<8>(bytes)?,
            _ => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let number = wire::varint(&mut rest)
                        .ok_or_else(|| Fault::invalid(format!("element {} breaks off", self.count)))?;
                    self.number(number)?;
                }
            }
        }
        Ok(())
    }

    fn packed_floats<const N: usize>(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (floats, rest) = bytes.as_chunks::<N>();
        if !rest.is_empty() {
            return Err(Fault::invalid(format!("element {} breaks off", self.count + floats.len())));
        }
        for float in floats {
            self.next()?;
            self.payload.extend_from_slice(float);
        }
        Ok(())
    }

    /// A number that is not packed.
    fn element(&mut self, value: Value<'_>) -> Result<(), Fault> {
        match (self.datatype, value) {
            (Datatype::Fp32, Value::Fixed32(bytes)) => {
                self.next()?;
                self.payload.extend_from_slice(&bytes);
                Ok(())
            }
            (Datatype::Fp64, Value::Fixed64(bytes)) => {
                self.next()?;
                self.payload.extend_from_slice(&bytes);
                Ok(())
            }
            (Datatype::Fp32 | Datatype::Fp64 | Datatype::Bytes, _) => Err(mistyped("contents")),
            (_, value) => self.number(value.varint("contents")?),
        }
    }

    /// An integer or a truth value, as a varint holds it.
    fn number(&mut self, number: u64) -> Result<(), Fault> {
        // 32-bit fields hold their numbers sign-extended; what is above is cut off, as Protobuf has it.
        let (signed, unsigned) = (number as i32, number as u32);
        let fits = match self.datatype {
            Datatype::Int8 => i8::try_from(signed).is_ok(),
            Datatype::Int16 => i16::try_from(signed).is_ok(),
            Datatype::Uint8 => u8::try_from(unsigned).is_ok(),
            Datatype::Uint16 => u16::try_from(unsigned).is_ok(),
            _ => true,
        };
        if !fits {
            let (at, datatype) = (self.count, self.datatype);
            return Err(Fault::invalid(format!("element {at} is out of the range of {datatype}")));
        }
        let number = if self.datatype == Datatype::Bool { u64::from(number != 0) } else { number };
        // In two's complement the low bytes of a number that fits are the number.
        let size = self.datatype.size().unwrap_or(1);
        self.payload.extend_from_slice(&number.to_le_bytes()[..size]);
        self.next()
    }

    /// Counts an element; one more than the shape has is refused at once.
    fn next(&mut self) -> Result<(), Fault> {
        self.count += 1;
        if self.count > self.elements {
            return Err(Fault::invalid(format!("expected {} elements, found more", self.elements)));
        }
        Ok(())
    }

    fn miscounted(&self, shape: &[i64]) -> Fault {
        let (expected, found) = (self.elements, self.count);
        Fault::invalid(format!("expected {expected} elements for the shape {shape:?}, found {found}"))
    }
}

/// Appends the elements of `tensor`.
pub(super) fn write(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), Fault> {
    let field = field_of(tensor.datatype())?;
    let payload = tensor.payload();
    match tensor.datatype() {
        // As they are in memory, so they are on the wire.
        Datatype::Bool | Datatype::Fp32 | Datatype::Fp64 => wire::put_bytes(out, field, payload),
        Datatype::Bytes => {
            for element in tensor.strings()? {
                wire::put_head(out, field, element.len());
                out.extend_from_slice(element);
            }
        }
        _ if payload.is_empty() => {}
        datatype => {
            let size = datatype.size().unwrap_or(1);
            wire::put_message(out, field, |out| -> Result<(), Fault> {
                payload
                    .chunks_exact(size)
                    .for_each(|element| wire::put_varint(out, extended(datatype, element)));
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// An integer as a varint holds it: signed ones sign-extended.
fn extended(datatype: Datatype, element: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..element.len()].copy_from_slice(element);
    let number = u64::from_le_bytes(bytes);
    match datatype {
        Datatype::Int8 => i64::from(number as i8) as u64,
        Datatype::Int16 => i64::from(number as i16) as u64,
        Datatype::Int32 => i64::from(number as i32) as u64,
        _ => number,
    }
}
