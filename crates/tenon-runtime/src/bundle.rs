//! Bundles: an artifact by itself, or a zip of it with `model.toml` and what belongs to it.
//!
//! One upload is one blob with one digest, read here from the verified buffer. Nothing is written to
//! disk and no path from inside is ever opened, so a hostile name has nowhere to lead; it is refused
//! all the same, as is everything beyond the limits.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use bytes::Bytes;
use serde::Deserialize;
use tenon_contract::version::About;
use tenon_contract::{Digest, Fault, Format};

use crate::warmup::WarmUp;

/// Name of the manifest in a bundle.
pub const MANIFEST: &str = "model.toml";

/// Format of `model.toml` read today.
const FORMAT: u32 = 1;

/// Limits of what a bundle may hold.
#[derive(Clone, Copy, Debug)]
pub struct BundleLimits {
    /// Files in it.
    pub files: usize,
    /// Bytes of all files, unpacked.
    pub bytes: u64,
}

impl Default for BundleLimits {
    fn default() -> Self {
        Self { files: 4096, bytes: 8 << 30 }
    }
}

/// Why an upload is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Nothing in it.
    #[error("the upload is empty")]
    Empty,
    /// Not a readable zip.
    #[error("read zip: {0}")]
    Zip(String),
    /// More or larger files than allowed.
    #[error("{place}: exceeds the limit of {limit}")]
    Limit {
        /// The file.
        place: String,
        /// Which limit.
        limit: String,
    },
    /// A name that leads out of the bundle, a link, a doubled name.
    #[error("file `{name}` in the zip {fault}")]
    Name {
        /// The name as it stands there.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// `model.toml` is missing or wrong.
    #[error("model.toml: {0}")]
    Manifest(String),
    /// A file that `model.toml` names is not there.
    #[error("model.toml names `{0}`, which is not in the bundle")]
    Missing(String),
}

impl From<BundleError> for Fault {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Limit { .. } => Fault::new(tenon_contract::FaultKind::TooLarge, error.to_string()),
            _ => Fault::invalid(error.to_string()),
        }
    }
}

/// What `model.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of the manifest; 1.
    pub version: u32,
    /// Format of the artifact; recognised from its content where it is not given.
    #[serde(default)]
    pub format: Option<Format>,
    /// File that holds the model.
    pub artifact: String,
    /// File of examples with right answers.
    #[serde(default)]
    pub examples: Option<String>,
    /// Requests without a right answer that must be answered before the version is served.
    #[serde(default)]
    pub warmup: Vec<WarmUp>,
    /// File of the model card, Markdown.
    #[serde(default)]
    pub card: Option<String>,
    /// SPDX expression.
    #[serde(default)]
    pub licence: Option<String>,
    /// One line about the version.
    #[serde(default)]
    pub description: Option<String>,
    /// What stands before and behind the model; `kind` says which adapter reads the rest of the table.
    #[serde(default)]
    pub adapter: Option<toml::Table>,
}

/// A verified upload, opened.
#[derive(Clone, Debug)]
pub struct Bundle {
    digest: Digest,
    size: u64,
    manifest: Manifest,
    files: BTreeMap<String, Bytes>,
}

impl Bundle {
    /// Opens an upload: a zip with `model.toml`, else a bare artifact.
    ///
    /// # Errors
    /// Not readable, beyond the limits, hostile, or incomplete; the text names the place.
    pub fn open(bytes: Bytes, limits: BundleLimits) -> Result<Self, BundleError> {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        if bytes.is_empty() {
            return Err(BundleError::Empty);
        }
        if !bytes.starts_with(b"PK\x03\x04") && !bytes.starts_with(b"PK\x05\x06") {
            let manifest =
                Manifest { version: FORMAT, artifact: "artifact".to_owned(), ..Manifest::default() };
            let files = BTreeMap::from([(manifest.artifact.clone(), bytes)]);
            return Ok(Self { digest, size, manifest, files });
        }
        let files = strip_folder(unzip(&bytes, limits)?);
        let manifest = read_manifest(&files)?;
        let named = [Some(&manifest.artifact), manifest.examples.as_ref(), manifest.card.as_ref()];
        if let Some(missing) = named.into_iter().flatten().find(|name| !files.contains_key(*name)) {
            return Err(BundleError::Missing(missing.clone()));
        }
        Ok(Self { digest, size, manifest, files })
    }

