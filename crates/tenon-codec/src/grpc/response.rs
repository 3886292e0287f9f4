//! `ModelInferResponse` and its frame in a stream, written without copying large payloads.

use bytes::Bytes;
use tenon_contract::{Fault, NamedTensor};

use super::wire::{put_bytes, put_head, put_message, put_varint};
use super::{contents, parameters};
use crate::json::reader::shown;
use crate::oip::Answer;

/// Up to this many bytes, copying payloads behind the head is cheaper than sending them on their own.
const COPIED: usize = 16 << 10;

/// In which fields the elements of outputs stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All in `raw_output_contents`.
    Raw,
    /// Each in the `contents` of its tensor.
    Typed,
}

/// A message ready to be sent: [`Self::head`] and then [`Self::pieces`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The room that was asked for, zeros, and then the message's beginning; all of it where payloads are small.
    pub head: Vec<u8>,
    /// The rest: large payloads, shared with their tensors, and what stands between them.
    pub pieces: Vec<Bytes>,
}

impl Message {
    /// Bytes of head and pieces.
    pub fn length(&self) -> usize {
        self.head.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }
}

/// Writes a `ModelInferResponse` behind `room` bytes that are left to the transport.
///
/// # Errors
/// `Invalid` for FP16 and BF16 in [`Contents::Typed`]; says to ask for raw contents.
pub fn encode_response(answer: &Answer<'_>, contents: Contents, room: usize) -> Result<Message, Fault> {
    let raw: usize = answer.outputs.iter().map(|output| output.tensor.payload().len()).sum();
    let copied = if raw <= COPIED { raw } else { 0 };
    let mut head = Vec::with_capacity(room + 320 + 64 * answer.outputs.len() + copied);
    head.resize(room, 0);
    put_bytes(&mut head, 1, answer.model_name.as_bytes());
    put_bytes(&mut head, 2, answer.model_version.unwrap_or_default().as_bytes());
    put_bytes(&mut head, 3, answer.id.unwrap_or_default().as_bytes());
    parameters::write(&mut head, 4, answer.parameters);
    for output in answer.outputs {
        put_message(&mut head, 5, |out| write_output(out, output, contents))?;
    }
    if contents == Contents::Typed {
        return Ok(Message { head, pieces: Vec::new() });
    }
    if raw <= COPIED {
        for output in answer.outputs {
            let payload = output.tensor.payload();
            // Empty ones too: they are counted.
            put_head(&mut head, 6, payload.len());
            head.extend_from_slice(payload);
        }
        return Ok(Message { head, pieces: Vec::new() });
    }
    let mut pieces = Vec::with_capacity(2 * answer.outputs.len());
    for (index, output) in answer.outputs.iter().enumerate() {
        let payload = output.tensor.payload();
        if index == 0 {
            put_head(&mut head, 6, payload.len());
        } else {
            let mut between = Vec::with_capacity(8);
            put_head(&mut between, 6, payload.len());
            pieces.push(between.into());
        }
        pieces.push(payload.clone());
    }
    Ok(Message { head, pieces })
}

fn write_output(out: &mut Vec<u8>, named: &NamedTensor, contents: Contents) -> Result<(), Fault> {
    let NamedTensor { name, tensor } = named;
    put_bytes(out, 1, name.as_bytes());
    put_bytes(out, 2, tensor.datatype().name().as_bytes());
    if !tensor.shape().is_empty() {
        put_message(out, 3, |out| -> Result<(), Fault> {
            tensor.shape().iter().for_each(|size| put_varint(out, *size as u64));
            Ok(())
        })?;
    }
    match contents {
        Contents::Raw => Ok(()),
        Contents::Typed => put_message(out, 5, |out| contents::write(out, tensor))
            .map_err(|fault| fault.during(format_args!("write output `{}`", shown(name)))),
    }
}

/// Writes a `ModelStreamInferResponse` that holds an answer, behind `room` bytes.
///
/// # Errors
/// As [`encode_response`].
pub fn encode_streamed(answer: &Answer<'_>, contents: Contents, room: usize) -> Result<Message, Fault> {
    let inner = encode_response(answer, contents, 0)?;
    let mut head = Vec::with_capacity(room + 8 + inner.head.len());
    head.resize(room, 0);
    put_head(&mut head, 2, inner.length());
    head.extend_from_slice(&inner.head);
    Ok(Message { head, pieces: inner.pieces })
}

/// Writes a `ModelStreamInferResponse` that tells of a fault, behind `room` bytes; of the answer it holds what
/// `answer` has beside outputs.
pub fn encode_streamed_error(text: &str, answer: &Answer<'_>, room: usize) -> Message {
    let mut head = vec![0; room];
    put_bytes(&mut head, 1, text.as_bytes());
    let Ok(()) = put_message(&mut head, 2, |out| -> Result<(), std::convert::Infallible> {
        put_bytes(out, 1, answer.model_name.as_bytes());
        put_bytes(out, 3, answer.id.unwrap_or_default().as_bytes());
        parameters::write(out, 4, answer.parameters);
        Ok(())
    });
    Message { head, pieces: Vec::new() }
}
