//! One worker's session: binds inputs where they lie, runs, hands the outputs over.

use std::sync::Arc;

use bytes::Bytes;
use tenon_contract::{Datatype, Signature, Tensor};
use tenon_runtime::{Answers, Call, RunError, Session};

use crate::raw::{Input, Runner};
use crate::signature::element;

/// A session of ONNX Runtime that is ours alone.
pub(crate) struct OnnxSession {
    runner: Runner,
    signature: Arc<Signature>,
    /// Room for inputs that do not lie at an address fit for their elements; one each, kept between calls.
    buffers: Vec<Vec<u64>>,
}

impl OnnxSession {
    pub(crate) fn new(runner: Runner, signature: Arc<Signature>) -> Self {
        let buffers = vec![Vec::new(); signature.inputs.len()];
        Self { runner, signature, buffers }
    }

    fn outputs(&mut self, call: &Call<'_>) -> Result<Vec<Tensor>, RunError> {
        let given = call.inputs.tensors();
        let inputs = given.iter().zip(&mut self.buffers).zip(&self.signature.inputs);
        let inputs: Vec<_> = inputs
            .map(|((tensor, buffer), spec)| {
                bind(&self.runner, tensor, buffer)
                    .map_err(|text| RunError::Failed(format!("input `{}` {text}", spec.name)))
            })
            .collect::<Result<_, _>>()?;
        let elements = self.signature.outputs.iter().map(|spec| element(spec.datatype));
        let outputs = self.runner.run(&inputs, elements).map_err(|error| failed(&error))?;
        let specs = self.signature.outputs.iter();
        outputs
            .into_iter()
            .zip(specs)
            .map(|((shape, payload), spec)| {
                Tensor::new(spec.datatype, shape, payload)
                    .map_err(|error| RunError::Failed(format!("output `{}`: {error}", spec.name)))
            })
            .collect()
    }
}

impl Session for OnnxSession {
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        call.check()?;
        let options = self.runner.options().clone();
        let outputs = {
            let stop = options.clone();
            // Every call has the hook: it is one small allocation, and which call will be long is not known.
            let _hook = call.cancel.on_cancel(move || drop(stop.terminate()));
            self.outputs(&call)
        };
        if call.cancel.is_cancelled() {
            // The hook may have run, and cannot any more: make the session fit for its next call.
            options.unterminate().map_err(|error| RunError::Broken(error.to_string()))?;
        }
        let outputs = outputs.map_err(|error| why_stopped(&call, error))?;
        answers.send(outputs)
    }
}

/// A run that fails after its token fired was stopped by it.
fn why_stopped(call: &Call<'_>, error: RunError) -> RunError {
    if !call.cancel.is_cancelled() {
        return error;
    }
    let token = tenon_runtime::Cancel::new();
    match (Call { cancel: &token, ..*call }).check() {
        Err(deadline) => deadline,
        Ok(()) => RunError::Cancelled,
    }
}

/// ONNX Runtime's own words. The place in its sources is of no use to the caller.
fn failed(error: &ort::Error) -> RunError {
    RunError::Failed(error.message().to_owned())
}

/// A tensor of ONNX Runtime over the payload, or over a copy in `buffer` where it is not aligned.
fn bind<'a>(runner: &Runner, tensor: &'a Tensor, buffer: &'a mut Vec<u64>) -> Result<Input<'a>, String> {
    let input = match tensor.datatype() {
        Datatype::Bytes => {
            let strings = tensor.strings().map_err(|error| error.to_string())?;
            if let Some(at) = strings.clone().position(|string| std::str::from_utf8(string).is_err()) {
                return Err(format!("is no UTF-8 at element {at}; strings of ONNX must be"));
            }
            Input::strings(strings, tensor.shape())
        }
        datatype => {
            let bytes = aligned_in(tensor.payload(), datatype.size().unwrap_or(1), buffer);
            runner.input(bytes, tensor.shape(), element(datatype))
        }
    };
    input.map_err(|error| format!("was refused: {}", error.message()))
}

/// `bytes` where they lie, or copied into `buffer` where their address is no multiple of `align`, which
/// is at most eight.
fn aligned_in<'a>(bytes: &'a [u8], align: usize, buffer: &'a mut Vec<u64>) -> &'a [u8] {
    if bytes.as_ptr().addr().is_multiple_of(align) {
        return bytes;
    }
    buffer.clear();
    buffer.resize(bytes.len().div_ceil(8), 0);
    let copy = &mut bytemuck::cast_slice_mut::<u64, u8>(buffer)[..bytes.len()];
    copy.copy_from_slice(bytes);
    copy
}

/// `bytes` at a multiple of eight: themselves, or a copy.
pub(crate) fn aligned(bytes: Bytes) -> Bytes {
    struct Copied(Vec<u64>, usize);
    impl AsRef<[u8]> for Copied {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[..self.1]
        }
    }
    let mut buffer = Vec::new();
    let copied = aligned_in(&bytes, 8, &mut buffer).len();
    if buffer.is_empty() { bytes } else { Bytes::from_owner(Copied(buffer, copied)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_bytes_stay_where_they_are_and_others_are_copied() {
        let bytes = aligned(Bytes::from((0..100).collect::<Vec<u8>>()));
        for start in 0..9 {
            let slice = bytes.slice(start..);
            let moved = aligned(slice.clone());
            assert_eq!(moved, slice);
            assert!(moved.as_ptr().addr().is_multiple_of(8));
            assert_eq!(moved.as_ptr() == slice.as_ptr(), start % 8 == 0);
        }
    }
}
