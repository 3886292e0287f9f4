//! Rule: a foreign dependency that we may want to exchange is known to one crate only.
//!
//! Tests may use more; `bench` compares with the bare thing and so needs it bare.

use super::Finding;
use crate::house::House;

/// Dependency, who may have it, what others do instead.
const DEPENDENCIES: [(&str, &[&str], &str); 9] = [
    ("ort", &["tenon-onnx", "tenon-bench"], "load ONNX models through the traits of tenon-runtime"),
    ("zune-jpeg", &["tenon-vision", "tenon-bench"], "decode pictures in tenon-vision"),
    ("image-webp", &["tenon-vision"], "decode pictures in tenon-vision"),
    ("png", &["tenon-vision"], "decode and encode pictures in tenon-vision"),
    ("fast_image_resize", &["tenon-vision", "tenon-bench"], "resize pictures in tenon-vision"),
    ("font8x8", &["tenon-vision"], "draw in tenon-vision"),
    ("sqlx", &["tenon-catalog"], "ask the catalog"),
    ("object_store", &["tenon-store"], "ask the store"),
    ("axum", &["tenon-api", "tenon-bench"], "answer requests in tenon-api"),
];

/// Some dependencies hold clients and servers: path in the source, folders that may write it, what others do instead.
const PATHS: [(&str, &[&str], &str); 3] = [
    ("hyper::server", &["crates/tenon-api/", "bench/"], "answer requests in tenon-api"),
    ("hyper_util::server", &["crates/tenon-api/", "bench/"], "answer requests in tenon-api"),
    ("hyper_util::service", &["crates/tenon-api/", "bench/"], "answer requests in tenon-api"),
];

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = dependencies(house);
    findings.extend(paths(house));
    findings
}

fn dependencies(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &house.packages {
        for used in package.dependencies.iter().filter(|dependency| dependency.is_normal()) {
            let owned = DEPENDENCIES
                .iter()
                .find(|(name, owners, _)| *name == used.name && !owners.contains(&package.name.as_str()));
            if let Some((name, owners, instead)) = owned {
                findings.push(Finding::new(
                    format!("crate {}", package.name),
                    format!("depends on {name}, which belongs to {}", owners.join(" and ")),
                    *instead,
                ));
            }
        }
    }
    findings
}

fn paths(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &house.sources {
        let foreign = || {
            PATHS.iter().filter(|(_, owners, _)| !owners.iter().any(|owner| source.path.starts_with(owner)))
        };
        for (number, line) in source.shipped_lines() {
            let code = line.split("//").next().unwrap_or_default();
            for (path, owners, instead) in foreign().filter(|(path, _, _)| code.contains(path)) {
                findings.push(Finding::new(
                    format!("{}:{number}", source.path),
                    format!("names {path}, which belongs to {}", owners.join(" and ")),
                    *instead,
                ));
            }
        }
    }
    // This very file lists the paths.
    findings.retain(|finding| !finding.place.starts_with("xtask/"));
    findings
}
