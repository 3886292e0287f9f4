//! The few calls for which `ort` has no safe form that would do, and all `unsafe` of this crate.
//!
//! - No telemetry from the first moment: the switch in `ort` comes after ONNX Runtime's first report.
//! - The version of the loaded library: `ort` keeps it to itself.
//! - Tensors over our own bytes: `ort` wants typed slices, so BOOL would need a check of every byte,
//!   FP16 a conversion and weights in a bundle a copy.
//! - Outputs whose memory becomes a payload without a copy, whatever bytes a BOOL holds.
//! - Strings with NUL inside: `ort` passes them as C strings.
//!
//! Nothing here is `unsafe` to call. What the calls lean on: an [`Input`] borrows its bytes, [`Runner`]
//! owns what its session reads, an output that shares memory with an input is copied.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};
use ort::sys::{OrtApiBase, OrtStatusPtr, OrtTensorTypeAndShapeInfo, OrtValue};
use ort::value::{DynValue, TensorElementType};

use crate::external::Weight;

/// Outputs up to this size are copied, so that their value is given back at once: cheaper than to
/// keep it.
const COPIED_UP_TO: usize = 4096;

/// Keeps ONNX Runtime from collecting, storing and uploading events, as its official libraries do on
/// Linux too since 1.29. To be called before the library starts: its switch in the C interface needs a
/// started one, which has reported by then.
pub(crate) fn opt_out_of_telemetry() {
    // SAFETY: a change of the environment must not meet a read of it by C code on another thread. Rust's own
    // reads are locked out by `set_var`; for others `OnnxRuntime::start` asks to be called before threads
    // begin to work, and this is done once, under its lock.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") }
}

/// The version that the library at `path` says it is, such as `1.31.1`.
///
/// # Errors
/// It cannot be opened or is another library.
pub(crate) fn version(path: &Path) -> Result<String, libloading::Error> {
    // SAFETY: opening a library runs its initialisers; this one is loaded already, so none runs again.
    // `OrtGetApiBase` has this type in every version of ONNX Runtime and gives a pointer to a static,
    // and its version is a text with a NUL at its end, also static.
    unsafe {
        let library = libloading::Library::new(path)?;
        let base: libloading::Symbol<'_, unsafe extern "C" fn() -> *const OrtApiBase> =
            library.get(b"OrtGetApiBase\0")?;
        let version = ((*base()).GetVersionString)();
        Ok(CStr::from_ptr(version).to_string_lossy().into_owned())
    }
}

/// Weights in a file of the bundle, as a value that every session of a model shares.
pub(crate) struct SharedWeight {
    name: String,
    value: Arc<DynValue>,
    /// What the value reads. Behind it, so that it is dropped later.
    _bytes: Bytes,
}

impl SharedWeight {
    /// # Errors
    /// ONNX Runtime refused shape or type.
    pub(crate) fn new(weight: Weight) -> ort::Result<Self> {
        let bytes = crate::session::aligned(weight.bytes);
        let value = Value::over(&bytes, &weight.shape, weight.element, &MemoryInfo::default())?;
        // SAFETY: the value is whole and handed over (`forget`), and it is a tensor, whose allocator may be
        // any: it frees nothing. Its bytes live beside it in `Self`, and `Runner` keeps `Self`.
        let shared = unsafe { DynValue::from_ptr(value.0, Some(&Allocator::default())) };
        std::mem::forget(value);
        Ok(Self { name: weight.name, value: Arc::new(shared), _bytes: bytes })
    }
}

/// A value of ONNX Runtime, released when dropped.
struct Value(NonNull<OrtValue>);

// SAFETY: a value is data with an allocator that takes frees from any thread.
unsafe impl Send for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the value is ours and released once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}

