//! A strict reader of the text formats of metrics, written from their specifications: what breaks a rule panics with the
//! line.

use std::collections::{BTreeMap, BTreeSet};

/// A family as it was read.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) help: bool,
    pub(crate) unit: Option<String>,
    pub(crate) samples: Vec<Sample>,
}

/// One line of a family.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
    pub(crate) exemplar: Option<(BTreeMap<String, String>, f64)>,
}

/// A scrape that kept all rules.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) families: Vec<Family>,
}

impl Scrape {
    /// Reads the text format 0.0.4, or OpenMetrics 1.0.
    pub(crate) fn read(text: &str, is_open: bool) -> Self {
        assert!(text.ends_with('\n'), "the last line is not ended");
        let mut scrape = Self { families: Vec::new() };
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if is_open && lines.peek().is_none() {
                assert_eq!(line, "# EOF");
                break;
            }
            match line.strip_prefix("# ") {
                Some(mark) => scrape.mark(mark, is_open, line),
                None => scrape.sample(line, is_open),
            }
        }
        scrape.families.iter().for_each(Family::check);
        scrape.check_names(is_open);
        scrape
    }

    fn mark(&mut self, mark: &str, is_open: bool, line: &str) {
        let mut words = mark.splitn(3, ' ');
        let (what, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
        if self.families.last().is_none_or(|last| last.name != name) {
            assert!(self.families.iter().all(|family| family.name != name), "in two places: {line}");
            let (kind, unit) = (String::new(), None);
            self.families.push(Family { name: name.into(), kind, help: false, unit, samples: Vec::new() });
        }
        let family = self.families.last_mut().unwrap();
        assert!(family.samples.is_empty(), "a mark behind samples: {line}");
        match what {
            "TYPE" => {
                let known = ["counter", "gauge", "histogram", "summary"].contains(&rest);
                assert!(known || (is_open && ["unknown", "info"].contains(&rest)), "{line}");
                assert!(family.kind.is_empty(), "typed twice: {line}");
                family.kind = rest.into();
            }
            "HELP" => {
                assert!(!family.help, "explained twice: {line}");
                let mut letters = rest.chars();
                while let Some(letter) = letters.next() {
                    match letter {
                        '\\' => assert!(matches!(letters.next(), Some('\\' | 'n' | '"')), "{line}"),
                        '"' => assert!(!is_open, "a quote that is not escaped: {line}"),
                        _ => {}
                    }
                }
                family.help = true;
            }
            "UNIT" if is_open => {
                assert!(name.ends_with(&format!("_{rest}")), "the name does not end in its unit: {line}");
                family.unit = Some(rest.into());
            }
            _ => panic!("no mark that there is: {line}"),
        }
    }

    fn sample(&mut self, line: &str, is_open: bool) {
        let (sample, rest) = series(line);
        let mut words = rest.splitn(2, " # ");
        let value = number(words.next().unwrap(), line);
        let exemplar = words.next().map(|text| exemplar(text, is_open, line));
        let sample = Sample { value, exemplar, ..sample };
        let family = self.families.last_mut().unwrap_or_else(|| panic!("before any mark: {line}"));
        let suffix = sample.name.strip_prefix(family.name.as_str());
        let suffix = suffix.unwrap_or_else(|| panic!("not of family {}: {line}", family.name));
        let allowed: &[&str] = match (family.kind.as_str(), is_open) {
            ("counter", true) => &["_total"],
            ("info", _) => &["_info"],
            ("histogram", _) => &["_bucket", "_count", "_sum"],
            ("summary", _) => &["_count", "_sum"],
            ("", _) => panic!("no type: {line}"),
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "suffix `{suffix}` of a {}: {line}", family.kind);
        let is_twice = |other: &Sample| other.name == sample.name && other.labels == sample.labels;
        assert!(!family.samples.iter().any(is_twice), "twice: {line}");
        if matches!(family.kind.as_str(), "counter" | "histogram" | "summary") {
            assert!(sample.value >= 0.0, "{line}");
        }
        if let Some((_, seen)) = &sample.exemplar {
            assert!(suffix == "_bucket" || suffix == "_total", "no place for an exemplar: {line}");
            let edge = sample.labels.get("le").map_or(f64::INFINITY, |edge| number(edge, line));
            assert!(*seen <= edge, "an exemplar outside of its bucket: {line}");
        }
        family.samples.push(sample);
    }

    /// No family may be taken for the samples of another one.
    fn check_names(&self, is_open: bool) {
        let names: BTreeSet<_> = self.families.iter().map(|family| family.name.as_str()).collect();
        for family in &self.families {
            assert!(family.help && !family.kind.is_empty(), "{} lacks a mark", family.name);
            let suffixes: &[&str] = match (family.kind.as_str(), is_open) {
                ("histogram" | "summary", _) => &["_bucket", "_count", "_sum", "_created"],
                ("counter", true) => &["_total", "_created"],
                _ => &[],
            };
            let taken = suffixes.iter().find(|suffix| names.contains(&*format!("{}{suffix}", family.name)));
            assert_eq!(taken, None, "{}", family.name);
        }
    }

    pub(crate) fn family(&self, name: &str) -> &Family {
        self.families.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Sum of the samples that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.families.iter().flat_map(|family| &family.samples);
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|own| own == value))
        };
        samples.filter(has).map(|sample| sample.value).sum()
    }
}

