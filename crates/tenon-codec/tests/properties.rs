//! What holds for all values: what is written reads back the same, and our reader agrees with `serde_json`.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tenon_codec::oip::{self, Answer, Form, InferRequest, InferResponse, OutputAsk};
use tenon_codec::{Limits, native};
use tenon_contract::{Contract, Datatype, NamedTensor, Parameter, Parameters, Signature, Tensor, TensorSpec};

/// A tensor of any datatype with any bits, but for a NaN's, which JSON does not keep.
fn tensor() -> impl Strategy<Value = Tensor> {
    let shape = vec(0..4i64, 0..4);
    (0..Datatype::ALL.len(), shape, any::<u64>()).prop_flat_map(|(datatype, shape, _)| {
        let datatype = Datatype::ALL[datatype];
        let elements = shape.iter().product::<i64>() as usize;
        match datatype.size() {
            None => vec(".{0,8}", elements)
                .prop_map(move |texts| Tensor::from_strings(shape.clone(), &texts).unwrap())
                .boxed(),
            Some(size) => vec(any::<u8>(), elements * size)
                .prop_map(move |bytes| canonical(datatype, shape.clone(), bytes))
                .boxed(),
        }
    })
}

fn canonical(datatype: Datatype, shape: Vec<i64>, mut bytes: Vec<u8>) -> Tensor {
    if datatype == Datatype::Bool {
        bytes.iter_mut().for_each(|byte| *byte &= 1);
    }
    let tensor = Tensor::new(datatype, shape.clone(), bytes.clone().into()).unwrap();
    let size = datatype.size().unwrap();
    for (at, value) in tensor.to_f64().unwrap_or_default().into_iter().enumerate() {
        if value.is_nan() {
            bytes[at * size..][..size].fill(0);
        }
    }
    Tensor::new(datatype, shape, bytes.into()).unwrap()
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let value = prop_oneof![
        any::<bool>().prop_map(Parameter::Bool),
        any::<i64>().prop_map(Parameter::Int),
        (1 + i64::MAX as u64..).prop_map(Parameter::Uint),
        any::<f64>().prop_filter("NaN is not equal", |value| !value.is_nan()).prop_map(Parameter::Double),
        ".{0,8}".prop_map(Parameter::String),
    ];
    proptest::collection::btree_map(".{0,8}", value, 0..4)
}

fn request() -> impl Strategy<Value = InferRequest> {
    let ask = (".{0,4}", any::<Option<bool>>(), any::<Option<u32>>());
    let ask = ask.prop_map(|(name, binary, classification)| OutputAsk {
        name: name.into(),
        binary,
        classification,
    });
    let input = (".{0,8}", tensor()).prop_map(|(name, tensor)| NamedTensor::new(name, tensor));
    (proptest::option::of(".{0,8}"), parameters(), vec(input, 0..4), vec(ask, 0..3), any::<bool>()).prop_map(
        |(id, parameters, inputs, outputs, binary_output)| InferRequest {
            id,
            parameters,
            inputs,
            outputs,
            binary_output,
        },
    )
}

