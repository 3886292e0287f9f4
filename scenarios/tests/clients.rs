//! Clients of others against the built binary: what they can call they call, unmodified.
//!
//! The clients are installed once, into the cache folder; where that cannot be done the test says so. What is
//! called and expected stands in `scenarios/clients/*.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tenon_scenarios::binary::repository;
use tenon_scenarios::server::{Home, Server, Start};
use tenon_scenarios::skip;

#[test]
fn clients_of_others_are_served_unmodified() {
    serve(
        "clients",
        "requirements.txt",
        &["descriptor.py", "reflection.py", "health.py", "triton_rest.py", "triton_grpc.py", "scrape.py"],
    );
}

#[test]
fn the_client_of_kserve_is_served_unmodified() {
    serve("clients-kserve", "kserve-requirements.txt", &["kserve_both.py"]);
}

/// Runs `scripts` with what `requirements` name, which lies in `folder` of the cache.
fn serve(folder: &str, requirements: &str, scripts: &[&str]) {
    let packages = match installed(folder, &repository().join("scenarios/clients").join(requirements)) {
        Ok(packages) => packages,
        Err(error) => return skip(&format!("the clients cannot be installed: {error:#}")),
    };
    let home = Home::new().unwrap();
    let flags = vec!["--demo".to_owned(), "fixtures/scenes".to_owned()];
    let server = Server::start(&home, &Start { flags, ..Start::default() }).unwrap();
    let mut failed = Vec::new();
    for script in scripts {
        if let Err(error) = run(script, &packages, &server) {
            failed.push(format!("{script}: {error:#}"));
        }
    }
    assert!(failed.is_empty(), "{}\nthe server's log:\n{}", failed.join("\n"), home.log());
}

fn run(script: &str, packages: &Path, server: &Server) -> Result<()> {
    let token = std::fs::read_to_string(server.data().join("admin.token")).context("read the admin token")?;
    let output = Command::new("python3")
        .arg(repository().join("scenarios/clients").join(script))
        .args([&format!("127.0.0.1:{}", server.port()), token.trim()])
        .arg(repository())
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .context("start python3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The folder `name` of clients, made where there is none for these requirements and this Python. A folder of
/// packages rather than a virtual environment: Debian's Python makes none by itself.
fn installed(name: &str, requirements: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(requirements).context("read the requirements")?;
    let version = Command::new("python3").arg("--version").output().context("start python3")?;
    let wanted = format!("{}{text}", String::from_utf8_lossy(&version.stdout));
    let (cache, marker) = (cache()?, "installed.txt");
    let folder = cache.join(name);
    if std::fs::read_to_string(folder.join(marker)).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache).context("make the cache folder")?;
    // Beside its place and moved when it is whole: another test may be doing the same.
    let fresh =
        tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&cache).context("make a folder")?;
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
        .arg(fresh.path())
        .arg("--requirement")
        .arg(requirements)
        .output()
        .context("start pip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.lines().last().unwrap_or("pip failed and does not say why"));
    std::fs::write(fresh.path().join(marker), &wanted).context("write the marker")?;
    let _ = std::fs::remove_dir_all(&folder);
    let made = fresh.keep();
    if std::fs::rename(&made, &folder).is_err() {
        // The other test was faster.
        let _ = std::fs::remove_dir_all(&made);
    }
    Ok(folder)
}

fn cache() -> Result<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "the environment of a developer, not of a server")]
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("tenon"))
}
