//! Whether every input of a model has one shape, read from the file: it decides how sessions are made,
//! so no session can be asked yet.

use crate::proto::{Message, Value};

/// From a model down to its inputs' tensor types: graph, input, type, tensor type.
const TENSOR_TYPE: [u32; 4] = [7, 11, 2, 1];
const SHAPE: u32 = 2;
const DIM: u32 = 1;
const DIM_VALUE: u32 = 1;

/// Whether the shapes of all inputs are given in numbers. `false` where that cannot be read.
pub(crate) fn inputs_are_fixed(model: &[u8]) -> bool {
    every(Message::file(model), &TENSOR_TYPE, &|tensor| {
        let shape = |field| matches!(field, Ok((SHAPE, Value::Message(_))));
        let number =
            |dim: Message<'_>| dim.fields().any(|field| matches!(field, Ok((DIM_VALUE, Value::Varint(_)))));
        tensor.fields().any(shape) && every(tensor, &[SHAPE, DIM], &number)
    })
}

/// Whether `holds` for every message that lies at `path` in `message`.
fn every(message: Message<'_>, path: &[u32], holds: &dyn Fn(Message<'_>) -> bool) -> bool {
    let Some((next, rest)) = path.split_first() else { return holds(message) };
    message.fields().all(|field| match field {
        Ok((number, Value::Message(inner))) if number == *next => every(inner, rest, holds),
        field => field.is_ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_gaps_in_a_shape_make_it_free() {
        let message = |field: u8, content: &[u8]| [&[field << 3 | 2, content.len() as u8], content].concat();
        let model =
            |dims: &[u8]| [7, 11, 2, 1, 2].iter().rev().fold(dims.to_vec(), |inner, at| message(*at, &inner));
        let (fixed, named) = (message(1, &[8, 4]), message(1, &message(2, b"batch")));
        assert!(inputs_are_fixed(&model(&fixed)));
        assert!(inputs_are_fixed(&model(&[])), "a scalar");
        assert!(!inputs_are_fixed(&model(&[fixed, named].concat())));
        assert!(!inputs_are_fixed(&model(&message(1, &[]))), "a gap");
        assert!(!inputs_are_fixed(&message(7, &message(11, &message(2, &message(1, &[8, 1]))))), "any rank");
        assert!(!inputs_are_fixed(include_bytes!("../../../fixtures/onnx/add_one.onnx")));
    }
}
