//! What those see who keep the server: probes, page, TLS, the end.

use std::time::{Duration, Instant};

use tenon_api::{Access, Limits, TlsFiles};

use crate::house::{ADMIN, Answer, House, INFER, Setup, set_starting, until};

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_start_and_end_and_no_load() {
    let house = House::with(Setup { proving: Duration::from_millis(300), ..Setup::default() }).await;
    let ready = async |house: &House| house.get("/readyz").send().await.status.as_u16();
    assert_eq!(ready(&house).await, 200, "nothing is wanted");
    set_starting(&house, true);
    assert_eq!((ready(&house).await, house.get("/livez").send().await.status.as_u16()), (503, 200));
    assert_eq!(house.get("/v2/health/ready").send().await.json()["ready"], false);
    set_starting(&house, false);
    let load = house.push("s", "load_ms=300");
    tokio::pin!(load);
    let mut looks = 0;
    while tokio::time::timeout(Duration::from_millis(20), &mut load).await.is_err() {
        assert_eq!(ready(&house).await, 200);
        looks += 1;
    }
    assert!(looks > 3);
    let ended = house.end();
    tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_lets_requests_finish_after_readiness_failed() {
    let limits = Limits { shutdown_notice: Duration::from_millis(300), ..Limits::default() };
    let house = House::with(Setup { limits, ..Setup::default() }).await;
    house.serve("s", "run_ms=800").await;
    let begun = Instant::now();
    let (address, ended);
    {
        let slow = house.post("/v2/models/s/infer").body(crate::house::question(1.0));
        let slow = tokio::spawn(slow.send());
        tokio::time::sleep(Duration::from_millis(50)).await;
        ended = house.end();
        until("readiness fails", async || house.get("/readyz").send().await.status == 503).await;
        assert_eq!(slow.await.unwrap().ok().header("tenon-version"), "s/1");
        address = house.address;
    }
    tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_cuts_off_what_does_not_end() {
    let limits = Limits { shutdown_drain: Duration::from_millis(100), ..Limits::default() };
    let house = House::with(Setup { limits, ..Setup::default() }).await;
    house.serve("s", "run_ms=3000").await;
    let slow = house.post("/v2/models/s/infer").body(crate::house::question(1.0));
    let slow = tokio::spawn(slow.send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::timeout(Duration::from_secs(2), house.end()).await.unwrap().unwrap();
    assert!(slow.await.is_err(), "cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_is_served() {
    let house = House::serving().await;
    house.infer(1.0).await.ok();
    let page = house.get("/").send().await.ok();
    let text = page.text();
    for expected in
        ["<h2>s <span class=\"ready\">ready</span>", "s/1", "x FP32[-1, 1]", "/v2/models/s/infer -d '"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    is_strict(&page);
    // What the page says to try works as it is copied.
    let line = text.lines().find(|line| line.contains("/infer -d ")).unwrap();
    let body = line.split("-d '").nth(1).unwrap().trim_end_matches('\'').replace("&quot;", "\"");
    house.post("/v2/models/s/infer").body(body).send().await.ok();
}

/// One style and one script of our own, by their hashes, and nothing else that runs or is loaded.
fn is_strict(page: &Answer) {
    let (text, policy) = (page.text(), page.header("content-security-policy"));
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(
        policy.contains("; script-src 'sha256-") && policy.contains("; connect-src 'self'; "),
        "{policy}"
    );
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert_eq!((text.matches("<script>").count(), text.matches("<script").count()), (1, 1));
    let markup = text.split("<script>").next().unwrap();
    let is_inline = |word: &str| word.contains('=') && (word.starts_with("on") || word.starts_with("style"));
    assert!(!markup.split_whitespace().any(is_inline) && !markup.contains("javascript:"), "{markup}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_a_token_gets_a_form_for_one_and_nothing_else() {
    let access = Access::new(ADMIN, false).infer_token(INFER);
    let house = House::with(Setup { access, ..Setup::default() }).await;
    house.serve("secret", "add=1").await;
    let ask = || house.get("/").header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let page = ask().send().await;
    let text = page.text();
    assert_eq!(page.status, 401);
    assert!(text.contains("<form id=\"token\"") && text.contains("data-locked=\""), "{text}");
    assert!(!text.contains("secret") && !text.contains("generation"), "{text}");
    is_strict(&page);
    let page = ask().header("authorization", format!("Bearer {INFER}")).send().await.ok();
    assert!(page.text().contains("<h2>secret") && !page.text().contains("data-locked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_where_there_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let house = House::with(Setup { tls: Some(files), ..Setup::default() }).await;
    let client = tenon_client::Client::new(&tenon_client::Options {
        server: format!("https://localhost:{}", house.address.port()),
        token: None,
        authorities: Some(made.cert.pem().into_bytes()),
    });
    assert_eq!(client.unwrap().node().await.unwrap().node, "n");
}