    /// sha256 of the upload.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of the upload.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What `model.toml` says, or what stands for it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The model's bytes.
    pub fn artifact(&self) -> &Bytes {
        &self.files[&self.manifest.artifact]
    }

    /// A file of the bundle by its path in it, with `/` between folders.
    pub fn file(&self, path: &str) -> Option<&Bytes> {
        self.files.get(path)
    }

    /// A file by its path as seen from the artifact's folder.
    pub fn beside_artifact(&self, path: &str) -> Option<&Bytes> {
        match self.manifest.artifact.rsplit_once('/') {
            Some((folder, _)) => self.file(&format!("{folder}/{path}")),
            None => self.file(path),
        }
    }

    /// The file of examples, where there is one.
    pub fn examples(&self) -> Option<&Bytes> {
        self.manifest.examples.as_ref().and_then(|name| self.file(name))
    }

    /// What people say about it.
    pub fn about(&self) -> About {
        let card = self.manifest.card.as_ref().and_then(|name| self.file(name));
        About {
            description: self.manifest.description.clone(),
            licence: self.manifest.licence.clone(),
            card: card.map(|card| String::from_utf8_lossy(card).into_owned()),
        }
    }
}

fn unzip(bytes: &Bytes, limits: BundleLimits) -> Result<BTreeMap<String, Bytes>, BundleError> {
    let zip_error = |error: zip::result::ZipError| BundleError::Zip(error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(zip_error)?;
    if archive.len() > limits.files {
        return Err(BundleError::Limit { place: "zip".to_owned(), limit: format!("{} files", limits.files) });
    }
    let mut files = BTreeMap::new();
    let mut left = limits.bytes;
    let mut entries = 0;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(zip_error)?;
        let name = entry.name().map_err(zip_error)?.into_owned();
        let refused = |fault| BundleError::Name { name: name.clone(), fault };
        check_name(&name).map_err(refused)?;
        if entry.is_symlink() {
            return Err(refused("is a link"));
        }
        entries += 1;
        if entry.is_dir() {
            continue;
        }
        // What the entry says of its size is only a hint: the reader stops one byte behind the limit.
        let mut content = Vec::with_capacity(entry.size().min(left).min(1 << 20) as usize);
        let read = entry.by_ref().take(left.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|error| BundleError::Zip(format!("file `{name}`: {error}")))?;
        left = left.checked_sub(content.len() as u64).ok_or_else(|| BundleError::Limit {
            place: name.clone(),
            limit: format!("{} bytes unpacked", limits.bytes),
        })?;
        if files.insert(name.clone(), Bytes::from(content)).is_some() {
            return Err(refused("stands there twice"));
        }
    }
    // The reader keeps one entry a name: a doubled name shows only in the directory's own count.
    match directory_entries(bytes) {
        Some(count) if count != entries => {
            Err(BundleError::Zip(format!("{count} entries are listed, {entries} have names of their own")))
        }
        _ => Ok(files),
    }
}

/// Entries that the end-of-directory record counts; `None` where it is a zip64 marker.
fn directory_entries(bytes: &[u8]) -> Option<usize> {
    let from = bytes.len().saturating_sub(22 + 0xffff);
    let at = bytes[from..].windows(4).rposition(|window| window == b"PK\x05\x06")? + from;
    let count = u16::from_le_bytes(bytes.get(at + 10..at + 12)?.try_into().ok()?);
    (count != u16::MAX).then_some(usize::from(count))
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 1024 || name.contains(['\0', '\\']) {
        return Err("has no proper name");
    }
    if name.starts_with('/') || name.as_bytes().get(1) == Some(&b':') {
        return Err("has an absolute path");
    }
    if name.split('/').any(|part| part == ".." || part == ".") {
        return Err("leads out of the bundle");
    }
    Ok(())
}

