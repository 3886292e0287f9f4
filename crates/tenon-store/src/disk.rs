//! Every step by which the store changes the disk, so that a test can make any of them fail.
//!
//! Files are made with mode 0600, folders with 0700.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tenon_contract::Digest;
use tenon_contract::digest::Hasher;

use crate::StoreError;
use crate::testing::Faults;

/// The disk as the store writes to it.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    faults: Faults,
}

impl Disk {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults }
    }

    /// Makes a folder, and those above it, unless it is there; its name survives power loss.
    pub(crate) fn create_folder(&self, path: &Path) -> Result<(), StoreError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            self.create_folder(parent)?;
        }
        if !path.is_dir() {
            self.step("create folder", path, || DirBuilder::new().mode(0o700).create(path))?;
        }
        self.sync_folder(parent.unwrap_or(Path::new(".")))
    }

    /// Makes a new file; what was there under this name is cut to nothing.
    pub(crate) fn create(&self, path: &Path) -> Result<File, StoreError> {
        self.step("create", path, || {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
        })
    }

    /// Opens a file to be written at its end; made when it is not there.
    pub(crate) fn extend(&self, path: &Path) -> Result<File, StoreError> {
        self.step("open", path, || OpenOptions::new().append(true).create(true).mode(0o600).open(path))
    }

    /// Writes all of `bytes`. A fault put here is a torn write: half of them are on the disk.
    pub(crate) fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let written = match self.faults.step() {
            Ok(()) => file.write_all(bytes),
            Err(fault) => file.write_all(&bytes[..bytes.len() / 2]).and(Err(fault)),
        };
        written.map_err(StoreError::io("write", path))
    }

    /// Makes the bytes of a file survive power loss.
    pub(crate) fn sync(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        self.step("sync", path, || file.sync_all())
    }

    /// Makes the names in a folder survive power loss.
    pub(crate) fn sync_folder(&self, path: &Path) -> Result<(), StoreError> {
        self.step("sync folder", path, || File::open(path)?.sync_all())
    }

    /// Moves a file over whatever stands at `to`, in one step.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.step("rename into place", to, || std::fs::rename(from, to))
    }

    /// Removes a file; `false` when there was none.
    pub(crate) fn remove(&self, path: &Path) -> Result<bool, StoreError> {
        self.step("remove", path, || match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn step<T>(
        &self,
        action: &'static str,
        path: &Path,
        change: impl FnOnce() -> std::io::Result<T>,
    ) -> Result<T, StoreError> {
        self.faults.step().and_then(|()| change()).map_err(StoreError::io(action, path))
    }
}

/// A temporary file being written and hashed. Dropped before it is kept, it removes itself.
pub(crate) struct Draft {
    disk: Disk,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
    limit: u64,
    kept: bool,
}

impl Draft {
    /// An empty draft at `path` that takes at most `limit` bytes.
    pub(crate) fn create(disk: Disk, path: PathBuf, limit: u64) -> Result<Self, StoreError> {
        let file = disk.create(&path)?;
        Ok(Self { disk, path, file, hasher: Hasher::new(), size: 0, limit, kept: false })
    }

    /// Adds the next bytes.
    pub(crate) fn write(&mut self, bytes: &Bytes) -> Result<(), StoreError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.hasher.update(bytes);
        self.disk.write(&mut self.file, &self.path, bytes)
    }

    /// Makes the bytes durable, under the draft's own name.
    pub(crate) fn finish(self) -> Result<FinishedDraft, StoreError> {
        self.disk.sync(&self.file, &self.path)?;
        let digest = self.hasher.clone().finish();
        Ok(FinishedDraft { digest, size: self.size, draft: self })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(%error, "temporary file stays until the store is opened again");
        }
    }
}

/// A draft whose bytes are durable and whose digest is known.
pub(crate) struct FinishedDraft {
    /// sha256 of what was written.
    pub(crate) digest: Digest,
    /// How many bytes were written.
    pub(crate) size: u64,
    draft: Draft,
}

impl FinishedDraft {
    /// Where the bytes are now.
    pub(crate) fn path(&self) -> &Path {
        &self.draft.path
    }

    /// Moves the bytes to their place.
    pub(crate) fn rename(mut self, to: &Path) -> Result<(), StoreError> {
        self.draft.disk.rename(&self.draft.path, to)?;
        self.draft.kept = true;
        Ok(())
    }
}
