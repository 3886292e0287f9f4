//! Figures: what was measured, the bar it has to clear, and whether the run may be believed.

use std::fmt;

use serde::Serialize;

/// A control outside this range says that the machine was too restless for the figure to mean anything.
const CONTROL: std::ops::RangeInclusive<f64> = 0.85..=1.18;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// A share of a peer's figure.
    OfPeer,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// 10^6 bytes.
    Mb,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// So many a second.
    PerSecond,
}

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// There is no bar.
    Told,
    /// The bar is cleared.
    Passed,
    /// It is not.
    Missed,
    /// Neither: the control says that the run cannot be believed.
    Void,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What it is, in words.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: Unit,
    /// What it has to reach.
    pub(crate) bar: Option<Bar>,
    /// The peer against the peer, where the figure is taken beside one.
    pub(crate) control: Option<f64>,
    /// What became of it.
    pub(crate) verdict: Verdict,
}

impl Figure {
    /// A figure for information.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { name: name.into(), value, unit, bar: None, control: None, verdict: Verdict::Told }
    }

    /// The same, set against a bar.
    #[must_use]
    pub(crate) fn bar(mut self, bar: Bar) -> Self {
        self.bar = Some(bar);
        self.judged()
    }

    /// The same, with the control of its run.
    #[must_use]
    pub(crate) fn control(mut self, control: f64) -> Self {
        self.control = Some(control);
        self.judged()
    }

    fn judged(mut self) -> Self {
        let cleared = self.bar.map(|bar| match bar {
            Bar::AtLeast(least) => self.value >= least,
            Bar::AtMost(most) => self.value <= most,
        });
        let believed = self.control.is_none_or(|control| CONTROL.contains(&control));
        self.verdict = match cleared {
            None => Verdict::Told,
            Some(_) if !believed => Verdict::Void,
            Some(true) => Verdict::Passed,
            Some(false) => Verdict::Missed,
        };
        self
    }
}

/// What one measurement came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Which measurement.
    pub(crate) what: &'static str,
    /// Its figures, those with a bar first.
    pub(crate) figures: Vec<Figure>,
    /// What a reader has to know beside them.
    pub(crate) notes: Vec<String>,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
}

impl Outcome {
    /// One without figures yet.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, figures: Vec::new(), notes: Vec::new(), skipped: None }
    }

    /// A measurement that cannot be made here.
    pub(crate) fn skipped(what: &'static str, why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::new(what) }
    }

    /// Whether a bar was missed.
    pub(crate) fn has_missed(&self) -> bool {
        self.figures.iter().any(|figure| figure.verdict == Verdict::Missed)
    }
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::OfPeer => format!("{:.1} %", value * 100.0),
            Self::Ms => format!("{value:.1} ms"),
            Self::Us => format!("{value:.1} us"),
            Self::Mb => format!("{value:.1} MB"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Count => format!("{value:.0}"),
            Self::PerSecond => format!("{value:.0} /s"),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bar = match self.bar {
            None => String::new(),
            Some(Bar::AtLeast(bar)) => format!(">= {}", self.unit.write(bar)),
            Some(Bar::AtMost(bar)) => format!("<= {}", self.unit.write(bar)),
        };
        let control = self.control.map_or_else(String::new, |control| format!("{control:.2}"));
        let verdict = match self.verdict {
            Verdict::Told => "",
            Verdict::Passed => "passed",
            Verdict::Missed => "MISSED",
            Verdict::Void => "void",
        };
        let value = self.unit.write(self.value);
        write!(f, "| {:<64} | {value:>12} | {bar:>10} | {control:>7} | {verdict:<7} |", self.name)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.skipped {
            return writeln!(f, "SKIPPED: {}: {why}", self.what);
        }
        writeln!(
            f,
            "| {:<64} | {:>12} | {:>10} | {:>7} | {:<7} |",
            self.what, "figure", "bar", "control", ""
        )?;
        writeln!(f, "|{:-<66}|{:->14}|{:->12}|{:->9}|{:-<9}|", "", "", "", "", "")?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_a_restless_control_is_void_and_not_passed() {
        let check = |value: f64, control: f64, expected: Verdict| {
            let figure = Figure::new("x", value, Unit::OfPeer).control(control).bar(Bar::AtLeast(0.6));
            assert_eq!(figure.verdict, expected, "{value} with control {control}");
        };
        check(0.61, 1.0, Verdict::Passed);
        check(0.59, 1.0, Verdict::Missed);
        check(0.61, 1.19, Verdict::Void);
        check(0.59, 0.84, Verdict::Void);
        let most = |value: f64| Figure::new("x", value, Unit::Ms).bar(Bar::AtMost(120.0)).verdict;
        assert_eq!((most(119.0), most(121.0)), (Verdict::Passed, Verdict::Missed));
    }
}
