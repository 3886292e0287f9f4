//! `/api/v1`: uploads that resume, jobs followed live, swaps, undo, receipts.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tenon_contract::Digest;
use tenon_contract::receipt::{Chain, read_key};

use crate::house::{Answer, Ask, House};

async fn adds(house: &House) -> Value {
    house.infer(0.0).await.ok().json()["outputs"][0]["data"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_resume_where_they_were_cut_off() {
    let house = House::open().await;
    let bytes = Bytes::from_static(b"toy add=3 end");
    let path = format!("/api/v1/blobs/{}", Digest::of(&bytes));
    let head = async || house.ask(Method::HEAD, &path).send().await;
    let patch = |offset: usize, part: &Bytes| -> Ask {
        let ask = house.ask(Method::PATCH, &path).admin();
        ask.header("upload-offset", offset).header("upload-length", bytes.len()).body(part.clone())
    };
    let at = |answer: &Answer| (answer.status.as_u16(), answer.header("upload-offset").to_owned());
    assert_eq!(at(&head().await), (404, "0".to_owned()));
    assert_eq!(at(&patch(0, &bytes.slice(..5)).send().await), (204, "5".to_owned()));
    let held = head().await;
    assert_eq!((at(&held), held.header("upload-complete")), ((200, "5".to_owned()), "false"));
    let wrong = patch(0, &bytes.slice(..5)).send().await;
    assert_eq!(at(&wrong), (409, "5".to_owned()));
    wrong.refused(409, "continues at 5");
    assert_eq!(at(&patch(5, &bytes.slice(5..)).send().await), (204, "13".to_owned()));
    assert_eq!(head().await.header("upload-complete"), "true");
    let ask = house.ask(Method::PATCH, &path).admin().body("x");
    ask.send().await.refused(400, "upload-offset");
    let ask = house.ask(Method::PATCH, "/api/v1/blobs/nonsense").admin().body("x");
    ask.send().await.refused(400, "is not a digest");

    let push = house.post("/api/v1/models/m/versions").admin().header("content-type", "application/json");
    let job = push.body(json!({ "digest": Digest::of(&bytes) }).to_string()).send().await;
    assert_eq!(job.status, 202);
    let done = house.client().follow(job.json()["id"].as_str().unwrap(), |_| {}).await.unwrap();
    assert_eq!(done.version.unwrap().to_string(), "m/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_the_house_brings_a_model_in_and_follows_it() {
    let house = House::open().await;
    let client = house.client();
    let source = tenon_client::Source::Bytes(Bytes::from_static(b"toy add=4 end"));
    let digest = client.upload(&source, |_| {}).await.unwrap();
    let job = client.push(&"m".parse().unwrap(), digest).await.unwrap();
    let mut seen = 0;
    let done = client.follow(&job.id, |_| seen += 1).await.unwrap();
    assert!(seen > 0 && done.state.is_final());
    let model = client.model(&"m".parse().unwrap()).await.unwrap();
    assert_eq!((model.model.latest, model.versions.len()), (1, 1));
    assert_eq!(client.version(&"m/1".parse().unwrap()).await.unwrap().digest, digest);
    assert_eq!(client.examples(&"m/1".parse().unwrap()).await.unwrap(), None);
    assert_eq!(client.models().await.unwrap().len(), 1);
    assert_eq!(client.jobs().await.unwrap(), [client.job(&job.id).await.unwrap()]);
    house.get("/api/v1/jobs/none").send().await.refused(404, "no job `none`");
    house.get("/api/v1/jobs?limit=x").send().await.refused(400, "");
    house.get("/api/v1/models/none").send().await.refused(404, "no model `none`");
    house.get("/api/v1/models/m/versions/2").send().await.refused(404, "no version `m/2`");
    house.get("/api/v1/models/m/versions/x").send().await.refused(404, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_with_the_job() {
    let house = House::open().await;
    let push = house.post("/api/v1/models/m/versions").admin().body("no toy");
    let job = push.send().await.json()["id"].as_str().unwrap().to_owned();
    let events = house.get(&format!("/api/v1/jobs/{job}/events")).send().await.ok();
    assert_eq!(events.header("content-type"), "text/event-stream");
    let text = events.text();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!((&last["state"], &last["fault"]["kind"]), (&json!("failed"), &json!("invalid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_swapped_undone_and_removed_and_its_receipts_verify() {
    let house = House::serving().await;
    let version = house.push("s", "add=2").await;
    let swap = |body: Value| house.post("/api/v1/services/s/swap").admin().body(body.to_string());
    let tried = swap(json!({"version": version, "dry_run": true})).send().await.ok().json();
    assert_eq!((&tried["refusals"], adds(&house).await), (&json!([]), json!(1.0)));
    let swapped = swap(json!({"version": version, "reason": "better"})).send().await.ok().json();
    assert_eq!((&swapped["to"]["version"], adds(&house).await), (&json!("s/2"), json!(2.0)));
    let answer = house.infer(0.0).await;
    assert_eq!(
        answer.header("tenon-generation"),
        swapped["generation"].to_string(),
        "stamps follow the swap"
    );
    swap(json!({"version": version, "versoin": 1})).send().await.refused(400, "unknown field `versoin`");
    swap(json!({"version": "s/9"})).send().await.refused(404, "no version `s/9`");

    let undo = || house.post("/api/v1/services/s/undo").admin();
    let undone = undo().body(r#"{"reason":"worse"}"#).send().await.ok().json();
    assert_eq!((&undone["to"]["version"], adds(&house).await), (&json!("s/1"), json!(1.0)));
    assert_eq!(house.get("/api/v1/services/s").send().await.ok().json()["version"], "s/1");

    let removed = house.ask(Method::DELETE, "/api/v1/services/s").admin().send().await.ok().json();
    assert_eq!(removed["to"], json!(null));
    house.infer(1.0).await.refused(404, "no service `s`");
    house.get("/api/v1/services/s").send().await.refused(404, "no service `s`");
    undo().send().await.refused(409, "");

    let receipts = house.get("/api/v1/services/s/receipts").send().await.ok();
    assert_eq!(receipts.header("content-type"), "application/x-ndjson");
    let key = read_key(house.get("/api/v1/node").send().await.json()["key"].as_str().unwrap()).unwrap();
    let chain = Chain::read(&receipts.text(), Some(&key)).unwrap();
    assert_eq!(chain.holds(undone["head"].as_str().unwrap().parse().unwrap()), Ok(()));
    house.get("/api/v1/services/none/receipts").send().await.refused(404, "no receipts");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_administration_name_their_kind() {
    let house = House::serving().await;
    let answer = house.ask(Method::PUT, "/api/v1/services/t").admin().body("{}").send().await;
    answer.refused(400, "missing field `version`");
    assert_eq!(answer.json()["kind"], "invalid");
    assert_eq!(house.get("/api/v1/nothing").send().await.json()["kind"], "not_found");
    house.post("/api/v1/node").send().await.refused(405, "does not answer POST");
    let wish = json!({"version": house.push("w", "width=3").await}).to_string();
    let answer = house.post("/api/v1/services/s/swap").admin().body(wish).send().await;
    answer.refused(409, "");
    assert_eq!(answer.json()["kind"], "conflict");
    let large = vec![b' '; 2 << 20];
    let answer = house.ask(Method::PUT, "/api/v1/services/t").admin().body(large).send().await;
    answer.refused(413, "limit of 1048576 bytes");
}
