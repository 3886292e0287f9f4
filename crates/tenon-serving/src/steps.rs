//! When the steps of a request ended, for whoever tells of them: traces, and the line of a traced request.
//!
//! A request that nobody tells of has none, and each step costs it one branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// The steps of [`infer`](mod@crate::infer) in their order. A call that runs where its request is has no `Queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Step {
    /// A place inside the node.
    Admit,
    /// The generation.
    Pin,
    /// The slot of the service.
    Route,
    /// The inputs in the model's order.
    Bind,
    /// Waiting for a session and a compute thread.
    Queue,
    /// The model.
    Run,
    /// The outputs against the promise.
    Check,
}

impl Step {
    /// All steps.
    pub const ALL: [Self; 7] =
        [Self::Admit, Self::Pin, Self::Route, Self::Bind, Self::Queue, Self::Run, Self::Check];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Pin => "pin",
            Self::Route => "route",
            Self::Bind => "bind",
            Self::Queue => "queue",
            Self::Run => "run",
            Self::Check => "check",
        }
    }
}

/// When the steps of one request ended. The request and the compute thread write it, each its own steps.
pub struct Steps {
    begun: Instant,
    /// Nanoseconds from the beginning, and 1, so that 0 is a step that did not end.
    ends: [AtomicU64; Step::ALL.len()],
}

impl Steps {
    /// The first step begins now.
    pub fn begin() -> Arc<Self> {
        Arc::new(Self { begun: clock::now(), ends: Default::default() })
    }

    /// When the first step began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// When a step ended, from the beginning of the first.
    pub fn end(&self, step: Step) -> Option<Duration> {
        let end = self.ends[step as usize].load(Ordering::Relaxed);
        end.checked_sub(1).map(Duration::from_nanos)
    }

    /// How long a step took, where it ended.
    pub fn took(&self, step: Step) -> Option<Duration> {
        let before = Step::ALL[..step as usize].iter().rev().find_map(|before| self.end(*before));
        Some(self.end(step)?.saturating_sub(before.unwrap_or_default()))
    }

    fn ended(&self, step: Step) {
        let nanos = u64::try_from(clock::since(self.begun).as_nanos()).unwrap_or(u64::MAX - 1);
        self.ends[step as usize].store(nanos + 1, Ordering::Relaxed);
    }
}

/// Notes that a step has ended, where somebody wants to know.
pub(crate) fn ended(steps: &Option<Arc<Steps>>, step: Step) {
    if let Some(steps) = steps {
        steps.ended(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_take_what_lies_between_their_ends() {
        let steps = Steps::begin();
        ended(&None, Step::Admit);
        for step in [Step::Admit, Step::Pin, Step::Route, Step::Bind, Step::Run] {
            ended(&Some(steps.clone()), step);
        }
        assert_eq!((steps.took(Step::Queue), steps.took(Step::Check)), (None, None));
        let all: Duration = Step::ALL.iter().filter_map(|step| steps.took(*step)).sum();
        assert_eq!(Some(all), steps.end(Step::Run));
    }
}
