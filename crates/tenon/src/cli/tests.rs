//! Every help text as a file, and the command line's own grammar.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;

use super::*;

/// Compares one help text with its file, or writes it when asked to.
fn check(path: &Path, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "a switch of this test, no configuration")]
    let bless = std::env::var_os("TENON_BLESS").is_some();
    if bless {
        std::fs::write(path, text).unwrap();
    }
    let held = std::fs::read_to_string(path).unwrap_or_default();
    let name = path.display();
    assert!(
        held == text,
        "{name} is another than the help; look at it, then TENON_BLESS=1 writes it:\n{text}"
    );
}

/// Checks the help of a command and of those below it; gives the names of their files.
fn walk(command: &mut clap::Command, name: &str, folder: &Path) -> BTreeSet<String> {
    let file = format!("{}.txt", name.replace(' ', "-"));
    let text: String =
        command.render_long_help().to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect();
    check(&folder.join(&file), &text);
    let mut files = BTreeSet::from([file]);
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for below in names.iter().filter(|below| *below != "help") {
        let path = format!("{name} {below}");
        if let Some(command) = command.find_subcommand_mut(below) {
            files.extend(walk(command, &path, folder));
        }
    }
    files
}

#[test]
fn help_is_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("help");
    let mut command = Cli::command().term_width(100);
    command.build();
    let files = walk(&mut command, "tenon", &folder);
    let held = std::fs::read_dir(&folder).unwrap();
    let held: BTreeSet<String> =
        held.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(held, files, "help/ holds one file for each command");
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
    let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
    for good in [
        "tenon push digits model.onnx --example e.json",
        "tenon swap digits digits/2 --dry-run",
        "tenon bench swap --to digits/2 --every 250ms --load 60%",
        "tenon bench infer digits --rate 100 --duration 1s",
        "tenon receipts --verify --file x --key y",
        "tenon jobs abc --follow",
    ] {
        assert!(parses(good), "{good}");
    }
    for bad in [
        "tenon swap digits",
        "tenon swap digits digits/0",
        "tenon push a/b model.onnx",
        "tenon receipts digits --key y",
        "tenon bench infer --rate 1 --closed",
        "tenon jobs --follow",
    ] {
        assert!(!parses(bad), "{bad}");
    }
}