impl Value {
    /// A tensor that reads `bytes` where they lie. Must not outlive them.
    fn over(
        bytes: &[u8],
        shape: &[i64],
        element: TensorElementType,
        memory: &MemoryInfo<'_>,
    ) -> ort::Result<Self> {
        let align = element.byte_size(1).unwrap_or(1);
        if !bytes.as_ptr().addr().is_multiple_of(align) {
            return Err(ort::Error::new("tensor is not aligned for its elements"));
        }
        let mut value = ptr::null_mut();
        // SAFETY: pointers and lengths are those of slices; ONNX Runtime checks that the shape fits into
        // the length, only reads inputs and weights, and copies the shape.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                bytes.as_ptr().cast_mut().cast::<c_void>(),
                bytes.len(),
                shape.as_ptr(),
                shape.len(),
                element.into(),
                &raw mut value,
            )
        })?;
        Self::made(value)
    }

    fn made(value: *mut OrtValue) -> ort::Result<Self> {
        NonNull::new(value).map(Self).ok_or_else(|| ort::Error::new("onnxruntime gave no value"))
    }

    /// Shape and element type, the type as ONNX's number.
    fn shape(&self) -> ort::Result<(Vec<i64>, i32)> {
        let mut info: *mut OrtTensorTypeAndShapeInfo = ptr::null_mut();
        // SAFETY: the value is alive; the description is released below; the number of dimensions is
        // asked for before they are written; the type is read as the integer that it is in C.
        unsafe {
            let api = ort::api();
            check((api.GetTensorTypeAndShape)(self.0.as_ptr(), &raw mut info))?;
            let read = || {
                let (mut rank, mut element) = (0, 0i32);
                check((api.GetDimensionsCount)(info, &raw mut rank))?;
                let mut shape = vec![0i64; rank];
                check((api.GetDimensions)(info, shape.as_mut_ptr(), rank))?;
                check((api.GetTensorElementType)(info, (&raw mut element).cast()))?;
                Ok((shape, element))
            };
            let found = read();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            found
        }
    }

    /// Where its values lie; dangling where it has none.
    fn data(&self) -> ort::Result<NonNull<u8>> {
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: the value is alive and a tensor.
        check(unsafe { (ort::api().GetTensorMutableData)(self.0.as_ptr(), &raw mut data) })?;
        Ok(NonNull::new(data.cast()).unwrap_or(NonNull::dangling()))
    }

    /// The strings of a string tensor, written as a BYTES payload.
    fn strings(&self, elements: usize) -> ort::Result<Bytes> {
        let mut length = 0;
        // SAFETY: the value is alive; ONNX Runtime refuses what is no string tensor.
        check(unsafe { (ort::api().GetStringTensorDataLength)(self.0.as_ptr(), &raw mut length) })?;
        let mut content = vec![0u8; length];
        let mut offsets = vec![0usize; elements];
        // SAFETY: both buffers have the lengths given; it writes no further and refuses shorter ones.
        check(unsafe {
            (ort::api().GetStringTensorContent)(
                self.0.as_ptr(),
                content.as_mut_ptr().cast(),
                length,
                offsets.as_mut_ptr(),
                elements,
            )
        })?;
        let ends = offsets.iter().skip(1).copied().chain([length]);
        let mut payload = Vec::with_capacity(length + 4 * elements);
        for (start, end) in offsets.iter().zip(ends) {
            let string = content.get(*start..end).ok_or_else(|| ort::Error::new("strings overlap"))?;
            tenon_contract::tensor::push_element(&mut payload, string);
        }
        Ok(payload.into())
    }
}

/// A tensor that a run reads.
pub(crate) struct Input<'a> {
    value: Value,
    /// What it reads where it lies; nothing for strings.
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// A string tensor.
    ///
    /// # Errors
    /// ONNX Runtime refused the shape.
    pub(crate) fn strings(strings: impl Iterator<Item = &'a [u8]>, shape: &[i64]) -> ort::Result<Self> {
        let api = ort::api();
        let mut value = ptr::null_mut();
        let allocator = Allocator::default().ptr().cast_mut();
        // SAFETY: the default allocator lives as long as the library; the shape is copied.
        check(unsafe {
            (api.CreateTensorAsOrtValue)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                TensorElementType::String.into(),
                &raw mut value,
            )
        })?;
        let value = Value::made(value)?;
        for (index, string) in strings.enumerate() {
            let mut buffer: *mut c_char = ptr::null_mut();
            // SAFETY: ONNX Runtime checks the index and makes room for that many bytes, which then are
            // written once, before any other use of the value.
            unsafe {
                check((api.GetResizedStringTensorElementBuffer)(
                    value.0.as_ptr(),
                    index,
                    string.len(),
                    &raw mut buffer,
                ))?;
                ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast(), string.len());
            }
        }
        Ok(Self { value, bytes: &[] })
    }
}

/// What a run gave: shape and payload.
pub(crate) type Output = (Vec<i64>, Bytes);

/// A session of ONNX Runtime with all that its runs need.
pub(crate) struct Runner {
    session: Session,
    /// Read by the session, so they stand behind it and are dropped later.
    _weights: Arc<[SharedWeight]>,
    inputs: Names,
    outputs: Names,
    memory: MemoryInfo<'static>,
    options: Arc<RunOptions>,
}

