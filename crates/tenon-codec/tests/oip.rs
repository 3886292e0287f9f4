//! The Open Inference Protocol through the published interface: what is taken, what is refused, and with
//! which words.

use bytes::Bytes;
use tenon_codec::Limits;
use tenon_codec::oip::{self, Answer, Encoded, Form, InferRequest, OutputAsk, TensorMetadata};
use tenon_contract::tensor::Element;
use tenon_contract::{Datatype, Fault, FaultKind, NamedTensor, Parameter, Parameters, Tensor, TensorSpec};

fn decode(document: &str) -> Result<InferRequest, Fault> {
    oip::decode_request(Bytes::copy_from_slice(document.as_bytes()), None, &Limits::default())
}

/// One input `x` of that form.
fn input(datatype: &str, shape: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#)
}

#[track_caller]
fn takes<T: Element + PartialEq + std::fmt::Debug>(datatype: &str, shape: &str, data: &str, expected: &[T]) {
    let request = decode(&input(datatype, shape, data)).unwrap();
    let tensor = &request.inputs[0].tensor;
    assert_eq!(tensor.values::<T>().unwrap().as_ref(), expected, "{datatype}{shape} {data}");
}

#[track_caller]
fn refuses(document: &str, expected: &str) {
    let fault = decode(document).expect_err(document);
    assert_eq!(fault.text, format!("read request: {expected}"), "{document}");
}

#[track_caller]
fn refuses_data(datatype: &str, shape: &str, data: &str, expected: &str) {
    let spaced: String = shape.replace(',', ", ");
    let fault = decode(&input(datatype, shape, data)).expect_err(data);
    // The byte is told from the beginning of the data.
    let start = input(datatype, shape, "").len() - "}]}".len();
    let expected = expected
        .split_once('@')
        .map(|(before, behind)| {
            let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
            format!("{before}{}{}", start + digits.parse::<usize>().unwrap(), &behind[digits.len()..])
        })
        .unwrap_or_else(|| expected.to_owned());
    assert_eq!(fault.text, format!("read request: input `x`: data of shape {spaced}: {expected}"));
}

