//! Proving in a child process, so that what crashes, loops or eats memory there never reaches the node.
//!
//! The child is this very binary, started again. It gets the blob as its standard input and nothing
//! else: no environment of its own, no working folder, no secrets. It verifies the bytes itself, bounds itself
//! (`cage.rs`), then loads and proves them with the same code as the node. The server judges how it
//! ended (`verdict.rs`); whatever happened, the artifact is proven or refused with a reason.

mod cage;
mod limits;
mod measure;
mod parent;
mod processor;
mod prove;
mod verdict;
mod words;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

pub use limits::ChildLimits;
pub use parent::ChildProver;
pub use processor::processor;

/// The hidden first argument that makes this binary a prover.
pub const ARGUMENT: &str = "internal-prove";

/// The task of a child that only tries its cage out.
const TRY_OUT: &str = "try-out";

/// The whole program, when its first argument is [`ARGUMENT`]; `task` is the second.
pub fn main(task: &str) -> ExitCode {
    if task != TRY_OUT {
        return prove::run(task);
    }
    match cage::try_out() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Standard error is where the one who asked reads the reason.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), reason.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Whether a proving child started from `program` is really barred from what it must not do. Blocks.
///
/// # Errors
/// It is not: why, or what got through.
pub fn try_out(program: &Path) -> Result<(), String> {
    let tried = Command::new(program).args([ARGUMENT, TRY_OUT]).env_clear().stdin(Stdio::null()).output();
    match tried {
        Ok(tried) if tried.status.success() => Ok(()),
        Ok(tried) if tried.stderr.is_empty() => Err(format!("the proving child ended with {}", tried.status)),
        Ok(tried) => Err(String::from_utf8_lossy(&tried.stderr).into_owned()),
        Err(error) => Err(format!("start {}: {error}", program.display())),
    }
}
