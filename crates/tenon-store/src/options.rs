//! How a store is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::StoreError;
use crate::testing::Faults;

/// Most bytes of one artifact, where nothing else is configured: 8 GiB.
pub const ARTIFACT_BYTES: u64 = 8 << 30;

/// How long an unfinished upload can be resumed, where nothing else is configured: a week.
pub const KEEP_UPLOADS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a store keeps its bytes, and its limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder on this node's disk; created (mode 0700) when it is not there.
    pub folder: PathBuf,
    /// What stands behind the folder.
    pub backend: Backend,
    /// Most bytes of one artifact; more is refused.
    pub artifact_bytes: u64,
    /// Unfinished uploads without a new byte for this long are swept when the store is opened.
    pub keep_uploads: Duration,
    /// Write steps that shall fail. None, outside tests.
    pub faults: Faults,
}

impl Options {
    /// A store that is the folder and nothing else.
    pub fn files(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            backend: Backend::Files,
            artifact_bytes: ARTIFACT_BYTES,
            keep_uploads: KEEP_UPLOADS,
            faults: Faults::none(),
        }
    }

    /// A store whose folder is the verified cache of `remote`.
    pub fn remote(folder: impl Into<PathBuf>, remote: Arc<dyn ObjectStore>) -> Self {
        Self { backend: Backend::Remote(remote), ..Self::files(folder) }
    }
}

/// What stands behind the folder of a store.
#[derive(Clone)]
pub enum Backend {
    /// Nothing: the folder itself is the store.
    Files,
    /// A store shared by several nodes; the folder is its verified cache.
    Remote(Arc<dyn ObjectStore>),
}

impl Backend {
    /// A remote in this process's memory, gone with it: for tests and demonstrations.
    pub fn memory() -> Self {
        Self::Remote(Arc::new(InMemory::new()))
    }

    /// The backend that a configuration names: `files` or `memory`.
    ///
    /// Cloud stores join here, each as a cargo feature of this crate that turns on the same feature of
    /// `object_store`; until then their addresses are known and refused.
    ///
    /// # Errors
    /// This build has no such backend.
    pub fn named(name: &str) -> Result<Self, StoreError> {
        let scheme = name.split_once("://").map_or(name, |(scheme, _)| scheme);
        let reason = match scheme {
            "files" => return Ok(Self::Files),
            "memory" => return Ok(Self::memory()),
            "s3" | "s3a" => "this build has no S3",
            "gs" => "this build has no Google Cloud Storage",
            "az" | "azure" | "abfs" | "abfss" => "this build has no Azure Blob Storage",
            _ => "no such backend; use `files` or `memory`",
        };
        Err(StoreError::Backend { name: name.to_owned(), reason })
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files => f.write_str("Files"),
            Self::Remote(remote) => write!(f, "Remote({remote})"),
        }
    }
}
