//! What callers of services see: both wires, identity, ids, refusals with their place.

use std::io::Write as _;
use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::house::{House, Setup, question};

/// `json` with the bytes of FP32 values behind it.
fn binary(json: &str, values: &[f32]) -> Vec<u8> {
    json.bytes().chain(values.iter().flat_map(|value| value.to_le_bytes())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_answered_with_identity_and_id() {
    let house = House::serving().await;
    let answer = house.infer(41.5).await.ok();
    let digest = house.node.service(&"s".parse().unwrap()).unwrap().digest.to_string();
    assert_eq!(
        answer.json(),
        json!({
            "model_name": "s", "model_version": "1", "id": "q",
            "parameters": {"tenon_revision": 1, "tenon_version": "s/1", "tenon_digest": digest, "tenon_generation": 1},
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [42.5]}],
        })
    );
    let headers = [
        ("content-type", "application/json"),
        ("tenon-service", "s"),
        ("tenon-revision", "1"),
        ("tenon-version", "s/1"),
        ("tenon-digest", digest.as_str()),
        ("tenon-generation", "1"),
        ("tenon-request-id", "q"),
    ];
    for (name, expected) in headers {
        assert_eq!(answer.header(name), expected, "{name}");
    }
    let versioned = house.post("/v2/models/s/versions/1/infer").body(question(1.0)).send().await.ok();
    assert_eq!(versioned.json()["outputs"][0]["data"], json!([2.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_the_callers_or_made() {
    let house = House::serving().await;
    let ask = || house.post("/v2/models/s/infer").body(question(1.0));
    let brought = ask().header("tenon-request-id", "mine").send().await.ok();
    assert_eq!((brought.header("tenon-request-id"), &brought.json()["id"]), ("mine", &json!("q")));
    assert_eq!(ask().header("x-request-id", "proxy").send().await.header("tenon-request-id"), "proxy");
    let without = question(1.0).replace(r#""id":"q","#, "");
    let made = house.post("/v2/models/s/infer").body(without).send().await.ok();
    assert!(made.header("tenon-request-id").contains('-') && made.json().get("id").is_none());
    let strange = question(1.0).replace(r#""q""#, "\"é\"");
    let kept = house.post("/v2/models/s/infer").body(strange).send().await.ok();
    assert_eq!(kept.json()["id"], json!("é"));
    assert!(kept.header("tenon-request-id").is_ascii());
    assert_eq!(house.get("/v2").header("tenon-request-id", "7").send().await.header("tenon-request-id"), "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_go_binary_both_ways_and_raw() {
    let house = House::serving().await;
    let json = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"parameters":{"binary_data_size":8}}]}"#;
    let ask = house.post("/v2/models/s/infer").header("inference-header-content-length", json.len());
    let answer = ask.body(binary(json, &[1.0, 2.0])).send().await.ok();
    let length: usize = answer.header("inference-header-content-length").parse().unwrap();
    assert_eq!(answer.body[length..], binary("", &[2.0, 3.0]));
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    let head: serde_json::Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);

    let raw = house.post("/v2/models/s/infer").header("inference-header-content-length", 0);
    let answer = raw.body(binary("", &[5.0; 3])).send().await.ok();
    let length: usize = answer.header("inference-header-content-length").parse().unwrap();
    assert_eq!(answer.body[length..], binary("", &[6.0; 3]));

    // Large enough to come and go in many pieces.
    let many = vec![1.0; 1 << 20];
    let json = format!(
        r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[{},1],"parameters":{{"binary_data_size":{}}}}}],"outputs":[{{"name":"y","parameters":{{"binary_data":true}}}}]}}"#,
        many.len(),
        many.len() * 4
    );
    let ask = house.post("/v2/models/s/infer").header("inference-header-content-length", json.len());
    let answer = ask.body(binary(&json, &many)).send().await.ok();
    assert!(answer.body.ends_with(&binary("", &[2.0; 1 << 10])));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_are_read() {
    let house = House::serving().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(question(1.0).as_bytes()).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(question(1.0).as_bytes()).unwrap();
    for (encoding, body) in [("gzip", gzip.finish().unwrap()), ("deflate", zlib.finish().unwrap())] {
        let ask = house.post("/v2/models/s/infer").header("content-encoding", encoding);
        assert_eq!(ask.body(body).send().await.ok().json()["outputs"][0]["data"], json!([2.0]));
    }
    let ask = house.post("/v2/models/s/infer").header("content-encoding", "br");
    ask.body(question(1.0)).send().await.refused(400, "send gzip, deflate or none");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_its_place() {
    let house = House::serving().await;
    let check = async |body: &str, status: u16, words: &str| {
        house.post("/v2/models/s/infer").body(body.to_owned()).send().await.refused(status, words);
    };
    check("", 400, "read request").await;
    check("{", 400, "read request").await;
    check("{}", 400, "`inputs`").await;
    check(&question(1.0).replace("[1]", "[true]"), 400, "input `x`").await;
    check(&question(1.0).replace("[1,1]", "[1,2]"), 400, "input `x`").await;
    check(&question(1.0).replace("\"x\"", "\"z\""), 400, "unknown input `z`").await;
    check(&question(1.0).replace("FP32", "FP99"), 400, "unknown datatype `FP99`").await;
    let asks =
        |outputs: &str| question(1.0).replace("\"inputs\"", &format!("\"outputs\":[{outputs}],\"inputs\""));
    check(&asks(r#"{"name":"z"}"#), 400, "unknown output `z`").await;
    check(&asks(r#"{"name":"y","parameters":{"classification":-3}}"#), 400, "labels").await;
    check(&asks(r#"{"name":"y","parameters":{"shared_memory_region":"r"}}"#), 501, "shared memory").await;
    let at = async |path: &str, status: u16, words: &str| {
        house.post(path).body(question(1.0)).send().await.refused(status, words);
    };
    at("/v2/models/none/infer", 404, "no service `none`").await;
    at("/v2/models/a%20b/infer", 404, "not a name").await;
    at("/v2/models/s/versions/9/infer", 404, "version 9 is not live").await;
    at("/v2/models/s/versions/first/infer", 404, "versions are numbers").await;
    let ask = house.post("/v2/models/s/infer").header("inference-header-content-length", "many");
    ask.body(question(1.0)).send().await.refused(400, "expected a number of bytes");
    house.get("/v2/models/s/infer").send().await.refused(405, "does not answer GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_end_when_the_caller_says() {
    let house = House::open().await;
    house.serve("s", "run_ms=2000").await;
    let begun = std::time::Instant::now();
    let body = question(1.0).replace("\"inputs\"", "\"parameters\":{\"timeout\":50000},\"inputs\"");
    house.post("/v2/models/s/infer").body(body).send().await.refused(504, "");
    let ask = house.post("/v2/models/s/infer").header("tenon-timeout-ms", 50);
    ask.body(question(1.0)).send().await.refused(504, "");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_wire_takes_and_gives_messages() {
    let house = House::serving().await;
    let call = |operation: &str| house.post(&format!("/services/s/methods/{operation}"));
    let answer = call("infer").body(r#"{"x":[[1],[2]]}"#).send().await.ok();
    assert_eq!(answer.json(), json!({"y": [[2.0], [3.0]]}));
    assert_eq!((answer.header("tenon-version"), answer.header("tenon-revision")), ("s/1", "1"));
    call("infer").body(r#"{"z":1}"#).send().await.refused(400, "unknown field `z`");
    call("predict").body("{}").send().await.refused(404, "it has `infer`");
    call("infer")
        .header("content-type", "text/csv")
        .body("x\n1")
        .send()
        .await
        .refused(501, "send application/json");
    house.post("/services/none/methods/infer").body("{}").send().await.refused(404, "no service `none`");
    let contract = house.get("/services/s/contract").send().await.ok().json();
    assert_eq!(contract["operations"][0]["name"], "infer");
    assert_eq!(house.get("/services/s").send().await.ok().json()["version"], "s/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tells_what_is_served() {
    let house = House::serving().await;
    let json = async |path: &str| house.get(path).send().await.ok().json();
    let server = json("/v2").await;
    assert_eq!((&server["name"], &server["version"]), (&json!("tenon"), &json!("0.0.0")));
    assert_eq!(json("/v2/models").await, json!({"models": ["s"]}));
    let expected = json!({
        "name": "s", "versions": ["1"], "platform": "tenon_toy",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
    });
    assert_eq!(json("/v2/models/s").await, expected);
    assert_eq!(json("/v2/models/s/versions/1").await, expected);
    assert_eq!(json("/v2/models/s/ready").await, json!({"name": "s", "ready": true}));
    assert_eq!(json("/v2/models/s/versions/1/ready").await, json!({"name": "s", "ready": true}));
    assert_eq!(json("/v2/health/ready").await, json!({"live": true, "ready": true}));
    for path in [
        "/v2/models/none",
        "/v2/models/none/ready",
        "/v2/models/s/versions/2",
        "/v2/models/s/versions/x/ready",
    ] {
        house.get(path).send().await.refused(404, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_on_the_same_port() {
    let house = House::with(Setup::default()).await;
    house.serve("s", "add=1").await;
    let stream = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().method(Method::POST);
    let request = request.uri(format!("http://{}/v2/models/s/infer", house.address));
    let body = http_body_util::Full::new(bytes::Bytes::from(question(1.0)));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
}
