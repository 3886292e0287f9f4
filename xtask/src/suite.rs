//! `cargo xtask test`: runs every test of the workspace and accounts for those that were skipped.
//!
//! Runs with cargo-nextest where it is installed, else with `cargo test`. The last line printed is the runner's own
//! summary.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::house;
use crate::skips::{self, Skip};

/// Where cargo-nextest writes its report: its store (`.config/nextest.toml`) is told from the workspace's root,
/// wherever `CARGO_TARGET_DIR` points.
const REPORT: &str = "target/nextest/default/junit.xml";

/// What a run of tests left to say.
struct Outcome {
    passed: bool,
    skipped: Vec<Skip>,
    /// The runner's last line.
    summary: String,
}

pub(crate) fn run() -> Result<()> {
    let allowed = skips::allowed()?;
    let examples = cargo_test(&["--doc"])?;

    let has_nextest = house::cargo().args(["nextest", "--version"]).output()?.status.success();
    let tests = if has_nextest { nextest()? } else { cargo_test(&["--lib", "--bins", "--tests"])? };

    let skipped: Vec<Skip> = examples.skipped.into_iter().chain(tests.skipped).collect();
    let unlisted = skips::report(&skipped, &allowed);
    if !skipped.is_empty() {
        eprintln!("{}", tests.summary);
    }
    ensure!(examples.passed, "examples in the documentation fail");
    ensure!(tests.passed, "tests fail");
    let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1");
    ensure!(!is_ci || unlisted == 0, "{unlisted} skipped test(s) are not in {}, and CI=true", skips::ALLOWED);
    Ok(())
}

fn nextest() -> Result<Outcome> {
    let color = if std::io::stderr().is_terminal() { "always" } else { "never" };
    let mut command = house::cargo();
    command.args(["nextest", "run", "--release", "--workspace", "--color", color]);
    let report = house::root().join(REPORT);
    // What an earlier run left would be read where this one does not come so far.
    let _ = std::fs::remove_file(&report);

    let mut child = command.stderr(Stdio::piped()).spawn().context("start cargo nextest")?;
    let lines = pass_on(child.stderr.take().context("read from cargo nextest")?, std::io::stderr())?;
    let passed = child.wait()?.success();
    let summary = lines.into_iter().rev().find(|line| line.contains("Summary")).unwrap_or_default();
    let report = if passed {
        std::fs::read_to_string(&report).with_context(|| format!("read {}", report.display()))?
    } else {
        std::fs::read_to_string(&report).unwrap_or_default()
    };
    let mut skipped = skips::said_in_report(&report);
    skipped.extend(ignored()?);
    Ok(Outcome { passed, skipped, summary })
}

/// Tests marked `#[ignore]`.
fn ignored() -> Result<Vec<Skip>> {
    let listed = house::cargo()
        .args([
            "nextest",
            "list",
            "--release",
            "--workspace",
            "--run-ignored",
            "only",
            "--message-format",
            "oneline",
        ])
        .stderr(Stdio::null())
        .output()
        .context("list ignored tests")?;
    Ok(skips::ignored_in_list(&String::from_utf8_lossy(&listed.stdout)))
}

fn cargo_test(which: &[&str]) -> Result<Outcome> {
    let mut child = house::cargo()
        .args(["test", "--release", "--workspace"])
        .args(which)
        .args(["--no-fail-fast", "--", "--show-output"])
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo test")?;
    let lines = pass_on(child.stdout.take().context("read from cargo test")?, std::io::stdout())?;
    let passed = child.wait()?.success();
    let summary =
        lines.iter().rev().find(|line| line.starts_with("test result:")).cloned().unwrap_or_default();
    Ok(Outcome { passed, skipped: skips::said_in_output(&lines), summary })
}

/// Shows each line as it comes, and keeps it.
fn pass_on(from: impl std::io::Read, mut to: impl Write) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    Ok(lines)
}
