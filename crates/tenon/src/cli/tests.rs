//! Every help text as a file, the reference pages made of commands and keys, and the command line's own grammar.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use toml::Value;

use super::*;
use crate::config::{KEYS, variable_of};

/// Compares one text with its file, or writes it when asked to.
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
        "{name} is another than the program says; look at it, then `TENON_BLESS=1 cargo test --release -p tenon cli` \
         writes it:\n{text}"
    );
}

fn help(command: &mut clap::Command) -> String {
    command.render_long_help().to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The whole command line, with every default in its place.
fn command() -> clap::Command {
    let mut command = Cli::command().term_width(100);
    command.build();
    command
}

/// A page of the reference.
fn page(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name)
}

/// Checks the help of a command and of those below it; gives the names of their files.
fn walk(command: &mut clap::Command, name: &str, folder: &Path) -> BTreeSet<String> {
    let file = format!("{}.txt", name.replace(' ', "-"));
    check(&folder.join(&file), &help(command));
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
    let files = walk(&mut command(), "tenon", &folder);
    let held = std::fs::read_dir(&folder).unwrap();
    let held: BTreeSet<String> =
        held.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(held, files, "help/ holds one file for each command");
}

/// The sections of a command and of those below it.
fn sections(command: &mut clap::Command, name: &str, text: &mut String) {
    let _ = write!(text, "\n## {name}\n\n```text\n{}```\n", help(command));
    for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
        let name = format!("{name} {}", below.get_name());
        sections(below, &name, text);
    }
}

#[test]
fn the_reference_of_commands_is_as_reviewed() {
    let mut text =
        "# The command line\n\nWhat `tenon COMMAND --help` says; made of the program, do not edit.\n"
            .to_owned();
    sections(&mut command(), "tenon", &mut text);
    check(&page("cli.md"), &text);
}

/// What a key takes. Names say what texts are: the ends of keys are chosen for it.
fn kind(name: &str, default: &Value) -> &'static str {
    let is_path = ["_file", "library", "data", "folder"].iter().any(|end| name.ends_with(end));
    match default {
        Value::Boolean(_) => "`true` or `false`",
        Value::Integer(_) => "whole number",
        Value::Float(_) => "number",
        Value::Array(_) => "list of texts",
        _ if name.ends_with("_bytes") => "size: `64MiB`, `8GiB`, bytes",
        _ if is_path => "path",
        _ => "text",
    }
}

#[test]
fn the_reference_of_settings_is_as_reviewed() {
    let mut text = "# Settings of the server\n\n\
        Made of the table of keys in the program, do not edit. A value comes from, the later winning over the earlier: its\n\
        default, `tenon.toml` (or the file that `--config` or `TENON_CONFIG` names), the environment, flags. \
        `limits.in_flight` is the\nfield `in_flight` of the section `[limits]` in the file, \
        `TENON_LIMITS_IN_FLIGHT` in the environment and `--set limits.in_flight=100`\non the command line. Lists are \
        separated by commas in the environment. `tenon config` shows every value with its origin.\n\n\
        | key | takes | default | environment | |\n|---|---|---|---|---|\n"
        .to_owned();
    for key in KEYS {
        let default = match (key.default)() {
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        };
        let kind = kind(key.name, &(key.default)());
        let (name, variable) = (key.name, variable_of(key.name));
        let _ = writeln!(
            text,
            "| `{name}` | {kind} | {default} | `{variable}` | {} |",
            key.about.replace('|', "\\|").replace('<', "&lt;")
        );
    }
    check(&page("config.md"), &text);
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
