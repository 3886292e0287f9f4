//! A loaded version as a short chain: pre | model | post, each a model.

use std::sync::Arc;

use tenon_contract::{Fault, Inputs, Memory, NamedTensor, Signature, Tensor};

use crate::{Answers, Call, Capabilities, LoadError, Model, RunError, Session, Single};

/// Models run one behind the other. The outputs of each are inputs of those behind it, by name: what the
/// next does not take goes on to later ones, until one takes it or gives another tensor of that name.
pub struct Chain {
    links: Vec<Arc<dyn Model>>,
    signature: Signature,
}

impl Chain {
    /// Joins models that follow each other.
    ///
    /// # Errors
    /// No model, or an input of one is not given by one before, or is taken by another before it gets there.
    pub fn new(links: Vec<Arc<dyn Model>>) -> Result<Self, LoadError> {
        let (Some(first), Some(last)) = (links.first(), links.last()) else {
            return Err(LoadError::malformed("chain", "has no model"));
        };
        let mut given: Vec<_> = first.signature().outputs.iter().map(|output| &output.name).collect();
        for link in &links[1..] {
            for input in &link.signature().inputs {
                if !given.contains(&&input.name) {
                    let text = format!("input `{input}` is given by nobody");
                    return Err(LoadError::malformed("chain", text));
                }
            }
            given.retain(|name| !link.signature().inputs.iter().any(|input| input.name == **name));
            given.extend(link.signature().outputs.iter().map(|output| &output.name));
        }
        let signature =
            Signature { inputs: first.signature().inputs.clone(), outputs: last.signature().outputs.clone() };
        Ok(Self { links, signature })
    }
}

impl Model for Chain {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn capabilities(&self) -> Capabilities {
        let all = || self.links.iter().map(|link| link.capabilities());
        let sum = |of: fn(Capabilities) -> Memory| {
            all().map(of).fold(Memory::default(), |sum, part| sum.plus(&part))
        };
        let every = |of: fn(&Capabilities) -> Option<bool>| {
            all().map(|link| of(&link)).try_fold(true, |every, link| Some(every && link?))
        };
        Capabilities {
            rows_independent: every(|link| link.rows_independent),
            max_batch: all().filter_map(|link| link.max_batch).min(),
            stateful: all().any(|link| link.stateful),
            streams: all().any(|link| link.streams),
            deterministic: every(|link| link.deterministic),
            memory: sum(|link| link.memory),
            session_memory: sum(|link| link.session_memory),
            max_sessions: all().filter_map(|link| link.max_sessions).min(),
        }
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        let stage = |model: &Arc<dyn Model>| Ok(Stage { session: model.session()?, model: model.clone() });
        Ok(Box::new(Stages(self.links.iter().map(stage).collect::<Result<_, LoadError>>()?)))
    }
}

struct Stage {
    session: Box<dyn Session>,
    model: Arc<dyn Model>,
}

struct Stages(Vec<Stage>);

impl Session for Stages {
    /// Every stage but the last must answer once; the last may stream.
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        let Some((last, before)) = self.0.split_last_mut() else {
            return Err(RunError::Broken("chain has no model".to_owned()));
        };
        let mut carried: Option<Vec<NamedTensor>> = None;
        for stage in before {
            let mut single = Single::default();
            stage.run(call, carried.as_ref(), &mut single)?;
            let given = named(stage.model.signature(), single.take()?);
            let taken = &stage.model.signature().inputs;
            let rest = carried.into_iter().flatten().filter(|old| {
                let is_taken = taken.iter().any(|input| input.name == old.name);
                !is_taken && !given.iter().any(|new| new.name == old.name)
            });
            let rest: Vec<_> = rest.collect();
            carried = Some(given.into_iter().chain(rest).collect());
        }
        last.run(call, carried.as_ref(), answers)
    }
}

impl Stage {
    fn run(
        &mut self,
        call: Call<'_>,
        carried: Option<&Vec<NamedTensor>>,
        answers: &mut dyn Answers,
    ) -> Result<(), RunError> {
        let Some(carried) = carried else { return self.session.run(call, answers) };
        let signature = self.model.signature();
        let wanted = carried
            .iter()
            .filter(|named| signature.inputs.iter().any(|spec| spec.name == named.name))
            .cloned();
        let failed = |fault: Fault| RunError::Failed(fault.text);
        let inputs: Inputs = signature.bind(wanted.collect()).map_err(failed)?;
        self.session.run(Call { inputs: &inputs, ..call }, answers)
    }
}

fn named(signature: &Signature, outputs: Vec<Tensor>) -> Vec<NamedTensor> {
    signature
        .outputs
        .iter()
        .zip(outputs)
        .map(|(spec, tensor)| NamedTensor::new(spec.name.clone(), tensor))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Affine, ask};

    fn affine(input: &str, output: &str, add: f32) -> Arc<dyn Model> {
        Arc::new(Affine::named(input, output, add))
    }

    fn answer(chain: &Chain, x: &[f32]) -> Vec<f32> {
        let x = Tensor::from_values(vec![x.len() as i64, 1], x.to_vec()).unwrap();
        let answer = ask(chain, vec![NamedTensor::new("x", x)]).unwrap();
        answer[0].values::<f32>().unwrap().into_owned()
    }

    #[test]
    fn outputs_flow_by_name() {
        let chain = Chain::new(vec![affine("x", "h", 1.0), affine("h", "y", 10.0)]).unwrap();
        assert_eq!(answer(&chain, &[1.0, 2.0]), [12.0, 13.0]);
    }

    /// Gives the last tensor that it takes under each of its outputs' names.
    struct Passes(Signature);

    fn passes(inputs: &[&str], outputs: &[&str]) -> Arc<dyn Model> {
        let spec =
            |name: &&str| tenon_contract::TensorSpec::new(name, tenon_contract::Datatype::Fp32, &[-1, 1]);
        let specs = |names: &[&str]| names.iter().map(spec).collect();
        Arc::new(Passes(Signature { inputs: specs(inputs), outputs: specs(outputs) }))
    }

    impl Model for Passes {
        fn signature(&self) -> &Signature {
            &self.0
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::default()
        }

        fn session(&self) -> Result<Box<dyn Session>, LoadError> {
            Ok(Box::new(GivesLast(self.0.outputs.len())))
        }
    }

    struct GivesLast(usize);

    impl Session for GivesLast {
        fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
            answers.send(vec![call.inputs.tensors().last().unwrap().clone(); self.0])
        }
    }

    #[test]
    fn what_a_link_does_not_take_goes_on_to_later_ones() {
        let links = vec![
            passes(&["x"], &["h", "aside"]),
            affine("h", "g", 5.0),
            affine("g", "f", 5.0),
            passes(&["f", "aside"], &["y"]),
        ];
        assert_eq!(answer(&Chain::new(links).unwrap(), &[3.0]), [3.0], "aside went by");
        let taken = vec![affine("x", "h", 1.0), passes(&["h"], &["g"]), passes(&["g", "h"], &["y"])];
        assert!(Chain::new(taken).is_err(), "h was taken");
    }

    #[test]
    fn links_that_do_not_join_are_refused() {
        assert!(Chain::new(vec![affine("x", "h", 1.0), affine("z", "y", 1.0)]).is_err());
        assert!(Chain::new(vec![]).is_err());
    }
}
