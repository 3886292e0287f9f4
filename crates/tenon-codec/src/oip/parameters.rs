//! Objects of parameters.

use tenon_contract::{Fault, Parameter, Parameters};

use crate::Limits;
use crate::json::{Reader, number, reader::shown};
use crate::limits::exceeded;

/// Reads an object of parameters, or `null` for none.
pub(super) fn read(reader: &mut Reader<'_>, limits: &Limits) -> Result<Parameters, Fault> {
    let mut parameters = Parameters::new();
    entries(reader, limits, |reader, name| {
        let value =
            value(reader).map_err(|fault| fault.during(format_args!("parameter `{}`", shown(name))))?;
        match parameters.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => {
                Err(Fault::invalid(format!("expected parameter `{}` once, found it twice", shown(name))))
            }
        }
    })?;
    Ok(parameters)
}

/// Reads the entries of an object of parameters that are not `null`, `entry` each value.
pub(super) fn entries(
    reader: &mut Reader<'_>,
    limits: &Limits,
    mut entry: impl FnMut(&mut Reader<'_>, &str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if reader.null() {
        return Ok(());
    }
    let mut count = 0;
    reader.object(|reader, name| {
        count += 1;
        if count > limits.parameters {
            return Err(exceeded("parameters", limits.parameters));
        }
        if reader.null() { Ok(()) } else { entry(reader, name) }
    })
}

/// Reads one value. Integers stay integers: one beyond 64 bits is refused, not rounded.
fn value(reader: &mut Reader<'_>) -> Result<Parameter, Fault> {
    match reader.peek() {
        Some(b'"') => return Ok(Parameter::String(reader.string()?.into_owned())),
        Some(b't' | b'f') => return Ok(Parameter::Bool(reader.bool()?)),
        _ => {}
    }
    match number(reader.rest()) {
        Some((value, length)) => {
            reader.advance(length);
            Ok(value)
        }
        None => Err(reader.expected("a string, true, false, or a number within 64 bits")),
    }
}

fn number(bytes: &[u8]) -> Option<(Parameter, usize)> {
    if number::scan(bytes).is_some_and(|decimal| decimal.whole) {
        let (integer, length) = number::integer(bytes)?;
        let signed = integer.signed().map(Parameter::Int);
        let value = signed.or_else(|| integer.unsigned().map(Parameter::Uint))?;
        return Some((value, length));
    }
    let (value, length) = number::float64(bytes).or_else(|| number::not_finite(bytes))?;
    Some((Parameter::Double(value), length))
}
