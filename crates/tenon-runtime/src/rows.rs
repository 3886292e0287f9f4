//! Models that take one row at a time, made to take batches.

use std::sync::Arc;

use tenon_contract::{Contract, Fault, Inputs, NamedTensor, Signature, Tensor};

use crate::{Answers, Call, Capabilities, LoadError, Model, RunError, Session, Single};

/// Runs the rows of a batch one after the other, and joins the answers along their first dimension.
///
/// Its signature is that of the model inside: with a first dimension that is free in every input and
/// output, though the model takes and gives one row.
pub struct EachRow(Arc<dyn Model>);

impl EachRow {
    /// Around a model.
    ///
    /// # Errors
    /// An input or output does not begin with a free dimension.
    pub fn new(model: Arc<dyn Model>) -> Result<Self, LoadError> {
        match model.signature().is_batched() {
            true => Ok(Self(model)),
            false => {
                Err(LoadError::malformed("rows", "every input and output must begin with a free dimension"))
            }
        }
    }
}

impl Model for EachRow {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn contract(&self) -> Contract {
        self.0.contract()
    }

    fn samples(&self, rows: usize) -> Option<Vec<NamedTensor>> {
        self.0.samples(rows)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rows_independent: Some(true), max_batch: None, ..self.0.capabilities() }
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(Rows { session: self.0.session()?, model: self.0.clone() }))
    }
}

struct Rows {
    session: Box<dyn Session>,
    model: Arc<dyn Model>,
}

impl Session for Rows {
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        let rows = call.inputs.rows();
        if rows == 1 {
            return self.session.run(call, answers);
        }
        let mut parts: Vec<Vec<Tensor>> =
            vec![Vec::with_capacity(rows); self.model.signature().outputs.len()];
        for row in 0..rows {
            call.check()?;
            let inputs = self.row(call.inputs, row).map_err(|fault| RunError::Failed(fault.text))?;
            let mut single = Single::default();
            self.session
                .run(Call { inputs: &inputs, ..call }, &mut single)
                .map_err(|error| error.during(format_args!("row {}", row + 1)))?;
            for (part, tensor) in parts.iter_mut().zip(single.take()?) {
                part.push(tensor);
            }
        }
        let specs = &self.model.signature().outputs;
        let joined = parts.iter().zip(specs).map(|(part, spec)| match part.is_empty() {
            false => Tensor::concat_rows(part),
            true => {
                let sizes = spec.shape.iter().skip(1).map(|dim| dim.size().unwrap_or(0));
                let shape = std::iter::once(0).chain(sizes).collect();
                Tensor::new(spec.datatype, shape, bytes::Bytes::new())
            }
        });
        let joined: Result<Vec<_>, _> = joined.collect();
        answers.send(joined.map_err(|error| RunError::Failed(format!("join the rows: {error}")))?)
    }
}

impl Rows {
    fn row(&self, inputs: &Inputs, row: usize) -> Result<Inputs, Fault> {
        let signature = self.model.signature();
        let one = signature.inputs.iter().zip(inputs.tensors());
        let one = one.map(|(spec, tensor)| {
            if row >= tensor.rows() {
                return Err(Fault::invalid(format!("input `{}` has fewer rows than the first", spec.name)));
            }
            Ok(NamedTensor::new(spec.name.clone(), tensor.slice_rows(row..row + 1)))
        });
        signature.bind(one.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Affine, ask};

    #[test]
    fn a_batch_is_its_rows() {
        let model = EachRow::new(Arc::new(Affine::named("x", "y", 1.0))).unwrap();
        let check = |values: &[f32], expected: &[f32]| {
            let x = Tensor::from_values(vec![values.len() as i64, 1], values.to_vec()).unwrap();
            let y = ask(&model, vec![NamedTensor::new("x", x)]).unwrap().remove(0);
            assert_eq!(y.shape(), [values.len() as i64, 1]);
            assert_eq!(y.values::<f32>().unwrap().as_ref(), expected);
        };
        check(&[1.0], &[2.0]);
        check(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0]);
        check(&[], &[]);
    }
}
