//! `/metrics`: what was declared and nothing else, in both formats, with figures that are right.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tenon_api::Tracing;
use tenon_contract::trace::{TraceCounts, TraceSink, Traced};

use crate::exposition::{Sample, Scrape};
use crate::house::{House, Setup, question, until};

const TABLE: &str = include_str!("../../../../docs/reference/metrics.md");
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl House {
    async fn scraped(&self) -> Scrape {
        let answer = self.get("/metrics").send().await.ok();
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Scrape::read(&answer.text(), false)
    }

    async fn scraped_open(&self) -> Scrape {
        let answer = self.get("/metrics").header("accept", OPEN).send().await.ok();
        assert_eq!((answer.header("content-type"), answer.header("vary")), (OPEN, "accept"));
        Scrape::read(&answer.text(), true)
    }

    async fn swap(&self, version: &str) -> u16 {
        let wish = format!(r#"{{"version":"{version}"}}"#);
        self.post("/api/v1/services/s/swap").admin().body(wish).send().await.status.as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_declared_metric_is_told_and_no_other() {
    let house = House::with(Setup { triton_names: true, ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    house.serve("t", "add=1").await;
    house.infer(1.0).await.ok();
    let feedback = house.post("/services/t/feedback").body(r#"{"request_id":"q","truth":1}"#).send().await;
    assert_eq!(feedback.status, 202, "{}", feedback.text());
    let second = house.push("s", "add=2").await;
    assert_eq!(house.swap(&second).await, 200);
    until("drained", async || house.scraped().await.sum("tenon_drain_duration_seconds_count", &[]) > 0.0)
        .await;
    house.ask(Method::DELETE, "/api/v1/services/s").admin().send().await.ok();
    until("retired", async || house.scraped().await.sum("tenon_revisions_retired_total", &[]) > 1.0).await;
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `"));
    let declared: BTreeSet<_> = rows.map(|row| row.split('`').next().unwrap().to_owned()).collect();
    assert!(declared.len() > 40);
    let plain = house.scraped().await;
    let told: BTreeSet<_> = plain.families.iter().map(|family| family.name.clone()).collect();
    assert_eq!(told, declared);
    let open = house.scraped_open().await;
    let silent = |scrape: &Scrape| {
        let empty = scrape.families.iter().filter(|family| family.samples.is_empty());
        empty.map(|family| family.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((silent(&plain), silent(&open)), (vec![], vec![]), "every one has a figure after some use");
    assert_eq!(open.families.len(), declared.len());
    assert_eq!(open.family("tenon_request_duration_seconds").unit.as_deref(), Some("seconds"));
    assert_eq!(open.family("tenon_build").kind, "info");
    let house = House::serving().await;
    assert!(!house.scraped().await.families.iter().any(|family| family.name.starts_with("nv_")));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_once_and_under_what_they_came_to() {
    let house = House::with(Setup { triton_names: true, ..Setup::default() }).await;
    house.serve("s", "add=1 panic=9").await;
    for x in [1.0, 2.0, 3.0] {
        house.infer(x).await.ok();
    }
    assert_eq!(house.infer(9.0).await.status, 500);
    house
        .post("/v2/models/s/infer")
        .body(question(1.0).replace("\"x\"", "\"z\""))
        .send()
        .await
        .refused(400, "z");
    house.post("/v2/models/none/infer").body(question(1.0)).send().await.refused(404, "none");
    let second = house.push("s", "add=2").await;
    assert_eq!((house.swap(&second).await, house.swap("s/7").await), (200, 404));
    let two = question(1.0).replace("[1,1]", "[2,1]").replace("[1]}", "[1,2]}");
    house.post("/v2/models/s/infer").body(two).send().await.ok();
    let seen = house.scraped().await;
    let of = |version, outcome| {
        let labels = [("service", "s"), ("track", "primary"), ("version", version), ("outcome", outcome)];
        seen.sum("tenon_requests_total", &labels)
    };
    assert_eq!((of("s/1", "answered"), of("s/1", "failed"), of("s/1", "invalid")), (3.0, 1.0, 1.0));
    assert_eq!((of("s/2", "answered"), of("s/2", "failed")), (1.0, 0.0));
    assert_eq!(seen.sum("tenon_requests_total", &[]), 6.0);
    let reason = |reason| seen.sum("tenon_requests_unanswered_total", &[("reason", reason)]);
    assert_eq!((reason("model"), reason("invalid"), reason("queue_full")), (1.0, 1.0, 0.0));
    assert_eq!(seen.sum("tenon_requests_unrouted_total", &[("reason", "not_found")]), 1.0);
    let first = [("service", "s"), ("version", "s/1")];
    assert_eq!(seen.sum("tenon_request_duration_seconds_count", &first), 3.0);
    assert_eq!(seen.sum("tenon_compute_duration_seconds_count", &first), 4.0);
    assert_eq!(seen.sum("tenon_request_rows_sum", &[("version", "s/2")]), 2.0);
    assert!(seen.sum("tenon_request_duration_seconds_sum", &first) > 0.0);
    // One change for the first version and one for the second; one that did not get as far as the node.
    assert_eq!(seen.sum("tenon_swaps_total", &[("kind", "swap"), ("outcome", "published")]), 2.0);
    assert_eq!(seen.sum("tenon_swap_step_duration_seconds_count", &[("step", "prove")]), 2.0);
    assert_eq!(seen.sum("tenon_jobs_ended_total", &[("kind", "onboard"), ("outcome", "done")]), 2.0);
    let triton = |name: &str, version| seen.sum(name, &[("model", "s"), ("version", version)]);
    assert_eq!(triton("nv_inference_request_success", "1"), 3.0);
    assert_eq!((triton("nv_inference_count", "2"), triton("nv_inference_exec_count", "2")), (2.0, 1.0));
    assert_eq!(seen.sum("nv_inference_request_failure", &[("version", "1"), ("reason", "BACKEND")]), 1.0);
    assert_eq!(seen.sum("nv_inference_request_failure", &[("version", "1"), ("reason", "OTHER")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_buckets_say_which_request_it_was() {
    let house = House::open().await;
    house.serve("s", "run_ms=30").await;
    let ask = house.post("/v2/models/s/infer").header("tenon-request-id", "slow \"one\"");
    ask.body(question(1.0).replace("\"id\":\"q\",", "")).send().await.ok();
    let open = house.scraped_open().await;
    let buckets = &open.family("tenon_request_duration_seconds").samples;
    let exemplars: Vec<_> = buckets.iter().filter_map(|sample| sample.exemplar.as_ref()).collect();
    assert_eq!(exemplars.len(), 1, "{buckets:?}");
    assert_eq!(exemplars[0].0["request_id"], "slow \"one\"");
    assert!((0.03..10.0).contains(&exemplars[0].1));
}

/// Takes traces and keeps none.
struct Nowhere;

impl TraceSink for Nowhere {
    fn take(&self, _: Box<dyn Traced>) {}

    fn counts(&self) -> TraceCounts {
        TraceCounts { sent: 5, lost: 1, dropped: 2 }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exemplars_lead_to_their_traces() {
    let tracing = Some(Tracing { ratio: 0.0, sink: Arc::new(Nowhere) });
    let house = House::with(Setup { tracing, ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let asked = |sampled: &str| {
        let parent = format!("00-{trace}-b7ad6b7169203331-{sampled}");
        house.post("/v2/models/s/infer").header("traceparent", parent).body(question(1.0)).send()
    };
    let traces = async || {
        let open = house.scraped_open().await;
        let buckets = &open.family("tenon_request_duration_seconds").samples;
        let exemplars = buckets.iter().filter_map(|sample| sample.exemplar.as_ref());
        exemplars.filter_map(|exemplar| exemplar.0.get("trace_id").cloned()).collect::<BTreeSet<_>>()
    };
    asked("00").await.ok();
    assert!(traces().await.is_empty(), "nobody keeps that trace");
    // The place of the bucket is free again after a second.
    until("the traced request is the exemplar", async || {
        asked("01").await.ok();
        traces().await.contains(trace)
    })
    .await;
    let seen = house.scraped().await;
    let spans = |outcome| seen.sum("tenon_spans_total", &[("outcome", outcome)]);
    let dropped = seen.sum("tenon_traces_dropped_total", &[]);
    assert_eq!((spans("sent"), spans("lost"), dropped), (5.0, 1.0, 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_seen_waiting_and_who_leaves_is_counted() {
    let house = House::open().await;
    house.serve("s", "run_ms=400").await;
    let ask = |limit: Duration| {
        let send = house.post("/v2/models/s/infer").body(question(1.0)).send();
        tokio::spawn(tokio::time::timeout(limit, send))
    };
    let long = Duration::from_secs(20);
    let asked: Vec<_> = (0..4).map(|_| ask(long)).collect();
    let waiting = async || {
        let seen = house.scraped().await;
        let inside = seen.sum("tenon_service_requests_in_flight", &[("service", "s")]);
        assert_eq!(inside, seen.sum("tenon_requests_in_flight", &[]));
        inside == 4.0 && seen.sum("tenon_requests_waiting", &[("version", "s/1")]) == 2.0
    };
    until("two of four wait for a session", waiting).await;
    let leaves = ask(Duration::from_millis(50));
    assert!(leaves.await.unwrap().is_err());
    for answered in asked {
        answered.await.unwrap().unwrap().ok();
    }
    let is_cancelled = |sample: &Sample| sample.labels["outcome"] == "cancelled" && sample.value == 1.0;
    let told = async || house.scraped().await.family("tenon_requests_total").samples.iter().any(is_cancelled);
    until("the one that left is counted", told).await;
    let seen = house.scraped().await;
    assert!(seen.sum("tenon_queue_duration_seconds_sum", &[]) > 0.3);
    assert_eq!(seen.sum("tenon_requests_waiting", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_drains_shows_who_holds_it() {
    let house = House::open().await;
    house.serve("s", "run_ms=600").await;
    let second = house.push("s", "add=2").await;
    let slow = tokio::spawn(house.post("/v2/models/s/infer").body(question(1.0)).send());
    until("it runs", async || house.scraped().await.sum("tenon_requests_in_flight", &[]) == 1.0).await;
    assert_eq!(house.swap(&second).await, 200);
    let retiring = async || house.scraped().await.sum("tenon_requests_retiring", &[("version", "s/1")]);
    assert_eq!(retiring().await, 1.0);
    slow.await.unwrap().ok();
    until("it is drained", async || retiring().await == 0.0).await;
    until("and that is told", async || {
        let seen = house.scraped().await;
        seen.sum("tenon_drain_duration_seconds_count", &[("outcome", "in_time")]) == 1.0
    })
    .await;
    assert_eq!(house.scraped().await.sum("tenon_service_undo_warm", &[("service", "s")]), 1.0);
}
