//! The guides tell the truth: what they say to type is typed, and what they show is seen.

use std::path::PathBuf;

use tenon_scenarios::binary::repository;
use tenon_scenarios::{guide, skip, stage};

fn play(name: &str) {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        return skip("curl, which the guides use, is not installed");
    }
    let page = std::fs::read_to_string(repository().join("docs/guides").join(name)).unwrap();
    let played = guide::story(name, &page).and_then(stage::play_story);
    if let Err(error) = played {
        panic!("{error:#}");
    }
}

#[test]
fn five_minute_tour() {
    play("five-minute-tour.md");
}

#[test]
fn swap_safely() {
    play("swap-safely.md");
}

/// Every link to a file of the repository leads to one, from every page.
#[test]
fn links_lead_somewhere() {
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md"]
        .map(|name| repository().join(name))
        .into();
    let mut folders = vec![repository().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    let mut broken = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_ours = !file.is_empty() && !file.contains("://") && !file.contains(' ');
            if is_ours && !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}
