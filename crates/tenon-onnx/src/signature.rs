//! From ONNX Runtime's inputs and outputs to a signature.

use ort::value::{Outlet, TensorElementType, ValueType};
use tenon_contract::signature::Dim;
use tenon_contract::{Datatype, Signature, TensorSpec};
use tenon_runtime::LoadError;

/// The signature of a session. Initializers that are also inputs are not among its inputs: ONNX
/// Runtime lists only what a caller must give.
///
/// # Errors
/// An input or output is no tensor, or has an element type that the protocol does not know.
pub(crate) fn signature(session: &ort::session::Session) -> Result<Signature, LoadError> {
    let specs = |role: &str, outlets: &[Outlet]| -> Result<Vec<TensorSpec>, LoadError> {
        outlets.iter().map(|outlet| spec(role, outlet)).collect()
    };
    Ok(Signature { inputs: specs("input", session.inputs())?, outputs: specs("output", session.outputs())? })
}

fn spec(role: &str, outlet: &Outlet) -> Result<TensorSpec, LoadError> {
    let refused = |text: String| LoadError::malformed(format!("{role} `{}`", outlet.name()), text);
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(refused(what_to_do(outlet.dtype())));
    };
    let datatype = datatype(*ty).ok_or_else(|| {
        refused(format!("has the element type {ty}, which no protocol carries; add a Cast to the model"))
    })?;
    let dim = |(index, size): (usize, &i64)| match dimension_symbols.get(index).map(String::as_str) {
        _ if *size >= 0 => Dim::Fixed(*size),
        Some(name) if !name.is_empty() => Dim::Named(name.into()),
        _ => Dim::Free,
    };
    let shape = shape.iter().enumerate().map(dim).collect();
    Ok(TensorSpec { name: outlet.name().into(), datatype, shape })
}

fn what_to_do(dtype: &ValueType) -> String {
    let is_map = |inner: &ValueType| matches!(inner, ValueType::Map { .. });
    match dtype {
        ValueType::Sequence(inner) if is_map(inner) => "is a list of maps (ZipMap), not a tensor; convert the model \
             with ZipMap off: `to_onnx(..., options={'zipmap': False})` in skl2onnx, `zipmap=False` in onnxmltools"
            .to_owned(),
        other => format!("is a {other}, not a tensor; export the model so that it takes and gives tensors only"),
    }
}

fn datatype(element: TensorElementType) -> Option<Datatype> {
    Some(match element {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Bfloat16 => Datatype::Bf16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// ONNX Runtime's name of a datatype.
pub(crate) fn element(datatype: Datatype) -> TensorElementType {
    match datatype {
        Datatype::Bool => TensorElementType::Bool,
        Datatype::Uint8 => TensorElementType::Uint8,
        Datatype::Uint16 => TensorElementType::Uint16,
        Datatype::Uint32 => TensorElementType::Uint32,
        Datatype::Uint64 => TensorElementType::Uint64,
        Datatype::Int8 => TensorElementType::Int8,
        Datatype::Int16 => TensorElementType::Int16,
        Datatype::Int32 => TensorElementType::Int32,
        Datatype::Int64 => TensorElementType::Int64,
        Datatype::Fp16 => TensorElementType::Float16,
        Datatype::Bf16 => TensorElementType::Bfloat16,
        Datatype::Fp32 => TensorElementType::Float32,
        Datatype::Fp64 => TensorElementType::Float64,
        Datatype::Bytes => TensorElementType::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datatypes_go_there_and_back() {
        assert!(Datatype::ALL.iter().all(|known| datatype(element(*known)) == Some(*known)));
        assert_eq!(datatype(TensorElementType::Complex64), None);
    }
}
