//! The signature that a configuration declares, and its comparison with the model's own.

use tenon_contract::{Datatype, Fault, Signature, TensorSpec};

/// A tensor as a configuration declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) datatype: Datatype,
    /// The whole shape, batch included; -1 is free.
    pub(crate) shape: Vec<i64>,
}

/// What a configuration declares. Nothing where it leaves that to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<Tensor>,
}

impl Declared {
    /// Compares with what the model says of itself.
    ///
    /// # Errors
    /// `Conflict` that names both sides of the first difference.
    pub(crate) fn check(&self, model: &Signature) -> Result<(), Fault> {
        same("input", &self.inputs, &model.inputs)?;
        same("output", &self.outputs, &model.outputs)?;
        let declared = |spec: &&TensorSpec| self.inputs.iter().any(|input| input.name == *spec.name);
        match model.inputs.iter().find(|spec| !declared(spec)).filter(|_| !self.inputs.is_empty()) {
            None => Ok(()),
            Some(spec) => Err(Fault::conflict(format!(
                "config.pbtxt declares {}, the model also takes `{spec}`",
                names("input", self.inputs.iter().map(|input| input.name.as_str()))
            ))),
        }
    }
}

fn same(what: &str, declared: &[Tensor], model: &[TensorSpec]) -> Result<(), Fault> {
    for tensor in declared {
        let Tensor { name, datatype, shape } = tensor;
        let Some(spec) = model.iter().find(|spec| *spec.name == **name) else {
            let known = names(what, model.iter().map(|spec| &*spec.name));
            return Err(Fault::conflict(format!(
                "config.pbtxt declares {what} `{name}`, the model has {known}"
            )));
        };
        let own = spec.wire_shape();
        // What the model leaves free, the configuration may fix; not the other way round.
        let fits = |(own, declared): (&i64, &i64)| *own == -1 || own == declared;
        let shape_fits = own.len() == shape.len() && own.iter().zip(shape).all(fits);
        if spec.datatype != *datatype || !shape_fits {
            return Err(Fault::conflict(format!(
                "config.pbtxt declares {what} `{name}` as {datatype}{shape:?} (batch included), the model has {}{own:?}",
                spec.datatype
            )));
        }
    }
    Ok(())
}

fn names<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match &names[..] {
        [one] => format!("{what} {one}"),
        several => format!("{what}s {}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_both_sides() {
        let model = Signature {
            inputs: vec![TensorSpec::new("pixels", Datatype::Fp32, &[-1, 64])],
            outputs: vec![
                TensorSpec::new("label", Datatype::Int64, &[-1]),
                TensorSpec::new("probabilities", Datatype::Fp32, &[-1, 10]),
            ],
        };
        let tensor = |name: &str, datatype, shape: &[i64]| Tensor {
            name: name.to_owned(),
            datatype,
            shape: shape.to_vec(),
        };
        let check = |inputs: &[Tensor], outputs: &[Tensor], expected: Option<&str>| {
            let declared = Declared { inputs: inputs.to_vec(), outputs: outputs.to_vec() };
            let found = declared.check(&model).err().map(|fault| fault.text);
            assert_eq!(found.as_deref(), expected);
        };
        let pixels = tensor("pixels", Datatype::Fp32, &[-1, 64]);
        check(&[], &[], None);
        check(std::slice::from_ref(&pixels), &[tensor("label", Datatype::Int64, &[-1])], None);
        check(&[tensor("pixels", Datatype::Fp32, &[4, 64])], &[], None);
        check(
            &[tensor("pixels", Datatype::Fp32, &[-1, -1])],
            &[],
            Some(
                "config.pbtxt declares input `pixels` as FP32[-1, -1] (batch included), the model has FP32[-1, 64]",
            ),
        );
        check(
            &[tensor("pixels", Datatype::Fp16, &[-1, 64])],
            &[],
            Some(
                "config.pbtxt declares input `pixels` as FP16[-1, 64] (batch included), the model has FP32[-1, 64]",
            ),
        );
        check(
            &[tensor("pixels", Datatype::Fp32, &[64])],
            &[],
            Some(
                "config.pbtxt declares input `pixels` as FP32[64] (batch included), the model has FP32[-1, 64]",
            ),
        );
        check(
            &[pixels],
            &[tensor("scores", Datatype::Fp32, &[-1, 10])],
            Some("config.pbtxt declares output `scores`, the model has outputs `label`, `probabilities`"),
        );
        let two = Signature {
            inputs: vec![
                TensorSpec::new("a", Datatype::Fp32, &[1]),
                TensorSpec::new("b", Datatype::Fp32, &[1]),
            ],
            ..Signature::default()
        };
        let declared = Declared { inputs: vec![tensor("a", Datatype::Fp32, &[1])], outputs: Vec::new() };
        let text = declared.check(&two).unwrap_err().text;
        assert_eq!(text, "config.pbtxt declares input `a`, the model also takes `b FP32[1]`");
    }
}
