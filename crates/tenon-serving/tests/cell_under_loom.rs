//! The generation cell under loom: the file that ships, with loom's atomics under it.
//!
//! Loom runs every interleaving that the memory model allows and fails on a reference that is used after
//! its count went to zero.

// One stripe is a modulo of one, and a module of a test is seen by nobody.
#[allow(clippy::modulo_one, unreachable_pub)]
#[path = "../src/cell.rs"]
mod cell;

/// What `crate::sync` is for the file under test. One stripe is the hardest case.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex};
    pub(crate) use loom::thread::yield_now as give_way;

    pub(crate) const STRIPES: usize = 1;
}

use cell::Cell;
use sync::Arc;

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
