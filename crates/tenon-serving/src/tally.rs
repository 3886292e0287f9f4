//! What the changes of a service came to, since the start of the node. Only changes write it, under the lock of the
//! node's state.

use std::collections::BTreeMap;
use std::time::Duration;

use tenon_contract::Memory;

use crate::histogram::{Distribution, LONG};

/// What kind of change it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// To a version, also the first one.
    Swap,
    /// Back to the previous revision.
    Undo,
    /// To nothing.
    Remove,
    /// To what was served before a restart.
    Restore,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Swap, Self::Undo, Self::Remove, Self::Restore];

    /// Its name in lowercase.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Undo => "undo",
            Self::Remove => "remove",
            Self::Restore => "restore",
        }
    }
}

/// A step of a change that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeStep {
    /// Bytes read, memory admitted, model loaded.
    Load,
    /// Proven or warmed up.
    Prove,
    /// Journalled, published and journalled again.
    Publish,
}

impl ChangeStep {
    /// Its name in lowercase.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Prove => "prove",
            Self::Publish => "publish",
        }
    }
}

/// What the changes of one service came to. The truth in a key says whether it went well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole changes, from the order to the acknowledgement, nanoseconds.
    pub changes: BTreeMap<(ChangeKind, bool), Distribution>,
    /// Their steps, nanoseconds.
    pub steps: BTreeMap<(ChangeStep, bool), Distribution>,
    /// Drains, from publication to the end of the last request, nanoseconds; well is within the deadline.
    pub drains: BTreeMap<bool, Distribution>,
    /// Revisions that left memory, by cause.
    pub retired: BTreeMap<&'static str, u64>,
    /// The memory that they gave back.
    pub released: Memory,
}

impl Tally {
    /// A change came to its end.
    pub(crate) fn changed(&mut self, kind: ChangeKind, went_well: bool, took: Duration) {
        count(&mut self.changes, (kind, went_well), took);
    }

    /// A step of a change did.
    pub(crate) fn stepped(&mut self, step: ChangeStep, went_well: bool, took: Duration) {
        count(&mut self.steps, (step, went_well), took);
    }

    /// The last request of what was replaced did.
    pub(crate) fn drained(&mut self, in_time: bool, took: Duration) {
        count(&mut self.drains, in_time, took);
    }

    /// A revision left memory.
    pub(crate) fn retired(&mut self, cause: &'static str, memory: &Memory) {
        *self.retired.entry(cause).or_default() += 1;
        self.released = std::mem::take(&mut self.released).plus(memory);
    }
}

fn count<K: Ord>(distributions: &mut BTreeMap<K, Distribution>, key: K, took: Duration) {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    distributions.entry(key).or_insert_with(|| Distribution::new(&LONG)).add(nanos);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_well_stands_apart_from_what_did_not() {
        let mut tally = Tally::default();
        let second = Duration::from_secs(1);
        tally.changed(ChangeKind::Swap, true, second);
        tally.changed(ChangeKind::Swap, true, second);
        tally.changed(ChangeKind::Swap, false, second);
        tally.stepped(ChangeStep::Load, false, second);
        tally.drained(true, second);
        tally.retired("superseded", &Memory::cpu(3));
        tally.retired("superseded", &Memory::cpu(4));
        let changes: Vec<_> = tally.changes.iter().map(|(key, seen)| (*key, seen.count())).collect();
        assert_eq!(changes, [((ChangeKind::Swap, false), 1), ((ChangeKind::Swap, true), 2)]);
        assert_eq!((tally.retired["superseded"], tally.released), (2, Memory::cpu(7)));
    }
}
