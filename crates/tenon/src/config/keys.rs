//! Every key of the server: its name, what it is for, and its default.

use toml::Value;

/// A key.
pub struct Key {
    /// Its name, with its section.
    pub name: &'static str,
    /// What it is for, one line.
    pub about: &'static str,
    /// What holds where nobody gives it; an empty text is *not given*.
    pub default: fn() -> Value,
}

const fn key(name: &'static str, default: fn() -> Value, about: &'static str) -> Key {
    Key { name, about, default }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The keys, in the order in which `tenon.toml` is best written.
pub const KEYS: &[Key] = &[
    key("listen", || text("127.0.0.1:8080"), "address and port of the one HTTP port"),
    key("data", || text("./tenon-data"), "folder of everything that is kept"),
    key("node", || text(""), "name of this node in receipts; none: that of the machine"),
    key(
        "allowed_hosts",
        || Value::Array(Vec::new()),
        "values of `Host` that are answered beside loopback and `listen`",
    ),
    key("insecure", || Value::Boolean(false), "listen beyond loopback without tokens"),
    key(
        "access.infer_token_file",
        || text(""),
        "file with the token for the scope infer; none: everybody may infer",
    ),
    key(
        "access.admin_token_file",
        || text(""),
        "file with the token for the scope admin; none: <data>/admin.token",
    ),
    key("tls.certificate_file", || text(""), "certificate chain, PEM; none: plain HTTP"),
    key("tls.key_file", || text(""), "private key, PEM"),
    key("repository.folder", || text(""), "folder of models that is served as it is; none: no such folder"),
    key(
        "repository.poll_ms",
        || Value::Integer(5000),
        "time between two looks at it, milliseconds; 0: only at the start and when a load asks",
    ),
    key("limits.request_bytes", || text("64MiB"), "largest request, also after decompression"),
    key("limits.artifact_bytes", || text("8GiB"), "largest upload"),
    key("limits.in_flight", || Value::Integer(4096), "requests inside the node at once"),
    key("limits.compute_threads", || Value::Integer(0), "threads that compute; 0: one a processor"),
    key("limits.model_memory_bytes", || text("0"), "memory that models may hold together; 0: no limit"),
    key("limits.jobs", || Value::Integer(1), "jobs that run at once"),
    key("limits.waiting_jobs", || Value::Integer(64), "jobs that wait; one more is refused"),
    key(
        "metrics.triton_names",
        || Value::Boolean(false),
        "tell the metrics under the names of Triton (nv_*) too, for dashboards that ask for them",
    ),
    key("log.level", || text("info"), "what is logged: error, warn, info, debug, or targets with levels"),
    key("log.format", || text("text"), "how lines are logged: text or json"),
    key("log.slow_ms", || Value::Integer(0), "requests that take this long leave a line; 0: none is slow"),
    key(
        "telemetry.endpoint",
        || text(""),
        "collector of OpenTelemetry for traces, OTLP over HTTP; none: nothing is traced",
    ),
    key(
        "telemetry.sample_ratio",
        || Value::Float(0.01),
        "share of requests that are traced, from 0 to 1; a caller's `traceparent` goes before it",
    ),
    key("telemetry.service_name", || text("tenon"), "name of this server in traces"),
    key(
        "telemetry.headers_file",
        || text(""),
        "file of headers for the collector, `name: value` in each line, such as tokens",
    ),
    key("telemetry.timeout_ms", || Value::Integer(10_000), "how long the collector may take, milliseconds"),
    key(
        "observe.folder",
        || text(""),
        "folder in which a sample of requests and all feedback are kept; none: nothing is",
    ),
    key("observe.sample_ratio", || Value::Float(0.01), "share of requests that are kept, from 0 to 1"),
    key("observe.services", || Value::Array(Vec::new()), "services that are observed; none: all"),
    key("observe.keep", || text("ids"), "what is kept of a request: ids, or also its values"),
    key("observe.record_bytes", || text("64KiB"), "largest record; values that need more are left out"),
    key("observe.file_bytes", || text("64MiB"), "largest file of records"),
    key("observe.total_bytes", || text("1GiB"), "all files of records together; the oldest leave"),
    key(
        "onnxruntime.library",
        || text(""),
        "libonnxruntime.so; none: cache folder, then beside the executable",
    ),
    key(
        "onnxruntime.allow_environment_library",
        || Value::Boolean(false),
        "take a library that only the environment names",
    ),
    key("prover.memory_bytes", || text("4GiB"), "address space of a proving child, beside the artifact"),
    key("prover.cpu_s", || Value::Integer(60), "computing time of a proving child, seconds"),
    key("prover.wall_s", || Value::Integer(120), "time on the clock of a proving child, seconds"),
    key(
        "prover.demand_filter",
        || Value::Boolean(false),
        "refuse to prove where system calls cannot be filtered",
    ),
    key("services.require_golden", || Value::Boolean(false), "serve only versions proven on golden examples"),
    key(
        "services.undo_window_s",
        || Value::Integer(3600),
        "how long the previous revision stays warm, seconds",
    ),
    key("services.drain_ms", || Value::Integer(30_000), "deadline of a drain, milliseconds"),
];
