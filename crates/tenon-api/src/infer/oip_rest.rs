//! `POST /v2/models/{service}[/versions/{version}]/infer`: the Open Inference Protocol over REST, JSON or
//! with binary tensors behind it.
//!
//! This is the hot path. It allocates what the answer needs and little more; the steps stand in
//! [`answer`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Frame, SizeHint};
use tenon_codec::oip::{self, Encoded, Form, InferRequest};
use tenon_contract::{Fault, RequestId, ServiceName};
use tenon_control::Infer;

use super::{Asked, ask_classified, service, timeout, version};
use crate::body::{self, Packing};
use crate::identity::Stamp;
use crate::ids::{self, Ids};
use crate::parts::Shared;
use crate::status::{Style, refusal};

const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Answers from this many bytes on are packed for callers who take them so.
const LARGE: usize = 16 << 10;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'p> {
    service: &'p str,
    version: Option<&'p str>,
}

impl<'p> Target<'p> {
    /// The target of a path, where it is one of `infer` without escapes: names need none.
    pub(crate) fn of(path: &'p str) -> Option<Self> {
        let names = path.strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
        // By single letters: looking for a text would first build a searcher, for every request.
        let (service, version) = match names.split_once('/') {
            Some((service, rest)) => (service, Some(rest.strip_prefix("versions/")?)),
            None => (names, None),
        };
        let is_plain = |name: &str| !name.is_empty() && !name.contains(['/', '%']);
        (is_plain(service) && version.is_none_or(is_plain)).then_some(Self { service, version })
    }
}

/// The handler of the router; [`infer`] is also called past it.
pub(crate) async fn routed(State(api): State<Shared>, names: RawPathParams, request: Request) -> Response {
    let name = |key: &str| names.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
    let target = Target { service: name("service").unwrap_or_default(), version: name("version") };
    let (parts, body) = request.into_parts();
    infer(&api, target, &parts, body).await
}

/// Answers a request, or says why not.
pub(crate) async fn infer<B>(api: &Shared, target: Target<'_>, parts: &Parts, body: B) -> Response
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    // The id is known only after the body was read, and a refusal bears it too.
    let mut id = Ids::brought(&parts.headers);
    match answer(api, target, parts, body, &mut id).await {
        Ok(response) => response,
        Err(fault) => {
            let mut response = refusal(&fault, Style::Oip);
            if let Some(id) = id {
                response.headers_mut().insert(ids::REQUEST_ID, ids::header(&id));
            }
            response
        }
    }
}

async fn answer<B>(
    api: &Shared,
    target: Target<'_>,
    parts: &Parts,
    body: B,
    id: &mut Option<RequestId>,
) -> Result<Response, Fault>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let headers = &parts.headers;
    api.access.permit(headers, Infer)?;
    let service = service(target.service)?;
    let version = version(target.version)?;
    let json_length = json_length(headers)?;
    let body = body::collect(api, headers, body, json_length.unwrap_or(0)).await?;
    let asked = decode(api, &service, body.bytes.clone(), json_length)?;
    if id.is_none() {
        *id = asked.id.as_deref().and_then(|id| id.parse().ok());
    }
    let id = id.get_or_insert_with(|| api.ids.fresh()).clone();
    let request = Asked {
        service,
        version,
        id,
        timeout: timeout(headers, &asked.parameters)?,
        parameters: asked.parameters,
        inputs: asked.inputs,
        outputs: &asked.outputs,
    };
    let answer = ask_classified(api, request).await?;
    let wants_binary = |name: &str| oip::wants_binary(&asked.outputs, asked.binary_output, name);
    let form = |name: &str| if wants_binary(name) { Form::Binary } else { Form::Json };
    match write(&answer, asked.id.as_deref(), form, headers)? {
        Written::Whole(response) => Ok(response),
        // Apart, as it waits: the future of the hot path is small.
        Written::ToPack(encoded, packing) => Box::pin(respond_packed(answer, encoded, packing)).await,
    }
}

/// An answer as far as it can be written at once.
enum Written {
    Whole(Response),
    ToPack(Encoded, Packing),
}

