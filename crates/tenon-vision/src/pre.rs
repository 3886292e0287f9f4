//! The model before the model: encoded pictures to its input, and the geometry that leads back.

use std::sync::Arc;

use fast_image_resize::Resizer;
use tenon_contract::tensor::Strings;
use tenon_contract::{Datatype, Dim, Fault, Signature, Tensor, TensorSpec, picture};
use tenon_runtime::{Answers, Call, Capabilities, LoadError, Model, RunError, Session};

use crate::declared::{INPUT_SIDE, ImageTable, listed, refused};
use crate::decode::Picture;
use crate::pixels::{Layout, Values};
use crate::resize::{Fit, Geometry, Resize};

/// Name under which the geometry goes past the model, FP32 `[n, 8]`.
pub const GEOMETRY: &str = "tenon.geometry";

/// Pictures to a model's input.
pub struct Pre {
    signature: Signature,
    plan: Arc<Plan>,
    one_by_one: bool,
}

/// What every session needs to know.
struct Plan {
    resize: Resize,
    values: Values,
    max_pixels: u64,
}

impl Pre {
    /// What `declared` says, for a model of `signature`.
    ///
    /// # Errors
    /// The table does not fit the model, or leaves open what the model does not tell.
    pub fn new(declared: &ImageTable, signature: &Signature) -> Result<Self, LoadError> {
        let spec = input_of(declared, signature)?;
        let layout = layout_of(declared, spec)?;
        let (batch, height, width, channels) = match (&spec.shape[..], layout) {
            ([batch, height, width, channels], Layout::Nhwc)
            | ([batch, channels, height, width], Layout::Nchw) => (batch, height, width, channels),
            _ => return Err(refused("image.input", format!("`{spec}` has not 4 dimensions"))),
        };
        if channels.size().is_some_and(|size| size != declared.channels.count() as i64) {
            let text = format!("`{spec}` has not {} channels there; see `layout`", declared.channels.count());
            return Err(refused("image.channels", text));
        }
        if batch.size().is_some_and(|size| size != 1) {
            return Err(refused("image.input", format!("`{spec}` takes a fixed batch that is not 1")));
        }
        if declared.datatype.is_some_and(|datatype| datatype != spec.datatype) {
            return Err(refused("image.datatype", format!("the model's input is {}", spec.datatype)));
        }
        let width = side(declared.width, width, declared.fit, "image.width", spec)?;
        let height = side(declared.height, height, declared.fit, "image.height", spec)?;
        let (mean, std) = (declared.mean.each(), declared.std.each());
        let values = Values::new(spec.datatype, layout, declared.channels, declared.scale, mean, std)
            .ok_or_else(|| refused("image.input", format!("pictures do not become {}", spec.datatype)))?;
        let resize = Resize {
            size: width.zip(height),
            fit: declared.fit,
            position: declared.position,
            padding: declared.padding,
            filter: declared.filter,
            antialias: declared.antialias,
        };
        let outputs =
            vec![spec.clone(), TensorSpec::new(GEOMETRY, Datatype::Fp32, &[-1, Geometry::LENGTH as i64])];
        let inputs = vec![TensorSpec::new(picture::IMAGE, Datatype::Bytes, &[-1])];
        // Pictures of several sizes do not lie in one tensor.
        let sizes_differ = matches!(declared.fit, Fit::AsIs | Fit::Inside);
        Ok(Self {
            signature: Signature { inputs, outputs },
            plan: Arc::new(Plan { resize, values, max_pixels: declared.max_pixels }),
            one_by_one: declared.one_by_one || sizes_differ || batch.size().is_some(),
        })
    }

    /// Whether the model takes one picture at a time.
    pub fn one_by_one(&self) -> bool {
        self.one_by_one
    }
}

