//! The binary under test: the very one that `make run` starts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("scenarios lie in the repository")
}

/// The built `tenon`, built now where it is missing or older than its sources. `TENON_SCENARIOS_BINARY` names
/// another one to test.
///
/// # Errors
/// It cannot be built.
pub fn tenon() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| find_or_build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn find_or_build() -> Result<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "the environment of a developer, not of a server")]
    if let Some(named) = std::env::var_os("TENON_SCENARIOS_BINARY") {
        return Ok(named.into());
    }
    // A test lies in `<target>/release/deps`, the binary two folders above it.
    let test = std::env::current_exe().context("find this test")?;
    let release = test.ancestors().nth(2).context("find the folder of this build")?;
    let binary = release.join("tenon");
    let built_at = binary.metadata().and_then(|metadata| metadata.modified());
    if built_at.is_ok_and(|built_at| last_change(&repository().join("crates")) < built_at) {
        return Ok(binary);
    }
    let target = release.parent().context("find the target folder")?;
    let built = cargo()
        .args(["build", "--quiet", "--release", "-p", "tenon"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(repository())
        .output()
        .context("start cargo; run `cargo build --release -p tenon` yourself")?;
    ensure!(built.status.success(), "build tenon: {}", String::from_utf8_lossy(&built.stderr));
    Ok(binary)
}

/// Cargo, as a person at a terminal would start it. What a runner of tests says of this package to us would go on to
/// the scripts that build others, and some of them build anew when it changes.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    #[allow(clippy::disallowed_methods, reason = "the environment of a developer, not of a server")]
    let variables = std::env::vars_os();
    for (name, _) in variables.filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        command.env_remove(name);
    }
    command
}

/// When a source below `folder` changed last. Tests are none of the binary's sources.
fn last_change(folder: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let changed = match (path.is_dir(), entry.metadata()) {
            (true, _) if path.ends_with("tests") => continue,
            (true, _) => last_change(&path),
            (false, Ok(metadata)) => metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            (false, Err(_)) => continue,
        };
        newest = newest.max(changed);
    }
    newest
}
