//! Extensions of the Open Inference Protocol on REST: statistics, configuration, classification, trace and
//! logging settings, packed answers.

use std::io::Read as _;

use serde_json::json;

use crate::house::{House, question};

#[tokio::test(flavor = "multi_thread")]
async fn statistics_have_the_fields_of_triton() {
    let house = House::serving().await;
    house.infer(1.0).await.ok();
    house.post("/v2/models/s/infer").body("{}").send().await.refused(400, "inputs");
    let seen = house.get("/v2/models/s/stats").send().await.ok().json();
    let row = &seen["model_stats"][0];
    assert_eq!((&row["name"], &row["version"]), (&json!("s"), &json!("1")));
    assert_eq!((&row["inference_count"], &row["execution_count"]), (&json!(1), &json!(1)));
    assert_eq!(row["inference_stats"]["success"]["count"], 1);
    assert!(row["inference_stats"]["compute_infer"]["ns"].as_u64().unwrap() > 0);
    assert_eq!(row["inference_stats"]["cache_hit"], json!({"count": 0, "ns": 0}));
    assert_eq!(row["batch_stats"], json!([]));
    assert_eq!(house.get("/v2/models/stats").send().await.ok().json()["model_stats"][0]["name"], "s");
    house.get("/v2/models/s/versions/1/stats").send().await.ok();
    house.get("/v2/models/s/versions/2/stats").send().await.refused(404, "version 2");
    house.get("/v2/models/none/stats").send().await.refused(404, "no service `none`");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_in_the_words_of_triton() {
    let house = House::serving().await;
    let config = house.get("/v2/models/s/config").send().await.ok().json();
    let sessions = config["instance_group"][0]["count"].clone();
    assert_eq!(
        config,
        json!({
            "name": "s", "platform": "tenon_toy", "backend": "toy", "max_batch_size": 0,
            "version_policy": {"latest": {"num_versions": 1}},
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 1]}],
            "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1, 1]}],
            "instance_group": [{"name": "s", "kind": "KIND_CPU", "count": sessions}],
            "default_model_filename": "",
        })
    );
    assert!(sessions.as_u64().unwrap() > 0);
    house.get("/v2/models/s/versions/2/config").send().await.refused(404, "version 2 is not live");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_classes_are_given_for_the_values() {
    let house = House::open().await;
    house.serve("s", "add=0 width=3").await;
    let body = json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [0.1, 0.7, 0.2, 3, 2, 1]}],
        "outputs": [{"name": "y", "parameters": {"classification": 2}}],
    });
    let answer = house.post("/v2/models/s/infer").body(body.to_string()).send().await.ok().json();
    let expected = json!([{
        "name": "y", "datatype": "BYTES", "shape": [2, 2],
        "data": ["0.700000:1", "0.200000:2", "3.000000:0", "2.000000:1"],
    }]);
    assert_eq!(answer["outputs"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_packed_for_who_takes_them_so() {
    let house = House::open().await;
    house.serve("s", "add=1 width=10000").await;
    let body = json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 10000], "data": vec![0; 10000]}],
        "outputs": [{"name": "y", "parameters": {"binary_data": true}}],
    });
    let ask = || house.post("/v2/models/s/infer").body(body.to_string());
    let plain = ask().send().await.ok();
    assert_eq!(plain.header("content-encoding"), "");
    for (packing, is_gzip) in [("gzip", true), ("deflate", false)] {
        let packed = ask().header("accept-encoding", packing).send().await.ok();
        assert_eq!((packed.header("content-encoding"), packed.header("tenon-version")), (packing, "s/1"));
        assert!(packed.body.len() < plain.body.len() / 10);
        let name = "inference-header-content-length";
        let length: usize = packed.header(name).parse().unwrap();
        let mut unpacked = Vec::new();
        if is_gzip {
            flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        } else {
            flate2::read::ZlibDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        }
        assert_eq!(unpacked[length..], [1f32; 10000].map(f32::to_le_bytes).concat());
    }
    let small = question(1.0);
    let small = house.post("/v2/models/s/infer").header("accept-encoding", "gzip").body(small).send().await;
    assert_eq!(small.header("content-encoding"), "", "faults and small answers are not packed");
}

#[tokio::test(flavor = "multi_thread")]
async fn tracing_is_set_for_the_server_and_for_services() {
    let house = House::serving().await;
    let off = house.get("/v2/trace/setting").send().await.ok().json();
    assert_eq!((&off["trace_level"], &off["trace_rate"]), (&json!(["OFF"]), &json!("1000")));
    let set = |path: &str, body: &str| house.post(path).body(body.to_owned());
    let on = r#"{"trace_level":["TIMESTAMPS"],"trace_rate":"1","trace_count":"2"}"#;
    set("/v2/models/s/trace/setting", on).send().await.refused(401, "scope `admin`");
    let told = set("/v2/models/s/trace/setting", on).admin().send().await.ok().json();
    assert_eq!((&told["trace_level"], &told["trace_count"]), (&json!(["TIMESTAMPS"]), &json!("2")));
    assert_eq!(
        house.get("/v2/trace/setting").send().await.ok().json(),
        off,
        "the server's own are left alone"
    );
    for left in ["1", "0", "0"] {
        house.infer(1.0).await.ok();
        let now = house.get("/v2/models/s/trace/setting").send().await.ok().json();
        assert_eq!(now["trace_count"], left);
    }
    set("/v2/trace/setting", r#"{"trace_file":"/etc/passwd"}"#)
        .admin()
        .send()
        .await
        .refused(501, "trace_file");
    set("/v2/models/none/trace/setting", "{}").admin().send().await.refused(404, "no service `none`");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_changed_while_the_server_runs() {
    let house = House::serving().await;
    let before = house.get("/v2/logging").send().await.ok().json();
    let expected = json!({
        "log_file": "", "log_info": true, "log_warning": true, "log_error": true,
        "log_verbose_level": 0, "log_format": "ISO8601",
    });
    assert_eq!(before, expected);
    let set = |body: &str| house.post("/v2/logging").body(body.to_owned());
    set(r#"{"log_info":false}"#).send().await.refused(401, "scope `admin`");
    let told = set(r#"{"log_info":false,"log_verbose_level":1}"#).admin().send().await.ok().json();
    assert_eq!((&told["log_info"], &told["log_verbose_level"]), (&json!(false), &json!(1)));
    assert_eq!(house.get("/v2/logging").send().await.ok().json(), told);
    set(r#"{"log_file":"/tmp/x"}"#).admin().send().await.refused(501, "at its start");
}
