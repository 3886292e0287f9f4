//! The difference between what a service promises and what a version offers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::contract::{Contract, Field, Kind, Message, Occurs};
use crate::signature::{Dim, Signature, TensorSpec};

/// How much a difference matters to callers of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing differs.
    #[default]
    Identical,
    /// Callers notice nothing.
    Compatible,
    /// Some caller that was right before is wrong now.
    Breaking,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identical => "identical",
            Self::Compatible => "compatible",
            Self::Breaking => "breaking",
        })
    }
}

/// One change with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where: `infer.input.x`.
    pub path: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub text: String,
}

/// All changes from a promised contract to an offered one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The most severe of the changes.
    pub severity: Severity,
    /// Every change, in the order of the contract.
    pub changes: Vec<Change>,
}

/// Which way a message travels decides which changes break.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Caller to model: the offer must take all that was promised to be taken.
    In,
    /// Model to caller: the offer must give all that was promised to be given.
    Out,
}

impl Difference {
    /// What callers of `promised` would notice if `offered` answered instead. Fields go by name: the
    /// service keeps its own wire numbers.
    pub fn between(promised: &Contract, offered: &Contract) -> Self {
        let mut difference = Self::default();
        for operation in &promised.operations {
            let name = &operation.name;
            match offered.operation(name) {
                None => difference.push(name, Severity::Breaking, "operation is not offered"),
                Some(offer) => {
                    difference.message(&format!("{name}.input"), Way::In, &operation.input, &offer.input);
                    difference.message(&format!("{name}.output"), Way::Out, &operation.output, &offer.output);
                    difference.view(name, operation.view.as_ref(), offer.view.as_ref());
                }
            }
        }
        for extra in offered.operations.iter().filter(|offer| promised.operation(&offer.name).is_none()) {
            difference.push(&extra.name, Severity::Compatible, "operation is offered in addition");
        }
        difference
    }

    /// Whether some caller would break.
    pub fn is_breaking(&self) -> bool {
        self.severity == Severity::Breaking
    }

    fn push(&mut self, path: &str, severity: Severity, text: impl Into<String>) {
        self.severity = self.severity.max(severity);
        self.changes.push(Change { path: path.to_owned(), severity, text: text.into() });
    }

    /// The tensor view of an operation, compared like messages of tensors.
    fn view(&mut self, name: &str, promised: Option<&Signature>, offered: Option<&Signature>) {
        match (promised, offered) {
            (Some(promised), Some(offered)) => {
                let message = |specs: &[TensorSpec]| Message::of_tensors("view", specs);
                for (part, way, was, is) in [
                    ("input", Way::In, &promised.inputs, &offered.inputs),
                    ("output", Way::Out, &promised.outputs, &offered.outputs),
                ] {
                    self.message(&format!("{name}.view.{part}"), way, &message(was), &message(is));
                }
            }
            (Some(_), None) => self.push(name, Severity::Breaking, "tensor view is not offered"),
            (None, Some(_)) => self.push(name, Severity::Compatible, "tensor view is offered in addition"),
            (None, None) => {}
        }
    }

    fn message(&mut self, path: &str, way: Way, promised: &Message, offered: &Message) {
        for field in &promised.fields {
            let path = format!("{path}.{}", field.name);
            match (offered.field(&field.name), way) {
                (Some(offer), _) => self.field(&path, way, field, offer),
                (None, Way::In) => self.push(&path, Severity::Breaking, "input is unknown to the version"),
                (None, Way::Out) => self.push(&path, Severity::Breaking, "output is not given"),
            }
        }
        for extra in offered.fields.iter().filter(|offer| promised.field(&offer.name).is_none()) {
            let path = format!("{path}.{}", extra.name);
            match (way, extra.occurs) {
                (Way::In, Occurs::Once) => {
                    self.push(&path, Severity::Breaking, "input is required in addition")
                }
                (Way::In, _) => self.push(&path, Severity::Compatible, "input can be given in addition"),
                (Way::Out, _) => self.push(&path, Severity::Compatible, "output is given in addition"),
            }
        }
    }

    fn field(&mut self, path: &str, way: Way, promised: &Field, offered: &Field) {
        if promised.occurs != offered.occurs {
            let loosened =
                way == Way::In && (promised.occurs, offered.occurs) == (Occurs::Once, Occurs::Optional);
            let tightened =
                way == Way::Out && (promised.occurs, offered.occurs) == (Occurs::Optional, Occurs::Once);
            let severity = if loosened || tightened { Severity::Compatible } else { Severity::Breaking };
            self.push(path, severity, format!("occurs {:?}, was {:?}", offered.occurs, promised.occurs));
        }
        match (&promised.kind, &offered.kind) {
            (Kind::Tensor { datatype: was, shape: old }, Kind::Tensor { datatype: is, shape: new }) => {
                if was != is {
                    self.push(path, Severity::Breaking, format!("datatype is {is}, was {was}"));
                } else {
                    self.shape(path, way, old, new);
                }
            }
            (Kind::Message(was), Kind::Message(is)) => self.message(path, way, was, is),
            (was, is) if was == is => {}
            (was, is) => {
                self.push(path, Severity::Breaking, format!("type is {}, was {}", noun(is), noun(was)))
            }
        }
    }

