//! Asked to end under load (SIGTERM), a server answers every request that it was sent, and ends well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tenon_client::{Client, Source};
use tenon_contract::admin::SwapRequest;
use tenon_scenarios::binary::repository;
use tenon_scenarios::http::{Connection, Request};
use tenon_scenarios::server::{Home, Server, Start};

/// Connections of the load; each request takes about 10 ms of computing, so most of them wait.
const CALLERS: usize = 12;

/// When a request was sent, and whether its answer came.
struct Sent {
    at: Instant,
    answer: Result<u16, String>,
}

#[test]
fn a_server_that_is_asked_to_end_answers_what_it_was_sent() {
    let home = Home::new().unwrap();
    let server = Server::start(&home, &Start::default()).unwrap();
    deploy_slow(&server);
    let begun = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (port, begun) = (server.port(), begun.clone());
            std::thread::spawn(move || call(port, &begun))
        })
        .collect();
    while !begun.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(400));
    let asked = Instant::now();
    server.terminate().unwrap();
    let status = server.ended().unwrap();
    let took = asked.elapsed();
    assert!(status.success(), "ended with {status}; its log:\n{}", home.log());
    assert!(took < Duration::from_secs(10), "took {took:?}");
    let sent: Vec<Sent> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    let lost: Vec<_> = sent.iter().filter(|sent| sent.at < asked && sent.answer != Ok(200)).collect();
    assert!(lost.is_empty(), "{} of {} are lost, the first: {:?}", lost.len(), sent.len(), lost[0].answer);
    let waiting = sent.iter().filter(|sent| sent.at < asked && sent.at + Duration::from_millis(200) > asked);
    assert!(waiting.count() >= CALLERS, "there was no load");
    // What was sent later is answered, refused or finds nobody; it is never half an answer.
    let later = sent.iter().filter(|sent| sent.at >= asked);
    for sent in later {
        assert!(matches!(sent.answer, Ok(200 | 503) | Err(_)), "{:?}", sent.answer);
    }
}

/// Asks until nobody answers any more.
fn call(port: u16, begun: &AtomicBool) -> Vec<Sent> {
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 1, 2, 3] });
    let request = Request::post("/v2/models/slow/infer", json!({ "inputs": [input] }).to_string());
    let (mut sent, mut connection) = (Vec::new(), Connection::open(port).ok());
    loop {
        let Some(mut open) = connection.take().or_else(|| Connection::open(port).ok()) else { return sent };
        let at = Instant::now();
        let answer = open.send(&request);
        begun.store(true, Ordering::SeqCst);
        let answer = answer.map_err(|error| error.to_string()).map(|answer| {
            if answer.header("connection") != "close" {
                connection = Some(open);
            }
            answer.status
        });
        sent.push(Sent { at, answer });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn deploy_slow(server: &Server) {
    let client: Client = server.client().unwrap();
    let source = Source::File(repository().join("fixtures/onnx/slow.onnx"));
    let digest = client.upload(&source, |_| ()).await.unwrap();
    let job = client.push(&"slow".parse().unwrap(), digest).await.unwrap();
    let job = client.follow(&job.id, |_| ()).await.unwrap();
    let version = job.version.expect("slow.onnx is taken");
    let wish = SwapRequest { version, settings: None, breaking: None, dry_run: false, reason: None };
    client.deploy(&"slow".parse().unwrap(), &wish).await.unwrap();
}
