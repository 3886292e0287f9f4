//! Signatures of versions, and the one door through which inputs reach a model.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Datatype, Fault, FaultKind, NamedTensor, Tensor};

/// One dimension of a signature. On public wires a free dimension is -1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "WrittenDim", try_from = "WrittenDim")]
pub enum Dim {
    /// Exactly this many.
    Fixed(i64),
    /// Any number.
    Free,
    /// Any number, with the name the model gives it (`batch`). Dimensions of one name are drawn
    /// alike for synthetic examples; callers are not held to it, as the engines do not either.
    Named(Arc<str>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenDim {
    Number(i64),
    Name(Arc<str>),
}

impl From<Dim> for WrittenDim {
    fn from(dim: Dim) -> Self {
        match dim {
            Dim::Fixed(size) => Self::Number(size),
            Dim::Free => Self::Number(-1),
            Dim::Named(name) => Self::Name(name),
        }
    }
}

impl TryFrom<WrittenDim> for Dim {
    type Error = String;

    fn try_from(dim: WrittenDim) -> Result<Self, String> {
        match dim {
            WrittenDim::Number(size) => {
                Dim::from_wire(size).ok_or_else(|| format!("{size} is not a dimension"))
            }
            WrittenDim::Name(name) => Ok(Self::Named(name)),
        }
    }
}

impl Dim {
    /// -1 is free, other negative numbers are nothing.
    pub fn from_wire(size: i64) -> Option<Self> {
        match size {
            -1 => Some(Self::Free),
            0.. => Some(Self::Fixed(size)),
            _ => None,
        }
    }

    /// The size, or -1.
    pub fn to_wire(&self) -> i64 {
        self.size().unwrap_or(-1)
    }

    /// The size where it is fixed.
    pub fn size(&self) -> Option<i64> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Free | Self::Named(_) => None,
        }
    }
}

/// Name, datatype and shape of one tensor of a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Name, unique among the inputs or among the outputs.
    pub name: Arc<str>,
    /// Element type.
    pub datatype: Datatype,
    /// Dimensions.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    /// A spec with the shape as on the wire, -1 for free.
    ///
    /// # Panics
    /// A dimension is below -1.
    pub fn new(name: &str, datatype: Datatype, shape: &[i64]) -> Self {
        let dim = |size: &i64| Dim::from_wire(*size).expect("dimensions are -1 or more");
        Self { name: name.into(), datatype, shape: shape.iter().map(dim).collect() }
    }

    /// The shape as on the wire, -1 for free.
    pub fn wire_shape(&self) -> Vec<i64> {
        self.shape.iter().map(Dim::to_wire).collect()
    }

    /// Whether `tensor` has this datatype and a shape that fits.
    pub fn accepts(&self, tensor: &Tensor) -> Result<(), Misfit> {
        if tensor.datatype() != self.datatype {
            return Err(Misfit::Datatype { expected: self.datatype, found: tensor.datatype() });
        }
        let fits = |(dim, size): (&Dim, &i64)| dim.size().is_none_or(|fixed| fixed == *size);
        if tensor.shape().len() != self.shape.len() || !self.shape.iter().zip(tensor.shape()).all(fits) {
            return Err(Misfit::Shape { expected: self.wire_shape(), found: tensor.shape().to_vec() });
        }
        Ok(())
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{:?}", self.name, self.datatype, self.wire_shape())
    }
}

/// Why a tensor does not fit a spec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Another datatype.
    #[error("expected {expected}, got {found}")]
    Datatype {
        /// What the spec says.
        expected: Datatype,
        /// What the tensor is.
        found: Datatype,
    },
    /// Another number of dimensions or another size.
    #[error("expected shape {expected:?} (-1 is any), got {found:?}")]
    Shape {
        /// What the spec says, -1 for free.
        expected: Vec<i64>,
        /// What the tensor has.
        found: Vec<i64>,
    },
}

/// Inputs that fit a signature, in its order. Only [`Signature::bind`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs(Vec<Tensor>);

impl Inputs {
    /// The tensors in the order of the signature.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0
    }

    /// Rows of the batch: the first dimension of the first input, or 1.
    pub fn rows(&self) -> usize {
        self.0.first().map_or(1, Tensor::rows)
    }
}

/// Outputs that fit a signature, in its order. Only [`Signature::check`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs(Vec<Tensor>);

impl Outputs {
    /// The tensors in the order of the signature.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0
    }

    /// The tensors themselves.
    pub fn into_tensors(self) -> Vec<Tensor> {
        self.0
    }
}