fn write(
    answer: &tenon_contract::Response,
    id: Option<&str>,
    form: impl Fn(&str) -> Form,
    headers: &HeaderMap,
) -> Result<Written, Fault> {
    let stamp = Stamp::of(answer);
    let encoded = encode(answer, &stamp, id, form)?;
    let packing = if encoded.length() < LARGE { None } else { Packing::accepted(headers) };
    Ok(match packing {
        Some(packing) => Written::ToPack(encoded, packing),
        None => Written::Whole(respond(answer, &stamp, encoded)),
    })
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Fault> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length
        .map(Some)
        .ok_or_else(|| Fault::invalid("header `Inference-Header-Content-Length`: expected a number of bytes"))
}

fn decode(
    api: &Shared,
    service: &ServiceName,
    body: Bytes,
    json_length: Option<usize>,
) -> Result<InferRequest, Fault> {
    if json_length == Some(0) {
        return decode_raw(api, service, body);
    }
    oip::decode_request(body, json_length, &api.limits.codec)
}

/// A body without JSON is the one input of the service.
fn decode_raw(api: &Shared, service: &ServiceName, body: Bytes) -> Result<InferRequest, Fault> {
    let generation = api.node.pin();
    let unknown =
        || super::absent(api, service, Fault::not_found(format!("no service `{service}` is served here")));
    let promise = generation.slot(service).ok_or_else(unknown)?.promise();
    match promise.inputs.as_slice() {
        [input] => oip::decode_raw(body, input),
        inputs => Err(Fault::invalid(format!(
            "read raw request: expected a service with one input, `{service}` has {}; send its tensors with \
             their JSON before them",
            inputs.len()
        ))),
    }
}

fn encode(
    answer: &tenon_contract::Response,
    stamp: &Stamp,
    id: Option<&str>,
    form: impl Fn(&str) -> Form,
) -> Result<Encoded, Fault> {
    if answer.parameters.is_empty() {
        return stamp.stem.encode(id, &answer.outputs, form);
    }
    let own = answer.parameters.iter().chain(&stamp.parameters);
    let parameters = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    oip::Stem::new(answer.identity.service.as_str(), Some(&stamp.number), &parameters).encode(
        id,
        &answer.outputs,
        form,
    )
}

/// The answer of a caller who takes it packed. Its lengths are those of the answer that is unpacked.
async fn respond_packed(
    answer: tenon_contract::Response,
    encoded: Encoded,
    packing: Packing,
) -> Result<Response, Fault> {
    let Encoded { json_length, head, payloads } = encoded;
    let head = packing.pack(std::iter::once(head).chain(payloads).collect()).await?;
    let packed = Encoded { json_length, head, payloads: Vec::new() };
    let mut response = respond(&answer, &Stamp::of(&answer), packed);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(packing.name()));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

fn respond(answer: &tenon_contract::Response, stamp: &Stamp, encoded: Encoded) -> Response {
    let Encoded { json_length, head, payloads } = encoded;
    let body = if payloads.is_empty() { Body::from(head) } else { Body::new(Pieces::new(head, payloads)) };
    let mut response = stamp.respond(&answer.id, body);
    if let Some(length) = json_length {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, BINARY);
        headers.insert(JSON_LENGTH, HeaderValue::from(length));
    }
    response
}

/// A body of several pieces whose length is known: large payloads are sent from where they are.
struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Pieces {
    fn new(head: Bytes, payloads: Vec<Bytes>) -> Self {
        let pieces: VecDeque<_> =
            std::iter::once(head).chain(payloads).filter(|piece| !piece.is_empty()).collect();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, left }
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.pop_front();
        self.left -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_their_target() {
        let check = |path: &str, expected: Option<(&str, Option<&str>)>| {
            let expected = expected.map(|(service, version)| Target { service, version });
            assert_eq!(Target::of(path), expected, "{path}");
        };
        check("/v2/models/digits/infer", Some(("digits", None)));
        check("/v2/models/digits/versions/2/infer", Some(("digits", Some("2"))));
        check("/v2/models/infer", None);
        check("/v2/models//infer", None);
        check("/v2/models/a/b/infer", None);
        check("/v2/models/a/versions//infer", None);
        check("/v2/models/a%2eb/infer", None);
        check("/v2/models/digits/infer/", None);
    }
}
