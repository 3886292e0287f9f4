//! The classification extension: the best classes of an output instead of its values.

use std::cmp::Ordering;
use std::fmt::Display;

use half::{bf16, f16};
use tenon_contract::tensor::Element;
use tenon_contract::{Datatype, Fault, Tensor};

/// The `classes` largest values of `scores`, largest first, each as the text `value:index`; of equal values the
/// one that stands first. Every row of the first dimension is a case of its own and gives a row; a tensor of one
/// dimension or none is one case.
///
/// # Errors
/// `Invalid` for BYTES, whose values have no order here.
pub fn classify(scores: &Tensor, classes: u32) -> Result<Tensor, Fault> {
    let is_batch = scores.shape().len() > 1;
    let rows = if is_batch { scores.rows() } else { 1 };
    let row = scores.elements().checked_div(rows).unwrap_or(0);
    let kept = row.min(classes as usize);
    let texts = match scores.datatype() {
        Datatype::Bool | Datatype::Uint8 => best::<u8, _>(scores, row, kept, |value| value),
        Datatype::Uint16 => best::<u16, _>(scores, row, kept, |value| value),
        Datatype::Uint32 => best::<u32, _>(scores, row, kept, |value| value),
        Datatype::Uint64 => best::<u64, _>(scores, row, kept, |value| value),
        Datatype::Int8 => best::<i8, _>(scores, row, kept, |value| value),
        Datatype::Int16 => best::<i16, _>(scores, row, kept, |value| value),
        Datatype::Int32 => best::<i32, _>(scores, row, kept, |value| value),
        Datatype::Int64 => best::<i64, _>(scores, row, kept, |value| value),
        Datatype::Fp16 => best::<f16, _>(scores, row, kept, |value| Decimal(value.to_f64())),
        Datatype::Bf16 => best::<bf16, _>(scores, row, kept, |value| Decimal(value.to_f64())),
        Datatype::Fp32 => best::<f32, _>(scores, row, kept, |value| Decimal(value.into())),
        Datatype::Fp64 => best::<f64, _>(scores, row, kept, Decimal),
        Datatype::Bytes => Err(Fault::invalid("classify: expected numbers, found BYTES")),
    }?;
    let shape = if is_batch { vec![rows as i64, kept as i64] } else { vec![kept as i64] };
    Ok(Tensor::from_strings(shape, &texts)?)
}

/// A number as Triton writes it: with six digits behind the point.
struct Decimal(f64);

impl Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

fn best<T: Element + PartialOrd, D: Display>(
    scores: &Tensor,
    row: usize,
    kept: usize,
    shown: impl Fn(T) -> D,
) -> Result<Vec<String>, Fault> {
    let values = scores.values::<T>()?;
    let mut texts = Vec::new();
    if row == 0 || kept == 0 {
        return Ok(texts);
    }
    for row in values.chunks_exact(row) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        let larger_first =
            |one: &usize, other: &usize| compare(row[*one], row[*other]).then_with(|| one.cmp(other));
        if kept < order.len() {
            order.select_nth_unstable_by(kept, larger_first);
            order.truncate(kept);
        }
        order.sort_unstable_by(larger_first);
        texts.extend(order.into_iter().map(|at| format!("{}:{at}", shown(row[at]))));
    }
    Ok(texts)
}

/// Larger values first, and behind all of them those that are no numbers.
#[expect(clippy::eq_op, reason = "only what is no number is unlike itself")]
fn compare<T: PartialOrd + Copy>(one: T, other: T) -> Ordering {
    other.partial_cmp(&one).unwrap_or_else(|| (one != one).cmp(&(other != other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first() {
        let check = |scores: &Tensor, classes, shape: &[i64], expected: &[&str]| {
            let found = classify(scores, classes).unwrap();
            let texts: Vec<_> =
                found.strings().unwrap().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
            assert_eq!(
                (found.shape(), texts),
                (shape, expected.iter().map(|text| text.to_string()).collect())
            );
        };
        let floats =
            |shape: &[i64], values: &[f32]| Tensor::from_values(shape.to_vec(), values.to_vec()).unwrap();
        let two = floats(&[2, 3], &[0.1, 0.7, 0.2, 0.5, 0.5, f32::NAN]);
        check(&two, 2, &[2, 2], &["0.700000:1", "0.200000:2", "0.500000:0", "0.500000:1"]);
        check(
            &two,
            9,
            &[2, 3],
            &["0.700000:1", "0.200000:2", "0.100000:0", "0.500000:0", "0.500000:1", "NaN:2"],
        );
        check(&floats(&[3], &[-1.0, 0.0, -2.0]), 1, &[1], &["0.000000:1"]);
        check(&floats(&[], &[4.0]), 3, &[1], &["4.000000:0"]);
        check(&floats(&[0, 3], &[]), 2, &[0, 0], &[]);
        let longs = Tensor::from_values(vec![1, 2], vec![u64::MAX - 1, u64::MAX]).unwrap();
        check(&longs, 1, &[1, 1], &["18446744073709551615:1"]);
        assert!(classify(&Tensor::from_strings(vec![1], &["a"]).unwrap(), 1).is_err());
    }
}
