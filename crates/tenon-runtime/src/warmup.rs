//! Requests without a right answer that a bundle wants answered before its version may be served.
//!
//! They stand as `[[warmup]]` in `model.toml`. Their tensors are filled with zeros, with small numbers that are
//! always the same, or from a file as the binary tensor extension sends them.

use bytes::Bytes;
use serde::Deserialize;
use tenon_contract::{Datatype, Example, Fault, FaultKind, NamedTensor, Tensor, tensor};

use crate::Bundle;
use crate::bundle::MANIFEST;

/// Most requests of a bundle, repetitions counted.
const MOST_REQUESTS: usize = 1000;

/// Most bytes of all their tensors.
const MOST_BYTES: usize = 256 << 20;

/// One request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// What it is called in faults.
    #[serde(default)]
    pub name: String,
    /// How often it is sent.
    #[serde(default = "once")]
    pub count: u32,
    /// What is sent.
    pub inputs: Vec<WarmUpInput>,
}

fn once() -> u32 {
    1
}

/// A tensor of a request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUpInput {
    /// Name of the input.
    pub name: String,
    /// Its datatype.
    pub datatype: Datatype,
    /// Its whole shape.
    pub shape: Vec<i64>,
    /// What it holds, where no file says so.
    #[serde(default)]
    pub fill: Option<Fill>,
    /// File of the bundle with its payload.
    #[serde(default)]
    pub file: Option<String>,
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Zeros and empty texts.
    Zeros,
    /// Numbers in [0, 1), integers 0 and 1, short texts.
    Random,
}

impl Bundle {
    /// The requests that must be answered before the version is served, as examples without outputs.
    ///
    /// # Errors
    /// A tensor is none, a file is missing or does not fit, or there are too many; the text names the place.
    pub fn warm_ups(&self) -> Result<Vec<Example>, Fault> {
        let (mut examples, mut left) = (Vec::new(), MOST_BYTES);
        for (index, warm_up) in self.manifest().warmup.iter().enumerate() {
            let place = || format!("{MANIFEST}: warmup {} `{}`", index + 1, warm_up.name);
            let inputs: Result<_, Fault> =
                warm_up.inputs.iter().map(|input| self.filled(input, &mut left)).collect();
            let inputs = inputs.map_err(|fault| fault.during(place()))?;
            if warm_up.count as usize > MOST_REQUESTS - examples.len() {
                let text = format!("more than {MOST_REQUESTS} requests");
                return Err(Fault::new(FaultKind::TooLarge, text).during(place()));
            }
            let example = Example { inputs, outputs: Vec::new() };
            examples.extend(std::iter::repeat_n(example, warm_up.count as usize));
        }
        Ok(examples)
    }

    fn filled(&self, input: &WarmUpInput, left: &mut usize) -> Result<NamedTensor, Fault> {
        let elements = tensor::elements_of(&input.shape).map_err(Fault::from)?;
        let payload = match (&input.fill, &input.file) {
            (None, Some(file)) => {
                let missing = || Fault::invalid(format!("`{file}` is not in the bundle"));
                self.file(file).cloned().ok_or_else(missing)?
            }
            (fill, None) => {
                let size = elements.saturating_mul(input.datatype.size().unwrap_or(6));
                if size > *left {
                    return Err(Fault::new(
                        FaultKind::TooLarge,
                        format!("more than {MOST_BYTES} bytes of tensors"),
                    ));
                }
                *left -= size;
                drawn(input.datatype, elements, fill.unwrap_or(Fill::Zeros))
            }
            (Some(_), Some(_)) => return Err(Fault::invalid("expected one of `fill` and `file`")),
        };
        let tensor = Tensor::new(input.datatype, input.shape.clone(), payload);
        let tensor =
            tensor.map_err(|error| Fault::from(error).during(format_args!("input `{}`", input.name)))?;
        Ok(NamedTensor::new(input.name.as_str(), tensor))
    }
}

