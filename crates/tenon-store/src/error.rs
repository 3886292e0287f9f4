//! What the store could not do, with the place and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use tenon_contract::{Digest, Fault, FaultKind};

/// Why the store refused or failed. What was there before is still there.
///
/// The text carries the cause, because it is also what a caller reads; there is no `source` chain.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Neither the folder nor the remote has the blob.
    #[error("find {digest}: no such blob")]
    NotFound {
        /// What was asked for.
        digest: Digest,
    },
    /// The blob is not on this node's disk; the remote may have it.
    #[error("find {digest} in {}: it is not on this node; fetch it from the remote first", folder.display())]
    NotLocal {
        /// What was asked for.
        digest: Digest,
        /// The store's folder.
        folder: PathBuf,
    },
    /// More bytes than an artifact may have.
    #[error("store artifact: more than the limit of {limit} bytes (`artifact_bytes`)")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// An upload was continued at the wrong place.
    #[error("append to {digest} at {given}: the upload continues at {expected}")]
    Offset {
        /// The upload.
        digest: Digest,
        /// The offset the caller gave.
        given: u64,
        /// The offset at which it continues.
        expected: u64,
    },
    /// Another upload of the same digest is under way.
    #[error("append to {digest}: another upload of it is under way")]
    Busy {
        /// The upload.
        digest: Digest,
    },
    /// The bytes are not what their digest or their announced size says. Nothing of them was kept.
    #[error("store {digest}: {found}; nothing was kept")]
    Mismatch {
        /// What was announced.
        digest: Digest,
        /// What came.
        found: String,
    },
    /// The bytes of a stored blob are no longer what they were.
    #[error("read {digest} from {place}: the bytes are damaged; {advice}")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// Where the damaged bytes are.
        place: String,
        /// What to do.
        advice: &'static str,
    },
    /// The local copy cannot be used and the remote could not replace it.
    #[error("{local}; fetching it anew failed too: {remote}")]
    Unhealed {
        /// What is wrong with the local copy.
        local: Box<StoreError>,
        /// Why the remote did not help.
        remote: Box<StoreError>,
    },
    /// The sender stopped before the end.
    #[error("receive artifact: cut off: {cause}")]
    CutOff {
        /// What the sender's side said.
        cause: String,
    },
    /// The disk refused.
    #[error("{action} {}: {error}{}", path.display(), advice(error))]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The remote refused or cannot be reached.
    #[error("{action} {digest} on {remote}: {error}")]
    Remote {
        /// What was being done.
        action: &'static str,
        /// To which blob, or `blobs`.
        digest: String,
        /// The remote's name.
        remote: String,
        /// What it said.
        error: Box<object_store::Error>,
    },
    /// The folder holds another layout, or is no store.
    #[error("open store {}: {reason}", folder.display())]
    Layout {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the folder.
    #[error("open store {}: another process uses it; stop that one first", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The configuration names a backend that this build does not have.
    #[error("use store backend `{name}`: {reason}")]
    Backend {
        /// What was named.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The process is shutting down.
    #[error("use store: the process is shutting down")]
    Stopped,
}

/// What a person can do about an error of the operating system.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => ": free space on that disk and try again",
        io::ErrorKind::QuotaExceeded => ": raise the quota or free space and try again",
        io::ErrorKind::ReadOnlyFilesystem => ": remount it writable and try again",
        io::ErrorKind::PermissionDenied => ": give the user that runs tenon access to it",
        _ => "",
    }
}

impl StoreError {
    /// Wraps an error of the operating system.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { action, path: path.to_owned(), error }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound { .. } => FaultKind::NotFound,
            Self::TooLarge { .. } => FaultKind::TooLarge,
            Self::Offset { .. } | Self::Busy { .. } => FaultKind::Conflict,
            Self::Mismatch { .. } => FaultKind::Invalid,
            Self::CutOff { .. } => FaultKind::Cancelled,
            Self::Backend { .. } => FaultKind::Unsupported,
            Self::NotLocal { .. } | Self::Remote { .. } | Self::Stopped | Self::InUse { .. } => {
                FaultKind::Unavailable
            }
            Self::Unhealed { local, .. } => local.kind(),
            Self::Damaged { .. } | Self::Io { .. } | Self::Layout { .. } => FaultKind::Internal,
        }
    }

    /// Whether a copy from the remote would help: the local one is absent or cannot be read.
    pub(crate) fn is_about_local_copy(&self) -> bool {
        matches!(self, Self::NotLocal { .. } | Self::Damaged { .. } | Self::Io { .. })
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
