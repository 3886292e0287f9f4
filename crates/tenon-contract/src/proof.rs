//! Examples with right answers, tolerances, and the proof that a version gave them.

use std::fmt;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::{Datatype, Digest, Memory, NamedTensor, Tensor};

/// How far an answer may be from the right one: `|a - b| <= absolute + relative * |b|`.
/// NaN equals NaN; shapes, integers, booleans and strings are exact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Absolute part.
    pub absolute: f64,
    /// Relative part.
    pub relative: f64,
}

impl Tolerance {
    /// Bit for bit, but for NaN.
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0 };
}

impl Default for Tolerance {
    /// The bar for engines in single precision: 1e-5.
    fn default() -> Self {
        Self { absolute: 1e-5, relative: 1e-5 }
    }
}

/// Where and how far two tensors differ.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// Datatype or shape differ.
    #[error("expected {expected}, got {found}")]
    Form {
        /// Datatype and shape of the right tensor.
        expected: String,
        /// Those of the other.
        found: String,
    },
    /// An element differs by more than the tolerance.
    #[error("element {at}: expected {expected}, got {found}")]
    Value {
        /// Flat index, row-major.
        at: usize,
        /// The right value.
        expected: String,
        /// The other.
        found: String,
    },
}

impl Tensor {
    /// Whether `self` is `expected` within `tolerance`.
    ///
    /// # Errors
    /// The first place where it is not.
    pub fn matches(&self, expected: &Tensor, tolerance: Tolerance) -> Result<(), Mismatch> {
        if self.datatype() != expected.datatype() || self.shape() != expected.shape() {
            return Err(Mismatch::Form { expected: form(expected), found: form(self) });
        }
        if self.payload() == expected.payload() {
            return Ok(());
        }
        if let (Some(found), Some(expected)) = (self.to_f64(), expected.to_f64()) {
            return within(&found, &expected, tolerance);
        }
        let found = Elements::of(self);
        let differs =
            found.zip(Elements::of(expected)).enumerate().find(|(_, (found, expected))| found != expected);
        let (at, (found, expected)) = differs.unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(60).collect();
        let number = |bytes: &[u8]| {
            format!("0x{}", bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>())
        };
        let show =
            |bytes: &[u8]| if self.datatype() == Datatype::Bytes { text(bytes) } else { number(bytes) };
        Err(Mismatch::Value { at, expected: show(expected), found: show(found) })
    }

    /// The values of a float tensor as f64; `None` for other datatypes.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        Some(match self.datatype() {
            Datatype::Fp16 => self.values::<f16>().ok()?.iter().map(|value| value.to_f64()).collect(),
            Datatype::Bf16 => self.values::<bf16>().ok()?.iter().map(|value| value.to_f64()).collect(),
            Datatype::Fp32 => self.values::<f32>().ok()?.iter().map(|value| f64::from(*value)).collect(),
            Datatype::Fp64 => self.values::<f64>().ok()?.into_owned(),
            _ => return None,
        })
    }

    /// Index of the first NaN or infinity.
    pub fn first_not_finite(&self) -> Option<usize> {
        self.to_f64()?.iter().position(|value| !value.is_finite())
    }
}

fn form(tensor: &Tensor) -> String {
    format!("{}{:?}", tensor.datatype(), tensor.shape())
}

fn within(found: &[f64], expected: &[f64], tolerance: Tolerance) -> Result<(), Mismatch> {
    let differs = |(found, expected): &(&f64, &f64)| {
        let equal = found == expected || (found.is_nan() && expected.is_nan());
        // A difference that is NaN (infinity against a number) is not within anything.
        let near = (*found - *expected).abs() <= tolerance.absolute + tolerance.relative * expected.abs();
        !(equal || (near && expected.is_finite()))
    };
    match found.iter().zip(expected).position(|pair| differs(&pair)) {
        None => Ok(()),
        Some(at) => {
            Err(Mismatch::Value { at, expected: expected[at].to_string(), found: found[at].to_string() })
        }
    }
}