#[test]
fn numbers_are_exact() {
    takes("UINT64", "[2]", "[18446744073709551615, 9007199254740993]", &[u64::MAX, 9_007_199_254_740_993]);
    takes("INT64", "[2]", "[-9223372036854775808,9223372036854775807]", &[i64::MIN, i64::MAX]);
    takes("INT8", "[3]", "[-128,127,-0]", &[i8::MIN, 127, 0]);
    takes("UINT8", "[3]", "[0,255,-0]", &[0u8, 255, 0]);
    takes("INT32", "[2]", "[1.0,-2.000]", &[1i32, -2]);
    takes("BOOL", "[4]", "[true,false,1,0]", &[1u8, 0, 1, 0]);
    takes(
        "FP32",
        "[4]",
        "[0.1,16777217,3.4028235677973366e38,-0.0]",
        &[0.1f32, 16_777_216.0, f32::MAX, -0.0],
    );
    takes("FP64", "[2]", "[0.1,5e-324]", &[0.1f64, 5e-324]);
    takes(
        "FP32",
        "[4]",
        r#"[Infinity,-Infinity,"Infinity","-Infinity"]"#,
        &[f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY, f32::NEG_INFINITY],
    );
    takes("FP16", "[2]", "[0.1,65504]", &[half::f16::from_f32(0.1), half::f16::MAX]);
    takes("BF16", "[1]", "[0.1]", &[half::bf16::from_f32(0.1)]);
    for datatype in ["FP16", "BF16", "FP32", "FP64"] {
        let request = decode(&input(datatype, "[2]", r#"[NaN,"NaN"]"#)).unwrap();
        assert!(request.inputs[0].tensor.to_f64().unwrap().iter().all(|value| value.is_nan()));
    }
}

#[test]
fn data_is_flat_or_nested_as_its_shape() {
    let values = [1u8, 2, 3, 4, 5, 6];
    takes("UINT8", "[2,3]", "[1,2,3,4,5,6]", &values);
    takes("UINT8", "[2,3]", " [ [ 1 , 2 , 3 ] ,\n[4,5,\t6] ] ", &values);
    takes("UINT8", "[2,1,3]", "[[[1,2,3]],[[4,5,6]]]", &values);
    takes("UINT8", "[]", "[7]", &[7u8]);
    takes::<u8>("UINT8", "[0,3]", "[]", &[]);
    takes::<u8>("UINT8", "[2,0]", "[[],[]]", &[]);
    takes::<u8>("UINT8", "[2,0]", "[]", &[]);

    refuses_data(
        "UINT8",
        "[2,3]",
        "[[1,2,3],[4,5]]",
        "array [1]: expected 3 elements, found 2 before byte @14",
    );
    refuses_data("UINT8", "[2,3]", "[[1,2,3]]", "expected 2 elements, found 1 before byte @9");
    refuses_data(
        "UINT8",
        "[2,3]",
        "[[1,2,3,4],[5,6]]",
        "array [0]: expected 3 elements, then `]` at byte @8, found `4`",
    );
    refuses_data("UINT8", "[2]", "[1]", "expected 2 elements, found 1 before byte @3");
    refuses_data("UINT8", "[1]", "[1,2]", "expected 1 element, then `]` at byte @3, found `2`");
    refuses_data(
        "UINT8",
        "[2,1]",
        "[[1],2]",
        "array [1]: expected arrays nested 2 deep ([[...]]) at byte @5, found `2`",
    );
    refuses_data(
        "UINT8",
        "[1]",
        "[[1]]",
        "element [0]: expected UINT8, not an array: it nests deeper than its dimensions at byte @1, found `[`",
    );
    refuses_data("UINT8", "[1]", "7", "expected arrays nested 1 deep ([...]) at byte @0, found `7`");
    refuses_data("UINT8", "[2]", "[1,]", "element [1]: expected UINT8 (0 to 255) at byte @3, found `]`");
    refuses_data("UINT8", "[2]", "[1 2]", "expected `,` or `]` at byte @3, found `2`");
}

#[test]
fn what_is_out_of_range_is_named_with_its_element() {
    refuses_data(
        "UINT8",
        "[3]",
        "[1,2,256]",
        "element [2]: expected UINT8 (0 to 255) at byte @5, found `256`",
    );
    refuses_data(
        "INT8",
        "[1]",
        "[-129]",
        "element [0]: expected INT8 (-128 to 127) at byte @1, found `-129`",
    );
    refuses_data(
        "UINT64",
        "[1,1]",
        "[[18446744073709551616]]",
        "element [0][0]: expected UINT64 (0 to 18446744073709551615) at byte @2, found `18446744073709551616`",
    );
    let check = |datatype: &str, element: &str| {
        let fault = decode(&input(datatype, "[1]", &format!("[{element}]"))).expect_err(element);
        assert!(fault.text.contains("element [0]: expected "), "{}", fault.text);
    };
    for element in ["1.5", "1e2", "01", "+1", "\"1\"", "null", "true", "NaN", "{}", "99999999999999999999"] {
        check("UINT32", element);
        check("INT64", element);
    }
    check("UINT32", "-1");
    check("INT64", "9223372036854775808");
    for element in ["1e999", "-1e39", ".5", "5.", "inf", "nan", "\"nan\"", "\"1\"", "null", "--1", "1e"] {
        check("FP32", element);
    }
    check("FP16", "65520");
    check("BF16", "3.4e38");
    check("FP64", "1e309");
    check("BOOL", "2");
    check("BOOL", "truth");
    check("BYTES", "1");
}

#[test]
fn strings_have_all_escapes() {
    let check = |element: &str, expected: &str| {
        let request = decode(&input("BYTES", "[1]", &format!("[{element}]"))).unwrap();
        assert_eq!(
            request.inputs[0].tensor.strings().unwrap().next(),
            Some(expected.as_bytes()),
            "{element}"
        );
    };
    check(r#""""#, "");
    check(r#""a\"\\\/\b\f\n\r\tb""#, "a\"\\/\u{8}\u{c}\n\r\tb");
    check(r#""\u00e9\u4E2D\uD83D\uDE00\u0000""#, "é中😀\0");
    check("\"é中😀\"", "é中😀");
    for broken in
        [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\u0041""#, r#""\x""#, r#""\u12g4""#, "\"\n\"", "\"", "\"\\"]
    {
        let fault = decode(&input("BYTES", "[1]", &format!("[{broken}]"))).expect_err(broken);
        assert!(
            fault.text.contains("element [0]: expected ") && fault.text.contains("byte"),
            "{}",
            fault.text
        );
    }
}

#[test]
fn keys_come_in_any_order_and_once() {
    let document = r#" {"outputs":null,"future":{"a":[1,{"b":"]"}]},"inputs":[{"data":[["a]\"["],["b"]],
        "parameters":{"content_type":"str","other":null},"extra":[],"datatype":"BYTES","shape":[2,1],"name":"x"}],
        "parameters":{"a":1,"b":-1,"c":18446744073709551615,"d":1.5,"e":"t","f":true,"g":null,"binary_data_output":true},
        "id":"7"} "#;
    let request = decode(document).unwrap();
    let parameters: Parameters = [
        ("a", Parameter::Int(1)),
        ("b", Parameter::Int(-1)),
        ("c", Parameter::Uint(u64::MAX)),
        ("d", Parameter::Double(1.5)),
        ("e", Parameter::String("t".into())),
        ("f", Parameter::Bool(true)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let tensor = Tensor::from_strings(vec![2, 1], &["a]\"[", "b"]).unwrap();
    let expected = InferRequest {
        id: Some("7".into()),
        parameters,
        inputs: vec![NamedTensor::new("x", tensor)],
        outputs: vec![],
        binary_output: true,
    };
    assert_eq!(request, expected);

    for (document, twice) in [
        (r#"{"inputs":[],"inputs":[]}"#, "inputs"),
        (r#"{"inputs":[],"outputs":[],"outputs":[]}"#, "outputs"),
        (r#"{"inputs":[],"id":"a","id":"a"}"#, "id"),
        (r#"{"inputs":[{"name":"x","name":"x"}]}"#, "name"),
        (r#"{"inputs":[{"data":[],"data":[]}]}"#, "data"),
        (r#"{"inputs":[],"parameters":{"a":1,"\u0061":1}}"#, "parameter `a"),
    ] {
        let text = decode(document).expect_err(document).text;
        assert!(text.contains(&format!("{}` once, found it twice", twice)), "{text}");
    }
}

#[test]
fn asks_for_outputs() {
    let document = r#"{"inputs":[],"outputs":[{"name":"a"},{"parameters":{"binary_data":true,"classification":3},"name":"b"},
        {"name":"c","parameters":{"binary_data":false,"unknown":[]}}],"parameters":{"binary_data_output":true}}"#;
    let request = decode(document).unwrap();
    let ask = |name: &str, binary, classification| OutputAsk { name: name.into(), binary, classification };
    let expected = [ask("a", None, None), ask("b", Some(true), Some(3)), ask("c", Some(false), None)];
    assert_eq!(request.outputs, expected);
    let wants = |name| oip::wants_binary(&request.outputs, request.binary_output, name);
    assert_eq!([wants("a"), wants("b"), wants("c"), wants("d")], [true, true, false, true]);
}

#[test]
fn broken_documents_say_where() {
    refuses("", "expected an object at byte 0, found the end");
    refuses("[]", "expected an object at byte 0, found `[`");
    refuses("\u{feff}{}", "expected JSON at byte 0, found a byte order mark");
    refuses("{}", "expected `inputs`, found none");
    refuses(r#"{"inputs":[]} x"#, "expected the end of the document at byte 14, found `x`");
    refuses(r#"{"inputs":[],}"#, "expected a key at byte 13, found `}`");
    refuses(r#"{"inputs":[]"#, "expected `,` or `}` at byte 12, found the end");
    refuses(r#"{"inputs":{}}"#, "expected an array at byte 10, found `{`");
    refuses(r#"{"inputs":[],"x":nul}"#, "expected a value at byte 17, found `nul`");
    refuses(r#"{"inputs":[],"id":7}"#, "id: expected a string at byte 18, found `7`");
    refuses(
        r#"{"inputs":[],"parameters":{"a":18446744073709551616}}"#,
        "parameter `a`: expected a string, true, false, or a number within 64 bits at byte 31, found `18446744073709551616`",
    );
    refuses(r#"{"inputs":[{"shape":[1]}]}"#, "input 0: expected `name`, found none");
    refuses(r#"{"inputs":[{"name":"x","data":[1]}]}"#, "input `x`: expected `datatype`, found none");
    refuses(
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}"#,
        "input `x`: expected `data` or `parameters.binary_data_size`, found none",
    );
    refuses(
        r#"{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[]}]}"#,
        "input `x`: shape: expected a dimension of 0 or more at byte 32, found `-1`",
    );
    refuses(
        r#"{"inputs":[{"name":"x","datatype":"fp32"}]}"#,
        "input `x`: unknown datatype `fp32`; known are BOOL, UINT8..UINT64, INT8..INT64, FP16, BF16, FP32, FP64, BYTES (before byte 40)",
    );
    let cut = oip::decode_request(Bytes::from_static(b"{\"id\":\"\xe4\xb8"), None, &Limits::default());
    assert_eq!(cut.unwrap_err().text, "read request: expected UTF-8 at byte 7");
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    refuses(&deep, "expected values nested at most 64 deep, found deeper ones at byte 69");
    let memory = r#"{"inputs":[{"name":"x","parameters":{"shared_memory_region":"r"}}]}"#;
    assert_eq!(decode(memory).unwrap_err().kind, FaultKind::Unsupported);
}

#[test]
fn limits_are_named() {
    let limits = Limits { tensors: 1, rank: 2, payload_bytes: 16, parameters: 1, ..Limits::default() };
    let check = |document: &str, expected: &str| {
        let fault = oip::decode_request(Bytes::copy_from_slice(document.as_bytes()), None, &limits)
            .expect_err(document);
        assert_eq!(fault.kind, FaultKind::TooLarge, "{document}");
        assert!(fault.text.ends_with(expected), "{}", fault.text);
    };
    check(&input("FP32", "[5]", "[1,2,3,4,5]"), "exceeds the limit payload_bytes of 16");
    check(&input("FP32", "[1000000000000]", "[1]"), "exceeds the limit payload_bytes of 16");
    check(&input("BYTES", "[1]", "[\"0123456789abc\"]"), "exceeds the limit payload_bytes of 16");
    check(&input("FP32", "[1,1,1]", "[1]"), "exceeds the limit rank of 2");
    check(r#"{"inputs":[],"parameters":{"a":1,"b":1}}"#, "exceeds the limit parameters of 1");
    check(r#"{"inputs":[],"outputs":[{"name":"a"},{"name":"b"}]}"#, "exceeds the limit tensors of 1");
    let two = input("UINT8", "[1]", "[1]").replace("}]}", r#"},{"name":"y"}]}"#);
    check(&two, "exceeds the limit tensors of 1");
    assert_eq!(decode(&input("FP32", "[9223372036854775807,2]", "[]")).unwrap_err().kind, FaultKind::Invalid);
}

#[test]
fn binary_data_shares_the_body() {
    let json = concat!(
        r#"{"inputs":[{"name":"a","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}},"#,
        r#"{"name":"b","shape":[1],"datatype":"FP32","data":[0.5]},"#,
        r#"{"name":"c","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}]}"#
    );
    let behind = [1, 0, 0xff, 0xff, 2, 0, 0, 0, b'h', b'i'];
    let body = |behind: &[u8]| Bytes::from([json.as_bytes(), behind].concat());
    let decode = |behind: &[u8]| oip::decode_request(body(behind), Some(json.len()), &Limits::default());
    let whole = body(&behind);
    let request = oip::decode_request(whole.clone(), Some(json.len()), &Limits::default()).unwrap();
    let [a, b, c] = [0, 1, 2].map(|at: usize| &request.inputs[at].tensor);
    assert_eq!(a.values::<i16>().unwrap().as_ref(), [1, -1]);
    assert_eq!(b.values::<f32>().unwrap().as_ref(), [0.5]);
    assert_eq!(c.strings().unwrap().collect::<Vec<_>>(), [b"hi"]);
    assert_eq!(a.payload().as_ptr(), whole[json.len()..].as_ptr(), "not copied");

    let text = |behind: &[u8]| decode(behind).unwrap_err().text;
    assert_eq!(text(&behind[..9]), "read request: tensor `c`: expected 6 bytes of binary data, found 5");
    let long = [&behind[..], &[0]].concat();
    assert_eq!(text(&long), "read request: expected 10 bytes of binary data, found 11");
    let short = oip::decode_request(whole, Some(1000), &Limits::default()).unwrap_err().text;
    assert!(short.starts_with("read request: expected 1000 bytes of JSON, found a body of "), "{short}");
    let both = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1},"data":[1]}]}"#;
    refuses(both, "input `x`: expected `data` or `parameters.binary_data_size`, found both");
    let wrong = both.replace(r#","data":[1]"#, "").replace("[1]", "[2]");
    refuses(&wrong, "tensor `x`: expected 1 bytes of binary data, found 0");
}

#[test]
fn raw_requests_take_their_shape_from_the_body() {
    let check = |datatype, shape: &[i64], body: &'static [u8], expected: Result<&[i64], &str>| {
        let spec = TensorSpec::new("x", datatype, shape);
        let decoded = oip::decode_raw(Bytes::from_static(body), &spec);
        match (decoded, expected) {
            (Ok(request), Ok(shape)) => {
                assert!(request.binary_output);
                assert_eq!(request.inputs[0].tensor.shape(), shape);
            }
            (Err(fault), Err(text)) => assert!(fault.text.contains(text), "{}", fault.text),
            (decoded, _) => panic!("{decoded:?}"),
        }
    };
    check(Datatype::Fp32, &[-1, 2], &[0; 24], Ok(&[3, 2]));
    check(Datatype::Fp32, &[2], &[0; 8], Ok(&[2]));
    check(Datatype::Fp32, &[-1], &[], Ok(&[0]));
    check(Datatype::Fp32, &[-1, 2], &[0; 20], Err("expected a multiple of 8 bytes, found 20"));
    check(Datatype::Fp32, &[-1, -1], &[0; 8], Err("at most one free dimension"));
    check(Datatype::Fp32, &[-1, 0], &[0; 8], Err("expected a multiple of 0 bytes"));
    check(Datatype::Fp32, &[2], &[0; 4], Err("needs 8 bytes, got 4"));
    check(Datatype::Bytes, &[-1, 1], b"whole", Ok(&[1, 1]));
    check(Datatype::Bytes, &[2], b"whole", Err("one element"));
}

fn answer(outputs: &[NamedTensor], form: Form) -> Result<Encoded, Fault> {
    let parameters = Parameters::from([("generation".to_owned(), Parameter::Uint(u64::MAX))]);
    let answer = Answer {
        model_name: "di\"gits",
        model_version: Some("3"),
        id: Some("7"),
        parameters: &parameters,
        outputs,
    };
    oip::encode_response(&answer, |_| form)
}

#[test]
fn answers_are_written_as_the_protocol_says() {
    let tensor = Tensor::from_values(vec![2, 2], vec![0.1f32, 1.0, f32::NAN, f32::NEG_INFINITY]).unwrap();
    let outputs = [NamedTensor::new("y", tensor)];
    let encoded = answer(&outputs, Form::Json).unwrap();
    assert_eq!(encoded.json_length, None);
    let expected = concat!(
        r#"{"model_name":"di\"gits","model_version":"3","id":"7","parameters":{"generation":18446744073709551615},"#,
        r#""outputs":[{"name":"y","shape":[2,2],"datatype":"FP32","data":[0.1,1.0,NaN,-Infinity]}]}"#
    );
    assert_eq!(encoded.into_body(), expected);

    let encoded = answer(&outputs, Form::Binary).unwrap();
    let json =
        expected.replace(r#""data":[0.1,1.0,NaN,-Infinity]"#, r#""parameters":{"binary_data_size":16}"#);
    assert_eq!(encoded.json_length, Some(json.len()));
    assert_eq!(encoded.into_body(), [json.as_bytes(), outputs[0].tensor.payload()].concat());

    let binary = [NamedTensor::new("y", Tensor::from_strings(vec![1], &[[0xff]]).unwrap())];
    assert_eq!(
        answer(&binary, Form::Json).unwrap_err().text,
        "write tensor `y` as JSON: element 0 is not UTF-8; ask for it as binary data"
    );
    assert!(answer(&binary, Form::Binary).is_ok());
}

#[test]
fn large_payloads_are_not_copied() {
    let tensor = Tensor::from_values(vec![100_000], vec![7u8; 100_000]).unwrap();
    let encoded = answer(&[NamedTensor::new("y", tensor.clone())], Form::Binary).unwrap();
    assert_eq!(encoded.payloads[0].as_ptr(), tensor.payload().as_ptr());
    assert_eq!(encoded.length(), encoded.json_length.unwrap() + 100_000);
    let (json_length, body) = (encoded.json_length, encoded.into_body());
    let read = oip::decode_response(body, json_length, &Limits::default()).unwrap();
    assert_eq!(read.outputs[0].tensor, tensor);
    assert_eq!(read.model_name, "di\"gits");
}

#[test]
fn errors_and_metadata() {
    assert_eq!(oip::decode_error(br#"{"error":"no \u0041","x":1}"#), Some("no A".into()));
    assert_eq!(oip::decode_error(b"{}"), None);
    assert_eq!(oip::decode_error(b"<html>"), None);
    let spec = TensorSpec::new("x", Datatype::Fp32, &[-1, 4]);
    let text = serde_json::to_string(&TensorMetadata::from(&spec)).unwrap();
    assert_eq!(text, r#"{"name":"x","datatype":"FP32","shape":[-1,4]}"#);
    let read: TensorMetadata = serde_json::from_str(&text).unwrap();
    assert_eq!(TensorSpec::try_from(read).unwrap(), spec);
    let wrong = TensorMetadata { shape: vec![-2], ..TensorMetadata::from(&spec) };
    assert!(TensorSpec::try_from(wrong).is_err());
}
