//! Deeds: what is asked of a server that may be killed while it does it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::json;
use tenon_client::{Client, ClientError, Source, bundle};
use tenon_contract::admin::{JobView, SwapRequest, Swapped};
use tenon_contract::{Digest, ModelName, ServiceName, VersionId};

use crate::binary;

/// The model whose versions are pushed.
pub const MODEL: &str = "m";
/// The service that is watched.
pub const SERVICE: &str = "s";

/// Something asked of a server.
#[derive(Clone, Debug)]
pub enum Deed {
    /// New bytes become a version.
    Push(Upload),
    /// The service is made and serves a version.
    Deploy(u64),
    /// The service serves another version.
    Swap(u64),
    /// The service goes back.
    Undo,
    /// The service is taken away, and what it served retired.
    Remove,
}

/// What came of a deed that was acknowledged.
#[derive(Clone, Debug)]
pub enum Done {
    /// The job that ended.
    Pushed(JobView),
    /// The exchange.
    Swapped(Box<Swapped>),
}

/// Bytes for a version, and what that version adds to its input.
#[derive(Clone)]
pub struct Upload {
    /// 1 or 2.
    pub added: u64,
    /// A bundle.
    pub bytes: Bytes,
    /// sha256 of it.
    pub digest: Digest,
}

impl Upload {
    /// Bytes that were never pushed before: a small model with an example that only `serial` has.
    ///
    /// # Errors
    /// The fixture cannot be read.
    pub fn new(added: u64, serial: u64) -> Result<Self> {
        let name = if added == 1 { "add_one" } else { "add_two" };
        let path = binary::repository().join(format!("fixtures/onnx/{name}.onnx"));
        let artifact = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let tensor = |name: &str, first: u64| json!({ "name": name, "datatype": "FP32", "shape": [1, 4], "data": [first, added, 0, 0] });
        let mut answer = tensor("y", serial + added);
        answer["data"] = json!([serial + added, 2 * added, added, added]);
        let example = json!({ "inputs": [tensor("x", serial)], "outputs": [answer] });
        let examples = json!({ "version": 1, "examples": [example] }).to_string();
        let bytes = bundle::with_examples(&artifact, examples.as_bytes())?;
        Ok(Self { added, digest: Digest::of(&bytes), bytes })
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} that adds {}", self.digest.short(), self.added)
    }
}

impl Deed {
    /// Its kind, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Push(_) => "push",
            Self::Deploy(_) => "deploy",
            Self::Swap(_) => "swap",
            Self::Undo => "undo",
            Self::Remove => "remove",
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// The server refused, or is gone.
    pub async fn run(self, client: Client) -> Result<Done, ClientError> {
        let service = service();
        let swapped = match self {
            Self::Push(upload) => {
                let model: ModelName = MODEL.parse().expect("is a name");
                let source = Source::Bytes(upload.bytes);
                let digest = client.upload(&source, |_| ()).await?;
                let job = client.push(&model, digest).await?;
                return Ok(Done::Pushed(client.follow(&job.id, |_| ()).await?));
            }
            Self::Deploy(version) => client.deploy(&service, &wish(version)).await?,
            Self::Swap(version) => client.swap(&service, &wish(version)).await?,
            Self::Undo => client.undo(&service, None).await?,
            Self::Remove => client.remove(&service).await?,
        };
        Ok(Done::Swapped(Box::new(swapped)))
    }
}

/// The service that is watched.
pub fn service() -> ServiceName {
    SERVICE.parse().expect("is a name")
}

/// A version of the model that is pushed.
pub fn version(number: u64) -> VersionId {
    VersionId { model: MODEL.parse().expect("is a name"), number }
}

fn wish(number: u64) -> SwapRequest {
    SwapRequest { version: version(number), settings: None, breaking: None, dry_run: false, reason: None }
}

/// How long each kind of deed takes, learnt from those that came to their end.
#[derive(Clone, Debug)]
pub struct Durations([(&'static str, Duration); 5]);

impl Default for Durations {
    fn default() -> Self {
        let guess = |name, ms| (name, Duration::from_millis(ms));
        let guesses = [("push", 300), ("deploy", 60), ("swap", 60), ("undo", 10), ("remove", 10)];
        Self(guesses.map(|(name, ms)| guess(name, ms)))
    }
}

impl Durations {
    /// Notes how long a deed took.
    pub fn learn(&mut self, deed: &str, took: Duration) {
        for (name, known) in &mut self.0 {
            if *name == deed {
                *known = (*known * 3 + took) / 4;
            }
        }
    }

    /// How long it may take.
    pub fn of(&self, deed: &str) -> Duration {
        self.0.iter().find(|(name, _)| *name == deed).map_or(Duration::ZERO, |(_, known)| *known)
    }
}
