//! A model with real work, beside the bare library that does this work: what serving adds to it.

use anyhow::{Context as _, Result, anyhow};
use tenon_client::load::Target;
use tenon_client::load::questions::synthetic;
use tenon_codec::oip::{self, Form, InferRequest, OutputAsk};
use tenon_contract::{NamedTensor, ServiceName};

use crate::bare::Bare;
use crate::cores::{Cores, SideBySide};
use crate::figure::{Bar, Outcome};
use crate::machine;
use crate::served::Served;
use crate::server::Tenon;
use crate::setting::Setting;

const MODEL: &str = "detection/ssd_mobilenet_300.onnx";
/// What callers of a detector want of it: 2.4 kB. Its raw boxes and scores are 730 kB more.
const DETECTIONS: [&str; 4] = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"];

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

/// The bar for so many connections. One at a time leaves all cores but one without work: no bar.
fn bar(cores: Cores, connections: usize) -> Option<Bar> {
    match cores {
        Cores::Apart => Some(Bar::AtLeast(0.97)),
        Cores::Shared => (connections >= cores.count()).then_some(Bar::AtLeast(0.92)),
    }
}

fn side_by_side(setting: &Setting, cores: Cores, outcome: &mut Outcome) -> Result<()> {
    let model = setting.model(MODEL).map_err(anyhow::Error::msg)?;
    let tenon = cores.for_server(|| Tenon::start(&setting.binary))?;
    let service: ServiceName = "detector".parse()?;
    tenon.deploy(&service, &tenon.push("detector", &model)?, None)?;
    let input = input(&tenon, &service)?;

    let bare = Bare::new(&setting.library, &model, &input.tensor)?;
    let asked = |names: &[&str]| served(&tenon, &service, &input, names);
    let (served, whole) = (asked(&DETECTIONS)?, asked(&[])?);
    let words = ["detector, binary tensors", "bare ONNX Runtime"];
    let further = Some(("4 connections and all six outputs", &whole));
    SideBySide { words, served: &served, further, bare: &bare, bar }.measure(setting, cores, outcome)
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
