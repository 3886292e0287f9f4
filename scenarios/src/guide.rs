//! Guides as stories: what a page of `docs/guides` tells people to type is typed, and what it shows must be seen.
//!
//! The words behind the three backticks say what a block is:
//!
//! * `sh server`: the line that starts the server; its flags are those of the story.
//! * `sh run`: is run, and ends with 0.
//! * `sh fails`: is run, and does not.
//! * `text` right behind one of the two: what it says. Each line is to be seen, `...` stands for anything.
//!
//! Every other block is not run: it takes too long, or changes the machine.

use anyhow::{Context as _, Result, ensure};

use crate::story::{Action, Expect, Setup, Step, Story};

/// Where a guide says that the server is.
const ADDRESS: &str = "localhost:8080";

/// One block of a page.
struct Block<'a> {
    /// The words behind the backticks.
    kind: &'a str,
    text: String,
    /// Its first line in the page, from 1.
    line: usize,
}

/// The story of a page.
///
/// # Errors
/// There is nothing to run in it, or more than one server.
pub fn story(name: &str, page: &str) -> Result<Story> {
    let (mut steps, mut server) = (Vec::<Step>::new(), None);
    let mut runs = false;
    for block in blocks(page) {
        match block.kind {
            "sh server" => {
                ensure!(server.is_none(), "{name}:{}: a second server", block.line);
                server = Some(flags(&block.text).with_context(|| format!("{name}:{}", block.line))?);
            }
            "sh run" => steps.push(step(name, &block, 0)),
            "sh fails" => steps.push(step(name, &block, 1)),
            "text" if runs => {
                let said = steps.last_mut().context("a block before it")?;
                let parts = block.text.lines().flat_map(|line| line.split("..."));
                said.expect.text.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
            }
            _ => {}
        }
        runs = matches!(block.kind, "sh run" | "sh fails");
    }
    ensure!(!steps.is_empty(), "{name}: nothing to run in it");
    let flags = server.with_context(|| format!("{name}: no block starts the server"))?;
    Ok(Story { about: name.to_owned(), server: Setup { flags, ..Setup::default() }, steps })
}

fn step(name: &str, block: &Block<'_>, code: i64) -> Step {
    // The shell knows the port of the story.
    let line = block.text.replace(ADDRESS, "localhost:$port");
    Step {
        what: format!("{name}:{}", block.line),
        action: Action::Run(line),
        expect: Expect { code, ..Expect::default() },
    }
}

/// The flags behind `tenon serve`.
fn flags(line: &str) -> Result<Vec<String>> {
    let words = line.trim().strip_prefix("tenon serve").context("a server is started with `tenon serve`")?;
    Ok(words.split_whitespace().map(str::to_owned).collect())
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some(Block { kind, text: String::new(), line: index + 1 }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_steps() {
        let page = "# A\n```sh server\ntenon serve --demo x\n```\n```sh run\ncurl localhost:8080/a\n```\n\n\
            ```text\none...two\nthree\n```\n```sh\nrm -rf /\n```\n```text\nfour\n```\n```sh fails\nfalse\n```\n";
        let story = story("page.md", page).unwrap();
        assert_eq!(story.server.flags, ["--demo", "x"]);
        let steps: Vec<_> =
            story.steps.iter().map(|step| format!("{:?} {}", step.action, step.expect.code)).collect();
        assert_eq!(steps, ["Run(\"curl localhost:$port/a\\n\") 0", "Run(\"false\\n\") 1"]);
        assert_eq!(story.steps[0].expect.text, ["one", "two", "three"]);
        assert!(story.steps[1].expect.text.is_empty());
    }

    #[test]
    fn a_page_without_anything_to_run_is_refused() {
        assert!(story("page.md", "# A\n```sh\nls\n```\n").is_err());
        assert!(story("page.md", "```sh run\nls\n```\n").is_err());
    }
}
