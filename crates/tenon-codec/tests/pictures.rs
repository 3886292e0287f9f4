//! Messages of pictures in JSON through the published interface.

use proptest::prelude::*;
use tenon_codec::Limits;
use tenon_codec::native::picture::{self, Pictures};
use tenon_contract::picture::{classify, detect};
use tenon_contract::{Datatype, FaultKind, NamedTensor, Tensor};

fn decode(body: &str) -> Result<(Vec<String>, bool), String> {
    let pictures = Pictures::decode(body.as_bytes(), &Limits::default()).map_err(|fault| fault.text)?;
    assert_eq!((&*pictures.image.name, pictures.image.tensor.shape().len()), ("image", 1));
    let texts =
        pictures.image.tensor.strings().unwrap().map(|text| String::from_utf8_lossy(text).into_owned());
    Ok((texts.collect(), pictures.many))
}

#[test]
fn pictures_are_base64_alone_or_in_lists() {
    let check = |body: &str, expected: &[&str], many: bool| {
        let expected = (expected.iter().map(|text| (*text).to_owned()).collect(), many);
        assert_eq!(decode(body), Ok(expected), "{body}");
    };
    check(r#"{"data":"aGk="}"#, &["hi"], false);
    check(r#"{"image":"aGk="}"#, &["hi"], false);
    check(r#"{"data":{"b64":"aGk="}}"#, &["hi"], false);
    check(r#"{"image":["aGk=","eW91"]}"#, &["hi", "you"], true);
    check(r#" [ {"data":"aGk="} , {"image":{"b64":"eW91"}} ] "#, &["hi", "you"], true);
    check("[]", &[], true);
    check(r#"{"data":[]}"#, &[], true);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let check = |body: &str, expected: &str| {
        let text = decode(body).unwrap_err();
        assert!(text.starts_with("read Image: ") && text.contains(expected), "{text}");
    };
    check("", "expected an object at byte 0");
    check("{}", "data");
    check(r#"{"picture":"aGk="}"#, "unknown field `picture`; the field is `data`");
    check(r#"{"data":"aGk=","data":"aGk="}"#, "data");
    check(r#"{"data":"a"}"#, "expected base64");
    check(r#"{"data":7}"#, "expected a string at byte 8");
    check(r#"[{"data":"aGk="},{"data":"!"}]"#, "picture 2: expected base64");
    check(r#"[{"data":["aGk="]}]"#, "picture 1: expected a string");
    check(r#"{"data":"aGk="} x"#, "the end of the document");
    let few = Limits { tensors: 1, payload_bytes: 4, ..Limits::default() };
    for body in [r#"{"data":["aGk=","aGk="]}"#, r#"{"data":"aGVsbG8gd29ybGQ="}"#] {
        assert_eq!(Pictures::decode(body.as_bytes(), &few).unwrap_err().kind, FaultKind::TooLarge);
    }
}

/// Two pictures with room for two detections each; one was found in the first.
fn found() -> Vec<NamedTensor> {
    let mut boxes = vec![0f32; 16];
    boxes[..4].copy_from_slice(&[1.5, 2.0, 30.25, 40.0]);
    vec![
        NamedTensor::new("boxes", Tensor::from_values(vec![2, 2, 4], boxes).unwrap()),
        NamedTensor::new("scores", Tensor::from_values(vec![2, 2], vec![0.5f32, 0.0, 0.0, 0.0]).unwrap()),
        NamedTensor::new("classes", Tensor::from_values(vec![2, 2], vec![18i64, 0, 0, 0]).unwrap()),
        NamedTensor::new("labels", Tensor::from_strings(vec![2, 2], &["a \"dog\"", "", "", ""]).unwrap()),
        NamedTensor::new("counts", Tensor::from_values(vec![2], vec![1i32, 0]).unwrap()),
        NamedTensor::new("sizes", Tensor::from_values(vec![2, 2], vec![640i32, 480, 32, 16]).unwrap()),
    ]
}

#[test]
fn detections_are_messages() {
    let operation = detect(2).operations.remove(0);
    let text = picture::encode(&operation, &found(), true).unwrap();
    let first = r#"{"detections":[{"x_min":1.5,"y_min":2.0,"x_max":30.25,"y_max":40.0,"score":0.5,"class":18,"label":"a \"dog\""}],"width":640,"height":480}"#;
    let second = r#"{"detections":[],"width":32,"height":16}"#;
    assert_eq!(String::from_utf8(text).unwrap(), format!("[{first},{second}]"));
    let one: Vec<_> = found()
        .into_iter()
        .map(|named| NamedTensor::new(named.name, named.tensor.slice_rows(0..1)))
        .collect();
    assert_eq!(picture::encode(&operation, &one, false).unwrap(), first.as_bytes());
    assert_eq!(picture::encode(&operation, &found(), false).unwrap_err().kind, FaultKind::Internal);
    for missing in 0..6 {
        let mut tensors = found();
        tensors.remove(missing);
        assert_eq!(picture::encode(&operation, &tensors, true).unwrap_err().kind, FaultKind::Internal);
    }
    let mut lying = found();
    lying[4] = NamedTensor::new("counts", Tensor::from_values(vec![2], vec![3i32, 0]).unwrap());
    assert_eq!(picture::encode(&operation, &lying, true).unwrap_err().kind, FaultKind::Internal);
}

#[test]
fn classes_are_messages() {
    let operation = classify(2).operations.remove(0);
    let tensors = [
        NamedTensor::new("classes", Tensor::from_values(vec![1, 2], vec![7i64, 3]).unwrap()),
        NamedTensor::new("scores", Tensor::from_values(vec![1, 2], vec![0.75f32, 0.25]).unwrap()),
        NamedTensor::new("labels", Tensor::from_strings(vec![1, 2], &["cat", ""]).unwrap()),
    ];
    let text = picture::encode(&operation, &tensors, false).unwrap();
    let expected =
        r#"{"classes":[{"score":0.75,"class":7,"label":"cat"},{"score":0.25,"class":3,"label":""}]}"#;
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    let mut other = operation;
    other.name = "segment".into();
    assert_eq!(picture::encode(&other, &tensors, false).unwrap_err().kind, FaultKind::Unsupported);
}

proptest! {
    #[test]
    fn any_body_is_pictures_or_a_text(
        body in prop::collection::vec(any::<u8>(), 0..80),
        text in "[\\[\\]{}\":,a-z0-9=+/ ]{0,60}",
    ) {
        let limits = Limits::default();
        let _ = Pictures::decode(&body, &limits);
        if let Ok(pictures) = Pictures::decode(text.as_bytes(), &limits) {
            prop_assert_eq!(pictures.image.tensor.datatype(), Datatype::Bytes);
        }
    }
}
