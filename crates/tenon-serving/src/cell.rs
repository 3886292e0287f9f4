//! The cell that holds the current generation.
//!
//! Reading is one atomic load of the pointer between two counts on a stripe of the reader's own: no
//! lock, no wait, whatever the writer does. Writing exchanges the pointer and then waits until every
//! reader that may have seen the old pointer has taken its own reference. `tests/cell_under_loom.rs` checks
//! this very file with loom's atomics in the place of [`crate::sync`]; `cell_twin.rs` compares it with a
//! mutex as its safe twin.
//!
//! # Why it is sound
//! The pointer always comes from `Arc::into_raw` and the cell owns one count of what it points to.
//! A reader adds one to its stripe (1), loads the pointer (2), takes a count on it (3) and takes its one
//! back (4). A writer exchanges the pointer (5), finds each stripe at zero (6), then lets the old count
//! go. (1), (4) and (6) are read-modify-writes of one atomic, so they stand in one order:
//! - (6) before (1): (1) acquires what (6) released, so (2) sees the exchange (5) and not the old pointer;
//! - (1) before (6): (6) found zero, so (4) stands before it too, and (6) acquires what (4) released: the
//!   count (3) was taken before the writer lets go.

#![allow(unsafe_code)]

use crate::sync::{Arc, AtomicPtr, AtomicUsize, Mutex, Ordering, STRIPES, give_way};

/// A count on a cache line of its own.
#[repr(align(128))]
struct Stripe(AtomicUsize);

/// Holds an `Arc` that readers take without a lock.
pub struct Cell<T> {
    current: AtomicPtr<T>,
    readers: Vec<Stripe>,
    writer: Mutex<()>,
}

impl<T> Cell<T> {
    /// Holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        Self {
            current: AtomicPtr::new(Arc::into_raw(value).cast_mut()),
            readers: (0..STRIPES).map(|_| Stripe(AtomicUsize::new(0))).collect(),
            writer: Mutex::new(()),
        }
    }

    /// The current value. Never waits.
    pub fn load(&self) -> Arc<T> {
        let stripe = &self.readers[own_stripe()].0;
        stripe.fetch_add(1, Ordering::Acquire);
        let pointer = self.current.load(Ordering::Acquire).cast_const();
        // SAFETY: the pointer comes from `Arc::into_raw`, and the cell's own count on it is not let go
        // before our stripe is back at zero (see the head of this file).
        let value = unsafe {
            Arc::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        };
        stripe.fetch_sub(1, Ordering::Release);
        value
    }

    /// Puts `value` in place and gives the old one back. Readers that begin after the exchange see
    /// the new value; the call returns when no reader is between seeing the old one and holding it.
    pub fn swap(&self, value: Arc<T>) -> Arc<T> {
        let turn = self.writer.lock();
        let old = self.current.swap(Arc::into_raw(value).cast_mut(), Ordering::AcqRel);
        for stripe in &self.readers {
            // A reader stands in a stripe for a few instructions; one that lost its core there is
            // waited for, readers never are.
            while stripe.0.fetch_add(0, Ordering::AcqRel) != 0 {
                give_way();
            }
        }
        drop(turn);
        // SAFETY: `old` was made by `Arc::into_raw` when it was put in place, and this is the one count
        // that the cell held.
        unsafe { Arc::from_raw(old.cast_const()) }
    }
}

impl<T> Drop for Cell<T> {
    fn drop(&mut self) {
        let pointer = self.current.load(Ordering::Acquire).cast_const();
        // SAFETY: `&mut self`: nobody reads any more; this is the cell's own count.
        drop(unsafe { Arc::from_raw(pointer) });
    }
}

/// The stripe of this thread.
fn own_stripe() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| own % STRIPES)
}
