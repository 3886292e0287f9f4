//! Swaps under load: what `tenon bench swap` finds, for two pairs of versions and two widths of load.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tenon_client::load::swaps::{self, Press, SwapReport, Trial};
use tenon_contract::{ServiceName, Settings, VersionId};

use crate::figure::{Bar, Figure, Outcome, Unit};
use crate::machine;
use crate::server::Tenon;
use crate::setting::Setting;

const CONNECTIONS: [usize; 2] = [8, 64];
const SHARE: f64 = 0.6;
const EVERY: Duration = Duration::from_millis(250);
const QUESTIONS: usize = 64;
/// Undos that a 99th percentile needs.
const UNDOS: usize = 200;

/// How a swap finds the version it goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finds {
    /// Nothing of it in memory: each swap reads, loads and proves it beside the load.
    OnDisk,
    /// Warm, as the previous revision within its undo window; each fourth exchange is an undo.
    Warm,
}

impl Finds {
    fn settings(self) -> Settings {
        match self {
            Self::OnDisk => Settings { undo_window_s: 0, ..Settings::default() },
            Self::Warm => Settings::default(),
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::OnDisk => "loading",
            Self::Warm => "warm",
        }
    }
}

/// Two versions that are exchanged.
struct Pair {
    service: &'static str,
    from: PathBuf,
    to: PathBuf,
}

/// Measures it.
///
/// # Errors
/// A server does not start or a trial cannot be made.
pub(crate) fn measure(setting: &Setting) -> Result<Outcome> {
    let mut outcome = Outcome::new("swap");
    let digits =
        Pair { service: "digits", from: setting.fixture("digits/v1"), to: setting.fixture("digits/v2") };
    try_pair(setting, &digits, &mut outcome)?;
    let detectors = setting
        .model("detection/ssd_mobilenet_300.onnx")
        .and_then(|from| Ok((from, setting.model("detection/ssd_mobilenet_tf2_dynamic.onnx")?)));
    match detectors {
        Ok((from, to)) => try_pair(setting, &Pair { service: "detector", from, to }, &mut outcome)?,
        Err(why) => outcome.notes.push(format!("SKIPPED: swap of detectors: {why}")),
    }
    Ok(outcome)
}

fn try_pair(setting: &Setting, pair: &Pair, outcome: &mut Outcome) -> Result<()> {
    let service: ServiceName = pair.service.parse()?;
    let tenon = Tenon::start(&setting.binary)?;
    let from = tenon.push(pair.service, &pair.from)?;
    let to = tenon.push(pair.service, &pair.to)?;
    for finds in [Finds::OnDisk, Finds::Warm] {
        tenon.deploy(&service, &from, Some(finds.settings()))?;
        for connections in CONNECTIONS {
            machine::rest(setting.effort.rest, setting.effort.patience)?;
            let trial = trial(&service, (&from, &to), connections, setting.swaps, finds);
            let report = tenon.ask(async |client| swaps::run(client, &trial, &mut |_| {}).await)?;
            tell(&format!("{}, {}", pair.service, finds.told()), &report, outcome);
        }
    }
    Ok(())
}

fn trial(
    service: &ServiceName,
    (from, to): (&VersionId, &VersionId),
    connections: usize,
    swaps: u64,
    finds: Finds,
) -> Trial {
    Trial {
        service: service.clone(),
        from: from.clone(),
        to: to.clone(),
        swaps,
        every: EVERY,
        connections,
        press: Press::Share(SHARE),
        questions: QUESTIONS,
        form: None,
        undo: finds == Finds::Warm,
    }
}

fn tell(pair: &str, report: &SwapReport, outcome: &mut Outcome) {
    let title = format!("{pair}, {} connections", report.connections);
    let figure = |what: &str, value: f64, unit: Unit| Figure::new(format!("{title}: {what}"), value, unit);
    let count = |what: &str, value: u64| figure(what, value as f64, Unit::Count);
    let tally = report.load.tally;
    let failures =
        [("lost", tally.lost), ("wrong", tally.wrong), ("mixed", tally.mixed), ("stale", tally.stale)];
    let never = failures
        .into_iter()
        .chain([("swaps refused", report.refused.len() as u64), ("times not ready", report.not_ready)]);
    outcome.figures.push(count("swaps, undos among them", report.swaps as u64));
    outcome.figures.push(count("requests", tally.sent()));
    outcome.figures.extend(never.map(|(what, value)| count(what, value).bar(Bar::AtMost(0.0))));
    outcome.figures.extend(report.windows.ratio.map(|ratio| {
        let figure = figure("p99 inside swaps, of p99 between them", ratio, Unit::OfPeer);
        let figure = report.windows.control.into_iter().fold(figure, Figure::control);
        figure.bar(Bar::AtMost(1.2))
    }));
    outcome.figures.push(figure("p99 between swaps", report.windows.gaps.p99_us, Unit::Us));
    outcome.figures.extend(report.undo_published_us.map(|spread| {
        let figure = figure("undo, command -> published, p99", spread.p99, Unit::Us);
        // Of fewer the 99th percentile is just the slowest.
        if spread.count >= UNDOS { figure.bar(Bar::AtMost(1000.0)) } else { figure }
    }));
    outcome.figures.extend(
        report.undo_ms.map(|spread| figure("undo, command -> acknowledged, p50", spread.p50, Unit::Ms)),
    );
    outcome.figures.extend(
        report.swap_ms.map(|spread| figure("swap, command -> acknowledged, p50", spread.p50, Unit::Ms)),
    );
    outcome.figures.extend(report.publish_us.map(|spread| {
        figure("longest exchange of the generation", spread.max, Unit::Us).bar(Bar::AtMost(100.0))
    }));
    outcome.figures.extend(memory(&figure, report));
    outcome
        .notes
        .extend(report.load.charges.values().flatten().take(3).map(|text| format!("{title}: {text}")));
    outcome.notes.extend(report.refused.iter().take(3).map(|text| format!("{title}: {text}")));
}

fn memory(figure: &impl Fn(&str, f64, Unit) -> Figure, report: &SwapReport) -> Vec<Figure> {
    let Some(memory) = &report.memory else { return Vec::new() };
    let differs = f64::from(u8::from(!memory.models_same));
    let slope = memory
        .resident_per_swap
        .map(|slope| figure("slope of resident memory a swap", slope, Unit::Bytes).bar(Bar::AtMost(5000.0)));
    let models = memory.last.models.map(|bytes| figure("bytes of models at the end", bytes, Unit::Bytes));
    let same = figure("bytes of models differ from those before", differs, Unit::Count).bar(Bar::AtMost(0.0));
    [same].into_iter().chain(models).chain(slope).collect()
}
