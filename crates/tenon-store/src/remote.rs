//! What stands behind the folder: any object store, shared by several nodes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt as _};
use tenon_contract::Digest;
use tenon_contract::digest::Hasher;

use crate::StoreError;
use crate::folder::blob_path;
use crate::inflow::blocking;

/// Blobs above this are sent in parts of this size; S3 takes parts of 5 MiB and more, 10,000 at most.
const PART_BYTES: usize = 16 << 20;

/// An object store that holds blobs.
#[derive(Clone)]
pub(crate) struct Remote(Arc<dyn ObjectStore>);

impl Remote {
    pub(crate) fn new(remote: Arc<dyn ObjectStore>) -> Self {
        Self(remote)
    }

    /// Size of a blob; `None` when it is not there.
    pub(crate) async fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self.0.head(&location(digest)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look up", digest)(error)),
        }
    }

    /// Size and bytes of a blob as they come, not verified.
    pub(crate) async fn fetch(
        &self,
        digest: &Digest,
    ) -> Result<(u64, BoxStream<'static, object_store::Result<Bytes>>), StoreError> {
        match self.0.get(&location(digest)).await {
            Ok(found) => Ok((found.meta.size, found.into_stream())),
            Err(Error::NotFound { .. }) => Err(StoreError::NotFound { digest: *digest }),
            Err(error) => Err(self.failed("fetch", digest)(error)),
        }
    }

    /// Sends the file at `path`; it is visible there only when all of it was sent and is `digest`.
    pub(crate) async fn send(&self, digest: &Digest, path: PathBuf) -> Result<(), StoreError> {
        let mut file = Parts::open(path)?;
        let first = file.next().await?;
        if first.len() < PART_BYTES {
            file.verify(digest)?;
            let sent = self.0.put(&location(digest), first.into()).await;
            return sent.map(drop).map_err(self.failed("send", digest));
        }
        let mut upload =
            self.0.put_multipart(&location(digest)).await.map_err(self.failed("begin", digest))?;
        let sent = self.send_parts(digest, &mut file, first, upload.as_mut()).await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, %digest, remote = %self.0, "parts of a failed upload stay on the remote");
        }
        sent
    }

    async fn send_parts(
        &self,
        digest: &Digest,
        file: &mut Parts,
        mut part: Bytes,
        upload: &mut dyn MultipartUpload,
    ) -> Result<(), StoreError> {
        while !part.is_empty() {
            upload.put_part(part.into()).await.map_err(self.failed("send", digest))?;
            part = file.next().await?;
        }
        file.verify(digest)?;
        upload.complete().await.map(drop).map_err(self.failed("complete", digest))
    }

    /// Removes a blob; `false` when it was not there.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        // Stores differ in what they say about removing nothing, so look first.
        let was_there = self.size(digest).await?.is_some();
        match self.0.delete(&location(digest)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(was_there),
            Err(error) => Err(self.failed("remove", digest)(error)),
        }
    }

    /// Every blob with its size.
    pub(crate) async fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let blob =
            |meta: object_store::ObjectMeta| Some((meta.location.filename()?.parse().ok()?, meta.size));
        let listed = self.0.list(Some(&"blobs/sha256".into()));
        listed
            .try_filter_map(|meta| futures::future::ready(Ok(blob(meta))))
            .try_collect()
            .await
            .map_err(self.failed("list", "blobs"))
    }

    /// What to say when the bytes that came are not the blob.
    pub(crate) fn damaged(&self, digest: &Digest) -> StoreError {
        StoreError::Damaged {
            digest: *digest,
            place: self.0.to_string(),
            advice: "push the same artifact again to replace them",
        }
    }

    fn failed(&self, action: &'static str, blob: impl ToString) -> impl FnOnce(Error) -> StoreError {
        let (digest, remote) = (blob.to_string(), self.0.to_string());
        move |error| StoreError::Remote { action, digest, remote, error: error.into() }
    }
}

fn location(digest: &Digest) -> object_store::path::Path {
    blob_path(digest).into()
}

/// A file read in parts for sending, hashed on the way.
struct Parts {
    path: Arc<Path>,
    file: Arc<File>,
    hasher: Hasher,
}

impl Parts {
    fn open(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        Ok(Self { path: path.into(), file: file.into(), hasher: Hasher::new() })
    }

    /// The next part; shorter than [`PART_BYTES`] only at the end, where it may be empty.
    async fn next(&mut self) -> Result<Bytes, StoreError> {
        let (path, file, mut hasher) = (self.path.clone(), self.file.clone(), self.hasher.clone());
        let (part, hasher) = blocking(move || {
            let mut part = Vec::new();
            file.take(PART_BYTES as u64).read_to_end(&mut part).map_err(StoreError::io("read", &path))?;
            hasher.update(&part);
            Ok((part, hasher))
        })
        .await?;
        self.hasher = hasher;
        Ok(part.into())
    }

    /// Whether all that was read is `digest`.
    fn verify(&self, digest: &Digest) -> Result<(), StoreError> {
        let found = self.hasher.clone().finish();
        if found == *digest {
            return Ok(());
        }
        Err(StoreError::Mismatch { digest: *digest, found: format!("the file to send has become {found}") })
    }
}
