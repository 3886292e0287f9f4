//! The classification extension: the best classes of an output instead of its values.

use std::cmp::Ordering;
use std::fmt::Display;

use half::{bf16, f16};
use tenon_contract::tensor::Element;
use tenon_contract::{Datatype, Fault, Tensor};

/// What scores are scores of, element by element.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// Numbers, INT64.
    pub numbers: &'a Tensor,
    /// Names, BYTES; empty where a class has none.
    pub names: &'a Tensor,
}

/// The `count` largest values of `scores`, largest first, each as the text `value:index`; of equal values the
/// one that stands first. Every row of the first dimension is a case of its own and gives a row; a tensor of one
/// dimension or none is one case. The index is the place in its case; where `classes` are known it is the number of
/// the class, and the name follows: `value:index:name`.
///
/// # Errors
/// `Invalid` for BYTES, whose values have no order here; `Internal` where `classes` are not as many as `scores`.
pub fn classify(scores: &Tensor, count: u32, classes: Option<Classes<'_>>) -> Result<Tensor, Fault> {
    let is_batch = scores.shape().len() > 1;
    let rows = if is_batch { scores.rows() } else { 1 };
    let row = scores.elements().checked_div(rows).unwrap_or(0);
    let kept = row.min(count as usize);
    let best = match scores.datatype() {
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
    let texts = match classes {
        Some(classes) => classes.named(&best, scores.elements())?,
        None => best.into_iter().map(|best| format!("{}:{}", best.value, best.place % row)).collect(),
    };
    let shape = if is_batch { vec![rows as i64, kept as i64] } else { vec![kept as i64] };
    Ok(Tensor::from_strings(shape, &texts)?)
}

impl Classes<'_> {
    fn named(self, best: &[Best], all: usize) -> Result<Vec<String>, Fault> {
        let numbers = self.numbers.values::<i64>()?;
        let names: Vec<&[u8]> = self.names.strings()?.collect();
        if numbers.len() != all || names.len() != all {
            return Err(Fault::internal("scores and their classes do not go together"));
        }
        let text = |best: &Best| {
            let (value, number, name) = (&best.value, numbers[best.place], names[best.place]);
            match name {
                [] => format!("{value}:{number}"),
                name => format!("{value}:{number}:{}", String::from_utf8_lossy(name)),
            }
        };
        Ok(best.iter().map(text).collect())
    }
}

/// One of the largest values.
struct Best {
    value: String,
    /// Its place in the whole tensor.
    place: usize,
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
) -> Result<Vec<Best>, Fault> {
    let values = scores.values::<T>()?;
    let mut best = Vec::new();
    if row == 0 || kept == 0 {
        return Ok(best);
    }
    for (case, row) in values.chunks_exact(row).enumerate() {
        let mut order: Vec<usize> = (0..row.len()).collect();
        let larger_first =
            |one: &usize, other: &usize| compare(row[*one], row[*other]).then_with(|| one.cmp(other));
        if kept < order.len() {
            order.select_nth_unstable_by(kept, larger_first);
            order.truncate(kept);
        }
        order.sort_unstable_by(larger_first);
        let from = case * row.len();
        let of = |at: usize| Best { value: shown(row[at]).to_string(), place: from + at };
        best.extend(order.into_iter().map(of));
    }
    Ok(best)
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
            let found = classify(scores, classes, None).unwrap();
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
        assert!(classify(&Tensor::from_strings(vec![1], &["a"]).unwrap(), 1, None).is_err());
    }

    #[test]
    fn classes_have_their_own_numbers_and_names() {
        let scores = Tensor::from_values(vec![2, 2], vec![0.9f32, 0.1, 0.3, 0.4]).unwrap();
        let numbers = Tensor::from_values(vec![2, 2], vec![934i64, 7, -1, 2]).unwrap();
        let names = Tensor::from_strings(vec![2, 2], &["cheeseburger", "cock", "", "a:b"]).unwrap();
        let check = |names: &Tensor, expected: Option<&[&str]>| {
            let found = classify(&scores, 2, Some(Classes { numbers: &numbers, names }));
            match expected {
                Some(expected) => {
                    assert!(found.unwrap().strings().unwrap().eq(expected.iter().map(|t| t.as_bytes())))
                }
                None => assert!(found.is_err()),
            }
        };
        let expected = ["0.900000:934:cheeseburger", "0.100000:7:cock", "0.400000:2:a:b", "0.300000:-1"];
        check(&names, Some(&expected));
        check(&Tensor::from_strings(vec![1], &["a"]).unwrap(), None);
    }
}
