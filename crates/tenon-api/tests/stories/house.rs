//! A whole server over toy models in a temporary folder, and a caller that sends exactly what it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tenon_api::{Access, ApiParts, Control, Limits, LogLines, LogSwitch, TlsFiles, Tracing, serve};
use tenon_catalog::{Catalog, SqliteCatalog, SqliteOptions};
use tenon_contract::admin::{DryRun, RuntimeView, SwapOrder, Swapped};
use tenon_contract::observed::Observer;
use tenon_contract::{
    Contract, Digest, Fault, Format, Memory, Proof, ProofKey, ProofKind, Revision, ServiceName, Settings,
};
use tenon_control::{
    Finding, JobLimits, Jobs, NodePort, Onboarding, Promotion, Prover, ReceiptHead, Stage, SystemClock,
};
use tenon_runtime::toy::Toy;
use tenon_runtime::{Bundle, BundleLimits, LoadOptions, Runtime as _, Runtimes};
use tenon_serving::{Node, NodeOptions};
use tenon_store::{Options, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) const ADMIN: &str = "admin-token-of-the-test";
pub(crate) const INFER: &str = "infer-token-of-the-test";

/// A server under way. It ends when this is dropped.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) node: Node,
    pub(crate) starting: Arc<AtomicBool>,
    ending: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    _folder: tempfile::TempDir,
}

/// How a server is set up.
pub(crate) struct Setup {
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) proving: Duration,
    pub(crate) triton_names: bool,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) tracing: Option<Tracing>,
}

