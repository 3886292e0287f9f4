//! JSON of message trees: what `POST /services/{service}/methods/{operation}` takes and gives.
//!
//! A message is an object with one key for each field. A field that is a tensor is
//! * arrays nested as deep as it has dimensions, row-major; a bare value where it has none;
//! * or `{"shape":[..],"data":[..]}` with the elements flat;
//! * or `{"shape":[..],"b64":".."}` with the bytes of the payload, as the binary tensor extension of the
//!   Open Inference Protocol has them.
//!
//! Elements are written as in [`crate::oip`]; one of BYTES is a string, or `{"b64":".."}` where it is not
//! UTF-8. Nothing is guessed: unknown and missing fields, ragged arrays and arrays that nest too
//! little or too deep are faults which say what was expected. A tensor without elements, whose arrays
//! would not tell its shape, is written with its shape.
//!
//! Scalars and texts are tensors of no dimension, repeated ones of one. Enums, messages in
//! messages and repeated tensors are refused: nothing binds them yet. Those of pictures have a form of their
//! own: [`picture`].

mod decode;
mod encode;
pub mod picture;

use tenon_contract::contract::Occurs;
use tenon_contract::{Datatype, Fault, FaultKind, Field, Kind, signature::Dim};

pub use decode::decode;
pub use encode::encode;

/// The tensor that a field is.
struct Slot<'m> {
    datatype: Datatype,
    shape: &'m [Dim],
}

impl<'m> Slot<'m> {
    fn of(field: &'m Field) -> Result<Self, Fault> {
        const ONE_OR_MORE: &[Dim] = &[Dim::Free];
        let datatype = match &field.kind {
            Kind::Tensor { datatype, shape } if field.occurs != Occurs::Repeated => {
                return Ok(Self { datatype: *datatype, shape });
            }
            Kind::Scalar(datatype) => *datatype,
            Kind::Text => Datatype::Bytes,
            Kind::Tensor { .. } => return Err(unsupported("repeated tensors")),
            Kind::Enum { .. } => return Err(unsupported("enums")),
            Kind::Message(_) => return Err(unsupported("messages in messages")),
        };
        Ok(Self { datatype, shape: if field.occurs == Occurs::Repeated { ONE_OR_MORE } else { &[] } })
    }

    fn wire_shape(&self) -> Vec<i64> {
        self.shape.iter().map(Dim::to_wire).collect()
    }
}

fn unsupported(what: &str) -> Fault {
    Fault::new(FaultKind::Unsupported, format!("{what} have no form in JSON yet"))
}
