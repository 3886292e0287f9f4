//! What is asked during a load, and what each version has to answer.
//!
//! Where the versions came with the same examples, these are the questions and their golden answers. For
//! a version without them the server itself is asked at rest, twice, and what it says is taken as right:
//! that finds answers that change or get mixed up, not a model that is wrong by itself.

use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};
use serde::Serialize;
use tenon_codec::Limits;
use tenon_codec::oip::{self, Encoded, Form, InferRequest};
use tenon_contract::signature::Dim;
use tenon_contract::{
    Datatype, Digest, Examples, NamedTensor, ServiceName, Signature, Tensor, TensorSpec, Tolerance, VersionId,
};

use super::connection::{Shot, Target};
use crate::{Client, ClientError};

/// Size drawn for a free dimension that is neither batch nor picture.
const FREE: i64 = 8;
/// Height and width drawn for pictures of free size.
const PICTURE: i64 = 300;
/// Above so many bytes of input, tensors are sent binary.
const BINARY_FROM: usize = 64 << 10;

/// Where right answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The examples that the version was proven on.
    Golden,
    /// The server at rest, before the load.
    Recorded,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Golden => "golden examples",
            Self::Recorded => "recorded from the server at rest",
        })
    }
}

/// The questions of a load: inputs, and how they are sent.
#[derive(Clone, Debug)]
pub struct Questions {
    /// The inputs, one request each.
    pub inputs: Vec<Vec<NamedTensor>>,
    /// Whether tensors go and come as JSON or binary.
    pub form: Form,
}

/// What one version has to answer.
#[derive(Clone, Debug)]
pub struct Known {
    /// The version.
    pub version: VersionId,
    /// Its digest.
    pub digest: Digest,
    /// Where its answers come from.
    pub origin: Origin,
    /// The right outputs, one for each question.
    pub right: Vec<Vec<NamedTensor>>,
    /// How far an answer may be off.
    pub tolerance: Tolerance,
}

impl Questions {
    /// The first `count` inputs of the examples, or synthetic ones where there are none.
    pub fn new(examples: Option<&Examples>, signature: &Signature, count: usize, form: Option<Form>) -> Self {
        let inputs: Vec<_> = match examples.filter(|examples| !examples.examples.is_empty()) {
            Some(golden) => {
                golden.examples.iter().take(count).map(|example| example.inputs.clone()).collect()
            }
            None => synthetic(signature, count),
        };
        let largest = inputs.iter().map(|tensors| bytes_of(tensors)).max().unwrap_or(0);
        let needs_binary =
            signature.inputs.iter().any(|spec| matches!(spec.datatype, Datatype::Fp16 | Datatype::Bf16));
        let fitting = if largest > BINARY_FROM || needs_binary { Form::Binary } else { Form::Json };
        Self { inputs, form: form.unwrap_or(fitting) }
    }

    /// Id that the request number `index` bears.
    pub fn id(index: usize) -> String {
        format!("q{index}")
    }

    /// The request number `index`.
    ///
    /// # Errors
    /// Its tensors cannot be written.
    pub fn encode(&self, index: usize) -> Result<Encoded, ClientError> {
        let request = InferRequest {
            id: Some(Self::id(index)),
            inputs: self.inputs[index].clone(),
            binary_output: self.form == Form::Binary,
            ..InferRequest::default()
        };
        oip::encode_request(&request, self.form).map_err(|fault| ClientError::Local(fault.to_string()))
    }

    /// All of them, ready to be sent.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn shots(&self, target: &Target, service: &ServiceName) -> Result<Vec<Shot>, ClientError> {
        (0..self.inputs.len()).map(|index| target.infer(service, self.encode(index)?)).collect()
    }

    /// The answers of `version` to these questions out of its examples, where they hold all of them.
    pub fn golden(&self, version: &VersionId, digest: Digest, examples: &Examples) -> Option<Known> {
        let answer = |inputs: &Vec<NamedTensor>| {
            let example = examples.examples.iter().find(|example| example.inputs == *inputs)?;
            Some(example.outputs.clone())
        };
        let right = self.inputs.iter().map(answer).collect::<Option<Vec<_>>>()?;
        let (version, tolerance) = (version.clone(), examples.tolerance);
        Some(Known { version, digest, origin: Origin::Golden, right, tolerance })
    }

    /// What the server answers at rest, while it serves `version`.
    ///
    /// # Errors
    /// It refuses, another version answers, or the same question is answered in two ways.
    pub async fn record(
        &self,
        client: &Client,
        service: &ServiceName,
        version: &VersionId,
        digest: Digest,
    ) -> Result<Known, ClientError> {
        let tolerance = Tolerance::default();
        let mut right = Vec::new();
        for index in 0..self.inputs.len() {
            let first = self.ask(client, service, version, index).await?;
            let second = self.ask(client, service, version, index).await?;
            compare(&second, &first, tolerance).map_err(|text| {
                ClientError::Local(format!(
                    "{version} answers question {index} in two ways, it cannot be judged: {text}"
                ))
            })?;
            right.push(first);
        }
        Ok(Known { version: version.clone(), digest, origin: Origin::Recorded, right, tolerance })
    }

    async fn ask(
        &self,
        client: &Client,
        service: &ServiceName,
        version: &VersionId,
        index: usize,
    ) -> Result<Vec<NamedTensor>, ClientError> {
        let called = client.infer(service, self.encode(index)?).await?;
        if called.answered.version != version.to_string() {
            let found = called.answered.version;
            return Err(ClientError::unexpected(
                "record answers",
                format!("expected {version} to answer, got `{found}`"),
            ));
        }
        let answer = oip::decode_response(called.body, called.json_length, &wide());
        Ok(answer.map_err(|fault| ClientError::unexpected("record answers", fault.to_string()))?.outputs)
    }
}

