//! `docs/reference/metrics.md` is the table, and what is shipped for Grafana and Prometheus asks for nothing else.
//!
//! After a wanted change, `TENON_BLESS=1 cargo test -p tenon-api --release reference` writes the page anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use super::declared::{Kind, METRICS, Metric, TRITON};

const HEAD: &str = "\
# Metrics

<!-- Made of crates/tenon-api/src/metrics/declared.rs; that file's neighbour `reference.rs` says how. -->

`GET /metrics` answers in the text format of Prometheus, or in OpenMetrics 1.0 where `Accept` asks for
`application/openmetrics-text`; the buckets of `tenon_request_duration_seconds` then bear exemplars: the id of a request that
fell into them, and of its trace. Who may read it is who may read `/api/v1`: everybody on a server that listens on loopback
only, else whoever shows a token.

Everything is counted from the start of the process. A request is counted once, under the service, track and version that it was
routed to, so that the figures of a version survive its swaps; sum over `version` for those of the service. Of one service 16
versions are kept. Times begin when the request is decoded and end when its answer is ready to be written. [Observe](../guides/observe.md)
says what to look at.

";

const TRITON_HEAD: &str = "
## Under the names of Triton

With `metrics.triton_names = true` the same figures are told under these names too, so that dashboards that exist go on. `model`
is the service and `version` the number of the version. `reason` is `REJECTED`, `CANCELED`, `BACKEND` or `OTHER`. The names are
Triton's and follow no convention; to OpenMetrics, which wants `_total`, its counters are of unknown type. Figures of GPUs, caches
and summaries are not told.

";

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table(metrics: &[&Metric]) -> String {
    let mut text = "| metric | type | labels | what |\n|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(text, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help);
    }
    text
}

#[test]
fn the_reference_page_is_the_table() {
    let path = repository().join("docs/reference/metrics.md");
    let text = format!("{HEAD}{}{TRITON_HEAD}{}", table(METRICS), table(TRITON));
    #[allow(clippy::disallowed_methods, reason = "a developer asks for the page to be written")]
    if std::env::var_os("TENON_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(there, text, "{} is another than the table; TENON_BLESS=1 writes it", path.display());
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        let base = name.strip_suffix("_total").unwrap_or(name);
        assert!(names.insert(base), "{name} is there twice");
        assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert_eq!(metric.kind == Kind::Info, name.ends_with("_info"), "{name}");
        assert!(base.ends_with(metric.unit), "{name} does not end in {}", metric.unit);
        for unit in ["seconds", "bytes"] {
            assert_eq!(base.ends_with(unit), metric.unit == unit, "{name} says no unit");
        }
        for foreign in ["_ms", "_us", "_micros", "_count", "_sum", "_bucket", "_mb"] {
            assert!(!base.ends_with(foreign), "{name}");
        }
        for label in metric.labels {
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name} {label}");
            assert!(!["le", "quantile"].contains(label), "{name} {label}");
        }
    }
}

/// Names in an expression of PromQL that are, or look like, ours; those in `by (..)` apart.
fn asked(expression: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let ours = |word: &&str| ["tenon_", "process_", "nv_"].iter().any(|prefix| word.starts_with(prefix));
    let names = expression.split(|letter| !is_word(letter)).filter(ours).collect();
    let grouped = expression.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    let labels = grouped.flat_map(|list| list.split(',')).map(str::trim).collect();
    (names, labels)
}

/// Checks that an expression asks for declared metrics by declared labels.
fn check(expression: &str) {
    let find = |name: &str| METRICS.iter().find(|metric| metric.name == name);
    let (names, labels) = asked(expression);
    let mut known: BTreeSet<&str> = ["le", "instance", "job"].into();
    for name in &names {
        let parts = ["_bucket", "_count", "_sum"].iter().filter_map(|suffix| name.strip_suffix(suffix));
        let of_parts = parts.filter_map(find).find(|metric| {
            metric.kind == Kind::Histogram || (metric.kind == Kind::Summary && !name.ends_with("_bucket"))
        });
        let whole = find(name).filter(|metric| !matches!(metric.kind, Kind::Histogram | Kind::Summary));
        let metric = of_parts.or(whole).unwrap_or_else(|| panic!("{expression}: {name} is not declared"));
        known.extend(metric.labels);
    }
    let unknown: Vec<_> = labels.difference(&known).collect();
    assert!(unknown.is_empty(), "{expression}: {unknown:?} are no labels of these metrics");
}

#[test]
fn the_dashboard_asks_for_declared_metrics() {
    let text = std::fs::read_to_string(repository().join("docs/dashboards/tenon.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let (mut open, mut expressions) = (vec![&board], 0);
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    match member {
                        Value::String(text) if matches!(key.as_str(), "expr" | "query" | "definition") => {
                            expressions += usize::from(!asked(text).0.is_empty());
                            check(text);
                        }
                        member => open.push(member),
                    }
                }
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(expressions > 15, "{expressions}");
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "panels have ids of their own");
}

#[test]
fn the_alerts_ask_for_declared_metrics() {
    let text = std::fs::read_to_string(repository().join("docs/dashboards/alerts.yml")).unwrap();
    let expressions: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("expr:")).collect();
    assert!(expressions.len() > 4 && expressions.iter().all(|expression| !asked(expression).0.is_empty()));
    expressions.into_iter().for_each(check);
}

#[test]
#[should_panic = "is not declared"]
fn an_invented_metric_is_found() {
    check("rate(tenon_lunches_total[5m])");
}

#[test]
#[should_panic = "are no labels"]
fn an_invented_label_is_found() {
    check("sum by (service, colour) (rate(tenon_requests_total[5m]))");
}
