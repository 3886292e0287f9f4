//! The suite that every runtime passes.
//!
//! A runtime's own tests mount it with [`runtime_suite!`](crate::runtime_suite) and a case: a runtime,
//! a bundle it loads, inputs with the right answer, and a bundle that computes long.

use std::time::{Duration, Instant};

use tenon_contract::{Example, Outputs, Parameters, Tolerance};

use crate::{Bundle, Call, Cancel, LoadOptions, Model, RunError, Runtime, Session, Single};

/// Mounts the suite: `runtime_suite!(case)` where `case()` gives a [`checks::Case`].
#[macro_export]
macro_rules! runtime_suite {
    ($case:expr) => {
        $crate::runtime_suite!(@ $case, loads, refuses_garbage, batch_equals_singles, workers_agree,
            empty_batch, cancel_stops, deadline_stops, memory_comes_back);
    };
    (@ $case:expr, $($check:ident),*) => {
        $(#[test]
        fn $check() {
            if let Some(case) = $case {
                $crate::checks::$check(&case);
            }
        })*
    };
}

/// The checks by name, for the macro.
pub mod checks {
    use super::*;

    /// What a runtime brings to be checked with.
    pub struct Case {
        /// The runtime.
        pub runtime: Box<dyn Runtime>,
        /// A model with batched rows.
        pub bundle: Bundle,
        /// Inputs of two or more rows with their right answers.
        pub example: Example,
        /// How near the answers must be.
        pub tolerance: Tolerance,
        /// A model that computes for a second or longer, with inputs that fit it.
        pub slow: Option<(Bundle, Example)>,
        /// Bytes of the process (or of the engine) that grow when models are kept. The suite asks for
        /// the growth over many loads to be small.
        pub memory: fn() -> u64,
    }

    /// It recognises its model, loads it and gives the right answer.
    pub fn loads(case: &Case) {
        assert!(case.runtime.recognise(case.bundle.artifact()).is_some(), "recognises its own");
        let model = load(case, &case.bundle);
        let outputs = answer(&mut *session(&*model), &*model, &case.example);
        assert_right(&*model, &outputs, &case.example, case.tolerance);
    }

    /// Bytes cut off, bent or of another kind give an error, never a model and never a panic.
    pub fn refuses_garbage(case: &Case) {
        let whole = case.bundle.artifact();
        let bent: Vec<u8> = whole.iter().map(|byte| byte ^ 0x5a).collect();
        let texts = [b"hello".to_vec(), vec![0; 4096], bent, whole[..whole.len() / 2].to_vec()];
        for bytes in texts {
            let bundle = Bundle::open(bytes.into(), crate::BundleLimits::default()).expect("a bare artifact");
            let refused = case.runtime.load(&bundle, &LoadOptions::default()).is_err();
            assert!(refused, "{:?} became a model", &bundle.artifact()[..bundle.artifact().len().min(16)]);
        }
    }

    /// The answer of a batch is the answers of its rows.
    pub fn batch_equals_singles(case: &Case) {
        let model = load(case, &case.bundle);
        let mut session = session(&*model);
        let whole = answer(&mut *session, &*model, &case.example);
        let rows = case.example.inputs[0].tensor.rows();
        assert!(rows >= 2, "the suite needs a batch");
        for row in 0..rows {
            let mut single = case.example.clone();
            single.inputs.iter_mut().for_each(|named| named.tensor = named.tensor.slice_rows(row..row + 1));
            let answer = answer(&mut *session, &*model, &single);
            for (single, batch) in answer.tensors().iter().zip(whole.tensors()) {
                single.matches(&batch.slice_rows(row..row + 1), case.tolerance).expect("row as in the batch");
            }
        }
    }

    /// Two sessions on two threads give the same answer, bit for bit, many times.
    pub fn workers_agree(case: &Case) {
        let model = load(case, &case.bundle);
        let work = || {
            let mut session = session(&*model);
            (0..20).map(|_| answer(&mut *session, &*model, &case.example)).collect::<Vec<_>>()
        };
        let (one, two) = std::thread::scope(|scope| {
            let (one, two) = (scope.spawn(work), scope.spawn(work));
            (one.join().expect("a worker"), two.join().expect("a worker"))
        });
        assert!(one.iter().chain(&two).all(|outputs| *outputs == one[0]));
    }

