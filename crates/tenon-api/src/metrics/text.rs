//! The two text formats: that of Prometheus, version 0.0.4, and OpenMetrics 1.0.
//!
//! They differ in the names of families, the marks before them, what is escaped, exemplars and the end.

use std::fmt::{Display, Write as _};

use tenon_serving::{Distribution, Exemplar};

use super::declared::{Kind, Metric};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Prometheus,
    OpenMetrics,
}

impl Form {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A scrape that is being written.
pub(crate) struct Page {
    form: Form,
    text: String,
}

impl Page {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, text: String::with_capacity(32 << 10) }
    }

    /// Begins a family; what is written next belongs to it.
    pub(crate) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let (name, kind) = match self.form {
            Form::Prometheus => (metric.name, plain_kind(metric.kind)),
            Form::OpenMetrics => open_family(metric),
        };
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if self.form == Form::OpenMetrics && !metric.unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {}", metric.unit);
        }
        let _ = write!(self.text, "# HELP {name} ");
        escape(&mut self.text, metric.help, self.form == Form::OpenMetrics);
        self.text.push('\n');
        Family { page: self, metric }
    }

    /// The whole text.
    pub(crate) fn end(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

const fn plain_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge | Kind::Info => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
    }
}

/// OpenMetrics names families without the suffix of their samples; a counter that has none is none to it.
fn open_family(metric: &'static Metric) -> (&'static str, &'static str) {
    match metric.kind {
        Kind::Counter => match metric.name.strip_suffix("_total") {
            Some(name) => (name, "counter"),
            None => (metric.name, "unknown"),
        },
        Kind::Info => (metric.name.strip_suffix("_info").unwrap_or(metric.name), "info"),
        kind => (metric.name, plain_kind(kind)),
    }
}

/// A family that is being written. Its samples have the labels that were declared, in that order.
pub(crate) struct Family<'a> {
    page: &'a mut Page,
    metric: &'static Metric,
}

impl Family<'_> {
    /// Writes a sample.
    pub(crate) fn sample(&mut self, labels: &[&str], value: impl Display) {
        self.series("", labels, None);
        let _ = writeln!(self.page.text, " {value}");
    }

    /// Writes count and sum.
    pub(crate) fn summary(&mut self, labels: &[&str], count: u64, sum: f64) {
        self.series("_count", labels, None);
        let _ = writeln!(self.page.text, " {count}");
        self.series("_sum", labels, None);
        let _ = writeln!(self.page.text, " {sum}");
    }

    /// Writes the buckets of a distribution whose values are `unit`ths of what the metric measures.
    pub(crate) fn histogram(
        &mut self,
        labels: &[&str],
        seen: &Distribution,
        unit: f64,
        exemplars: &[Option<Exemplar>],
    ) {
        let mut count = 0;
        for (place, counted) in seen.counts.iter().enumerate() {
            count += counted;
            let edge = seen.edges.get(place).map_or("+Inf".to_owned(), |edge| number(*edge as f64 / unit));
            self.series("_bucket", labels, Some(&edge));
            let _ = write!(self.page.text, " {count}");
            if let Some(Some(exemplar)) = exemplars.get(place)
                && self.page.form == Form::OpenMetrics
                && *counted > 0
            {
                self.exemplar(exemplar, unit);
            }
            self.page.text.push('\n');
        }
        self.series("_count", labels, None);
        let _ = writeln!(self.page.text, " {count}");
        self.series("_sum", labels, None);
        let _ = writeln!(self.page.text, " {}", seen.sum as f64 / unit);
    }

    fn exemplar(&mut self, exemplar: &Exemplar, unit: f64) {
        let text = &mut self.page.text;
        text.push_str(" # {request_id=\"");
        escape(text, &exemplar.request, true);
        text.push('"');
        if let Some(trace) = exemplar.trace {
            let _ = write!(text, ",trace_id=\"{trace:032x}\"");
        }
        let (seconds, millis) = (exemplar.at_ms / 1000, exemplar.at_ms % 1000);
        let _ = write!(text, "}} {} {seconds}.{millis:03}", exemplar.value as f64 / unit);
    }

    /// Name and labels of one series, without its value.
    fn series(&mut self, suffix: &str, labels: &[&str], edge: Option<&str>) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        let text = &mut self.page.text;
        text.push_str(self.metric.name);
        text.push_str(suffix);
        let named = self.metric.labels.iter().copied().zip(labels.iter().copied());
        let mut before = '{';
        for (name, value) in named.chain(edge.map(|edge| ("le", edge))) {
            let _ = write!(text, "{before}{name}=\"");
            escape(text, value, true);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
    }
}

