//! JSON as this crate needs it: a reader in one pass, writers that append to a buffer.
//!
//! * `reader`: structure, keys, values that are read over, and where something went wrong.
//! * `number`: the grammar of numbers and their exact values.
//! * `element`: one element of each datatype, from its JSON to the bytes of a payload.
//! * `array`: nested arrays to payloads.
//! * `write`: strings, numbers and tensors to JSON.

pub(crate) mod array;
pub(crate) mod element;
pub(crate) mod number;
pub(crate) mod reader;
pub(crate) mod write;

pub(crate) use reader::Reader;
