//! Feedback about answers: who may bring it, what it may say, and where it goes.

use std::sync::{Arc, Mutex};

use tenon_contract::ServiceName;
use tenon_contract::observed::{Keep, Observation, ObservedCounts, Observer, Returned};

use crate::house::{House, INFER, Setup};

const PATH: &str = "/services/s/feedback";

/// Keeps everything.
#[derive(Default)]
struct Kept {
    observed: Mutex<Vec<Observation>>,
    returned: Mutex<Vec<Returned>>,
}

impl Observer for Kept {
    fn keeps(&self, service: &ServiceName) -> Keep {
        if service.as_str() == "s" { Keep::Values(8) } else { Keep::Nothing }
    }

    fn observed(&self, observation: Observation) {
        self.observed.lock().unwrap().push(observation);
    }

    fn returned(&self, returned: Returned) {
        self.returned.lock().unwrap().push(returned);
    }

    fn counts(&self) -> ObservedCounts {
        ObservedCounts { written: 7, ..ObservedCounts::default() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_is_taken_counted_and_kept() {
    let kept = Arc::new(Kept::default());
    let house = House::with(Setup { observer: Some(kept.clone()), ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    house.serve("other", "add=1").await;
    house.infer(1.0).await.ok();
    house.post("/v2/models/other/infer").body(crate::house::question(1.0)).send().await.ok();
    let body = r#"{"request_id":"q","truth":{"y":[3]},"score":0.5,"comment":"late"}"#;
    let taken = house.post(PATH).body(body).send().await;
    assert_eq!(taken.status.as_u16(), 202);
    assert_eq!(taken.json(), serde_json::json!({"request_id": "q", "kept": true}));
    {
        let (observed, returned) = (kept.observed.lock().unwrap(), kept.returned.lock().unwrap());
        assert_eq!((observed.len(), observed[0].id.as_str(), observed[0].is_cut), (1, "q", false));
        let values = observed[0].values.as_ref().unwrap();
        assert_eq!((values.inputs[0].tensor.payload().len(), &*values.outputs[0].name), (4, "y"));
        assert_eq!((returned.len(), returned[0].service.as_str()), (1, "s"));
        assert_eq!(returned[0].feedback.truth, Some(serde_json::json!({"y": [3]})));
    }
    // More than may be kept is not kept at all.
    let wide = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[3,1],"data":[1,2,3]}]}"#;
    house.post("/v2/models/s/infer").body(wide).send().await.ok();
    let is_cut = |at: usize| {
        let observed = kept.observed.lock().unwrap();
        (observed[at].is_cut, observed[at].values.is_none())
    };
    assert_eq!(is_cut(1), (true, true));
    let metrics = house.get("/metrics").send().await.ok().text();
    assert!(metrics.contains("tenon_feedback_total{service=\"s\"} 1\n"), "{metrics}");
    assert!(metrics.contains("tenon_observed_total{outcome=\"written\"} 7\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_that_says_nothing_or_too_much_is_refused() {
    let access = tenon_api::Access::new(crate::house::ADMIN, true).infer_token(INFER);
    let house = House::with(Setup { access, ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    let refuse = async |path: &str, body: &str, status: u16, text: &str| {
        house
            .post(path)
            .header("authorization", format!("Bearer {INFER}"))
            .body(body.to_owned())
            .send()
            .await
            .refused(status, text);
    };
    refuse(PATH, r#"{"request_id":"q"}"#, 400, "it says nothing").await;
    refuse(PATH, r#"{"truth":1}"#, 400, "request_id").await;
    refuse(PATH, r#"{"request_id":"","truth":1}"#, 400, "request id").await;
    refuse(PATH, r#"{"request_id":"q","thruth":1}"#, 400, "unknown field `thruth`").await;
    refuse(PATH, "[", 400, "read feedback").await;
    let long = format!(r#"{{"request_id":"q","comment":"{}"}}"#, "x".repeat(5000));
    refuse(PATH, &long, 400, "longer than 4096 bytes").await;
    let huge = format!(r#"{{"request_id":"q","truth":"{}"}}"#, "x".repeat(70_000));
    refuse(PATH, &huge, 413, "larger than the limit").await;
    refuse("/services/none/feedback", r#"{"request_id":"q","truth":1}"#, 404, "no service `none`").await;
    house.post(PATH).body(r#"{"request_id":"q","truth":1}"#).send().await.refused(401, "scope `infer`");
}
