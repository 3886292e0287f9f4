//! Writers: strings, numbers and tensors, appended to a buffer.
//!
//! Numbers are written as short as reads back to the same value of their own datatype: an FP32 of 0.1
//! is `0.1`, not the digits of the nearest f64. What is not finite is written `NaN`, `Infinity` or
//! `-Infinity`: strict JSON has no word for it, and these are what Python's `json` and the public
//! clients of the protocol write and read.

use half::{bf16, f16};
use tenon_contract::tensor::Element;
use tenon_contract::{Datatype, Parameter, Parameters, Tensor, TensorError};

/// Why a tensor could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritable {
    /// An element of BYTES that JSON has no form for.
    #[error("element {0} is not UTF-8")]
    NotText(usize),
    /// The tensor contradicts itself.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Appends `string` with quotes and escapes.
pub(crate) fn string(out: &mut Vec<u8>, string: &str) {
    out.push(b'"');
    let mut rest = string.as_bytes();
    // Looks at every byte even where the first needs an escape: without an end in between, the compiler
    // takes sixteen at a time, and most strings need none.
    if rest.iter().fold(false, |found, byte| found | needs_escape(*byte)) {
        while let Some(at) = rest.iter().position(|byte| needs_escape(*byte)) {
            out.extend_from_slice(&rest[..at]);
            escape(out, rest[at]);
            rest = &rest[at + 1..];
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend([b'\\', short]);
}

fn boolean(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
}

/// Appends an integer.
pub(crate) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an f32.
pub(crate) fn float32(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        not_finite(out, value.is_nan(), value.is_sign_negative());
    }
}

/// Appends an f64.
pub(crate) fn float64(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        not_finite(out, value.is_nan(), value.is_sign_negative());
    }
}

#[cold]
fn not_finite(out: &mut Vec<u8>, is_nan: bool, is_negative: bool) {
    out.extend_from_slice(match (is_nan, is_negative) {
        (true, _) => b"NaN",
        (false, false) => b"Infinity",
        (false, true) => b"-Infinity",
    });
}

/// Appends what `each` appends for every item, with commas between them.
pub(crate) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(out, item);
    }
}

/// Appends a shape as an array.
pub(crate) fn shape(out: &mut Vec<u8>, shape: &[i64]) {
    out.push(b'[');
    list(out, shape, |out, size| integer(out, *size));
    out.push(b']');
}

/// Appends the entries of an object of parameters, without its braces.
pub(crate) fn parameters(out: &mut Vec<u8>, parameters: &Parameters) {
    list(out, parameters, |out, (name, value)| {
        string(out, name);
        out.push(b':');
        match value {
            Parameter::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Parameter::Int(value) => integer(out, *value),
            Parameter::Uint(value) => integer(out, *value),
            Parameter::Double(value) => float64(out, *value),
            Parameter::String(value) => string(out, value),
        }
    });
}

/// Appends the elements of `tensor` as arrays of `sizes`, whose product is their number.
pub(crate) fn elements(
    out: &mut Vec<u8>,
    tensor: &Tensor,
    sizes: &[i64],
    text: impl Fn(&mut Vec<u8>, usize, &[u8]) -> Result<(), Unwritable>,
) -> Result<(), Unwritable> {
    match tensor.datatype() {
        Datatype::Bool => values::<u8>(out, tensor, sizes, boolean),
        Datatype::Uint8 => values::<u8>(out, tensor, sizes, integer),
        Datatype::Uint16 => values::<u16>(out, tensor, sizes, integer),
        Datatype::Uint32 => values::<u32>(out, tensor, sizes, integer),
        Datatype::Uint64 => values::<u64>(out, tensor, sizes, integer),
        Datatype::Int8 => values::<i8>(out, tensor, sizes, integer),
        Datatype::Int16 => values::<i16>(out, tensor, sizes, integer),
        Datatype::Int32 => values::<i32>(out, tensor, sizes, integer),
        Datatype::Int64 => values::<i64>(out, tensor, sizes, integer),
        Datatype::Fp16 => values::<f16>(out, tensor, sizes, |out, value| float32(out, value.to_f32())),
        Datatype::Bf16 => values::<bf16>(out, tensor, sizes, |out, value| float32(out, value.to_f32())),
        Datatype::Fp32 => values::<f32>(out, tensor, sizes, float32),
        Datatype::Fp64 => values::<f64>(out, tensor, sizes, float64),
        Datatype::Bytes => {
            let mut strings = tensor.strings()?.enumerate();
            rows(out, sizes, &mut strings, &mut |out, (index, bytes)| text(out, index, bytes))
        }
    }
}

/// An element of BYTES as a string.
pub(crate) fn text(out: &mut Vec<u8>, index: usize, bytes: &[u8]) -> Result<(), Unwritable> {
    string(out, std::str::from_utf8(bytes).map_err(|_| Unwritable::NotText(index))?);
    Ok(())
}

/// [`rows`] of the values of `tensor`, each of which `write` can write.
fn values<T: Element>(
    out: &mut Vec<u8>,
    tensor: &Tensor,
    sizes: &[i64],
    write: impl Fn(&mut Vec<u8>, T),
) -> Result<(), Unwritable> {
    let values = tensor.values::<T>()?;
    rows(out, sizes, &mut values.iter(), &mut |out, value| {
        write(out, *value);
        Ok(())
    })
}

/// Appends arrays nested as deep as `sizes` is long, filled with `items` in order.
fn rows<I: Iterator>(
    out: &mut Vec<u8>,
    sizes: &[i64],
    items: &mut I,
    write: &mut impl FnMut(&mut Vec<u8>, I::Item) -> Result<(), Unwritable>,
) -> Result<(), Unwritable> {
    let Some((size, inner)) = sizes.split_first() else {
        return items.next().map_or(Ok(()), |item| write(out, item));
    };
    out.push(b'[');
    for index in 0..*size {
        if index > 0 {
            out.push(b',');
        }
        rows(out, inner, items, write)?;
    }
    out.push(b']');
    Ok(())
}
