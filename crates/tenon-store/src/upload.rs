//! Uploads whose digest is known before: they can be cut off and resumed.
//!
//! The beginning of the blob stands under `uploads/HEX`. When it is as long as announced it is read
//! once from the disk and hashed, whoever wrote its parts and in however many; only then it becomes a
//! blob. A remote that refuses leaves the upload complete but unpublished: appending nothing at its
//! end tries again.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::Stream;
use tenon_contract::Digest;

use crate::StoreError;
use crate::folder::hash_file;
use crate::inflow::{Inflow, blocking, pour};
use crate::store::Store;

/// How far an upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// Nothing is here: begin at 0.
    Absent,
    /// The first so many bytes are here and durable: continue there.
    Partial(u64),
    /// All so many bytes are here, verified; there is nothing to send.
    Complete(u64),
}

impl UploadState {
    /// Where the next byte belongs.
    pub fn offset(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Partial(offset) | Self::Complete(offset) => offset,
        }
    }
}

/// The right to write the upload of one digest, given back on drop.
pub(crate) struct Claim {
    store: Store,
    digest: Digest,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.0.uploading.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

impl Store {
    /// How far the upload of `digest` has come. A local copy counts only when it is intact, so that
    /// pushing the same artifact again heals a damaged one.
    ///
    /// # Errors
    /// The disk or the remote refused.
    pub async fn upload_state(&self, digest: &Digest) -> Result<UploadState, StoreError> {
        if let Some(size) = self.intact_size(digest).await? {
            return Ok(UploadState::Complete(size));
        }
        let (store, digest) = (self.clone(), *digest);
        let partial = blocking(move || store.0.folder.size(&store.0.folder.upload(&digest))).await?;
        Ok(partial.map_or(UploadState::Absent, UploadState::Partial))
    }

    /// Continues the upload of `digest`, of `total` bytes in all, at `offset` with what `stream`
    /// brings. Gives the offset reached; when that is `total`, the blob is in the store. When the
    /// stream is cut off, what came before is kept and the upload can be resumed.
    ///
    /// # Errors
    /// `total` is above the limit; `offset` is not where the upload continues ([`StoreError::Offset`]
    /// says where); another upload of the digest is under way; the stream was cut off; the bytes are
    /// not the digest's, and then nothing of them is kept; the disk or the remote refused.
    pub async fn append<S, E>(
        &self,
        digest: &Digest,
        total: u64,
        offset: u64,
        stream: S,
    ) -> Result<u64, StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        if total > self.0.limit {
            return Err(StoreError::TooLarge { limit: self.0.limit });
        }
        let claim = Arc::new(self.claim(digest)?);
        match self.intact_size(digest).await? {
            Some(size) if size == total => return Ok(total),
            Some(size) => return Err(mismatch(digest, format!("it has {size} bytes, not {total}"))),
            None => {}
        }
        let part = Part { store: self.clone(), digest: *digest, total, offset };
        let writing = claim.clone();
        // The thread that writes holds the claim too: it may outlive this future.
        let reached = pour(stream, move |inflow| {
            let _claim = writing;
            part.write(inflow)
        });
        let reached = reached.await?;
        if reached == total {
            self.complete(digest, claim).await?;
        }
        Ok(reached)
    }

    /// The right to write the upload of `digest`, for one caller at a time.
    pub(crate) fn claim(&self, digest: &Digest) -> Result<Claim, StoreError> {
        let mut uploading = self.0.uploading.lock().unwrap_or_else(PoisonError::into_inner);
        if uploading.insert(*digest) {
            Ok(Claim { store: self.clone(), digest: *digest })
        } else {
            Err(StoreError::Busy { digest: *digest })
        }
    }

    /// Size of a blob that needs no upload: the remote has it or, without a remote, the disk, intact.
    async fn intact_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if let Some(remote) = &self.0.remote {
            return remote.size(digest).await;
        }
        let (store, digest) = (self.clone(), *digest);
        blocking(move || match store.0.folder.verify(&digest) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            result => result,
        })
        .await
    }

    /// Makes an upload that has all its bytes a blob.
    async fn complete(&self, digest: &Digest, claim: Arc<Claim>) -> Result<(), StoreError> {
        let (store, blob, verifying) = (self.clone(), *digest, claim.clone());
        blocking(move || {
            let _claim = verifying;
            store.verify_upload(&blob)
        })
        .await?;
        if let Some(remote) = &self.0.remote {
            remote.send(digest, self.0.folder.upload(digest)).await?;
        }
        let (store, blob) = (self.clone(), *digest);
        blocking(move || {
            let _claim = claim;
            store.0.folder.install_upload(&blob)
        })
        .await
    }

    fn verify_upload(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.0.folder.upload(digest);
        let (found, _) = hash_file(&path)?;
        if found == *digest {
            return Ok(());
        }
        self.0.folder.disk().remove(&path)?;
        Err(mismatch(digest, format!("what came is {found}")))
    }
}

/// One stretch of an upload.
struct Part {
    store: Store,
    digest: Digest,
    total: u64,
    offset: u64,
}

impl Part {
    /// Writes the stretch and makes it durable, cut off or not. Gives the offset reached.
    fn write(self, inflow: Inflow) -> Result<u64, StoreError> {
        let (folder, disk) = (&self.store.0.folder, self.store.0.folder.disk());
        let path = folder.upload(&self.digest);
        let expected = self.expected_offset(&path)?;
        if self.offset != expected {
            return Err(StoreError::Offset { digest: self.digest, given: self.offset, expected });
        }
        let mut file = disk.extend(&path)?;
        let received = self.receive(inflow, &mut file, &path);
        if let Err(StoreError::Mismatch { .. }) = received {
            disk.remove(&path)?;
            return received;
        }
        let synced = disk.sync(&file, &path).and_then(|()| disk.sync_folder(&folder.uploads()));
        if synced.is_err() {
            // After a failed sync nobody knows which bytes reached the disk: begin anew.
            disk.remove(&path)?;
        }
        received.and_then(|reached| synced.map(|()| reached))
    }

    /// Where the upload continues. One that is longer than the whole is no beginning of it.
    fn expected_offset(&self, path: &Path) -> Result<u64, StoreError> {
        let folder = &self.store.0.folder;
        let size = folder.size(path)?.unwrap_or(0);
        if size <= self.total {
            return Ok(size);
        }
        folder.disk().remove(path)?;
        Ok(0)
    }

    fn receive(&self, mut inflow: Inflow, file: &mut File, path: &Path) -> Result<u64, StoreError> {
        let mut reached = self.offset;
        while let Some(bytes) = inflow.next()? {
            reached += bytes.len() as u64;
            if reached > self.total {
                return Err(mismatch(
                    &self.digest,
                    format!("more came than the {} bytes announced", self.total),
                ));
            }
            self.store.0.folder.disk().write(file, path, &bytes)?;
        }
        Ok(reached)
    }
}

fn mismatch(digest: &Digest, found: String) -> StoreError {
    StoreError::Mismatch { digest: *digest, found }
}
