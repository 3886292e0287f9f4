//! gRPC on the one port: what `content-type: application/grpc` marks on HTTP/2.
//!
//! The guard has looked at host and origin already. Here a path becomes a method, frames become messages
//! ([`frames`]), faults become the status in the trailers ([`answers`]), and a panic becomes a fault. The methods
//! of inference stand in [`crate::infer::oip_grpc`].

pub(crate) mod answers;
pub(crate) mod frames;
mod health;
mod reflection;
mod timeout;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Version};
use hyper::body::Incoming;
use prost::Message;
use tenon_contract::{Fault, FaultKind, RequestId};
use tenon_control::Permit;

use crate::auth::Scope;
use crate::ids::{self, Ids};
use crate::infer::oip_grpc;
use crate::parts::Shared;

/// What is called, and by whom: all of a call but its messages.
pub(crate) struct Call {
    pub(crate) api: Shared,
    pub(crate) headers: HeaderMap,
    /// How long the caller waits.
    pub(crate) timeout: Option<Duration>,
    /// The id that the call brought in its metadata.
    pub(crate) id: Option<RequestId>,
}

impl Call {
    /// The permit for `action` of whoever calls.
    pub(crate) fn permit<A: Scope>(&self, action: A) -> Result<Permit<A>, Fault> {
        self.api.access.permit(&self.headers, action)
    }
}

/// Whether a request is a call of gRPC.
pub(crate) fn is_call<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether a path is one of the repository's, whose work may take long.
pub(crate) fn is_administration(path: &str) -> bool {
    split(path)
        .is_some_and(|(service, method)| service == oip_grpc::SERVICE && method.starts_with("Repository"))
}

/// Service and method of a path.
fn split(path: &str) -> Option<(&str, &str)> {
    path.trim_start_matches('/').split_once('/')
}

/// Answers a call, or says why not.
pub(crate) async fn answer(api: &Shared, request: Request<Incoming>) -> Response {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let id = Ids::brought(&headers);
    let call = match timeout::of(&headers) {
        Ok(timeout) => Call { api: api.clone(), headers, timeout, id: id.clone() },
        Err(fault) => return told(answers::refusal(&fault), id),
    };
    if method != Method::POST {
        return told(answers::refusal(&Fault::invalid("a call is a POST")), id);
    }
    if uri.path() == oip_grpc::INFER {
        // By itself, so that the future of the hot path is small.
        return oip_grpc::infer(&call, body).await;
    }
    let answered = AssertUnwindSafe(Box::pin(dispatch(call, uri.path(), body))).catch_unwind().await;
    let answered = answered.unwrap_or_else(|_| Err(broken()));
    told(answered.unwrap_or_else(|fault| answers::refusal(&fault)), id)
}

/// The fault of a call that panicked. The panic's own words are in the log.
#[cold]
pub(crate) fn broken() -> Fault {
    Fault::internal("the call broke in the server")
}

fn told(mut response: Response, id: Option<RequestId>) -> Response {
    if let Some(id) = id {
        response.headers_mut().insert(ids::REQUEST_ID, ids::header(&id));
    }
    response
}

/// Every service that is spoken here.
async fn dispatch(call: Call, path: &str, body: Incoming) -> Result<Response, Fault> {
    let (service, method) = split(path).unwrap_or_default();
    match service {
        oip_grpc::SERVICE => oip_grpc::call(call, method, body).await,
        health::SERVICE => health::call(call, method, body).await,
        reflection::SERVICE | reflection::OLDER => reflection::call(call, method, body),
        _ => Err(unknown(path)),
    }
}

/// The fault of a method that nobody knows.
#[cold]
pub(crate) fn unknown(path: &str) -> Fault {
    let path: String = path.chars().take(200).collect();
    Fault::new(FaultKind::Unsupported, format!("no method `{path}`; server reflection lists them"))
}

/// Reads a message of the generated types.
fn read<Q: Message + Default>(message: Bytes) -> Result<Q, Fault> {
    Q::decode(message).map_err(|error| Fault::invalid(format!("read request: {error}")))
}

/// A call of one message and one answer. What it `may` is known before its message is read.
pub(crate) async fn unary<P, Q, A>(
    call: &Call,
    body: Incoming,
    may: Result<P, Fault>,
    work: impl AsyncFnOnce(P, Q) -> Result<A, Fault>,
) -> Result<Response, Fault>
where
    Q: Message + Default,
    A: Message,
{
    let permit = may?;
    let work = async {
        let message = frames::only(&call.api, &call.headers, body).await?;
        work(permit, read(message.bytes)?).await
    };
    let answer = match call.timeout {
        None => work.await?,
        Some(timeout) => tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(late()))?,
    };
    Ok(answers::of(&answer))
}

#[cold]
pub(crate) fn late() -> Fault {
    Fault::new(FaultKind::Deadline, "the caller's deadline has passed")
}
