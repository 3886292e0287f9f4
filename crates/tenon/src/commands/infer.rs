//! `tenon infer`: one request from the command line.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tenon_client::{Answered, Called, Client};
use tenon_codec::Limits;
use tenon_codec::oip::{self, Answer, Encoded, Form};
use tenon_contract::{FaultKind, ServiceName};

use super::failure::{Failure, Outcome};
use super::output;
use super::remote::{Remote, read, unknown_service};

/// Send one request to a service
///
/// A document with `inputs` goes over the Open Inference Protocol, any other as a message to one of the
/// service's operations. The answer goes to stdout, who gave it to stderr.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon infer digits --data request.json
  tenon infer digits --data - < request.json
  tenon infer digits --data request.json --binary   tensors as bytes on the wire
  tenon infer digits --data message.json --operation classify")]
pub struct Args {
    /// The service
    service: ServiceName,
    /// File with the request; `-` is stdin
    #[arg(long, value_name = "FILE", default_value = "-")]
    data: PathBuf,
    /// Operation to call with the document as its message; the service's only one where none is named
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Send and get tensors as bytes rather than as JSON
    #[arg(long, conflicts_with = "operation")]
    binary: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.remote.json
    }
}

/// The answer as `--json` gives it.
#[derive(Serialize)]
struct Told {
    answered: Answered,
    answer: Box<RawValue>,
}

/// Sends the request and prints the answer.
pub async fn run(args: Args) -> Outcome {
    let document: Bytes = document(&args)?.into();
    let client = args.remote.client()?;
    let tensors = args.operation.is_none() && has_inputs(&document)?;
    let called = if tensors {
        let request = request(document, args.binary)?;
        client.infer(&args.service, request).await.map_err(unknown_service)?
    } else if args.binary {
        return Err(Failure::usage("--binary needs a document with `inputs`"));
    } else {
        let operation = operation(&client, &args).await?;
        client.call(&args.service, &operation, document).await.map_err(unknown_service)?
    };
    let answered = called.answered.clone();
    let answer = as_json(called)?;
    let answer = RawValue::from_string(answer).map_err(|error| {
        Failure::new(format!("read answer: {error}")).hint("ask without --json: the answer is no strict JSON")
    });
    match args.remote.json {
        true => output::show(true, &Told { answered, answer: answer? }, |_| String::new()),
        false => {
            output::line(answer?.get());
            output::note(&identity(&answered));
        }
    }
    Ok(())
}

fn document(args: &Args) -> Outcome<Vec<u8>> {
    if args.data.as_os_str() != "-" {
        return read(&args.data);
    }
    if std::io::stdin().is_terminal() {
        return Err(Failure::usage("say what to send: --data FILE, or a document on stdin"));
    }
    let mut document = Vec::new();
    let read = std::io::stdin().read_to_end(&mut document);
    read.map_err(|error| Failure::new(format!("read stdin: {error}")))?;
    Ok(document)
}

/// Whether the document is a request of the Open Inference Protocol.
fn has_inputs(document: &[u8]) -> Outcome<bool> {
    let request = oip::decode_request(Bytes::copy_from_slice(document), None, &Limits::default());
    match request {
        Ok(_) => Ok(true),
        // Its faults are told where it is one at all.
        Err(fault) if String::from_utf8_lossy(document).contains("\"inputs\"") => Err(fault.into()),
        Err(_) => Ok(false),
    }
}

fn request(document: Bytes, binary: bool) -> Outcome<Encoded> {
    if !binary {
        return Ok(Encoded { json_length: None, head: document, payloads: Vec::new() });
    }
    let mut request = oip::decode_request(document, None, &Limits::default())?;
    request.binary_output = true;
    Ok(oip::encode_request(&request, Form::Binary)?)
}

/// The operation named, or the only one that the service offers.
async fn operation(client: &Client, args: &Args) -> Outcome<String> {
    if let Some(operation) = &args.operation {
        return Ok(operation.clone());
    }
    let view = client.service(&args.service).await.map_err(unknown_service)?;
    match view.contract.operations.as_slice() {
        [only] => Ok(only.name.to_string()),
        several => {
            let names: Vec<&str> = several.iter().map(|operation| &*operation.name).collect();
            Err(Failure::usage(format!("say which --operation: {}", names.join(", "))))
        }
    }
}

/// The body as JSON, binary tensors written out.
fn as_json(called: Called) -> Outcome<String> {
    let body = match called.json_length {
        None => called.body,
        Some(length) => {
            let decoded = oip::decode_response(called.body, Some(length), &Limits::default())?;
            let answer = Answer {
                model_name: &decoded.model_name,
                model_version: decoded.model_version.as_deref(),
                id: decoded.id.as_deref(),
                parameters: &decoded.parameters,
                outputs: &decoded.outputs,
            };
            oip::encode_response(&answer, |_| Form::Json)?.into_body()
        }
    };
    String::from_utf8(body.into())
        .map_err(|_| tenon_contract::Fault::new(FaultKind::Internal, "the answer is not UTF-8").into())
}

fn identity(answered: &Answered) -> String {
    format!(
        "answered by {} (service {}, revision {}, generation {}, request {})",
        answered.version, answered.service, answered.revision, answered.generation, answered.request_id
    )
}