/// Random JSON, as values of the safe twin.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((".{0,4}", inner), 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Whether our reader takes `text` where it reads over a value.
fn reads_over(text: &str) -> bool {
    let document = format!(r#"{{"inputs":[],"unknown":{text}}}"#);
    oip::decode_request(document.into(), None, &Limits::default()).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_read_back(request in request(), binary in any::<bool>()) {
        let encoded = oip::encode_request(&request, if binary { Form::Binary } else { Form::Json }).unwrap();
        let (json_length, body) = (encoded.json_length, encoded.into_body());
        let decoded = oip::decode_request(body, json_length, &Limits::default()).unwrap();
        prop_assert_eq!(decoded, request);
    }

    #[test]
    fn answers_read_back(request in request(), binary in any::<bool>()) {
        let answer = Answer {
            model_name: "m",
            model_version: request.id.as_deref(),
            id: request.id.as_deref(),
            parameters: &request.parameters,
            outputs: &request.inputs,
        };
        let encoded = oip::encode_response(&answer, |_| if binary { Form::Binary } else { Form::Json }).unwrap();
        let (json_length, body) = (encoded.json_length, encoded.into_body());
        let expected = InferResponse {
            model_name: "m".into(),
            model_version: request.id.clone(),
            id: request.id,
            parameters: request.parameters,
            outputs: request.inputs,
        };
        prop_assert_eq!(oip::decode_response(body, json_length, &Limits::default()).unwrap(), expected);
    }

    #[test]
    fn messages_read_back(tensor in tensor(), fixed in any::<bool>()) {
        let shape: Vec<i64> = tensor.shape().iter().map(|size| if fixed { *size } else { -1 }).collect();
        let spec = TensorSpec::new("x", tensor.datatype(), &shape);
        let contract = Contract::of_signature(&Signature { inputs: vec![spec], outputs: vec![] });
        let message = &contract.operations[0].input;
        let tensors = [NamedTensor::new("x", tensor)];
        let encoded = native::encode(message, &tensors).unwrap();
        prop_assert_eq!(native::decode(message, &encoded, &Limits::default()).unwrap(), tensors);
    }

    #[test]
    fn serde_json_reads_what_we_write(request in request()) {
        let finite = |named: &NamedTensor| named.tensor.first_not_finite().is_none();
        let finite_parameter = |value: &Parameter| !matches!(value, Parameter::Double(value) if !value.is_finite());
        prop_assume!(request.inputs.iter().all(finite) && request.parameters.values().all(finite_parameter));
        let body = oip::encode_request(&request, Form::Json).unwrap().into_body();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        for (written, input) in value["inputs"].as_array().unwrap().iter().zip(&request.inputs) {
            prop_assert_eq!(written["name"].as_str().unwrap(), &*input.name);
            let data = written["data"].as_array().unwrap();
            prop_assert_eq!(data.len(), input.tensor.elements());
            match input.tensor.datatype() {
                Datatype::Uint64 => for (value, expected) in data.iter().zip(&*input.tensor.values::<u64>().unwrap()) {
                    prop_assert_eq!(value.as_u64(), Some(*expected));
                },
                Datatype::Int64 => for (value, expected) in data.iter().zip(&*input.tensor.values::<i64>().unwrap()) {
                    prop_assert_eq!(value.as_i64(), Some(*expected));
                },
                Datatype::Fp64 => for (value, expected) in data.iter().zip(&*input.tensor.values::<f64>().unwrap()) {
                    prop_assert_eq!(value.as_f64(), Some(*expected));
                },
                Datatype::Bytes => for (value, expected) in data.iter().zip(input.tensor.strings().unwrap()) {
                    prop_assert_eq!(value.as_str().map(str::as_bytes), Some(expected));
                },
                _ => {}
            }
        }
    }

    #[test]
    fn we_read_what_serde_json_writes(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert!(reads_over(&text), "{text}");
    }

    #[test]
    fn we_refuse_what_serde_json_refuses(value in json(), at in any::<prop::sample::Index>(), char in "[\\[\\]{},:\"\\\\0-9a-z.+-]") {
        let mut text = serde_json::to_string(&value).unwrap();
        let at = at.index(text.len());
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
        text.replace_range(at..=at, &char);
        // Numbers too large for an f64 are no matter where a value is read over.
        let expected = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(_) => true,
            Err(error) if error.to_string().starts_with("number out of range") => return Ok(()),
            Err(_) => false,
        };
        prop_assert_eq!(reads_over(&text), expected, "{}", text);
    }

    #[test]
    fn floats_are_those_of_the_standard_library(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?") {
        let document = |datatype: &str| -> Bytes {
            format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"{datatype}","data":[{text}]}}]}}"#).into()
        };
        let decode = |datatype: &str| oip::decode_request(document(datatype), None, &Limits::default());
        let double = decode("FP64").unwrap().inputs[0].tensor.values::<f64>().unwrap()[0];
        prop_assert_eq!(double.to_bits(), text.parse::<f64>().unwrap().to_bits());
        let expected = text.parse::<f32>().unwrap();
        match decode("FP32") {
            Ok(request) => {
                let single = request.inputs[0].tensor.values::<f32>().unwrap()[0];
                prop_assert_eq!(single.to_bits(), expected.to_bits());
            }
            Err(_) => prop_assert!(expected.is_infinite()),
        }
    }
}