/// Writes a text that stands between quotes, or behind a mark.
fn escape(text: &mut String, value: &str, quotes: bool) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            letter => text.push(letter),
        }
    }
}

/// An edge as OpenMetrics wants it, so that everybody's edges have the same text.
fn number(value: f64) -> String {
    if value >= 1e-4 {
        let text = value.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some((mantissa, power)) => format!("{mantissa}e-{power:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static COUNTER: Metric = Metric {
        name: "x_bytes_total",
        kind: Kind::Counter,
        unit: "bytes",
        labels: &["l"],
        help: "a \"b\" \\ c\nd",
    };
    static HISTOGRAM: Metric =
        Metric { name: "h_seconds", kind: Kind::Histogram, unit: "seconds", labels: &[], help: "h" };

    fn page(form: Form) -> String {
        let mut page = Page::new(form);
        page.family(&COUNTER).sample(&["say \"hi\"\\\n"], 7);
        let exemplar =
            Exemplar { value: 3, request: "\"".into(), trace: Some(0xab), at_ms: 1_700_000_000_007 };
        let seen = Distribution { edges: &[2, 4], counts: vec![1, 1, 0], sum: 5 };
        page.family(&HISTOGRAM).histogram(&[], &seen, 4.0, &[None, Some(exemplar.clone()), Some(exemplar)]);
        page.end()
    }

    #[test]
    fn the_format_of_prometheus_is_written() {
        let expected = "# TYPE x_bytes_total counter\n# HELP x_bytes_total a \"b\" \\\\ c\\nd\n\
            x_bytes_total{l=\"say \\\"hi\\\"\\\\\\n\"} 7\n# TYPE h_seconds histogram\n# HELP h_seconds h\n\
            h_seconds_bucket{le=\"0.5\"} 1\nh_seconds_bucket{le=\"1.0\"} 2\nh_seconds_bucket{le=\"+Inf\"} 2\n\
            h_seconds_count 2\nh_seconds_sum 1.25\n";
        assert_eq!(page(Form::Prometheus), expected);
    }

    #[test]
    fn openmetrics_is_written() {
        let expected = "# TYPE x_bytes counter\n# UNIT x_bytes bytes\n# HELP x_bytes a \\\"b\\\" \\\\ c\\nd\n\
            x_bytes_total{l=\"say \\\"hi\\\"\\\\\\n\"} 7\n# TYPE h_seconds histogram\n# UNIT h_seconds seconds\n\
            # HELP h_seconds h\nh_seconds_bucket{le=\"0.5\"} 1\n\
            h_seconds_bucket{le=\"1.0\"} 2 # {request_id=\"\\\"\",trace_id=\"000000000000000000000000000000ab\"} \
            0.75 1700000000.007\nh_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_count 2\nh_seconds_sum 1.25\n# EOF\n";
        assert_eq!(page(Form::OpenMetrics), expected);
    }

    #[test]
    fn edges_have_one_text() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.00001, "1e-05");
        check(25_000.0 / 1e9, "2.5e-05");
        check(0.0001, "0.0001");
        check(0.25, "0.25");
        check(1.0, "1.0");
        check(1024.0, "1024.0");
    }
}
