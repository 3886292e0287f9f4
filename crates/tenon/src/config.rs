//! The configuration of the server: [`Raw`] values from four layers become a checked [`Config`].
//!
//! Order: default < `tenon.toml` < environment `TENON_*` < flags. What is wrong is told with its key and
//! where it was given, and ends the program with 64.

pub(crate) mod environment;
mod keys;
mod layers;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use keys::{KEYS, Key};
pub use layers::{Given, Origin, Raw, variable_of};
use tenon_contract::{NameError, ServiceName, Settings};
use toml::Value;

use crate::child::ChildLimits;
use crate::faults::Planned;

/// The file that is read from the working folder where no other is named.
pub const FILE: &str = "tenon.toml";

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, or the file itself.
    pub key: String,
    /// Where it was given.
    pub origin: Origin,
    /// What is wrong and what is right.
    pub text: String,
}

impl ConfigError {
    fn file(path: &Path, text: impl fmt::Display) -> Self {
        Self { key: "config".to_owned(), origin: Origin::File(path.to_owned()), text: text.to_string() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configure `{}` ({}): {}", self.key, self.origin, self.text)
    }
}

impl std::error::Error for ConfigError {}

/// The configuration of a server, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of everything that is kept.
    pub data: PathBuf,
    /// Name of this node in receipts.
    pub node: String,
    /// Further values of `Host` that are answered.
    pub allowed_hosts: Vec<String>,
    /// Who may do what.
    pub access: AccessConfig,
    /// Certificate chain and private key, PEM.
    pub tls: Option<TlsFiles>,
    /// A folder of models that is served as it is.
    pub repository: Option<RepositoryConfig>,
    /// Sizes and counts.
    pub limits: LimitsConfig,
    /// Where ONNX Runtime is.
    pub onnxruntime: OnnxruntimeConfig,
    /// What a proving child may use.
    pub prover: ChildLimits,
    /// Settings of services where a deployment gives none.
    pub services: Settings,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Metrics have the names of Triton too.
    pub triton_names: bool,
    /// Where traces go.
    pub telemetry: TelemetryConfig,
    /// What is kept of requests.
    pub observe: ObserveConfig,
    /// A fault on purpose, for tests of the built binary.
    pub fault: Option<Planned>,
}

/// Tokens, and whether they may be missing.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// Listen beyond loopback without tokens.
    pub insecure: bool,
    /// File with the token for inference; none lets everybody infer.
    pub infer_token_file: Option<PathBuf>,
    /// File with the token for administration; `admin.token` in the data folder where it is not given.
    pub admin_token_file: Option<PathBuf>,
}

/// The files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// A folder of models that is served as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// The folder.
    pub folder: PathBuf,
    /// Time between two looks; none is only at the start and when a load asks.
    pub poll: Option<Duration>,
}

/// Named limits of the node.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Largest request, also after decompression.
    pub request_bytes: u64,
    /// Largest upload.
    pub artifact_bytes: u64,
    /// Requests inside the node at once.
    pub in_flight: u32,
    /// Threads that compute; none lets the node choose.
    pub compute_threads: Option<u32>,
    /// Memory that models may hold together; none is no limit.
    pub model_memory_bytes: Option<u64>,
    /// Jobs that run at once.
    pub jobs: u32,
    /// Jobs that wait.
    pub waiting_jobs: u32,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or targets with levels: `info,tenon_serving=debug`.
    pub level: String,
    /// One JSON document a line.
    pub is_json: bool,
    /// Requests that take at least this long leave a line; none: no request is slow.
    pub slow: Option<Duration>,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// Address of the collector; none: nothing is traced.
    pub endpoint: Option<String>,
    /// Share of requests that are traced where their caller decides nothing.
    pub ratio: f64,
    /// Name under which they are told.
    pub service_name: String,
    /// Headers that are sent along, such as tokens.
    pub headers_file: Option<PathBuf>,
    /// How long the collector may take to answer.
    pub timeout: Duration,
}

