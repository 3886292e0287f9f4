//! What lies in the image: three trees, the one that changes least first. Each becomes a layer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::libraries;
use super::tar::Tree;
use crate::house;

/// The user who runs the server, without a name of anybody on the host.
pub(super) const USER: u32 = 65532;
/// Where the program lies, ONNX Runtime beside it, where it looks for it.
pub(super) const PROGRAM: &str = "opt/tenon";
/// Where the server keeps everything.
pub(super) const DATA: &str = "data";

/// Certificates of authorities, for what the server or a command asks of others over TLS.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// A tree with the words for the history of the image.
pub(super) struct Layer {
    pub(super) about: &'static str,
    pub(super) tree: Tree,
}

/// The layers of an image with this program and this library of ONNX Runtime.
pub(super) fn layers(tenon: &Path, onnxruntime: &Path) -> Result<[Layer; 3]> {
    Ok([
        Layer { about: "C library and users", tree: base(&[tenon, onnxruntime])? },
        Layer { about: "ONNX Runtime", tree: runtime(onnxruntime)? },
        Layer { about: "tenon", tree: program(tenon)? },
    ])
}

fn base(programs: &[&Path]) -> Result<Tree> {
    let mut tree = Tree::default();
    let users = format!("root:x:0:0:root:/:/none\ntenon:x:{USER}:{USER}:tenon:/{DATA}:/none\n");
    tree.file("etc/passwd", 0o644, users);
    tree.file("etc/group", 0o644, format!("root:x:0:\ntenon:x:{USER}:\n"));
    tree.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    let authorities = Path::new("/").join(AUTHORITIES);
    if authorities.exists() {
        tree.file(AUTHORITIES, 0o644, read(&authorities)?);
    }
    for library in libraries::needed_by(programs)? {
        let place = library.strip_prefix("/")?.to_str().context("a library has a name in ASCII")?;
        tree.file(place, 0o755, read(&library)?);
    }
    // What engines of containers mount something on.
    for place in ["dev", "proc", "run", "sys"] {
        tree.folder(place, 0o755, 0);
    }
    tree.folder("tmp", 0o1777, 0);
    tree.folder(DATA, 0o700, USER);
    Ok(tree)
}

fn runtime(onnxruntime: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file(&format!("{PROGRAM}/libonnxruntime.so"), 0o755, read(onnxruntime)?);
    Ok(tree)
}

fn program(tenon: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file(&format!("{PROGRAM}/tenon"), 0o755, stripped(tenon)?);
    tree.file(&format!("{PROGRAM}/LICENSE"), 0o644, read(&house::root().join("LICENSE"))?);
    Ok(tree)
}

/// The program without what only debuggers read.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir().context("make a folder")?;
    let lean: PathBuf = scratch.path().join("tenon");
    let output = Command::new("strip")
        .arg("-o")
        .args([&lean, program])
        .output()
        .context("start strip; it comes with the C compiler (Debian: `apt-get install binutils`)")?;
    ensure!(output.status.success(), "strip: {}", String::from_utf8_lossy(&output.stderr).trim());
    read(&lean)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
