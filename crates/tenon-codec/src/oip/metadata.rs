//! Specs of tensors as the protocol's metadata writes them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_contract::{Datatype, Fault, TensorSpec, signature::Dim};

/// `{"name","datatype","shape"}`, free dimensions as -1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Name of the tensor.
    pub name: Arc<str>,
    /// Element type.
    pub datatype: Datatype,
    /// Dimensions, -1 where free.
    pub shape: Vec<i64>,
}

impl From<&TensorSpec> for TensorMetadata {
    fn from(spec: &TensorSpec) -> Self {
        Self { name: spec.name.clone(), datatype: spec.datatype, shape: spec.wire_shape() }
    }
}

impl TryFrom<TensorMetadata> for TensorSpec {
    type Error = Fault;

    fn try_from(metadata: TensorMetadata) -> Result<Self, Fault> {
        let TensorMetadata { name, datatype, shape } = metadata;
        let dims: Option<_> = shape.iter().map(|size| Dim::from_wire(*size)).collect();
        let shape = dims.ok_or_else(|| {
            Fault::invalid(format!(
                "read metadata of `{name}`: expected dimensions of -1 or more, found {shape:?}"
            ))
        })?;
        Ok(Self { name, datatype, shape })
    }
}