/// Where ONNX Runtime is looked for.
#[derive(Clone, Debug)]
pub struct OnnxruntimeConfig {
    /// The library, where it is named.
    pub library: Option<PathBuf>,
    /// Tenon's cache folder, in which `cargo xtask onnxruntime` puts it.
    pub cache_folder: PathBuf,
    /// The library that the environment names (`ORT_DYLIB_PATH`).
    pub environment_library: Option<PathBuf>,
    /// Take a library that only the environment names.
    pub allow_environment_library: bool,
}

/// What is kept of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct ObserveConfig {
    /// The folder; none: nothing is kept.
    pub folder: Option<PathBuf>,
    /// Share of requests that are kept.
    pub ratio: f64,
    /// The services that are observed; none: all.
    pub services: Vec<ServiceName>,
    /// Also what was asked and answered.
    pub keeps_values: bool,
    /// Most bytes of all files.
    pub total_bytes: u64,
    /// Most bytes of a file.
    pub file_bytes: u64,
    /// Most bytes of a record.
    pub record_bytes: usize,
}

impl Raw {
    /// The default layers: `file`, or `tenon.toml` in the working folder where there is one, and the
    /// environment. Flags come on top, by [`Raw::flag`].
    ///
    /// # Errors
    /// The named file cannot be read; what is written is wrong.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut raw = Self::defaults();
        let path = file.unwrap_or(Path::new(FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => raw.file(path, &text)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError::file(path, format!("read: {error}"))),
        }
        raw.environment(environment::variables());
        Ok(raw)
    }

    /// The checked configuration.
    ///
    /// # Errors
    /// The first value that is not what its key asks for.
    pub fn check(&self) -> Result<Config, ConfigError> {
        let services = Settings {
            require_golden: self.truth("services.require_golden")?,
            undo_window_s: self.number("services.undo_window_s", 0)?,
            drain_ms: self.number("services.drain_ms", 1)?,
            ..Settings::default()
        };
        let config = Config {
            listen: self.address("listen")?,
            data: self.path("data")?.ok_or_else(|| self.wrong("data", "a folder"))?,
            node: Some(self.text("node")?.to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(machine),
            allowed_hosts: self.texts("allowed_hosts")?,
            access: AccessConfig {
                insecure: self.truth("insecure")?,
                infer_token_file: self.path("access.infer_token_file")?,
                admin_token_file: self.path("access.admin_token_file")?,
            },
            tls: self.tls()?,
            repository: self.repository()?,
            limits: self.limits()?,
            onnxruntime: OnnxruntimeConfig {
                library: self.path("onnxruntime.library")?,
                cache_folder: environment::cache_folder(),
                environment_library: environment::variable("ORT_DYLIB_PATH").map(PathBuf::from),
                allow_environment_library: self.truth("onnxruntime.allow_environment_library")?,
            },
            prover: ChildLimits {
                memory_bytes: self.bytes("prover.memory_bytes", 64 << 20)?,
                cpu_s: self.number("prover.cpu_s", 1)?,
                wall_s: self.number("prover.wall_s", 1)?,
                demand_filter: self.truth("prover.demand_filter")?,
            },
            services,
            log: LogConfig {
                level: self.text("log.level")?.to_owned(),
                is_json: match self.text("log.format")? {
                    "json" => true,
                    "text" => false,
                    _ => return Err(self.wrong("log.format", "`text` or `json`")),
                },
                slow: Some(self.number("log.slow_ms", 0)?)
                    .filter(|millis| *millis > 0)
                    .map(Duration::from_millis),
            },
            triton_names: self.truth("metrics.triton_names")?,
            telemetry: self.telemetry()?,
            observe: self.observe()?,
            fault: None,
        };
        self.check_access(&config)?;
        Ok(Config { fault: self.fault(&config)?, ..config })
    }

    /// The fault on purpose. A server that others can reach has none.
    fn fault(&self, config: &Config) -> Result<Option<Planned>, ConfigError> {
        let Some(text) = &self.fault else { return Ok(None) };
        let planned = match config.listen.ip().is_loopback() {
            true => text.parse().map(Some),
            false => Err("faults on purpose are for tests: only a server on loopback takes one".to_owned()),
        };
        let origin = Origin::Environment(layers::FAULT.to_owned());
        planned.map_err(|text| ConfigError { key: "fault".to_owned(), origin, text })
    }

    fn limits(&self) -> Result<LimitsConfig, ConfigError> {
        Ok(LimitsConfig {
            request_bytes: self.bytes("limits.request_bytes", 1024)?,
            artifact_bytes: self.bytes("limits.artifact_bytes", 1)?,
            in_flight: self.count("limits.in_flight", 1)?,
            compute_threads: Some(self.count("limits.compute_threads", 0)?).filter(|count| *count > 0),
            model_memory_bytes: Some(self.bytes("limits.model_memory_bytes", 0)?).filter(|bytes| *bytes > 0),
            jobs: self.count("limits.jobs", 1)?,
            waiting_jobs: self.count("limits.waiting_jobs", 1)?,
        })
    }

    fn repository(&self) -> Result<Option<RepositoryConfig>, ConfigError> {
        let poll = self.number("repository.poll_ms", 0)?;
        let poll = (poll > 0).then(|| Duration::from_millis(poll));
        Ok(self.path("repository.folder")?.map(|folder| RepositoryConfig { folder, poll }))
    }

    fn telemetry(&self) -> Result<TelemetryConfig, ConfigError> {
        let endpoint = self.text("telemetry.endpoint")?;
        let is_address = ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme));
        if !endpoint.is_empty() && !is_address {
            return Err(self.wrong("telemetry.endpoint", "an address such as `http://localhost:4318`"));
        }
        Ok(TelemetryConfig {
            endpoint: Some(endpoint.to_owned()).filter(|endpoint| !endpoint.is_empty()),
            ratio: self.share("telemetry.sample_ratio")?,
            service_name: self.text("telemetry.service_name")?.to_owned(),
            headers_file: self.path("telemetry.headers_file")?,
            timeout: Duration::from_millis(self.number("telemetry.timeout_ms", 1)?),
        })
    }

    fn observe(&self) -> Result<ObserveConfig, ConfigError> {
        let named = self.texts("observe.services")?.into_iter().map(|name| name.parse());
        let services = named.collect::<Result<_, NameError>>();
        let record_bytes = self.bytes("observe.record_bytes", 1024)?;
        let file_bytes = self.bytes("observe.file_bytes", record_bytes)?;
        Ok(ObserveConfig {
            folder: self.path("observe.folder")?,
            ratio: self.share("observe.sample_ratio")?,
            services: services.map_err(|_| self.wrong("observe.services", "names of services"))?,
            keeps_values: match self.text("observe.keep")? {
                "ids" => false,
                "values" => true,
                _ => return Err(self.wrong("observe.keep", "`ids` or `values`")),
            },
            total_bytes: self.bytes("observe.total_bytes", 2 * file_bytes)?,
            file_bytes,
            record_bytes: usize::try_from(record_bytes).unwrap_or(usize::MAX),
        })
    }

    fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        match (self.path("tls.certificate_file")?, self.path("tls.key_file")?) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err(self.wrong("tls.key_file", "the key that belongs to `tls.certificate_file`"))
            }
            (None, Some(_)) => {
                Err(self.wrong("tls.certificate_file", "the certificate that belongs to `tls.key_file`"))
            }
        }
    }

    /// Beyond loopback everybody can reach the port: then tokens are asked for.
    fn check_access(&self, config: &Config) -> Result<(), ConfigError> {
        let open = config.access.infer_token_file.is_none() && !config.access.insecure;
        if config.listen.ip().is_loopback() || !open {
            return Ok(());
        }
        let given = self.at("listen");
        let text = format!(
            "{} can be reached from other machines: name a file with a token in `access.infer_token_file` ({}), or say \
             --insecure ({}=true) to answer everybody",
            config.listen,
            variable_of("access.infer_token_file"),
            variable_of("insecure"),
        );
        Err(ConfigError { key: "listen".to_owned(), origin: given.origin.clone(), text })
    }

    /// What is wrong with a key's value, where only its use shows it.
    pub fn error(&self, key: &'static str, text: impl Into<String>) -> ConfigError {
        ConfigError { key: key.to_owned(), origin: self.at(key).origin.clone(), text: text.into() }
    }

    fn wrong(&self, key: &'static str, expected: &str) -> ConfigError {
        let given = self.at(key);
        let found = match &given.value {
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        };
        let text = format!("expected {expected}, found {found}");
        ConfigError { key: key.to_owned(), origin: given.origin.clone(), text }
    }

    fn text(&self, key: &'static str) -> Result<&str, ConfigError> {
        self.at(key).value.as_str().ok_or_else(|| self.wrong(key, "a text"))
    }

    fn texts(&self, key: &'static str) -> Result<Vec<String>, ConfigError> {
        let wrong = || self.wrong(key, "a list of texts");
        match &self.at(key).value {
            Value::String(text) => Ok(text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect()),
            Value::Array(list) => {
                list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// A path; one in a file is seen from the file's folder.
    fn path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        let text = self.text(key)?;
        let folder = match &self.at(key).origin {
            Origin::File(file) => file.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        Ok((!text.is_empty()).then(|| folder.join(text)))
    }

    fn address(&self, key: &'static str) -> Result<SocketAddr, ConfigError> {
        let wrong = |_| self.wrong(key, "an address and a port such as `127.0.0.1:8080`");
        self.text(key)?.parse().map_err(wrong)
    }

    fn truth(&self, key: &'static str) -> Result<bool, ConfigError> {
        match &self.at(key).value {
            Value::Boolean(truth) => Ok(*truth),
            Value::String(text) if matches!(text.as_str(), "true" | "1") => Ok(true),
            Value::String(text) if matches!(text.as_str(), "false" | "0" | "") => Ok(false),
            _ => Err(self.wrong(key, "`true` or `false`")),
        }
    }

    fn number(&self, key: &'static str, least: u64) -> Result<u64, ConfigError> {
        let number = match &self.at(key).value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number
            .filter(|number| *number >= least)
            .ok_or_else(|| self.wrong(key, &format!("a whole number from {least}")))
    }

    /// A share from 0 to 1.
    fn share(&self, key: &'static str) -> Result<f64, ConfigError> {
        let share = match &self.at(key).value {
            Value::Float(share) => Some(*share),
            Value::Integer(share) => Some(*share as f64),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| self.wrong(key, "a share from 0 to 1, such as `0.01`"))
    }

    fn count(&self, key: &'static str, least: u32) -> Result<u32, ConfigError> {
        let number = self.number(key, least.into())?;
        u32::try_from(number).map_err(|_| self.wrong(key, &format!("a whole number up to {}", u32::MAX)))
    }

    fn bytes(&self, key: &'static str, least: u64) -> Result<u64, ConfigError> {
        let bytes = match &self.at(key).value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) => read_bytes(text),
            _ => None,
        };
        let expected = || format!("a size from {least} bytes, such as `64MiB` or `2GiB`");
        bytes.filter(|bytes| *bytes >= least).ok_or_else(|| self.wrong(key, &expected()))
    }
}

