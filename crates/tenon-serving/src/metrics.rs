//! The node's figures in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::node::Node;
use crate::traffic::Snapshot;

/// Upper edges of the histogram that is published, microseconds.
const EDGES: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

impl Node {
    /// Everything that is measured, names as in `docs/reference/metrics.md`.
    pub fn metrics(&self) -> String {
        let mut text = String::with_capacity(8 << 10);
        self.node_metrics(&mut text);
        self.service_metrics(&mut text);
        text
    }

    fn node_metrics(&self, text: &mut String) {
        let (held, limit) = self.memory();
        head(text, "tenon_generation", "gauge", "number of the generation that new requests see");
        let _ = writeln!(text, "tenon_generation {}", self.pin().number());
        head(text, "tenon_in_flight", "gauge", "requests inside the node");
        let _ = writeln!(text, "tenon_in_flight {}", self.in_flight());
        head(text, "tenon_ready", "gauge", "1 when every wanted service answers");
        let _ = writeln!(text, "tenon_ready {}", u8::from(self.is_ready()));
        head(text, "tenon_memory_bytes", "gauge", "memory admitted for models, by proof");
        let _ =
            writeln!(text, "tenon_memory_bytes{{device=\"cpu\"}} {}", held.of(&tenon_contract::Device::Cpu));
        head(text, "tenon_memory_limit_bytes", "gauge", "limit of memory admitted for models");
        for (device, bytes) in limit.iter() {
            let _ = writeln!(text, "tenon_memory_limit_bytes{{device=\"{device}\"}} {bytes}");
        }
        if let Some(bytes) = resident_bytes() {
            head(text, "process_resident_memory_bytes", "gauge", "memory of the process that is in RAM");
            let _ = writeln!(text, "process_resident_memory_bytes {bytes}");
        }
    }

    fn service_metrics(&self, text: &mut String) {
        let services: Vec<_> = {
            let state = self.inner().state();
            let row = |(name, state): (&tenon_contract::ServiceName, &crate::state::ServiceState)| {
                (
                    name.clone(),
                    state.counters.clone(),
                    state.swaps,
                    state.live.as_ref().map(|live| live.revision.clone()),
                )
            };
            state.services.iter().map(row).collect()
        };
        let rows: Vec<_> = services.iter().map(|row| (row, row.1.snapshot())).collect();
        head(text, "tenon_requests_total", "counter", "requests by service and outcome");
        for ((name, ..), seen) in &rows {
            let outcomes = [
                ("answered", seen.answered),
                ("invalid", seen.invalid),
                ("failed", seen.failed),
                ("refused", seen.refused),
            ];
            for (outcome, count) in outcomes {
                let _ = writeln!(
                    text,
                    "tenon_requests_total{{service=\"{name}\",outcome=\"{outcome}\"}} {count}"
                );
            }
        }
        head(
            text,
            "tenon_request_duration_seconds",
            "histogram",
            "time of answered requests inside the node",
        );
        for ((name, ..), seen) in &rows {
            histogram(text, name.as_str(), seen);
        }
        head(text, "tenon_service_in_flight", "gauge", "requests of the service inside the node");
        for ((name, counters, ..), _) in &rows {
            let count = counters.in_flight.load(Ordering::Relaxed);
            let _ = writeln!(text, "tenon_service_in_flight{{service=\"{name}\"}} {count}");
        }
        head(text, "tenon_service_waiting", "gauge", "requests of the service that wait for a session");
        for ((name, counters, ..), _) in &rows {
            let count = counters.waiting.load(Ordering::Relaxed);
            let _ = writeln!(text, "tenon_service_waiting{{service=\"{name}\"}} {count}");
        }
        head(text, "tenon_swaps_total", "counter", "swaps and undos of the service, over restarts");
        for ((name, _, swaps, _), _) in &rows {
            let _ = writeln!(text, "tenon_swaps_total{{service=\"{name}\"}} {swaps}");
        }
        head(
            text,
            "tenon_service_revision",
            "gauge",
            "what answers: revision, with version and digest as labels",
        );
        for ((name, _, _, live), _) in &rows {
            if let Some(revision) = live {
                let version = revision.version();
                let _ = writeln!(
                    text,
                    "tenon_service_revision{{service=\"{name}\",version=\"{}\",digest=\"{}\"}} {}",
                    version.id, version.digest, revision.number
                );
            }
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn histogram(text: &mut String, service: &str, seen: &Snapshot) {
    let name = "tenon_request_duration_seconds";
    for edge in EDGES {
        let seconds = edge as f64 / 1e6;
        let _ =
            writeln!(text, "{name}_bucket{{service=\"{service}\",le=\"{seconds}\"}} {}", seen.within(edge));
    }
    let _ = writeln!(text, "{name}_bucket{{service=\"{service}\",le=\"+Inf\"}} {}", seen.answered);
    let _ = writeln!(text, "{name}_sum{{service=\"{service}\"}} {}", seen.micros as f64 / 1e6);
    let _ = writeln!(text, "{name}_count{{service=\"{service}\"}} {}", seen.answered);
}

/// Resident bytes of this process, from the kernel.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