/// Takes a single folder around everything away: what `zip -r bundle.zip folder` makes.
fn strip_folder(files: BTreeMap<String, Bytes>) -> BTreeMap<String, Bytes> {
    let Some((folder, _)) = files.keys().next().and_then(|name| name.split_once('/')) else { return files };
    let prefix = format!("{folder}/");
    if files.contains_key(MANIFEST) || !files.keys().all(|name| name.starts_with(&prefix)) {
        return files;
    }
    files.into_iter().map(|(name, content)| (name[prefix.len()..].to_owned(), content)).collect()
}

fn read_manifest(files: &BTreeMap<String, Bytes>) -> Result<Manifest, BundleError> {
    let refused = |text: String| BundleError::Manifest(text);
    let bytes = files.get(MANIFEST).ok_or_else(|| {
        refused("is not in the zip; a bundle needs it: version = 1, artifact = \"model.onnx\"".to_owned())
    })?;
    let text = std::str::from_utf8(bytes).map_err(|error| refused(error.to_string()))?;
    let manifest: Manifest =
        toml::from_str(text).map_err(|error| refused(error.to_string().trim_end().to_owned()))?;
    if manifest.version != FORMAT {
        return Err(refused(format!("has format {}, this build reads {FORMAT}", manifest.version)));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn zip(files: &[(&str, &[u8])]) -> Bytes {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner().into()
    }

    const TOML: &[u8] = b"version = 1\nartifact = \"m.toy\"\n";

    #[test]
    fn opens() {
        let bare = Bundle::open(Bytes::from_static(b"toy add=1"), BundleLimits::default()).unwrap();
        assert_eq!(bare.artifact().as_ref(), b"toy add=1");
        for folder in ["", "folder/"] {
            let name = |name: &str| format!("{folder}{name}");
            let bytes = zip(&[(&name(MANIFEST), TOML), (&name("m.toy"), b"toy add=1")]);
            let bundle = Bundle::open(bytes.clone(), BundleLimits::default()).unwrap();
            assert_eq!(bundle.artifact().as_ref(), b"toy add=1");
            assert_eq!(bundle.digest(), Digest::of(&bytes));
        }
    }

    #[test]
    fn refuses() {
        let check = |files: &[(&str, &[u8])], expected: &str| {
            let error =
                Bundle::open(zip(files), BundleLimits { files: 3, bytes: 1000 }).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} does not say `{expected}`");
        };
        check(&[], "model.toml: is not in the zip");
        check(&[("m.toy", b"x")], "model.toml: is not in the zip");
        check(&[(MANIFEST, TOML)], "names `m.toy`");
        check(&[(MANIFEST, b"version = 2\nartifact = 'x'")], "has format 2");
        check(&[(MANIFEST, b"version = 1\nartifact = 'x'\nhello = 1")], "unknown field `hello`");
        check(&[(MANIFEST, b"version = 1\nartifact = 'x'\nadapter = 1")], "expected a map");
        check(&[(MANIFEST, b"\xff")], "utf-8");
        check(&[("../evil", b"x")], "leads out");
        check(&[("/evil", b"x")], "absolute");
        check(&[("a\\b", b"x")], "no proper name");
        check(&[(MANIFEST, TOML), ("m.toy", &[0; 2000])], "m.toy: exceeds the limit of 1000 bytes");
        check(&[("a", b""), ("b", b""), ("c", b""), ("d", b"")], "3 files");
        assert_eq!(Bundle::open(Bytes::new(), BundleLimits::default()).unwrap_err(), BundleError::Empty);
        let whole = zip(&[(MANIFEST, TOML), ("m.toy", b"toy")]);
        for cut in 4..whole.len() {
            assert!(Bundle::open(whole.slice(..cut), BundleLimits::default()).is_err(), "cut at {cut}");
        }
    }
}