/// The name of this machine.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "node".to_owned())
}

/// Reads `64MiB`, `2 GiB`, `1000`.
fn read_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Raw, ConfigError> {
        let mut raw = Raw::defaults();
        raw.file(Path::new("/etc/tenon/tenon.toml"), file)?;
        raw.environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        for (key, value) in flags {
            raw.flag(key, (*value).to_owned(), "--set")?;
        }
        Ok(raw)
    }

    #[test]
    fn defaults_hold() {
        let config = Raw::defaults().check().unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.limits.request_bytes, 64 << 20);
        assert_eq!((config.limits.compute_threads, config.limits.model_memory_bytes), (None, None));
        assert_eq!(config.prover, ChildLimits::default());
        assert_eq!(config.services, Settings::default());
    }

    #[test]
    fn later_layers_win_and_tell_their_origin() {
        let file = "data = 'data'\n[limits]\nin_flight = 1\nrequest_bytes = '1MiB'\nartifact_bytes = 5\n";
        let environment = [("TENON_LIMITS_IN_FLIGHT", "2"), ("TENON_TOKEN", "secret"), ("HOME", "/root")];
        let raw = layered(file, &environment, &[("limits.request_bytes", "2 MiB")]).unwrap();
        let config = raw.check().unwrap();
        assert_eq!(config.data, Path::new("/etc/tenon/data"), "seen from the file's folder");
        assert_eq!(
            (config.limits.in_flight, config.limits.request_bytes, config.limits.artifact_bytes),
            (2, 2 << 20, 5)
        );
        let origin = |key| raw.at(key).origin.to_string();
        assert_eq!(origin("limits.in_flight"), "environment TENON_LIMITS_IN_FLIGHT");
        assert_eq!(origin("limits.request_bytes"), "flag --set");
        assert_eq!(origin("limits.artifact_bytes"), "/etc/tenon/tenon.toml");
        assert_eq!(origin("listen"), "default");
    }

    #[test]
    fn wrong_values_name_their_key() {
        let check = |file: &str, expected: &str| {
            let error = layered(file, &[], &[]).and_then(|raw| raw.check()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} does not say `{expected}`");
        };
        check(
            "listn = 'x'",
            "configure `listn` (/etc/tenon/tenon.toml): no such key; did you mean `listen`?",
        );
        check("[limits]\nrequests = 1", "no such key; there are");
        check(
            "listen = 'localhost'",
            "expected an address and a port such as `127.0.0.1:8080`, found `localhost`",
        );
        check("[limits]\nrequest_bytes = '64 megs'", "expected a size");
        check("[limits]\nin_flight = 0", "a whole number from 1");
        check("[limits]\nin_flight = 5000000000", "up to 4294967295");
        check("insecure = 'maybe'", "`true` or `false`");
        check("[tls]\nkey_file = 'k'", "configure `tls.certificate_file`");
        check("data = ''", "a folder");
        check("x = [", "configure `config`");
        check("listen = '0.0.0.0:80'", "can be reached from other machines");
        let raw =
            layered("", &[("TENON_LISTN", "x"), ("TENON_PORT_80_TCP", "x"), ("TENON_TOKEN_FILE", "x")], &[])
                .unwrap();
        let ignored: Vec<_> = raw.ignored().collect();
        assert_eq!(ignored, [("TENON_LISTN", Some("listen")), ("TENON_PORT_80_TCP", None)]);
    }

    #[test]
    fn beyond_loopback_asks_for_tokens() {
        let check =
            |more: &str| layered(&format!("listen = '[::]:80'\n{more}"), &[], &[]).unwrap().check().is_ok();
        assert!(!check(""));
        assert!(check("insecure = true"));
        assert!(check("[access]\ninfer_token_file = 'infer.token'"));
    }

    #[test]
    fn a_fault_on_purpose_is_for_loopback_and_comes_from_the_environment_only() {
        let check = |environment: &[(&str, &str)]| layered("", environment, &[]).and_then(|raw| raw.check());
        assert_eq!(check(&[]).unwrap().fault, None);
        assert!(check(&[("TENON_FAULT", "kill@intent:1")]).unwrap().fault.is_some());
        let wrong = check(&[("TENON_FAULT", "kill@lunch:1")]).unwrap_err().to_string();
        assert!(wrong.contains("environment TENON_FAULT") && wrong.contains("no moment `lunch`"), "{wrong}");
        let beyond = [("TENON_FAULT", "kill@intent:1"), ("TENON_LISTEN", "[::]:80"), ("TENON_INSECURE", "1")];
        assert!(check(&beyond).unwrap_err().to_string().contains("only a server on loopback"));
        assert!(layered("fault = 'kill@intent:1'", &[], &[]).is_err());
    }
}
