//! The model behind a classifier: its scores to the likeliest classes.

use std::sync::Arc;

use tenon_contract::tensor::push_element;
use tenon_contract::{Datatype, Signature, Tensor, picture};
use tenon_runtime::{Answers, Bundle, Call, Capabilities, LoadError, Model, RunError, Session};

use crate::declared::{ClassifyTable, refused};
use crate::labels::Labels;
use crate::numbers::{activate, numbers};
use crate::post::Taken;

/// The output of a classifier to classes.
pub struct Classes {
    signature: Signature,
    plan: Arc<Plan>,
    one_by_one: bool,
}

struct Plan {
    table: ClassifyTable,
    labels: Labels,
}

impl Classes {
    /// What `table` says, for a model of `signature`.
    ///
    /// # Errors
    /// The output is not there, holds fewer classes than shall be given, or labels cannot be read.
    pub fn new(table: &ClassifyTable, signature: &Signature, bundle: &Bundle) -> Result<Self, LoadError> {
        let mut taken = Taken::of(signature);
        let name = match (&table.scores, &signature.outputs[..]) {
            (Some(name), _) => name,
            (None, [only]) => only.name.as_ref(),
            (None, _) => "",
        };
        let at = taken.take("classify.scores", name)?;
        let one_by_one = !taken.is_batched(&[(at, 1)]);
        let sizes: Option<Vec<i64>> = taken.inputs[at].shape.iter().skip(1).map(|dim| dim.size()).collect();
        let known = sizes.filter(|sizes| !sizes.is_empty()).map(|sizes| sizes.iter().product::<i64>());
        if known.is_some_and(|classes| classes < table.top_k as i64) {
            let text =
                format!("is {}, the model's output `{}` has fewer classes", table.top_k, taken.inputs[at]);
            return Err(refused("classify.top_k", text));
        }
        let outputs = picture::classify(table.top_k).tensors().map(|view| view.outputs).unwrap_or_default();
        let labels = Labels::read(table.labels.as_ref(), table.first_label, bundle)?;
        let plan = Arc::new(Plan { table: table.clone(), labels });
        Ok(Self { signature: Signature { inputs: taken.inputs, outputs }, plan, one_by_one })
    }

    /// Whether the output is that of one picture.
    pub fn one_by_one(&self) -> bool {
        self.one_by_one
    }
}

impl Model for Classes {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rows_independent: Some(true), deterministic: Some(true), ..Capabilities::default() }
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(Ranks { plan: self.plan.clone(), one_by_one: self.one_by_one }))
    }
}

struct Ranks {
    plan: Arc<Plan>,
    one_by_one: bool,
}

impl Session for Ranks {
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        call.check()?;
        let tensor = &call.inputs.tensors()[0];
        let rows = if self.one_by_one { 1 } else { tensor.rows() };
        answers.send(self.plan.answer(tensor, rows).map_err(RunError::Failed)?)
    }
}

impl Plan {
    fn answer(&self, tensor: &Tensor, rows: usize) -> Result<Vec<Tensor>, String> {
        let mut scores = numbers(tensor)?.into_owned();
        let columns = scores.len().checked_div(rows).unwrap_or(0);
        let top_k = self.table.top_k;
        if rows > 0 && columns < top_k {
            return Err(format!("model gave {columns} classes, `top_k` is {top_k}"));
        }
        let (mut classes, mut best, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for row in scores.chunks_exact_mut(columns.max(1)) {
            if let Some(quantised) = self.table.quantised {
                row.iter_mut().for_each(|score| *score = (*score - quantised.zero_point) * quantised.scale);
            }
            activate(row, self.table.activation);
            for (own, score) in highest_of(row, top_k) {
                let class = (own as i64).saturating_add(self.table.class_offset);
                classes.push(class);
                best.push(score);
                push_element(&mut labels, self.labels.name(class).as_bytes());
            }
        }
        let shape = vec![rows as i64, top_k as i64];
        let tensors = [
            Tensor::from_values(shape.clone(), classes),
            Tensor::from_values(shape.clone(), best),
            Tensor::new(Datatype::Bytes, shape, labels.into()),
        ];
        tensors.into_iter().collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}

/// The `most` highest of `scores` with their places, highest first; of equals the first. NaN counts lowest.
fn highest_of(scores: &[f32], most: usize) -> Vec<(usize, f32)> {
    let key = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
    let mut places: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    let order = |a: &(usize, f32), b: &(usize, f32)| key(b.1).total_cmp(&key(a.1)).then(a.0.cmp(&b.0));
    if most < places.len() {
        places.select_nth_unstable_by(most, order);
        places.truncate(most);
    }
    places.sort_unstable_by(order);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_come_first() {
        let scores = [0.1, 0.9, f32::NAN, 0.5, 0.9];
        assert_eq!(highest_of(&scores, 3), [(1, 0.9), (4, 0.9), (3, 0.5)]);
        assert_eq!(highest_of(&scores[..2], 2), [(1, 0.9), (0, 0.1)]);
    }
}
