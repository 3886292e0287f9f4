//! The data folder: one server at a time, closed to others, with the admin token in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The admin token's file in it.
pub const ADMIN_TOKEN: &str = "admin.token";

/// How long a starting server waits for the one before it to be gone.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Random bytes of a token that is made here.
const TOKEN_BYTES: usize = 32;

/// The folder, held by this process until it is dropped.
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, or makes it (mode 0700), and holds it.
    ///
    /// # Errors
    /// It cannot be made or written; another server has it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed =
            |error: io::Error| format!("open data folder {}: {error}{}", path.display(), advice(&error));
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        // The real path is what the log and errors of later steps name.
        let path = path.canonicalize().map_err(failed)?;
        let mut options = OpenOptions::new();
        let lock = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        let until = now() + LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: lock }),
                Err(TryLockError::WouldBlock) if now() < until => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(format!(
                        "open data folder {}: another tenon serves from it; stop that one, or name another folder with --data",
                        path.display()
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// Whether a server has the folder at `path` now.
    pub fn is_held(path: &Path) -> bool {
        let lock = OpenOptions::new().write(true).open(path.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The admin token; made at the first start, readable by its owner only.
    ///
    /// # Errors
    /// It cannot be read or made, or others may read it.
    pub fn admin_token(&self) -> Result<String, String> {
        let path = self.path.join(ADMIN_TOKEN);
        if path.exists() {
            return read_token(&path);
        }
        self.make_token(&path).map_err(|error| format!("make {}: {error}{}", path.display(), advice(&error)))
    }

    fn make_token(&self, path: &Path) -> io::Result<String> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let draft = path.with_extension("new");
        // A draft of a start that was cut off is nothing to anybody.
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.path)?.sync_all()?;
        Ok(token)
    }
}

/// A token from its file.
///
/// # Errors
/// It cannot be read, is too short to be a secret, or others may read it.
pub fn read_token(path: &Path) -> Result<String, String> {
    let failed = |text: String| format!("read token {}: {text}", path.display());
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let about = fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !is_secret(about.permissions().mode(), about.uid(), rustix::process::geteuid().as_raw()) {
        let text = "others may read it; run `chmod 600` on it, or mount it with the mode 0400 (of root for its group: 0440)";
        return Err(failed(text.to_owned()));
    }
    let token = text.trim();
    if token.len() < 16 || token.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(failed("expected one word of at least 16 letters".to_owned()));
    }
    Ok(token.to_owned())
}

/// Whether a file keeps its secret from others. Orchestrators mount secrets that are root's and that the server
/// may read as a member of their group: that is as good.
fn is_secret(mode: u32, owner: u32, reader: u32) -> bool {
    const ROOT: u32 = 0;
    let open = if owner == ROOT && reader != ROOT { 0o037 } else { 0o077 };
    mode & open == 0
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; give the user that runs tenon access to it, or name another one with --data"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; remount it writable, or name another one with --data",
        io::ErrorKind::StorageFull => "; free space on that disk",
        _ => "",
    }
}

#[allow(clippy::disallowed_methods, reason = "how long a lock is waited for is no decision of the product")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        assert!(!DataFolder::is_held(&path));
        let first = DataFolder::open(&path).unwrap();
        assert!(DataFolder::is_held(&path));
        let error = DataFolder::open(&path).err().unwrap();
        assert!(
            error.contains("another tenon serves from it") && error.contains(path.to_str().unwrap()),
            "{error}"
        );
        drop(first);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_secret_is_its_owners_or_one_that_root_shows_to_a_group() {
        let check = |mode, owner, reader, expected| {
            assert_eq!(is_secret(mode, owner, reader), expected, "{mode:o} of {owner}, read by {reader}");
        };
        check(0o100_600, 65532, 65532, true);
        check(0o100_400, 0, 0, true);
        check(0o100_440, 0, 65532, true);
        check(0o100_640, 0, 65532, true);
        check(0o100_640, 65532, 65532, false);
        check(0o100_640, 0, 0, false);
        check(0o100_660, 0, 65532, false);
        check(0o100_444, 0, 65532, false);
    }

    #[test]
    fn the_admin_token_is_made_once_and_kept_secret() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let token = data.admin_token().unwrap();
        assert_eq!((token.len(), data.admin_token().unwrap()), (64, token));
        let path = data.path().join(ADMIN_TOKEN);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(data.admin_token().unwrap_err().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short\n").unwrap();
        assert!(data.admin_token().unwrap_err().contains("at least 16"));
    }
}
