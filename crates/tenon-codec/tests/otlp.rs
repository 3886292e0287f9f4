//! The messages of OTLP against what the official package for Python (opentelemetry-proto 1.45.2) writes.

use tenon_codec::otlp::{self, KeyValue};
use tenon_contract::trace::{Attribute, Span, SpanId, TraceId};

/// `ExportTraceServiceRequest` of [`span`] by a service `tenon`, scope `tenon` 1.2.3.
const REQUEST: &str = "0aab010a190a170a0c736572766963652e6e616d6512070a0574656e6f6e128d010a0e0a0574656e6f6e1205312e322e33127b0a10101112131415161718191a1b1c1d1e1f120801020304050607081a03613d312208090a0b0c0d0e0f102a07504f5354202f7830023901002a36fe9c971741f5012a36fe9c97174a080a017412030a01764a100a016e120b18fdffffffffffffffff014a070a0162120210017a0612026e6f1802850101030000";
/// `ExportTraceServiceResponse` that refuses two spans: full.
const REFUSAL: &str = "0a080802120466756c6c";

fn span() -> Span {
    Span {
        trace: TraceId::drawn(0x1011_1213_1415_1617, 0x1819_1a1b_1c1d_1e1f),
        id: SpanId::drawn(0x0102_0304_0506_0708),
        parent: Some(SpanId::drawn(0x090a_0b0c_0d0e_0f10)),
        is_parent_remote: true,
        state: "a=1".to_owned(),
        name: "POST /x".into(),
        is_server: true,
        begun_ns: 1_700_000_000_000_000_001,
        ended_ns: 1_700_000_000_000_000_501,
        attributes: vec![("t", "v".into()), ("n", Attribute::Number(-3)), ("b", true.into())],
        fault: Some("no".to_owned()),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn what_is_written_is_what_the_official_package_writes() {
    let resource = [KeyValue::new("service.name", "tenon".into())];
    let written = otlp::encode(&resource, "1.2.3", vec![span()]);
    assert_eq!(written, bytes(REQUEST));
}

#[test]
fn what_a_collector_refuses_is_read() {
    assert_eq!(otlp::refused(&bytes(REFUSAL)), Some((2, "full".to_owned())));
    assert_eq!(otlp::refused(b""), None);
    assert_eq!(otlp::refused(b"<html>"), None);
}
