//! Messages to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tenon_contract::contract::Occurs;
use tenon_contract::{Fault, Field, Message, NamedTensor, Tensor};

use super::Slot;
use crate::json::write::{self, Unwritable};

/// Writes `tensors` as the fields of `message`, in its order.
///
/// # Errors
/// `Internal` where a tensor is missing or is none of the message: whoever answers has bound them.
/// `Unsupported` for kinds of fields that have no form in JSON yet.
pub fn encode(message: &Message, tensors: &[NamedTensor]) -> Result<Vec<u8>, Fault> {
    write_message(message, tensors).map_err(|fault| fault.during(format_args!("write {}", message.name)))
}

fn write_message(message: &Message, tensors: &[NamedTensor]) -> Result<Vec<u8>, Fault> {
    if let Some(stranger) = tensors.iter().find(|tensor| message.field(&tensor.name).is_none()) {
        return Err(Fault::internal(format!("`{}` is none of its fields", stranger.name)));
    }
    let payload: usize = tensors.iter().map(|named| named.name.len() + named.tensor.payload().len()).sum();
    let mut out = Vec::with_capacity(64 + payload.min(1 << 20) * 3);
    out.push(b'{');
    for (at, field) in message.fields.iter().enumerate() {
        // In the usual case the tensors stand in the order of the fields.
        let in_order = tensors.get(at).filter(|named| named.name == field.name);
        let found = in_order.or_else(|| tensors.iter().find(|named| named.name == field.name));
        match found {
            Some(named) => write_field(&mut out, field, &named.tensor)
                .map_err(|fault| fault.during(format_args!("field `{}`", field.name)))?,
            None if field.occurs == Occurs::Once => {
                return Err(Fault::internal(format!("field `{}` is missing", field.name)));
            }
            None => {}
        }
    }
    out.push(b'}');
    Ok(out)
}

fn write_field(out: &mut Vec<u8>, field: &Field, tensor: &Tensor) -> Result<(), Fault> {
    let slot = Slot::of(field)?;
    if out.len() > 1 {
        out.push(b',');
    }
    write::string(out, &field.name);
    out.push(b':');
    let written = if arrays_tell_the_shape(tensor, &slot) {
        write::elements(out, tensor, tensor.shape(), text_or_base64)
    } else {
        out.extend_from_slice(b"{\"shape\":");
        write::shape(out, tensor.shape());
        out.extend_from_slice(b",\"data\":[]}");
        Ok(())
    };
    written.map_err(|error| Fault::internal(error.to_string()))
}

/// Whether nested arrays read back to the shape of `tensor`. Without elements they do so only where the
/// first dimension is the empty one and the contract knows the others. It is also what keeps a shape
/// like `[1000000000, 0]` from a billion brackets.
fn arrays_tell_the_shape(tensor: &Tensor, slot: &Slot<'_>) -> bool {
    let inner_known = || slot.shape.iter().skip(1).all(|dim| dim.size().is_some());
    tensor.elements() > 0 || (tensor.shape().first() == Some(&0) && inner_known())
}

fn text_or_base64(out: &mut Vec<u8>, _: usize, bytes: &[u8]) -> Result<(), Unwritable> {
    match std::str::from_utf8(bytes) {
        Ok(text) => write::string(out, text),
        Err(_) => {
            out.extend_from_slice(b"{\"b64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
    Ok(())
}
