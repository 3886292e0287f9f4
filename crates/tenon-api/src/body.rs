//! Bodies: collected into one piece under limits, decompressed, aligned.

use std::io::{Read as _, Write as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures::{Stream, StreamExt as _, stream};
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, EXPECT};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use serde::de::DeserializeOwned;
use tenon_contract::{Fault, FaultKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::parts::{Api, Limits, Shared};
use crate::status::{Style, refusal};

/// Binary tensors that begin at a multiple of this are read in place by every engine.
const ALIGNMENT: usize = 64;
/// Compressed bodies above this are unpacked away from the threads that serve.
const UNPACKED_IN_PLACE: usize = 16 << 10;
/// Bytes for which one permit of the budget stands.
const PERMIT: usize = 4 << 10;

/// Bytes that are read and thrown away of a body that was refused for its size, and how long that may take.
const DISCARDED: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// The budget of bytes in bodies that came in more than one piece.
pub(crate) struct Buffers {
    free: Arc<Semaphore>,
    limit: usize,
}

impl Buffers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let permits = (limits.buffered_bytes / PERMIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), limit: limits.buffered_bytes }
    }

    /// Takes `bytes` out of the budget for as long as the permit is kept.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Fault> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT)).unwrap_or(u32::MAX);
        self.free.clone().try_acquire_many_owned(permits).map_err(|_| {
            let limit = self.limit;
            Fault::overloaded(format!(
                "bodies under way have their limit of {limit} bytes (`buffered_bytes`); try again later"
            ))
        })
    }
}

/// What the rest of a body is read under.
struct Bounds<'a> {
    limit: usize,
    buffers: &'a Buffers,
    /// Where in the body the binary data begin.
    aligned_at: usize,
}

/// A body with what it holds of the budget, to be kept as long as the body.
pub(crate) struct Collected {
    pub(crate) bytes: Bytes,
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

/// Collects a request's body and unpacks it. A body that came in one piece is not copied; where it came
/// in several, byte `aligned_at` of it stands aligned for engines.
///
/// # Errors
/// Too large, before or after it is unpacked; too slow, cut off, packed in a way that is not read.
pub(crate) async fn collect<B>(
    api: &Shared,
    headers: &HeaderMap,
    body: B,
    aligned_at: usize,
) -> Result<Collected, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let limits = &api.limits;
    let packing = Packing::of(headers)?;
    let bounds = Bounds { limit: limits.request_bytes, buffers: &api.buffers, aligned_at };
    let collected = read_in_time(limits, headers, body, &bounds).await?;
    match packing {
        None => Ok(collected),
        Some(packing) => Box::pin(packing.unpack(collected.bytes, &bounds)).await,
    }
}

/// Collects a body of at most `limit` bytes as it stands.
///
/// # Errors
/// Too large, too slow, cut off.
pub(crate) async fn collect_up_to<B>(api: &Api, body: B, limit: usize) -> Result<Collected, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let bounds = Bounds { limit, buffers: &api.buffers, aligned_at: 0 };
    in_time(api.limits.body_timeout, read(pin!(body), &bounds)).await
}

/// Unpacks a message under the limit of bodies.
///
/// # Errors
/// Too large, or not packed so.
pub(crate) async fn unpack(api: &Api, packing: Packing, packed: Bytes) -> Result<Collected, Fault> {
    let bounds = Bounds { limit: api.limits.request_bytes, buffers: &api.buffers, aligned_at: 0 };
    Box::pin(packing.unpack(packed, &bounds)).await
}

/// Does `work` in `time`, which is `body_timeout`.
pub(crate) async fn in_time<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let mut work = pin!(work);
    // Most bodies are there with their head: then no timer is set.
    if let Poll::Ready(result) = futures::poll!(work.as_mut()) {
        return result;
    }
    tokio::time::timeout(time, work).await.unwrap_or_else(|_| {
        let seconds = time.as_secs_f64();
        Err(Fault::new(
            FaultKind::Deadline,
            format!("read body: it took longer than {seconds} s (`body_timeout`)"),
        ))
    })
}

