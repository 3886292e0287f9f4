//! Writes small ONNX models byte by byte, sound ones and such as no tool writes.

/// A message, grown field by field.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    pub fn bytes(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn message(self, field: u32, message: Message) -> Self {
        self.bytes(field, message.0)
    }

    pub fn messages(self, field: u32, messages: impl IntoIterator<Item = Message>) -> Self {
        messages.into_iter().fold(self, |all, message| all.message(field, message))
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// ONNX's number of FP32.
pub const FLOAT: u64 = 1;

pub fn model(graph: Message) -> Vec<u8> {
    let opset = |domain: &str, version| Message::default().bytes(1, domain).number(2, version);
    let model = Message::default().number(1, 9).message(7, graph);
    model.message(8, opset("", 19)).message(8, opset("ai.onnx.ml", 3)).0
}

/// A graph of nodes from inputs to outputs.
pub fn graph(nodes: Vec<Message>, inputs: Vec<Message>, outputs: Vec<Message>) -> Message {
    Message::default().messages(1, nodes).bytes(2, "graph").messages(11, inputs).messages(12, outputs)
}

pub fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, name| node.bytes(1, name));
    outputs.iter().fold(node, |node, name| node.bytes(2, name)).bytes(4, operator)
}

/// An attribute of AttributeProto's `kind` with its value in `field`.
pub fn attribute(name: &str, kind: u64, field: u32, value: Message) -> Message {
    Message::default().bytes(1, name).message(field, value).number(20, kind)
}

/// A name with a tensor type; negative dimensions are free.
pub fn tensor_info(name: &str, element: u64, shape: &[i64]) -> Message {
    let dim = |size: &i64| match size {
        0.. => Message::default().number(1, *size as u64),
        _ => Message::default(),
    };
    let shape = Message::default().messages(1, shape.iter().map(dim));
    info(name, Message::default().message(1, Message::default().number(1, element).message(2, shape)))
}

/// A name with any type.
pub fn info(name: &str, kind: Message) -> Message {
    Message::default().bytes(1, name).message(2, kind)
}

/// An FP32 tensor with its values inside.
pub fn tensor(name: &str, values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Message::default().number(1, values.len() as u64).number(2, FLOAT).bytes(8, name).bytes(9, raw)
}

/// An FP32 tensor whose values lie elsewhere.
pub fn external(name: &str, elements: u64, entries: &[(&str, &str)]) -> Message {
    let entry = |(key, value): &(&str, &str)| Message::default().bytes(1, key).bytes(2, value);
    let tensor = Message::default().number(1, elements).number(2, FLOAT).bytes(8, name);
    tensor.messages(13, entries.iter().map(entry)).number(14, 1)
}
