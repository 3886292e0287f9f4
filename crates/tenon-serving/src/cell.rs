//! The cell that holds the current generation.
//!
//! Reading is one atomic load of the pointer between two counts on a stripe of the reader's own: no
//! lock, no wait, whatever the writer does. Writing exchanges the pointer and then waits until every
//! reader that may have seen the old pointer has taken its own reference. The type is checked by loom
//! (`RUSTFLAGS="--cfg loom" cargo test -p tenon-serving --release cell`) as it ships, only with the
//! atomics exchanged, and compared with a mutex as its safe twin.
//!
//! # Why it is sound
//! The pointer always comes from `Arc::into_raw` and the cell owns one count of what it points to.
//! A reader adds to its stripe (1), loads the pointer (2), takes a count on it (3), leaves the stripe
//! (4). A writer exchanges the pointer (5), then sees each stripe at zero (6), then lets the old count
//! go. All of (1), (2), (5), (6) are sequentially consistent. If a reader loaded the old pointer, its
//! (2) stands before (5), so its (1) stands before (6) as well; (6) sees zero only after its (4), which
//! releases (3). So the count taken in (3) happens before the writer lets go.

#![allow(unsafe_code)]

#[cfg(loom)]
use loom::sync::{
    Arc, Mutex,
    atomic::{AtomicPtr, AtomicUsize, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicPtr, AtomicUsize, Ordering},
};

/// Readers spread over this many counts, so that cores do not share a cache line. Loom checks the
/// hardest case, one.
const STRIPES: usize = if cfg!(loom) { 1 } else { 16 };

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
        stripe.fetch_add(1, Ordering::SeqCst);
        let pointer = self.current.load(Ordering::SeqCst).cast_const();
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
        let old = self.current.swap(Arc::into_raw(value).cast_mut(), Ordering::SeqCst);
        for stripe in &self.readers {
            // A reader stands in a stripe for a few instructions; one that lost its core there is
            // waited for, readers never are.
            while stripe.0.load(Ordering::SeqCst) != 0 {
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
        let pointer = self.current.load(Ordering::SeqCst).cast_const();
        // SAFETY: `&mut self`: nobody reads any more; this is the cell's own count.
        drop(unsafe { Arc::from_raw(pointer) });
    }
}

#[cfg(not(loom))]
fn give_way() {
    std::thread::yield_now();
}

#[cfg(loom)]
fn give_way() {
    loom::thread::yield_now();
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

#[cfg(all(test, loom))]
mod model {
    use super::*;

    #[test]
    fn readers_see_whole_values_and_never_an_older_one() {
        loom::model(|| {
            let cell = Arc::new(Cell::new(Arc::new(0)));
            let reader = {
                let cell = cell.clone();
                loom::thread::spawn(move || {
                    let (first, second) = (cell.load(), cell.load());
                    assert!(*first <= *second, "went back");
                })
            };
            let old = cell.swap(Arc::new(1));
            assert_eq!(*old, 0);
            drop(old);
            assert_eq!(*cell.load(), 1, "not what was published");
            reader.join().expect("a reader");
        });
    }

    #[test]
    fn two_writers_lose_nothing() {
        loom::model(|| {
            let cell = Arc::new(Cell::new(Arc::new(0)));
            let writer = {
                let cell = cell.clone();
                loom::thread::spawn(move || *cell.swap(Arc::new(1)))
            };
            let mine = *cell.swap(Arc::new(2));
            let theirs = writer.join().expect("a writer");
            let mut seen = [mine, theirs, *cell.load()];
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2]);
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The safe twin.
    struct Locked<T>(Mutex<Arc<T>>);

    impl<T> Locked<T> {
        fn load(&self) -> Arc<T> {
            self.0.lock().unwrap().clone()
        }

        fn swap(&self, value: Arc<T>) -> Arc<T> {
            std::mem::replace(&mut self.0.lock().unwrap(), value)
        }
    }

    #[test]
    fn does_what_its_safe_twin_does() {
        let (cell, twin) = (Cell::new(Arc::new(0)), Locked(Mutex::new(Arc::new(0))));
        for value in 1..100 {
            assert_eq!(cell.swap(Arc::new(value)), twin.swap(Arc::new(value)));
            assert_eq!(cell.load(), twin.load());
        }
        let last = cell.load();
        drop(cell);
        assert_eq!(Arc::strong_count(&last), 1, "the cell let its count go");
    }

    #[test]
    fn holds_under_load() {
        let cell = Cell::new(Arc::new(vec![0u64; 8]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut last = 0;
                    for _ in 0..50_000 {
                        let value = cell.load();
                        assert!(value.iter().all(|part| *part == value[0]) && value[0] >= last);
                        last = value[0];
                    }
                });
            }
            for round in 1..2_000 {
                drop(cell.swap(Arc::new(vec![round; 8])));
            }
        });
    }
}
