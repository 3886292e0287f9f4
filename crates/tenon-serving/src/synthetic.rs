//! Inputs drawn from a signature, always the same for the same signature.
//!
//! Each row is drawn by its number alone, so that the first rows of a batch are the rows of a smaller
//! one. Integers stay small, because many models take them as places in a table.

use std::fmt;

use half::{bf16, f16};
use tenon_contract::{Datatype, Dim, NamedTensor, Signature, Tensor, TensorSpec, tensor};

/// Sizes tried for free dimensions other than the first: pictures, sequences, single columns.
pub(crate) const FREE_SIZES: [usize; 4] = [32, 1, 8, 224];

/// What kind of values to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    /// Numbers in [0, 1), integers 0 and 1, short texts.
    Ordinary {
        /// Size of free dimensions that are no batch.
        free: usize,
    },
    /// Zeros and empty texts.
    Zeros {
        /// As above.
        free: usize,
    },
    /// The largest finite numbers.
    Large {
        /// As above.
        free: usize,
    },
    /// The lowest numbers.
    Low {
        /// As above.
        free: usize,
    },
    /// NaN where the datatype has it.
    NotFinite,
    /// No rows.
    Empty,
}

impl Draw {
    /// The draws of edge values.
    pub(crate) fn edges(free: usize) -> [Self; 5] {
        [Self::Zeros { free }, Self::Large { free }, Self::Low { free }, Self::NotFinite, Self::Empty]
    }

    fn free(self) -> usize {
        match self {
            Self::Ordinary { free } | Self::Zeros { free } | Self::Large { free } | Self::Low { free } => {
                free
            }
            Self::NotFinite | Self::Empty => FREE_SIZES[0],
        }
    }
}

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordinary { .. } => "ordinary values",
            Self::Zeros { .. } => "zeros",
            Self::Large { .. } => "largest values",
            Self::Low { .. } => "lowest values",
            Self::NotFinite => "NaN",
            Self::Empty => "an empty batch",
        })
    }
}

/// Draws every input of a signature with `rows` rows.
pub(crate) fn draw(signature: &Signature, rows: usize, draw: Draw) -> Vec<NamedTensor> {
    let input = |spec: &TensorSpec| NamedTensor::new(spec.name.clone(), draw_tensor(spec, rows, draw));
    signature.inputs.iter().map(input).collect()
}

fn draw_tensor(spec: &TensorSpec, rows: usize, draw: Draw) -> Tensor {
    let size = |(at, dim): (usize, &Dim)| match dim.size() {
        Some(fixed) => fixed,
        None if at == 0 => rows as i64,
        None => draw.free() as i64,
    };
    let shape: Vec<i64> = spec.shape.iter().enumerate().map(size).collect();
    let elements = tensor::elements_of(&shape).unwrap_or(0);
    let per_row =
        elements.checked_div(shape.first().copied().unwrap_or(1).max(1) as usize).unwrap_or(0).max(1);
    let mut payload = Vec::with_capacity(elements * spec.datatype.size().unwrap_or(8));
    for at in 0..elements {
        // The place in the row and the row's number, so that batches begin alike.
        let seed = ((at / per_row) as u64) << 32 | (at % per_row) as u64;
        push_value(&mut payload, spec.datatype, draw, seed);
    }
    Tensor::new(spec.datatype, shape, payload.into()).expect("a drawn payload fits its shape")
}

/// A number in [0, 1) from a seed (splitmix64).
fn unit(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn push_value(payload: &mut Vec<u8>, datatype: Datatype, draw: Draw, seed: u64) {
    let number = match draw {
        Draw::Ordinary { .. } => unit(seed),
        Draw::Zeros { .. } | Draw::Empty => 0.0,
        Draw::Large { .. } => f64::INFINITY,
        Draw::Low { .. } => f64::NEG_INFINITY,
        Draw::NotFinite => f64::NAN,
    };
    // Integers are places in tables more often than not: edges of theirs are 0 and 1.
    let integer = u8::from(number >= 0.5);
    match datatype {
        Datatype::Fp32 => {
            payload.extend((number.clamp(f32::MIN.into(), f32::MAX.into()) as f32).to_le_bytes())
        }
        Datatype::Fp64 => payload.extend(number.clamp(f64::MIN, f64::MAX).to_le_bytes()),
        Datatype::Fp16 => {
            payload.extend(f16::from_f64(number.clamp(f16::MIN.to_f64(), f16::MAX.to_f64())).to_le_bytes());
        }
        Datatype::Bf16 => {
            payload
                .extend(bf16::from_f64(number.clamp(bf16::MIN.to_f64(), bf16::MAX.to_f64())).to_le_bytes());
        }
        // Bytes are pictures more often than tables.
        Datatype::Uint8 => payload.push((number.clamp(0.0, 1.0) * 255.0) as u8),
        Datatype::Bytes => {
            let text = if matches!(draw, Draw::Zeros { .. }) { String::new() } else { format!("{integer}") };
            tensor::push_element(payload, text.as_bytes());
        }
        Datatype::Bool | Datatype::Int8 => payload.push(integer),
        Datatype::Uint16 | Datatype::Int16 => payload.extend(u16::from(integer).to_le_bytes()),
        Datatype::Uint32 | Datatype::Int32 => payload.extend(u32::from(integer).to_le_bytes()),
        Datatype::Uint64 | Datatype::Int64 => payload.extend(u64::from(integer).to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_is_drawn_alike_row_by_row() {
        for datatype in Datatype::ALL {
            let signature =
                Signature { inputs: vec![TensorSpec::new("x", datatype, &[-1, -1, 3])], outputs: vec![] };
            let ordinary = Draw::Ordinary { free: 4 };
            let (small, large) = (draw(&signature, 2, ordinary), draw(&signature, 5, ordinary));
            assert_eq!(small[0].tensor.shape(), [2, 4, 3]);
            assert_eq!(small[0].tensor, large[0].tensor.slice_rows(0..2), "{datatype}");
            for edge in Draw::edges(4) {
                let rows = if edge == Draw::Empty { 0 } else { 1 };
                assert!(signature.bind(draw(&signature, rows, edge)).is_ok(), "{datatype} {edge}");
            }
        }
    }
}
