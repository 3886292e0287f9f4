//! Rule: files and functions stay small enough to be read at once.
//!
//! What is larger stands in `xtask/limits.toml` with its present number and the reason. The number is a ratchet: it may
//! only shrink, and `cargo xtask tidy --update` lowers it. Tests do not count.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::Finding;
use crate::house::{Exception, House, LIMITS, Source};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let limits = &house.limits;
    let mut findings =
        compare(&file_lengths(house), limits.default.file_lines, &limits.files, "split it by meaning");
    findings.extend(compare(
        &function_lengths(house),
        limits.default.function_lines,
        &limits.functions,
        "let it read as a list of steps, each a function",
    ));
    findings
}

/// Lines by path (files) or by `path::function`.
type Lengths = BTreeMap<String, usize>;

fn compare(
    lengths: &Lengths,
    default: usize,
    exceptions: &BTreeMap<String, Exception>,
    to_do: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, &lines) in lengths {
        let limit = exceptions.get(place).map_or(default, |exception| exception.lines);
        if lines > limit {
            let what = format!("has {lines} lines without tests; its limit is {limit}");
            let to_do = format!(
                "{to_do}; where that would make it worse, give it a line with the reason in {LIMITS}"
            );
            findings.push(Finding::new(place, what, to_do));
        }
    }
    for (place, exception) in exceptions {
        let lines = lengths.get(place).copied().unwrap_or(0);
        if lines < exception.lines {
            let what = format!("allows {} lines to {place}, which has {lines}", exception.lines);
            findings.push(Finding::new(LIMITS, what, "run `cargo xtask tidy --update`: limits only shrink"));
        }
        if exception.why.trim().is_empty() {
            findings.push(Finding::new(
                LIMITS,
                format!("gives no reason for {place}"),
                "say why it is that long",
            ));
        }
    }
    findings
}

/// Rewrites the numbers in `xtask/limits.toml` that became smaller, and drops entries that are needed no more.
pub(super) fn lower_exceptions(house: &House) -> Result<()> {
    let path = house.root.join(LIMITS);
    let mut text = fs::read_to_string(&path).with_context(|| format!("read {LIMITS}"))?;
    let limits = &house.limits;
    let tables = [
        (file_lengths(house), limits.default.file_lines, &limits.files),
        (function_lengths(house), limits.default.function_lines, &limits.functions),
    ];
    for (lengths, default, exceptions) in tables {
        for (place, exception) in exceptions {
            let lines = lengths.get(place).copied().unwrap_or(0);
            if lines < exception.lines {
                text = lowered(&text, place, (lines > default).then_some(lines));
                eprintln!("{place}: {} -> {lines}", exception.lines);
            }
        }
    }
    fs::write(&path, text).with_context(|| format!("write {LIMITS}"))
}

/// The text with one entry changed, or left out. An entry is one line: `"place" = { lines = 1, why = "..." }`.
fn lowered(text: &str, place: &str, lines: Option<usize>) -> String {
    let entry = format!("\"{place}\" = {{ lines = ");
    let mut out = String::new();
    for line in text.lines() {
        match (line.strip_prefix(&entry), lines) {
            (None, _) => out += &format!("{line}\n"),
            (Some(_), None) => {}
            (Some(rest), Some(lines)) => {
                out += &format!("{entry}{lines}{}\n", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
        }
    }
    out
}

fn file_lengths(house: &House) -> Lengths {
    house.sources.iter().map(|source| (source.path.clone(), source.shipped_lines().len())).collect()
}

/// Where a file has several functions of one name, the longest counts.
fn function_lengths(house: &House) -> Lengths {
    let mut lengths = Lengths::new();
    for source in &house.sources {
        for (name, lines) in functions(source) {
            let longest = lengths.entry(format!("{}::{name}", source.path)).or_default();
            *longest = lines.max(*longest);
        }
    }
    lengths
}

/// Name and lines of each function, from its `fn` to its closing bracket. Sources are formatted, so the bracket stands
/// alone at the function's own depth.
fn functions(source: &Source) -> Vec<(&str, usize)> {
    let lines = source.shipped_lines();
    let mut found = Vec::new();
    for (at, &(first, line)) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let depth = line.len() - line.trim_start().len();
        let last = lines[at..].iter().find(|(_, line)| {
            let code = line.trim_start();
            let at_depth = line.len() - code.len() == depth;
            at_depth && code.ends_with(['}', ';'])
        });
        if let Some((last, _)) = last {
            found.push((name, last - first + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub")
            || word.ends_with(')')
            || matches!(*word, "const" | "async" | "unsafe" | "extern" | "\"C\"")
    });
    if words.next()? != "fn" {
        return None;
    }
    words.next()?.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let check = |text: &str, expected: &[(&str, usize)]| {
            let source = Source { path: "crates/a/src/a.rs".into(), text: text.into() };
            assert_eq!(functions(&source), expected, "{text}");
        };
        check("fn a() {}\nfn b<T>() {\n    1\n}\n", &[("a", 1), ("b", 3)]);
        check(
            "impl A {\n    pub(crate) async fn a(\n        x: u8,\n    ) {\n        {\n        }\n    }\n}\n",
            &[("a", 6)],
        );
        check(
            "trait A {\n    fn a(&self);\n    fn b(\n        &self,\n    ) -> u8;\n}\n",
            &[("a", 1), ("b", 3)],
        );
        check("#[cfg(test)]\nmod tests {\n    fn a() {\n    }\n}\n", &[]);
        check("// fn a() {\nlet f: fn(u8) = b;\n", &[]);
    }

    #[test]
    fn limits_catch_growth_and_slack() {
        let check = |lines: usize, exception: Option<usize>, expected: &[&str]| {
            let lengths = Lengths::from([("a.rs".to_owned(), lines)]);
            let exceptions = exception
                .map(|lines| ("a.rs".to_owned(), Exception { lines, why: "so".into() }))
                .into_iter()
                .collect();
            let found: Vec<String> =
                compare(&lengths, 10, &exceptions, "split").into_iter().map(|f| f.what).collect();
            assert_eq!(found, expected);
        };
        check(10, None, &[]);
        check(11, None, &["has 11 lines without tests; its limit is 10"]);
        check(20, Some(20), &[]);
        check(21, Some(20), &["has 21 lines without tests; its limit is 20"]);
        check(19, Some(20), &["allows 20 lines to a.rs, which has 19"]);
    }

    #[test]
    fn exceptions_are_lowered_and_dropped() {
        let text = "# kept\n[files]\n\"a.rs\" = { lines = 700, why = \"so\" }\n\"b.rs\" = { lines = 600, why = \"so\" }\n";
        assert_eq!(
            lowered(text, "a.rs", Some(650)),
            "# kept\n[files]\n\"a.rs\" = { lines = 650, why = \"so\" }\n\"b.rs\" = { lines = 600, why = \"so\" }\n"
        );
        assert_eq!(
            lowered(text, "b.rs", None),
            "# kept\n[files]\n\"a.rs\" = { lines = 700, why = \"so\" }\n"
        );
    }
}
