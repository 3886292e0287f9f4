//! What callers of gRPC get: messages in frames and a status behind them, or a status alone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Frame;
use tenon_contract::{Fault, FaultKind};

use super::frames::HEAD;
use crate::status::{self, Failed, GRPC_STATUS};

pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const PACKINGS: HeaderValue = HeaderValue::from_static("identity,gzip,deflate");
const OK: HeaderValue = HeaderValue::from_static("0");
/// Most bytes of a status' text, before they are escaped: it travels in a header.
const TEXT: usize = 2 << 10;

/// A message as it stands in its frame: the head is part of its first bytes.
pub(crate) fn framed(mut message: tenon_codec::grpc::Message) -> VecDeque<Bytes> {
    let length = message.length() - HEAD;
    put_length(&mut message.head, length);
    std::iter::once(message.head.into()).chain(message.pieces).collect()
}

fn put_length(head: &mut [u8], length: usize) {
    // Longer messages than a frame can tell cannot be made: 4 GiB is far beyond what tensors may hold.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    head[1..HEAD].copy_from_slice(&length.to_be_bytes());
}

/// A message of the generated types in its frame.
pub(crate) fn frame(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(HEAD + length);
    frame.resize(HEAD, 0);
    put_length(&mut frame, length);
    message.encode_raw(&mut frame);
    frame.into()
}

/// The answer of one message.
pub(crate) fn of(message: &impl prost::Message) -> Response {
    response(whole(VecDeque::from([frame(message)])))
}

/// A body of one message and the status that all is well.
pub(crate) fn whole(pieces: VecDeque<Bytes>) -> Body {
    Body::new(Whole { pieces, ended: false })
}

/// The answer with a body of frames.
pub(crate) fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// The answer of a stream: messages in their frames; the first fault ends it and becomes its status.
pub(crate) fn stream(
    messages: impl Stream<Item = Result<VecDeque<Bytes>, Fault>> + Send + 'static,
) -> Response {
    response(Body::new(Streamed { messages: Box::pin(messages), pieces: VecDeque::new(), ended: false }))
}

/// The answer of a call that went wrong before anything was sent: the status stands in the headers.
pub(crate) fn refusal(fault: &Fault) -> Response {
    let mut response = response(Body::empty());
    Failed::mark(&mut response, fault);
    response.headers_mut().extend(trailers(Some(fault)));
    if fault.kind == FaultKind::Unsupported {
        response.headers_mut().insert(ACCEPTED, PACKINGS);
    }
    response
}

fn trailers(fault: Option<&Fault>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    match fault {
        None => trailers.insert(GRPC_STATUS, OK),
        Some(fault) => {
            trailers.insert(MESSAGE, escaped(&fault.text));
            trailers.insert(GRPC_STATUS, HeaderValue::from(status::code(fault.kind) as u16))
        }
    };
    trailers
}

/// A text as `grpc-message` carries it: everything but visible ASCII in percent.
fn escaped(text: &str) -> HeaderValue {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes().take(TEXT) {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    HeaderValue::from_str(&escaped).unwrap_or(HeaderValue::from_static(""))
}

/// A message whose bytes are all there, sent from where they are, and the status behind them.
struct Whole {
    pieces: VecDeque<Bytes>,
    ended: bool,
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match self.pieces.pop_front() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if self.ended => None,
            None => {
                self.ended = true;
                Some(Ok(Frame::trailers(trailers(None))))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// Messages as they come, and the status behind them.
struct Streamed<S> {
    messages: Pin<Box<S>>,
    /// What is left of the last message.
    pieces: VecDeque<Bytes>,
    ended: bool,
}

impl<S: Stream<Item = Result<VecDeque<Bytes>, Fault>>> hyper::body::Body for Streamed<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let fault = match ready!(self.messages.as_mut().poll_next(context)) {
                Some(Ok(pieces)) => {
                    self.pieces = pieces;
                    continue;
                }
                Some(Err(fault)) => Some(fault),
                None => None,
            };
            self.ended = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(fault.as_ref())))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("no model `m`", "no model `m`");
        check("100 % é\n", "100 %25 %C3%A9%0A");
    }

    #[test]
    fn lengths_stand_before_their_message() {
        let message = tenon_codec::grpc::inference::ServerLiveResponse { live: true };
        assert_eq!(&frame(&message)[..], [0, 0, 0, 0, 2, 8, 1]);
        let ours =
            tenon_codec::grpc::Message { head: vec![0, 0, 0, 0, 0, 9], pieces: vec![vec![7; 300].into()] };
        let framed = framed(ours);
        assert_eq!((&framed[0][..], framed[1].len()), (&[0, 0, 0, 1, 45, 9][..], 300));
    }
}
