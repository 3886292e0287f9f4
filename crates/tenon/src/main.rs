//! The Tenon binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenon::allocator::give_back_large_blocks();
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        // A prover has nothing to do with the command line.
        (Some(first), Some(task)) if first == tenon::child::ARGUMENT => tenon::child::main(&task),
        _ => tenon::cli::main(),
    }
}
