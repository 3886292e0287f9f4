//! `ModelStreamInfer`: many requests over one stream, each answered in its turn.
//!
//! A request that goes wrong is told in `error_message` and the stream goes on; what breaks the stream itself,
//! or the right to ask, ends it with a status. The next request is read when the last one was answered and the
//! answer was taken: a caller that does not read is not read from.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use futures::{FutureExt as _, stream};
use hyper::body::Incoming;
use tenon_codec::grpc::{decode_request, names_of};
use tenon_contract::Fault;
use tenon_control::Infer;

use super::ask;
use crate::grpc::frames::Messages;
use crate::grpc::{Call, answers, broken};
use crate::spans::{self, Recording};

/// Answers a stream.
pub(super) fn infer(call: &Call, body: Incoming) -> Result<Response, Fault> {
    call.permit(Infer)?;
    let messages = Messages::new(call.api.clone(), call.headers.clone(), body);
    // The deadline of the call is that of the whole stream; each request has its own in its parameters.
    let until = call.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let of_requests = Call { timeout: None, api: call.api.clone(), headers: call.headers.clone(), id: None };
    // The trace goes on as long as the stream, which the server polls after this call has returned.
    let recording = spans::current();
    if let Some(recording) = &recording {
        recording.streams();
    }
    let open = Open { call: of_requests, messages, until, recording };
    Ok(answers::stream(stream::try_unfold(open, async |mut open| {
        Ok(open.next().await?.map(|answer| (answer, open)))
    })))
}

/// A stream that has not ended.
struct Open {
    call: Call,
    messages: Messages,
    until: Option<tokio::time::Instant>,
    recording: Option<Arc<Recording>>,
}

impl Open {
    /// The answer to the next request.
    async fn next(&mut self) -> Result<Option<VecDeque<Bytes>>, Fault> {
        let Some(recording) = self.recording.clone() else { return self.in_time().await };
        let next = spans::within(recording.clone(), self.in_time()).await;
        next.inspect_err(|fault| recording.broke(fault))
    }

    async fn in_time(&mut self) -> Result<Option<VecDeque<Bytes>>, Fault> {
        let Some(until) = self.until else { return self.answer().await };
        tokio::time::timeout_at(until, self.answer()).await.unwrap_or_else(|_| Err(crate::grpc::late()))
    }

    async fn answer(&mut self) -> Result<Option<VecDeque<Bytes>>, Fault> {
        let Some(message) = self.messages.next().await? else { return Ok(None) };
        let mut marks_final = false;
        let answered = async {
            let asked = decode_request(&message.bytes, &self.call.api.limits.codec)?;
            marks_final = asked.marks_final;
            ask::answer(&self.call, asked, &mut None).await?.streamed()
        };
        let answered = AssertUnwindSafe(answered).catch_unwind().await.unwrap_or_else(|_| Err(broken()));
        Ok(Some(answered.unwrap_or_else(|fault| {
            let (model, id) = names_of(&message.bytes);
            self.call.api.lines.message_failed(&fault, &model, &id);
            ask::streamed_fault(&fault, (&model, &id), marks_final)
        })))
    }
}
