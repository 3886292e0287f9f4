//! Messages in JSON through the published interface.

use tenon_codec::{Limits, native};
use tenon_contract::contract::{Kind, Occurs};
use tenon_contract::{Contract, Datatype, Field, Message, NamedTensor, Signature, Tensor, TensorSpec};

/// The message of a bare model that takes these tensors.
fn message(specs: &[(&str, Datatype, &[i64])]) -> Message {
    let inputs =
        specs.iter().map(|(name, datatype, shape)| TensorSpec::new(name, *datatype, shape)).collect();
    Contract::of_signature(&Signature { inputs, outputs: vec![] }).operations.remove(0).input
}

fn decode(message: &Message, body: &str) -> Result<Vec<NamedTensor>, String> {
    native::decode(message, body.as_bytes(), &Limits::default()).map_err(|fault| fault.text)
}

fn f32s(shape: &[i64], values: &[f32]) -> Tensor {
    Tensor::from_values(shape.to_vec(), values.to_vec()).unwrap()
}

#[test]
fn the_nesting_is_the_shape() {
    let check = |shape: &[i64], body: &str, expected: Result<Tensor, &str>| {
        let decoded = decode(&message(&[("x", Datatype::Fp32, shape)]), &format!(r#"{{"x":{body}}}"#));
        let expected = expected.map(|tensor| vec![NamedTensor::new("x", tensor)]);
        assert_eq!(decoded, expected.map_err(|text| format!("read InferRequest: {text}")), "{body}");
    };
    check(&[-1, 2], "[[1,2],[3,4]]", Ok(f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0])));
    check(&[-1, -1], "[[1,2,3]]", Ok(f32s(&[1, 3], &[1.0, 2.0, 3.0])));
    check(&[], "0.5", Ok(f32s(&[], &[0.5])));
    check(&[-1, 2], "[]", Ok(f32s(&[0, 2], &[])));
    check(&[-1, -1], "[[],[]]", Ok(f32s(&[2, 0], &[])));
    check(&[-1, 2], r#"{"shape":[1,2],"data":[1,2]}"#, Ok(f32s(&[1, 2], &[1.0, 2.0])));
    check(&[-1, 2], r#"{"data":[1,2],"shape":[1,2]}"#, Ok(f32s(&[1, 2], &[1.0, 2.0])));
    check(&[-1], r#"{"b64":"AACAPwAAAEA=","shape":[2]}"#, Ok(f32s(&[2], &[1.0, 2.0])));

    // One dimension too few is not taken for a batch of one.
    check(
        &[-1, 2],
        "[1,2]",
        Err("field `x`: array [0]: expected arrays nested 2 deep ([[...]]) at byte 6, found `1`"),
    );
    check(&[-1], "1", Err("field `x`: expected arrays nested 1 deep ([...]) at byte 5, found `1`"));
    check(
        &[-1],
        "[[1]]",
        Err(
            "field `x`: element [0]: expected FP32, not an array: it nests deeper than its dimensions at byte 6, found `[`",
        ),
    );
    check(&[-1, -1], "[[1,2],[3]]", Err("field `x`: array [1]: expected 2 elements, found 1 before byte 15"));
    check(
        &[-1, 2],
        "[[1,2,3]]",
        Err("field `x`: array [0]: expected 2 elements, then `]` at byte 11, found `3`"),
    );
    check(
        &[-1, 2],
        r#"{"shape":[2],"data":[1,2]}"#,
        Err("field `x`: expected shape [-1, 2] (-1 is any), got [2]"),
    );
    check(
        &[-1],
        r#"{"shape":[2],"data":[1]}"#,
        Err("field `x`: expected 2 elements, found 1 before byte 28"),
    );
    check(&[-1], r#"{"data":[1]}"#, Err("field `x`: expected `shape`, found none"));
    check(&[-1], r#"{"shape":[1]}"#, Err("field `x`: expected one of `data` and `b64` beside `shape`"));
    check(
        &[-1],
        r#"{"shape":[1],"dta":[1]}"#,
        Err("field `x`: expected `shape` with `data` or `b64`, found `dta`"),
    );
    check(&[-1], r#"{"shape":[1],"b64":"AA=="}"#, Err("field `x`: shape [1] of FP32 needs 4 bytes, got 1"));
    check(
        &[-1],
        r#"{"shape":[1],"b64":"A"}"#,
        Err("field `x`: b64: invalid input length: 1 (before byte 27)"),
    );
}

#[test]
fn fields_are_known_present_and_once() {
    let two = message(&[("a", Datatype::Int64, &[]), ("b", Datatype::Int64, &[])]);
    let names = |body: &str| {
        decode(&two, body)
            .map(|tensors| tensors.iter().map(|named| named.name.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(names(r#"{"b":2,"a":1}"#).unwrap(), ["a", "b"]);
    let refuses = |body: &str, text: &str| {
        assert_eq!(names(body).unwrap_err(), format!("read InferRequest: {text}"));
    };
    refuses(r#"{"a":1}"#, "field `b` is missing");
    refuses("{}", "field `a`, `b` is missing");
    refuses(r#"{"a":1,"b":2,"c":3}"#, "unknown field `c`; the fields are `a`, `b`");
    refuses(r#"{"a":1,"a":2}"#, "expected `a` once, found it twice");
    refuses(
        r#"{"a":1.5}"#,
        "field `a`: expected INT64 (-9223372036854775808 to 9223372036854775807) at byte 5, found `1.5`",
    );
    refuses("1", "expected an object at byte 0, found `1`");
}

#[test]
fn byte_strings_are_text_or_base64() {
    let bytes = message(&[("x", Datatype::Bytes, &[-1]), ("y", Datatype::Bytes, &[])]);
    let decoded = decode(&bytes, r#"{"x":["a",{"b64":"/w=="}],"y":{"b64":"/w=="}}"#).unwrap();
    assert_eq!(decoded[0].tensor, Tensor::from_strings(vec![2], &[&b"a"[..], b"\xff"]).unwrap());
    assert_eq!(decoded[1].tensor, Tensor::from_strings(vec![], &[b"\xff"]).unwrap());
    let encoded = native::encode(&bytes, &decoded).unwrap();
    assert_eq!(String::from_utf8(encoded).unwrap(), r#"{"x":["a",{"b64":"/w=="}],"y":{"b64":"/w=="}}"#);
    let text = decode(&bytes, r#"{"x":[{"b65":""}],"y":""}"#).unwrap_err();
    assert!(text.contains("element [0]: expected the key `b64` alone"), "{text}");
}

#[test]
fn answers_nest_by_shape() {
    let check = |datatype, spec: &[i64], tensor: Tensor, expected: &str| {
        let message = message(&[("y", datatype, spec)]);
        let tensors = [NamedTensor::new("y", tensor)];
        let encoded = native::encode(&message, &tensors).unwrap();
        assert_eq!(String::from_utf8_lossy(&encoded), format!(r#"{{"y":{expected}}}"#));
        assert_eq!(native::decode(&message, &encoded, &Limits::default()).unwrap(), tensors);
    };
    check(
        Datatype::Fp32,
        &[-1, 2],
        f32s(&[2, 2], &[0.1, 2.0, -0.0, 1e10]),
        "[[0.1,2.0],[-0.0,10000000000.0]]",
    );
    check(Datatype::Fp32, &[], f32s(&[], &[f32::INFINITY]), "Infinity");
    check(Datatype::Fp32, &[-1, 6], f32s(&[0, 6], &[]), "[]");
    check(Datatype::Fp32, &[-1, -1], f32s(&[0, 6], &[]), r#"{"shape":[0,6],"data":[]}"#);
    check(Datatype::Fp32, &[-1, -1], f32s(&[1 << 40, 0], &[]), r#"{"shape":[1099511627776,0],"data":[]}"#);
    let message = message(&[("y", Datatype::Fp32, &[])]);
    assert_eq!(native::encode(&message, &[]).unwrap_err().text, "write InferRequest: field `y` is missing");
    let stranger = [NamedTensor::new("z", f32s(&[], &[1.0]))];
    assert_eq!(
        native::encode(&message, &stranger).unwrap_err().text,
        "write InferRequest: `z` is none of its fields"
    );
}

#[test]
fn kinds_beside_tensors() {
    let field = |name: &str, number, kind, occurs| Field { name: name.into(), number, kind, occurs };
    let message = Message {
        name: "M".into(),
        fields: vec![
            field("n", 1, Kind::Scalar(Datatype::Int64), Occurs::Once),
            field("t", 2, Kind::Text, Occurs::Optional),
            field("r", 3, Kind::Scalar(Datatype::Fp64), Occurs::Repeated),
        ],
    };
    let decoded = decode(&message, r#"{"n":3,"t":null,"r":[0.5,1]}"#).unwrap();
    assert_eq!(decoded.len(), 2);
    assert_eq!(native::encode(&message, &decoded).unwrap(), br#"{"n":3,"r":[0.5,1.0]}"#);
    assert_eq!(decode(&message, r#"{"n":3,"t":"x"}"#).unwrap()[2].tensor.shape(), [0]);
    let nested = Message {
        name: "N".into(),
        fields: vec![field("m", 1, Kind::Message(Box::new(message)), Occurs::Once)],
    };
    let text = decode(&nested, r#"{"m":{}}"#).unwrap_err();
    assert_eq!(text, "read N: field `m`: messages in messages have no form in JSON yet");
}
