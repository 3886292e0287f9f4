//! A bounded fuzz of every decoder: whatever the bytes, none panics and none allocates beyond the limits.
#![allow(unsafe_code)] // An allocator that counts can be written in no other way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tenon_codec::{Limits, examples, grpc, native, oip};
use tenon_contract::{Contract, Datatype, Signature, TensorSpec};

/// Counts what each thread holds, and the most it has held.
struct Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: hands every call to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the one `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

const LIMITS: Limits =
    Limits { tensors: 8, rank: 4, payload_bytes: 4096, parameters: 8, depth: 16, examples: 8 };

/// The most that one call of `decode` held at a time, beyond what it began with.
fn most_held(decode: impl FnOnce()) -> usize {
    let before = HELD.with(Cell::get).0;
    HELD.with(|held| held.set((before, before)));
    decode();
    (HELD.with(Cell::get).1 - before) as usize
}

/// Gives `body` to every decoder.
fn decode(body: &[u8], json_length: Option<usize>) {
    let message = Contract::of_signature(&Signature {
        inputs: vec![
            TensorSpec::new("x", Datatype::Fp32, &[-1, -1]),
            TensorSpec::new("t", Datatype::Bytes, &[-1]),
        ],
        outputs: vec![],
    });
    let shared = Bytes::copy_from_slice(body);
    // Strings and tables of tensors are at most a few times their JSON; the rest is for the texts of faults.
    let allowed = 8 * body.len() + 4 * LIMITS.payload_bytes + 8192;
    let check = |what: &str, most: usize| assert!(most <= allowed, "{what} held {most} of {allowed}");
    check("request", most_held(|| drop(oip::decode_request(shared.clone(), json_length, &LIMITS))));
    check("answer", most_held(|| drop(oip::decode_response(shared.clone(), json_length, &LIMITS))));
    check("gRPC request", most_held(|| drop(grpc::decode_request(&shared, &LIMITS))));
    check("gRPC names", most_held(|| drop(grpc::names_of(body))));
    check("error", most_held(|| drop(oip::decode_error(body))));
    check("examples", most_held(|| drop(examples::read(body, &LIMITS))));
    let message = &message.operations[0].input;
    check("message", most_held(|| drop(native::decode(message, body, &LIMITS))));
    let spec = TensorSpec::new("x", Datatype::Fp32, &[-1, 3]);
    check("raw", most_held(|| drop(oip::decode_raw(shared.clone(), &spec))));
}

const REQUEST: &str = r#"{"id":"a\u00e9","parameters":{"p":1.5,"binary_data_output":false},"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5e3],[NaN,-4]]},{"data":["a","\n"],"datatype":"BYTES","shape":[2],"name":"t"},{"name":"b","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}}],"outputs":[{"name":"y","parameters":{"binary_data":true,"classification":3}}]}"#;
const MESSAGE: &str = r#"{"x":{"shape":[1,2],"b64":"AACAPwAAAEA="},"t":["a",{"b64":"/w=="}]}"#;
const EXAMPLES: &str = r#"{"version":1,"engine":"e","tolerance":{"absolute":1e-5,"relative":0},"examples":[{"inputs":[{"name":"x","shape":[1],"datatype":"UINT8","data":[255]}],"outputs":[]}]}"#;

/// A request of gRPC with two typed inputs, `x` FP32 [2] and `t` BYTES [1], parameters and an output.
const CALL: &[u8] = b"\x0a\x01m\x1a\x01i\x22\x0a\x0a\x01p\x12\x05\x1a\x03abc\
    \x2a\x18\x0a\x01x\x12\x04FP32\x1a\x01\x02\x2a\x0a\x32\x08\x00\x00\x80\x3f\x00\x00\x00\x40\
    \x2a\x12\x0a\x01t\x12\x05BYTES\x1a\x01\x01\x2a\x03\x42\x01z\x32\x03\x0a\x01y";

#[test]
fn the_call_is_one() {
    let call = grpc::decode_request(&Bytes::from_static(CALL), &LIMITS).unwrap();
    assert_eq!((call.request.inputs.len(), call.request.parameters.len()), (2, 1));
}

/// Pieces that break documents in the ways that attackers and bugs do.
const PIECES: [&str; 24] = [
    "9223372036854775807",
    "18446744073709551616",
    "1e999",
    "-1",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\",
    "\\ud800",
    ",",
    ":",
    "null",
    "[[[[[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "NaN",
    "\"shape\":[1099511627776]",
    "\"data\":[]",
    "0",
    "\"binary_data_size\":9999999999",
    "\"b64\":\"A\"",
    "\u{0}",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn random_bytes(body in vec(any::<u8>(), 0..200), json_length in proptest::option::of(0..300usize)) {
        decode(&body, json_length);
    }

    #[test]
    fn random_pieces(pieces in vec(0..PIECES.len(), 0..40)) {
        let body: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        decode(body.as_bytes(), None);
    }

    #[test]
    fn broken_documents(
        which in 0..4usize,
        edits in vec((any::<prop::sample::Index>(), 0..6usize, 0..PIECES.len(), any::<u8>()), 1..4),
        behind in vec(any::<u8>(), 0..8),
    ) {
        let document = [REQUEST.as_bytes(), MESSAGE.as_bytes(), EXAMPLES.as_bytes(), CALL][which];
        let mut body = document.to_vec();
        for (at, cut, piece, byte) in edits {
            let at = at.index(body.len() + 1);
            let end = (at + cut).min(body.len());
            let with = if cut == 1 { vec![byte] } else { PIECES[piece].as_bytes().to_vec() };
            body.splice(at..end, with);
        }
        decode(&body, None);
        let json_length = body.len();
        body.extend(behind);
        decode(&body, Some(json_length));
    }
}

#[test]
fn promises_of_shapes_are_not_believed() {
    for (shape, datatype) in
        [("[1024]", "FP32"), ("[4096]", "UINT8"), ("[1024]", "BYTES"), ("[4611686018427387904]", "INT8")]
    {
        let body =
            format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":[]}}]}}"#);
        let most = most_held(|| {
            oip::decode_request(Bytes::copy_from_slice(body.as_bytes()), None, &LIMITS).unwrap_err();
        });
        assert!(most < 2048, "{most} bytes for {body}");
    }
}
