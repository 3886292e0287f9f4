//! What a service's requests came to, over all its versions and over swaps: for metrics and receipts.
//!
//! Nothing is counted here. A request is counted once, in the statistics of the version that it was routed to; this
//! adds them up.

use std::sync::atomic::AtomicU64;

use tenon_contract::FaultKind;
use tenon_contract::receipt::Traffic;

use crate::histogram::{Distribution, FINE};
use crate::statistics::OfVersions;

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// It does not fit the contract.
    Invalid,
    /// The service has no such operation.
    NotFound,
    /// The service had its limit of requests in flight.
    ServiceFull,
    /// Its limit of requests was waiting for a session.
    QueueFull,
    /// The time that it was given was over.
    Deadline,
    /// The model refused it, failed or broke.
    Model,
    /// The service could not answer.
    Unavailable,
    /// Our own fault.
    Internal,
    /// The caller went away or cancelled.
    Cancelled,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::NotFound,
        Self::ServiceFull,
        Self::QueueFull,
        Self::Deadline,
        Self::Model,
        Self::Unavailable,
        Self::Internal,
        Self::Cancelled,
    ];

    /// Its name in lowercase.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::ServiceFull => "service_full",
            Self::QueueFull => "queue_full",
            Self::Deadline => "deadline",
            Self::Model => "model",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whose fault it is.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Invalid | Self::NotFound => Outcome::Invalid,
            Self::ServiceFull | Self::QueueFull => Outcome::Refused,
            Self::Deadline | Self::Model | Self::Unavailable | Self::Internal => Outcome::Failed,
            Self::Cancelled => Outcome::Cancelled,
        }
    }

    /// The reason behind a fault of a request that had found its service.
    pub(crate) fn of(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Overloaded => Self::QueueFull,
            FaultKind::Deadline => Self::Deadline,
            FaultKind::Model => Self::Model,
            FaultKind::Unavailable => Self::Unavailable,
            FaultKind::Internal => Self::Internal,
            FaultKind::Cancelled => Self::Cancelled,
            FaultKind::NotFound => Self::NotFound,
            _ => Self::Invalid,
        }
    }
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was wrong by the caller's fault.
    Invalid,
    /// It failed by the model's or our fault.
    Failed,
    /// It was refused early.
    Refused,
    /// Its caller went away.
    Cancelled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Invalid, Self::Failed, Self::Refused, Self::Cancelled];

    /// Its name in lowercase.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How often requests were not answered, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unanswered(pub(crate) [u64; Reason::ALL.len()]);

impl Unanswered {
    /// For one reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// With one outcome.
    pub fn with(&self, outcome: Outcome) -> u64 {
        Reason::ALL
            .into_iter()
            .filter(|reason| reason.outcome() == outcome)
            .map(|reason| self.of(reason))
            .sum()
    }

    /// For any reason.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What is counted of one service.
#[derive(Default)]
pub struct Counters {
    /// Requests inside the node now.
    pub(crate) in_flight: AtomicU64,
    versions: OfVersions,
}

/// What a service's requests came to until one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Times of the requests that were answered, nanoseconds.
    pub(crate) answered: Distribution,
    /// Those that were not.
    pub(crate) unanswered: Unanswered,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { answered: Distribution::new(&FINE), unanswered: Unanswered::default() }
    }
}

impl Counters {
    /// The statistics of the service's versions.
    pub(crate) fn versions(&self) -> &OfVersions {
        &self.versions
    }

    /// All that was counted until now.
    pub fn snapshot(&self) -> Snapshot {
        self.versions.sum()
    }
}

impl Snapshot {
    /// What happened since `before`.
    pub fn since(&self, before: &Snapshot) -> Traffic {
        let answered = self.answered.since(&before.answered);
        let count =
            |outcome: Outcome| self.unanswered.with(outcome).saturating_sub(before.unanswered.with(outcome));
        Traffic {
            answered: answered.count(),
            failed: count(Outcome::Failed),
            refused: count(Outcome::Refused),
            p99_micros: answered.percentile(0.99).div_ceil(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenon_contract::{TrackRole, VersionId};

    use super::*;

    #[test]
    fn windows_are_differences_over_all_versions() {
        let counters = Counters::default();
        let of = |number: u64| {
            let id = VersionId { model: "m".parse().unwrap(), number };
            counters.versions().of(TrackRole::Primary, &id)
        };
        let answered =
            |number: u64, micros: u64| of(number).answered(1, Duration::from_micros(micros), "r", None);
        (0..99).for_each(|_| answered(1, 100));
        let before = counters.snapshot();
        answered(2, 5_000);
        for kind in [FaultKind::Overloaded, FaultKind::Model, FaultKind::Invalid, FaultKind::Cancelled] {
            of(2).unanswered(Reason::of(kind), Duration::ZERO);
        }
        let window = counters.snapshot().since(&before);
        assert_eq!((window.answered, window.refused, window.failed), (1, 1, 1));
        assert!((5_000..5_700).contains(&window.p99_micros));
        assert!(counters.snapshot().since(&Snapshot::default()).p99_micros < 120);
        // A version that is forgotten takes nothing away.
        let sum = counters.snapshot();
        (3..40).for_each(|number| drop(of(number)));
        assert_eq!(counters.snapshot(), sum);
    }

    #[test]
    fn every_reason_has_one_outcome() {
        let unanswered = Unanswered([1; Reason::ALL.len()]);
        let sum: u64 = Outcome::ALL.iter().map(|outcome| unanswered.with(*outcome)).sum();
        assert_eq!((sum, unanswered.with(Outcome::Answered)), (Reason::ALL.len() as u64, 0));
    }
}
