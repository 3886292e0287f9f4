//! Traces and log lines of the built binary: what a collector sees of a request, that no payload and no token is in
//! any of it, and that a collector which is away harms nobody.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tenon_client::Source;
use tenon_codec::grpc::inference::model_infer_request::InferInputTensor;
use tenon_codec::grpc::inference::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use tenon_codec::otlp::Span;
use tenon_contract::admin::SwapRequest;
use tenon_scenarios::binary::repository;
use tenon_scenarios::collector::{Collector, attribute, hex};
use tenon_scenarios::http::{Answer, Request};
use tenon_scenarios::server::{Home, Server, Start};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// A number that stands in payloads and nowhere else.
const SECRET: f32 = 48_611.25;

/// Serves `fixtures/onnx/<model>.onnx` as a service of that name.
#[tokio::main(flavor = "current_thread")]
async fn serve(server: &Server, model: &str) {
    let client = server.client().unwrap();
    let source = Source::File(repository().join(format!("fixtures/onnx/{model}.onnx")));
    let digest = client.upload(&source, |_| ()).await.unwrap();
    let job = client.push(&model.parse().unwrap(), digest).await.unwrap();
    let job = client.follow(&job.id, |_| ()).await.unwrap();
    let version = job.version.unwrap_or_else(|| panic!("{model} is refused: {:?}", job.fault));
    let wish = SwapRequest { version, settings: None, breaking: None, dry_run: false, reason: None };
    client.deploy(&model.parse().unwrap(), &wish).await.unwrap();
}

fn question(service: &str, headers: &[(&str, &str)]) -> Request {
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [SECRET, 1, 2, 3] });
    let path = format!("/v2/models/{service}/infer");
    let mut request = Request::post(&path, json!({ "id": "mine", "inputs": [input] }).to_string());
    request.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    request
}

/// The same over gRPC.
fn message(service: &str) -> ModelInferRequest {
    let values = [SECRET, 1.0, 2.0, 3.0];
    ModelInferRequest {
        model_name: service.to_owned(),
        id: "mine".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 4],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![Bytes::from(values.map(f32::to_le_bytes).concat())],
        ..ModelInferRequest::default()
    }
}