/// Limits for answers of a server that is trusted to be measured.
pub(super) fn wide() -> Limits {
    Limits { payload_bytes: 1 << 30, ..Limits::default() }
}

/// Whether `found` holds every output of `right`, within `tolerance`.
pub(super) fn compare(
    found: &[NamedTensor],
    right: &[NamedTensor],
    tolerance: Tolerance,
) -> Result<(), String> {
    for expected in right {
        let output = found.iter().find(|output| output.name == expected.name);
        let output = output.ok_or_else(|| format!("output `{}` is missing", expected.name))?;
        output
            .tensor
            .matches(&expected.tensor, tolerance)
            .map_err(|mismatch| format!("output `{}`: {mismatch}", expected.name))?;
    }
    Ok(())
}

fn bytes_of(tensors: &[NamedTensor]) -> usize {
    tensors.iter().map(|named| named.tensor.payload().len()).sum()
}

/// `count` requests drawn from a signature, the same ones each time: random pixels for UINT8, numbers
/// between 0 and 1 for floats, small ones for integers.
pub fn synthetic(signature: &Signature, count: usize) -> Vec<Vec<NamedTensor>> {
    let mut random = Random(0x7e_0e);
    (0..count).map(|_| signature.inputs.iter().map(|spec| draw(spec, &mut random)).collect()).collect()
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Sizes for the dimensions of a spec: one row, pictures of a fair size.
fn sizes(spec: &TensorSpec) -> Vec<i64> {
    let is_picture = spec.shape.len() == 4;
    let size = |(index, dim): (usize, &Dim)| match dim.size() {
        Some(fixed) => fixed,
        None if index == 0 => 1,
        // Channels stand second or last; a free one is drawn as three colours.
        None if is_picture && index == 3 && spec.shape[1].size().is_none() => 3,
        None if is_picture => PICTURE,
        None => FREE,
    };
    spec.shape.iter().enumerate().map(size).collect()
}

fn draw(spec: &TensorSpec, random: &mut Random) -> NamedTensor {
    let shape = sizes(spec);
    let elements = shape.iter().product::<i64>();
    let mut payload = Vec::new();
    for _ in 0..elements {
        match spec.datatype {
            Datatype::Bool => payload.push(random.below(2) as u8),
            Datatype::Uint8 => payload.push(random.below(256) as u8),
            Datatype::Fp16 => payload.extend(f16::from_f64(random.unit()).to_le_bytes()),
            Datatype::Bf16 => payload.extend(bf16::from_f64(random.unit()).to_le_bytes()),
            Datatype::Fp32 => payload.extend((random.unit() as f32).to_le_bytes()),
            Datatype::Fp64 => payload.extend(random.unit().to_le_bytes()),
            Datatype::Bytes => {
                let word = format!("word{}", random.below(1000));
                tenon_contract::tensor::push_element(&mut payload, word.as_bytes());
            }
            integer => {
                let size = integer.size().unwrap_or(1);
                payload.extend(&random.below(10).to_le_bytes()[..size]);
            }
        }
    }
    let tensor = Tensor::new(spec.datatype, shape, Bytes::from(payload));
    NamedTensor::new(spec.name.clone(), tensor.expect("as many elements as the shape says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(inputs: &[(&str, Datatype, &[i64])]) -> Signature {
        let specs = inputs.iter().map(|(name, datatype, shape)| TensorSpec::new(name, *datatype, shape));
        Signature { inputs: specs.collect(), outputs: Vec::new() }
    }

    #[test]
    fn synthetic_inputs_fit_their_signature_and_repeat() {
        let every: Vec<(&str, Datatype, &[i64])> =
            Datatype::ALL.iter().map(|datatype| (datatype.name(), *datatype, [-1, 3].as_slice())).collect();
        let signature = signature(&every);
        let drawn = synthetic(&signature, 3);
        assert_eq!(drawn, synthetic(&signature, 3));
        assert_ne!(drawn[0], drawn[1]);
        for inputs in drawn {
            assert_eq!(signature.bind(inputs).unwrap().rows(), 1);
        }
    }

    #[test]
    fn free_dimensions_are_drawn_with_sense() {
        let check = |shape: &[i64], expected: &[i64]| {
            assert_eq!(sizes(&TensorSpec::new("x", Datatype::Uint8, shape)), expected, "{shape:?}");
        };
        check(&[-1, 64], &[1, 64]);
        check(&[1, -1, -1, 3], &[1, 300, 300, 3]);
        check(&[-1, -1, -1, -1], &[1, 300, 300, 3]);
        check(&[-1, 3, -1, -1], &[1, 3, 300, 300]);
        check(&[-1, -1], &[1, 8]);
        check(&[], &[]);
    }

    #[test]
    fn large_inputs_go_binary() {
        let form =
            |shape: &[i64]| Questions::new(None, &signature(&[("x", Datatype::Fp32, shape)]), 1, None).form;
        assert_eq!((form(&[1, 64]), form(&[1, 3, 416, 416])), (Form::Json, Form::Binary));
    }
}
