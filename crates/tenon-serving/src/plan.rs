//! From what is and what should be to steps: pure, so that its test is a table.
//!
//! First start, swap, undo, removal and restart after a crash all come through here.

use tenon_contract::{Desired, Observed, ObservedService, ServiceName};

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the revision's bytes, load and prove them beside what is served.
    Load {
        /// The service.
        service: ServiceName,
        /// Number of the revision.
        revision: u64,
    },
    /// Let new requests see the revision, or no longer see the service.
    Publish {
        /// The service.
        service: ServiceName,
        /// Number of the revision; nothing takes the service away.
        revision: Option<u64>,
    },
    /// Wait until the last request on the revision has ended.
    Drain {
        /// The service.
        service: ServiceName,
        /// Number of the revision that no longer answers.
        revision: u64,
    },
    /// Keep the drained revision in memory for its undo window.
    KeepWarm {
        /// The service.
        service: ServiceName,
        /// Number of the revision.
        revision: u64,
    },
    /// Give the revision's memory back.
    Retire {
        /// The service.
        service: ServiceName,
        /// Number of the revision.
        revision: u64,
    },
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Load { service, revision } => write!(f, "load and prove revision {revision} of {service}"),
            Self::Publish { service, revision: Some(revision) } => {
                write!(f, "publish revision {revision} of {service}")
            }
            Self::Publish { service, revision: None } => write!(f, "take {service} away"),
            Self::Drain { service, revision } => write!(f, "drain revision {revision} of {service}"),
            Self::KeepWarm { service, revision } => {
                write!(f, "keep revision {revision} of {service} warm for undo")
            }
            Self::Retire { service, revision } => write!(f, "retire revision {revision} of {service}"),
        }
    }
}

/// The steps from `observed` to `desired`, service by service. Nothing is taken away before what
/// comes in its place is published.
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    for (service, revision) in &desired.services {
        let nothing = ObservedService::default();
        let seen = observed.services.get(service).unwrap_or(&nothing);
        serve(service, revision.number, seen, &mut steps);
    }
    for (service, seen) in &observed.services {
        if !desired.services.contains_key(service) {
            remove(service, seen, &mut steps);
        }
    }
    steps
}

fn serve(service: &ServiceName, revision: u64, seen: &ObservedService, steps: &mut Vec<Step>) {
    if seen.live == Some(revision) {
        return;
    }
    let service = || service.clone();
    if seen.warm != Some(revision) {
        steps.push(Step::Load { service: service(), revision });
    }
    steps.push(Step::Publish { service: service(), revision: Some(revision) });
    if let Some(old) = seen.live {
        steps.push(Step::Drain { service: service(), revision: old });
        steps.push(Step::KeepWarm { service: service(), revision: old });
    }
    if let Some(older) = seen.warm.filter(|warm| *warm != revision) {
        steps.push(Step::Retire { service: service(), revision: older });
    }
}

fn remove(service: &ServiceName, seen: &ObservedService, steps: &mut Vec<Step>) {
    let service = || service.clone();
    if let Some(live) = seen.live {
        steps.push(Step::Publish { service: service(), revision: None });
        steps.push(Step::Drain { service: service(), revision: live });
    }
    for revision in [seen.live, seen.warm].into_iter().flatten() {
        steps.push(Step::Retire { service: service(), revision });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::revision;

    /// `live/warm` of the service `s`; `-` is none.
    fn observed(live: Option<u64>, warm: Option<u64>) -> Observed {
        let seen = ObservedService { live, warm, loaded: vec![] };
        let services =
            if live.is_some() || warm.is_some() { vec![("s".parse().unwrap(), seen)] } else { vec![] };
        Observed { generation: 7, services: services.into_iter().collect() }
    }

    fn check(wanted: Option<u64>, (live, warm): (Option<u64>, Option<u64>), expected: &[&str]) {
        let services = wanted.map(|number| ("s".parse().unwrap(), revision("s", number, "toy add=1 end")));
        let desired = Desired { services: services.into_iter().collect() };
        let steps: Vec<_> = plan(&desired, &observed(live, warm)).iter().map(Step::to_string).collect();
        let expected: Vec<_> = expected.iter().map(|step| format!("{step} of s")).collect();
        let short: Vec<_> = steps
            .iter()
            .map(|step| step.replace("take s away", "take away of s").replace(" warm for undo", ""))
            .collect();
        assert_eq!(short, expected, "{wanted:?} from {live:?}/{warm:?}");
    }

    #[test]
    fn plans() {
        check(None, (None, None), &[]);
        check(Some(1), (None, None), &["load and prove revision 1", "publish revision 1"]);
        check(Some(1), (Some(1), None), &[]);
        check(Some(1), (Some(1), Some(0)), &[]);
        check(
            Some(2),
            (Some(1), None),
            &["load and prove revision 2", "publish revision 2", "drain revision 1", "keep revision 1"],
        );
        check(
            Some(3),
            (Some(2), Some(1)),
            &[
                "load and prove revision 3",
                "publish revision 3",
                "drain revision 2",
                "keep revision 2",
                "retire revision 1",
            ],
        );
        check(Some(1), (Some(2), Some(1)), &["publish revision 1", "drain revision 2", "keep revision 2"]);
        check(
            None,
            (Some(2), Some(1)),
            &["take away", "drain revision 2", "retire revision 2", "retire revision 1"],
        );
    }
}
