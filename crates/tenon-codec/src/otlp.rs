//! Spans as collectors of OpenTelemetry take them: the messages of OTLP's traces, as far as they are filled here.
//!
//! Written down with their field numbers rather than generated: there are eight of them, and they do not change.
//! What the official package writes is a file beside the tests.

use prost::{Message, Oneof};
use tenon_contract::trace::{self, Attribute};

/// Where below a collector's address traces are sent to over HTTP.
pub const PATH: &str = "/v1/traces";
/// Their content type.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct TracesRequest {
    /// Spans by the process that they come from.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// `ExportTraceServiceResponse`: whether some spans were refused.
#[derive(Clone, PartialEq, Message)]
pub struct TracesResponse {
    /// What was refused, and why.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// How many.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// Spans of one process.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceSpans {
    /// The process.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Spans by what made them.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// A process.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// What it is.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// Spans made by one library.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeSpans {
    /// The library.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The spans.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// A span.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// As in the header `tracestate`.
    #[prost(string, tag = "3")]
    pub trace_state: String,
    /// 8 bytes, or none.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// What was done.
    #[prost(string, tag = "5")]
    pub name: String,
    /// 1 for what happens inside, 2 for the answer to a request.
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// Whether it failed.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
    /// The flags of the trace, and whether the parent is on another machine.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

/// How a span ended.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// Why it failed.
    #[prost(string, tag = "2")]
    pub message: String,
    /// 2 for an error.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// An attribute.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// The value of an attribute.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// One of the kinds that are used here.
    #[prost(oneof = "Value", tags = "1, 2, 3")]
    pub value: Option<Value>,
}

/// Kinds of values.
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// true or false.
    #[prost(bool, tag = "2")]
    Truth(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Number(i64),
}

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const ERROR: i32 = 2;
/// In `flags`: the trace is sampled; it is known whether the parent is remote; it is.
const SAMPLED: u32 = 1;
const KNOWS_REMOTE: u32 = 0x100;
const REMOTE: u32 = 0x200;

impl KeyValue {
    /// An attribute.
    pub fn new(key: &str, value: Attribute) -> Self {
        let value = match value {
            Attribute::Text(text) => Value::Text(text),
            Attribute::Number(number) => Value::Number(number),
            Attribute::Truth(truth) => Value::Truth(truth),
        };
        Self { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
    }
}

impl From<trace::Span> for Span {
    fn from(span: trace::Span) -> Self {
        let attribute = |(key, value): (&str, Attribute)| KeyValue::new(key, value);
        Self {
            trace_id: span.trace.bytes().to_vec(),
            span_id: span.id.bytes().to_vec(),
            trace_state: span.state,
            parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
            name: span.name.into_owned(),
            kind: if span.is_server { SERVER } else { INTERNAL },
            start_time_unix_nano: span.begun_ns,
            end_time_unix_nano: span.ended_ns,
            attributes: span.attributes.into_iter().map(attribute).collect(),
            status: span.fault.map(|message| Status { message, code: ERROR }),
            flags: SAMPLED | KNOWS_REMOTE | if span.is_parent_remote { REMOTE } else { 0 },
        }
    }
}

/// A request that hands `spans` of one process over.
pub fn encode(resource: &[KeyValue], version: &str, spans: Vec<trace::Span>) -> Vec<u8> {
    let spans = spans.into_iter().map(Span::from).collect();
    let scope = Scope { name: "tenon".to_owned(), version: version.to_owned() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let resource = Some(Resource { attributes: resource.to_vec() });
    TracesRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }.encode_to_vec()
}

/// Reads a request as a collector does.
///
/// # Errors
/// It is none.
pub fn decode(request: &[u8]) -> Result<TracesRequest, String> {
    TracesRequest::decode(request).map_err(|error| error.to_string())
}

/// What a collector says it refused: how many spans, and why.
pub fn refused(answer: &[u8]) -> Option<(u64, String)> {
    let refused = TracesResponse::decode(answer).ok()?.partial_success?;
    let count = u64::try_from(refused.rejected_spans).ok().filter(|count| *count > 0)?;
    Some((count, refused.error_message))
}
