//! `tenon serve`: the server, from its configuration to its end.
//!
//! What was served comes back from the node's own disk first; the catalog is asked afterwards, and may be
//! away. The end comes in order: readiness fails, requests under way end, the process ends with 0.

mod demo;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::failure::{Failure, Outcome};
use super::output;
use crate::config::{Config, ConfigError, Raw};
use crate::logging;
use crate::runtimes::{self, Started};
use crate::sink::Sink;
use crate::telemetry::{self, Telemetry};
use crate::wiring::{self, DataFolder, House, Tokens, Told};

/// How long a start waits for the catalog before the node is ready without it.
const CATALOG_PATIENCE: Duration = Duration::from_secs(2);

/// How often a catalog that is away is tried again.
const CATALOG_RETRY: Duration = Duration::from_secs(5);

/// Start a server
///
/// Settings come from `tenon.toml`, from the environment (`TENON_LISTEN`, `TENON_LIMITS_REQUEST_BYTES`, ...) and
/// from flags; later ones win. `tenon config` shows every setting with its origin.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
    /// Push the bundles in this folder and serve the first, if that was not done before; may be given again
    #[arg(long, value_name = "DIR")]
    demo: Vec<PathBuf>,
}

/// The settings of a server on the command line.
#[derive(Debug, clap::Args)]
pub struct SettingArgs {
    /// Folder of everything that is kept [default: ./tenon-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address and port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// File of settings [default: tenon.toml in this folder, if there]
    #[arg(long, value_name = "FILE", env = "TENON_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Folder of models to serve as it is: Triton, TensorFlow Serving, MLServer, bundles, bare ONNX files
    #[arg(long, value_name = "DIR")]
    repository: Option<String>,
    /// Time between two looks at that folder; 0 looks only at the start and when a load asks [default: 5]
    #[arg(long, value_name = "SECONDS")]
    repository_poll: Option<f64>,
    /// Listen beyond loopback without tokens: everybody who reaches the port may infer
    #[arg(long)]
    insecure: bool,
    /// Any other setting by its key, such as `limits.in_flight=100`; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingArgs {
    /// All layers of settings.
    pub fn raw(&self) -> Result<Raw, ConfigError> {
        let mut raw = Raw::read(self.config.as_deref())?;
        if let Some(data) = &self.data {
            raw.flag("data", data.clone(), "--data")?;
        }
        if let Some(listen) = &self.listen {
            raw.flag("listen", listen.clone(), "--listen")?;
        }
        if let Some(folder) = &self.repository {
            raw.flag("repository.folder", folder.clone(), "--repository")?;
        }
        if let Some(seconds) = self.repository_poll {
            raw.flag("repository.poll_ms", (seconds * 1000.0).round().to_string(), "--repository-poll")?;
        }
        if self.insecure {
            raw.flag("insecure", "true".to_owned(), "--insecure")?;
        }
        for setting in &self.set {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            raw.flag(key, value.to_owned(), "--set")?;
        }
        Ok(raw)
    }
}

/// Serves until it is told to end.
pub fn run(args: Args) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(false),
    }
}

fn serve(args: Args) -> Outcome {
    let raw = args.settings.raw()?;
    let config = raw.check()?;
    let log = logging::begin(&config.log).map_err(|text| raw.error("log.level", text))?;
    for (variable, meant) in raw.ignored() {
        let meant = meant.map(crate::config::variable_of).unwrap_or_default();
        tracing::warn!(variable, meant, "environment variable is no setting and was ignored");
    }
    // The folder first: two servers on one folder is the worse mistake, and the one to be told of.
    let folder = DataFolder::open(&config.data).map_err(Failure::new)?;
    let listener = listen(&config)?;
    let tokens = read_tokens(&raw, &config, &folder)?;
    let telemetry = start_telemetry(&raw, &config)?;
    let sink = Sink::start(&config.observe).map_err(|text| raw.error("observe.folder", text))?;
    let told =
        Told { traces: telemetry.as_ref().map(Telemetry::sink), observer: sink.as_ref().map(Sink::observer) };
    let started = start_runtimes(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(wiring::cores(&config))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("start threads: {error}")))?;
    let outcome = runtime.block_on(async {
        let house = House::build(config, &folder, started, tokens, log, told)?;
        let outcome = live(house, listener, args.demo).await;
        if let Some(telemetry) = telemetry {
            telemetry.end().await;
        }
        outcome
    });
    if let Some(sink) = sink {
        sink.end();
    }
    // What is still loading is cut off: a restart takes it up from the journal.
    runtime.shutdown_background();
    outcome
}

