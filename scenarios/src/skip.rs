//! Tests that cannot run where they are say so (CONTRIBUTING.md, "A test that cannot run everywhere").

/// Says on a line of its own that the test on this thread is skipped, and why.
#[allow(clippy::print_stderr, reason = "the one line that `cargo xtask test` looks for")]
pub fn skip(reason: &str) {
    eprintln!("SKIPPED: {}: {reason}", std::thread::current().name().unwrap_or("?"));
}
