//! What jobs came to since the start of this process: counted as they end, read by metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobEnd {
    /// It came to its end.
    Done,
    /// It was refused on the way, or broke.
    Failed,
    /// It was not begun, because too many were under way.
    Refused,
}

impl JobEnd {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Refused];

    /// Its name in lowercase.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// How many jobs ended in one way, and how long they took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobsEnded {
    /// How many.
    pub count: u64,
    /// Milliseconds from the order to the end, of all together.
    pub millis: u64,
}

/// The jobs of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFigures {
    /// The kind: `onboard`.
    pub kind: &'static str,
    /// Jobs that wait for their turn now.
    pub waiting: u64,
    /// Jobs that run now.
    pub running: u64,
    /// Those that ended, by how.
    pub ended: Vec<(JobEnd, JobsEnded)>,
}

/// Counts jobs that end.
#[derive(Default)]
pub(crate) struct Ended(Mutex<BTreeMap<(String, JobEnd), JobsEnded>>);

impl Ended {
    pub(crate) fn count(&self, kind: &str, end: JobEnd, millis: u64) {
        let mut ended = self.ended();
        let counted = ended.entry((kind.to_owned(), end)).or_default();
        counted.count += 1;
        counted.millis = counted.millis.saturating_add(millis);
    }

    pub(crate) fn of(&self, kind: &str) -> Vec<(JobEnd, JobsEnded)> {
        let ended = self.ended();
        let counted = |end: JobEnd| ended.get(&(kind.to_owned(), end)).copied().unwrap_or_default();
        JobEnd::ALL.into_iter().map(|end| (end, counted(end))).collect()
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<(String, JobEnd), JobsEnded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
