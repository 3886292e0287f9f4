//! The proof of a version: it gives its examples' right answers, or runs on inputs drawn from its
//! signature, finite and repeatable.
//!
//! Used twice: in the child, where a version is proven the first time and its cost measured, and on a
//! node, where nothing is published that has not been proven under the node's own key.

use std::time::Instant;

use tenon_contract::proof::Mismatch;
use tenon_contract::{
    Example, Examples, Fault, FaultKind, Inputs, NamedTensor, Outputs, Parameters, ProofKind, Tolerance,
};
use tenon_runtime::{Call, Cancel, Model, RunError, Session, Single};

use crate::clock;
use crate::synthetic::{self, Draw};

/// Rows of the batches that synthetic inputs come in.
const BATCHES: [usize; 3] = [1, 3, 8];

/// Calls whose median is the cost of one call.
const TIMED_CALLS: usize = 5;

/// What a proof found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// On what it was proven.
    pub kind: ProofKind,
    /// Examples answered.
    pub examples: u32,
    /// Whether a row's answer is the same alone and in a batch; `None` where there are no rows.
    pub rows_independent: Option<bool>,
    /// Whether the same input gave the same answer twice, bit for bit.
    pub repeatable: bool,
    /// What was noticed and does not stand against serving.
    pub notes: Vec<String>,
    /// Median time of one call, microseconds.
    pub call_micros: u64,
}

/// Proves a model in one of its sessions.
///
/// # Errors
/// [`FaultKind::Invalid`] with the example that went wrong and how.
pub fn prove(
    model: &dyn Model,
    session: &mut dyn Session,
    examples: Option<&Examples>,
) -> Result<Evidence, Fault> {
    let mut prover = Prover { model, session };
    let tolerance = examples.map_or_else(Tolerance::default, |examples| examples.tolerance);
    let all = examples.map_or(&[][..], |examples| &examples.examples);
    // An example without a right answer shows nothing but that it is answered.
    let (golden, warm_ups): (Vec<_>, Vec<_>) = all.iter().partition(|example| !example.outputs.is_empty());
    for (index, warm_up) in warm_ups.iter().enumerate() {
        prover.warm_up(warm_up).map_err(|fault| fault.during(format_args!("warm-up {}", index + 1)))?;
    }
    match &golden[..] {
        [] => prover.synthetic(),
        golden => prover.golden(golden, tolerance),
    }
}

/// Runs one call to warm a session up, and the requests that its bundle has for that; answers are not looked at,
/// an error of the model is no fault.
pub(crate) fn warm_up(model: &dyn Model, session: &mut dyn Session, examples: Option<&Examples>) {
    let drawn = || synthetic::draw(model.signature(), 1, Draw::Ordinary { free: synthetic::FREE_SIZES[0] });
    let inputs = model.samples(1).unwrap_or_else(drawn);
    let all = examples.into_iter().flat_map(|examples| &examples.examples);
    let warm_ups = all.filter(|example| example.outputs.is_empty()).map(|example| example.inputs.clone());
    for inputs in std::iter::once(inputs).chain(warm_ups) {
        if let Ok(inputs) = model.signature().bind(inputs) {
            let _ = run(session, &inputs);
        }
    }
}

struct Prover<'a> {
    model: &'a dyn Model,
    session: &'a mut dyn Session,
}