/// Reads a body. One that is too large is thrown away before that is told, so that its caller, who is still sending, reads
/// the answer instead of finding the connection broken. Who asked first (`Expect`) has not begun to send.
async fn read_in_time<B>(
    limits: &Limits,
    headers: &HeaderMap,
    body: B,
    bounds: &Bounds<'_>,
) -> Result<Collected, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = pin!(body);
    let collected = in_time(limits.body_timeout, read(body.as_mut(), bounds)).await;
    if collected.as_ref().is_err_and(|fault| fault.kind == FaultKind::TooLarge)
        && !headers.contains_key(EXPECT)
    {
        // What is left after that time breaks the connection, as it must.
        let _ = Box::pin(tokio::time::timeout(DISCARD_TIME, discard(body))).await;
    }
    collected
}

async fn discard<B>(mut body: Pin<&mut B>)
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut discarded = 0;
    while discarded < DISCARDED
        && let Ok(Some(piece)) = piece(&mut body).await
    {
        discarded += piece.len();
    }
}

async fn read<B>(mut body: Pin<&mut B>, bounds: &Bounds<'_>) -> Result<Collected, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let announced = body.size_hint().lower();
    if announced > bounds.limit as u64 {
        return Err(too_large(bounds.limit));
    }
    let first = piece(&mut body).await?.unwrap_or_default();
    if first.len() > bounds.limit {
        return Err(too_large(bounds.limit));
    }
    if body.is_end_stream() {
        return Ok(Collected { bytes: first, held: None });
    }
    // Boxed, as all that is seldom done here, so that the future of the hot path is small.
    Box::pin(gather(body, first, announced as usize, bounds)).await
}

/// Puts the pieces of a body behind each other.
async fn gather<B>(
    mut body: Pin<&mut B>,
    first: Bytes,
    announced: usize,
    bounds: &Bounds<'_>,
) -> Result<Collected, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let room = announced.max(first.len()) + ALIGNMENT;
    let mut held = bounds.buffers.reserve(room)?;
    let mut buffer = BytesMut::with_capacity(room);
    let begin = padding(buffer.as_ptr() as usize + bounds.aligned_at);
    buffer.resize(begin, 0);
    buffer.extend_from_slice(&first);
    while let Some(piece) = piece(&mut body).await? {
        if buffer.len() - begin + piece.len() > bounds.limit {
            return Err(too_large(bounds.limit));
        }
        if buffer.len() + piece.len() > held.num_permits() * PERMIT {
            held.merge(bounds.buffers.reserve(piece.len())?);
        }
        buffer.extend_from_slice(&piece);
    }
    Ok(Collected { bytes: buffer.freeze().slice(begin..), held: Some(held) })
}

/// Bytes from `address` to the next one that is aligned.
fn padding(address: usize) -> usize {
    address.next_multiple_of(ALIGNMENT) - address
}

