//! The store as the house sees it: put, read, list, delete. Resumable uploads are in `upload.rs`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::Stream;
use tenon_contract::Digest;

use crate::StoreError;
use crate::disk::{Draft, FinishedDraft};
use crate::folder::Folder;
use crate::inflow::{Inflow, blocking, pour};
use crate::options::{Backend, Options};
use crate::remote::Remote;

/// Immutable bytes by their sha256. Clones are the same store.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) folder: Folder,
    pub(crate) remote: Option<Remote>,
    /// Most bytes of one artifact.
    pub(crate) limit: u64,
    /// Digests with an upload under way.
    pub(crate) uploading: Mutex<HashSet<Digest>>,
}

/// A blob that the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Store {
    /// Opens the store in its folder, or makes it, and sweeps what cut-off uploads left behind. Works
    /// on the disk only, so that a node starts while its remote is away. Blocks.
    ///
    /// # Errors
    /// The folder is not a store, has a later layout, is used by another process, or cannot be written.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let remote = match options.backend.clone() {
            Backend::Files => None,
            Backend::Remote(remote) => Some(Remote::new(remote)),
        };
        let folder = Folder::open(&options)?;
        let limit = options.artifact_bytes;
        Ok(Self(Arc::new(Inner { folder, remote, limit, uploading: Mutex::default() })))
    }

    /// The store's folder on this node's disk.
    pub fn folder(&self) -> &Path {
        self.0.folder.root()
    }

    /// Most bytes of one artifact.
    pub fn artifact_bytes(&self) -> u64 {
        self.0.limit
    }

    /// Stores `bytes`. Bytes that are there already are the same blob, and a damaged copy is replaced.
    ///
    /// # Errors
    /// Too large; the disk or the remote refused, and nothing was stored.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, StoreError> {
        let store = self.clone();
        let draft = blocking(move || {
            let mut draft = store.0.folder.draft(store.0.limit)?;
            draft.write(&bytes)?;
            draft.finish()
        });
        self.keep(draft.await?).await.map(|blob| blob.digest)
    }

    /// Stores what `stream` brings, whose digest nobody knows before. A stream that fails, or a future
    /// that is dropped, leaves nothing.
    ///
    /// # Errors
    /// Too large or cut off; the disk or the remote refused, and nothing was stored.
    pub async fn put_stream<S, E>(&self, stream: S) -> Result<Blob, StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        let store = self.clone();
        let draft = pour(stream, move |inflow| fill(store.0.folder.draft(store.0.limit)?, inflow));
        self.keep(draft.await?).await
    }

    /// Reads a blob: from the disk, else from the remote, whose bytes then stay on the disk. A damaged
    /// local copy is replaced from the remote. What is returned is exactly what was hashed.
    ///
    /// # Errors
    /// Nobody has it; what is there is damaged; the disk or the remote refused.
    pub async fn read(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let read = || {
            let (store, digest) = (self.clone(), *digest);
            blocking(move || store.read_blocking(&digest))
        };
        match (read().await, &self.0.remote) {
            (Err(error), Some(remote)) if error.is_about_local_copy() => {
                self.fetch(remote, digest, error).await?;
                read().await
            }
            (result, _) => result,
        }
    }

    /// Reads a blob from this node's disk, for threads that load models; needs no async runtime.
    ///
    /// # Errors
    /// It is not on the disk ([`Store::ensure_local`] brings it there), is damaged, or cannot be read.
    pub fn read_blocking(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        self.0.folder.read(digest)?.ok_or_else(|| self.absent(digest))
    }

    /// Makes sure that an intact copy is on this node's disk, and gives its size.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn ensure_local(&self, digest: &Digest) -> Result<u64, StoreError> {
        let verify = || {
            let (store, digest) = (self.clone(), *digest);
            blocking(move || store.0.folder.verify(&digest)?.ok_or_else(|| store.absent(&digest)))
        };
        match (verify().await, &self.0.remote) {
            (Err(error), Some(remote)) if error.is_about_local_copy() => {
                self.fetch(remote, digest, error).await?;
                verify().await
            }
            (result, _) => result,
        }
    }

    /// Opens the copy on this node's disk for reading, to hand it to a child process. *Not verified*:
    /// who reads it verifies what he read. Blocks.
    ///
    /// # Errors
    /// It is not on the disk, or cannot be opened.
    pub fn open_local(&self, digest: &Digest) -> Result<File, StoreError> {
        self.0.folder.open_blob(digest)?.ok_or_else(|| self.absent(digest))
    }

    /// Size of a blob, from the disk or the remote; `None` when nobody has it. Verifies nothing.
    ///
    /// # Errors
    /// The disk or the remote refused.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let (store, blob) = (self.clone(), *digest);
        let local = blocking(move || store.0.folder.size(&store.0.folder.blob(&blob))).await?;
        match (local, &self.0.remote) {
            (None, Some(remote)) => remote.size(digest).await,
            (local, _) => Ok(local),
        }
    }

    /// Every blob on the disk and on the remote, in the order of digests. Verifies nothing.
    ///
    /// # Errors
    /// The disk or the remote refused.
    pub async fn list(&self) -> Result<Vec<Blob>, StoreError> {
        let store = self.clone();
        let mut blobs: BTreeMap<Digest, u64> =
            blocking(move || store.0.folder.list()).await?.into_iter().collect();
        if let Some(remote) = &self.0.remote {
            blobs.extend(remote.list().await?);
        }
        Ok(blobs.into_iter().map(|(digest, size)| Blob { digest, size }).collect())
    }

    /// Deletes a blob, first on the remote, then on the disk, and what was uploaded of it so far.
    /// `false` when nobody had it.
    ///
    /// # Errors
    /// An upload of it is under way; the remote refused, then the local copy is still there; the disk
    /// refused.
    pub async fn delete(&self, digest: &Digest) -> Result<bool, StoreError> {
        let claim = self.claim(digest)?;
        let was_remote = match &self.0.remote {
            Some(remote) => remote.remove(digest).await?,
            None => false,
        };
        let (store, digest) = (self.clone(), *digest);
        blocking(move || {
            let _claim = claim;
            let folder = &store.0.folder;
            folder.disk().remove(&folder.upload(&digest))?;
            Ok(folder.remove(&digest)? || was_remote)
        })
        .await
    }

    /// Makes a finished draft a blob: on the remote first, so that a blob that is visible here is
    /// there as well.
    async fn keep(&self, draft: FinishedDraft) -> Result<Blob, StoreError> {
        let blob = Blob { digest: draft.digest, size: draft.size };
        if let Some(remote) = &self.0.remote {
            remote.send(&blob.digest, draft.path().to_owned()).await?;
        }
        let store = self.clone();
        blocking(move || store.0.folder.install_draft(draft)).await?;
        Ok(blob)
    }

    /// Brings the remote's copy to the disk because of what is wrong with the local one.
    async fn fetch(&self, remote: &Remote, digest: &Digest, wrong: StoreError) -> Result<(), StoreError> {
        let is_absent = matches!(wrong, StoreError::NotLocal { .. });
        if !is_absent {
            tracing::warn!(error = %wrong, "local copy replaced from the remote");
        }
        match self.fetch_verified(remote, digest).await {
            Err(error) if !is_absent => {
                Err(StoreError::Unhealed { local: Box::new(wrong), remote: Box::new(error) })
            }
            result => result,
        }
    }

    async fn fetch_verified(&self, remote: &Remote, digest: &Digest) -> Result<(), StoreError> {
        let (size, stream) = remote.fetch(digest).await?;
        let store = self.clone();
        let draft = pour(stream, move |inflow| fill(store.0.folder.draft(size)?, inflow)).await?;
        if draft.digest != *digest {
            return Err(remote.damaged(digest));
        }
        let store = self.clone();
        blocking(move || store.0.folder.install_draft(draft)).await
    }

    fn absent(&self, digest: &Digest) -> StoreError {
        match self.0.remote {
            None => StoreError::NotFound { digest: *digest },
            Some(_) => StoreError::NotLocal { digest: *digest, folder: self.folder().to_owned() },
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.folder().display())
    }
}

fn fill(mut draft: Draft, mut inflow: Inflow) -> Result<FinishedDraft, StoreError> {
    while let Some(bytes) = inflow.next()? {
        draft.write(&bytes)?;
    }
    draft.finish()
}
