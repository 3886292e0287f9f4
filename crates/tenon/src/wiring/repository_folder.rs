//! A folder of models on the disk, as the control plane reads it.
//!
//! Nothing outside of the folder is ever opened: a link is followed only where its end lies inside, and what is
//! read must be the very file that was looked at, with the size and the time of change that it had.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tenon_client::bundle::{self, MANIFEST};
use tenon_contract::{Fault, FaultKind};
use tenon_control::repository::{Disk, Look, Memory, Node, Stamp, Tree, Upload, is_text};

/// Entries of the repository.
const MOST_TREES: usize = 4096;

/// Files and folders below one entry, as many as a bundle may have.
const MOST_NODES: usize = 4096;

/// Folders inside folders.
const DEEPEST: usize = 8;

/// Bytes of a file that says what a folder is.
const TEXT_BYTES: u64 = 1 << 20;

/// A folder of models, and the file in which it is remembered what became of them.
pub(crate) struct RepositoryFolder {
    pub(crate) root: PathBuf,
    pub(crate) memory: PathBuf,
    /// Largest upload.
    pub(crate) artifact_bytes: u64,
}

impl Disk for RepositoryFolder {
    fn look(&self) -> Result<Look, Fault> {
        let failed = |error: io::Error| self.unreadable(&error);
        let root = self.root.canonicalize().map_err(failed)?;
        let mut look = Look::default();
        for entry in fs::read_dir(&root).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if look.trees.len() == MOST_TREES {
                let text = format!("read repository {}: more than {MOST_TREES} entries", self.root.display());
                return Err(Fault::new(FaultKind::TooLarge, text));
            }
            let mut walk = Walk { root: &root, tree: Tree::default(), left: MOST_NODES };
            walk.visit(&path, name, 0);
            look.trees.insert(name.to_owned(), walk.tree);
        }
        Ok(look)
    }

    fn read(&self, upload: &Upload, tree: &Tree) -> Result<Bytes, Fault> {
        let root = self.root.canonicalize().map_err(|error| self.unreadable(&error))?;
        let stamps = upload.paths().into_iter().map(|path| (path, tree.nodes.get(path)));
        let mut bytes = 0_u64;
        for (_, node) in stamps {
            if let Some(Node::File(stamp)) = node {
                bytes = bytes.saturating_add(stamp.size);
            }
        }
        if bytes > self.artifact_bytes {
            let text = format!(
                "{bytes} bytes exceed the limit of {} bytes (`limits.artifact_bytes`)",
                self.artifact_bytes
            );
            return Err(Fault::new(FaultKind::TooLarge, text));
        }
        let content = |path: &str| read_as_seen(&root, path, tree);
        match upload {
            Upload::Bare(path) => content(path).map(Bytes::from),
            Upload::Bundle { manifest, files } => {
                let mut parts: BTreeMap<String, Part<'_>> =
                    files.iter().map(|(name, path)| (name.clone(), Part::File(path))).collect();
                if let Some(manifest) = manifest {
                    parts.insert(MANIFEST.to_owned(), Part::Text(manifest));
                }
                let zipped = bundle::zip(&parts, |part| match part {
                    Part::File(path) => content(path).map_err(Broken),
                    Part::Text(text) => Ok(text.as_bytes().to_vec()),
                });
                zipped.map_err(|Broken(fault)| fault)
            }
        }
    }

    fn recall(&self) -> Result<Memory, Fault> {
        let failed = |error: &dyn std::fmt::Display| {
            Fault::internal(format!("read {}: {error}", self.memory.display()))
        };
        let text = match fs::read(&self.memory) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
            Err(error) => return Err(failed(&error)),
        };
        let memory: Memory = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        match memory.version {
            Memory::FORMAT => Ok(memory),
            later => Err(failed(&format!("has format {later}, this build reads {}", Memory::FORMAT))),
        }
    }

    fn remember(&self, memory: &Memory) -> Result<(), Fault> {
        let write = || -> io::Result<()> {
            let draft = self.memory.with_extension("new");
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(memory)?)?;
            file.sync_all()?;
            fs::rename(&draft, &self.memory)
        };
        write().map_err(|error| Fault::internal(format!("write {}: {error}", self.memory.display())))
    }
}

impl RepositoryFolder {
    fn unreadable(&self, error: &io::Error) -> Fault {
        Fault::unavailable(format!("read repository {}: {error}", self.root.display()))
    }
}

