//! Parameters: a map from names to values of one of five types.

use tenon_contract::{Fault, Parameter, Parameters};

use super::wire::{self, Fields, Value, mistyped};
use crate::Limits;
use crate::json::reader::shown;
use crate::limits::exceeded;

/// Reads one entry of a map of parameters. Of a name that stands twice the last value counts, as in Protobuf.
pub(super) fn read_entry(entry: &[u8]) -> Result<(&str, Parameter), Fault> {
    let (mut name, mut value) = ("", None);
    let mut fields = Fields::of(entry);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.text("the name of a parameter")?,
            2 => value = read_value(field.bytes("the value of a parameter")?, value)?,
            _ => {}
        }
    }
    let value = value.ok_or_else(|| Fault::invalid(format!("parameter `{}` has no value", shown(name))))?;
    Ok((name, value))
}

fn read_value(message: &[u8], mut value: Option<Parameter>) -> Result<Option<Parameter>, Fault> {
    let mut fields = Fields::of(message);
    while let Some((number, field)) = fields.next()? {
        value = Some(match (number, field) {
            (1, Value::Varint(flag)) => Parameter::Bool(flag != 0),
            (2, Value::Varint(number)) => Parameter::Int(number as i64),
            (3, _) => Parameter::String(field.text("the value of a parameter")?.to_owned()),
            (4, Value::Fixed64(bytes)) => Parameter::Double(f64::from_le_bytes(bytes)),
            (5, Value::Varint(number)) => {
                i64::try_from(number).map_or(Parameter::Uint(number), Parameter::Int)
            }
            (1 | 2 | 4 | 5, _) => return Err(mistyped("the value of a parameter")),
            _ => continue,
        });
    }
    Ok(value)
}

/// Reads one entry into `parameters`, of which there may be as many as `limits` say.
pub(super) fn read_into(parameters: &mut Parameters, entry: &[u8], limits: &Limits) -> Result<(), Fault> {
    let (name, value) = read_entry(entry)?;
    parameters.insert(name.to_owned(), value);
    if parameters.len() > limits.parameters {
        return Err(exceeded("parameters", limits.parameters));
    }
    Ok(())
}

/// Appends `parameters` as the map `field`.
pub(super) fn write(out: &mut Vec<u8>, field: u64, parameters: &Parameters) {
    for (name, value) in parameters {
        let entry = |out: &mut Vec<u8>| -> Result<(), std::convert::Infallible> {
            wire::put_bytes(out, 1, name.as_bytes());
            wire::put_message(out, 2, |out| {
                write_value(out, value);
                Ok(())
            })
        };
        let Ok(()) = wire::put_message(out, field, entry);
    }
}

/// Of the members of a choice, zeros are written too: else nothing would be chosen.
fn write_value(out: &mut Vec<u8>, value: &Parameter) {
    match value {
        Parameter::Bool(flag) => out.extend_from_slice(&[1 << 3, u8::from(*flag)]),
        Parameter::Int(number) => {
            out.push(2 << 3);
            wire::put_varint(out, *number as u64);
        }
        Parameter::String(text) => {
            wire::put_head(out, 3, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Parameter::Double(number) => {
            out.push(4 << 3 | 1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Parameter::Uint(number) => {
            out.push(5 << 3);
            wire::put_varint(out, *number);
        }
    }
}
