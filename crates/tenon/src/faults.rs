//! Faults on purpose, for tests of the built binary: at a named moment the process dies or the step fails.
//!
//! `TENON_FAULT=kill@published:2` kills the process the second time it is about to journal a publication;
//! `fail@intent:1` lets the first intent fail. The moments are those of a change of what is served
//! (`tenon_serving::faults::Moment`) and the steps of an onboarding job. Only the environment can set it, and only
//! a server on loopback takes it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use tenon_contract::Fault;
use tenon_control::{Jobs, Onboarding, StepHook};
use tenon_serving::faults::{Hook, Moment};

/// What happens, at which moment, the how manieth time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    action: Action,
    moment: String,
    nth: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The process dies as of SIGKILL: nothing is unwound, flushed or told.
    Kill,
    /// The step fails.
    Fail,
}

impl Planned {
    /// Hooks that count the moment up together, for the node and for its jobs.
    pub fn arm(self) -> (Hook, StepHook) {
        let armed = Arc::new(Armed { planned: self, passed: AtomicU32::new(0) });
        let for_node = armed.clone();
        (Arc::new(move |moment| for_node.pass(&moment.name())), Arc::new(move |step| armed.pass(step)))
    }
}

/// Every moment there is.
fn moments() -> Vec<String> {
    let steps = Onboarding::WORK.steps.iter().chain([&Jobs::ENDED]).map(|step| (*step).to_owned());
    Moment::ALL.into_iter().map(Moment::name).chain(steps).collect()
}

impl FromStr for Planned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected `kill@MOMENT:N` or `fail@MOMENT:N`, found `{text}`");
        let (action, rest) = text.split_once('@').ok_or_else(expected)?;
        let (moment, nth) = rest.split_once(':').ok_or_else(expected)?;
        let action = match action {
            "kill" => Action::Kill,
            "fail" => Action::Fail,
            _ => return Err(expected()),
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(expected)?;
        if !moments().iter().any(|known| known == moment) {
            return Err(format!("no moment `{moment}`; there are {}", moments().join(", ")));
        }
        Ok(Self { action, moment: moment.to_owned(), nth })
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Kill => "kill",
            Action::Fail => "fail",
        };
        write!(f, "{action}@{}:{}", self.moment, self.nth)
    }
}

struct Armed {
    planned: Planned,
    passed: AtomicU32,
}

impl Armed {
    fn pass(&self, moment: &str) -> Result<(), Fault> {
        let is_it = self.planned.moment == moment;
        if !is_it || self.passed.fetch_add(1, Ordering::SeqCst) + 1 != self.planned.nth {
            return Ok(());
        }
        match self.planned.action {
            Action::Fail => Err(Fault::internal(format!("fail on purpose ({})", self.planned))),
            Action::Kill => {
                let killed = kill_process(getpid(), Signal::KILL);
                // Not reached; if the system refuses even that, dying is still what was asked for.
                tracing::error!(?killed, "could not be killed");
                std::process::abort()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        for good in ["kill@published:2", "fail@intent:1", "kill@registered:1", "fail@ended:3"] {
            assert_eq!(good.parse::<Planned>().map(|planned| planned.to_string()), Ok(good.to_owned()));
        }
        for (bad, expected) in [
            ("published:2", "expected `kill@MOMENT:N`"),
            ("kill@published", "expected"),
            ("kill@published:0", "expected"),
            ("sleep@published:1", "expected"),
            ("kill@lunch:1", "no moment `lunch`; there are read, admit"),
        ] {
            let error = bad.parse::<Planned>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_nth_time_fails_and_no_other() {
        let (node, jobs) = "fail@stored:2".parse::<Planned>().unwrap().arm();
        let passes: Vec<bool> = (0..4).map(|_| jobs("stored").is_ok()).collect();
        assert_eq!(passes, [true, false, true, true]);
        assert_eq!((node(Moment::Intent), jobs("proven")), (Ok(()), Ok(())));
    }
}