impl Default for Setup {
    fn default() -> Self {
        let access = Access::new(ADMIN, true);
        let (limits, proving) = (Limits::default(), Duration::ZERO);
        Self { access, limits, tls: None, proving, triton_names: false, observer: None, tracing: None }
    }
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(Setup::default()).await
    }

    /// A server whose service `s` adds 1.
    pub(crate) async fn serving() -> Self {
        let house = Self::open().await;
        house.serve("s", "add=1").await;
        house
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::files(folder.path().join("store"))).unwrap();
        let catalog =
            SqliteCatalog::open(SqliteOptions::at(folder.path().join("catalog.sqlite"))).await.unwrap();
        let catalog: Arc<dyn Catalog> = Arc::new(catalog);
        let toy = Arc::new(Toy::new());
        let observer = setup.observer;
        let options = NodeOptions { cores: 2, observer, ..NodeOptions::new("n", folder.path().join("node")) };
        let runtimes = Runtimes::new(vec![toy.clone()]);
        let handle = tokio::runtime::Handle::current();
        let node = Node::open(options, runtimes, store.clone(), handle).unwrap();
        let clock = Arc::new(SystemClock);
        let jobs = Jobs::new(catalog.clone(), clock.clone(), JobLimits::default(), vec![Onboarding::WORK]);
        let prover = Arc::new(ToyProver { store: store.clone(), toy, delay: setup.proving });
        let port = Arc::new(Port(node.clone()));
        let control = Control {
            onboarding: Onboarding::new(catalog.clone(), store.clone(), prover, clock.clone(), jobs.clone()),
            promotion: Promotion::new(catalog.clone(), port, clock, Settings::default()),
            jobs,
            repository: None,
        };
        let starting = Arc::new(AtomicBool::new(false));
        let parts = ApiParts {
            node: node.clone(),
            control,
            catalog,
            store,
            examples: |bytes| Ok(Bundle::open(bytes, BundleLimits::default())?.examples().cloned()),
            paint: |_, _| Err(Fault::internal("no picture is painted here")),
            access: setup.access,
            limits: setup.limits,
            event_loops: 2,
            tls: setup.tls,
            tenon: "0.0.0".to_owned(),
            runtimes: vec![RuntimeView { build: "toy 1".to_owned(), formats: Vec::new(), absent: None }],
            starting: starting.clone(),
            log: Arc::new(Log::default()),
            triton_names: setup.triton_names,
            slow: None,
            tracing: setup.tracing,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, ordered) = oneshot::channel();
        let served = tokio::spawn(async move {
            let ordered = async {
                let _ = ordered.await;
            };
            serve(parts, listener, ordered).await.unwrap();
        });
        Self { address, node, starting, ending: Mutex::new(Some((shutdown, served))), _folder: folder }
    }

    /// Orders the server to end; the handle is done when it has.
    pub(crate) fn end(&self) -> JoinHandle<()> {
        self.ending.lock().unwrap().take().expect("it ends once").1
    }

    pub(crate) fn client(&self) -> tenon_client::Client {
        let server = format!("http://{}", self.address);
        let options = tenon_client::Options { server, token: Some(ADMIN.to_owned()), authorities: None };
        tenon_client::Client::new(&options).unwrap()
    }

    /// Brings a toy in as the next version of `model`; gives its id.
    pub(crate) async fn push(&self, model: &str, words: &str) -> String {
        let text = format!("toy {words} end");
        let path = format!("/api/v1/models/{model}/versions");
        let begun = self
            .post(&path)
            .admin()
            .header("content-type", "application/octet-stream")
            .body(text)
            .send()
            .await;
        assert_eq!(begun.status, 202, "{}", begun.text());
        let id = begun.json()["id"].as_str().unwrap().to_owned();
        let job = self.client().follow(&id, |_| {}).await.unwrap();
        job.version.unwrap_or_else(|| panic!("{:?}", job.fault)).to_string()
    }

    /// Lets `service` serve a new version of the model of the same name.
    pub(crate) async fn serve(&self, service: &str, words: &str) {
        let version = self.push(service, words).await;
        let wish = format!(r#"{{"version":"{version}"}}"#);
        let served =
            self.ask(Method::PUT, &format!("/api/v1/services/{service}")).admin().body(wish).send().await;
        assert_eq!(served.status, 200, "{}", served.text());
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        self.ask(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Ask {
        self.ask(Method::POST, path)
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Ask {
        let request = Request::builder().method(method).uri(path);
        Ask { address: self.address, request, host: Some(self.address.to_string()), body: Bytes::new() }
    }

    /// Asks the service `s` for x + what it adds.
    pub(crate) async fn infer(&self, x: f32) -> Answer {
        self.post("/v2/models/s/infer").body(question(x)).send().await
    }
}

/// A request for one FP32 value in JSON.
pub(crate) fn question(x: f32) -> String {
    format!(r#"{{"id":"q","inputs":[{{"name":"x","datatype":"FP32","shape":[1,1],"data":[{x}]}}]}}"#)
}

/// One request, sent on a connection of its own.
pub(crate) struct Ask {
    address: SocketAddr,
    request: http::request::Builder,
    host: Option<String>,
    body: Bytes,
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.request = self.request.header(name, value.to_string());
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    pub(crate) fn admin(self) -> Self {
        self.header("authorization", format!("Bearer {ADMIN}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(mut self) -> Answer {
        if let Some(host) = self.host.take() {
            self = self.header("host", host);
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let response = sender.send_request(self.request.body(Full::new(self.body)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { status: head.status, headers: head.headers, body }
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks status and words of a refusal.
    pub(crate) fn refused(&self, status: u16, words: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        let error = self.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(words), "`{error}` does not say `{words}`");
        assert!(!self.header("tenon-request-id").is_empty(), "a refusal bears an id too");
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }
}

/// The node as the control plane sees it.
struct Port(Node);

#[async_trait]
impl NodePort for Port {
    async fn swap(&self, order: SwapOrder) -> Result<Swapped, Fault> {
        self.0.swap(order).await
    }

    async fn undo(
        &self,
        service: &ServiceName,
        actor: &str,
        reason: Option<String>,
    ) -> Result<Swapped, Fault> {
        self.0.undo(service.clone(), actor.to_owned(), reason).await
    }

    async fn dry_run(&self, order: &SwapOrder) -> Result<DryRun, Fault> {
        self.0.dry_run(order)
    }

    fn live(&self, service: &ServiceName) -> Option<Revision> {
        self.0.live(service).map(|revision| (*revision).clone())
    }

    fn served(&self) -> Vec<Revision> {
        self.0.served().iter().map(|revision| (**revision).clone()).collect()
    }

    fn wanted(&self) -> Vec<ServiceName> {
        self.0.services()
    }

    fn highest_revision(&self) -> u64 {
        self.0.highest_revision()
    }

    fn head(&self, _: &ServiceName) -> Option<ReceiptHead> {
        None
    }
}

/// A log that only remembers what it should hold.
struct Log(Mutex<LogLines>);

impl Default for Log {
    fn default() -> Self {
        Self(Mutex::new(LogLines { info: true, warning: true, error: true, verbose: 0 }))
    }
}

impl LogSwitch for Log {
    fn lines(&self) -> LogLines {
        *self.0.lock().unwrap()
    }

    fn set(&self, lines: LogLines) -> Result<(), Fault> {
        *self.0.lock().unwrap() = lines;
        Ok(())
    }
}

/// Proves toys in this process.
struct ToyProver {
    store: Store,
    toy: Arc<Toy>,
    delay: Duration,
}

#[async_trait]
impl Prover for ToyProver {
    async fn prove(&self, digest: Digest, _: u64, stages: mpsc::Sender<Stage>) -> Result<Finding, Fault> {
        tokio::time::sleep(self.delay).await;
        let bundle = Bundle::open(self.store.read(&digest).await?, BundleLimits::default())?;
        let format =
            self.toy.recognise(bundle.artifact()).ok_or_else(|| Fault::invalid("content is no toy"))?;
        let _ = stages.send(Stage::Recognised(format.clone())).await;
        let signature = self.toy.load(&bundle, &LoadOptions::default())?.signature().clone();
        let key = self.keys(digest, &format).remove(0);
        let slow = bundle.artifact().windows(6).any(|word| word == b"run_ms");
        let proof = Proof {
            key,
            kind: ProofKind::Synthetic,
            examples: 3,
            rows_independent: Some(true),
            repeatable: true,
            notes: Vec::new(),
            call_micros: if slow { 10_000 } else { 1 },
            load_micros: 1,
            memory: Memory::cpu(64),
            session_memory: Memory::cpu(64),
        };
        let contract = Contract::of_signature(&signature);
        Ok(Finding { format, contract, signature, proof, about: bundle.about() })
    }

    fn keys(&self, artifact: Digest, _: &Format) -> Vec<ProofKey> {
        vec![ProofKey { artifact, runtime: "toy 1".to_owned(), processor: std::env::consts::ARCH.to_owned() }]
    }
}

/// Waits until `is` holds.
pub(crate) async fn until(what: &str, is: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

/// Whether services are being brought back.
pub(crate) fn set_starting(house: &House, starting: bool) {
    house.starting.store(starting, Ordering::Release);
}