async fn piece<B>(body: &mut Pin<&mut B>) -> Result<Option<Bytes>, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::invalid(format!("read body: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cold]
pub(crate) fn too_large(limit: usize) -> Fault {
    Fault::new(
        FaultKind::TooLarge,
        format!("the body is larger than the limit of {limit} bytes (`request_bytes`)"),
    )
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    /// With the frame of zlib, as the standard says; bare, as some send it.
    Deflate,
}

impl Packing {
    /// The packing of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    fn of(headers: &HeaderMap) -> Result<Option<Self>, Fault> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            name => Self::named(name).map(Some).ok_or_else(|| {
                let name: String = name.chars().take(40).collect();
                Fault::invalid(format!("content-encoding `{name}` is not read; send gzip, deflate or none"))
            }),
        }
    }

    /// The packing that a caller takes for answers.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        let takes = |name: &str| {
            accepted.split(',').any(|one| {
                let (known, weight) = one.split_once(';').unwrap_or((one, ""));
                let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
                known.trim().eq_ignore_ascii_case(name) && weight.unwrap_or(1.0) > 0.0
            })
        };
        [Self::Gzip, Self::Deflate].into_iter().find(|packing| takes(packing.name()))
    }

    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Packs an answer, away from the threads that serve: quickly rather than small.
    pub(crate) async fn pack(self, pieces: Vec<Bytes>) -> Result<Bytes, Fault> {
        let work = tokio::task::spawn_blocking(move || match self {
            Self::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                pieces.iter().try_for_each(|piece| packed.write_all(piece))?;
                packed.finish()
            }
            Self::Deflate => {
                let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
                pieces.iter().try_for_each(|piece| packed.write_all(piece))?;
                packed.finish()
            }
        });
        let packed = work.await.map_err(|_| Fault::internal("packing an answer broke"))?;
        packed.map(Bytes::from).map_err(|error| Fault::internal(format!("pack answer: {error}")))
    }

    async fn unpack(self, packed: Bytes, bounds: &Bounds<'_>) -> Result<Collected, Fault> {
        let (limit, aligned_at) = (bounds.limit, bounds.aligned_at);
        if packed.len() <= UNPACKED_IN_PLACE {
            // At best a thousandfold: what small bodies unpack to is not worth a seat in the budget.
            let bytes = self.unpack_here(&packed, limit, aligned_at)?;
            return Ok(Collected { bytes, held: None });
        }
        let held = bounds.buffers.reserve(limit)?;
        let work = tokio::task::spawn_blocking(move || self.unpack_here(&packed, limit, aligned_at));
        let bytes = work.await.map_err(|_| Fault::internal("unpacking a body broke"))??;
        Ok(Collected { bytes, held: Some(held) })
    }

    fn unpack_here(self, packed: &[u8], limit: usize, aligned_at: usize) -> Result<Bytes, Fault> {
        let has_frame = packed.first().is_some_and(|byte| byte & 0x0f == 8);
        match self {
            Self::Gzip => inflate(flate2::bufread::MultiGzDecoder::new(packed), limit, aligned_at),
            Self::Deflate if has_frame => {
                inflate(flate2::bufread::ZlibDecoder::new(packed), limit, aligned_at)
            }
            Self::Deflate => inflate(flate2::bufread::DeflateDecoder::new(packed), limit, aligned_at),
        }
    }
}

fn inflate(unpacked: impl std::io::Read, limit: usize, aligned_at: usize) -> Result<Bytes, Fault> {
    let mut bytes = Vec::new();
    let read = unpacked.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Fault::invalid(format!("unpack body: {error}")))?;
    if bytes.len() > limit {
        return Err(too_large(limit));
    }
    let begin = padding(bytes.as_ptr() as usize + aligned_at);
    if begin == 0 || aligned_at == 0 {
        return Ok(bytes.into());
    }
    let mut aligned = BytesMut::with_capacity(bytes.len() + ALIGNMENT);
    let begin = padding(aligned.as_ptr() as usize + aligned_at);
    aligned.resize(begin, 0);
    aligned.extend_from_slice(&bytes);
    Ok(aligned.freeze().slice(begin..))
}

/// A body as it arrives, for what is streamed to the disk: cut off where it pauses too long.
pub(crate) fn paced(
    body: axum::body::Body,
    pause: Duration,
) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    stream::unfold(Some(body.into_data_stream()), move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(pause, stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(Fault::invalid(error.to_string())), None)),
            Err(_) => {
                let text = format!("nothing came for {} s (`body_timeout`)", pause.as_secs_f64());
                Some((Err(Fault::new(FaultKind::Deadline, text)), None))
            }
        }
    })
}

/// Extracts a JSON document of the administration.
pub(crate) struct Document<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Document<T> {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Shared) -> Result<Self, Response> {
        let style = Style::of(request.uri().path());
        document(api, request).await.map(Self).map_err(|fault| refusal(&fault, style))
    }
}

async fn document<T: DeserializeOwned>(api: &Shared, request: Request) -> Result<T, Fault> {
    let (parts, body) = request.into_parts();
    let body = collect_document(api, &parts.headers, body).await?;
    // An empty body asks for nothing in particular.
    let text = if body.is_empty() { b"{}" } else { body.as_ref() };
    serde_json::from_slice(text).map_err(|error| Fault::invalid(format!("read body: {error}")))
}

