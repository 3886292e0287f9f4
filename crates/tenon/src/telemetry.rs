//! Traces to a collector of OpenTelemetry: OTLP over HTTP, as Protobuf.
//!
//! What serves puts traces into a bounded queue and goes on. A thread of its own at low priority looks into it, makes
//! the spans and sends them in batches. A collector that is away costs spans, which are counted, and nothing else: no
//! request waits for it, and what is kept for it has a limit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use tenon_codec::otlp::{self, KeyValue};
use tenon_contract::trace::{Span, TraceCounts, TraceSink, Traced};
use tokio::sync::{oneshot, watch};

use crate::config::TelemetryConfig;

/// Traces that wait to be sent; further ones are dropped.
const QUEUE: usize = 4096;
/// Spans of one request to the collector.
const BATCH: usize = 512;
/// How often the queue is looked into. No sender wakes the thread: that would cost more than all the rest.
const LOOK: Duration = Duration::from_millis(500);
/// How often a batch is sent at most.
const TRIES: u32 = 4;
/// The pause after the first try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that a collector may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long what is left may take to be sent when the server ends.
const LAST: Duration = Duration::from_secs(5);
/// How far the thread steps back behind those that serve.
const NICE: i32 = 10;

/// The way of traces to the collector.
pub(crate) struct Telemetry {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<()>,
}

/// What waits, and what became of the rest.
struct Queue {
    waiting: ArrayQueue<Box<dyn Traced>>,
    sent: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    /// Whether the server ends.
    ending: watch::Sender<bool>,
}

impl TraceSink for Queue {
    fn take(&self, traced: Box<dyn Traced>) {
        if self.waiting.push(traced).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> TraceCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TraceCounts { sent: read(&self.sent), lost: read(&self.lost), dropped: read(&self.dropped) }
    }
}

impl Telemetry {
    /// Starts the thread, where there is a collector. `headers` are sent along.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        config: &TelemetryConfig,
        headers: HeaderMap,
        node: &str,
    ) -> Result<Option<Self>, String> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        // An error says that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .default_headers(headers)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tenon/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("set up HTTP: {error}"))?;
        let (ending, ended) = watch::channel(false);
        let zero = || AtomicU64::new(0);
        let waiting = ArrayQueue::new(QUEUE);
        let queue = Arc::new(Queue { waiting, sent: zero(), lost: zero(), dropped: zero(), ending });
        let exporter = Exporter {
            client,
            url: url(endpoint),
            resource: resource(&config.service_name, node),
            queue: queue.clone(),
            ending: ended,
            is_away: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("start threads: {error}"))?;
        let (done, ended) = oneshot::channel();
        let work = move || {
            // Nobody is harmed where it may not step back.
            let _ = rustix::process::setpriority_process(None, NICE);
            runtime.block_on(exporter.run());
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name("telemetry".to_owned());
        thread.spawn(work).map_err(|error| format!("start a thread: {error}"))?;
        Ok(Some(Self { queue, ended }))
    }

    /// Where traces are put.
    pub(crate) fn sink(&self) -> Arc<dyn TraceSink> {
        self.queue.clone()
    }

    /// Sends what is left, as far as that can be done in time.
    pub(crate) async fn end(self) {
        self.queue.ending.send_replace(true);
        let _ = tokio::time::timeout(LAST, self.ended).await;
    }
}

/// What the collector is told of this process.
fn resource(service: &str, node: &str) -> Vec<KeyValue> {
    let version = env!("CARGO_PKG_VERSION");
    vec![
        KeyValue::new("service.name", service.into()),
        KeyValue::new("service.version", version.into()),
        KeyValue::new("service.instance.id", node.into()),
        KeyValue::new("process.pid", u64::from(std::process::id()).into()),
        KeyValue::new("telemetry.sdk.name", "tenon".into()),
        KeyValue::new("telemetry.sdk.language", "rust".into()),
        KeyValue::new("telemetry.sdk.version", version.into()),
    ]
}

/// The address that spans are sent to: that of the collector, with the standard's path where it is not given.
fn url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with(otlp::PATH) { endpoint.to_owned() } else { format!("{endpoint}{}", otlp::PATH) }
}