fn drawn(datatype: Datatype, elements: usize, fill: Fill) -> Bytes {
    let mut payload = Vec::with_capacity(elements * datatype.size().unwrap_or(6));
    let mut state = 0_u64;
    for _ in 0..elements {
        let bits = match fill {
            Fill::Zeros => 0,
            Fill::Random => mixed(&mut state),
        };
        let (part, is_random) = ((bits >> 40) as u32, fill == Fill::Random);
        match datatype {
            Datatype::Fp32 => payload.extend((part as f32 / (1_u32 << 24) as f32).to_le_bytes()),
            Datatype::Fp64 => payload.extend((f64::from(part) / f64::from(1_u32 << 24)).to_le_bytes()),
            // From a half on to one: an exponent that is fixed and a mantissa that is drawn.
            Datatype::Fp16 if is_random => payload.extend((0x3800 | (bits & 0x3ff) as u16).to_le_bytes()),
            Datatype::Bf16 if is_random => payload.extend((0x3f00 | (bits & 0x7f) as u16).to_le_bytes()),
            Datatype::Bytes if is_random => {
                tensor::push_element(&mut payload, format!("{}", bits % 10).as_bytes())
            }
            Datatype::Bytes => tensor::push_element(&mut payload, b""),
            _ => {
                let whole = (bits & 1).to_le_bytes();
                payload.extend_from_slice(&whole[..datatype.size().unwrap_or(0)]);
            }
        }
    }
    payload.into()
}

/// The next number of splitmix64.
fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BundleLimits;
    use std::io::{Cursor, Write as _};

    fn warm_ups(toml: &str, file: &[u8]) -> Result<Vec<Example>, Fault> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let manifest = format!("version = 1\nartifact = 'm'\n{toml}");
        for (name, content) in [("model.toml", manifest.as_bytes()), ("m", b"m"), ("warmup/x", file)] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        let bytes = zip.finish().unwrap().into_inner();
        Bundle::open(bytes.into(), BundleLimits::default())?.warm_ups()
    }

    #[test]
    fn tensors_are_filled() {
        for datatype in Datatype::ALL {
            for fill in ["zeros", "random"] {
                let toml = format!(
                    "[[warmup]]\ncount = 2\ninputs = [{{ name = 'x', datatype = '{datatype}', shape = [2, 3], fill = '{fill}' }}]"
                );
                let examples = warm_ups(&toml, b"").unwrap();
                assert_eq!((examples.len(), examples[0].outputs.len()), (2, 0));
                let tensor = &examples[1].inputs[0].tensor;
                assert_eq!((tensor.datatype(), tensor.shape()), (datatype, &[2, 3][..]));
                if let Some(values) = tensor.to_f64() {
                    assert!(values.iter().all(|value| (0.0..1.0).contains(value)), "{datatype}: {values:?}");
                    assert_eq!(values.iter().all(|value| *value == 0.0), fill == "zeros", "{datatype}");
                }
            }
        }
        let toml = "[[warmup]]\ninputs = [{ name = 'x', datatype = 'FP32', shape = [1], file = 'warmup/x' }]";
        let examples = warm_ups(toml, &2.5_f32.to_le_bytes()).unwrap();
        assert_eq!(examples[0].inputs[0].tensor.values::<f32>().unwrap()[..], [2.5]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let check = |toml: &str, expected: &str| {
            let fault = warm_ups(&format!("[[warmup]]\nname = 'w'\n{toml}"), b"abc").unwrap_err().text;
            assert!(fault.contains(expected), "{fault}");
        };
        let input = |rest: &str| format!("inputs = [{{ name = 'x', datatype = 'FP32', {rest} }}]");
        check(&input("shape = [1], file = 'warmup/x'"), "model.toml: warmup 1 `w`: input `x`");
        check(&input("shape = [1], file = 'y'"), "`y` is not in the bundle");
        check(&input("shape = [1], file = 'y', fill = 'zeros'"), "expected one of");
        check(&input("shape = [100000, 100000]"), "more than 268435456 bytes");
        check(&input("shape = [-1]"), "warmup 1");
        check(&format!("count = 1001\n{}", input("shape = [1]")), "more than 1000 requests");
        check("inputs = []\nfoo = 1", "unknown field `foo`");
    }
}