/// Collects a body that is a document of the administration.
///
/// # Errors
/// As [`collect`], under a smaller limit.
pub(crate) async fn collect_document<B>(api: &Shared, headers: &HeaderMap, body: B) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let limit = api.limits.document_bytes;
    let bounds = Bounds { limit, buffers: &api.buffers, aligned_at: 0 };
    let collected = read_in_time(&api.limits, headers, body, &bounds).await?;
    match Packing::of(headers)? {
        None => Ok(collected.bytes),
        Some(packing) => packing.unpack(collected.bytes, &bounds).await.map(|unpacked| unpacked.bytes),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    fn limits() -> Limits {
        Limits { request_bytes: 1000, buffered_bytes: 1 << 20, ..Limits::default() }
    }

    async fn gathered(pieces: &[usize], aligned_at: usize) -> Result<Bytes, Fault> {
        let buffers = Buffers::new(&limits());
        let frames = pieces.iter().map(|length| Ok::<_, Fault>(Frame::data(Bytes::from(vec![7; *length]))));
        let body = StreamBody::new(futures::stream::iter(frames.collect::<Vec<_>>()));
        let bounds = Bounds { limit: 1000, buffers: &buffers, aligned_at };
        read(pin!(body), &bounds).await.map(|collected| collected.bytes)
    }

    #[tokio::test]
    async fn one_piece_is_not_copied_and_several_are_joined_under_the_limit() {
        let whole = Bytes::from(vec![1; 10]);
        let buffers = Buffers::new(&limits());
        let bounds = Bounds { limit: 10, buffers: &buffers, aligned_at: 3 };
        let read = read(pin!(Full::new(whole.clone())), &bounds).await.unwrap();
        assert_eq!(read.bytes.as_ptr(), whole.as_ptr());
        assert_eq!(gathered(&[1, 2, 3], 0).await.unwrap().as_ref(), [7; 6]);
        assert_eq!(gathered(&[500, 500], 0).await.unwrap().len(), 1000);
        assert_eq!(gathered(&[500, 501], 0).await.unwrap_err().kind, FaultKind::TooLarge);
        assert_eq!(gathered(&[1001], 0).await.unwrap_err().kind, FaultKind::TooLarge);
    }

    #[tokio::test]
    async fn answers_are_packed_as_the_caller_takes_them() {
        let check = |accepted: &str, expected: Option<Packing>| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().unwrap())]);
            assert_eq!(Packing::accepted(&headers), expected, "{accepted}");
        };
        check("gzip, deflate", Some(Packing::Gzip));
        check("br, Deflate;q=0.5", Some(Packing::Deflate));
        check("gzip;q=0, identity", None);
        check("*", None);
        for packing in [Packing::Gzip, Packing::Deflate] {
            let packed = packing.pack(vec![Bytes::from_static(b"one "), Bytes::from_static(b"two")]).await;
            assert_eq!(packing.unpack_here(&packed.unwrap(), 100, 0).unwrap().as_ref(), b"one two");
        }
    }

    #[test]
    fn bombs_stop_at_the_limit_and_garbage_is_refused() {
        let packed = |bytes: &[u8]| {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        };
        let check = |packing: Packing, packed: &[u8], expected: Result<usize, FaultKind>| {
            let found = packing.unpack_here(packed, 1000, 13);
            assert_eq!(found.map(|bytes| bytes.len()).map_err(|fault| fault.kind), expected);
        };
        check(Packing::Gzip, &packed(&[0; 1000]), Ok(1000));
        check(Packing::Gzip, &packed(&[0; 1 << 20]), Err(FaultKind::TooLarge));
        check(Packing::Gzip, &packed(&[0; 1000])[..15], Err(FaultKind::Invalid));
        check(Packing::Gzip, b"hello", Err(FaultKind::Invalid));
        check(Packing::Deflate, b"hello", Err(FaultKind::Invalid));
        let aligned = Packing::Gzip.unpack_here(&packed(&[5; 100]), 1000, 13).unwrap();
        assert_eq!((aligned.as_ptr() as usize + 13) % ALIGNMENT, 0);
        assert_eq!(aligned.as_ref(), [5; 100]);
    }
}
