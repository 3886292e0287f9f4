//! Memory comes back. A test binary of its own, so that nothing else moves the process's memory.

mod support;

use tenon_runtime::runtime_suite;

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

runtime_suite!(@ support::case(resident), memory_comes_back);
