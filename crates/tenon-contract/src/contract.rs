//! Contracts: a set of operations, each a message in and a message out.
//!
//! Message trees stand from day one: for a bare ONNX model the contract is the operation `infer`,
//! whose tree is its tensors. Protobuf schemas, adapters and pipelines use the same trees.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Datatype, Signature, TensorSpec, signature::Dim};

/// Name of the operation that takes and gives raw tensors.
pub const INFER: &str = "infer";

/// What a service promises to its callers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// The operations, by unique name.
    pub operations: Vec<Operation>,
}

/// One thing a caller can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Name, unique in the contract.
    pub name: Arc<str>,
    /// What the caller sends.
    pub input: Message,
    /// What the caller gets.
    pub output: Message,
    /// The messages as tensors, where they are more than tensors: what the Open Inference Protocol shows
    /// of the operation, and what is computed behind it. Of `infer` the messages themselves are tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<Signature>,
}

/// A named group of fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Name of the type.
    pub name: Arc<str>,
    /// The fields, by unique name and number.
    pub fields: Vec<Field>,
}

/// One field of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Name, unique in its message.
    pub name: Arc<str>,
    /// Number on the Protobuf wire, from 1.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// How often it stands.
    #[serde(default, skip_serializing_if = "Occurs::is_once")]
    pub occurs: Occurs,
}

/// How often a field stands in its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occurs {
    /// Always, once.
    #[default]
    Once,
    /// Once or not at all.
    Optional,
    /// Any number of times, in order.
    Repeated,
}

impl Occurs {
    fn is_once(&self) -> bool {
        *self == Self::Once
    }
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An n-dimensional array.
    Tensor {
        /// Element type.
        datatype: Datatype,
        /// Dimensions.
        shape: Vec<Dim>,
    },
    /// One value; BYTES is a byte string.
    Scalar(Datatype),
    /// UTF-8 text.
    Text,
    /// One of named values.
    Enum {
        /// Name of the type.
        name: Arc<str>,
        /// The values with their numbers.
        values: Vec<(Arc<str>, i32)>,
    },
    /// A message of its own.
    Message(Box<Message>),
}

impl Contract {
    /// The contract of a bare model: `infer` over its tensors.
    pub fn of_signature(signature: &Signature) -> Self {
        Self {
            operations: vec![Operation {
                name: INFER.into(),
                input: Message::of_tensors("InferRequest", &signature.inputs),
                output: Message::of_tensors("InferResponse", &signature.outputs),
                view: None,
            }],
        }
    }

    /// The operation of that name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| &*operation.name == name)
    }

    /// The tensor view: that of `infer`, where every field of it is a tensor, else that of the first
    /// operation which has one.
    pub fn tensors(&self) -> Option<Signature> {
        let Some(infer) = self.operation(INFER) else {
            return self.operations.iter().find_map(|operation| operation.view.clone());
        };
        Some(Signature { inputs: infer.input.tensors()?, outputs: infer.output.tensors()? })
    }

    /// Whether a request for the operation `name` may come as tensors: `infer`, by which the Open Inference
    /// Protocol asks for the tensor view whatever its operation is called, and what has a view.
    pub fn takes_tensors(&self, name: &str) -> bool {
        name == INFER || self.operation(name).is_some_and(|operation| operation.view.is_some())
    }
}

impl Message {
    /// A message whose fields are tensors, numbered from 1.
    pub fn of_tensors(name: &str, specs: &[TensorSpec]) -> Self {
        let fields = specs.iter().zip(1..).map(|(spec, number)| Field::tensor(spec, number)).collect();
        Self { name: name.into(), fields }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.name == name)
    }

    /// The fields as tensors, where all of them are.
    pub fn tensors(&self) -> Option<Vec<TensorSpec>> {
        self.fields.iter().map(Field::as_tensor).collect()
    }
}

impl Field {
    fn tensor(spec: &TensorSpec, number: u32) -> Self {
        let kind = Kind::Tensor { datatype: spec.datatype, shape: spec.shape.clone() };
        Self { name: spec.name.clone(), number, kind, occurs: Occurs::Once }
    }

    fn as_tensor(&self) -> Option<TensorSpec> {
        match &self.kind {
            Kind::Tensor { datatype, shape } if self.occurs.is_once() => {
                Some(TensorSpec { name: self.name.clone(), datatype: *datatype, shape: shape.clone() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_model_offers_infer_over_its_tensors() {
        let signature = Signature {
            inputs: vec![TensorSpec::new("x", Datatype::Fp32, &[-1, 4])],
            outputs: vec![TensorSpec::new("y", Datatype::Bytes, &[-1])],
        };
        let contract = Contract::of_signature(&signature);
        assert_eq!(contract.tensors(), Some(signature));
        let text = serde_json::to_string(&contract).unwrap();
        assert_eq!(serde_json::from_str::<Contract>(&text).unwrap(), contract);
    }
}
