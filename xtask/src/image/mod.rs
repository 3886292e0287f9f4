//! `cargo xtask image`: the container image, made by no other tool than this one.
//!
//! The same program and libraries make the same image, bit by bit. `Containerfile` takes its contents from here too.

mod layout;
mod libraries;
mod root;
mod tar;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::{house, onnxruntime};

/// What is wanted of the chore.
struct Wish<'a> {
    /// Where to: a file `.tar`, or a folder.
    to: Option<&'a Path>,
    /// The program, where it is built already.
    program: Option<&'a Path>,
    /// The contents alone, as a folder.
    root: Option<&'a Path>,
}

/// Builds the image, or its contents, as the arguments say.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let wish = Wish::read(arguments)?;
    let program = match wish.program {
        Some(program) => program.to_owned(),
        None => build()?,
    };
    let layers = root::layers(&program, &onnxruntime::obtained(None)?)?;
    if let Some(folder) = wish.root {
        for layer in &layers {
            layer.tree.write(folder)?;
        }
        println!("{}", folder.display());
        return Ok(());
    }
    let image = layout::of(&layers)?;
    let to = match wish.to {
        Some(to) => to.to_owned(),
        None => release()?.join("tenon-image.tar"),
    };
    write(&image.files, &to)?;
    for (about, bytes) in &image.layers {
        eprintln!("{:>6.1} MB  {about}", megabytes(*bytes));
    }
    eprintln!("{:>6.1} MB  {}", megabytes(image.bytes), image.digest);
    println!("{}", to.display());
    Ok(())
}

impl<'a> Wish<'a> {
    fn read(arguments: &[&'a str]) -> Result<Self> {
        let mut wish = Self { to: None, program: None, root: None };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().map(|value| Path::new(*value));
            let place = match *name {
                "--to" => &mut wish.to,
                "--program" => &mut wish.program,
                "--root" => &mut wish.root,
                unknown => bail!("`{unknown}` is no argument of `image`"),
            };
            *place = Some(value.with_context(|| format!("`{name}` needs a path"))?);
        }
        ensure!(wish.to.is_none() || wish.root.is_none(), "say either --to or --root");
        Ok(wish)
    }
}

/// A new archive, or a new folder: nothing that was there is mixed with it.
fn write(files: &tar::Tree, to: &Path) -> Result<()> {
    if to.extension().is_some_and(|extension| extension == "tar") {
        return fs::write(to, files.tar()?).with_context(|| format!("write {}", to.display()));
    }
    let is_free = !to.exists() || fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(is_free, "{} is there already and not empty; remove it, or name another place", to.display());
    files.write(to)
}

fn build() -> Result<PathBuf> {
    let status = house::cargo()
        .args(["build", "--quiet", "--release", "-p", "tenon"])
        .current_dir(house::root())
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "tenon does not build");
    Ok(release()?.join("tenon"))
}

/// The folder that cargo builds into: this program lies in it.
fn release() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?;
    Ok(program.parent().context("a program lies in a folder")?.to_owned())
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
