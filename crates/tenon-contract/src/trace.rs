//! Traces: where a request stands in the trace of its caller, and spans as they are told to a collector.
//!
//! The context travels as the headers `traceparent` and `tracestate` of W3C Trace Context; spans are those of
//! OpenTelemetry, before any wire. A span never holds what was sent or answered.

use std::borrow::Cow;
use std::fmt;

/// Number of a trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Number of a span in its trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// The id of two drawn numbers.
    pub fn drawn(high: u64, low: u64) -> Self {
        let number = (u128::from(high) << 64) | u128::from(low);
        Self(number.max(1).to_be_bytes())
    }

    /// Its bytes as on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as a number.
    pub fn number(&self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl SpanId {
    /// The id of a drawn number.
    pub fn drawn(number: u64) -> Self {
        Self(number.max(1).to_be_bytes())
    }

    /// The id of the `nth` span beneath this one: spans that are told together need no further draw.
    #[must_use]
    pub fn child(&self, nth: u64) -> Self {
        // An odd factor makes it one to one, so that children of one span never meet.
        Self::drawn(u64::from_be_bytes(self.0).wrapping_add((nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Its bytes as on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// The value of a header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span of whoever sends it.
    pub span: SpanId,
    /// Whether spans of this trace are kept.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Bytes of the header in the version that is written.
    const LENGTH: usize = 55;

    /// Reads the header; nothing where it is not one. Later versions are read as far as this one goes.
    pub fn read(header: &[u8]) -> Option<Self> {
        let version = hex_of::<1>(header.get(..2)?)?[0];
        let ends = match header.get(Self::LENGTH) {
            None => header.len() == Self::LENGTH,
            Some(next) => version > 0 && *next == b'-',
        };
        let dashes = [2, 35, 52].iter().all(|at| header.get(*at) == Some(&b'-'));
        if version == 0xff || !ends || !dashes {
            return None;
        }
        let (trace, span) = (hex_of(&header[3..35])?, hex_of(&header[36..52])?);
        let flags = hex_of::<1>(&header[53..55])?[0];
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            is_sampled: flags & 1 == 1,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

/// Lowercase hex of exactly `N` bytes.
fn hex_of<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

/// One thing that was done, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The span that caused it.
    pub parent: Option<SpanId>,
    /// Whether that one is on another machine.
    pub is_parent_remote: bool,
    /// The caller's `tracestate`; empty where there was none.
    pub state: String,
    /// What was done: a name of which there are few.
    pub name: Cow<'static, str>,
    /// Whether it is the answer to somebody's request.
    pub is_server: bool,
    /// Nanoseconds since 1970.
    pub begun_ns: u64,
    /// The same, never before it began.
    pub ended_ns: u64,
    /// What is known of it. Never payloads.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed, where it did.
    pub fault: Option<String>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// true or false.
    Truth(bool),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Attribute {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Attribute {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

/// Something over of which spans can be told. Whoever did it notes instants only; the spans are made where they are
/// sent, away from the threads that serve.
pub trait Traced: Send {
    /// Its spans.
    fn spans(self: Box<Self>) -> Vec<Span>;
}

/// Where traces go. Given by the binary.
pub trait TraceSink: Send + Sync {
    /// Takes one, at once and without waiting; what there is no room for is dropped and counted.
    fn take(&self, traced: Box<dyn Traced>);

    /// What became of those it was given.
    fn counts(&self) -> TraceCounts;
}

/// What became of traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Spans that were taken where they are kept.
    pub sent: u64,
    /// Spans that were not.
    pub lost: u64,
    /// Traces for which there was no room.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_by_its_grammar() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = |text: &str| TraceParent::read(text.as_bytes());
        let parent = read(good).unwrap();
        assert_eq!((parent.to_string().as_str(), parent.is_sampled), (good, true));
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02-more";
        assert_eq!(read(later).map(|parent| parent.is_sampled), Some(false));
        for bad in [
            "",
            "00",
            &good[..54],
            &format!("{good}-"),
            &format!("{good}0"),
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_are_never_zero_and_children_differ() {
        assert_eq!(TraceId::drawn(0, 0).to_string(), "00000000000000000000000000000001");
        assert_eq!(SpanId::drawn(0).to_string(), "0000000000000001");
        let parent = SpanId::drawn(7);
        let children: std::collections::HashSet<_> = (0..1000).map(|nth| parent.child(nth)).collect();
        assert_eq!((children.len(), children.contains(&parent)), (1000, false));
    }
}
