//! Which version may answer when: swaps counted where they are asked for and where they are
//! acknowledged.
//!
//! Swap 0 is what was served at the beginning. A request notes before it is sent how many swaps were
//! acknowledged (`low`), and when its answer is there how many were asked for (`high`): it must have
//! been answered by the target of one of the swaps `low..=high`. A swap whose outcome is not known
//! stays open until a later one is acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts swaps. Shared by whoever asks for them and by the judge.
#[derive(Debug)]
pub struct Ledger {
    issued: AtomicU64,
    acknowledged: AtomicU64,
    /// Version number `targets[n]` is what swap `n` leads to.
    targets: Mutex<Vec<usize>>,
}

impl Ledger {
    /// The version `initial` is served.
    pub fn new(initial: usize) -> Self {
        let targets = Mutex::new(vec![initial]);
        Self { issued: AtomicU64::new(0), acknowledged: AtomicU64::new(0), targets }
    }

    /// To be called before a swap to `target` is asked for; gives its number.
    pub fn issue(&self, target: usize) -> u64 {
        let mut targets = self.targets();
        targets.push(target);
        let swap = targets.len() as u64 - 1;
        self.issued.store(swap, Ordering::SeqCst);
        swap
    }

    /// To be called when the acknowledgement of a swap has arrived.
    pub fn acknowledge(&self, swap: u64) {
        self.acknowledged.fetch_max(swap, Ordering::SeqCst);
    }

    /// To be called when the server has refused a swap: what was served is served still.
    pub fn refuse(&self, swap: u64) {
        let mut targets = self.targets();
        let index = swap as usize;
        if index > 0 && index < targets.len() {
            targets[index] = targets[index - 1];
        }
    }

    /// How many swaps are acknowledged.
    pub fn low(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// How many swaps were asked for.
    pub fn high(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }

    /// Whether `version` is the target of one of the swaps `low..=high`.
    pub fn may_answer(&self, version: usize, low: u64, high: u64) -> bool {
        let targets = self.targets();
        targets.get(low as usize..=high as usize).is_some_and(|span| span.contains(&version))
    }

    fn targets(&self) -> MutexGuard<'_, Vec<usize>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_targets_between_acknowledged_and_issued_may_answer() {
        let ledger = Ledger::new(0);
        let may = |low, high| [0, 1].map(|version| ledger.may_answer(version, low, high));
        assert_eq!(may(0, 0), [true, false]);
        assert_eq!((ledger.issue(1), ledger.low(), ledger.high()), (1, 0, 1));
        assert_eq!(may(0, 1), [true, true], "while it is under way both may");
        ledger.acknowledge(1);
        assert_eq!(may(ledger.low(), ledger.high()), [false, true]);
        ledger.refuse(ledger.issue(0));
        assert_eq!(may(ledger.low(), ledger.high()), [false, true], "a refused swap changed nothing");
        ledger.acknowledge(ledger.issue(0));
        assert_eq!(may(ledger.low(), ledger.high()), [true, false]);
        ledger.acknowledge(1);
        assert_eq!(ledger.low(), 3, "late news change nothing");
    }
}
