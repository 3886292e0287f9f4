//! Faults on purpose, for the tests of this crate and of those that build on it.
//!
//! A test counts the failing step up until the operation succeeds, and checks its invariant each time:
//!
//! ```
//! use tenon_store::testing::Faults;
//!
//! let write_twice = |faults: &Faults| faults.step().and_then(|()| faults.step());
//! let failed = (0..).take_while(|nth| write_twice(&Faults::at(*nth)).is_err()).count();
//! assert_eq!(failed, 2);
//! ```

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path as Location;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tenon_contract::Digest;

/// Which write steps fail. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Faults(Option<Arc<Plan>>);

#[derive(Debug)]
struct Plan {
    failing: Range<u64>,
    kind: io::ErrorKind,
    taken: AtomicU64,
}

impl Faults {
    /// Every step succeeds.
    pub fn none() -> Self {
        Self(None)
    }

    /// The step after `nth` others fails, those after it succeed: a disk with one bad moment.
    pub fn at(nth: u64) -> Self {
        Self::during(nth..nth + 1, io::ErrorKind::Other)
    }

    /// The step after `nth` others and all after it fail: a crash, or a disk that is gone.
    pub fn from(nth: u64) -> Self {
        Self::during(nth..u64::MAX, io::ErrorKind::Other)
    }

    /// The steps in `failing`, counted from 0, fail with `kind`: [`io::ErrorKind::StorageFull`], ...
    pub fn during(failing: Range<u64>, kind: io::ErrorKind) -> Self {
        Self(Some(Arc::new(Plan { failing, kind, taken: AtomicU64::new(0) })))
    }

    /// Steps taken so far, failed ones too; 0 without a plan.
    pub fn taken(&self) -> u64 {
        self.0.as_ref().map_or(0, |plan| plan.taken.load(Ordering::Relaxed))
    }

    /// Called before each write step.
    ///
    /// # Errors
    /// It is this step's turn to fail.
    pub fn step(&self) -> io::Result<()> {
        let Some(plan) = &self.0 else { return Ok(()) };
        let step = plan.taken.fetch_add(1, Ordering::Relaxed);
        if plan.failing.contains(&step) {
            return Err(io::Error::new(plan.kind, format!("fault put at step {step}: {}", plan.kind)));
        }
        Ok(())
    }
}

/// Flips one bit in a store's local copy of a blob.
///
/// # Errors
/// The copy is not there, is empty, or cannot be written.
pub fn damage(folder: &Path, digest: &Digest) -> io::Result<()> {
    let path = folder.join(crate::folder::blob_path(digest));
    let mut bytes = std::fs::read(&path)?;
    let at = bytes.len() / 2;
    *bytes.get_mut(at).ok_or(io::ErrorKind::UnexpectedEof)? ^= 1;
    std::fs::write(&path, bytes)
}

/// An object store that can be away, and whose write steps can fail.
#[derive(Debug)]
pub struct Flaky {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
    is_away: AtomicBool,
}

impl Flaky {
    /// `inner` with faults; it is not away yet.
    pub fn new(inner: Arc<dyn ObjectStore>, faults: Faults) -> Arc<Self> {
        Arc::new(Self { inner, faults, is_away: AtomicBool::new(false) })
    }

    /// From now on nothing answers, or everything again.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    fn reach(&self) -> Result<()> {
        if self.is_away.load(Ordering::SeqCst) { Err(failed("connection refused".into())) } else { Ok(()) }
    }

    fn write_step(&self) -> Result<()> {
        self.reach()?;
        self.faults.step().map_err(|fault| failed(fault.into()))
    }
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: "flaky", source }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flaky({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, at: &Location, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.write_step()?;
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Location,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.write_step()?;
        let inner = self.inner.put_multipart_opts(at, options).await?;
        Ok(Box::new(FlakyUpload { inner, faults: self.faults.clone() }))
    }

    async fn get_opts(&self, at: &Location, options: GetOptions) -> Result<GetResult> {
        self.reach()?;
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Location, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reach()?;
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Location>>,
    ) -> BoxStream<'static, Result<Location>> {
        match self.write_step() {
            Ok(()) => self.inner.delete_stream(at),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Location>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.reach() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Location>) -> Result<ListResult> {
        self.reach()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Location, to: &Location, options: CopyOptions) -> Result<()> {
        self.write_step()?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FlakyUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Faults,
}

#[async_trait]
impl MultipartUpload for FlakyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.faults.step() {
            Ok(()) => self.inner.put_part(data),
            Err(fault) => Box::pin(async { Err(failed(fault.into())) }),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.faults.step().map_err(|fault| failed(fault.into()))?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