/// What a version takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Tensors taken, all of them required.
    pub inputs: Vec<TensorSpec>,
    /// Tensors given.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Puts named tensors into the order of the signature, each checked against its spec.
    ///
    /// # Errors
    /// [`FaultKind::Invalid`] that names the input which is missing, unknown, given twice or does not fit.
    pub fn bind(&self, given: Vec<NamedTensor>) -> Result<Inputs, Fault> {
        if let Some(inputs) = self.bind_in_order(&given)? {
            return Ok(inputs);
        }
        let mut slots: Vec<Option<Tensor>> = vec![None; self.inputs.len()];
        for NamedTensor { name, tensor } in given {
            let at =
                self.inputs.iter().position(|spec| spec.name == name).ok_or_else(|| self.unknown(&name))?;
            self.inputs[at].accepts(&tensor).map_err(|misfit| refused(&name, &misfit))?;
            if slots[at].replace(tensor).is_some() {
                return Err(Fault::invalid(format!("input `{name}` is given twice")));
            }
        }
        let missing = || self.inputs.iter().zip(&slots).filter(|(_, slot)| slot.is_none());
        if missing().next().is_some() {
            let names: Vec<_> = missing().map(|(spec, _)| format!("`{spec}`")).collect();
            return Err(Fault::invalid(format!("input {} is missing", names.join(", "))));
        }
        Ok(Inputs(slots.into_iter().flatten().collect()))
    }

    /// The usual case, without a table of slots: all inputs, in the order of the signature.
    fn bind_in_order(&self, given: &[NamedTensor]) -> Result<Option<Inputs>, Fault> {
        let in_order = given.len() == self.inputs.len()
            && given.iter().zip(&self.inputs).all(|(named, spec)| named.name == spec.name);
        if !in_order {
            return Ok(None);
        }
        for (named, spec) in given.iter().zip(&self.inputs) {
            spec.accepts(&named.tensor).map_err(|misfit| refused(&spec.name, &misfit))?;
        }
        Ok(Some(Inputs(given.iter().map(|named| named.tensor.clone()).collect())))
    }

    fn unknown(&self, name: &str) -> Fault {
        let known: Vec<_> = self.inputs.iter().map(|spec| format!("`{spec}`")).collect();
        let name: String = name.chars().take(80).collect();
        Fault::invalid(format!("unknown input `{name}`; the inputs are {}", known.join(", ")))
    }

    /// Checks what a model gave before anybody sees it.
    ///
    /// # Errors
    /// [`FaultKind::Model`] that names the output which does not fit.
    pub fn check(&self, outputs: Vec<Tensor>) -> Result<Outputs, Fault> {
        if outputs.len() != self.outputs.len() {
            let text =
                format!("model gave {} outputs, its signature has {}", outputs.len(), self.outputs.len());
            return Err(Fault::new(FaultKind::Model, text));
        }
        for (spec, tensor) in self.outputs.iter().zip(&outputs) {
            spec.accepts(tensor).map_err(|misfit| {
                Fault::new(FaultKind::Model, format!("model's output `{}` does not fit: {misfit}", spec.name))
            })?;
        }
        Ok(Outputs(outputs))
    }

    /// Whether every input and output begins with a free dimension: rows of a batch.
    pub fn is_batched(&self) -> bool {
        let free_first = |spec: &TensorSpec| spec.shape.first().is_some_and(|dim| dim.size().is_none());
        !self.inputs.is_empty() && self.inputs.iter().chain(&self.outputs).all(free_first)
    }
}

fn refused(name: &str, misfit: &Misfit) -> Fault {
    Fault::invalid(format!("input `{name}` does not fit: {misfit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        Signature {
            inputs: vec![
                TensorSpec::new("x", Datatype::Fp32, &[-1, 2]),
                TensorSpec::new("n", Datatype::Int64, &[1]),
            ],
            outputs: vec![TensorSpec::new("y", Datatype::Fp32, &[-1])],
        }
    }

    fn x(rows: i64) -> NamedTensor {
        NamedTensor::new("x", Tensor::from_values(vec![rows, 2], vec![0f32; 2 * rows as usize]).unwrap())
    }

    fn n() -> NamedTensor {
        NamedTensor::new("n", Tensor::from_values(vec![1], vec![1i64]).unwrap())
    }

    #[test]
    fn bind() {
        let check = |given: Vec<NamedTensor>, expected: Result<usize, &str>| {
            let bound = signature().bind(given).map(|inputs| inputs.rows()).map_err(|fault| fault.text);
            assert_eq!(bound, expected.map_err(str::to_owned));
        };
        check(vec![x(3), n()], Ok(3));
        check(vec![n(), x(3)], Ok(3));
        check(vec![x(0), n()], Ok(0));
        check(vec![x(1)], Err("input `n INT64[1]` is missing"));
        check(vec![], Err("input `x FP32[-1, 2]`, `n INT64[1]` is missing"));
        check(vec![x(1), x(1), n()], Err("input `x` is given twice"));
        let stranger = NamedTensor::new("z", n().tensor);
        check(
            vec![x(1), n(), stranger],
            Err("unknown input `z`; the inputs are `x FP32[-1, 2]`, `n INT64[1]`"),
        );
        let wrong = NamedTensor::new("n", x(1).tensor);
        check(vec![x(1), wrong], Err("input `n` does not fit: expected INT64, got FP32"));
        let long = NamedTensor::new("n", Tensor::from_values(vec![2], vec![1i64; 2]).unwrap());
        check(vec![x(1), long], Err("input `n` does not fit: expected shape [1] (-1 is any), got [2]"));
    }

    #[test]
    fn check_outputs() {
        let good = Tensor::from_values(vec![3], vec![0f32; 3]).unwrap();
        assert!(signature().check(vec![good.clone()]).is_ok());
        assert_eq!(signature().check(vec![]).unwrap_err().kind, FaultKind::Model);
        assert_eq!(signature().check(vec![n().tensor]).unwrap_err().kind, FaultKind::Model);
    }

    #[test]
    fn dims_are_written_as_numbers_or_names() {
        let dims = vec![Dim::Fixed(3), Dim::Free, Dim::Named("batch".into())];
        let text = serde_json::to_string(&dims).unwrap();
        assert_eq!(text, r#"[3,-1,"batch"]"#);
        assert_eq!(serde_json::from_str::<Vec<Dim>>(&text).unwrap(), dims);
        assert!(serde_json::from_str::<Dim>("-2").is_err());
    }
}
