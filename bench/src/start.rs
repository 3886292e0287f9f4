//! From exec to the first answer of a model, as after a restart: page cache warm, data in place.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tenon_client::load::statistics::median;
use tenon_codec::oip::{self, Form, InferRequest};
use tenon_contract::{NamedTensor, ServiceName, Tensor};

use crate::bare::{Bare, Way};
use crate::figure::{Bar, Figure, Outcome, Unit};
use crate::machine;
use crate::server::Tenon;
use crate::setting::Setting;

const RUNS: usize = 20;
/// How often the server is asked while it comes up.
const PAUSE: Duration = Duration::from_micros(250);
/// When to give it up.
const PATIENCE: Duration = Duration::from_secs(20);

/// One start.
#[derive(Default)]
struct Starts {
    listening_ms: Vec<f64>,
    answered_ms: Vec<f64>,
    processor_ms: Vec<f64>,
    resident: Vec<f64>,
    own: Vec<f64>,
    bare_ms: Vec<f64>,
    bare_again_ms: Vec<f64>,
}

/// Measures it.
///
/// # Errors
/// The server does not start or does not answer.
pub(crate) fn measure(setting: &Setting) -> Result<Outcome> {
    let service: ServiceName = "digits".parse()?;
    let bundle = setting.fixture("digits/v1");
    let mut tenon = Tenon::start(&setting.binary)?;
    tenon.deploy(&service, &tenon.push("digits", &bundle)?, None)?;
    let input = Tensor::from_values(vec![1, 64], vec![0.5f32; 64])?;
    let asked = request(tenon.address(), &service, input.clone())?;
    let model = bundle.join("model.onnx");
    let bare = Bare::new(&setting.library, &model, &input)?;
    let way = Way { loops: 1, threads: 1, spinning: false, arena: false };

    let mut starts = Starts::default();
    for run in 0..=RUNS {
        machine::rest(setting.effort.rest, setting.effort.patience)?;
        tenon.stop()?;
        let begun = Instant::now();
        tenon.resume()?;
        let (listening, answered) = first_answer(tenon.address(), &asked, begun)?;
        let (resident, own) = machine::resident(tenon.id())?;
        let processor = machine::processor_time(tenon.id())?;
        let bare_ms = [(); 2].map(|()| time_of(|| bare.start(way)));
        if run == 0 {
            continue;
        }
        let [first, second] = bare_ms;
        starts.listening_ms.push(listening.as_secs_f64() * 1e3);
        starts.answered_ms.push(answered.as_secs_f64() * 1e3);
        starts.processor_ms.push(processor.as_secs_f64() * 1e3);
        starts.resident.push(resident as f64 / 1e6);
        starts.own.push(own as f64 / 1e6);
        starts.bare_ms.push(first?);
        starts.bare_again_ms.push(second?);
    }
    Ok(starts.outcome())
}

impl Starts {
    fn outcome(&self) -> Outcome {
        let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
        let control = middle(&self.bare_again_ms) / middle(&self.bare_ms);
        let mut outcome = Outcome::new("start");
        outcome.figures = vec![
            Figure::new("exec -> first 200 of an ONNX service", middle(&self.answered_ms), Unit::Ms)
                .control(control)
                .bar(Bar::AtMost(120.0)),
            Figure::new("resident memory then", middle(&self.resident), Unit::Mb).bar(Bar::AtMost(60.0)),
            Figure::new("of it its own, not pages of files", middle(&self.own), Unit::Mb),
            Figure::new("exec -> listening", middle(&self.listening_ms), Unit::Ms),
            Figure::new("processor time up to the first 200", middle(&self.processor_ms), Unit::Ms),
            Figure::new(
                "bare ONNX Runtime: exec -> first run of the same model",
                middle(&self.bare_ms),
                Unit::Ms,
            ),
        ];
        outcome
    }
}

fn time_of<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let begun = Instant::now();
    let done = work()?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    drop(done);
    Ok(took)
}

/// The whole request, head and body.
fn request(address: SocketAddr, service: &ServiceName, input: Tensor) -> Result<Vec<u8>> {
    let request = InferRequest { inputs: vec![NamedTensor::new("pixels", input)], ..InferRequest::default() };
    let encoded = oip::encode_request(&request, Form::Json).map_err(|fault| anyhow!(fault.to_string()))?;
    let body = encoded.into_body();
    let mut bytes = format!(
        "POST /v2/models/{service}/infer HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Asks until there is an answer of 200: when the server took a connection first, and when it answered.
fn first_answer(address: SocketAddr, asked: &[u8], begun: Instant) -> Result<(Duration, Duration)> {
    let mut listening = None;
    let mut last = Vec::new();
    while begun.elapsed() < PATIENCE {
        if let Ok(stream) = TcpStream::connect(address) {
            let listening = *listening.get_or_insert_with(|| begun.elapsed());
            last = exchange(stream, asked).unwrap_or_default();
            if last.starts_with(b"HTTP/1.1 200 ") {
                return Ok((listening, begun.elapsed()));
            }
        }
        std::thread::sleep(PAUSE);
    }
    ensure!(!last.is_empty(), "the server does not answer");
    Err(anyhow!("the server answers {}", String::from_utf8_lossy(&last)))
}

fn exchange(mut stream: TcpStream, asked: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(asked)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
