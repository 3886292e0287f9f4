//! The model repository extension, behind the same permit as the administration.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::house::{House, question, set_starting};

async fn index(house: &House, body: &str) -> Value {
    house.post("/v2/repository/index").body(body.to_owned()).send().await.ok().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded() {
    let house = House::open().await;
    assert_eq!(index(&house, "").await, json!([]));
    house.push("s", "add=1").await;
    let idle =
        json!([{"name": "s", "version": "1", "state": "UNAVAILABLE", "reason": "not deployed; load it"}]);
    assert_eq!(index(&house, "{}").await, idle);
    assert_eq!(index(&house, r#"{"ready":true}"#).await, json!([]));

    let load = |name: &str| house.post(&format!("/v2/repository/models/{name}/load")).admin();
    assert_eq!(load("s").send().await.ok().json(), json!({}));
    house.infer(1.0).await.ok();
    let ready = json!([{"name": "s", "version": "1", "state": "READY", "reason": ""}]);
    assert_eq!(index(&house, r#"{"ready":true}"#).await, ready);
    let again = house.node.pin().number();
    load("s").body("{}").send().await.ok();
    assert_eq!(house.node.pin().number(), again, "what answers is left alone");
    load("none").send().await.refused(404, "push it first");

    let unload = || house.post("/v2/repository/models/s/unload").admin();
    unload().body(r#"{"parameters":{"unload_dependents":true}}"#).send().await.ok();
    house.infer(1.0).await.refused(404, "no service `s`");
    unload().send().await.refused(404, "no service `s`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_may_bring_the_model() {
    let house = House::serving().await;
    let load = |parameters: Value| {
        let body = json!({ "parameters": parameters }).to_string();
        house.post("/v2/repository/models/s/load").admin().body(body)
    };
    let file = STANDARD.encode("toy add=7 end");
    load(json!({"config": "{}", "file:1/model.onnx": file})).send().await.ok();
    let answer = house.post("/v2/models/s/infer").body(question(0.0)).send().await.ok();
    assert_eq!(
        (answer.header("tenon-version"), &answer.json()["outputs"][0]["data"]),
        ("s/2", &json!([7.0]))
    );
    load(json!({"config": "{\"max_batch_size\":4}"})).send().await.refused(501, "model configurations");
    load(json!({"file:1/model.onnx": STANDARD.encode("rubbish")})).send().await.refused(400, "no toy");
    house.infer(0.0).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_brought_back_is_loading() {
    let house = House::serving().await;
    set_starting(&house, true);
    assert_eq!(index(&house, "").await[0]["state"], "READY", "it answers already");
}
