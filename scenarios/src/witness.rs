//! What a node serves, decided by its answers to three known inputs and by the identity they bear.
//!
//! The models behind a watched service add one number to what they are given (`fixtures/onnx/add_*.onnx`),
//! so a body says which of them made it. Body and identity are compared by who knows what each version adds.

use std::io;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::http::{Answer, Connection, Request};

/// The known inputs, one row each.
const INPUTS: [[f64; 4]; 3] = [[0.0, 1.0, 2.0, 3.0], [-1.5, 0.25, 1000.0, -7.0], [64.0, 8.0, 1.0, 0.125]];

/// What an answer says about who gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sight {
    /// Generation of the node. Sights are in its order.
    pub generation: u64,
    /// Revision of the service.
    pub revision: u64,
    /// `m/3`.
    pub version: String,
    /// sha256 of the version.
    pub digest: String,
    /// What was added: 1 or 2, from the body.
    pub added: u64,
}

/// A request for a known input.
pub fn question(service: &str, index: usize) -> Request {
    let x = INPUTS[index % INPUTS.len()];
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": x });
    Request::post(&format!("/v2/models/{service}/infer"), json!({ "inputs": [input] }).to_string())
}

/// What an answer to [`question`] `index` says.
///
/// # Errors
/// It is no success, its body is not one number added to the input, or it does not say who gave it.
pub fn sight(answer: &Answer, index: usize) -> Result<Sight> {
    ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
    let number = |name: &str| {
        let text = answer.header(name);
        text.parse::<u64>().with_context(|| format!("header {name}: `{text}` is no number"))
    };
    Ok(Sight {
        added: added(&answer.json(), &INPUTS[index % INPUTS.len()])?,
        version: answer.header("tenon-version").to_owned(),
        digest: answer.header("tenon-digest").to_owned(),
        revision: number("tenon-revision")?,
        generation: number("tenon-generation")?,
    })
}

fn added(body: &Value, x: &[f64; 4]) -> Result<u64> {
    let y = body.pointer("/outputs/0/data").and_then(Value::as_array);
    let y = y.with_context(|| format!("no output in {body}"))?;
    ensure!(y.len() == x.len(), "{} numbers for {}", y.len(), x.len());
    let differences: Vec<f64> = y.iter().zip(x).map(|(y, x)| y.as_f64().unwrap_or(f64::NAN) - x).collect();
    let added = differences[0].round();
    ensure!(
        differences.iter().all(|difference| (difference - added).abs() < 1e-3) && added > 0.0,
        "{y:?} is not one number added to {x:?}"
    );
    Ok(added as u64)
}

/// Asks all three inputs and gives what the service serves; nothing where there is no such service.
///
/// # Errors
/// The answers are of no version, or not all of the same one.
pub fn look(port: u16, service: &str) -> Result<Option<Sight>> {
    let mut connection = Connection::open(port).context("connect")?;
    let mut seen: Option<Sight> = None;
    for index in 0..INPUTS.len() {
        let answer = connection.send(&question(service, index)).context("ask")?;
        if answer.status == 404 {
            ensure!(seen.is_none(), "the service went away between two questions");
            return Ok(None);
        }
        let sight = sight(&answer, index)?;
        let same = seen.as_ref().is_none_or(|seen| *seen == sight);
        ensure!(same, "one answer is of {seen:?}, the next of {sight:?}");
        seen = Some(sight);
    }
    Ok(seen)
}

/// A small load on a service: asks until the connection breaks or `more` says no, and shows each sight; nothing
/// where the service is not there, or is about to be taken away or made.
///
/// # Errors
/// An answer that is of no version. That nobody answers any more is none: the server may be killed.
pub fn watch(
    port: u16,
    service: &str,
    more: impl Fn() -> bool,
    mut seen: impl FnMut(Option<Sight>) -> Result<()>,
) -> Result<()> {
    let Ok(mut connection) = Connection::open(port) else { return Ok(()) };
    let mut index = 0;
    while more() {
        let answer: io::Result<Answer> = connection.send(&question(service, index));
        let Ok(answer) = answer else { return Ok(()) };
        let is_absent =
            answer.status == 404 || (answer.status == 503 && answer.text().contains("is changing"));
        seen(if is_absent { None } else { Some(sight(&answer, index)?) })?;
        index += 1;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}