/// The bytes of each element of an integer, boolean or string tensor.
enum Elements<'a> {
    Strings(crate::tensor::Strings<'a>),
    Sized(std::slice::ChunksExact<'a, u8>),
}

impl<'a> Elements<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        match tensor.datatype().size() {
            Some(size) => Self::Sized(tensor.payload().chunks_exact(size)),
            None => Self::Strings(tensor.strings().expect("only BYTES has no size")),
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Strings(strings) => strings.next(),
            Self::Sized(chunks) => chunks.next(),
        }
    }
}

/// A request with its right answer, computed by the original engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What is sent.
    pub inputs: Vec<NamedTensor>,
    /// What must come back; outputs not named here are not compared. Where there are none at all, the request
    /// must be answered and nothing more.
    pub outputs: Vec<NamedTensor>,
}

/// The examples of a version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// How far an answer may be off.
    pub tolerance: Tolerance,
    /// The examples.
    pub examples: Vec<Example>,
}

/// What would change a proof. What is proven under a key need not be proven again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProofKey {
    /// Digest of the version's artifact.
    pub artifact: Digest,
    /// Name and build of the runtime: `onnxruntime 1.31.1`.
    pub runtime: String,
    /// Architecture and features of the processor: `x86_64+avx2+fma`.
    pub processor: String,
}

/// What a version was proven on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// Examples with right answers that came with it.
    Golden,
    /// Inputs drawn from its signature: it runs, finite and repeatable.
    Synthetic,
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Golden => "golden",
            Self::Synthetic => "synthetic",
        })
    }
}

/// Record that a version answered its examples, with what that cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Under which artifact, runtime and processor it holds.
    pub key: ProofKey,
    /// On what it was proven.
    pub kind: ProofKind,
    /// Number of examples answered.
    pub examples: u32,
    /// Whether a row's answer is the same alone and in a batch; `None` where the signature has no rows.
    pub rows_independent: Option<bool>,
    /// Whether the same input gave the same answer twice, bit for bit.
    pub repeatable: bool,
    /// What was noticed and does not stand against serving: edge values refused or not finite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Median time of one call, microseconds.
    pub call_micros: u64,
    /// Time to load, microseconds.
    pub load_micros: u64,
    /// Memory of the model with one session, measured in the child.
    pub memory: Memory,
    /// Memory of each further session.
    pub session_memory: Memory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches() {
        let floats =
            |values: &[f32]| Tensor::from_values(vec![values.len() as i64], values.to_vec()).unwrap();
        let check = |found: &[f32], expected: &[f32], right: bool| {
            let result = floats(found).matches(&floats(expected), Tolerance::default());
            assert_eq!(result.is_ok(), right, "{found:?} {expected:?} {result:?}");
        };
        let (nan, infinite) = (f32::NAN, f32::INFINITY);
        check(&[1.0], &[1.000_001], true);
        check(&[1.0], &[1.1], false);
        check(&[nan, infinite], &[-nan, infinite], true);
        check(&[nan], &[1.0], false);
        check(&[1.0], &[nan], false);
        check(&[infinite], &[-infinite], false);
        check(&[1.0], &[infinite], false);
        check(&[-0.0], &[0.0], true);
        check(&[1.0, 2.0], &[1.0], false);
        let ints = |values: Vec<i64>| Tensor::from_values(vec![2], values).unwrap();
        assert!(ints(vec![1, 2]).matches(&ints(vec![1, 3]), Tolerance::default()).is_err());
        let texts = |texts: [&str; 2]| Tensor::from_strings(vec![2], &texts).unwrap();
        let error = texts(["a", "b"]).matches(&texts(["a", "c"]), Tolerance::default()).unwrap_err();
        assert_eq!(error.to_string(), "element 1: expected c, got b");
    }
}
