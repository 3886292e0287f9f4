//! Whether bytes look like an ONNX model, from their content alone.
//!
//! A model is a Protobuf `ModelProto` with a version, a graph that has nodes, and operator sets. A file
//! that breaks off behind the graph's beginning is still recognised, so that loading it can say that it
//! ends early instead of calling it unknown.

use crate::proto::{Fault, Fields, Message, Value};

const IR_VERSION: u32 = 1;
const GRAPH: u32 = 7;
const OPSET_IMPORT: u32 = 8;
const NODE: u32 = 1;

/// Beyond this no version of the format can be: a number there is chance.
const LARGEST_IR_VERSION: u64 = 1000;

/// Whether `bytes` are an ONNX model, or the beginning of one.
pub(crate) fn looks_like_onnx(bytes: &[u8]) -> bool {
    let (mut version, mut graph, mut opsets) = (false, false, false);
    let mut fields = Message::file(bytes).fields();
    while let Some(field) = fields.next() {
        match field {
            Ok((IR_VERSION, Value::Varint(number))) => version |= (1..=LARGEST_IR_VERSION).contains(&number),
            Ok((GRAPH, Value::Message(message))) => graph |= has_node(message.fields()),
            Ok((OPSET_IMPORT, Value::Message(_))) => opsets = true,
            Ok(_) => {}
            Err(broken) => match broken.fault {
                Fault::EndsEarly { field: Some(GRAPH) } => {
                    return version && has_node(fields.remainder().fields());
                }
                Fault::EndsEarly { .. } => return version && graph,
                Fault::NotProtobuf => return false,
            },
        }
    }
    version && graph && opsets
}

fn has_node(mut fields: Fields<'_>) -> bool {
    fields.any(|field| matches!(field, Ok((NODE, Value::Message(_)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../../fixtures/onnx/add_one.onnx");

    #[test]
    fn models_and_their_beginnings_are_recognised() {
        assert!(looks_like_onnx(MODEL));
        assert!(looks_like_onnx(include_bytes!("../../../fixtures/digits/v2/model.onnx")));
        assert!(looks_like_onnx(include_bytes!("../../../fixtures/hostile/cut_off.onnx")));
        assert!(!looks_like_onnx(&MODEL[..20]), "before the first node");
    }

    #[test]
    fn others_are_not() {
        let others: [&[u8]; 6] =
            [b"", b"\x08\x08", b"hello, world", b"PK\x03\x04", &[0; 4096], b"{\"a\": 1}"];
        assert!(others.iter().all(|bytes| !looks_like_onnx(bytes)));
        // A Protobuf message with the version only, and one with an empty graph.
        assert!(!looks_like_onnx(b"\x08\x09\x3a\x00\x42\x02\x10\x11"));
    }
}
