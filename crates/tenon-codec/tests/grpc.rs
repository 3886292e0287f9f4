//! `ModelInferRequest` and `ModelInferResponse` by hand and by the generated types: the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use tenon_codec::Limits;
use tenon_codec::grpc::inference::infer_parameter::ParameterChoice;
use tenon_codec::grpc::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use tenon_codec::grpc::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use tenon_codec::grpc::{
    Contents, InferCall, decode_request, encode_response, encode_streamed, encode_streamed_error, names_of,
};
use tenon_codec::oip::Answer;
use tenon_contract::{Datatype, Fault, FaultKind, NamedTensor, Parameter, Parameters, Tensor};

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

fn request(inputs: Vec<InferInputTensor>, raw: &[&[u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".to_owned(),
        inputs,
        raw_input_contents: raw.iter().map(|raw| Bytes::copy_from_slice(raw)).collect(),
        ..ModelInferRequest::default()
    }
}

fn decoded(request: &ModelInferRequest) -> Result<InferCall, Fault> {
    decode_request(&request.encode_to_vec().into(), &Limits::default())
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

#[test]
fn everything_but_tensors() {
    let choices = [
        ("yes", ParameterChoice::BoolParam(true)),
        ("minus", ParameterChoice::Int64Param(-5)),
        ("text", ParameterChoice::StringParam("é".to_owned())),
        ("half", ParameterChoice::DoubleParam(0.5)),
        ("huge", ParameterChoice::Uint64Param(u64::MAX)),
        ("triton_enable_empty_final_response", ParameterChoice::BoolParam(true)),
        ("binary_data_output", ParameterChoice::BoolParam(false)),
    ];
    let asked = |name: &str, classes| InferRequestedOutputTensor {
        name: name.to_owned(),
        parameters: BTreeMap::from([(
            "classification".to_owned(),
            parameter(ParameterChoice::Int64Param(classes)),
        )]),
    };
    let message = ModelInferRequest {
        model_version: "3".to_owned(),
        id: "i".to_owned(),
        parameters: choices.into_iter().map(|(name, choice)| (name.to_owned(), parameter(choice))).collect(),
        outputs: vec![asked("y", 2), asked("z", 0)],
        ..request(vec![], &[])
    };
    let call = decoded(&message).unwrap();
    assert_eq!((call.model_name.as_str(), call.model_version.as_str()), ("m", "3"));
    assert_eq!(call.request.id.as_deref(), Some("i"));
    assert!(call.marks_final && !call.request.binary_output);
    let expected = Parameters::from([
        ("yes".to_owned(), Parameter::Bool(true)),
        ("minus".to_owned(), Parameter::Int(-5)),
        ("text".to_owned(), Parameter::String("é".to_owned())),
        ("half".to_owned(), Parameter::Double(0.5)),
        ("huge".to_owned(), Parameter::Uint(u64::MAX)),
    ]);
    assert_eq!(call.request.parameters, expected);
    let classes: Vec<_> = call.request.outputs.iter().map(|ask| (&*ask.name, ask.classification)).collect();
    assert_eq!(classes, [("y", Some(2)), ("z", None)]);
    assert_eq!(names_of(&message.encode_to_vec()), ("m".to_owned(), "i".to_owned()));
}

#[test]
fn typed_contents_of_every_datatype() {
    let check = |datatype: Datatype, contents: InferTensorContents, expected: Result<Tensor, &str>| {
        let mut input = input("x", datatype.name(), &[2]);
        input.contents = Some(contents);
        let found = decoded(&request(vec![input], &[]));
        let found = found.map(|call| call.request.inputs[0].tensor.clone()).map_err(|fault| fault.text);
        let expected = expected.map_err(|text| format!("read request: input `x`: {text}"));
        assert_eq!(found, expected, "{datatype}");
    };
    let contents = InferTensorContents::default;
    let two = |payload: &[u8], datatype| Tensor::new(datatype, vec![2], Bytes::copy_from_slice(payload));
    let bools = InferTensorContents { bool_contents: vec![true, false], ..contents() };
    check(Datatype::Bool, bools, Ok(two(&[1, 0], Datatype::Bool).unwrap()));
    let ints = |ints: &[i32]| InferTensorContents { int_contents: ints.to_vec(), ..contents() };
    check(Datatype::Int8, ints(&[-128, 127]), Ok(Tensor::from_values(vec![2], vec![-128i8, 127]).unwrap()));
    check(Datatype::Int8, ints(&[0, 128]), Err("element 1 is out of the range of INT8"));
    check(Datatype::Int16, ints(&[-9, 9]), Ok(Tensor::from_values(vec![2], vec![-9i16, 9]).unwrap()));
    check(
        Datatype::Int32,
        ints(&[i32::MIN, 9]),
        Ok(Tensor::from_values(vec![2], vec![i32::MIN, 9]).unwrap()),
    );
    let longs = InferTensorContents { int64_contents: vec![i64::MIN, 1], ..contents() };
    check(Datatype::Int64, longs.clone(), Ok(Tensor::from_values(vec![2], vec![i64::MIN, 1]).unwrap()));
    check(
        Datatype::Int32,
        longs,
        Err("expected the elements of INT32 in `int_contents`, found some in `int64_contents`"),
    );
    let uints = |uints: &[u32]| InferTensorContents { uint_contents: uints.to_vec(), ..contents() };
    check(Datatype::Uint8, uints(&[0, 255]), Ok(Tensor::from_values(vec![2], vec![0u8, 255]).unwrap()));
    check(Datatype::Uint16, uints(&[0, 1 << 16]), Err("element 1 is out of the range of UINT16"));
    check(
        Datatype::Uint32,
        uints(&[0, u32::MAX]),
        Ok(Tensor::from_values(vec![2], vec![0, u32::MAX]).unwrap()),
    );
    let ulongs = InferTensorContents { uint64_contents: vec![u64::MAX, 1], ..contents() };
    check(Datatype::Uint64, ulongs, Ok(Tensor::from_values(vec![2], vec![u64::MAX, 1]).unwrap()));
    let floats = |floats: &[f32]| InferTensorContents { fp32_contents: floats.to_vec(), ..contents() };
    check(
        Datatype::Fp32,
        floats(&[0.5, -1.0]),
        Ok(Tensor::from_values(vec![2], vec![0.5f32, -1.0]).unwrap()),
    );
    check(Datatype::Fp32, floats(&[0.5]), Err("expected 2 elements for the shape [2], found 1"));
    check(Datatype::Fp32, floats(&[0.5; 3]), Err("expected 2 elements, found more"));
    check(
        Datatype::Fp16,
        floats(&[0.5, 1.0]),
        Err("FP16 has no field in typed contents; send it in raw contents"),
    );
    let doubles = InferTensorContents { fp64_contents: vec![0.1, 2.0], ..contents() };
    check(Datatype::Fp64, doubles, Ok(Tensor::from_values(vec![2], vec![0.1f64, 2.0]).unwrap()));
    let strings = [Bytes::from_static(b""), Bytes::from_static(b"ab")];
    let bytes = InferTensorContents { bytes_contents: strings.to_vec(), ..contents() };
    check(Datatype::Bytes, bytes, Ok(Tensor::from_strings(vec![2], &strings).unwrap()));
}

#[test]
fn raw_contents_are_shared_and_complete() {
    let floats: Vec<u8> = [1f32, 2.0].iter().flat_map(|float| float.to_le_bytes()).collect();
    let message: Bytes = request(vec![input("x", "FP32", &[2])], &[&floats]).encode_to_vec().into();
    let call = decode_request(&message, &Limits::default()).unwrap();
    let payload = call.request.inputs[0].tensor.payload();
    assert_eq!(payload, &floats);
    assert!(message.as_ptr_range().contains(&payload.as_ptr()), "the payload is a part of the message");

    let check = |message: ModelInferRequest, kind, expected: &str| {
        let fault = decoded(&message).unwrap_err();
        assert_eq!((fault.kind, fault.text.as_str()), (kind, expected));
    };
    let x = || input("x", "FP32", &[2]);
    check(
        request(vec![x(), x()], &[&floats]),
        FaultKind::Invalid,
        "read request: expected 2 raw_input_contents, one for each input, found 1",
    );
    let mut both = x();
    both.contents = Some(InferTensorContents { fp32_contents: vec![1.0], ..Default::default() });
    check(
        request(vec![both], &[&floats]),
        FaultKind::Invalid,
        "read request: input `x`: expected `contents` or raw_input_contents, found both",
    );
    check(
        request(vec![input("x", "FP32", &[3])], &[&floats]),
        FaultKind::Invalid,
        "read request: input `x`: shape [3] of FP32 needs 12 bytes, got 8",
    );
    let mut shared = x();
    let region = parameter(ParameterChoice::StringParam("r".to_owned()));
    shared.parameters.insert("shared_memory_region".to_owned(), region);
    check(
        request(vec![shared], &[]),
        FaultKind::Unsupported,
        "read request: input 0: shared memory is not supported: send the data with the request",
    );
    check(
        request(vec![input("x", "FP31", &[2])], &[&floats]),
        FaultKind::Invalid,
        "read request: input 0: unknown datatype `FP31`; known are BOOL, UINT8..UINT64, INT8..INT64, FP16, BF16, \
         FP32, FP64, BYTES",
    );
}

#[test]
fn limits_hold() {
    let limits = Limits { tensors: 2, rank: 3, payload_bytes: 64, parameters: 1, ..Limits::default() };
    let check = |message: ModelInferRequest, name: &str| {
        let fault = decode_request(&message.encode_to_vec().into(), &limits).unwrap_err();
        assert_eq!(fault.kind, FaultKind::TooLarge, "{fault}");
        assert!(fault.text.contains(name), "{fault}");
    };
    let typed = |shape: &[i64], longs: usize| InferInputTensor {
        contents: Some(InferTensorContents { int64_contents: vec![1; longs], ..Default::default() }),
        ..input("x", "INT64", shape)
    };
    check(request(vec![typed(&[0], 0); 3], &[]), "tensors of 2");
    check(request(vec![], &[b"", b"", b""]), "tensors of 2");
    check(request(vec![typed(&[1; 4], 1)], &[]), "rank of 3");
    check(request(vec![typed(&[9], 9)], &[]), "payload_bytes of 64");
    check(request(vec![typed(&[5], 5), typed(&[5], 5)], &[]), "payload_bytes of 64");
    check(request(vec![input("x", "UINT8", &[65])], &[&[0; 65]]), "payload_bytes of 64");
    let mut many = request(vec![], &[]);
    for name in ["a", "b"] {
        many.parameters.insert(name.to_owned(), parameter(ParameterChoice::BoolParam(true)));
    }
    check(many, "parameters of 1");
}

fn tensors() -> Vec<NamedTensor> {
    vec![
        NamedTensor::new("f", Tensor::from_values(vec![1, 2], vec![1.5f32, -2.0]).unwrap()),
        NamedTensor::new("i", Tensor::from_values(vec![2], vec![-3i32, 70_000]).unwrap()),
        NamedTensor::new("u", Tensor::from_values(vec![1], vec![200u8]).unwrap()),
        NamedTensor::new("l", Tensor::from_values(vec![], vec![i64::MIN]).unwrap()),
        NamedTensor::new("b", Tensor::from_strings(vec![2], &["", "é"]).unwrap()),
        NamedTensor::new("t", Tensor::new(Datatype::Bool, vec![2], Bytes::from_static(&[1, 0])).unwrap()),
        NamedTensor::new("none", Tensor::from_values(vec![0, 7], Vec::<i16>::new()).unwrap()),
    ]
}

fn whole(message: tenon_codec::grpc::Message, room: usize) -> Vec<u8> {
    assert_eq!(message.head[..room], vec![0; room]);
    let mut bytes = message.head[room..].to_vec();
    message.pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    bytes
}

#[test]
fn answers_are_what_the_generated_types_read() {
    let mut outputs = tensors();
    let large = Tensor::from_values(vec![10_000], vec![7f32; 10_000]).unwrap();
    let parameters = Parameters::from([("n".to_owned(), Parameter::Int(0))]);
    for is_large in [false, true] {
        if is_large {
            outputs.push(NamedTensor::new("large", large.clone()));
            outputs.push(NamedTensor::new("small", Tensor::from_values(vec![1], vec![1u64]).unwrap()));
        }
        let answer = Answer {
            model_name: "m",
            model_version: Some("2"),
            id: Some("i"),
            parameters: &parameters,
            outputs: &outputs,
        };
        let raw = encode_response(&answer, Contents::Raw, 5).unwrap();
        assert_eq!(raw.pieces.iter().any(|piece| piece.as_ptr() == large.payload().as_ptr()), is_large);
        let read = ModelInferResponse::decode(&whole(raw, 5)[..]).unwrap();
        assert_eq!(
            (read.model_name.as_str(), read.model_version.as_str(), read.id.as_str()),
            ("m", "2", "i")
        );
        assert_eq!(read.parameters["n"].parameter_choice, Some(ParameterChoice::Int64Param(0)));
        for ((tensor, raw), expected) in read.outputs.iter().zip(&read.raw_output_contents).zip(&outputs) {
            assert_eq!(raw, expected.tensor.payload());
            assert_eq!((&*tensor.name, &*tensor.shape), (&*expected.name, expected.tensor.shape()));
            assert_eq!(tensor.datatype, expected.tensor.datatype().name());
        }
        assert_eq!(read.raw_output_contents.len(), outputs.len());
        let streamed = encode_streamed(&answer, Contents::Raw, 5).unwrap();
        let streamed = ModelStreamInferResponse::decode(&whole(streamed, 5)[..]).unwrap();
        assert_eq!(streamed.infer_response, Some(read));
        let error = encode_streamed_error("no", &Answer { outputs: &[], ..answer }, 0);
        let error = ModelStreamInferResponse::decode(&whole(error, 0)[..]).unwrap();
        assert_eq!((error.error_message.as_str(), error.infer_response.unwrap().id.as_str()), ("no", "i"));
    }
}

#[test]
fn typed_answers_are_read_back_by_our_own_reader() {
    let outputs = tensors();
    let parameters = Parameters::new();
    let answer =
        Answer { model_name: "m", model_version: None, id: None, parameters: &parameters, outputs: &outputs };
    let written = whole(encode_response(&answer, Contents::Typed, 0).unwrap(), 0);
    let read = ModelInferResponse::decode(&written[..]).unwrap();
    assert_eq!(read.outputs[1].contents.as_ref().unwrap().int_contents, [-3, 70_000]);
    // Outputs have the same fields as inputs.
    let as_inputs = read.outputs.into_iter().map(|output| InferInputTensor {
        name: output.name,
        datatype: output.datatype,
        shape: output.shape,
        parameters: BTreeMap::new(),
        contents: output.contents,
    });
    assert_eq!(decoded(&request(as_inputs.collect(), &[])).unwrap().request.inputs, outputs);
    let half =
        [NamedTensor::new("h", Tensor::new(Datatype::Fp16, vec![1], Bytes::from_static(&[0, 0])).unwrap())];
    let fault = encode_response(&Answer { outputs: &half, ..answer }, Contents::Typed, 0).unwrap_err();
    assert_eq!(fault.text, "write output `h`: FP16 has no field in typed contents; send it in raw contents");
}

proptest! {
    /// Whatever the bytes, nothing panics, and what our reader takes the generated one takes too.
    #[test]
    fn no_bytes_break_the_reader(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        if keep {
            // Something near a request: one with a byte changed.
            let mut near = request(vec![input("x", "INT16", &[2, 1])], &[&[1, 2, 3, 4]]);
            near.id = "id".to_owned();
            let mut near = near.encode_to_vec();
            let at = cut.index(near.len());
            near[at] = bytes.first().copied().unwrap_or(0xff);
            bytes = near;
        }
        let _ = names_of(&bytes);
        if decode_request(&bytes.clone().into(), &Limits::default()).is_ok() {
            prop_assert!(ModelInferRequest::decode(&bytes[..]).is_ok());
        }
    }
}
