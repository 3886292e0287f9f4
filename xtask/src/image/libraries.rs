//! The shared libraries that programs of this machine need: those of its C library and its compiler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What the loader would load for each of `files`, and the loader itself, by the paths under which it finds them.
pub(super) fn needed_by(files: &[&Path]) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for file in files {
        let asked = Command::new("ldd").arg(file).env("LC_ALL", "C").output().context("start ldd")?;
        ensure!(
            asked.status.success(),
            "ask for the libraries of {}: {}",
            file.display(),
            String::from_utf8_lossy(&asked.stderr).trim()
        );
        let said = String::from_utf8_lossy(&asked.stdout);
        for line in said.lines() {
            libraries.extend(library(line).with_context(|| format!("{} cannot run here", file.display()))?);
        }
    }
    Ok(libraries)
}

/// The path in a line of ldd: `name => /path (address)`, or `/path (address)` of the loader. What the kernel brings has
/// no path.
fn library(line: &str) -> Result<Option<PathBuf>> {
    let found = line.split_once("=>").map_or(line, |(_, found)| found).trim();
    if found.starts_with("not found") {
        bail!("{}", line.trim());
    }
    let path = found.split(" (").next().unwrap_or_default();
    Ok(path.starts_with('/').then(|| PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd_are_read() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(library(line).unwrap().as_deref(), expected.map(Path::new), "{line}");
        };
        check("\tlinux-vdso.so.1 (0x00007f17762a4000)", None);
        check(
            "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f17)",
            Some("/lib/x86_64-linux-gnu/libm.so.6"),
        );
        check("\t/lib64/ld-linux-x86-64.so.2 (0x00007f17762a6000)", Some("/lib64/ld-linux-x86-64.so.2"));
        check("\tstatically linked", None);
        assert!(library("\tlibnone.so.1 => not found").is_err());
    }
}
