//! Named limits, and that they hold after decompression.

use std::io::Write as _;
use std::time::Duration;

use tenon_api::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{House, Setup, question};

async fn limited(limits: Limits) -> House {
    let house = House::with(Setup { limits, ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    house
}

async fn raw(house: &House, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_refused_packed_or_not() {
    let house = limited(Limits { request_bytes: 10_000, ..Limits::default() }).await;
    let large = question(1.0) + &" ".repeat(20_000);
    let infer = || house.post("/v2/models/s/infer");
    infer().body(large.clone()).send().await.refused(413, "limit of 10000 bytes");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(large.as_bytes()).unwrap();
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1000);
    infer()
        .header("content-encoding", "gzip")
        .body(bomb.clone())
        .send()
        .await
        .refused(413, "limit of 10000 bytes");
    let native = house.post("/services/s/methods/infer").header("content-encoding", "gzip");
    native.body(bomb).send().await.refused(413, "limit of 10000 bytes");
    house.infer(1.0).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_beyond_the_limits_of_the_codec_are_refused() {
    let codec = tenon_codec_limits(64);
    let house = limited(Limits { codec, ..Limits::default() }).await;
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[17,1],"data":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}]}"#;
    house.post("/v2/models/s/infer").body(body).send().await.refused(413, "payload_bytes");
}

fn tenon_codec_limits(payload_bytes: usize) -> tenon_codec::Limits {
    tenon_codec::Limits { payload_bytes, ..tenon_codec::Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_callers_are_let_go() {
    let short = Duration::from_millis(200);
    let house = limited(Limits { header_timeout: short, body_timeout: short, ..Limits::default() }).await;
    assert_eq!(raw(&house, b"POST /v2/models/s/infer HTTP/1.1\r\nhost: loc").await, "");
    let head = b"POST /v2/models/s/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    let answer = raw(&house, head).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("body_timeout"), "{answer}");
    house.infer(1.0).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_headers_and_connections_are_refused() {
    let limits = Limits { headers: 10, header_bytes: 16 << 10, connections: 2, ..Limits::default() };
    let house = limited(limits).await;
    let header = |text: String| format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{text}\r\n").into_bytes();
    let many = raw(&house, &header((0..20).map(|at| format!("h{at}: 1\r\n")).collect())).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    let long = raw(&house, &header(format!("h: {}\r\n", "x".repeat(20 << 10)))).await;
    assert!(long.starts_with("HTTP/1.1 431") || long.is_empty(), "{long}");

    let held =
        [TcpStream::connect(house.address).await.unwrap(), TcpStream::connect(house.address).await.unwrap()];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let full = raw(&house, b"").await;
    assert!(full.starts_with("HTTP/1.1 503") && full.ends_with("(connections)\"}"), "{full}");
    let length = full.split("\r\n\r\n").nth(1).unwrap().len();
    assert!(full.contains(&format!("content-length: {length}\r\n")), "{length}");
    drop(held);
    crate::house::until("there is a place again", async || {
        TcpStream::connect(house.address).await.is_ok()
            && raw(&house, b"GET /livez HTTP/1.0\r\n\r\n").await.contains("200")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_service_says_when_to_try_again() {
    let house = House::open().await;
    let version = house.push("s", "run_ms=300").await;
    let wish = format!(r#"{{"version":"{version}","settings":{{"in_flight":1}}}}"#);
    house.ask(http::Method::PUT, "/api/v1/services/s").admin().body(wish).send().await.ok();
    let (one, other) = tokio::join!(house.infer(1.0), house.infer(1.0));
    let refused = if one.status == 200 { other } else { one };
    refused.refused(429, "1 requests in flight, its limit");
    assert_eq!(refused.header("retry-after"), "1");
}
