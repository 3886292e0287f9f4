//! What the end of a proving child means for the artifact.
//!
//! Pure: words, exit status and the end of standard error go in, a finding or a fault comes out.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use tenon_contract::{Fault, FaultKind};
use tenon_control::Finding;

use super::limits::ChildLimits;
use super::words::Word;

/// What engines and Rust say when they are given no more memory.
const OUT_OF_MEMORY: [&str; 5] = [
    "bad_alloc",
    "bad allocation",
    "memory allocation of",
    "Failed to allocate memory",
    "Cannot allocate memory",
];

/// All that is known of a child that has ended.
pub(super) struct End<'a> {
    /// The last word it said.
    pub(super) last: Option<Word>,
    /// What its model was being done with when it ended: `loaded`, `proven`.
    pub(super) doing: &'static str,
    /// How it ended.
    pub(super) status: ExitStatus,
    /// The end of its standard error.
    pub(super) stderr: &'a str,
}

/// The verdict over the artifact.
pub(super) fn judge(end: End<'_>, limits: &ChildLimits, memory_bytes: u64) -> Result<Finding, Fault> {
    let out_of_memory = |text: &str| OUT_OF_MEMORY.iter().any(|words| text.contains(words));
    let memory = || {
        let mib = memory_bytes >> 20;
        Fault::invalid(format!(
            "model needed more than {mib} MiB while it was {} (`prover.memory_bytes`)",
            end.doing
        ))
    };
    match (end.last, end.status.signal()) {
        (Some(Word::Proven { finding }), None) if end.status.success() => Ok(*finding),
        (Some(Word::Refused { fault }), _) if out_of_memory(&fault.text) => Err(memory()),
        (Some(Word::Refused { fault }), _) => Err(fault),
        (_, Some(libc::SIGXCPU)) => Err(Fault::invalid(format!(
            "model did not finish within {} s of computing while it was {} (`prover.cpu_s`)",
            limits.cpu_s, end.doing
        ))),
        (_, Some(_)) if out_of_memory(end.stderr) => Err(memory()),
        (_, Some(libc::SIGKILL)) => Err(Fault::invalid(format!(
            "model was killed by the system while it was {} (signal 9): the machine may have run out of memory",
            end.doing
        ))),
        (_, Some(signal)) => {
            Err(Fault::invalid(format!("model crashed while it was {} (signal {signal})", end.doing)))
        }
        (_, None) => {
            let code = end.status.code().unwrap_or_default();
            Err(Fault::invalid(format!(
                "model ended its prover while it was {} (exit code {code})",
                end.doing
            )))
        }
    }
}

/// The verdict over an artifact whose child was still working when its time was over.
pub(super) fn too_slow(doing: &str, limits: &ChildLimits) -> Fault {
    let seconds = limits.wall_s;
    Fault::invalid(format!("model did not finish within {seconds} s while it was {doing} (`prover.wall_s`)"))
}

/// The verdict over an artifact whose child said what no prover says.
pub(super) fn garbled(doing: &str) -> Fault {
    Fault::new(
        FaultKind::Invalid,
        format!("model disturbed its prover while it was {doing}: it wrote what is no verdict"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(last: Option<Word>, status: i32, stderr: &str, expected: &str) {
        let end = End { last, doing: "loaded", status: ExitStatus::from_raw(status), stderr };
        let fault = judge(end, &ChildLimits::default(), 4 << 30).unwrap_err();
        assert!(fault.text.contains(expected), "{fault} does not say `{expected}`");
        assert_eq!(fault.kind, FaultKind::Invalid);
    }

    #[test]
    fn ends_are_told_apart() {
        let refused = |text: &str| Some(Word::Refused { fault: Fault::invalid(text) });
        check(None, libc::SIGSEGV, "", "crashed while it was loaded (signal 11)");
        check(None, libc::SIGABRT, "", "crashed while it was loaded (signal 6)");
        check(None, libc::SIGABRT, "memory allocation of 99 bytes failed", "needed more than 4096 MiB");
        check(None, libc::SIGXCPU, "", "within 60 s of computing");
        check(None, libc::SIGKILL, "", "run out of memory");
        check(None, 0, "", "exit code 0");
        check(None, 3 << 8, "", "exit code 3");
        check(refused("graph has no outputs"), 0, "", "graph has no outputs");
        check(refused("std::bad_alloc"), 0, "", "needed more than 4096 MiB");
        check(Some(Word::Loaded), libc::SIGSEGV, "", "signal 11");
    }
}
