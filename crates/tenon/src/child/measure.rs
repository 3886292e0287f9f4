//! What this process holds in memory, as the kernel counts it. 0 where it does not tell.

use std::fs;

/// Bytes of its own now: without the pages of files, which a process only borrows.
pub(crate) fn held() -> u64 {
    // The counters of `status` lag behind by pages of every processor; this one is summed up on the spot.
    read("/proc/self/smaps_rollup", "Anonymous:")
}

/// Bytes resident now, files included.
pub(crate) fn resident() -> u64 {
    read("/proc/self/smaps_rollup", "Rss:")
}

/// Most bytes that were ever resident, files included.
pub(crate) fn peak() -> u64 {
    read("/proc/self/status", "VmHWM:")
}

fn read(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn sees_what_is_touched() {
        let before = held();
        let kept = black_box(vec![1u8; 64 << 20]);
        let after = held();
        assert!(after >= before + (63 << 20) && resident() >= after && peak() >= 64 << 20, "{}", kept.len());
    }
}
