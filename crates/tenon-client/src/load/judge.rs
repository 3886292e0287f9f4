//! The judge of a swap: knows what each version has to answer and who may answer when.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tenon_codec::oip;
use tenon_contract::Parameter;

use super::connection::Answer;
use super::ledger::Ledger;
use super::questions::{Known, Questions, compare, wide};
use super::{Charge, Offence, Referee};
use crate::data::json_length;

/// So many judged bodies are remembered for each question.
const REMEMBERED: usize = 8;
/// Larger bodies are decoded each time rather than kept.
const REMEMBERED_BYTES: usize = 64 << 10;

/// Decides about every answer of a load during swaps.
///
/// * no answer, a refusal: [`Offence::Lost`];
/// * a body that is the right answer of no version: [`Offence::Wrong`];
/// * a right answer under the name or the digest of another version, or with parameters in its body that
///   contradict its headers: [`Offence::Mixed`];
/// * one of a version that the [`Ledger`] does not allow: [`Offence::Stale`].
pub struct Judge {
    ledger: Arc<Ledger>,
    versions: Vec<Known>,
    /// The names as headers bear them.
    labels: Vec<(String, String)>,
    /// For each question, bodies that were decoded already.
    seen: Mutex<Vec<Vec<Seen>>>,
}

/// A body that was found to be some version's right answer.
struct Seen {
    body: Bytes,
    says: Arc<Body>,
}

/// What a body is.
struct Body {
    /// One bit for each version whose right answer it is.
    fits: u64,
    /// What its parameters say of who answered (`tenon_version`, ..), under the names of the headers that
    /// say the same.
    claims: Vec<(String, String)>,
}

impl Judge {
    /// A judge over at most 64 versions, numbered as in the ledger.
    pub fn new(ledger: Arc<Ledger>, versions: Vec<Known>) -> Self {
        assert!(versions.len() <= 64, "a judge knows at most 64 versions");
        let labels =
            versions.iter().map(|known| (known.version.to_string(), known.digest.to_string())).collect();
        Self { ledger, versions, labels, seen: Mutex::new(Vec::new()) }
    }

    /// How many of the questions have answers that tell all versions apart.
    pub fn telling(&self) -> usize {
        let questions = self.versions.first().map_or(0, |known| known.right.len());
        let same = |a: &Known, b: &Known, index: usize| {
            compare(&a.right[index], &b.right[index], a.tolerance).is_ok()
        };
        let tells = |index: &usize| {
            let pairs = self.versions.iter().enumerate();
            !pairs.clone().any(|(at, a)| self.versions[at + 1..].iter().any(|b| same(a, b, *index)))
        };
        (0..questions).filter(tells).count()
    }

    /// What a body is, from memory where it was seen before.
    fn body(&self, shot: usize, answer: &Answer) -> Result<Arc<Body>, Charge> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() <= shot {
            seen.resize_with(shot + 1, Vec::new);
        }
        let known = &mut seen[shot];
        if let Some(seen) = known.iter().find(|seen| seen.body == answer.body) {
            return Ok(Arc::clone(&seen.says));
        }
        let says = Arc::new(self.decode(shot, answer)?);
        if answer.body.len() <= REMEMBERED_BYTES {
            known.truncate(REMEMBERED - 1);
            // A copy: what the connection gave may be a slice of a larger buffer.
            let body = Bytes::copy_from_slice(&answer.body);
            known.insert(0, Seen { body, says: Arc::clone(&says) });
        }
        Ok(says)
    }

    fn decode(&self, shot: usize, answer: &Answer) -> Result<Body, Charge> {
        let wrong = |text: String| Charge::new(Offence::Wrong, format!("question {shot}: {text}"));
        let length = json_length(&answer.headers);
        let decoded = oip::decode_response(answer.body.clone(), length, &wide());
        let decoded = decoded.map_err(|fault| wrong(fault.to_string()))?;
        let id = Questions::id(shot);
        if decoded.id.as_ref().is_some_and(|found| *found != id) {
            return Err(wrong(format!("the answer bears the id {:?}", decoded.id.unwrap_or_default())));
        }
        let (mut fits, mut faults) = (0, Vec::new());
        for (version, known) in self.versions.iter().enumerate() {
            match compare(&decoded.outputs, &known.right[shot], known.tolerance) {
                Ok(()) => fits |= 1 << version,
                Err(fault) => faults.push(format!("not of {}: {fault}", known.version)),
            }
        }
        if fits == 0 {
            return Err(wrong(faults.join("; ")));
        }
        let claims = decoded.parameters.iter().filter(|(name, _)| name.starts_with("tenon_"));
        let claims = claims.map(|(name, value)| (name.replace('_', "-"), text(value))).collect();
        Ok(Body { fits, claims })
    }

    /// The version that the headers name, if the body is one of its answers and names no other.
    fn version(&self, shot: usize, answer: &Answer, body: &Body) -> Result<usize, Charge> {
        let mixed = |text: String| Charge::new(Offence::Mixed, format!("question {shot}: {text}"));
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let label = header("tenon-version").ok_or_else(|| mixed("the answer names no version".to_owned()))?;
        let version = self.labels.iter().position(|(known, _)| known == label);
        let version =
            version.ok_or_else(|| mixed(format!("the answer names {label}, which is not in play")))?;
        if body.fits & (1 << version) == 0 {
            let fits = (0..self.versions.len()).filter(|bit| body.fits & (1 << bit) != 0);
            let fits: Vec<_> = fits.map(|bit| self.labels[bit].0.as_str()).collect();
            return Err(mixed(format!("the body is of {}, the header says {label}", fits.join(" or "))));
        }
        for (name, claim) in &body.claims {
            if let Some(value) = header(name).filter(|value| value != claim) {
                return Err(mixed(format!("the body says {name} {claim}, the header {value}")));
            }
        }
        let digest = header("tenon-digest").filter(|digest| *digest != self.labels[version].1);
        if let Some(digest) = digest {
            return Err(mixed(format!("the header names {label} with the digest {digest}")));
        }
        Ok(version)
    }
}

impl Referee for Judge {
    fn before(&self) -> u64 {
        self.ledger.low()
    }

    fn judge(&self, shot: usize, before: u64, answer: &Answer) -> Result<(), Charge> {
        let high = self.ledger.high();
        answer.accepted()?;
        let body = self.body(shot, answer)?;
        let version = self.version(shot, answer, &body)?;
        if self.ledger.may_answer(version, before, high) {
            return Ok(());
        }
        let label = &self.labels[version].0;
        Err(Charge::new(
            Offence::Stale,
            format!(
                "question {shot}: {label} answered a request sent after swap {before} was acknowledged, swap {high} being the last asked for"
            ),
        ))
    }
}

/// A parameter as a header writes it.
fn text(value: &Parameter) -> String {
    match value {
        Parameter::Bool(value) => value.to_string(),
        Parameter::Int(value) => value.to_string(),
        Parameter::Uint(value) => value.to_string(),
        Parameter::Double(value) => value.to_string(),
        Parameter::String(value) => value.clone(),
    }
}

#[cfg(test)]
mod tests;
