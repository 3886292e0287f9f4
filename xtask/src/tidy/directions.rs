//! Rule: a crate uses only what the table of DESIGN.md, "The house", lets it use.
//!
//! Normal dependencies only: tests may look further.

use super::Finding;
use crate::house::House;

/// Which crates of ours a crate may use.
enum May {
    Use(&'static [&'static str]),
    UseEverything,
}

const TABLE: [(&str, May); 15] = [
    ("tenon-contract", May::Use(&[])),
    ("tenon-codec", May::Use(&["tenon-contract"])),
    ("tenon-runtime", May::Use(&["tenon-contract"])),
    ("tenon-onnx", May::Use(&["tenon-contract", "tenon-runtime"])),
    ("tenon-vision", May::Use(&["tenon-contract", "tenon-runtime"])),
    ("tenon-store", May::Use(&["tenon-contract"])),
    ("tenon-catalog", May::Use(&["tenon-contract"])),
    ("tenon-serving", May::Use(&["tenon-contract", "tenon-runtime", "tenon-store"])),
    (
        "tenon-control",
        May::Use(&["tenon-contract", "tenon-codec", "tenon-catalog", "tenon-store", "tenon-runtime"]),
    ),
    ("tenon-client", May::Use(&["tenon-contract", "tenon-codec"])),
    (
        "tenon-api",
        May::Use(&[
            "tenon-contract",
            "tenon-codec",
            "tenon-serving",
            "tenon-control",
            "tenon-catalog",
            "tenon-store",
        ]),
    ),
    ("tenon", May::UseEverything),
    // They stand outside and look at all of it, or at none.
    ("tenon-bench", May::UseEverything),
    ("tenon-scenarios", May::Use(&["tenon-contract", "tenon-codec", "tenon-client"])),
    ("xtask", May::Use(&[])),
];

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &house.packages {
        let place = format!("crate {}", package.name);
        let Some((_, may)) = TABLE.iter().find(|(name, _)| *name == package.name) else {
            findings.push(Finding::new(
                place,
                "has no place in the house",
                "say in DESIGN.md and xtask/src/tidy/directions.rs what it may use and why it exists, or make it a module",
            ));
            continue;
        };
        let May::Use(allowed) = may else { continue };
        let used = package.dependencies.iter().filter(|dependency| dependency.is_normal());
        for used in used.map(|dependency| dependency.name.as_str()) {
            let ours = house.packages.iter().any(|package| package.name == used);
            if ours && !allowed.contains(&used) {
                findings.push(Finding::new(
                    &place,
                    format!("uses {used}, which it must not know"),
                    format!(
                        "it may use: {}. Put a trait where it is needed and let the tenon crate join the two",
                        list(allowed)
                    ),
                ));
            }
        }
    }
    findings
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none of ours".into() } else { names.join(", ") }
}
