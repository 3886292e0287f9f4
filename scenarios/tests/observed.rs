//! The sample that is kept, over the life of the built binary: what stands in its files, and what a kill leaves.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenon_scenarios::deed::{Deed, SERVICE};
use tenon_scenarios::http::Request;
use tenon_scenarios::server::Start;
use tenon_scenarios::site::Site;
use tenon_scenarios::witness::question;

/// All records of a folder in their order, without lines that are torn.
fn records(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let text: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    text.iter().flat_map(|text| text.lines()).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn wait_for(folder: &Path, count: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let found = records(folder);
        if found.len() >= count || Instant::now() > until {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn feedback(id: &str) -> Request {
    let path = format!("/services/{SERVICE}/feedback");
    Request::post(&path, json!({ "request_id": id, "truth": [1, 2], "score": 0.25 }).to_string())
}

#[test]
fn a_sample_and_feedback_are_kept_over_a_kill() {
    let mut site = Site::new().unwrap();
    let folder = site.home.path("observed");
    let start = Start::default()
        .with("TENON_OBSERVE_FOLDER", &folder.display().to_string())
        .with("TENON_OBSERVE_SAMPLE_RATIO", "1")
        .with("TENON_OBSERVE_KEEP", "values");
    let server = site.start(&start).unwrap();
    let mut asked = question(SERVICE, 0);
    asked.headers.push(("tenon-request-id".to_owned(), "mine".to_owned()));
    assert_eq!(server.send(&asked).unwrap().status, 200);
    wait_for(&folder, 1);
    site.must(&server, Deed::Swap(2)).unwrap();
    let taken = server.send(&feedback("mine")).unwrap();
    assert_eq!((taken.status, &taken.json()["kept"]), (202, &json!(true)), "{}", taken.text());
    let found = wait_for(&folder, 2);
    assert_eq!(found.len(), 2, "{found:?}");
    let expected = json!({ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0, 1.0, 2.0, 3.0] });
    assert_eq!(found[0]["inputs"], json!([expected]));
    assert_eq!(found[0]["outputs"][0]["data"], json!([1.0, 2.0, 3.0, 4.0]));
    // The version that answered, not the one that is live when the truth comes.
    for (record, kind) in found.iter().zip(["request", "feedback"]) {
        assert_eq!((&record["kind"], &record["id"]), (&json!(kind), &json!("mine")));
        assert_eq!((&record["answered_by"], &record["version"]), (&json!("m/1"), &json!(1)));
    }
    assert_eq!((&found[1]["truth"], &found[1]["score"]), (&json!([1, 2]), &json!(0.25)));
    server.kill().unwrap();

    // A kill may tear the last line; what comes later stands in a file of its own.
    let torn = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, &whole[..whole.len() - 7]).unwrap();
    let server = site.start(&start.with("TENON_OBSERVE_KEEP", "ids")).unwrap();
    assert_eq!(server.send(&asked).unwrap().status, 200);
    assert_eq!(server.send(&feedback("unknown")).unwrap().status, 202);
    // What waits at the end is written.
    assert!(server.stop().unwrap().success());
    let found = records(&folder);
    let kinds: Vec<_> = found.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["request", "request", "feedback"]);
    assert_eq!((&found[1]["answered_by"], &found[1]["inputs"]), (&json!("m/2"), &Value::Null));
    assert_eq!((&found[2]["id"], &found[2]["answered_by"]), (&json!("unknown"), &Value::Null));
}
