//! Answers of models as single precision numbers, whatever datatype they have.

use std::borrow::Cow;

use half::{bf16, f16};
use serde::Deserialize;
use tenon_contract::{Datatype, Tensor};

/// What is done to raw scores before they are compared with a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// They are probabilities already.
    #[default]
    None,
    /// Each for itself: 1 / (1 + e^-x).
    Sigmoid,
    /// Over all classes: their sum is one.
    Softmax,
}

/// Values of any datatype of numbers; FP32 without a copy.
///
/// # Errors
/// BYTES are no numbers.
pub fn numbers(tensor: &Tensor) -> Result<Cow<'_, [f32]>, String> {
    macro_rules! cast {
        ($type:ty, $number:expr) => {
            tensor.values::<$type>().map(|values| Cow::Owned(values.iter().map($number).collect()))
        };
    }
    let values = match tensor.datatype() {
        Datatype::Fp32 => tensor.values::<f32>(),
        Datatype::Fp64 => cast!(f64, |value| *value as f32),
        Datatype::Fp16 => cast!(f16, |value| value.to_f32()),
        Datatype::Bf16 => cast!(bf16, |value| value.to_f32()),
        Datatype::Uint8 | Datatype::Bool => cast!(u8, |value| f32::from(*value)),
        Datatype::Uint16 => cast!(u16, |value| f32::from(*value)),
        Datatype::Uint32 => cast!(u32, |value| *value as f32),
        Datatype::Uint64 => cast!(u64, |value| *value as f32),
        Datatype::Int8 => cast!(i8, |value| f32::from(*value)),
        Datatype::Int16 => cast!(i16, |value| f32::from(*value)),
        Datatype::Int32 => cast!(i32, |value| *value as f32),
        Datatype::Int64 => cast!(i64, |value| *value as f32),
        Datatype::Bytes => return Err("holds texts, not numbers".to_owned()),
    };
    values.map_err(|error| error.to_string())
}

/// Index and score of the highest of `scores`, activated; the first of equals. `None` without a number.
pub fn highest(scores: impl Iterator<Item = f32> + Clone, activation: Activation) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (index, score) in scores.clone().enumerate() {
        if !score.is_nan() && best.is_none_or(|(_, highest)| score > highest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, highest)| match activation {
        Activation::None => (index, highest),
        Activation::Sigmoid => (index, sigmoid(highest)),
        Activation::Softmax => (index, 1.0 / scores.map(|score| (score - highest).exp()).sum::<f32>()),
    })
}

/// All of `scores`, activated in place.
pub fn activate(scores: &mut [f32], activation: Activation) {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
        Activation::Softmax => {
            let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores.iter_mut().for_each(|score| *score = (*score - highest).exp());
            let sum: f32 = scores.iter().sum();
            scores.iter_mut().for_each(|score| *score /= sum);
        }
    }
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_of_numbers_is_read() {
        for datatype in Datatype::ALL {
            let Some(size) = datatype.size() else { continue };
            let tensor = Tensor::new(datatype, vec![3], vec![0; 3 * size].into()).unwrap();
            assert_eq!(numbers(&tensor).unwrap().as_ref(), [0.0; 3], "{datatype}");
        }
        let halves = Tensor::from_values(vec![2], vec![f16::from_f32(0.5), f16::from_f32(-2.0)]).unwrap();
        assert_eq!(numbers(&halves).unwrap().as_ref(), [0.5, -2.0]);
        assert!(numbers(&Tensor::from_strings(vec![1], &["a"]).unwrap()).is_err());
    }

    #[test]
    fn the_highest_is_found_and_activated() {
        let check = |scores: &[f32], activation, expected: Option<(usize, f32)>| {
            let found = highest(scores.iter().copied(), activation);
            match (found, expected) {
                (Some(found), Some(expected)) => {
                    assert_eq!(found.0, expected.0);
                    assert!((found.1 - expected.1).abs() < 1e-5, "{found:?} {expected:?}");
                    let mut all = scores.to_vec();
                    activate(&mut all, activation);
                    assert!(all[found.0].is_nan() || (all[found.0] - found.1).abs() < 1e-5, "{all:?}");
                }
                (found, expected) => assert_eq!(found, expected),
            }
        };
        check(&[0.1, 0.7, 0.7], Activation::None, Some((1, 0.7)));
        check(&[-1.0, 0.0], Activation::Sigmoid, Some((1, 0.5)));
        check(&[1.0, 3.0, 2.0], Activation::Softmax, Some((1, 0.665_241)));
        check(&[f32::NAN, 1.0], Activation::None, Some((1, 1.0)));
        check(&[f32::NAN], Activation::None, None);
        check(&[], Activation::Softmax, None);
    }
}
