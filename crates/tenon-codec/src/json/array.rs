//! Nested arrays to payloads: row-major, each level as long as its dimension says.

use half::{bf16, f16};
use tenon_contract::{Datatype, Fault};

use super::element::{self, Boolean, Element, Text, TextOrBase64};
use super::reader::Reader;
use crate::limits::exceeded;

/// An array to be read: what it holds and what it may be.
pub(crate) struct Array<'s> {
    /// Datatype of the elements.
    pub(crate) datatype: Datatype,
    /// Length of each level from the outside in. An unknown one takes that of the first array met there.
    pub(crate) sizes: &'s mut [Option<usize>],
    /// Largest length of the buffer that the payload is appended to.
    pub(crate) ceiling: usize,
    /// The limit that `ceiling` comes from, for the fault.
    pub(crate) limit: usize,
    /// Whether an element of BYTES may also be `{"b64":".."}`.
    pub(crate) base64_elements: bool,
}

/// Something wrong at a place in an array. Indices gather while the levels are left.
struct Misplaced {
    what: &'static str,
    path: Vec<usize>,
    fault: Fault,
}

impl Misplaced {
    #[cold]
    fn new(what: &'static str, fault: Fault) -> Box<Self> {
        Box::new(Self { what, path: Vec::new(), fault })
    }

    #[cold]
    fn below(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.path.push(index);
        self
    }

    fn into_fault(self) -> Fault {
        let path: String = self.path.iter().rev().map(|index| format!("[{index}]")).collect();
        if path.is_empty() { self.fault } else { self.fault.during(format_args!("{} {path}", self.what)) }
    }
}

impl Array<'_> {
    /// Reads the array and appends its elements to `payload`.
    pub(crate) fn read(mut self, reader: &mut Reader<'_>, payload: &mut Vec<u8>) -> Result<(), Fault> {
        let read = match self.datatype {
            Datatype::Bool => self.level::<Boolean>(0, reader, payload),
            Datatype::Uint8 => self.level::<u8>(0, reader, payload),
            Datatype::Uint16 => self.level::<u16>(0, reader, payload),
            Datatype::Uint32 => self.level::<u32>(0, reader, payload),
            Datatype::Uint64 => self.level::<u64>(0, reader, payload),
            Datatype::Int8 => self.level::<i8>(0, reader, payload),
            Datatype::Int16 => self.level::<i16>(0, reader, payload),
            Datatype::Int32 => self.level::<i32>(0, reader, payload),
            Datatype::Int64 => self.level::<i64>(0, reader, payload),
            Datatype::Fp16 => self.level::<f16>(0, reader, payload),
            Datatype::Bf16 => self.level::<bf16>(0, reader, payload),
            Datatype::Fp32 => self.level::<f32>(0, reader, payload),
            Datatype::Fp64 => self.level::<f64>(0, reader, payload),
            Datatype::Bytes if self.base64_elements => self.level::<TextOrBase64>(0, reader, payload),
            Datatype::Bytes => self.level::<Text>(0, reader, payload),
        };
        read.map_err(|misplaced| misplaced.into_fault())
    }

    /// Reads what stands at `level`: an array, or an element below the last of them. Goes as deep as
    /// `sizes` is long, which is the rank of a tensor.
    fn level<E: Element>(
        &mut self,
        level: usize,
        reader: &mut Reader<'_>,
        payload: &mut Vec<u8>,
    ) -> Result<(), Box<Misplaced>> {
        let Some(size) = self.sizes.get(level).copied() else {
            return self.element::<E>(reader, payload);
        };
        if !reader.eat(b'[') {
            return Err(Misplaced::new("array", self.too_flat(reader)));
        }
        let is_last = level + 1 == self.sizes.len();
        let most = size.unwrap_or(usize::MAX);
        let mut count = 0;
        if !reader.eat(b']') {
            loop {
                if count == most {
                    return Err(Misplaced::new(
                        "array",
                        reader.expected(format_args!("{}, then `]`", elements(most))),
                    ));
                }
                let read = match is_last {
                    true => self.element::<E>(reader, payload),
                    false => self.level::<E>(level + 1, reader, payload),
                };
                read.map_err(|misplaced| misplaced.below(count))?;
                count += 1;
                if !reader.more().map_err(|fault| Misplaced::new("array", fault))? {
                    break;
                }
            }
        }
        if size.is_some_and(|size| size != count) {
            let text = format!("expected {}, found {count} before byte {}", elements(most), reader.at());
            return Err(Misplaced::new("array", Fault::invalid(text)));
        }
        self.sizes[level] = Some(count);
        Ok(())
    }

    #[inline(always)]
    fn element<E: Element>(
        &self,
        reader: &mut Reader<'_>,
        payload: &mut Vec<u8>,
    ) -> Result<(), Box<Misplaced>> {
        reader.skip_whitespace();
        if !E::read(reader, payload) {
            return Err(Misplaced::new("element", element::explain(reader, self.datatype)));
        }
        if payload.len() > self.ceiling {
            return Err(Misplaced::new("element", exceeded("payload_bytes", self.limit)));
        }
        Ok(())
    }

    /// The fault of finding no array where one more level of them stands; shows the right nesting.
    #[cold]
    fn too_flat(&self, reader: &mut Reader<'_>) -> Fault {
        let rank = self.sizes.len();
        let (open, close) = ("[".repeat(rank), "]".repeat(rank));
        reader.expected(format_args!("arrays nested {rank} deep ({open}...{close})"))
    }
}

fn elements(count: usize) -> String {
    format!("{count} element{}", if count == 1 { "" } else { "s" })
}