    fn shape(&mut self, path: &str, way: Way, promised: &[Dim], offered: &[Dim]) {
        if promised.len() != offered.len() {
            let text = format!("has {} dimensions, had {}", offered.len(), promised.len());
            return self.push(path, Severity::Breaking, text);
        }
        for (index, (was, is)) in promised.iter().zip(offered).enumerate() {
            match (was.size(), is.size(), way) {
                (Some(was), Some(is), _) if was != is => {
                    self.push(path, Severity::Breaking, format!("dimension {index} is {is}, was {was}"));
                }
                (None, Some(is), Way::In) => {
                    self.push(
                        path,
                        Severity::Breaking,
                        format!("dimension {index} is fixed to {is}, was free"),
                    );
                }
                (None, Some(is), Way::Out) => {
                    self.push(
                        path,
                        Severity::Compatible,
                        format!("dimension {index} is always {is}, was free"),
                    );
                }
                (Some(was), None, Way::In) => {
                    self.push(path, Severity::Compatible, format!("dimension {index} is free, was {was}"));
                }
                (Some(was), None, Way::Out) => {
                    let text =
                        format!("dimension {index} is not declared, was {was}; each answer is held to {was}");
                    self.push(path, Severity::Compatible, text);
                }
                _ => {}
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.severity)?;
        for change in &self.changes {
            write!(f, "; {} ({}): {}", change.path, change.severity, change.text)?;
        }
        Ok(())
    }
}

fn noun(kind: &Kind) -> String {
    match kind {
        Kind::Tensor { datatype, .. } => format!("tensor of {datatype}"),
        Kind::Scalar(datatype) => datatype.to_string(),
        Kind::Text => "text".to_owned(),
        Kind::Enum { name, .. } => format!("enum {name}"),
        Kind::Message(message) => format!("message {}", message.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Datatype;

    fn contract(inputs: &[(&str, Datatype, &[i64])], outputs: &[(&str, Datatype, &[i64])]) -> Contract {
        let specs = |specs: &[(&str, Datatype, &[i64])]| {
            specs.iter().map(|(name, datatype, shape)| TensorSpec::new(name, *datatype, shape)).collect()
        };
        Contract::of_signature(&Signature { inputs: specs(inputs), outputs: specs(outputs) })
    }

    #[test]
    fn between() {
        use Datatype::{Fp32, Fp64};
        type Side<'a> = &'a [(&'a str, Datatype, &'a [i64])];
        let check = |was: (Side, Side), is: (Side, Side), expected: Severity| {
            let difference = Difference::between(&contract(was.0, was.1), &contract(is.0, is.1));
            assert_eq!(difference.severity, expected, "{difference}");
            assert_eq!(difference.changes.is_empty(), expected == Severity::Identical, "{difference}");
        };
        let x: Side = &[("x", Fp32, &[-1, 4])];
        let y: Side = &[("y", Fp32, &[-1, 2])];
        check((x, y), (x, y), Severity::Identical);
        check((x, y), (x, &[("y", Fp32, &[-1, 2]), ("z", Fp32, &[-1])]), Severity::Compatible);
        check((x, &[("y", Fp32, &[-1, 2]), ("z", Fp32, &[-1])]), (x, y), Severity::Breaking);
        check((x, y), (&[("x", Fp32, &[-1, 4]), ("w", Fp32, &[1])], y), Severity::Breaking);
        check((x, y), (&[("renamed", Fp32, &[-1, 4])], y), Severity::Breaking);
        check((x, y), (&[("x", Fp64, &[-1, 4])], y), Severity::Breaking);
        check((x, y), (&[("x", Fp32, &[-1, -1])], y), Severity::Compatible);
        check((x, y), (&[("x", Fp32, &[1, 4])], y), Severity::Breaking);
        check((x, y), (&[("x", Fp32, &[-1, 4, 1])], y), Severity::Breaking);
        check((x, y), (x, &[("y", Fp32, &[1, 2])]), Severity::Compatible);
        check((x, y), (x, &[("y", Fp32, &[-1, -1])]), Severity::Compatible);
        check((x, y), (x, &[("y", Fp32, &[-1, 3])]), Severity::Breaking);
    }
}
