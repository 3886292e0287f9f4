//! A model that does nothing over gRPC, beside a server that does nothing over REST.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tenon_codec::grpc::{Contents, encode_response};
use tenon_codec::oip::Answer;
use tenon_contract::{Parameters, ServiceName};

use crate::blocks::{Arm, Block};
use crate::figure::Outcome;
use crate::http2::{self, Question, Seen};
use crate::machine;
use crate::noop::{CONNECTIONS, VALUES, beside_hello, values};
use crate::server::Tenon;
use crate::setting::Setting;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const SERVICE: &str = "identity";

/// Measures it.
///
/// # Errors
/// A server does not start or does not answer.
pub(crate) fn measure(setting: &Setting) -> Result<Outcome> {
    let service: ServiceName = SERVICE.parse()?;
    let tenon = Tenon::start(&setting.binary)?;
    tenon.deploy(&service, &tenon.push(SERVICE, &setting.fixture("onnx/identity.onnx"))?, None)?;
    let mut question =
        Question { address: tenon.address().to_string(), path: INFER, message: message()?, answer: None };
    // The answer bears its tensor and who gave it, each time in as many bytes: a refusal bears no message.
    question.answer = Some(block(&question, 1, Duration::ZERO)?.answer);

    let ours = Arm::new("tenon, gRPC", |duration| of_tenon(&tenon, &question, duration));
    beside_hello(setting, "grpc", "no-op infer, gRPC raw", ours, 0.4)
}

fn of_tenon(tenon: &Tenon, question: &Question, duration: Duration) -> Result<Block> {
    let before = machine::processor_time(tenon.id())?;
    let begun = Instant::now();
    let Seen { mut micros, .. } = block(question, CONNECTIONS, duration)?;
    let took = begun.elapsed();
    let used = machine::processor_time(tenon.id())? - before;
    micros.sort_by(f64::total_cmp);
    let answers = micros.len() as f64;
    Ok(Block {
        rate: answers / took.as_secs_f64(),
        p99_us: micros[((answers * 0.99) as usize).min(micros.len() - 1)],
        server_us: used.as_secs_f64() * 1e6 / answers,
    })
}

/// Keeps `connections` connections busy for so long, on one thread.
fn block(question: &Question, connections: usize, duration: Duration) -> Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let until = Instant::now() + duration;
        let mut lines = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let question = question.clone();
            lines.spawn(async move { http2::ask(&question, until).await });
        }
        let mut all = Seen { micros: Vec::new(), answer: 0 };
        while let Some(seen) = lines.join_next().await {
            let seen = seen??;
            all.micros.extend(seen.micros);
            all.answer = seen.answer;
        }
        Ok(all)
    })
}

/// The request in its frame: a vector of values in raw contents.
fn message() -> Result<Vec<u8>> {
    let inputs = [values()?];
    let parameters = Parameters::new();
    let answer = Answer {
        model_name: SERVICE,
        model_version: None,
        id: None,
        parameters: &parameters,
        outputs: &inputs,
    };
    // A request has the fields of an answer, and its raw contents one number further on.
    let message = encode_response(&answer, Contents::Raw, 5).map_err(|fault| anyhow!(fault.to_string()))?;
    let mut frame = message.head;
    let raw = frame.len() - 4 * VALUES - 2;
    frame[raw] = 7 << 3 | 2;
    let length = (frame.len() - 5) as u32;
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}
