//! `cargo xtask tidy`: rules of the house that the compiler does not hold. One module a rule.
//!
//! A rule looks at the [`House`] and reports findings: where, what, and what to do. The same rules run as tests, so that
//! `cargo test` holds them. Exceptions stand by name in `xtask/limits.toml`, each with its reason.

use std::fmt;

use anyhow::{Result, bail};

use crate::house::House;

mod directions;
mod headers;
mod names;
mod owners;
mod sizes;
mod unsafety;

/// All rules, by name.
const RULES: [(&str, Rule); 6] = [
    ("directions", directions::check),
    ("owners", owners::check),
    ("sizes", sizes::check),
    ("headers", headers::check),
    ("unsafety", unsafety::check),
    ("names", names::check),
];

type Rule = fn(&House) -> Vec<Finding>;

/// One breach of a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    place: String,
    what: String,
    to_do: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), to_do: to_do.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.place, self.what, self.to_do)
    }
}

/// Reports every breach of every rule.
pub(crate) fn check() -> Result<()> {
    let house = House::read()?;
    let mut found = 0;
    for (rule, check) in RULES {
        for finding in check(&house) {
            eprintln!("[{rule}] {finding}");
            found += 1;
        }
    }
    if found > 0 {
        bail!("the house is not tidy: {found} finding(s)");
    }
    eprintln!("the house is tidy: {} files, {} rules", house.sources.len(), RULES.len());
    Ok(())
}

/// Lowers the exceptions of `xtask/limits.toml` to the present numbers; raises none.
pub(crate) fn update() -> Result<()> {
    sizes::lower_exceptions(&House::read()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_holds(rule: Rule) {
        let findings = rule(&House::read().unwrap());
        let findings: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "{} finding(s)\n{}", findings.len(), findings.join("\n"));
    }

    #[test]
    fn crates_depend_in_the_allowed_directions() {
        assert_holds(directions::check);
    }

    #[test]
    fn foreign_dependencies_stay_with_their_owners() {
        assert_holds(owners::check);
    }

    #[test]
    fn files_and_functions_keep_their_sizes() {
        assert_holds(sizes::check);
    }

    #[test]
    fn every_file_says_what_it_is() {
        assert_holds(headers::check);
    }

    #[test]
    fn unsafe_stands_where_it_is_listed() {
        assert_holds(unsafety::check);
    }

    #[test]
    fn names_say_something() {
        assert_holds(names::check);
    }
}
