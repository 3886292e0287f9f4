//! The cell beside its safe twin, a mutex.

use std::sync::{Arc, Mutex};

use crate::cell::Cell;

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
