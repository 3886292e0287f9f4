//! How the system's allocator gives memory back.
//!
//! glibc raises the size from which a block is a mapping of its own whenever a large one is freed, up to
//! 32 MiB. After a few models have come and gone their weights lie in the heap, where whatever stands
//! behind them keeps them from going back: over 1,000 loads of a detector the process wandered between 85
//! and 112 MB, with the size held it stayed between 52 and 59 MB (`docs/runtimes-onnx.md`).

#![allow(unsafe_code)]

/// Blocks from this size on go back to the system when they are freed. Bodies of requests with a picture or two in them stay
/// below it: a mapping of their own would cost each request a fault a page.
const OWN_MAPPING: libc::c_int = 1 << 20;

/// What an arena keeps at its end instead of giving it back with every free.
const KEPT: libc::c_int = 4 << 20;

/// Holds the size. Called once, before there are threads.
pub fn give_back_large_blocks() {
    // SAFETY: `mallopt` takes two numbers each time and changes the allocator's own settings; no other thread exists.
    // Where it refuses, memory goes back later than it could, and nothing else.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}