/// A call of gRPC with these metadata.
fn with<T>(message: T, metadata: &[(&'static str, &str)]) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

async fn caller(server: &Server) -> tonic::client::Grpc<Channel> {
    let endpoint = Endpoint::from_shared(server.url()).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

/// Asks once; gives where the answer says it stands.
#[tokio::main(flavor = "current_thread")]
async fn call(server: &Server, service: &str, metadata: &[(&'static str, &str)]) -> String {
    let path = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
    let codec = ProstCodec::<ModelInferRequest, ModelInferResponse>::default();
    let request = with(message(service), metadata);
    let answer = caller(server).await.unary(request, path, codec).await.unwrap();
    answer.metadata().get("traceparent").unwrap().to_str().unwrap().to_owned()
}

/// Asks each of these services in one stream; gives how many messages came back.
#[tokio::main(flavor = "current_thread")]
async fn stream(server: &Server, services: &[&str], metadata: &[(&'static str, &str)]) -> usize {
    let path = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelStreamInfer");
    let codec = ProstCodec::<ModelInferRequest, ModelStreamInferResponse>::default();
    let messages: Vec<_> = services.iter().map(|service| message(service)).collect();
    let request = with(tokio_stream::iter(messages), metadata);
    let mut answers = caller(server).await.streaming(request, path, codec).await.unwrap().into_inner();
    let mut count = 0;
    while answers.message().await.unwrap().is_some() {
        count += 1;
    }
    count
}

fn start(collector: &Collector, ratio: &str) -> Start {
    Start::default()
        .with("TENON_TELEMETRY_ENDPOINT", &collector.url())
        .with("TENON_TELEMETRY_SAMPLE_RATIO", ratio)
        .with("TENON_TELEMETRY_SERVICE_NAME", "house")
}

/// The only span of that name.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

/// Checks that spans of these names follow each other beneath `parent`, within it.
fn check_steps(spans: &[Span], parent: &Span, expected: &[&str]) {
    let mut children: Vec<_> = spans.iter().filter(|span| span.parent_span_id == parent.span_id).collect();
    children.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
    let mut names: Vec<_> = children.iter().map(|span| span.name.as_str()).collect();
    // Steps that took less than the clock can tell stand in no order.
    let mut wanted = expected.to_vec();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    let mut last = parent.start_time_unix_nano;
    for name in expected {
        let span = children.iter().find(|span| span.name == *name).unwrap();
        assert!(span.start_time_unix_nano >= last, "{name} begins before the step in front of it ends");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{name} ends before it begins");
        assert_eq!((span.kind, &span.status), (1, &None), "{name}");
        last = span.end_time_unix_nano;
    }
    assert!(last <= parent.end_time_unix_nano, "the steps end after {}", parent.name);
}

/// Checks whose child the request's span is, and who answered by it.
fn check_server(span: &Span, service: &str, revision: &str) {
    assert_eq!((hex(&span.parent_span_id).as_str(), span.kind, span.flags), (PARENT, 2, 0x301));
    assert_eq!((span.trace_state.as_str(), &span.status), ("vendor=1", &None));
    let check = |key: &str, expected: &str| assert_eq!(attribute(&span.attributes, key), expected, "{key}");
    check("tenon.service", service);
    check("tenon.revision", revision);
    check("tenon.version", &format!("{service}/1"));
    check("tenon.request.id", "mine");
    assert!(attribute(&span.attributes, "tenon.digest").starts_with("sha256:"));
    assert_ne!(attribute(&span.attributes, "tenon.generation"), "");
}

/// No payload and no token is in anything that left the server but its answers.
fn check_nothing_leaked(collector: &Collector, home: &Home, server: &Server) {
    let token = std::fs::read_to_string(server.data().join("admin.token")).unwrap();
    for (head, body) in collector.requests() {
        for (what, secret) in [
            ("payload", SECRET.to_string().into_bytes()),
            ("payload", SECRET.to_le_bytes().to_vec()),
            ("token", token.trim().as_bytes().to_vec()),
        ] {
            let is_in = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!is_in(&body) && !is_in(head.as_bytes()), "a {what} was sent to the collector");
        }
    }
    let log = home.log();
    assert!(!log.contains(&SECRET.to_string()) && !log.contains(token.trim()), "{log}");
}

#[test]
fn a_collector_sees_the_steps_of_a_request() {
    let (home, collector) = (Home::new().unwrap(), Collector::start(1).unwrap());
    std::fs::write(home.path("headers"), "authorization: Bearer of-the-collector\n").unwrap();
    let headers = home.path("headers").display().to_string();
    let start = start(&collector, "0").with("TENON_TELEMETRY_HEADERS_FILE", &headers);
    let server = Server::start(&home, &start.with("TENON_LOG_LEVEL", "debug")).unwrap();
    serve(&server, "add_one");
    serve(&server, "slow");

    // A change is a trace of its own.
    let names = |service: &str| -> Vec<String> {
        let spans = collector.spans();
        let is_swap =
            |span: &&Span| span.name == "swap" && attribute(&span.attributes, "tenon.service") == service;
        let Some(swap) = spans.iter().find(is_swap) else { return Vec::new() };
        let children = spans.iter().filter(|span| span.parent_span_id == swap.span_id);
        children.map(|span| span.name.clone()).collect()
    };
    let until = Instant::now() + Duration::from_secs(15);
    while names("slow").is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(names("slow"), ["load", "prove", "publish"]);

    // Over REST, in place.
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let traced = [("traceparent", parent.as_str()), ("tracestate", "vendor=1")];
    let answer = server.send(&question("add_one", &traced)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let own = answer.header("traceparent").to_owned();
    assert!(own.starts_with(&format!("00-{TRACE}-")) && own.ends_with("-01"), "{own}");
    assert_eq!(answer.header("tracestate"), "vendor=1");
    let spans = collector.trace(TRACE, 9).unwrap();
    let span = only(&spans, "POST /v2/models/{service}/infer");
    assert_eq!(own, format!("00-{TRACE}-{}-01", hex(&span.span_id)));
    check_server(span, "add_one", "1");
    let check = |key: &str, expected: &str| assert_eq!(attribute(&span.attributes, key), expected, "{key}");
    check("http.request.method", "POST");
    check("http.route", "/v2/models/{service}/infer");
    check("http.response.status_code", "200");
    check("url.scheme", "http");
    check("url.path", "/v2/models/add_one/infer");
    check("server.port", &server.port().to_string());
    check_steps(&spans, span, &["decode", "admit", "pin", "route", "bind", "run", "check", "encode"]);
    assert_eq!(attribute(&only(&spans, "run").attributes, "tenon.run.in_place"), "true");
    assert_eq!(attribute(&collector.resource().attributes, "service.name"), "house");
    let (head, _) = &collector.requests()[0];
    assert!(head.to_lowercase().contains("authorization: bearer of-the-collector"), "{head}");
    assert!(!home.log().contains("of-the-collector"));

    // Over gRPC, on a compute thread, in another trace.
    let trace = TRACE.replace('0', "1");
    let parent = format!("00-{trace}-{PARENT}-01");
    let own = call(&server, "slow", &[("traceparent", &parent), ("tracestate", "vendor=1")]);
    let spans = collector.trace(&trace, 11).unwrap();
    let span = only(&spans, "inference.GRPCInferenceService/ModelInfer");
    assert_eq!(own, format!("00-{trace}-{}-01", hex(&span.span_id)));
    check_server(span, "slow", "2");
    let check = |key: &str, expected: &str| assert_eq!(attribute(&span.attributes, key), expected, "{key}");
    check("rpc.system.name", "grpc");
    check("rpc.method", "inference.GRPCInferenceService/ModelInfer");
    check("rpc.response.status_code", "OK");
    check_steps(&spans, span, &["decode", "admit", "pin", "route", "bind", "run", "check", "encode"]);
    check_steps(&spans, only(&spans, "run"), &["queue", "compute"]);

    // In a stream, each message with its steps.
    let trace = TRACE.replace('0', "7");
    let parent = format!("00-{trace}-{PARENT}-01");
    assert_eq!(stream(&server, &["add_one", "nobody"], &[("traceparent", &parent)]), 2);
    let spans = collector.trace(&trace, 12).unwrap();
    let span = only(&spans, "inference.GRPCInferenceService/ModelStreamInfer");
    assert_eq!(attribute(&span.attributes, "rpc.response.status_code"), "OK");
    let mut messages: Vec<_> = spans.iter().filter(|span| span.name == "message").collect();
    messages.sort_by_key(|span| span.start_time_unix_nano);
    assert!(messages.iter().all(|message| message.parent_span_id == span.span_id));
    check_steps(&spans, messages[0], &["admit", "pin", "route", "bind", "run", "check"]);
    assert_eq!(attribute(&messages[0].attributes, "tenon.version"), "add_one/1");
    assert_eq!(messages[1].status.as_ref().map(|status| status.code), Some(2));

    // What the caller does not keep is not kept here, and what nobody decided is not at a ratio of 0.
    let trace = TRACE.replace('0', "2");
    let answer =
        server.send(&question("add_one", &[("traceparent", &format!("00-{trace}-{PARENT}-00"))])).unwrap();
    assert!(answer.header("traceparent").starts_with(&format!("00-{trace}-")));
    assert!(answer.header("traceparent").ends_with("-00"));
    let answer = server.send(&question("add_one", &[])).unwrap();
    assert_eq!((answer.status, answer.header("traceparent")), (200, ""));
    let metrics = server.get("/metrics").unwrap().text();
    assert!(metrics.contains("tenon_spans_total{outcome=\"lost\"} 0\n"), "{metrics}");
    check_nothing_leaked(&collector, &home, &server);
    // What waits at the end is sent.
    let trace = TRACE.replace('0', "3");
    server.send(&question("add_one", &[("traceparent", &format!("00-{trace}-{PARENT}-01"))])).unwrap();
    assert!(server.stop().unwrap().success());
    collector.trace(&trace, 9).unwrap();
    assert!(!collector.spans().iter().any(|span| hex(&span.trace_id) == TRACE.replace('0', "2")));
}

#[test]
fn a_step_that_fails_says_why() {
    let (home, collector) = (Home::new().unwrap(), Collector::start(0).unwrap());
    let server = Server::start(&home, &start(&collector, "1")).unwrap();
    serve(&server, "add_one");
    let fail = |trace: &str, service: &str, body: &str| -> (Answer, Vec<Span>) {
        let mut request = question(service, &[("traceparent", &format!("00-{trace}-{PARENT}-01"))]);
        request.body = body.as_bytes().to_vec();
        let answer = server.send(&request).unwrap();
        let expected = match (answer.status, body) {
            (404, _) => 6,
            (_, "{") => 2,
            _ => 7,
        };
        let spans = collector.trace(trace, expected).unwrap();
        assert_eq!(spans.len(), expected, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        (answer, spans)
    };
    let message = |span: &Span| span.status.as_ref().map(|status| (status.code, status.message.clone()));
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1] });
    let (answer, spans) = fail(&TRACE.replace('0', "4"), "nobody", &json!({ "inputs": [input] }).to_string());
    assert_eq!(answer.status, 404);
    assert_eq!(message(only(&spans, "route")), Some((2, "no service `nobody` is served here".to_owned())));
    // A caller's mistake is no failure of the server.
    let server_span = only(&spans, "POST /v2/models/{service}/infer");
    assert_eq!(message(server_span), None);
    assert_eq!(attribute(&server_span.attributes, "http.response.status_code"), "404");
    let (answer, spans) = fail(&TRACE.replace('0', "5"), "add_one", &json!({ "inputs": [] }).to_string());
    assert_eq!(answer.status, 400);
    let bound = message(only(&spans, "bind")).unwrap();
    assert!(bound.1.contains('x'), "{bound:?}");
    let (answer, spans) = fail(&TRACE.replace('0', "6"), "add_one", "{");
    assert_eq!((answer.status, spans.len()), (400, 2));
    assert_eq!(spans.iter().filter(|span| span.name == "decode").count(), 1);
}

#[test]
fn a_collector_that_is_away_harms_nobody() {
    let home = Home::new().unwrap();
    // A port on which somebody listens and never answers, and one on which nobody does.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let collector = Collector::start(0).unwrap();
    for endpoint in [silent.as_str(), "http://127.0.0.1:9"] {
        let start = start(&collector, "1").with("TENON_TELEMETRY_TIMEOUT_MS", "500");
        let server = Server::start(&home, &start.with("TENON_TELEMETRY_ENDPOINT", endpoint)).unwrap();
        if endpoint == silent {
            serve(&server, "add_one");
        }
        let begun = Instant::now();
        for _ in 0..2000 {
            let answer = server.send(&question("add_one", &[])).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        let lost = |text: &str| text.contains("tenon_spans_total{outcome=\"sent\"} 0\n");
        assert!(lost(&server.get("/metrics").unwrap().text()));
        let asked = Instant::now();
        assert!(server.stop().unwrap().success());
        assert!(asked.elapsed() < Duration::from_secs(10), "the end waited for {endpoint}");
    }
    assert_eq!(home.log().matches("takes no spans").count(), 2, "{}", home.log());
}

/// Lines of the log as JSON that have this message.
fn lines(home: &Home, message: &str) -> Vec<Value> {
    let log = home.log();
    let all = log.lines().filter(|line| line.starts_with('{'));
    let all = all.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    all.filter(|line| line["message"] == message).collect()
}

#[test]
fn lines_say_to_which_request_they_belong() {
    let (home, collector) = (Home::new().unwrap(), Collector::start(0).unwrap());
    let start = start(&collector, "0").with("TENON_LOG_FORMAT", "json").with("TENON_LOG_SLOW_MS", "5");
    let server = Server::start(&home, &start).unwrap();
    serve(&server, "slow");
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let answer =
        server.send(&question("slow", &[("traceparent", &parent), ("tenon-timeout-ms", "1")])).unwrap();
    assert_eq!(answer.status, 504, "{}", answer.text());
    let failed = lines(&home, "request failed");
    assert_eq!(failed.len(), 1, "{}", home.log());
    let expected = [
        ("level", json!("WARN")),
        ("method", json!("POST")),
        ("path", json!("/v2/models/slow/infer")),
        ("status", json!(504)),
        ("id", json!("mine")),
        ("trace_id", json!(TRACE)),
        ("service", json!("slow")),
    ];
    for (key, value) in expected {
        assert_eq!(failed[0][key], value, "{key}");
    }
    assert!(failed[0]["error"].as_str().unwrap().contains("deadline"), "{}", failed[0]);
    assert_eq!(server.send(&question("slow", &[])).unwrap().status, 200);
    let slow = lines(&home, "request was slow");
    assert_eq!(slow.len(), 1, "{}", home.log());
    assert_eq!((&slow[0]["version"], &slow[0]["id"]), (&json!("slow/1"), &json!("mine")));
    assert!(slow[0]["micros"].as_u64().unwrap() >= 5_000);
    // A caller's mistake leaves no line.
    assert_eq!(server.send(&question("nobody", &[])).unwrap().status, 404);
    assert_eq!(lines(&home, "request failed").len() + lines(&home, "request was slow").len(), 2);
    check_nothing_leaked(&collector, &home, &server);
}
