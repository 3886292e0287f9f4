//! What a look at the repository finds: names, sizes and times, and the few files that say what a folder is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tenon_contract::{Digest, Fault, VersionId};

/// The repository as somebody else reads it: a folder on a disk.
pub trait Disk: Send + Sync {
    /// Looks at everything. Blocks.
    ///
    /// # Errors
    /// The repository itself cannot be read.
    fn look(&self) -> Result<Look, Fault>;

    /// Reads what makes a version, as one upload. Blocks.
    ///
    /// # Errors
    /// `Unavailable` when a file is no longer what the look found, or cannot be read now; `TooLarge` beyond the
    /// limit of an upload.
    fn read(&self, upload: &Upload, tree: &Tree) -> Result<Bytes, Fault>;

    /// What was remembered last; nothing at the first start.
    ///
    /// # Errors
    /// It is there and cannot be read.
    fn recall(&self) -> Result<Memory, Fault>;

    /// Keeps this over a restart. Blocks.
    ///
    /// # Errors
    /// The disk refused.
    fn remember(&self, memory: &Memory) -> Result<(), Fault>;
}

/// A look at the repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// What lies in it, each under its name.
    pub trees: BTreeMap<String, Tree>,
}

/// One file or folder of the repository with all that lies below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// Everything, itself included, by its path from the repository on, with `/` between folders.
    pub nodes: BTreeMap<String, Node>,
    /// The content of files that say what a folder is (see [`is_text`]), or why it was not read.
    pub texts: BTreeMap<String, Result<Bytes, String>>,
}

/// Something in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File(Stamp),
    /// A folder.
    Folder,
    /// What is not looked into, and why: a link that leads out, a device, one file too many.
    Refused(String),
}

/// What a change of a file would change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The file itself, whatever its name is.
    pub file: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// When its content changed last, nanoseconds since 1970.
    pub modified: i128,
    /// When anything of it changed last, its name included, nanoseconds since 1970.
    pub changed: i128,
}

/// Where the bytes of a version are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// One file, as it is.
    Bare(String),
    /// A bundle.
    Bundle {
        /// `model.toml`, where the files hold none.
        manifest: Option<String>,
        /// Paths in the repository, by names in the bundle.
        files: BTreeMap<String, String>,
    },
}

impl Upload {
    /// The files of the repository that are in it.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Self::Bare(path) => vec![path],
            Self::Bundle { files, .. } => files.values().map(String::as_str).collect(),
        }
    }
}

/// What is remembered over restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Format of this document.
    pub version: u32,
    /// What was last made of each model's files.
    pub handled: BTreeMap<String, Handled>,
}

impl Memory {
    /// The format written today.
    pub const FORMAT: u32 = 1;
}

/// What was made of a model's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handled {
    /// The files, by their names, sizes and times.
    pub files: Digest,
    /// What they became and was served.
    pub version: VersionId,
}

/// Names of the files whose content a look brings.
pub const TEXTS: [&str; 2] = [super::triton::CONFIG, super::mlserver::SETTINGS];

/// Whether the content of the file at `path` belongs into [`Tree::texts`].
pub fn is_text(path: &str) -> bool {
    TEXTS.contains(&path.rsplit('/').next().unwrap_or_default())
}

impl Tree {
    /// A number for these files as they are: another one when a size or a time of change is another.
    pub(super) fn fingerprint<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> Digest {
        let mut text = String::new();
        for path in paths {
            if let Some(Node::File(stamp)) = self.nodes.get(path) {
                text += &format!("{path}\n{} {}\n", stamp.size, stamp.modified);
            }
        }
        Digest::of(text.as_bytes())
    }

    /// The files' stamps but for what a new name changes.
    pub(super) fn contents(&self) -> impl Iterator<Item = Stamp> {
        let stamp = |node: &Node| match node {
            Node::File(stamp) => Some(Stamp { changed: 0, ..*stamp }),
            _ => None,
        };
        self.nodes.values().filter_map(stamp)
    }

    /// Whether nobody writes these files any more: each is as the look before found it, under whatever name, or
    /// was left alone since `before`, nanoseconds since 1970.
    pub(super) fn is_settled<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a str>,
        seen: &BTreeSet<Stamp>,
        before: i128,
    ) -> bool {
        paths.into_iter().all(|path| match self.nodes.get(path) {
            Some(Node::File(stamp)) => {
                stamp.modified.max(stamp.changed) <= before || seen.contains(&Stamp { changed: 0, ..*stamp })
            }
            _ => false,
        })
    }

    /// The folder at `path`.
    pub(super) fn folder<'a>(&'a self, path: &'a str) -> Folder<'a> {
        Folder { tree: self, path }
    }
}

/// A folder of a tree. What begins with `.` is hidden in it.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    pub(super) tree: &'a Tree,
    pub(super) path: &'a str,
}

impl<'a> Folder<'a> {
    /// Everything below it, by the path from here on.
    pub(super) fn below(self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let nodes = self.tree.nodes.range(format!("{}/", self.path)..);
        let inner = nodes
            .map_while(move |(path, node)| Some((path.strip_prefix(self.path)?.strip_prefix('/')?, node)));
        inner.filter(|(path, _)| !path.split('/').any(|part| part.starts_with('.')))
    }

    /// What lies in it directly, by name.
    pub(super) fn children(self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.below().filter(|(path, _)| !path.contains('/'))
    }

    /// Names of the folders in it.
    pub(super) fn folders(self) -> impl Iterator<Item = &'a str> {
        self.children().filter(|(_, node)| **node == Node::Folder).map(|(name, _)| name)
    }

    /// Whether it holds this file; also one that must not be read.
    pub(super) fn has(self, name: &str) -> bool {
        !matches!(self.tree.nodes.get(&self.join(name)), None | Some(Node::Folder))
    }

    /// The path of what has this name in it.
    pub(super) fn join(self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The first thing in it that must not be read, with the reason.
    pub(super) fn refusal(self) -> Option<String> {
        self.below().find_map(|(path, node)| match node {
            Node::Refused(reason) => Some(format!("`{}` {reason}", self.join(path))),
            _ => None,
        })
    }

    /// All files below it under their paths from here on, as a bundle has them.
    pub(super) fn as_bundle(self, without: &[&str]) -> BTreeMap<String, String> {
        let is_file = |(path, node): &(&str, &Node)| matches!(node, Node::File(_)) && !without.contains(path);
        self.below().filter(is_file).map(|(path, _)| (path.to_owned(), self.join(path))).collect()
    }
}