/// Part of a bundle.
enum Part<'a> {
    File(&'a str),
    Text(&'a str),
}

/// A fault on the way through the client's bundles.
struct Broken(Fault);

impl From<tenon_client::ClientError> for Broken {
    fn from(error: tenon_client::ClientError) -> Self {
        Self(Fault::internal(error.to_string()))
    }
}

/// Goes through one entry of the repository.
struct Walk<'a> {
    root: &'a Path,
    tree: Tree,
    /// Files and folders that may still come.
    left: usize,
}

impl Walk<'_> {
    /// Takes down what is at `path`, which is called `name` in the repository.
    fn visit(&mut self, path: &Path, name: &str, depth: usize) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let node = match self.judge(path, depth) {
            Ok((real, metadata)) if metadata.is_dir() => self.folder(&real, name, depth),
            Ok((real, metadata)) => {
                if is_text(name) {
                    let text = read_text(&real, &metadata);
                    self.tree.texts.insert(name.to_owned(), text);
                }
                Node::File(stamp(&metadata))
            }
            Err(reason) => Node::Refused(reason),
        };
        self.tree.nodes.insert(name.to_owned(), node);
    }

    /// Where `path` really is and what it is, if it may be looked into.
    fn judge(&self, path: &Path, depth: usize) -> Result<(PathBuf, Metadata), String> {
        let failed = |error: io::Error| format!("cannot be read: {error}");
        if depth > DEEPEST {
            return Err(format!("lies deeper than {DEEPEST} folders"));
        }
        let (mut real, mut metadata) = (path.to_owned(), fs::symlink_metadata(path).map_err(failed)?);
        if metadata.is_symlink() {
            real = path.canonicalize().map_err(failed)?;
            if !real.starts_with(self.root) {
                return Err("is a link that leads out of the repository".to_owned());
            }
            metadata = fs::metadata(&real).map_err(failed)?;
        }
        match metadata.is_dir() || metadata.is_file() {
            true => Ok((real, metadata)),
            false => Err("is neither file nor folder".to_owned()),
        }
    }

    fn folder(&mut self, real: &Path, name: &str, depth: usize) -> Node {
        let entries = match fs::read_dir(real) {
            Ok(entries) => entries,
            Err(error) => return Node::Refused(format!("cannot be read: {error}")),
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => return Node::Refused(format!("cannot be read: {error}")),
            };
            if self.left == 0 {
                return Node::Refused(format!("and what is beside it are more than {MOST_NODES} files"));
            }
            // A name that is no text cannot stand in a bundle.
            match path.file_name().and_then(|name| name.to_str()) {
                Some(inner) => self.visit(&path, &format!("{name}/{inner}"), depth + 1),
                None => return Node::Refused("holds a name that is not UTF-8".to_owned()),
            }
        }
        Node::Folder
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Stamp {
        file: (metadata.dev(), metadata.ino()),
        size: metadata.len(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn read_text(path: &Path, metadata: &Metadata) -> Result<Bytes, String> {
    if metadata.len() > TEXT_BYTES {
        return Err(format!("exceeds the limit of {TEXT_BYTES} bytes"));
    }
    let read = open(path).and_then(|file| {
        let mut text = Vec::new();
        file.take(TEXT_BYTES).read_to_end(&mut text).map(|_| text.into())
    });
    read.map_err(|error| format!("cannot be read: {error}"))
}

/// Opens a file; what became a pipe in the meantime does not hold us up.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// The content of a file, if it is what the look found before and behind the reading.
fn read_as_seen(root: &Path, path: &str, tree: &Tree) -> Result<Vec<u8>, Fault> {
    let failed = |error: io::Error| Fault::unavailable(format!("read `{path}`: {error}"));
    let changed = || Fault::unavailable(format!("`{path}` changed while it was read; it is tried again"));
    let Some(Node::File(seen)) = tree.nodes.get(path) else { return Err(changed()) };
    let is_same = |file: &File| -> Result<bool, Fault> {
        let found = stamp(&file.metadata().map_err(failed)?);
        Ok((found.file, found.size, found.modified) == (seen.file, seen.size, seen.modified))
    };
    let real = root.join(path).canonicalize().map_err(failed)?;
    let mut file = open(&real).map_err(failed)?;
    if !real.starts_with(root) || !is_same(&file)? {
        return Err(changed());
    }
    let mut content = Vec::with_capacity(usize::try_from(seen.size).unwrap_or(0));
    (&mut file).take(seen.size.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 != seen.size || !is_same(&file)? {
        return Err(changed());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Shelf {
        folder: tempfile::TempDir,
        disk: RepositoryFolder,
    }

    fn shelf(files: &[(&str, &str)]) -> Shelf {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        fs::create_dir(&root).unwrap();
        for (path, text) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let disk = RepositoryFolder { root, memory: folder.path().join("memory.json"), artifact_bytes: 100 };
        Shelf { folder, disk }
    }

    impl Shelf {
        fn node(&self, path: &str) -> Option<Node> {
            let look = self.disk.look().unwrap();
            look.trees.get(path.split('/').next().unwrap())?.nodes.get(path).cloned()
        }
    }

    #[test]
    fn links_stay_inside() {
        let shelf = shelf(&[("m/1/model.onnx", "x"), ("store/a", "a")]);
        let root = &shelf.disk.root;
        fs::write(shelf.folder.path().join("secret"), "s").unwrap();
        symlink("../store/a", root.join("m/inside")).unwrap();
        symlink("../../secret", root.join("m/outside")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("nowhere", root.join("m/broken")).unwrap();
        symlink(".", root.join("m/again")).unwrap();
        assert!(matches!(shelf.node("m/inside"), Some(Node::File(Stamp { size: 1, .. }))));
        let refused = |path: &str, expected: &str| match shelf.node(path) {
            Some(Node::Refused(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{path}: {other:?}"),
        };
        refused("m/outside", "is a link that leads out of the repository");
        refused("etc", "is a link that leads out of the repository");
        refused("m/broken", "cannot be read");
        refused("m/again/again/again/again/again/again/again/again/again", "deeper than 8 folders");
        assert!(shelf.node("m/1/model.onnx").is_some());
    }

    #[test]
    fn only_what_was_looked_at_is_read() {
        let shelf = shelf(&[("m/1/model.onnx", "12345"), ("m/1/w", "67")]);
        let path = shelf.disk.root.join("m/1/model.onnx");
        let tree = shelf.disk.look().unwrap().trees.remove("m").unwrap();
        let bare = Upload::Bare("m/1/model.onnx".to_owned());
        assert_eq!(shelf.disk.read(&bare, &tree).unwrap(), "12345");
        let files = [("model.onnx", "m/1/model.onnx"), ("w", "m/1/w")];
        let files = files.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
        let bundle = Upload::Bundle { manifest: Some("version = 1".to_owned()), files };
        let zipped = shelf.disk.read(&bundle, &tree).unwrap();
        assert_eq!(zipped, shelf.disk.read(&bundle, &tree).unwrap(), "the same bytes each time");
        fs::write(&path, "123456").unwrap();
        let fault = shelf.disk.read(&bare, &tree).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
        // The same size and time, another file.
        fs::write(&path, "12345").unwrap();
        let tree = shelf.disk.look().unwrap().trees.remove("m").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(shelf.folder.path().join("models/m/1/w"), &path).unwrap();
        assert!(shelf.disk.read(&bare, &tree).is_err());
        fs::remove_file(&path).unwrap();
        assert!(shelf.disk.read(&bare, &tree).is_err());
    }

    #[test]
    fn limits_hold() {
        let long = "x".repeat(101);
        let shelf = shelf(&[("m/model.onnx", long.as_str()), ("big/config.pbtxt", "")]);
        let config = File::create(shelf.disk.root.join("big/config.pbtxt")).unwrap();
        config.set_len(TEXT_BYTES + 1).unwrap();
        let look = shelf.disk.look().unwrap();
        let fault = shelf.disk.read(&Upload::Bare("m/model.onnx".to_owned()), &look.trees["m"]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::TooLarge);
        assert!(fault.text.contains("101 bytes exceed the limit of 100 bytes"), "{fault}");
        assert!(look.trees["big"].texts["big/config.pbtxt"].as_ref().unwrap_err().contains("exceeds"));
        for file in 0..MOST_NODES {
            fs::write(shelf.disk.root.join(format!("m/{file}")), "").unwrap();
        }
        let Some(Node::Refused(reason)) = shelf.node("m") else { panic!("not refused") };
        assert!(reason.contains("more than 4096 files"), "{reason}");
        fs::remove_dir_all(&shelf.disk.root).unwrap();
        assert_eq!(shelf.disk.look().unwrap_err().kind, FaultKind::Unavailable);
    }

    #[test]
    fn what_is_remembered_comes_back() {
        let shelf = shelf(&[]);
        assert_eq!(shelf.disk.recall().unwrap(), Memory::default());
        let made = tenon_control::repository::Handled {
            files: tenon_contract::Digest::of(b"files"),
            version: "digits/2".parse().unwrap(),
        };
        let memory = Memory { version: Memory::FORMAT, handled: [("digits".to_owned(), made)].into() };
        shelf.disk.remember(&memory).unwrap();
        assert_eq!(shelf.disk.recall().unwrap(), memory);
        fs::write(&shelf.disk.memory, "{\"version\":2,\"handled\":{}}").unwrap();
        assert!(shelf.disk.recall().unwrap_err().text.contains("has format 2"));
    }
}
