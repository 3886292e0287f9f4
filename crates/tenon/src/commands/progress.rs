//! Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing where nobody looks.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// Progress of one command.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: String,
}

impl Progress {
    /// Progress that is drawn when stderr is a terminal; `quiet` shows nothing at all.
    pub fn new(quiet: bool) -> Self {
        let draws = !quiet && std::io::stderr().is_terminal();
        let bar = draws.then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        Self { bar, quiet, last: String::new() }
    }

    /// Says what is being done. Said twice in a row, it shows once.
    pub fn note(&mut self, text: &str) {
        if self.last == text {
            return;
        }
        text.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.println(text),
            None if !self.quiet => output::note(text),
            None => {}
        }
    }

    /// Draws bytes done of bytes in all.
    pub fn bytes(&self, what: &'static str, done: u64, total: u64) {
        self.draw("{msg:10} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}", what, done, total);
    }

    /// Draws steps done of steps in all.
    pub fn steps(&self, what: &'static str, done: u64, total: u64) {
        self.draw("{msg:10} [{bar:30}] {pos}/{len} {eta}", what, done, total);
    }

    fn draw(&self, template: &str, what: &'static str, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(total) || bar.message() != what {
            bar.reset();
            bar.set_length(total);
            bar.set_message(what);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
        }
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
