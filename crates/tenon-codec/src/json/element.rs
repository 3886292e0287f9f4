//! One element of each datatype: from its JSON to the bytes of a payload.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};
use tenon_contract::{Datatype, Fault, tensor::push_element};

use super::reader::{once, required};
use super::{Reader, number};

/// A datatype's way out of JSON.
pub(crate) trait Element {
    /// Reads one element, with no white space before it, and appends its bytes. Where there is none the
    /// reader stays, and [`explain`] says why.
    fn read(reader: &mut Reader<'_>, payload: &mut Vec<u8>) -> bool;
}

macro_rules! numbers {
    ($($type:ty => $parse:ident),* $(,)?) => {
        $(impl Element for $type {
            #[inline(always)]
            fn read(reader: &mut Reader<'_>, payload: &mut Vec<u8>) -> bool {
                let read: Option<($type, usize)> = $parse(reader.rest());
                let Some((value, length)) = read else { return false };
                payload.extend_from_slice(&value.to_le_bytes());
                reader.advance(length);
                true
            }
        })*
    };
}

numbers! {
    u8 => unsigned, u16 => unsigned, u32 => unsigned, u64 => unsigned,
    i8 => signed, i16 => signed, i32 => signed, i64 => signed,
    f16 => half_float, bf16 => brain_float, f32 => float, f64 => double,
}

#[inline(always)]
fn unsigned<T: TryFrom<u64>>(bytes: &[u8]) -> Option<(T, usize)> {
    let (integer, length) = number::integer(bytes)?;
    Some((T::try_from(integer.unsigned()?).ok()?, length))
}

#[inline(always)]
fn signed<T: TryFrom<i64>>(bytes: &[u8]) -> Option<(T, usize)> {
    let (integer, length) = number::integer(bytes)?;
    Some((T::try_from(integer.signed()?).ok()?, length))
}

#[inline(always)]
fn float(bytes: &[u8]) -> Option<(f32, usize)> {
    number::float32(bytes).or_else(|| not_finite(bytes).map(|(value, length)| (value as f32, length)))
}

#[inline(always)]
fn double(bytes: &[u8]) -> Option<(f64, usize)> {
    number::float64(bytes).or_else(|| not_finite(bytes))
}

fn half_float(bytes: &[u8]) -> Option<(f16, usize)> {
    let (value, length) = double(bytes)?;
    let rounded = f16::from_f64(value);
    (rounded.is_finite() || !value.is_finite()).then_some((rounded, length))
}

fn brain_float(bytes: &[u8]) -> Option<(bf16, usize)> {
    let (value, length) = double(bytes)?;
    let rounded = bf16::from_f64(value);
    (rounded.is_finite() || !value.is_finite()).then_some((rounded, length))
}

/// `NaN`, `Infinity`, `-Infinity`, bare as Python writes them or as strings.
#[cold]
fn not_finite(bytes: &[u8]) -> Option<(f64, usize)> {
    let Some(quoted) = bytes.strip_prefix(b"\"") else { return number::not_finite(bytes) };
    let (value, length) = number::not_finite(quoted)?;
    (quoted.get(length) == Some(&b'"')).then_some((value, length + 2))
}

/// An element of BOOL: `true`, `false`, or the numbers 1 and 0.
pub(crate) struct Boolean;

impl Element for Boolean {
    fn read(reader: &mut Reader<'_>, payload: &mut Vec<u8>) -> bool {
        let value = match reader.rest().first() {
            Some(b't') if reader.eat_word("true") => 1,
            Some(b'f') if reader.eat_word("false") => 0,
            _ => match unsigned(reader.rest()) {
                Some((value @ (0u8 | 1), length)) => {
                    reader.advance(length);
                    value
                }
                _ => return false,
            },
        };
        payload.push(value);
        true
    }
}

/// An element of BYTES: a string, whose UTF-8 it is.
pub(crate) struct Text;

impl Element for Text {
    fn read(reader: &mut Reader<'_>, payload: &mut Vec<u8>) -> bool {
        let before = reader.clone();
        match reader.string() {
            Ok(text) if u32::try_from(text.len()).is_ok() => {
                push_element(payload, text.as_bytes());
                true
            }
            _ => {
                *reader = before;
                false
            }
        }
    }
}

/// An element of BYTES: a string, or `{"b64":".."}` for bytes that are none.
pub(crate) struct TextOrBase64;

impl Element for TextOrBase64 {
    fn read(reader: &mut Reader<'_>, payload: &mut Vec<u8>) -> bool {
        if reader.peek() != Some(b'{') {
            return Text::read(reader, payload);
        }
        let before = reader.clone();
        match base64_object(reader) {
            Ok(bytes) if u32::try_from(bytes.len()).is_ok() => {
                push_element(payload, &bytes);
                true
            }
            _ => {
                *reader = before;
                false
            }
        }
    }
}

fn base64_object(reader: &mut Reader<'_>) -> Result<Vec<u8>, Fault> {
    let mut bytes = None;
    reader.object(|reader, key| match key {
        "b64" => {
            let text = reader.string()?;
            let decoded = STANDARD.decode(text.as_bytes());
            once(&mut bytes, key, decoded.map_err(|_| reader.expected("base64 before"))?)
        }
        _ => Err(reader.expected("the key `b64` alone")),
    })?;
    required(bytes, "b64")
}

/// Why no element of `datatype` could be read here.
#[cold]
pub(crate) fn explain(reader: &mut Reader<'_>, datatype: Datatype) -> Fault {
    if reader.peek() == Some(b'[') {
        return reader
            .expected(format_args!("{datatype}, not an array: it nests deeper than its dimensions"));
    }
    let range = match datatype {
        Datatype::Bool => "true or false",
        Datatype::Uint8 => "0 to 255",
        Datatype::Uint16 => "0 to 65535",
        Datatype::Uint32 => "0 to 4294967295",
        Datatype::Uint64 => "0 to 18446744073709551615",
        Datatype::Int8 => "-128 to 127",
        Datatype::Int16 => "-32768 to 32767",
        Datatype::Int32 => "-2147483648 to 2147483647",
        Datatype::Int64 => "-9223372036854775808 to 9223372036854775807",
        Datatype::Fp16 => "a number within 65504, NaN, Infinity or -Infinity",
        Datatype::Bf16 => "a number within 3.39e38, NaN, Infinity or -Infinity",
        Datatype::Fp32 => "a number within 3.4028235e38, NaN, Infinity or -Infinity",
        Datatype::Fp64 => "a number within 1.7976931348623157e308, NaN, Infinity or -Infinity",
        Datatype::Bytes => {
            // What is broken inside says so itself.
            let broken = match reader.peek() {
                Some(b'"') => reader.clone().string().err(),
                Some(b'{') => base64_object(&mut reader.clone()).err(),
                _ => None,
            };
            return broken.unwrap_or_else(|| reader.expected("BYTES (a string)"));
        }
    };
    reader.expected(format_args!("{datatype} ({range})"))
}
