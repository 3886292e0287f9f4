//! Bytes by digest: what every other room of the house means by *the store*.
//!
//! A blob is immutable and known by the sha256 of its bytes. Every node has a [`Store`] in a folder of
//! its own disk; behind it may stand a remote, any [`object_store::ObjectStore`], that several nodes
//! share. The folder is then a verified cache, and a node restarts from it while the remote is away.
//! Without a remote the folder is all there is, and bytes are kept once.
//!
//! What holds, and is tested:
//! - Reading returns exactly the bytes that were hashed, or an error; damaged bytes are never returned.
//! - A blob is either absent or whole, whatever step of writing it failed, and whoever was cut off.
//! - What was acknowledged was fsynced, file and folder, and is on the remote where there is one.
//! - An outage of the remote deletes nothing on the disk.
//!
//! ```no_run
//! # async fn example() -> Result<(), tenon_store::StoreError> {
//! let store = tenon_store::Store::open(tenon_store::Options::files("tenon-data/store"))?;
//! let digest = store.put("bytes of a model".into()).await?;
//! assert_eq!(store.read(&digest).await?, "bytes of a model");
//! # Ok(()) }
//! ```

mod disk;
mod error;
mod folder;
mod inflow;
mod options;
mod remote;
mod store;
pub mod suite;
pub mod testing;
mod upload;

pub use error::StoreError;
pub use options::{ARTIFACT_BYTES, Backend, KEEP_UPLOADS, Options};
pub use store::{Blob, Store};
pub use upload::UploadState;
