//! Exemplars: which request it was that took so long, one for each bucket of a histogram.
//!
//! The newest replaces the one before, at most once a second, so that the rest pays one load. A place is written
//! and read without a lock: who reads it while it is being written reads nothing.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Longest id that is kept: together with the id of a trace it is within what OpenMetrics allows.
const ID_BYTES: usize = 64;
/// Words of the id.
const ID_WORDS: usize = ID_BYTES / 8;
/// How long an exemplar stays at the least, milliseconds.
const STAYS_MS: u64 = 1000;

/// A request that fell into a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// What was measured.
    pub value: u64,
    /// Id of the request.
    pub request: String,
    /// The trace that it belongs to, where it is traced.
    pub trace: Option<u128>,
    /// When it ended, milliseconds since 1970.
    pub at_ms: u64,
}

/// The place of one exemplar.
#[derive(Default)]
pub(crate) struct Place {
    /// When the last one was taken, milliseconds since 1970.
    last_ms: AtomicU64,
    /// Odd while it is being written, 0 before it ever was.
    turn: AtomicU64,
    value: AtomicU64,
    at_ms: AtomicU64,
    length: AtomicU64,
    id: [AtomicU64; ID_WORDS],
    trace: [AtomicU64; 2],
}

impl Place {
    /// Offers a request that has just ended; mostly declined.
    pub(crate) fn offer(&self, at_ms: u64, value: u64, id: &str, trace: Option<u128>) {
        let last = self.last_ms.load(Ordering::Relaxed);
        // In either direction: the clock may have been set back.
        if at_ms.abs_diff(last) >= STAYS_MS {
            self.take(last, at_ms, value, id, trace);
        }
    }

    #[cold]
    fn take(&self, last: u64, at_ms: u64, value: u64, id: &str, trace: Option<u128>) {
        let is_ours =
            self.last_ms.compare_exchange(last, at_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let turn = self.turn.load(Ordering::Relaxed);
        if id.len() > ID_BYTES || !is_ours || turn % 2 == 1 {
            return;
        }
        // Another writer can only be here if this one slept for a second: then it gives way.
        if self.turn.compare_exchange(turn, turn + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        fence(Ordering::Release);
        self.value.store(value, Ordering::Relaxed);
        self.at_ms.store(at_ms, Ordering::Relaxed);
        self.length.store(id.len() as u64, Ordering::Relaxed);
        for (word, bytes) in self.id.iter().zip(id.as_bytes().chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        let trace = trace.unwrap_or(0);
        self.trace[0].store((trace >> 64) as u64, Ordering::Relaxed);
        self.trace[1].store(trace as u64, Ordering::Relaxed);
        self.turn.store(turn + 2, Ordering::Release);
    }

    /// What is there now; nothing where it is just being written.
    pub(crate) fn read(&self) -> Option<Exemplar> {
        let turn = self.turn.load(Ordering::Acquire);
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (value, at_ms, length) = (read(&self.value), read(&self.at_ms), read(&self.length));
        let words = self.id.each_ref().map(read);
        let [high, low] = self.trace.each_ref().map(read);
        fence(Ordering::Acquire);
        if turn == 0 || turn % 2 == 1 || self.turn.load(Ordering::Relaxed) != turn {
            return None;
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).take(length as usize).collect();
        let trace = (u128::from(high) << 64) | u128::from(low);
        Some(Exemplar {
            value,
            request: String::from_utf8(bytes).ok()?,
            trace: (trace != 0).then_some(trace),
            at_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_once_a_second() {
        let place = Place::default();
        assert_eq!(place.read(), None);
        let check = |at_ms: u64, id: &str, expected: &str| {
            place.offer(at_ms, at_ms * 2, id, Some(7));
            assert_eq!(place.read().unwrap().request, expected);
        };
        check(5000, "first", "first");
        check(5999, "too soon", "first");
        check(6000, "second, longer than a word", "second, longer than a word");
        check(9000, &"a".repeat(65), "second, longer than a word");
        check(12_000, &"a".repeat(64), &"a".repeat(64));
        place.offer(3000, 1, "set back", None);
        let last = Exemplar { value: 1, request: "set back".into(), trace: None, at_ms: 3000 };
        assert_eq!(place.read(), Some(last));
    }

    #[test]
    fn nobody_reads_halves() {
        let place = Place::default();
        std::thread::scope(|scope| {
            for writer in 0..2u64 {
                let place = &place;
                scope.spawn(move || {
                    for round in 0..20_000u64 {
                        let number = round * 2 + writer;
                        let id = number.to_string().repeat(3);
                        place.offer(number * STAYS_MS, number, &id, Some(u128::from(number) + 1));
                    }
                });
            }
            for _ in 0..20_000 {
                let Some(seen) = place.read() else { continue };
                assert_eq!(seen.request, seen.value.to_string().repeat(3));
                assert_eq!(
                    (seen.trace, seen.at_ms),
                    (Some(u128::from(seen.value) + 1), seen.value * STAYS_MS)
                );
            }
        });
    }
}