    /// No rows in, no rows out, or a clean refusal.
    pub fn empty_batch(case: &Case) {
        let model = load(case, &case.bundle);
        let mut empty = case.example.clone();
        empty.inputs.iter_mut().for_each(|named| named.tensor = named.tensor.slice_rows(0..0));
        match try_answer(&mut *session(&*model), &*model, &empty, &Cancel::new(), None) {
            Ok(outputs) => assert!(outputs.tensors().iter().all(|tensor| tensor.rows() == 0)),
            Err(error) => assert!(matches!(error, RunError::Failed(_)), "{error}"),
        }
    }

    /// A fired token ends a running call soon.
    pub fn cancel_stops(case: &Case) {
        let Some((bundle, example)) = &case.slow else { return };
        let model = load(case, bundle);
        let cancel = Cancel::new();
        let (ended, error) = std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                let result = try_answer(&mut *session(&*model), &*model, example, &cancel, None);
                (Instant::now(), result.err())
            });
            std::thread::sleep(Duration::from_millis(100));
            let fired = Instant::now();
            cancel.cancel();
            let (ended, error) = call.join().expect("the call");
            (ended.saturating_duration_since(fired), error)
        });
        assert_eq!(error, Some(RunError::Cancelled), "ended {ended:?} after the token fired");
    }

    /// A deadline that has passed before the call begins is told as such.
    pub fn deadline_stops(case: &Case) {
        let model = load(case, &case.bundle);
        let past = Instant::now().checked_sub(Duration::from_millis(1));
        let result = try_answer(&mut *session(&*model), &*model, &case.example, &Cancel::new(), past);
        assert_eq!(result.err(), Some(RunError::Deadline));
    }

    /// Loading and dropping many times does not grow the process.
    pub fn memory_comes_back(case: &Case) {
        let turn = || {
            drop(answer(&mut *session(&*load(case, &case.bundle)), &*load(case, &case.bundle), &case.example))
        };
        (0..10).for_each(|_| turn());
        let before = (case.memory)();
        (0..50).for_each(|_| turn());
        let grown = (case.memory)().saturating_sub(before);
        assert!(grown < 4 << 20, "100 loads left {grown} bytes");
    }

    fn load(case: &Case, bundle: &Bundle) -> Box<dyn Model> {
        case.runtime.load(bundle, &LoadOptions::default()).expect("the model loads")
    }

    fn session(model: &dyn Model) -> Box<dyn Session> {
        model.session().expect("the model gives a session")
    }

    fn answer(session: &mut dyn Session, model: &dyn Model, example: &Example) -> Outputs {
        try_answer(session, model, example, &Cancel::new(), None).expect("the model answers")
    }

    fn try_answer(
        session: &mut dyn Session,
        model: &dyn Model,
        example: &Example,
        cancel: &Cancel,
        deadline: Option<Instant>,
    ) -> Result<Outputs, RunError> {
        let inputs = model.signature().bind(example.inputs.clone()).expect("the example fits");
        let parameters = Parameters::new();
        let mut single = Single::default();
        let call = Call { inputs: &inputs, parameters: &parameters, deadline, cancel, sequence: None };
        session.run(call, &mut single)?;
        Ok(model.signature().check(single.take()?).expect("outputs fit the signature"))
    }

    fn assert_right(model: &dyn Model, outputs: &Outputs, example: &Example, tolerance: Tolerance) {
        for expected in &example.outputs {
            let at = model.signature().outputs.iter().position(|spec| spec.name == expected.name);
            let found = &outputs.tensors()[at.expect("the output exists")];
            found.matches(&expected.tensor, tolerance).expect("the right answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::checks::Case;
    use super::*;
    use crate::toy::Toy;
    use tenon_contract::{NamedTensor, Tensor};

    fn bundle(text: &'static str) -> Bundle {
        Bundle::open(bytes::Bytes::from_static(text.as_bytes()), crate::BundleLimits::default()).unwrap()
    }

    fn example() -> Example {
        let column = |name: &str, values: [f32; 2]| {
            vec![NamedTensor::new(name, Tensor::from_values(vec![2, 1], values.to_vec()).unwrap())]
        };
        Example { inputs: column("x", [1.0, 2.0]), outputs: column("y", [3.0, 4.0]) }
    }

    fn toy() -> Option<Case> {
        Some(Case {
            runtime: Box::new(Toy::new()),
            bundle: bundle("toy add=2 end"),
            example: example(),
            tolerance: Tolerance::EXACT,
            slow: Some((bundle("toy run_ms=5000 end"), example())),
            memory: || 0,
        })
    }

    runtime_suite!(toy());
}
