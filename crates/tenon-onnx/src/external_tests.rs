//! Tests of the reader of external data: what it finds, what it refuses, and that nothing breaks it.

use proptest::prelude::*;

use super::*;

/// A length-delimited field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(u64::from(number) << 3 | 2);
    bytes.extend(varint(content.len() as u64));
    bytes.extend_from_slice(content);
    bytes
}

fn number(number: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Four floats called `w` with these entries.
fn tensor(entries: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| {
        field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    };
    let entries: Vec<u8> = entries.iter().flat_map(entry).collect();
    [number(1, 4), number(2, 1), field(8, b"w"), entries, number(14, 1)].concat()
}

/// A model with `content` wrapped into these fields, outermost first; 7 is its graph.
fn inside(path: &[u32], content: &[u8]) -> Vec<u8> {
    path.iter().rev().fold(content.to_vec(), |content, number| field(*number, &content))
}

fn find(model: &[u8]) -> Result<Vec<Weight>, String> {
    let file = |path: &str| {
        matches!(path, "w.bin" | "deep/w.bin").then(|| Bytes::from((0..32).collect::<Vec<u8>>()))
    };
    weights(model, "model.onnx", &file).map_err(|error| error.to_string())
}

#[test]
fn weights_of_the_main_graph_are_cut_out_of_their_file() {
    let check = |entries: &[(&str, &str)], expected: std::ops::Range<u8>| {
        let found = find(&inside(&[7, 5], &tensor(entries))).unwrap();
        assert_eq!((found.len(), &found[0].name[..], &found[0].shape[..]), (1, "w", [4].as_slice()));
        assert_eq!(found[0].element, TensorElementType::Float32);
        assert_eq!(found[0].bytes, expected.collect::<Vec<u8>>());
    };
    check(&[("location", "w.bin")], 0..16);
    check(&[("location", "w.bin"), ("offset", "16"), ("length", "16")], 16..32);
    check(&[("location", "./deep//w.bin"), ("offset", "1"), ("checksum", "00")], 1..17);
}

#[test]
fn dimensions_may_be_packed_and_absent() {
    let packed = [field(1, &[varint(2), varint(2)].concat()), tensor(&[("location", "w.bin")])[2..].to_vec()];
    assert_eq!(find(&inside(&[7, 5], &packed.concat())).unwrap()[0].shape, [2, 2]);
    let scalar = &tensor(&[("location", "w.bin")])[2..];
    assert_eq!(find(&inside(&[7, 5], scalar)).unwrap()[0].bytes.len(), 4);
}

#[test]
fn locations_outside_the_bundle_are_refused() {
    let check = |entries: &[(&str, &str)], expected: &str| {
        let error = find(&inside(&[7, 5], &tensor(entries))).unwrap_err();
        assert!(
            error.starts_with("tensor `w`: ") && error.contains(expected),
            "{error} does not say `{expected}`"
        );
    };
    check(&[("location", "/etc/passwd")], "absolute");
    check(&[("location", "C:/weights")], "absolute");
    check(&[("location", "../w.bin")], "leads out");
    check(&[("location", "deep/../../w.bin")], "leads out");
    check(&[("location", "other.bin")], "needs `other.bin`, which is not in the bundle");
    check(&[("location", "")], "no path of a file");
    check(&[("location", "a\\b")], "no path of a file");
    check(&[("location", "*/_ORT_MEM_ADDR_/*"), ("offset", "4096")], "no path of a file");
    check(&[], "without a location");
    check(&[("location", "w.bin"), ("location", "/etc/passwd")], "`location` twice");
    check(&[("location", "w.bin"), ("basepath", "/")], "unknown key `basepath`");
    check(&[("location", "w.bin"), ("offset", "17")], "takes 16 bytes at 17 from `w.bin`, which has only 32");
    check(&[("location", "w.bin"), ("offset", "18446744073709551615")], "has only 32");
    check(&[("location", "w.bin"), ("offset", "-1")], "no number");
    check(&[("location", "w.bin"), ("length", "8")], "has 16 bytes by shape and type, but takes 8");
}

#[test]
fn tensors_elsewhere_must_lie_in_the_model() {
    // Graph in an attribute, attribute's tensor and tensors, sparse values and indices, function, training.
    let paths: [&[u32]; 9] = [
        &[7, 1, 5, 6, 5],
        &[7, 1, 5, 11, 5],
        &[7, 1, 5, 5],
        &[7, 1, 5, 10],
        &[7, 15, 1],
        &[7, 15, 2],
        &[7, 1, 5, 22, 1],
        &[25, 7, 5, 5],
        &[20, 1, 5],
    ];
    for path in paths {
        let error = find(&inside(path, &tensor(&[("location", "w.bin")]))).unwrap_err();
        assert!(error.contains("only initializers of the main graph"), "{path:?}: {error}");
        let error = find(&inside(path, &tensor(&[("location", "/etc/passwd")]))).unwrap_err();
        assert!(error.contains("absolute"), "{path:?}: {error}");
    }
}

/// What Protobuf merges or reads in an unusual way must not hide a location.
#[test]
fn every_hint_of_external_data_counts() {
    let entry = field(13, &[field(1, b"location"), field(2, b"/etc/passwd")].concat());
    let unmarked = find(&inside(&[7, 1, 5, 5], &entry)).unwrap_err();
    assert!(unmarked.contains("absolute"), "{unmarked}");
    for code in [1, 2, (1 << 32) + 1] {
        let marked = find(&inside(&[7, 1, 5, 5], &number(14, code))).unwrap_err();
        assert!(marked.contains("without a location"), "{marked}");
    }
    assert!(find(&inside(&[7, 5], &number(14, 1 << 32))).is_ok(), "zero in 32 bits");
    let twice =
        [inside(&[7, 5], &tensor(&[("location", "w.bin")])), inside(&[7, 5], &field(8, b"w"))].concat();
    assert!(find(&twice).unwrap_err().contains("twice"));
    let long_tag = [&[0x80 | 0x3a, 0x80, 0x80, 0x80, 0x80, 0x01][..], &[0]].concat();
    assert!(find(&long_tag).unwrap_err().contains("not readable"), "a tag beyond 32 bits");
}

#[test]
fn depth_has_a_limit() {
    let levels = |count: usize| [&[7][..], &[1, 5, 6].repeat(count)].concat();
    assert!(find(&inside(&levels(30), b"")).is_ok());
    assert!(find(&inside(&levels(40), b"")).unwrap_err().contains("deeper"));
    let deep = include_bytes!("../../../fixtures/hostile/deep.onnx");
    assert!(find(deep).unwrap_err().contains("deeper"));
}

#[test]
fn broken_files_name_the_place() {
    let cut_off = include_bytes!("../../../fixtures/hostile/cut_off.onnx");
    assert!(find(cut_off).unwrap_err().starts_with("model.onnx: file ends early, inside the field at byte "));
    assert_eq!(find(b"\x0b").unwrap_err(), "model.onnx: not readable as Protobuf at byte 0");
}

const REAL: [&[u8]; 4] = [
    include_bytes!("../../../fixtures/onnx/external/model.onnx"),
    include_bytes!("../../../fixtures/hostile/escapes.onnx"),
    include_bytes!("../../../fixtures/onnx/slow.onnx"),
    include_bytes!("../../../fixtures/digits/v1/model.onnx"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = find(&bytes);
        let _ = crate::recognise::looks_like_onnx(&bytes);
    }

    #[test]
    fn bent_models_are_read_or_refused(
        which in 0..REAL.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = REAL[which].to_vec();
        changes.iter().for_each(|(at, byte)| { let at = at.index(bytes.len()); bytes[at] = *byte; });
        bytes.truncate(if cuts { cut.index(bytes.len()) } else { bytes.len() });
        // Whatever was found lies in the bundle: there is no other way to get bytes.
        for weight in find(&bytes).unwrap_or_default() {
            prop_assert!(weight.bytes.len() <= 32);
        }
        let _ = crate::recognise::looks_like_onnx(&bytes);
    }
}