/// Headers out of a file, one a line. No value is in any text.
///
/// # Errors
/// The file cannot be read, or has a line that is no header.
pub(crate) fn read_headers(path: &Path) -> Result<HeaderMap, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("read {shown}: {error}"))?;
    let mut headers = HeaderMap::new();
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let header = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            Some((name, HeaderValue::try_from(value.trim()).ok()?))
        });
        let (name, mut value) =
            header.ok_or_else(|| format!("read {shown}: line {number}: expected `name: value`"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// What the thread does.
struct Exporter {
    client: Client,
    url: String,
    resource: Vec<KeyValue>,
    queue: Arc<Queue>,
    /// True when the server ends.
    ending: watch::Receiver<bool>,
    /// Whether the collector did not take the last batch: told when it changes.
    is_away: bool,
}

/// Why a batch was not taken.
enum Refused {
    /// It may be taken later, perhaps after this time.
    Later(Option<Duration>, String),
    /// It never will be.
    Never(String),
}

impl Exporter {
    async fn run(mut self) {
        while !*self.ending.borrow() {
            self.pause(LOOK).await;
            self.send_waiting().await;
        }
    }

    /// Waits, and no longer when the server ends.
    async fn pause(&self, time: Duration) {
        let mut ending = self.ending.clone();
        let _ = tokio::time::timeout(time, ending.wait_for(|ends| *ends)).await;
    }

    /// Sends all that waits, in batches.
    async fn send_waiting(&mut self) {
        while !self.queue.waiting.is_empty() {
            let mut spans = Vec::with_capacity(BATCH);
            while spans.len() < BATCH
                && let Some(traced) = self.queue.waiting.pop()
            {
                spans.extend(traced.spans());
            }
            self.send(spans).await;
        }
    }

    async fn send(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let body = otlp::encode(&self.resource, env!("CARGO_PKG_VERSION"), spans);
        match self.deliver(body.into()).await {
            Ok(refused) => {
                self.queue.sent.fetch_add(count.saturating_sub(refused), Ordering::Relaxed);
                self.queue.lost.fetch_add(refused, Ordering::Relaxed);
                if std::mem::take(&mut self.is_away) {
                    tracing::info!(url = self.url, "the collector of traces takes spans again");
                }
            }
            Err(why) => {
                self.queue.lost.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(
                        url = self.url,
                        why,
                        "the collector of traces takes no spans; they are lost"
                    );
                }
            }
        }
    }

    /// Sends a batch until it is taken, or it is not worth another try; gives how many spans were refused.
    async fn deliver(&self, body: bytes::Bytes) -> Result<u64, String> {
        let (mut pause, mut tries) = (PAUSE, 0);
        loop {
            tries += 1;
            match self.post(body.clone()).await {
                Ok(refused) => return Ok(refused),
                Err(Refused::Never(why)) => return Err(why),
                Err(Refused::Later(_, why)) if tries == TRIES || self.is_away || *self.ending.borrow() => {
                    return Err(why);
                }
                Err(Refused::Later(asked, _)) => {
                    self.pause(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                    pause *= 2;
                }
            }
        }
    }

    async fn post(&self, body: bytes::Bytes) -> Result<u64, Refused> {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, otlp::CONTENT_TYPE).body(body);
        // Without the address, which stands in the line already.
        let broken = |error: reqwest::Error| Refused::Later(None, chain(&error.without_url()));
        let answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        let again = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        if again.contains(&status) {
            let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(Refused::Later(after.map(Duration::from_secs), status.to_string()));
        }
        if !status.is_success() {
            return Err(Refused::Never(status.to_string()));
        }
        let told = answer.bytes().await.map_err(broken)?;
        let refused = otlp::refused(&told);
        if let Some((count, why)) = &refused {
            let why: String = why.chars().take(200).collect();
            tracing::debug!(count, why, "the collector of traces refused spans");
        }
        Ok(refused.map_or(0, |(count, _)| count))
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_where_it_is_missing() {
        let check = |endpoint, expected| assert_eq!(url(endpoint), expected);
        check("http://c:4318", "http://c:4318/v1/traces");
        check("http://c:4318/", "http://c:4318/v1/traces");
        check("https://c/otlp", "https://c/otlp/v1/traces");
        check("http://c/v1/traces", "http://c/v1/traces");
    }

    #[test]
    fn headers_are_read_and_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(&file, "# of the collector\nAuthorization: Bearer secret\n\nx-tenant: a:b\n").unwrap();
        let headers = read_headers(&file).unwrap();
        assert_eq!(
            (&headers["authorization"], &headers["x-tenant"]),
            (&HeaderValue::from_static("Bearer secret"), &HeaderValue::from_static("a:b"))
        );
        assert!(!format!("{headers:?}").contains("secret"));
        std::fs::write(&file, "secret\n").unwrap();
        let error = read_headers(&file).unwrap_err();
        assert!(error.ends_with("line 1: expected `name: value`"), "{error}");
    }
}
