//! A model that does nothing, beside a server that does nothing: what a request costs by itself.

use anyhow::{Context as _, Result, anyhow, ensure};
use tenon_client::load::Target;
use tenon_client::{Client, Options};
use tenon_codec::oip::{self, Encoded, Form, InferRequest};
use tenon_contract::{NamedTensor, ServiceName, Tensor};

use crate::blocks::{Arm, take_turns};
use crate::figure::{Bar, Figure, Outcome, Unit};
use crate::peers::{Peer, hello};
use crate::served::Served;
use crate::server::Tenon;
use crate::setting::Setting;

pub(crate) const CONNECTIONS: usize = 8;
pub(crate) const VALUES: usize = 20;

/// Measures it.
///
/// # Errors
/// A server does not start or does not answer.
pub(crate) fn measure(setting: &Setting) -> Result<Outcome> {
    let service: ServiceName = "identity".parse()?;
    let tenon = Tenon::start(&setting.binary)?;
    tenon.deploy(&service, &tenon.push("identity", &setting.fixture("onnx/identity.onnx"))?, None)?;
    is_right(&tenon, &service)?;
    let target = Target::of(tenon.client())?;
    let shot = target.infer(&service, question()?)?;
    let ours = Served::new(tenon.id(), &target, &shot);

    let ours = Arm::new("tenon", |duration| ours.block(CONNECTIONS, duration));
    beside_hello(setting, "noop", "no-op infer, OIP JSON", ours, 0.6)
}

/// Measures `ours` by turns with two processes of the peer, and sets the rates beside each other; `what` may be `bar` of the
/// peer or more.
///
/// # Errors
/// The peer does not start, or a block fails.
pub(crate) fn beside_hello(
    setting: &Setting,
    measurement: &'static str,
    what: &str,
    ours: Arm<'_>,
    bar: f64,
) -> Result<Outcome> {
    let (first, second) = (Hello::start()?, Hello::start()?);
    let mut arms = [
        Arm::new("axum hello", |duration| first.served.block(CONNECTIONS, duration)),
        ours,
        Arm::new("axum hello again", |duration| second.served.block(CONNECTIONS, duration)),
    ];
    let restless = take_turns(&mut arms, setting.effort)?;
    let [hello, ours, again] = &arms;

    let mut outcome = Outcome::new(measurement);
    let name = format!("{what}, {CONNECTIONS} connections, of a bare axum hello");
    outcome.figures = vec![
        Figure::new(name, ours.rate() / hello.rate(), Unit::OfPeer)
            .control(again.rate() / hello.rate())
            .bar(Bar::AtLeast(bar)),
    ];
    for arm in [ours, hello] {
        let told = |what: &str, value, unit| Figure::new(format!("{}: {what}", arm.name), value, unit);
        outcome.figures.extend([
            told("answers", arm.rate(), Unit::PerSecond),
            told("p99, closed loop", arm.p99_us(), Unit::Us),
            told("processor time of the server for an answer", arm.server_us(), Unit::Us),
        ]);
    }
    outcome.notes.extend(setting.restless(restless, arms.len()));
    Ok(outcome)
}

/// The peer with what is sent to it: the very same bytes.
struct Hello {
    served: Served,
    _peer: Peer,
}

impl Hello {
    fn start() -> Result<Self> {
        let (peer, address) = Peer::start(&["hello".to_owned()])?;
        let client = Client::new(&Options { server: format!("http://{address}"), ..Options::default() })?;
        let target = Target::of(&client)?;
        let shot = target.infer(&hello::SERVICE.parse()?, question()?)?;
        Ok(Self { served: Served::new(peer.id(), &target, &shot), _peer: peer })
    }
}

/// The one input: a row of values.
///
/// # Errors
/// Never: the values are as many as the shape says.
pub(crate) fn values() -> Result<NamedTensor> {
    let values: Vec<f32> = (0..VALUES as u8).map(|index| f32::from(index) * 1.25 - 7.0).collect();
    Ok(NamedTensor::new("x", Tensor::from_values(vec![1, VALUES as i64], values)?))
}

fn question() -> Result<Encoded> {
    let request = InferRequest { inputs: vec![values()?], ..InferRequest::default() };
    oip::encode_request(&request, Form::Json).map_err(|fault| anyhow!(fault.to_string()))
}

/// What is fast has to be right first.
fn is_right(tenon: &Tenon, service: &ServiceName) -> Result<()> {
    let question = question()?;
    let called = tenon.ask(async |client| client.infer(service, question).await)?;
    let limits = tenon_codec::Limits::default();
    let answer = oip::decode_response(called.body, called.json_length, &limits);
    let answer = answer.map_err(|fault| anyhow!(fault.to_string()))?;
    let output = answer.outputs.first().context("the answer has no output")?;
    ensure!(output.tensor == values()?.tensor, "the identity answers with something else");
    Ok(())
}
