//! The repository as the rules of `tidy` see it: sources, packages and listed exceptions.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Everything a rule may look at.
pub(crate) struct House {
    pub(crate) root: PathBuf,
    pub(crate) sources: Vec<Source>,
    pub(crate) packages: Vec<Package>,
    pub(crate) limits: Limits,
}

/// One `.rs` file.
pub(crate) struct Source {
    /// From the root of the repository, with `/` between folders.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One crate of the workspace, as `cargo metadata` describes it.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// `xtask/limits.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) default: DefaultLimits,
    /// By path.
    pub(crate) files: BTreeMap<String, Exception>,
    /// By `path::function`.
    pub(crate) functions: BTreeMap<String, Exception>,
    /// By path; why the file needs `unsafe`.
    #[serde(rename = "unsafe")]
    pub(crate) unsafe_files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefaultLimits {
    pub(crate) file_lines: usize,
    pub(crate) function_lines: usize,
}

/// What is larger than the default, by how much, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    pub(crate) lines: usize,
    pub(crate) why: String,
}

/// Where Rust sources of the workspace lie.
const ROOMS: [&str; 4] = ["crates", "xtask", "bench", "scenarios"];
pub(crate) const LIMITS: &str = "xtask/limits.toml";

impl House {
    pub(crate) fn read() -> Result<Self> {
        let root = root();
        let mut sources = Vec::new();
        for room in ROOMS {
            collect(&root, &root.join(room), &mut sources)?;
        }
        let text = fs::read_to_string(root.join(LIMITS)).with_context(|| format!("read {LIMITS}"))?;
        let limits = toml::from_str(&text).with_context(|| format!("understand {LIMITS}"))?;
        Ok(Self { packages: packages(&root)?, root, sources, limits })
    }
}

impl Dependency {
    pub(crate) fn is_normal(&self) -> bool {
        self.kind.is_none()
    }
}

impl Source {
    /// Whether the whole file is there for tests only: by the names that cargo and we give to such files.
    pub(crate) fn is_test(&self) -> bool {
        let (folders, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let in_folder = folders.split('/').any(|folder| matches!(folder, "tests" | "benches"));
        in_folder || file == "tests.rs" || file.ends_with("_tests.rs")
    }

    /// The lines that ship, with their numbers: none of a test file, and none of an item marked `#[cfg(test)]`.
    pub(crate) fn shipped_lines(&self) -> Vec<(usize, &str)> {
        let mut shipped = Vec::new();
        if self.is_test() {
            return shipped;
        }
        let mut lines = self.text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            if is_test_mark(line) {
                skip_item(line, &mut lines);
            } else {
                shipped.push((index + 1, line));
            }
        }
        shipped
    }
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Cargo, as a person at a terminal would start it. What `cargo run` says of this package to us would go on to the
/// scripts that build others, and some of them build anew when it changes.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        command.env_remove(name);
    }
    command
}

fn is_test_mark(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,")
}

/// Leaves out the item that stands under (or behind) a mark. Sources are formatted: it ends with a line that closes a
/// bracket at its own depth, or, where nothing is opened, with a semicolon.
fn skip_item<'a>(mark: &str, lines: &mut impl Iterator<Item = (usize, &'a str)>) {
    let depth = mark.len() - mark.trim_start().len();
    let behind_mark = mark.split_once(']').map_or("", |(_, rest)| rest.trim());
    if behind_mark.ends_with([';', '}']) {
        return;
    }
    for (_, line) in lines {
        let item = line.trim_start();
        let at_depth = line.len() - item.len() == depth;
        let ends = item.ends_with([';', '}']);
        if at_depth && ends && !item.starts_with("#[") {
            return;
        }
    }
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let mut entries = fs::read_dir(folder)
        .with_context(|| format!("list {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            collect(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("start cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("understand cargo metadata")?;
    Ok(metadata.packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(path: &str, text: &str) -> Vec<usize> {
        let source = Source { path: path.into(), text: text.into() };
        source.shipped_lines().into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn test_items_do_not_ship() {
        let check = |text: &str, expected: &[usize]| {
            assert_eq!(shipped("crates/a/src/a.rs", text), expected, "{text}")
        };
        check("//! a\nfn a() {}\n", &[1, 2]);
        check("a\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nc", &[1, 7]);
        check("a\n#[cfg(test)]\nmod tests;\nc", &[1, 4]);
        check("a\n#[cfg(test)] mod tests;\nc", &[1, 3]);
        check("a\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nc", &[1, 5]);
        check("a\n    #[cfg(test)]\n    fn b(\n        x: u8,\n    ) {\n        x;\n    }\nc", &[1, 8]);
        check("a\n#[cfg(all(test, loom))]\nmod tests {\n}\nc", &[1, 5]);
    }

    #[test]
    fn test_files_do_not_ship() {
        for path in ["crates/a/tests/a.rs", "crates/a/src/b/tests.rs", "crates/a/src/b_tests.rs"] {
            assert_eq!(shipped(path, "fn a() {}"), [0; 0], "{path}");
        }
    }
}