impl Runner {
    /// Makes a session from the model's bytes.
    ///
    /// # Errors
    /// ONNX Runtime refused the model.
    pub(crate) fn new(
        mut builder: SessionBuilder,
        model: &[u8],
        weights: &Arc<[SharedWeight]>,
    ) -> ort::Result<Self> {
        for weight in weights.iter() {
            builder = builder.with_external_initializer(&weight.name, weight.value.clone())?;
        }
        let session = builder.commit_from_memory(model)?;
        Ok(Self {
            inputs: Names::new(session.inputs().iter().map(|input| input.name()))?,
            outputs: Names::new(session.outputs().iter().map(|output| output.name()))?,
            memory: MemoryInfo::default(),
            options: Arc::new(RunOptions::new()?),
            _weights: weights.clone(),
            session,
        })
    }

    /// The session, to be asked for its inputs and outputs.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// What stops a run from another thread.
    pub(crate) fn options(&self) -> &Arc<RunOptions> {
        &self.options
    }

    /// A tensor that reads `bytes` where they lie, aligned for `element`.
    ///
    /// # Errors
    /// They are not aligned, or too few for the shape.
    pub(crate) fn input<'a>(
        &self,
        bytes: &'a [u8],
        shape: &[i64],
        element: TensorElementType,
    ) -> ort::Result<Input<'a>> {
        Ok(Input { value: Value::over(bytes, shape, element, &self.memory)?, bytes })
    }

    /// Runs the model. `elements` are the types that its outputs must have.
    ///
    /// # Errors
    /// ONNX Runtime's own, or an output of another type.
    pub(crate) fn run(
        &mut self,
        inputs: &[Input<'_>],
        elements: impl Iterator<Item = TensorElementType>,
    ) -> ort::Result<Vec<Output>> {
        if inputs.len() != self.inputs.pointers.len() {
            return Err(ort::Error::new("number of inputs is not that of the model"));
        }
        let mut values = vec![ptr::null_mut(); self.outputs.pointers.len()];
        let pointers: Vec<*const OrtValue> =
            inputs.iter().map(|input| input.value.0.as_ptr().cast_const()).collect();
        // SAFETY: names, inputs and outputs are arrays of the lengths given, of values that are alive;
        // `&mut self` keeps a second run of this session away.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                self.options.ptr(),
                self.inputs.pointers.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                self.outputs.pointers.as_ptr(),
                values.len(),
                values.as_mut_ptr(),
            )
        };
        // Owned first, so that all are released whatever happens next.
        let values: Vec<_> = values.into_iter().map(Value::made).collect();
        check(status)?;
        values.into_iter().zip(elements).map(|(value, element)| output(value?, element, inputs)).collect()
    }
}

/// Turns a value into shape and payload.
fn output(value: Value, element: TensorElementType, inputs: &[Input<'_>]) -> ort::Result<Output> {
    let (shape, code) = value.shape()?;
    if code != ort::sys::ONNXTensorElementDataType::from(element) as i32 {
        return Err(ort::Error::new(format!("an output has the ONNX type {code} instead of {element}")));
    }
    let elements = tenon_contract::tensor::elements_of(&shape).map_err(ort::Error::wrap)?;
    let Some(length) = element.byte_size(elements) else {
        let payload = if elements == 0 { Bytes::new() } else { value.strings(elements)? };
        return Ok((shape, payload));
    };
    let data = value.data()?;
    let owned = OwnedOutput { data, length, _value: value };
    if length <= COPIED_UP_TO || shares_memory(data, inputs) {
        return Ok((shape, Bytes::copy_from_slice(owned.as_ref())));
    }
    Ok((shape, Bytes::from_owner(owned)))
}

/// Whether an output is an input handed through: ONNX Runtime then gives the input's own memory, which
/// the caller may free.
fn shares_memory(data: NonNull<u8>, inputs: &[Input<'_>]) -> bool {
    inputs.iter().any(|input| input.bytes.as_ptr_range().contains(&data.as_ptr().cast_const()))
}

/// An output's memory, kept by its value.
struct OwnedOutput {
    data: NonNull<u8>,
    length: usize,
    _value: Value,
}

// SAFETY: nobody writes what it points to any more, and its value may be released on any thread.
unsafe impl Send for OwnedOutput {}

impl AsRef<[u8]> for OwnedOutput {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the value holds `length` bytes there as long as it lives (`length` follows from its own
        // shape and type), and `data` dangles only where there are none.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.length) }
    }
}

/// Names as the C interface wants them, made once.
struct Names {
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

// SAFETY: the pointers lead to the heap memory of `_owned`, which nobody changes.
unsafe impl Send for Names {}

impl Names {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> ort::Result<Self> {
        let owned: Vec<CString> =
            names.map(CString::new).collect::<Result<_, _>>().map_err(ort::Error::wrap)?;
        Ok(Self { pointers: owned.iter().map(|name| name.as_ptr()).collect(), _owned: owned })
    }
}

fn check(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: every status given here comes from the C interface just now and is taken once.
    unsafe { ort::Error::result_from_status(status) }
}