/// The input that pictures go to.
fn input_of<'s>(declared: &ImageTable, signature: &'s Signature) -> Result<&'s TensorSpec, LoadError> {
    let names = || listed(&signature.inputs);
    let spec = match (&declared.input, &signature.inputs[..]) {
        (Some(name), inputs) => inputs.iter().find(|spec| *spec.name == **name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let spec = spec.ok_or_else(|| {
        let asked = declared.input.as_deref().unwrap_or("");
        refused("image.input", format!("no input `{asked}`; the model takes {}", names()))
    })?;
    if signature.inputs.len() > 1 {
        return Err(refused("image.input", format!("the model takes more than a picture: {}", names())));
    }
    Ok(spec)
}

fn layout_of(declared: &ImageTable, spec: &TensorSpec) -> Result<Layout, LoadError> {
    let channels = Some(declared.channels.count() as i64);
    let has = |at: usize| spec.shape.get(at).is_some_and(|dim| dim.size() == channels);
    match (declared.layout, has(1), has(3)) {
        (Some(layout), ..) => Ok(layout),
        (None, true, false) => Ok(Layout::Nchw),
        (None, false, true) => Ok(Layout::Nhwc),
        _ => Err(refused("image.layout", format!("`{spec}` does not tell; give \"nhwc\" or \"nchw\""))),
    }
}

/// A side of the input: declared, or the model's own.
fn side(
    declared: Option<u32>,
    dim: &Dim,
    fit: Fit,
    key: &str,
    spec: &TensorSpec,
) -> Result<Option<u32>, LoadError> {
    let own = match dim.size() {
        Some(size) => {
            let side = u32::try_from(size).ok().filter(|side| (1..=INPUT_SIDE).contains(side));
            Some(side.ok_or_else(|| refused(key, format!("`{spec}` is beyond {INPUT_SIDE} pixels")))?)
        }
        None => None,
    };
    match (declared, own, fit) {
        (Some(asked), Some(own), _) if asked != own => {
            Err(refused(key, format!("is {asked}, the model's input `{spec}` has {own}")))
        }
        (_, Some(_), Fit::AsIs | Fit::Inside) => {
            Err(refused("image.fit", format!("the model's input `{spec}` has a size of its own")))
        }
        (Some(_), None, Fit::AsIs) => Err(refused(key, "fit = \"as_is\" has no size")),
        (None, None, Fit::Stretch | Fit::Letterbox | Fit::Inside | Fit::Cover) => {
            Err(refused(key, format!("is missing: the model's input `{spec}` takes any size")))
        }
        (asked, own, _) => Ok(asked.or(own)),
    }
}

impl Model for Pre {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rows_independent: Some(true), deterministic: Some(true), ..Capabilities::default() }
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(Pictures {
            plan: self.plan.clone(),
            picture: Picture::default(),
            resizer: Resizer::new(),
            scratch: Vec::new(),
        }))
    }
}

/// Memory that is kept from call to call.
struct Pictures {
    plan: Arc<Plan>,
    picture: Picture,
    resizer: Resizer,
    scratch: Vec<u8>,
}

/// What a session keeps of its largest picture.
const KEPT_BYTES: usize = 32 << 20;

impl Session for Pictures {
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        let pictures: Strings<'_> =
            call.inputs.tensors()[0].strings().map_err(|error| RunError::Failed(error.to_string()))?;
        let rows = call.inputs.rows();
        let (mut canvas, mut geometries) = (Vec::new(), Vec::with_capacity(rows * Geometry::LENGTH));
        let mut size = self.plan.resize.size.unwrap_or((1, 1));
        for (row, bytes) in pictures.enumerate() {
            call.check()?;
            let fault = |fault: Fault| {
                RunError::Refused(if rows > 1 {
                    fault.during(format_args!("picture {}", row + 1))
                } else {
                    fault
                })
            };
            self.picture.decode(bytes, self.plan.max_pixels).map_err(fault)?;
            size = self.plan.resize.input_size(self.picture.upright_size());
            let length = size.0 as usize * size.1 as usize * 3;
            if row == 0 {
                canvas.reserve_exact(length * rows);
            }
            let from = canvas.len();
            canvas.resize(from + length, 0);
            let geometry = self
                .plan
                .resize
                .run(&mut self.picture, &mut self.resizer, &mut self.scratch, &mut canvas[from..])
                .map_err(RunError::Failed)?;
            geometries.extend(geometry.to_numbers());
        }
        if self.picture.pixels.capacity() > KEPT_BYTES {
            self.picture.pixels = Vec::new();
        }
        let tensor = self.plan.values.tensor(canvas, rows, size).map_err(RunError::Failed)?;
        let shape = vec![rows as i64, Geometry::LENGTH as i64];
        let geometries = Tensor::from_values(shape, geometries);
        answers.send(vec![tensor, geometries.map_err(|error| RunError::Failed(error.to_string()))?])
    }
}
