//! Rule: `unsafe` stands only in files that `xtask/limits.toml` lists with the reason, tests included.

use std::collections::BTreeSet;

use super::Finding;
use crate::house::{House, LIMITS};

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut with_unsafe = BTreeSet::new();
    for source in &house.sources {
        let Some((number, _)) = source.text.lines().enumerate().find(|(_, line)| has_unsafe(line)) else {
            continue;
        };
        with_unsafe.insert(source.path.as_str());
        if !house.limits.unsafe_files.contains_key(&source.path) {
            findings.push(Finding::new(
                format!("{}:{}", source.path, number + 1),
                "has `unsafe`, and is not listed as a file that needs it",
                format!("do without, or move it into one module, with `// SAFETY` at every block, and list that with its reason in {LIMITS}"),
            ));
        }
    }
    for (path, why) in &house.limits.unsafe_files {
        if !with_unsafe.contains(path.as_str()) {
            findings.push(Finding::new(
                LIMITS,
                format!("lists {path}, which has no `unsafe`"),
                "remove the entry",
            ));
        }
        if why.trim().is_empty() {
            findings.push(Finding::new(
                LIMITS,
                format!("gives no reason for {path}"),
                "say why it needs `unsafe`",
            ));
        }
    }
    findings
}

/// Whether a line opens an unsafe block or declares something unsafe; the word in comments and strings does not count.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("unsafe").any(|(at, word)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].trim_start();
        let quoted = code[..at].replace("\\\"", "").matches('"').count() % 2 == 1;
        let is_word = before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_');
        let opens = after.is_empty()
            || ["{", "(", "fn ", "impl", "extern", "trait "].iter().any(|next| after.starts_with(next));
        is_word && opens && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_and_its_name_is_not() {
        let check = |line: &str, expected| assert_eq!(has_unsafe(line), expected, "{line}");
        check("    let x = unsafe { *p };", true);
        check("unsafe impl Send for X {}", true);
        check("pub unsafe fn read() {", true);
        check("unsafe extern \"C\" {", true);
        check("#[unsafe(no_mangle)]", true);
        check("    let x = unsafe", true);
        check("#![allow(unsafe_code)]", false);
        check("// an unsafe { block }", false);
        check("let is_unsafe = \"unsafe {\";", false);
    }
}
