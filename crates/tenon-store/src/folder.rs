//! The store's folder on this node's disk: its layout, and reading from it.
//!
//! ```text
//! format              the number of this layout: 1
//! lock                held by the process that uses the folder
//! blobs/sha256/HEX    whole, verified blobs
//! uploads/HEX         the beginning of a blob whose upload can be resumed
//! tmp/N               bytes whose digest is not known yet; swept at open
//! ```
//!
//! A blob gets its name by a rename after its bytes were fsynced and verified, so what stands under
//! `blobs` is whole. It is verified again each time it is read, because disks forget.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tenon_contract::Digest;
use tenon_contract::digest::Hasher;

use crate::disk::{Disk, Draft, FinishedDraft};
use crate::{Options, StoreError};

/// The layout written today.
const FORMAT: u32 = 1;

/// How long an opening store waits for the process before it to let go of the folder.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Bytes read at once while hashing a file.
const HASH_BUFFER: usize = 1 << 20;

/// Where the blob of `digest` stands below `root`, on the disk as on a remote.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The open folder; no other process has it open.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    disk: Disk,
    temporaries: AtomicU64,
    _lock: File,
}

impl Folder {
    /// Opens the folder, or makes it, and sweeps what was left behind.
    pub(crate) fn open(options: &Options) -> Result<Self, StoreError> {
        let (root, disk) = (options.folder.clone(), Disk::new(options.faults.clone()));
        let is_new = !root.join("format").exists();
        if is_new {
            refuse_foreign(&root)?;
            disk.create_folder(&root)?;
        }
        let lock = lock(&root, &disk)?;
        for name in ["blobs", "blobs/sha256", "uploads", "tmp"] {
            if is_new || !root.join(name).is_dir() {
                disk.create_folder(&root.join(name))?;
            }
        }
        if is_new {
            write_format(&root, &disk)?;
        }
        check_format(&root)?;
        let folder = Self { root, disk, temporaries: AtomicU64::new(0), _lock: lock };
        folder.sweep(options.keep_uploads);
        Ok(folder)
    }

    /// The folder's path.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The disk it is on.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Where a whole blob stands.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join(blob_path(digest))
    }

    /// Where an unfinished upload stands.
    pub(crate) fn upload(&self, digest: &Digest) -> PathBuf {
        self.uploads().join(digest.hex())
    }

    /// The folder of unfinished uploads.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The bytes of a blob, verified; `None` when it is not here.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let path = self.blob(digest);
        let Some(mut file) = self.open_blob(digest)? else { return Ok(None) };
        let bytes = read_whole(&mut file).map_err(StoreError::io("read", &path))?;
        if Digest::of(&bytes) == *digest { Ok(Some(bytes.into())) } else { Err(self.damaged(digest)) }
    }

    /// Whether a blob is here; an error when it is and its bytes are damaged. Holds little memory.
    pub(crate) fn verify(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let path = self.blob(digest);
        if !path.exists() {
            return Ok(None);
        }
        let (found, size) = hash_file(&path)?;
        if found == *digest { Ok(Some(size)) } else { Err(self.damaged(digest)) }
    }

    /// A blob opened for reading, not verified; `None` when it is not here.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let path = self.blob(digest);
        found(File::open(&path)).map_err(StoreError::io("open", &path))
    }

    /// Bytes of a file; `None` when there is none.
    pub(crate) fn size(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        let metadata = found(std::fs::metadata(path)).map_err(StoreError::io("look up", path))?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    /// A new temporary file that takes at most `limit` bytes.
    pub(crate) fn draft(&self, limit: u64) -> Result<Draft, StoreError> {
        let name = self.temporaries.fetch_add(1, Ordering::Relaxed).to_string();
        Draft::create(self.disk.clone(), self.root.join("tmp").join(name), limit)
    }

    /// Gives a draft its place among the blobs; over a damaged one, it heals it.
    pub(crate) fn install_draft(&self, draft: FinishedDraft) -> Result<(), StoreError> {
        let digest = draft.digest;
        draft.rename(&self.blob(&digest))?;
        self.sync_blobs()
    }

    /// Gives a complete, verified, fsynced upload its place among the blobs.
    pub(crate) fn install_upload(&self, digest: &Digest) -> Result<(), StoreError> {
        self.disk.rename(&self.upload(digest), &self.blob(digest))?;
        self.sync_blobs()
    }

    /// Removes a blob; `false` when it was not here.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let removed = self.disk.remove(&self.blob(digest))?;
        self.sync_blobs()?;
        Ok(removed)
    }

    /// Every blob here with its size on the disk, unverified.
    pub(crate) fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let blobs = self.root.join("blobs/sha256");
        let io = || StoreError::io("list", &blobs);
        let mut list = Vec::new();
        for entry in std::fs::read_dir(&blobs).map_err(io())? {
            let entry = entry.map_err(io())?;
            let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            list.push((digest, entry.metadata().map_err(io())?.len()));
        }
        Ok(list)
    }

    fn sync_blobs(&self) -> Result<(), StoreError> {
        self.disk.sync_folder(&self.root.join("blobs/sha256"))
    }

    fn damaged(&self, digest: &Digest) -> StoreError {
        StoreError::Damaged {
            digest: *digest,
            place: self.blob(digest).display().to_string(),
            advice: "restore the file from a backup or push the same artifact again",
        }
    }

    /// Removes temporaries, and uploads nobody continued for `keep_uploads`. What cannot be removed
    /// stays until the next time: a store on a read-only disk can still be read.
    fn sweep(&self, keep_uploads: Duration) {
        // A clock that stepped back makes an age negative: such an upload is young.
        let is_old = |path: &Path| {
            let age = std::fs::metadata(path).and_then(|file| file.modified()).map(|time| time.elapsed());
            matches!(age, Ok(Ok(age)) if age > keep_uploads)
        };
        let files = |name: &str| {
            let entries = std::fs::read_dir(self.root.join(name)).into_iter().flatten().flatten();
            entries.map(|entry| entry.path())
        };
        for path in files("tmp").chain(files("uploads").filter(|path| is_old(path))) {
            match self.disk.remove(&path) {
                Ok(_) => tracing::info!(path = %path.display(), "left-over of a cut-off upload removed"),
                Err(error) => tracing::warn!(%error, "left-over of a cut-off upload stays"),
            }
        }
    }
}

