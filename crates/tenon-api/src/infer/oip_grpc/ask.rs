//! `ModelInfer`: the hot path of gRPC. One message in, one out; tensors are not copied where they are raw.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use hyper::body::Incoming;
use tenon_codec::grpc::{Contents, InferCall, Message, decode_request};
use tenon_codec::oip::{Answer, InferRequest};
use tenon_contract::{Fault, Parameter, Parameters, RequestId};
use tenon_control::Infer;

use crate::grpc::answers;
use crate::grpc::frames::{self, HEAD};
use crate::grpc::{Call, broken};
use crate::identity::Stamp;
use crate::ids;
use crate::infer::{Asked, ask_classified, service, timeout, version};

/// The parameter that tells the last answer to a request.
const FINAL: &str = "triton_final_response";

/// Answers one request, or says why not.
pub(crate) async fn infer(call: &Call, body: Incoming) -> Response {
    // The id is known only after the message was read, and a refusal bears it too.
    let mut id = call.id.clone();
    let answered = AssertUnwindSafe(unary(call, body, &mut id)).catch_unwind().await;
    match answered.unwrap_or_else(|_| Err(broken())) {
        Ok(response) => response,
        Err(fault) => {
            let mut response = answers::refusal(&fault);
            if let Some(id) = id {
                response.headers_mut().insert(ids::REQUEST_ID, ids::header(&id));
            }
            response
        }
    }
}

async fn unary(call: &Call, body: Incoming, id: &mut Option<RequestId>) -> Result<Response, Fault> {
    call.permit(Infer)?;
    let message = frames::only(&call.api, &call.headers, body).await?;
    let asked = decode_request(&message.bytes, &call.api.limits.codec)?;
    let answered = answer(call, asked, id).await?;
    let Answered { answer, own_id, contents, .. } = &answered;
    let stamp = Stamp::of(answer);
    let parameters = answered.parameters(&stamp);
    let document = document(answer, &stamp, own_id.as_deref(), parameters.as_ref());
    let message = tenon_codec::grpc::encode_response(&document, *contents, HEAD)?;
    Ok(stamp.respond_grpc(&answer.id, answers::whole(answers::framed(message))))
}

/// What came of a request, before it is written.
pub(super) struct Answered {
    pub(super) answer: tenon_contract::Response,
    /// The id that the request's own message bore.
    pub(super) own_id: Option<String>,
    contents: Contents,
    marks_final: bool,
}

impl Answered {
    /// The parameters of the answer, where it has others than its stamp.
    fn parameters(&self, stamp: &Stamp) -> Option<Parameters> {
        if self.answer.parameters.is_empty() && !self.marks_final {
            return None;
        }
        let own = self.answer.parameters.iter().chain(&stamp.parameters);
        let mut parameters: Parameters = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        if self.marks_final {
            parameters.extend(final_mark());
        }
        Some(parameters)
    }

    /// The answer as a message of a stream, in its frame.
    pub(super) fn streamed(&self) -> Result<VecDeque<Bytes>, Fault> {
        let stamp = Stamp::of(&self.answer);
        let parameters = self.parameters(&stamp);
        let document = document(&self.answer, &stamp, self.own_id.as_deref(), parameters.as_ref());
        tenon_codec::grpc::encode_streamed(&document, self.contents, HEAD).map(answers::framed)
    }
}

/// The parameter that says: no further answer to this request comes.
pub(super) fn final_mark() -> Parameters {
    Parameters::from([(FINAL.to_owned(), Parameter::Bool(true))])
}

fn document<'a>(
    answer: &'a tenon_contract::Response,
    stamp: &'a Stamp,
    id: Option<&'a str>,
    parameters: Option<&'a Parameters>,
) -> Answer<'a> {
    Answer {
        model_name: answer.identity.service.as_str(),
        model_version: Some(&stamp.number),
        id,
        parameters: parameters.unwrap_or(&stamp.parameters),
        outputs: &answer.outputs,
    }
}

/// Asks the data plane. `id` is the one of the call's metadata, or becomes the request's own, or a new one.
pub(super) async fn answer(
    call: &Call,
    asked: InferCall,
    id: &mut Option<RequestId>,
) -> Result<Answered, Fault> {
    let InferCall { model_name, model_version, request, marks_final } = asked;
    let InferRequest { id: own_id, parameters, inputs, outputs, binary_output } = request;
    if id.is_none() {
        *id = own_id.as_deref().and_then(|id| id.parse().ok());
    }
    let id = id.get_or_insert_with(|| call.api.ids.fresh()).clone();
    let wish = timeout(&call.headers, &parameters)?;
    let asked = Asked {
        service: service(&model_name)?,
        version: version(super::version(&model_version))?,
        id,
        timeout: [wish, call.timeout].into_iter().flatten().min(),
        parameters,
        inputs,
        outputs: &outputs,
    };
    let answer = ask_classified(&call.api, asked).await?;
    let contents = if binary_output { Contents::Raw } else { Contents::Typed };
    Ok(Answered { answer, own_id, contents, marks_final })
}

/// A fault as a message of a stream, in its frame.
pub(super) fn streamed_fault(fault: &Fault, names: (&str, &str), marks_final: bool) -> VecDeque<Bytes> {
    let parameters = if marks_final { final_mark() } else { Parameters::new() };
    let (model_name, id) = names;
    let answer =
        Answer { model_name, model_version: None, id: Some(id), parameters: &parameters, outputs: &[] };
    let message: Message = tenon_codec::grpc::encode_streamed_error(&fault.text, &answer, HEAD);
    answers::framed(message)
}
