//! Frames of gRPC: one byte that says whether a message is packed, its length in four, the message.
//!
//! All limits of bodies hold here: bytes of a message, also after it is unpacked, bytes under way over all
//! requests, and the time that a message which has begun may take.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tenon_contract::{Fault, FaultKind};

use crate::body::{self, Collected, Packing};
use crate::parts::{Api, Shared};

/// Bytes before each message.
pub(crate) const HEAD: usize = 5;
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The only message of a call.
///
/// # Errors
/// None or more than one, too large, too slow, cut off, packed in a way that is not read.
pub(crate) async fn only(api: &Api, headers: &HeaderMap, body: Incoming) -> Result<Collected, Fault> {
    let limit = api.limits.request_bytes;
    let collected = body::collect_up_to(api, body, limit.saturating_add(HEAD)).await;
    let Collected { mut bytes, held } = collected.map_err(|fault| match fault.kind {
        // The limit is one of messages: their frame does not count.
        FaultKind::TooLarge => body::too_large(limit),
        _ => fault,
    })?;
    let head = head(&bytes)?.ok_or_else(cut_off)?;
    bytes.advance(HEAD);
    if bytes.len() != head.length {
        return Err(if bytes.len() < head.length { cut_off() } else { too_many() });
    }
    if !head.is_packed {
        return Ok(Collected { bytes, held });
    }
    body::unpack(api, packing(headers)?, bytes).await
}

#[derive(Clone, Copy)]
struct Head {
    is_packed: bool,
    length: usize,
}

/// The head of the frame at the start of `bytes`, where it is complete.
fn head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let Some([packed, length @ ..]) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
    if *packed > 1 {
        return Err(Fault::invalid(format!("read frame: expected 0 or 1 at its start, found {packed}")));
    }
    Ok(Some(Head { is_packed: *packed == 1, length: u32::from_be_bytes(*length) as usize }))
}

/// How packed messages are packed.
fn packing(headers: &HeaderMap) -> Result<Packing, Fault> {
    let name = headers.get(ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    Packing::named(name).ok_or_else(|| {
        let name: String = name.chars().take(40).collect();
        let text = format!("messages packed with `{name}` are not read; send gzip, deflate or none");
        Fault::new(FaultKind::Unsupported, text)
    })
}

#[cold]
fn cut_off() -> Fault {
    Fault::invalid("read frame: the message is cut off or there is none")
}

#[cold]
fn too_many() -> Fault {
    Fault::invalid("read frame: expected one message, found more")
}

/// The messages of a stream, one after the other.
pub(crate) struct Messages {
    api: Shared,
    headers: HeaderMap,
    body: Incoming,
    /// What came and has not been read.
    rest: Bytes,
}

impl Messages {
    pub(crate) fn new(api: Shared, headers: HeaderMap, body: Incoming) -> Self {
        Self { api, headers, body, rest: Bytes::new() }
    }

    /// The next message; none at the end of the stream. Between two messages a caller may wait as long as he
    /// likes, until the server ends.
    ///
    /// # Errors
    /// As [`only`]. The stream is of no use after it.
    pub(crate) async fn next(&mut self) -> Result<Option<Collected>, Fault> {
        if self.rest.is_empty() {
            let stopping = self.api.stopping.clone();
            let piece = tokio::select! {
                piece = piece(&mut self.body) => piece?,
                () = stopping.cancelled() => return Err(Fault::unavailable("the server is shutting down")),
            };
            let Some(piece) = piece else { return Ok(None) };
            self.rest = piece;
        }
        let time = self.api.limits.body_timeout;
        body::in_time(time, self.message()).await.map(Some)
    }

    async fn message(&mut self) -> Result<Collected, Fault> {
        let head = loop {
            match head(&self.rest)? {
                Some(head) => break head,
                None => {
                    let more = piece(&mut self.body).await?.ok_or_else(cut_off)?;
                    let mut joined = BytesMut::with_capacity(self.rest.len() + more.len());
                    joined.extend_from_slice(&self.rest);
                    joined.extend_from_slice(&more);
                    self.rest = joined.freeze();
                }
            }
        };
        if head.length > self.api.limits.request_bytes {
            return Err(body::too_large(self.api.limits.request_bytes));
        }
        self.rest.advance(HEAD);
        let message = self.bytes(head.length).await?;
        if !head.is_packed {
            return Ok(message);
        }
        body::unpack(&self.api, packing(&self.headers)?, message.bytes).await
    }

    /// The next `length` bytes; not copied where they are there in one piece.
    async fn bytes(&mut self, length: usize) -> Result<Collected, Fault> {
        if self.rest.len() >= length {
            return Ok(Collected { bytes: self.rest.split_to(length), held: None });
        }
        let held = self.api.buffers.reserve(length)?;
        let mut bytes = BytesMut::with_capacity(length);
        loop {
            let take = self.rest.len().min(length - bytes.len());
            bytes.extend_from_slice(&self.rest.split_to(take));
            if bytes.len() == length {
                return Ok(Collected { bytes: bytes.freeze(), held: Some(held) });
            }
            self.rest = piece(&mut self.body).await?.ok_or_else(cut_off)?;
        }
    }
}

async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Fault> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::new(FaultKind::Cancelled, format!("read body: {error}")))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        assert!(head(&[0, 0, 0, 1]).unwrap().is_none());
        let read = head(&[1, 0, 1, 0, 2, 9]).unwrap().unwrap();
        assert_eq!((read.is_packed, read.length), (true, (1 << 16) + 2));
        assert!(head(&[2, 0, 0, 0, 0]).is_err());
    }
}
