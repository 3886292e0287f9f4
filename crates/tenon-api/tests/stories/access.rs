//! Who may do what, over the wire.

use http::Method;
use tenon_api::Access;

use crate::house::{ADMIN, House, INFER, Setup, question};

const WRITES: [(&str, &str); 8] = [
    ("PATCH", "/api/v1/blobs/sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ("POST", "/api/v1/models/m/versions"),
    ("PUT", "/api/v1/services/s"),
    ("DELETE", "/api/v1/services/s"),
    ("POST", "/api/v1/services/s/swap"),
    ("POST", "/api/v1/services/s/undo"),
    ("POST", "/v2/repository/models/s/load"),
    ("POST", "/v2/repository/models/s/unload"),
];

const READS: [&str; 8] = [
    "/",
    "/metrics",
    "/api/v1/node",
    "/api/v1/models",
    "/api/v1/jobs",
    "/api/v1/services",
    "/api/v1/services/s",
    "/api/v1/services/s/receipts",
];

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_writes_need_the_token_and_reads_do_not() {
    let house = House::serving().await;
    for (method, path) in WRITES {
        let ask = || house.ask(Method::from_bytes(method.as_bytes()).unwrap(), path);
        let answer = ask().body("{}").send().await;
        answer.refused(401, "Authorization: Bearer");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{path}");
        let answer = ask().header("authorization", "Bearer wrong").body("{}").send().await;
        answer.refused(401, "none that this server knows");
        assert!(!answer.text().contains("wrong"));
    }
    for path in READS {
        assert_eq!(house.get(path).send().await.status, 200, "{path}");
    }
    house.infer(1.0).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_everything_but_probes_needs_its_scope() {
    let access = Access::new(ADMIN, false).infer_token(INFER);
    let house = House::with(Setup { access, ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    for path in READS.into_iter().chain(["/v2", "/v2/models/s", "/services/s/contract"]) {
        house.get(path).send().await.refused(401, "Authorization");
        for token in [INFER, ADMIN] {
            let answer = house.get(path).header("authorization", format!("Bearer {token}")).send().await;
            assert_eq!(answer.status, 200, "{path}");
        }
    }
    for path in ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/api/v1/openapi.json"] {
        assert_eq!(house.get(path).send().await.status, 200, "{path}");
    }
    for (method, path) in WRITES {
        let ask = house.ask(Method::from_bytes(method.as_bytes()).unwrap(), path);
        let answer = ask.header("authorization", format!("Bearer {INFER}")).body("{}").send().await;
        answer.refused(403, "scope `admin`");
    }
    for path in ["/v2/models/s/infer", "/services/s/methods/infer"] {
        house.post(path).body(question(1.0)).send().await.refused(401, "scope `infer`");
    }
    let ask = house.post("/v2/models/s/infer").header("authorization", format!("Bearer {INFER}"));
    ask.body(question(1.0)).send().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_ours_and_pages_of_others_are_turned_away() {
    let house = House::serving().await;
    let ask = || house.post("/v2/models/s/infer").body(question(1.0));
    ask().host("evil.example").send().await.refused(421, "allowed_hosts");
    ask().host("localhost:1").send().await.ok();
    ask().header("origin", "https://evil.example").send().await.refused(403, "another site");
    ask().header("sec-fetch-site", "cross-site").send().await.refused(403, "another site");
    let own = ask().header("origin", format!("http://{}", house.address)).send().await.ok();
    assert!(own.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
    let admin = house.ask(Method::DELETE, "/api/v1/services/s").admin().header("origin", "null").send().await;
    admin.refused(403, "another site");
    assert_eq!(house.get("/").header("sec-fetch-site", "cross-site").send().await.status, 200);
    house.infer(1.0).await.ok();
}
