//! The atomics under [`crate::cell`]. `tests/cell_under_loom.rs` puts loom's in their place.

pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Mutex};
pub(crate) use std::thread::yield_now as give_way;

/// Readers of a cell spread over this many counts, so that cores do not share a cache line.
pub(crate) const STRIPES: usize = 16;
