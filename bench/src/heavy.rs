//! A model with real work, beside the bare library that does this work: what serving adds to it.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tenon_client::load::Target;
use tenon_client::load::questions::synthetic;
use tenon_codec::oip::{self, Form, InferRequest, OutputAsk};
use tenon_contract::{NamedTensor, ServiceName};

use crate::bare::Bare;
use crate::blocks::{Arm, Block, take_turns};
use crate::figure::{Bar, Figure, Outcome, Unit};
use crate::machine;
use crate::served::Served;
use crate::server::Tenon;
use crate::setting::Setting;

const MODEL: &str = "detection/ssd_mobilenet_300.onnx";
/// What callers of a detector want of it: 2.4 kB. Its raw boxes and scores are 730 kB more.
const DETECTIONS: [&str; 4] = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"];
const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;

/// Where server and generator run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cores {
    /// The server on one core, the generator on the other.
    Apart,
    /// Both wherever the system puts them.
    Shared,
}

impl Cores {
    fn for_server<T>(self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::Apart { machine::on_core(SERVER_CORE, work) } else { work() }
    }

    fn for_generator<T>(self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::Apart { machine::on_core(GENERATOR_CORE, work) } else { work() }
    }

    /// Cores that the server has.
    fn count(self) -> usize {
        if self == Self::Apart { 1 } else { machine::cores() }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Apart => "pinned",
            Self::Shared => "sharing all cores",
        }
    }

    /// The bar for so many connections. One at a time leaves all cores but one without work: no bar.
    fn bar(self, connections: usize) -> Option<Bar> {
        match self {
            Self::Apart => Some(Bar::AtLeast(0.97)),
            Self::Shared => (connections >= self.count()).then_some(Bar::AtLeast(0.92)),
        }
    }
}

/// Measures it, pinned and sharing the cores.
///
/// # Errors
/// A server does not start or does not answer.
pub(crate) fn measure(setting: &Setting) -> Result<Outcome> {
    if let Err(why) = setting.model(MODEL) {
        return Ok(Outcome::skipped("heavy", why));
    }
    if machine::cores() < 2 {
        return Ok(Outcome::skipped("heavy", "server and generator need a core each"));
    }
    let mut outcome = Outcome::new("heavy");
    for cores in [Cores::Apart, Cores::Shared] {
        side_by_side(setting, cores, &mut outcome)?;
    }
    Ok(outcome)
}

fn side_by_side(setting: &Setting, cores: Cores, outcome: &mut Outcome) -> Result<()> {
    let model = setting.model(MODEL).map_err(anyhow::Error::msg)?;
    let tenon = cores.for_server(|| Tenon::start(&setting.binary))?;
    let service: ServiceName = "detector".parse()?;
    tenon.deploy(&service, &tenon.push("detector", &model)?, None)?;
    let input = input(&tenon, &service)?;

    let bare = Bare::new(&setting.library, &model, &input.tensor)?;
    let way = cores.for_server(|| bare.fastest(cores.count(), setting.effort))?;
    let (mut first, mut second) = cores.for_server(|| Ok((bare.start(way)?, bare.start(way)?)))?;
    let (ours, whole) =
        (served(&tenon, &service, &input, &DETECTIONS)?, served(&tenon, &service, &input, &[])?);
    let block = |ours, connections| {
        let ours: &Served = ours;
        move |duration: Duration| -> Result<Block> {
            cores.for_generator(|| ours.block(connections, duration))
        }
    };
    let mut arms = [
        Arm::new("bare", |duration| first.block(duration)),
        Arm::new("1 connection", block(&ours, 1)),
        Arm::new("2 connections", block(&ours, 2)),
        Arm::new("4 connections", block(&ours, 4)),
        Arm::new("4 connections and all six outputs", block(&whole, 4)),
        Arm::new("bare again", |duration| second.block(duration)),
    ];
    let restless = take_turns(&mut arms, setting.effort)?;

    let [bare, served @ .., again] = &arms;
    let control = again.rate() / bare.rate();
    for (arm, bar) in served.iter().zip([cores.bar(1), cores.bar(2), cores.bar(4), None]) {
        let name = format!("detector, binary tensors, {}, {}, of bare ONNX Runtime", cores.name(), arm.name);
        let figure = Figure::new(name, arm.rate() / bare.rate(), Unit::OfPeer).control(control);
        outcome.figures.push(bar.into_iter().fold(figure, Figure::bar));
        let name = format!("... processor time of the server for an answer, {}", arm.name);
        outcome.figures.push(Figure::new(name, arm.server_us(), Unit::Us));
    }
    let told = format!("bare ONNX Runtime, {}, {way}", cores.name());
    outcome.figures.push(Figure::new(told.clone(), bare.rate(), Unit::PerSecond));
    outcome.figures.push(Figure::new(
        format!("{told}: processor time for a run"),
        bare.server_us(),
        Unit::Us,
    ));
    outcome.notes.extend(setting.restless(restless, arms.len()));
    Ok(())
}

/// One input that fits the service, the same each time.
fn input(tenon: &Tenon, service: &ServiceName) -> Result<NamedTensor> {
    let served = tenon.ask(async |client| client.service(service).await)?;
    let signature = served.contract.tensors().context("the service offers no tensors")?;
    synthetic(&signature, 1).pop().and_then(|mut inputs| inputs.pop()).context("the model has no input")
}

/// A request for the outputs of these names, or for all where there are none.
fn served(tenon: &Tenon, service: &ServiceName, input: &NamedTensor, names: &[&str]) -> Result<Served> {
    let ask = |name: &&str| OutputAsk { name: (*name).into(), binary: None, classification: None };
    let request = InferRequest {
        inputs: vec![input.clone()],
        outputs: names.iter().map(ask).collect(),
        binary_output: true,
        ..InferRequest::default()
    };
    let encoded = oip::encode_request(&request, Form::Binary).map_err(|fault| anyhow!(fault.to_string()))?;
    let target = Target::of(tenon.client())?;
    let shot = target.infer(service, encoded)?;
    Ok(Served::new(tenon.id(), &target, &shot))
}
