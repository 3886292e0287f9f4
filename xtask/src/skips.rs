//! Tests that did not run: how they say so, and which of them may.
//!
//! A test that cannot run where it finds itself prints `SKIPPED: <its name>: <reason>` as a line of its own and returns.
//! Tests marked `#[ignore]` count too. `tests/allowed-skips.txt` lists by name what may be skipped where `CI=true`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::house;

pub(crate) const ALLOWED: &str = "tests/allowed-skips.txt";
const MARK: &str = "SKIPPED: ";

/// One test that did not run.
#[derive(Debug, PartialEq)]
pub(crate) struct Skip {
    test: String,
    reason: String,
}

/// What may be skipped: name and reason.
pub(crate) type Allowed = BTreeMap<String, String>;

pub(crate) fn allowed() -> Result<Allowed> {
    let text = fs::read_to_string(house::root().join(ALLOWED)).with_context(|| format!("read {ALLOWED}"))?;
    parse_allowed(&text)
}

fn parse_allowed(text: &str) -> Result<Allowed> {
    let mut allowed = Allowed::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(": ") {
            Some((test, reason)) if !reason.trim().is_empty() => {
                allowed.insert(test.trim().to_owned(), reason.trim().to_owned())
            }
            _ => bail!("{ALLOWED}:{}: `{line}` is not `<test name>: <reason>`", index + 1),
        };
    }
    Ok(allowed)
}

/// Prints what was skipped and returns how much of it is not allowed.
pub(crate) fn report(skipped: &[Skip], allowed: &Allowed) -> usize {
    let mut unlisted = 0;
    for Skip { test, reason } in skipped {
        match allowed.get(test) {
            Some(why) => eprintln!("skipped, allowed ({why}): {test}: {reason}"),
            None => {
                unlisted += 1;
                eprintln!("skipped, not listed in {ALLOWED}: {test}: {reason}");
            }
        }
    }
    unlisted
}

/// Skips in the JUnit report of cargo-nextest, which holds what each test printed.
pub(crate) fn said_in_report(report: &str) -> Vec<Skip> {
    let printed = report
        .lines()
        .map(|line| line.trim_start().trim_start_matches("<system-out>").trim_start_matches("<system-err>"));
    printed.filter_map(|line| said(&unescaped(line.split("</system-").next().unwrap_or_default()))).collect()
}

/// Skips and ignored tests in what `cargo test -- --show-output` printed.
pub(crate) fn said_in_output(lines: &[String]) -> Vec<Skip> {
    lines.iter().filter_map(|line| said(line).or_else(|| ignored_in_output(line))).collect()
}

/// Ignored tests as `cargo nextest list --message-format oneline` prints them: binary and test.
pub(crate) fn ignored_in_list(list: &str) -> Vec<Skip> {
    let tests = list.lines().filter_map(|line| line.split_once(' '));
    tests.map(|(_, test)| Skip { test: test.trim().to_owned(), reason: "#[ignore]".into() }).collect()
}

fn said(line: &str) -> Option<Skip> {
    let (test, reason) = line.trim_start().strip_prefix(MARK)?.split_once(": ")?;
    Some(Skip { test: test.to_owned(), reason: reason.trim().to_owned() })
}

fn ignored_in_output(line: &str) -> Option<Skip> {
    let (test, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    result.starts_with("ignored").then(|| Skip { test: test.to_owned(), reason: "#[ignore]".into() })
}

fn unescaped(xml: &str) -> String {
    xml.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(test: &str, reason: &str) -> Skip {
        Skip { test: test.into(), reason: reason.into() }
    }

    #[test]
    fn skips_are_read_from_the_report() {
        let report = r#"
        <testcase name="a::b" classname="tenon-onnx" timestamp="2026-11-20T13:00:00Z" time="0.1">
            <system-out>running 1 test
SKIPPED: a::b: no &lt;library&gt; here
test a::b ... ok</system-out>
            <system-err>SKIPPED: a::c: as root &amp; so</system-err>
        </testcase>"#;
        assert_eq!(said_in_report(report), [skip("a::b", "no <library> here"), skip("a::c", "as root & so")]);
    }

    #[test]
    fn skips_are_read_from_the_output() {
        let lines = [
            "test a::b ... ok",
            "SKIPPED: a::b: no disk",
            "test a::c ... ignored, too slow",
            "test result: ok. 0 ignored",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(said_in_output(&lines), [skip("a::b", "no disk"), skip("a::c", "#[ignore]")]);
        assert_eq!(ignored_in_list("tenon-onnx::suite a::d\n"), [skip("a::d", "#[ignore]")]);
    }

    #[test]
    fn a_listed_skip_passes_and_another_does_not() {
        let allowed = parse_allowed("# a comment\n\na::b: needs a second disk\n").unwrap();
        assert_eq!(report(&[skip("a::b", "no disk")], &allowed), 0);
        assert_eq!(report(&[skip("a::b", "no disk"), skip("a::c", "no")], &allowed), 1);
    }

    #[test]
    fn a_skip_is_not_allowed_without_a_reason() {
        assert!(parse_allowed("a::b\n").is_err());
        assert!(parse_allowed("a::b: \n").is_err());
    }
}