impl Prover<'_> {
    fn warm_up(&mut self, example: &Example) -> Result<(), Fault> {
        let inputs = self.model.signature().bind(example.inputs.clone()).map_err(refused)?;
        self.answer(&inputs).map(drop)
    }

    fn golden(&mut self, examples: &[&Example], tolerance: Tolerance) -> Result<Evidence, Fault> {
        let mut repeatable = true;
        let mut first = None;
        for (index, example) in examples.iter().enumerate() {
            let place = || format!("example {}", index + 1);
            let inputs = self.model.signature().bind(example.inputs.clone());
            let inputs = inputs.map_err(|fault| refused(fault).during(place()))?;
            let outputs = self.answer(&inputs).map_err(|fault| fault.during(place()))?;
            self.compare(&outputs, example, tolerance).map_err(|fault| fault.during(place()))?;
            if index == 0 {
                repeatable = self.answer(&inputs)? == outputs;
                first = Some(inputs);
            }
        }
        let first = first.ok_or_else(|| Fault::internal("prove: no example"))?;
        Ok(Evidence {
            kind: ProofKind::Golden,
            examples: examples.len() as u32,
            rows_independent: self.rows_independent(examples, tolerance)?,
            repeatable,
            notes: Vec::new(),
            call_micros: self.time(&first)?,
        })
    }

    fn compare(&self, outputs: &Outputs, example: &Example, tolerance: Tolerance) -> Result<(), Fault> {
        for expected in &example.outputs {
            let at = self.model.signature().outputs.iter().position(|spec| spec.name == expected.name);
            let at = at.ok_or_else(|| Fault::invalid(format!("model has no output `{}`", expected.name)))?;
            let wrong = |wrong: Mismatch| Fault::invalid(format!("output `{}`: {wrong}", expected.name));
            outputs.tensors()[at].matches(&expected.tensor, tolerance).map_err(wrong)?;
        }
        Ok(())
    }

    /// Several single-row examples at once must give what each gave alone.
    fn rows_independent(
        &mut self,
        examples: &[&Example],
        tolerance: Tolerance,
    ) -> Result<Option<bool>, Fault> {
        let signature = self.model.signature();
        let rows: Vec<_> = examples.iter().take(BATCHES[2]).collect();
        if !signature.is_batched() || rows.len() < 2 {
            return Ok(None);
        }
        let singles: Vec<Inputs> =
            rows.iter().map(|example| signature.bind(example.inputs.clone())).collect::<Result<_, _>>()?;
        let joined = (0..signature.inputs.len()).map(|at| {
            let column: Vec<_> = singles.iter().map(|inputs| inputs.tensors()[at].clone()).collect();
            let joined = tenon_contract::Tensor::concat_rows(&column);
            joined.map(|tensor| NamedTensor::new(signature.inputs[at].name.clone(), tensor))
        });
        // Examples of different row shapes cannot be joined: then nothing is said about rows.
        let Ok(joined) = joined.collect::<Result<Vec<_>, _>>() else { return Ok(None) };
        let whole = signature.bind(joined)?;
        let Ok(batch) = self.answer(&whole) else { return Ok(Some(false)) };
        let mut from = 0;
        for single in &singles {
            let to = from + single.rows();
            let alone = self.answer(single)?;
            let same = alone.tensors().iter().zip(batch.tensors()).all(|(alone, batch)| {
                batch.rows() >= to && alone.matches(&batch.slice_rows(from..to), tolerance).is_ok()
            });
            if !same {
                return Ok(Some(false));
            }
            from = to;
        }
        Ok(Some(true))
    }

    fn synthetic(&mut self) -> Result<Evidence, Fault> {
        let (free, single) = self.first_that_runs()?;
        let mut examples = 1;
        let mut repeatable = true;
        let mut rows_independent = None;
        let batches: &[usize] = if self.model.signature().is_batched() { &BATCHES } else { &BATCHES[..1] };
        for &rows in batches {
            let place = format!("synthetic batch of {rows}");
            let inputs = self.draw(rows, Draw::Ordinary { free })?;
            let outputs = self.answer(&inputs).map_err(|fault| fault.during(&place))?;
            finite(self.model, &outputs).map_err(|fault| fault.during(&place))?;
            repeatable &= self.answer(&inputs)? == outputs;
            examples += 1;
            if rows > 1 {
                let independent = self.rows_as_singles(rows, free, &outputs)?;
                rows_independent = Some(rows_independent.unwrap_or(true) && independent);
            }
        }
        if !repeatable {
            return Err(Fault::invalid(
                "model gave two answers to one synthetic input; push it with an example whose tolerance allows that",
            ));
        }
        let notes = self.edges(free, &mut examples)?;
        let call_micros = self.time(&single)?;
        Ok(Evidence {
            kind: ProofKind::Synthetic,
            examples,
            rows_independent,
            repeatable,
            notes,
            call_micros,
        })
    }

    /// Free dimensions that are no batch get the first size that the model takes.
    fn first_that_runs(&mut self) -> Result<(usize, Inputs), Fault> {
        let mut last = None;
        for free in synthetic::FREE_SIZES {
            let inputs = self.draw(1, Draw::Ordinary { free })?;
            match self.answer(&inputs) {
                Ok(_) => return Ok((free, inputs)),
                Err(fault) => last = Some(fault),
            }
        }
        let fault = last.unwrap_or_else(|| Fault::internal("no size to try"));
        let text = format!("synthetic input: {}; push it with an example of its own", fault.text);
        Err(Fault::new(fault.kind, text))
    }

    /// Rows drawn one by one are the rows of the batch: the draw depends on the row alone.
    fn rows_as_singles(&mut self, rows: usize, free: usize, batch: &Outputs) -> Result<bool, Fault> {
        let whole = self.draw(rows, Draw::Ordinary { free })?;
        for row in 0..rows {
            let signature = self.model.signature();
            let one = signature.inputs.iter().zip(whole.tensors());
            let one = one
                .map(|(spec, tensor)| NamedTensor::new(spec.name.clone(), tensor.slice_rows(row..row + 1)));
            let inputs = signature.bind(one.collect())?;
            let alone = self.answer(&inputs)?;
            let same = alone.tensors().iter().zip(batch.tensors()).all(|(alone, batch)| {
                batch.rows() == rows
                    && alone
                        .matches(
                            &batch.slice_rows(row..row + 1),
                            Tolerance { absolute: 1e-5, relative: 1e-4 },
                        )
                        .is_ok()
            });
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Edge values may be refused by the model or give what is not finite; they must not break it. Where a
    /// model offers samples of its own, bytes of any other kind are refused before they reach it.
    fn edges(&mut self, free: usize, examples: &mut u32) -> Result<Vec<String>, Fault> {
        let mut notes = Vec::new();
        for draw in Draw::edges(free) {
            let rows = if draw == Draw::Empty { 0 } else { 1 };
            let has_no_edges = draw != Draw::Empty && self.model.samples(1).is_some();
            if has_no_edges || (draw == Draw::Empty && !self.model.signature().is_batched()) {
                continue;
            }
            let inputs = self.draw(rows, draw)?;
            *examples += 1;
            match self.answer(&inputs) {
                Ok(outputs) => {
                    if let (Err(fault), false) = (finite(self.model, &outputs), draw == Draw::NotFinite) {
                        notes.push(format!("{draw}: {}", fault.text));
                    }
                }
                Err(fault) => notes.push(format!("{draw}: {}", fault.text)),
            }
        }
        // Whatever an edge did to the session, ordinary inputs must still be answered.
        let ordinary = self.draw(1, Draw::Ordinary { free })?;
        self.answer(&ordinary).map_err(|fault| fault.during("after edge values"))?;
        Ok(notes)
    }

    fn draw(&self, rows: usize, draw: Draw) -> Result<Inputs, Fault> {
        let sampled = matches!(draw, Draw::Ordinary { .. }).then(|| self.model.samples(rows)).flatten();
        let drawn = || synthetic::draw(self.model.signature(), rows, draw);
        self.model.signature().bind(sampled.unwrap_or_else(drawn))
    }

    fn answer(&mut self, inputs: &Inputs) -> Result<Outputs, Fault> {
        let outputs = run(self.session, inputs).map_err(|error| refused(error.into()))?;
        self.model.signature().check(outputs).map_err(refused)
    }

    fn time(&mut self, inputs: &Inputs) -> Result<u64, Fault> {
        let mut times = Vec::with_capacity(TIMED_CALLS);
        for _ in 0..TIMED_CALLS {
            let begun: Instant = clock::now();
            self.answer(inputs)?;
            times.push(clock::micros_since(begun));
        }
        times.sort_unstable();
        Ok(times[TIMED_CALLS / 2])
    }
}

fn run(session: &mut dyn Session, inputs: &Inputs) -> Result<Vec<tenon_contract::Tensor>, RunError> {
    let (parameters, cancel) = (Parameters::new(), Cancel::new());
    let call = Call { inputs, parameters: &parameters, deadline: None, cancel: &cancel, sequence: None };
    let mut single = Single::default();
    session.run(call, &mut single)?;
    single.take()
}

fn finite(model: &dyn Model, outputs: &Outputs) -> Result<(), Fault> {
    for (spec, tensor) in model.signature().outputs.iter().zip(outputs.tensors()) {
        if let Some(at) = tensor.first_not_finite() {
            return Err(Fault::invalid(format!("output `{}` is not finite at element {at}", spec.name)));
        }
    }
    Ok(())
}

/// What a model does wrong while it is proven is a fault of the upload.
fn refused(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::Model => Fault::invalid(fault.text),
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenon_contract::Tensor;
    use tenon_runtime::toy::Affine;

    fn column(name: &str, values: &[f32]) -> Vec<NamedTensor> {
        vec![NamedTensor::new(
            name,
            Tensor::from_values(vec![values.len() as i64, 1], values.to_vec()).unwrap(),
        )]
    }

    fn check(examples: Option<Examples>) -> Result<Evidence, String> {
        let model = Affine::named("x", "y", 2.0);
        let mut session = model.session().unwrap();
        prove(&model, &mut *session, examples.as_ref()).map_err(|fault| fault.text)
    }

    fn golden(inputs: &[f32], outputs: &[f32]) -> Option<Examples> {
        let example = Example { inputs: column("x", inputs), outputs: column("y", outputs) };
        Some(Examples { tolerance: Tolerance::default(), examples: vec![example.clone(), example] })
    }

    #[test]
    fn golden_examples_must_be_right() {
        let evidence = check(golden(&[1.0], &[3.0])).unwrap();
        assert_eq!((evidence.kind, evidence.examples), (ProofKind::Golden, 2));
        assert_eq!((evidence.rows_independent, evidence.repeatable), (Some(true), true));
        let wrong = check(golden(&[1.0], &[4.0])).unwrap_err();
        assert_eq!(wrong, "example 1: output `y`: element 0: expected 4, got 3");
    }

    #[test]
    fn warm_ups_must_be_answered_and_prove_nothing() {
        let warm_up = |name: &str| Example { inputs: column(name, &[1.0]), outputs: Vec::new() };
        let with = |examples: Vec<Example>| Some(Examples { examples, ..Examples::default() });
        let evidence = check(with(vec![warm_up("x")])).unwrap();
        assert_eq!((evidence.kind, evidence.rows_independent), (ProofKind::Synthetic, Some(true)));
        let mut both = golden(&[1.0], &[3.0]).unwrap();
        both.examples.push(warm_up("x"));
        let evidence = check(Some(both)).unwrap();
        assert_eq!((evidence.kind, evidence.examples), (ProofKind::Golden, 2));
        let wrong = check(with(vec![warm_up("x"), warm_up("z")])).unwrap_err();
        assert!(wrong.starts_with("warm-up 2: unknown input `z`"), "{wrong}");
    }

    #[test]
    fn without_examples_inputs_are_drawn() {
        for examples in [None, Some(Examples::default())] {
            let evidence = check(examples).unwrap();
            assert_eq!((evidence.kind, evidence.rows_independent), (ProofKind::Synthetic, Some(true)));
        }
    }
}