/// sha256 and size of a file, read piece by piece.
pub(crate) fn hash_file(path: &Path) -> Result<(Digest, u64), StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; HASH_BUFFER]);
    loop {
        match file.read(&mut buffer).map_err(StoreError::io("read", path))? {
            0 => return Ok((hasher.finish(), size)),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

/// Reads to the end; more than the memory can hold is an error, not an abort.
fn read_whole(file: &mut File) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A folder without a `format` file may only hold what an interrupted creation leaves.
fn refuse_foreign(root: &Path) -> Result<(), StoreError> {
    let own = ["lock", "format.new", "blobs", "uploads", "tmp"];
    let entries = found(std::fs::read_dir(root)).map_err(StoreError::io("list", root))?;
    let is_foreign = |name: &std::ffi::OsStr| !own.iter().any(|own| name == *own);
    let has_blobs =
        std::fs::read_dir(root.join("blobs/sha256")).is_ok_and(|mut blobs| blobs.next().is_some());
    match entries.into_iter().flatten().flatten().find(|entry| is_foreign(&entry.file_name())) {
        Some(entry) => Err(StoreError::Layout {
            folder: root.to_owned(),
            reason: format!("it is no store and not empty: {}", entry.file_name().display()),
        }),
        None if has_blobs => Err(StoreError::Layout {
            folder: root.to_owned(),
            reason: "it holds blobs and its `format` file is gone; restore it (the text is `1`)".to_owned(),
        }),
        None => Ok(()),
    }
}

/// Excludes other processes. Opened for reading only, so that it works on a read-only disk as well.
fn lock(root: &Path, disk: &Disk) -> Result<File, StoreError> {
    let path = root.join("lock");
    if !path.exists() {
        disk.create(&path)?;
    }
    let file = OpenOptions::new().read(true).open(&path).map_err(StoreError::io("open", &path))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { folder: root.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
        }
    }
}

fn write_format(root: &Path, disk: &Disk) -> Result<(), StoreError> {
    let path = root.join("format.new");
    let mut file = disk.create(&path)?;
    disk.write(&mut file, &path, format!("{FORMAT}\n").as_bytes())?;
    disk.sync(&file, &path)?;
    disk.rename(&path, &root.join("format"))?;
    disk.sync_folder(root)
}

fn check_format(root: &Path) -> Result<(), StoreError> {
    let path = root.join("format");
    let text = std::fs::read_to_string(&path).map_err(StoreError::io("read", &path))?;
    let refused = |reason| Err(StoreError::Layout { folder: root.to_owned(), reason });
    match text.trim().parse::<u32>() {
        Ok(FORMAT) => Ok(()),
        Ok(later) => refused(format!("it has layout {later}, this build reads {FORMAT}; use a later build")),
        Err(_) => refused("its `format` file holds no number".to_owned()),
    }
}