impl Family {
    fn check(&self) {
        if self.kind != "histogram" {
            return;
        }
        let mut groups: BTreeMap<_, Group> = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            let edge = labels.remove("le");
            let group = groups.entry(labels).or_default();
            match edge {
                Some(edge) => group.0.push((number(&edge, &self.name), sample.value)),
                None if sample.name.ends_with("_count") => group.1 = Some(sample.value),
                None => group.2 = Some(sample.value),
            }
        }
        for (labels, (buckets, count, sum)) in groups {
            let whose = format!("{} {labels:?}", self.name);
            assert!(buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1), "{whose}");
            let (edge, all) = *buckets.last().unwrap();
            assert_eq!((edge, Some(all)), (f64::INFINITY, count), "{whose}");
            assert!(sum.is_some(), "{whose}");
        }
    }
}

/// Buckets of one histogram, edge and count; its count and its sum.
type Group = (Vec<(f64, f64)>, Option<f64>, Option<f64>);

/// The name and labels of a line, and what stands behind the blank.
fn series(line: &str) -> (Sample, &str) {
    let ends = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let name = &line[..ends];
    assert!(is_name(name), "{line}");
    let (labels, rest) = match line[ends..].strip_prefix('{') {
        Some(rest) => labels(rest, line),
        None => (BTreeMap::new(), &line[ends..]),
    };
    let rest = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no blank before the value: {line}"));
    (Sample { name: name.into(), labels, value: 0.0, exemplar: None }, rest)
}

/// Labels up to their closing brace, and what stands behind it.
fn labels<'a>(mut rest: &'a str, line: &str) -> (BTreeMap<String, String>, &'a str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        assert!(is_name(name) && !name.contains(':'), "{line}");
        let (mut value, mut letters) = (String::new(), behind.char_indices());
        let end = loop {
            match letters.next().unwrap_or_else(|| panic!("a label without an end: {line}")) {
                (at, '"') => break at,
                (_, '\\') => match letters.next().unwrap().1 {
                    'n' => value.push('\n'),
                    letter @ ('\\' | '"') => value.push(letter),
                    _ => panic!("no escape that there is: {line}"),
                },
                (_, letter) => value.push(letter),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "a label twice: {line}");
        rest = &behind[end + 1..];
        match rest.split_at(1) {
            (",", next) => rest = next,
            ("}", next) => return (labels, next),
            _ => panic!("behind a label: {line}"),
        }
    }
}

fn exemplar(text: &str, is_open: bool, line: &str) -> (BTreeMap<String, String>, f64) {
    assert!(is_open, "exemplars belong to OpenMetrics: {line}");
    let (labels, rest) = labels(text.strip_prefix('{').unwrap(), line);
    let letters: usize =
        labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    assert!(letters <= 128, "{letters} letters in an exemplar: {line}");
    let mut words = rest.strip_prefix(' ').unwrap().split(' ');
    let value = number(words.next().unwrap(), line);
    let at = number(words.next().unwrap(), line);
    assert!(at > 1.6e9 && at < 1e10 && words.next().is_none(), "{line}");
    (labels, value)
}

fn is_name(text: &str) -> bool {
    let first = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
    text.starts_with(first) && text.chars().all(|letter| first(letter) || letter.is_ascii_digit())
}

fn number(text: &str, line: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => {
            assert!(text.starts_with(|first: char| first.is_ascii_digit() || first == '-'), "{line}");
            text.parse().unwrap_or_else(|_| panic!("no number: {line}"))
        }
    }
}

/// What the reader must refuse, or it would prove nothing.
#[test]
fn the_reader_is_strict() {
    let good = "# TYPE a counter\n# HELP a b\na_total{x=\"1\"} 1\n# EOF\n";
    Scrape::read(good, true);
    let histogram = "# TYPE h histogram\n# HELP h b\nh_bucket{le=\"1.0\"} 1 # {i=\"r\"} 0.5 1700000000.0\n\
        h_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 0.5\n# EOF\n";
    Scrape::read(histogram, true);
    for bad in [
        good.trim_end().to_owned(),
        good.replace("# EOF\n", ""),
        good.replace("a_total{", "a{"),
        good.replace("} 1", "} one"),
        good.replace("x=\"1\"", "x=\"1\",x=\"2\""),
        good.replace("x=\"1\"", "x=\"\\t\""),
        good.replace("x=\"1\"", "x=1"),
        good.replace("} 1", "}  1"),
        good.replace("# HELP a b\n", ""),
        good.replace("# TYPE a counter\n", ""),
        good.replace("# HELP a b\n", "# HELP a \"b\n"),
        good.replace("# EOF", "a_total{x=\"1\"} 1\n# EOF"),
        good.replace("# EOF", "# TYPE b gauge\n# HELP b c\nb 1\n# HELP a c\n# EOF"),
        good.replace("# EOF", "\n# EOF"),
        histogram.replace("h_count 1", "h_count 2"),
        histogram.replace("h_sum 0.5\n", ""),
        histogram.replace("h_bucket{le=\"+Inf\"} 1\n", ""),
        histogram.replace("\"+Inf\"} 1", "\"+Inf\"} 0"),
        histogram.replace("0.5 1700000000.0", "1.5 1700000000.0"),
        histogram.replace("i=\"r\"", &format!("i=\"{}\"", "r".repeat(128))),
    ] {
        assert!(std::panic::catch_unwind(|| Scrape::read(&bad, true)).is_err(), "{bad}");
    }
    assert!(std::panic::catch_unwind(|| Scrape::read(histogram, false)).is_err(), "exemplars");
}
