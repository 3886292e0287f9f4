//! Prints what decoding and encoding cost: `cargo run --release -p tenon-codec --example timing`.
//!
//! Each figure is the fastest of many rounds of one thread: the cost without what disturbs it.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tenon_codec::Limits;
use tenon_codec::oip::{self, Answer, Form, InferRequest};
use tenon_contract::{NamedTensor, Parameters, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let floats = |count: usize| (0..count).map(|at| (at as f32 * 0.737).sin() * 3.0).collect::<Vec<_>>();
    let bytes = |count: usize| (0..count).map(|at| (at * 31 % 256) as u8).collect::<Vec<_>>();
    report("20 FP32", Tensor::from_values(vec![1, 20], floats(20))?)?;
    report("1,000 FP32", Tensor::from_values(vec![1, 1000], floats(1000))?)?;
    report("1,000 FP64", {
        Tensor::from_values(vec![1, 1000], floats(1000).into_iter().map(f64::from).collect())?
    })?;
    report("1,000 INT64", Tensor::from_values(vec![1000], (0..1000i64).map(|at| at * 7_919).collect())?)?;
    report("100 BYTES", Tensor::from_strings(vec![100], &["a short text"; 100])?)?;
    report("270,000 UINT8", Tensor::from_values(vec![1, 300, 300, 3], bytes(270_000))?)?;

    let pixels = bytes(270_000);
    let rows: Vec<Vec<&[u8]>> = pixels.chunks(900).map(|row| row.chunks(3).collect()).collect();
    let data = format!("[{rows:?}]");
    let nested = |keys: String| Bytes::from(format!(r#"{{"inputs":[{{"name":"x",{keys}}}]}}"#));
    let (form, data) = (r#""shape":[1,300,300,3],"datatype":"UINT8""#, format!(r#""data":{data}"#));
    decode("270,000 UINT8 nested", &nested(format!("{form},{data}")), None)?;
    decode("270,000 UINT8 nested, data first", &nested(format!("{data},{form}")), None)?;
    Ok(())
}

fn report(what: &str, tensor: Tensor) -> Result<(), Box<dyn std::error::Error>> {
    let request = InferRequest { inputs: vec![NamedTensor::new("x", tensor)], ..InferRequest::default() };
    let parameters = Parameters::new();
    let answer = Answer {
        model_name: "digits",
        model_version: Some("3"),
        id: Some("0191f2c4-7b1e"),
        parameters: &parameters,
        outputs: &request.inputs,
    };
    for form in [Form::Json, Form::Binary] {
        let encoded = oip::encode_request(&request, form)?;
        let (json_length, body) = (encoded.json_length, encoded.into_body());
        decode(&format!("{what} {form:?}"), &body, json_length)?;
        let encode = fastest(|| {
            black_box(oip::encode_response(&answer, |_| form).is_ok());
        });
        println!("{:>12} ns  encode {what} {form:?}", encode.as_nanos());
    }
    Ok(())
}

fn decode(what: &str, body: &Bytes, json_length: Option<usize>) -> Result<(), Box<dyn std::error::Error>> {
    let limits = Limits::default();
    oip::decode_request(body.clone(), json_length, &limits)?;
    let decode = fastest(|| {
        black_box(oip::decode_request(body.clone(), json_length, &limits).is_ok());
    });
    println!("{:>12} ns  decode {what} ({} bytes)", decode.as_nanos(), body.len());
    Ok(())
}

/// Time of one call, in the fastest of the rounds that fit into half a second.
fn fastest(mut call: impl FnMut()) -> Duration {
    let started = Instant::now();
    call();
    let calls =
        (Duration::from_millis(2).as_nanos() / started.elapsed().as_nanos().max(1)).clamp(1, 10_000) as u32;
    let mut best = Duration::MAX;
    while started.elapsed() < Duration::from_millis(500) {
        let round = Instant::now();
        (0..calls).for_each(|_| call());
        best = best.min(round.elapsed() / calls);
    }
    best
}
