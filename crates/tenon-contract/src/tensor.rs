//! Tensors: a datatype, a shape and a payload that is shared, never copied.
//!
//! The payload is exactly what the binary tensor extension of the Open Inference Protocol puts on
//! the wire: little-endian, row-major; BYTES elements as u32 little-endian length + bytes. So a
//! tensor goes from socket to runtime and back without a copy where alignment allows.

use std::borrow::Cow;
use std::ops::Range;

use bytemuck::Pod;
use bytes::Bytes;
use half::{bf16, f16};

use crate::Datatype;

/// Largest number of dimensions.
pub const RANK_LIMIT: usize = 16;

/// What does not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// A negative dimension or too many of them.
    #[error(
        "shape {0:?} is not a shape: at most {RANK_LIMIT} dimensions, none negative, product within 2^62"
    )]
    Shape(Vec<i64>),
    /// The payload has another length than shape and datatype ask for.
    #[error("shape {shape:?} of {datatype} needs {expected} bytes, got {found}")]
    Length {
        /// Datatype of the elements.
        datatype: Datatype,
        /// Shape given.
        shape: Vec<i64>,
        /// Bytes that shape and datatype need.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A BYTES payload breaks off or goes on behind its last element.
    #[error("BYTES payload of shape {shape:?} is not {elements} elements: broken at byte {at}")]
    Elements {
        /// Shape given.
        shape: Vec<i64>,
        /// Elements that the shape asks for.
        elements: usize,
        /// Offset where the payload stops to fit.
        at: usize,
    },
    /// A BOOL payload with a byte other than 0 or 1.
    #[error("BOOL payload holds {value} at element {at}: only 0 and 1 are booleans")]
    Bool {
        /// The byte.
        value: u8,
        /// Index of the element.
        at: usize,
    },
    /// Values were asked for as another type than they are.
    #[error("tensor is {found}, asked for as {asked}")]
    Datatype {
        /// The type of the tensor.
        found: Datatype,
        /// The type asked for.
        asked: Datatype,
    },
}

/// Number of elements of a concrete shape.
pub fn elements_of(shape: &[i64]) -> Result<usize, TensorError> {
    let refused = || TensorError::Shape(shape.iter().copied().take(RANK_LIMIT + 1).collect());
    if shape.len() > RANK_LIMIT {
        return Err(refused());
    }
    // A zero dimension makes the product zero, but must not hide an absurd one beside it.
    let mut product: u64 = 1;
    for &dim in shape {
        let dim = u64::try_from(dim).map_err(|_| refused())?.max(1);
        product = product.checked_mul(dim).filter(|product| *product < 1 << 62).ok_or_else(refused)?;
    }
    Ok(if shape.contains(&0) { 0 } else { product as usize })
}

/// A Rust type that is the element of one datatype.
pub trait Element: Pod + Send + Sync {
    /// The datatype.
    const DATATYPE: Datatype;
}

macro_rules! elements {
    ($($type:ty => $datatype:ident),* $(,)?) => {
        $(impl Element for $type { const DATATYPE: Datatype = Datatype::$datatype; })*
    };
}

elements!(u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64, i8 => Int8, i16 => Int16,
          i32 => Int32, i64 => Int64, f16 => Fp16, bf16 => Bf16, f32 => Fp32, f64 => Fp64);

/// An n-dimensional array. Cloning shares the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    datatype: Datatype,
    shape: Vec<i64>,
    payload: Bytes,
}

impl Tensor {
    /// A tensor over `payload` as it comes from the wire.
    ///
    /// # Errors
    /// The shape is no shape, or the payload does not hold exactly its elements.
    pub fn new(datatype: Datatype, shape: Vec<i64>, payload: Bytes) -> Result<Self, TensorError> {
        let elements = elements_of(&shape)?;
        match datatype.size() {
            Some(size) => {
                let expected = elements.saturating_mul(size);
                if expected != payload.len() {
                    return Err(TensorError::Length { datatype, shape, expected, found: payload.len() });
                }
            }
            None => {
                if let Err(at) = walk_elements(&payload, elements) {
                    return Err(TensorError::Elements { shape, elements, at });
                }
            }
        }
        if datatype == Datatype::Bool
            && let Some(at) = payload.iter().position(|byte| *byte > 1)
        {
            return Err(TensorError::Bool { value: payload[at], at });
        }
        Ok(Self { datatype, shape, payload })
    }

    /// A tensor that takes the values over without copying them.
    ///
    /// # Errors
    /// The shape asks for another number of values.
    pub fn from_values<T: Element>(shape: Vec<i64>, values: Vec<T>) -> Result<Self, TensorError> {
        Self::new(T::DATATYPE, shape, Bytes::from_owner(Values(values)))
    }

