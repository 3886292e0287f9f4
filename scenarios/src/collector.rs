//! A collector of OpenTelemetry: takes traces as OTLP over HTTP, reads them and keeps what it was sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tenon_codec::otlp::{self, KeyValue, Resource, Span, Value};

/// How long spans may take to arrive.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running collector.
pub struct Collector {
    port: u16,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    resource: Mutex<Resource>,
    /// Head and body of each request, as they came.
    requests: Mutex<Vec<(String, Vec<u8>)>>,
    /// Requests that are still to be answered with 503.
    refusals: AtomicUsize,
}

impl Collector {
    /// Begins to listen; answers the first `refusals` requests with 503.
    ///
    /// # Errors
    /// The system gives no port.
    pub fn start(refusals: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let port = listener.local_addr().context("listen")?.port();
        let kept = Arc::new(Kept { refusals: refusals.into(), ..Kept::default() });
        let shared = kept.clone();
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = shared.clone();
                std::thread::spawn(move || while answer(&stream, &kept).is_ok() {});
            }
        });
        Ok(Self { port, kept })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans of a trace, once there are `count` of them.
    ///
    /// # Errors
    /// They do not come.
    pub fn trace(&self, trace: &str, count: usize) -> Result<Vec<Span>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let all = locked(&self.kept.spans);
            let found: Vec<Span> = all.iter().filter(|span| hex(&span.trace_id) == trace).cloned().collect();
            if found.len() >= count {
                return Ok(found);
            }
            if Instant::now() > until {
                let names: Vec<_> = found.iter().map(|span| &span.name).collect();
                bail!("{count} spans of {trace} are expected, {names:?} came; {} in all", all.len());
            }
            drop(all);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All spans that came.
    pub fn spans(&self) -> Vec<Span> {
        locked(&self.kept.spans).clone()
    }

    /// Whom the spans are from.
    pub fn resource(&self) -> Resource {
        locked(&self.kept.resource).clone()
    }

    /// Head and body of each request.
    pub fn requests(&self) -> Vec<(String, Vec<u8>)> {
        locked(&self.kept.requests).clone()
    }
}

fn locked<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes as lowercase hex, as ids are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of an attribute as text; empty where it is not there.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Truth(truth)) => truth.to_string(),
        None => String::new(),
    }
}

/// Reads one request and answers it.
fn answer(stream: &TcpStream, kept: &Kept) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            bail!("the connection ended");
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let refuse = |left: usize| left.checked_sub(1);
    let status = match kept.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse) {
        Ok(_) => "503 Service Unavailable",
        Err(_) => take(&head, &body, kept),
    };
    locked(&kept.requests).push((head, body));
    write!(&mut { stream }, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")?;
    Ok(())
}

fn take(head: &str, body: &[u8], kept: &Kept) -> &'static str {
    if !head.starts_with("POST /v1/traces HTTP/1.1") || !head.contains("application/x-protobuf") {
        return "404 Not Found";
    }
    let Ok(request) = otlp::decode(body) else { return "400 Bad Request" };
    for process in request.resource_spans {
        *locked(&kept.resource) = process.resource.unwrap_or_default();
        let spans = process.scope_spans.into_iter().flat_map(|scope| scope.spans);
        locked(&kept.spans).extend(spans);
    }
    "200 OK"
}