/// The engines, with one word in the log about each that is not there.
fn start_runtimes(config: &Config) -> Started {
    let started = runtimes::start(runtimes::find_onnxruntime(&config.onnxruntime));
    for absent in started.views.iter().filter_map(|view| view.absent.as_ref()) {
        tracing::warn!("{absent}");
    }
    started
}

/// The way of traces to their collector, where there is one.
fn start_telemetry(raw: &Raw, config: &Config) -> Outcome<Option<Telemetry>> {
    let headers = config.telemetry.headers_file.as_deref().map(telemetry::read_headers).transpose();
    let headers = headers.map_err(|text| raw.error("telemetry.headers_file", text))?.unwrap_or_default();
    Telemetry::start(&config.telemetry, headers, &config.node).map_err(Failure::new)
}

/// The port, before anything is loaded.
fn listen(config: &Config) -> Outcome<TcpListener> {
    let address = config.listen;
    let failed = |error: std::io::Error| {
        Failure::new(format!("listen on {address}: {error}"))
            .hint("stop the program that has the port, or choose another one: --listen ADDRESS:PORT")
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn read_tokens(raw: &Raw, config: &Config, folder: &DataFolder) -> Outcome<Tokens> {
    let named = |key: &'static str, file: &Option<PathBuf>| match file {
        Some(path) => wiring::read_token(path).map(Some).map_err(|text| raw.error(key, text)),
        None => Ok(None),
    };
    let infer = named("access.infer_token_file", &config.access.infer_token_file)?;
    let admin = match named("access.admin_token_file", &config.access.admin_token_file)? {
        Some(token) => token,
        None => folder.admin_token().map_err(Failure::new)?,
    };
    Ok(Tokens { admin, infer })
}

/// The server's life inside the async runtime.
async fn live(house: House, listener: TcpListener, demo: Vec<PathBuf>) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("start: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // The task belongs to this function: it ends with the server.
    let mut start = JoinSet::new();
    start.spawn(begin(house.clone(), demo));
    tenon_api::serve(house.api(), listener, shutdown).await.map_err(|error| Failure::new(error.to_string()))
}

/// Brings everything up while the port answers already.
async fn begin(house: House, demo: Vec<PathBuf>) {
    let down = house.restore().await;
    let taken_up = tokio::time::timeout(CATALOG_PATIENCE, house.take_up())
        .await
        .unwrap_or_else(|_| Err(tenon_contract::Fault::unavailable("the catalog does not answer")));
    let demos = demo::begin(&house, &demo).await;
    // What was served before answers now. Only a first start waits for what lies in the repository.
    let is_first = house.node.services().is_empty();
    if is_first {
        house.begin_repository().await;
    }
    house.started();
    output::line(&match &down[..] {
        [] => format!("tenon is ready on {}", house.url()),
        down => {
            let names: Vec<_> =
                down.iter().map(|(service, fault)| format!("`{service}` ({fault})")).collect();
            format!("tenon answers on {}, but services are down: {}", house.url(), names.join(", "))
        }
    });
    let told = demo::complete(&house, demos).await;
    if !told.is_empty() {
        output::line(&told);
    }
    let catalog = async {
        if let Err(fault) = taken_up {
            tracing::error!(%fault, "serving without the catalog; it is tried again");
            retry(&house).await;
        }
    };
    let repository = async {
        if !is_first {
            house.begin_repository().await;
        }
        house.watch_repository().await;
    };
    tokio::join!(catalog, repository);
}

async fn retry(house: &House) {
    loop {
        tokio::time::sleep(CATALOG_RETRY).await;
        match house.take_up().await {
            Ok(()) => return tracing::info!("catalog is there again"),
            Err(fault) => tracing::debug!(%fault, "catalog is still away"),
        }
    }
}