    /// A BYTES tensor from byte strings.
    ///
    /// # Errors
    /// The shape asks for another number of strings, or a string is 4 GiB or longer.
    pub fn from_strings<S: AsRef<[u8]>>(shape: Vec<i64>, strings: &[S]) -> Result<Self, TensorError> {
        let total = strings.iter().map(|string| string.as_ref().len() + 4).sum();
        let mut payload = Vec::with_capacity(total);
        for string in strings {
            push_element(&mut payload, string.as_ref());
        }
        Self::new(Datatype::Bytes, shape, payload.into())
    }

    /// The element type.
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    /// The dimensions, row-major, none negative.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The bytes as on the wire.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product::<i64>() as usize }
    }

    /// First dimension, or 1 for a scalar: the rows of a batch.
    pub fn rows(&self) -> usize {
        self.shape.first().map_or(1, |rows| *rows as usize)
    }

    /// The values; borrowed where the payload is aligned for `T`, else copied.
    ///
    /// # Errors
    /// The tensor has another datatype. BOOL may be read as `u8`.
    pub fn values<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        let bool_as_u8 = self.datatype == Datatype::Bool && T::DATATYPE == Datatype::Uint8;
        if self.datatype != T::DATATYPE && !bool_as_u8 {
            return Err(TensorError::Datatype { found: self.datatype, asked: T::DATATYPE });
        }
        Ok(match bytemuck::try_cast_slice(&self.payload) {
            Ok(values) => Cow::Borrowed(values),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(&self.payload)),
        })
    }

    /// The byte strings of a BYTES tensor.
    ///
    /// # Errors
    /// The tensor has another datatype.
    pub fn strings(&self) -> Result<Strings<'_>, TensorError> {
        if self.datatype != Datatype::Bytes {
            return Err(TensorError::Datatype { found: self.datatype, asked: Datatype::Bytes });
        }
        Ok(Strings { rest: &self.payload })
    }

    /// Rows `range` of the first dimension, sharing the payload.
    ///
    /// # Panics
    /// The tensor is a scalar or the range reaches behind the last row.
    #[must_use]
    pub fn slice_rows(&self, range: Range<usize>) -> Self {
        let rows = self.rows();
        assert!(!self.shape.is_empty() && range.end <= rows, "rows {range:?} of shape {:?}", self.shape);
        let per_row = self.elements().checked_div(rows).unwrap_or(0);
        let offset = |row: usize| match self.datatype.size() {
            Some(size) => row * per_row * size,
            None => walk_prefix(&self.payload, row * per_row),
        };
        let mut shape = self.shape.clone();
        shape[0] = range.len() as i64;
        Self {
            datatype: self.datatype,
            shape,
            payload: self.payload.slice(offset(range.start)..offset(range.end)),
        }
    }

    /// Tensors of one datatype and row shape, one behind the other along the first dimension.
    ///
    /// # Errors
    /// Nothing given, or datatypes or row shapes differ.
    pub fn concat_rows(parts: &[Tensor]) -> Result<Self, TensorError> {
        let first =
            parts.first().filter(|first| !first.shape.is_empty()).ok_or(TensorError::Shape(vec![]))?;
        let mut shape = first.shape.clone();
        let mut payload = Vec::with_capacity(parts.iter().map(|part| part.payload.len()).sum());
        shape[0] = 0;
        for part in parts {
            if part.datatype != first.datatype {
                return Err(TensorError::Datatype { found: part.datatype, asked: first.datatype });
            }
            if part.shape.get(1..) != first.shape.get(1..) {
                return Err(TensorError::Shape(part.shape.clone()));
            }
            shape[0] += part.shape[0];
            payload.extend_from_slice(&part.payload);
        }
        Self::new(first.datatype, shape, payload.into())
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?} ({} bytes)", self.datatype, self.shape, self.payload.len())
    }
}

/// The byte strings of a BYTES tensor, in order.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (string, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some(string)
    }
}

/// Many small columns written into one allocation.
///
/// A table of 200 columns is one buffer and 200 slices of it; each column begins at a multiple of
/// eight bytes, so that engines can read it in place.
#[derive(Debug, Default)]
pub struct Columns {
    buffer: Vec<u8>,
    columns: Vec<(Datatype, Vec<i64>, Range<usize>)>,
}

impl Columns {
    /// Room for `bytes` of payload.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), columns: Vec::new() }
    }

    /// Lets `write` append the payload of the next column; what it wrote before an error is taken back.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn push<E>(
        &mut self,
        datatype: Datatype,
        shape: Vec<i64>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.buffer.resize(self.buffer.len().next_multiple_of(8), 0);
        let start = self.buffer.len();
        write(&mut self.buffer).inspect_err(|_| self.buffer.truncate(start))?;
        self.columns.push((datatype, shape, start..self.buffer.len()));
        Ok(())
    }

    /// The tensors, all slices of the one allocation.
    ///
    /// # Errors
    /// A column does not hold what its shape says.
    pub fn finish(self) -> Result<Vec<Tensor>, TensorError> {
        let buffer = Bytes::from(self.buffer);
        self.columns
            .into_iter()
            .map(|(datatype, shape, at)| Tensor::new(datatype, shape, buffer.slice(at)))
            .collect()
    }
}

