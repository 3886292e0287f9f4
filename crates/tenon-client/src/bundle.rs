//! What is uploaded: a folder as one zip, or a bare artifact with its examples.
//!
//! The same folder gives the same bytes everywhere: names sorted, times and rights fixed, nothing
//! compressed (weights do not shrink, and the server reads them in place).

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::ClientError;

/// The file that makes a folder a bundle.
pub const MANIFEST: &str = "model.toml";
/// Most files taken from a folder: a mistaken `push NAME /` shall end soon.
const FILE_LIMIT: usize = 4096;

/// The files of a folder as a zip, the same bytes each time.
///
/// # Errors
/// There is no `model.toml`, a file cannot be read, a link leads out of the folder, or there are more
/// than 4096 files.
pub fn zip_folder(folder: &Path) -> Result<Bytes, ClientError> {
    let root = folder.canonicalize().map_err(|error| unreadable(folder, &error))?;
    let mut files = BTreeMap::new();
    walk(&root, &root, &mut files)?;
    if !files.contains_key(MANIFEST) {
        return Err(ClientError::Local(format!(
            "{}: no {MANIFEST} in this folder; a bundle needs one, a bare model is pushed as a file",
            folder.display()
        )));
    }
    zip(&files, |path| std::fs::read(path).map_err(|error| unreadable(path, &error)))
}

/// Files as a zip, the same bytes for the same names and contents; `content` gives one of them at a time.
///
/// # Errors
/// Those of `content`; the zip cannot be written.
pub fn zip<T, E: From<ClientError>>(
    files: &BTreeMap<String, T>,
    mut content: impl FnMut(&T) -> Result<Vec<u8>, E>,
) -> Result<Bytes, E> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, file) in files {
        add(&mut zip, name, &content(file)?)?;
    }
    Ok(finish(zip)?)
}

/// A bare artifact and its examples as a bundle.
///
/// # Errors
/// The zip cannot be written.
pub fn with_examples(artifact: &[u8], examples: &[u8]) -> Result<Bytes, ClientError> {
    let manifest = "version = 1\nartifact = \"artifact\"\nexamples = \"examples.json\"\n";
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut zip, "artifact", artifact)?;
    add(&mut zip, "examples.json", examples)?;
    add(&mut zip, MANIFEST, manifest.as_bytes())?;
    finish(zip)
}

/// Gathers the files below `folder` under their names in the bundle.
fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), ClientError> {
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let target = path.canonicalize().map_err(|error| unreadable(&path, &error))?;
        if !target.starts_with(root) {
            return Err(ClientError::Local(format!(
                "{}: is a link that leads out of the folder",
                path.display()
            )));
        }
        // A folder behind a link may be one of those above: such a bundle would have no end.
        if target.is_dir() && target != path {
            return Err(ClientError::Local(format!("{}: is a link to a folder", path.display())));
        }
        if target.is_dir() {
            walk(root, &path, files)?;
        } else if target.is_file() {
            files.insert(name_in(root, &path)?, path);
        } else {
            return Err(ClientError::Local(format!("{}: is neither file nor folder", path.display())));
        }
        if files.len() > FILE_LIMIT {
            return Err(ClientError::Local(format!("{}: more than {FILE_LIMIT} files", root.display())));
        }
    }
    Ok(())
}

/// The path from the root on, with `/` between folders.
fn name_in(root: &Path, path: &Path) -> Result<String, ClientError> {
    let inner = path.strip_prefix(root).unwrap_or(path);
    let parts: Option<Vec<_>> = inner.iter().map(|part| part.to_str()).collect();
    let parts =
        parts.ok_or_else(|| ClientError::Local(format!("{}: the name is not UTF-8", path.display())))?;
    Ok(parts.join("/"))
}

type Zip = ZipWriter<Cursor<Vec<u8>>>;

fn add(zip: &mut Zip, name: &str, content: &[u8]) -> Result<(), ClientError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
        .large_file(u32::try_from(content.len()).is_err());
    zip.start_file(name, options).map_err(|error| unwritable(&error))?;
    zip.write_all(content).map_err(|error| unwritable(&error))
}

fn finish(zip: Zip) -> Result<Bytes, ClientError> {
    Ok(zip.finish().map_err(|error| unwritable(&error))?.into_inner().into())
}

fn unreadable(path: &Path, error: &std::io::Error) -> ClientError {
    ClientError::Local(format!("read {}: {error}", path.display()))
}

fn unwritable(error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Local(format!("write zip: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(zip: &Bytes) -> Vec<String> {
        let archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        archive.file_names().map(|name| name.unwrap().into_owned()).collect()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("model.toml", "version = 1"), ("z.onnx", "z"), ("sub/a.bin", "a")] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_same_folder_gives_the_same_bytes() {
        let zips = [folder(), folder()].map(|folder| zip_folder(folder.path()).unwrap());
        assert_eq!(zips[0], zips[1]);
        assert_eq!(names(&zips[0]), ["model.toml", "sub/a.bin", "z.onnx"]);
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let refused = |folder: &Path| zip_folder(folder).unwrap_err().to_string();
        assert!(refused(Path::new("/nowhere/at/all")).contains("/nowhere/at/all"));
        let bare = tempfile::tempdir().unwrap();
        assert!(refused(bare.path()).contains("no model.toml"));
        let linked = folder();
        std::os::unix::fs::symlink("/etc/hostname", linked.path().join("out")).unwrap();
        assert!(refused(linked.path()).contains("out: is a link that leads out"));
        let looped = folder();
        std::os::unix::fs::symlink(".", looped.path().join("sub/again")).unwrap();
        assert!(refused(looped.path()).contains("is a link to a folder"));
        let inner = folder();
        std::os::unix::fs::symlink("z.onnx", inner.path().join("model.onnx")).unwrap();
        assert!(names(&zip_folder(inner.path()).unwrap()).contains(&"model.onnx".to_owned()));
    }

    #[test]
    fn examples_join_a_bare_artifact() {
        let zip = with_examples(b"onnx", b"{}").unwrap();
        assert_eq!(names(&zip), ["artifact", "examples.json", "model.toml"]);
    }
}
