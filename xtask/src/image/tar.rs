//! Trees of files, and their tar archives: sorted, without times and names of people, so that the same tree is
//! always the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const BLOCK: usize = 512;
/// Longest name in the plain form of the format.
const NAME_BYTES: usize = 100;

/// Files by path, without a slash at the beginning. Parents stand before what is in them.
#[derive(Default)]
pub(super) struct Tree(BTreeMap<String, Node>);

struct Node {
    mode: u32,
    /// User and group.
    owner: u32,
    kind: Kind,
}

enum Kind {
    Folder,
    File(Vec<u8>),
}

impl Tree {
    /// A file of root, and the folders above it.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent, 0o755, 0);
        }
        self.0.insert(path.to_owned(), Node { mode, owner: 0, kind: Kind::File(bytes.into()) });
    }

    /// A folder, and those above it; one that is there already stays as it is.
    pub(super) fn folder(&mut self, path: &str, mode: u32, owner: u32) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent, 0o755, 0);
        }
        self.0.entry(path.to_owned()).or_insert(Node { mode, owner, kind: Kind::Folder });
    }

    /// Its tar archive.
    pub(super) fn tar(&self) -> Result<Vec<u8>> {
        let mut archive = Vec::new();
        for (path, node) in &self.0 {
            let bytes: &[u8] = match &node.kind {
                Kind::Folder => &[],
                Kind::File(bytes) => bytes,
            };
            archive.extend_from_slice(&header(path, node, bytes.len())?);
            archive.extend_from_slice(bytes);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        Ok(archive)
    }

    /// Writes the tree below a folder. Whose the files are stays with the one who writes.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        for (path, node) in &self.0 {
            let place = folder.join(path);
            match &node.kind {
                Kind::Folder => fs::create_dir_all(&place),
                Kind::File(bytes) => fs::write(&place, bytes),
            }
            .and_then(|()| fs::set_permissions(&place, fs::Permissions::from_mode(node.mode)))
            .with_context(|| format!("write {}", place.display()))?;
        }
        Ok(())
    }
}

/// The header of one entry, in the form of POSIX that every reader knows (ustar).
fn header(path: &str, node: &Node, size: usize) -> Result<[u8; BLOCK]> {
    let (name, kind) = match node.kind {
        Kind::Folder => (format!("{path}/"), b'5'),
        Kind::File(_) => (path.to_owned(), b'0'),
    };
    ensure!(name.len() <= NAME_BYTES, "`{name}` is longer than {NAME_BYTES} bytes");
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{:07o}", node.mode).as_bytes());
    put(108, format!("{:07o}", node.owner).as_bytes());
    put(116, format!("{:07o}", node.owner).as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", 0).as_bytes());
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    // The sum counts its own place as blanks.
    put(148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_tar_of_the_system_reads_it() {
        let mut tree = Tree::default();
        tree.folder("tmp", 0o1777, 0);
        tree.file("opt/a/program", 0o755, b"bytes".repeat(200));
        tree.file("opt/a.txt", 0o644, "text");
        tree.folder("data", 0o700, 65532);
        let scratch = tempfile::tempdir().unwrap();
        let archive = scratch.path().join("tree.tar");
        fs::write(&archive, tree.tar().unwrap()).unwrap();
        let listed = Command::new("tar")
            .env("TZ", "UTC")
            .args(["--numeric-owner", "-tvf"])
            .arg(&archive)
            .output()
            .unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).unwrap();
        let lines = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let expected = [
            "drwx------ 65532/65532 0 1970-01-01 00:00 data/",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00 opt/",
            "drwxr-xr-x 0/0 0 1970-01-01 00:00 opt/a/",
            "-rw-r--r-- 0/0 4 1970-01-01 00:00 opt/a.txt",
            "-rwxr-xr-x 0/0 1000 1970-01-01 00:00 opt/a/program",
            "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/",
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }
}
