//! Entries of a chain in words.

use tenon_contract::receipt::{Entry, Event, Intent, RevisionRef, Traffic};

use crate::commands::output::{micros, time};

/// One line about an entry.
pub(super) fn line(entry: &Entry) -> String {
    format!("{:5}  {}  {:9}  {}", entry.sequence, time(entry.at), entry.event.name(), what(&entry.event))
}

fn what(event: &Event) -> String {
    let took = |value: u64| micros(value as f64);
    match event {
        Event::Intent(intent) => {
            let reason = because(&intent.reason);
            format!(
                "swap {}: {} -> {}, asked by {}{reason}",
                intent.swap,
                named(&intent.from),
                named(&intent.to),
                intent.actor
            )
        }
        Event::Published(event) => {
            let (to, in_flight) = (named(&event.to), event.in_flight);
            format!(
                "swap {}: {to} answers from generation {} on; {in_flight} on the old revision",
                event.swap, event.generation
            )
        }
        Event::Drained(event) => {
            let late = if event.late { ", later than its deadline" } else { "" };
            format!(
                "swap {}: revision {} answered its last request after {}{late}",
                event.swap,
                event.revision,
                took(event.drain_micros)
            )
        }
        Event::Retired(event) => {
            format!("revision {} gave back {}: {}", event.revision, event.memory, event.cause)
        }
        Event::Undone(event) => {
            let (from, to) = (one(&event.from), one(&event.to));
            format!(
                "swap {}: {from} -> {to} within {}, asked by {}{}",
                event.swap,
                took(event.published_micros),
                event.actor,
                because(&event.reason)
            )
        }
        Event::Abandoned { swap, reason } => format!("swap {swap} did not happen: {reason}"),
    }
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn named(revision: &Option<RevisionRef>) -> String {
    revision.as_ref().map_or_else(|| "nothing".to_owned(), one)
}

fn one(revision: &RevisionRef) -> String {
    format!("{} (revision {})", revision.version, revision.number)
}

/// What an entry brings as evidence, line by line.
pub(super) fn evidence(event: &Event) -> Vec<String> {
    match event {
        Event::Intent(intent) => of_intent(intent),
        Event::Published(event) => vec![
            format!("the exchange took {}", micros(event.publish_micros as f64)),
            format!("while loading: {}", traffic(&event.during_load)),
        ],
        Event::Drained(event) => vec![format!("while draining: {}", traffic(&event.during_drain))],
        Event::Retired(event) => vec![format!("an undo to it costs: {}", event.undo_costs)],
        Event::Undone(event) => {
            vec![format!(
                "generation {}; {} requests on the undone revision",
                event.generation, event.in_flight
            )]
        }
        Event::Abandoned { .. } => Vec::new(),
    }
}

fn of_intent(intent: &Intent) -> Vec<String> {
    let mut lines = Vec::new();
    for (side, revision) in [("from", &intent.from), ("to", &intent.to)] {
        lines.extend(
            revision.iter().map(|it| format!("{side}: artifact {}, document {}", it.artifact, it.document)),
        );
    }
    lines.push(format!("contract: {}", intent.check.severity));
    lines.extend(
        intent
            .check
            .changes
            .iter()
            .map(|change| format!("  {} {}: {}", change.severity, change.path, change.text)),
    );
    lines.extend(intent.proof.iter().map(|evidence| {
        let key = &evidence.key;
        format!(
            "proof: {} {} examples on {}, {}",
            evidence.examples, evidence.proof, key.runtime, key.processor
        )
    }));
    let (load, prove) = (micros(intent.load_micros as f64), micros(intent.prove_micros as f64));
    lines.push(format!("read, loaded and proven in {load}, {prove} of it proving; {}", intent.memory));
    lines
}

fn traffic(traffic: &Traffic) -> String {
    let p99 = micros(traffic.p99_micros as f64);
    format!(
        "{} answered, {} failed, {} refused, p99 {p99}",
        traffic.answered, traffic.failed, traffic.refused
    )
}