/// Appends one BYTES element: its length and its bytes.
///
/// # Panics
/// The string is 4 GiB or longer.
pub fn push_element(payload: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).expect("an element of BYTES is shorter than 4 GiB");
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(string);
}

/// Owner of values whose bytes are a payload.
struct Values<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Values<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Offset behind `elements` elements, or where the payload stops to fit.
fn walk_elements(payload: &[u8], elements: usize) -> Result<(), usize> {
    let mut at = 0;
    for _ in 0..elements {
        let length = payload.get(at..).and_then(|rest| rest.first_chunk()).ok_or(at)?;
        let end = at + 4 + u32::from_le_bytes(*length) as usize;
        if end > payload.len() {
            return Err(at);
        }
        at = end;
    }
    if at == payload.len() { Ok(()) } else { Err(at) }
}

/// Offset behind the first `elements` elements of a payload that is known to fit.
fn walk_prefix(payload: &[u8], elements: usize) -> usize {
    Strings { rest: payload }.take(elements).map(|string| string.len() + 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_must_fit_their_shape() {
        let f32s =
            |shape: &[i64], bytes: usize| Tensor::new(Datatype::Fp32, shape.to_vec(), vec![0; bytes].into());
        assert!(f32s(&[2, 3], 24).is_ok());
        assert!(f32s(&[], 4).is_ok(), "a scalar");
        assert!(f32s(&[0, 3], 0).is_ok(), "an empty batch");
        assert!(f32s(&[2, 3], 23).is_err());
        assert!(f32s(&[-1], 4).is_err());
        assert!(f32s(&[0, i64::MAX, i64::MAX], 0).is_err());
        assert!(f32s(&[1; 17], 4).is_err());
        assert_eq!(
            Tensor::new(Datatype::Bool, vec![3], vec![0, 1, 2].into()),
            Err(TensorError::Bool { value: 2, at: 2 })
        );
    }

    #[test]
    fn values_are_borrowed_when_aligned_and_right_when_not() {
        let tensor = Tensor::from_values(vec![2], vec![1.5f32, -2.0]).unwrap();
        assert!(matches!(tensor.values::<f32>().unwrap(), Cow::Borrowed([1.5, -2.0])));
        let mut shifted = vec![0u8];
        shifted.extend_from_slice(tensor.payload());
        let odd = Tensor::new(Datatype::Fp32, vec![2], Bytes::from(shifted).slice(1..)).unwrap();
        assert_eq!(odd.values::<f32>().unwrap().as_ref(), [1.5, -2.0]);
        assert!(tensor.values::<i32>().is_err());
    }

    #[test]
    fn strings_walk_and_break() {
        let tensor = Tensor::from_strings(vec![2], &["ab", ""]).unwrap();
        assert_eq!(tensor.strings().unwrap().collect::<Vec<_>>(), [b"ab".as_slice(), b""]);
        for (cut, at) in [(9, 6), (5, 0), (0, 0)] {
            let cut = Tensor::new(Datatype::Bytes, vec![2], tensor.payload().slice(..cut));
            assert_eq!(cut, Err(TensorError::Elements { shape: vec![2], elements: 2, at }));
        }
        assert!(Tensor::new(Datatype::Bytes, vec![1], vec![0, 0, 0, 0, 9].into()).is_err(), "goes on");
    }

    #[test]
    fn rows_split_and_join() {
        for tensor in [
            Tensor::from_values(vec![3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap(),
            Tensor::from_strings(vec![3, 2], &["a", "bb", "", "dddd", "e", "f"]).unwrap(),
        ] {
            let parts: Vec<_> = (0..3).map(|row| tensor.slice_rows(row..row + 1)).collect();
            assert_eq!(Tensor::concat_rows(&parts).unwrap(), tensor);
            assert_eq!(tensor.slice_rows(3..3).elements(), 0);
        }
    }

    #[test]
    fn columns_share_one_allocation() {
        let mut columns = Columns::default();
        let write = |bytes: &'static [u8]| {
            move |to: &mut Vec<u8>| -> Result<(), ()> {
                to.extend_from_slice(bytes);
                Ok(())
            }
        };
        columns.push(Datatype::Uint8, vec![3], write(&[1, 2, 3])).unwrap();
        let failed: Result<(), ()> = columns.push(Datatype::Uint8, vec![1], |to| {
            to.push(9);
            Err(())
        });
        assert!(failed.is_err());
        columns.push(Datatype::Int32, vec![1], write(&[7, 0, 0, 0])).unwrap();
        let tensors = columns.finish().unwrap();
        assert_eq!(tensors[1].values::<i32>().unwrap().as_ref(), [7]);
        assert_eq!(tensors[1].payload().as_ptr() as usize - tensors[0].payload().as_ptr() as usize, 8);
    }
}
