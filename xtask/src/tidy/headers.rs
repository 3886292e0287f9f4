//! Rule: every file begins by saying what it is.

use super::Finding;
use crate::house::{House, Source};

pub(super) fn check(house: &House) -> Vec<Finding> {
    house.sources.iter().filter(|source| !has_header(source)).map(finding).collect()
}

fn has_header(source: &Source) -> bool {
    source
        .text
        .strip_prefix("//!")
        .and_then(|rest| rest.lines().next())
        .is_some_and(|first| !first.trim().is_empty())
}

fn finding(source: &Source) -> Finding {
    Finding::new(
        format!("{}:1", source.path),
        "does not begin with `//!`",
        "say in the first lines what the file is, where it stands in the flow, and what always holds in it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_sentence() {
        let check = |text: &str, expected| {
            let source = Source { path: "a.rs".into(), text: text.into() };
            assert_eq!(has_header(&source), expected, "{text:?}");
        };
        check("//! What it is.\nfn a() {}", true);
        check("", false);
        check("//!\nfn a() {}", false);
        check("fn a() {}", false);
        check("#![allow(x)]\n//! Too late.", false);
    }
}
