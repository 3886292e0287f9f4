//! The table `[adapter]` of `model.toml` with `kind = "image"`, as it is written.

use serde::Deserialize;
use tenon_contract::{Datatype, TensorSpec};
use tenon_runtime::LoadError;
use tenon_runtime::bundle::MANIFEST;

use crate::boxes::{BoxLayout, Coordinates};
use crate::head::HeadTable;
use crate::labels::LabelsTable;
use crate::nms::NmsTable;
use crate::numbers::Activation;
use crate::pixels::{Channels, Layout};
use crate::resize::{Filter, Fit, Position};

/// `kind` of the tables that are read here.
pub const KIND: &str = "image";
/// Longest side of a model's input.
pub const INPUT_SIDE: u32 = 8192;
/// Most detections or classes of a picture.
pub const TOP_K: usize = 10_000;

/// `[adapter]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// `image`.
    pub kind: String,
    /// How a picture becomes the model's input.
    pub image: ImageTable,
    /// How the model's outputs become detections.
    #[serde(default)]
    pub detect: Option<DetectTable>,
    /// How the model's output becomes classes.
    #[serde(default)]
    pub classify: Option<ClassifyTable>,
}

/// `[adapter.image]`. What is left out is taken from the model's signature where it tells.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTable {
    /// Name of the model's input; its only one where it is not given.
    #[serde(default)]
    pub input: Option<String>,
    /// Width of the input, pixels.
    #[serde(default)]
    pub width: Option<u32>,
    /// Height of the input, pixels.
    #[serde(default)]
    pub height: Option<u32>,
    /// How the picture gets into it.
    #[serde(default)]
    pub fit: Fit,
    /// Where a letterboxed or cut picture lies.
    #[serde(default)]
    pub position: Position,
    /// Colour around a letterboxed picture, RGB.
    #[serde(default)]
    pub padding: [u8; 3],
    /// How pixels between pixels are computed.
    #[serde(default)]
    pub filter: Filter,
    /// Whether every pixel counts when a picture shrinks.
    #[serde(default = "yes")]
    pub antialias: bool,
    /// Order of the dimensions.
    #[serde(default)]
    pub layout: Option<Layout>,
    /// What a pixel is made of.
    #[serde(default)]
    pub channels: Channels,
    /// Datatype of the input, to be sure that it is the one thought of.
    #[serde(default)]
    pub datatype: Option<Datatype>,
    /// `(byte * scale - mean) / std`.
    #[serde(default = "one")]
    pub scale: f64,
    /// For all channels or for each, in the order of the model.
    #[serde(default)]
    pub mean: PerChannel,
    /// For all channels or for each, in the order of the model.
    #[serde(default = "unit")]
    pub std: PerChannel,
    /// Most pixels of a picture; more are refused before they are decoded.
    #[serde(default = "max_pixels")]
    pub max_pixels: u64,
    /// Give the model one picture at a time, though its signature takes more.
    #[serde(default)]
    pub one_by_one: bool,
}

/// A number for all channels or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum PerChannel {
    /// For all.
    All(f64),
    /// For each.
    Each([f64; 3]),
}

impl Default for PerChannel {
    fn default() -> Self {
        Self::All(0.0)
    }
}

impl PerChannel {
    /// For each channel.
    pub fn each(self) -> [f64; 3] {
        match self {
            Self::All(number) => [number; 3],
            Self::Each(numbers) => numbers,
        }
    }
}

/// `[adapter.detect]`. Boxes, scores and classes come in outputs of their own or in a raw head.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectTable {
    /// Output of the boxes, `[1, n, 4]`.
    #[serde(default)]
    pub boxes: Option<String>,
    /// Output of the scores: `[1, n]` beside `classes`, else `[1, n, classes]`.
    #[serde(default)]
    pub scores: Option<String>,
    /// Output of the classes, `[1, n]`.
    #[serde(default)]
    pub classes: Option<String>,
    /// Output of the number of boxes that count, `[1]`.
    #[serde(default)]
    pub count: Option<String>,
    /// One output with everything in its columns.
    #[serde(default)]
    pub head: Option<HeadTable>,
    /// What the four numbers of a box are.
    pub box_layout: BoxLayout,
    /// What a one means.
    pub coordinates: Coordinates,
    /// Of `scores` without `classes`.
    #[serde(default)]
    pub activation: Activation,
    /// Column of `scores` without `classes` that means nothing.
    #[serde(default)]
    pub background: Option<usize>,
    /// Added to the model's number of a class.
    #[serde(default)]
    pub class_offset: i64,
    /// The class for each number of the model, instead of an offset.
    #[serde(default)]
    pub class_ids: Option<Vec<i64>>,
    /// Names of classes.
    #[serde(default)]
    pub labels: Option<LabelsTable>,
    /// Class of the first name in a list.
    #[serde(default)]
    pub first_label: i64,
    /// Lowest score that counts.
    #[serde(default = "threshold")]
    pub threshold: f32,
    /// Most detections of a picture, the best ones; a part of the contract.
    #[serde(default = "detections")]
    pub top_k: usize,
    /// Where the model does not suppress boxes that overlap.
    #[serde(default)]
    pub nms: Option<NmsTable>,
}

/// `[adapter.classify]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifyTable {
    /// Output of the scores, `[1, classes]`; the only one where it is not given.
    #[serde(default)]
    pub scores: Option<String>,
    /// What the whole numbers of a quantised output stand for.
    #[serde(default)]
    pub quantised: Option<Quantised>,
    /// Of the scores, after `quantised`.
    #[serde(default)]
    pub activation: Activation,
    /// Added to the model's number of a class.
    #[serde(default)]
    pub class_offset: i64,
    /// Names of classes.
    #[serde(default)]
    pub labels: Option<LabelsTable>,
    /// Class of the first name in a list.
    #[serde(default)]
    pub first_label: i64,
    /// Classes given, the likeliest ones; a part of the contract.
    #[serde(default = "classes")]
    pub top_k: usize,
}

/// `value = (number - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantised {
    /// A step.
    pub scale: f32,
    /// The number that stands for zero.
    #[serde(default)]
    pub zero_point: f32,
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn unit() -> PerChannel {
    PerChannel::All(1.0)
}

fn max_pixels() -> u64 {
    50_000_000
}

fn threshold() -> f32 {
    0.3
}

fn detections() -> usize {
    100
}

fn classes() -> usize {
    5
}

/// What is wrong with a key of the table.
pub(crate) fn refused(key: &str, text: impl std::fmt::Display) -> LoadError {
    LoadError::malformed(MANIFEST, format!("adapter: {key}: {text}"))
}

/// Tensors of a model as an error names them.
pub(crate) fn listed(specs: &[TensorSpec]) -> String {
    let names: Vec<_> = specs.iter().map(|spec| format!("`{spec}`")).collect();
    names.join(", ")
}

impl Declared {
    /// Reads and checks the table, as far as that does not need the model.
    ///
    /// # Errors
    /// A key is unknown, missing or out of range; the text names it and what is allowed.
    pub fn read(table: &toml::Table) -> Result<Self, LoadError> {
        let declared: Self = table.clone().try_into().map_err(|error: toml::de::Error| {
            let text = error.to_string().trim().replace('\n', ", ");
            LoadError::malformed(MANIFEST, format!("adapter: {text}"))
        })?;
        declared.image.check()?;
        match (&declared.detect, &declared.classify) {
            (Some(detect), None) => detect.check()?,
            (None, Some(classify)) => classify.check()?,
            _ => {
                let text = "expected one of the tables [adapter.detect] and [adapter.classify]";
                return Err(LoadError::malformed(MANIFEST, text));
            }
        }
        Ok(declared)
    }
}

impl ImageTable {
    fn check(&self) -> Result<(), LoadError> {
        for (key, side) in [("image.width", self.width), ("image.height", self.height)] {
            if side.is_some_and(|side| side == 0 || side > INPUT_SIDE) {
                return Err(refused(key, format!("expected 1 to {INPUT_SIDE} pixels")));
            }
        }
        let finite = |numbers: [f64; 3]| numbers.iter().all(|number| number.is_finite());
        if !self.scale.is_finite() || !finite(self.mean.each()) {
            return Err(refused("image.mean", "expected finite numbers, in `scale` too"));
        }
        if !finite(self.std.each()) || self.std.each().contains(&0.0) {
            return Err(refused("image.std", "expected finite numbers other than 0"));
        }
        if self.max_pixels == 0 {
            return Err(refused("image.max_pixels", "expected 1 or more"));
        }
        Ok(())
    }
}

fn check_top_k(key: &str, top_k: usize) -> Result<(), LoadError> {
    match top_k {
        1..=TOP_K => Ok(()),
        _ => Err(refused(key, format!("expected 1 to {TOP_K}, got {top_k}"))),
    }
}

impl DetectTable {
    fn check(&self) -> Result<(), LoadError> {
        check_top_k("detect.top_k", self.top_k)?;
        let separate = [&self.boxes, &self.scores, &self.classes, &self.count];
        match &self.head {
            Some(_) if separate.iter().any(|name| name.is_some()) => {
                return Err(refused(
                    "detect.head",
                    "stands instead of `boxes`, `scores`, `classes` and `count`",
                ));
            }
            Some(head) => {
                if let Some(fault) = head.fault() {
                    return Err(refused("detect.head", fault));
                }
                let relative = (BoxLayout::Cxcywh, Coordinates::Pixels);
                if !head.strides.is_empty() && (self.box_layout, self.coordinates) != relative {
                    let text = "give box_layout = \"cxcywh\" and coordinates = \"pixels\"";
                    return Err(refused("detect.head.strides", text));
                }
            }
            None if self.boxes.is_none() || self.scores.is_none() => {
                let text = "expected `boxes` and `scores`, or the table [adapter.detect.head]";
                return Err(refused("detect", text));
            }
            None => {}
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(refused("detect.threshold", "expected 0 to 1"));
        }
        if let Some(nms) = &self.nms
            && (!(0.0..=1.0).contains(&nms.iou) || !(1..=TOP_K).contains(&nms.candidates))
        {
            return Err(refused("detect.nms", format!("expected iou 0 to 1, candidates 1 to {TOP_K}")));
        }
        if self.class_ids.is_some() && self.class_offset != 0 {
            return Err(refused("detect.class_ids", "stands instead of `class_offset`"));
        }
        Ok(())
    }
}

impl ClassifyTable {
    fn check(&self) -> Result<(), LoadError> {
        check_top_k("classify.top_k", self.top_k)?;
        match self.quantised {
            Some(quantised) if !quantised.scale.is_finite() || !quantised.zero_point.is_finite() => {
                Err(refused("classify.quantised", "expected finite numbers"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DETECT: &str = "[detect]\nboxes = 'b'\nscores = 's'\nbox_layout = 'xyxy'\ncoordinates = 'pixels'\n";

    fn read(text: &str) -> Result<Declared, String> {
        let table: toml::Table = toml::from_str(text).unwrap();
        Declared::read(&table).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let declared = read(&format!("kind = 'image'\n[image]\n{DETECT}")).unwrap();
        assert_eq!((declared.image.fit, declared.image.filter), (Fit::Stretch, Filter::Bilinear));
        assert_eq!(declared.image.std.each(), [1.0; 3]);
        let detect = declared.detect.unwrap();
        assert_eq!((detect.top_k, detect.threshold), (100, 0.3));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        let check = |image: &str, detect: &str, expected: &str| {
            let error = read(&format!("kind = 'image'\n[image]\n{image}\n{detect}")).unwrap_err();
            assert!(error.contains(expected) && error.starts_with("model.toml: "), "{error}");
        };
        check("", "", "[adapter.detect] and [adapter.classify]");
        check("sise = 3", DETECT, "unknown field `sise`, expected one of `input`, `width`");
        check("fit = 'squeeze'", DETECT, "unknown variant `squeeze`, expected one of `stretch`, `letterbox`");
        check("width = 0", DETECT, "adapter: image.width: expected 1 to 8192");
        check("std = 0", DETECT, "image.std");
        check("mean = [1, 2]", DETECT, "PerChannel");
        check("datatype = 'float'", DETECT, "unknown variant `float`");
        check("", &format!("{DETECT}top_k = 0"), "detect.top_k: expected 1 to 10000");
        check("", &format!("{DETECT}threshold = 2"), "detect.threshold");
        check("", &format!("{DETECT}nms = {{ iou = 7 }}"), "detect.nms");
        check("", &format!("{DETECT}head = {{ output = 'o', score = 4 }}"), "stands instead of `boxes`");
        check("", &DETECT.replace("scores = 's'\n", ""), "expected `boxes` and `scores`");
        check("", &DETECT.replace("box_layout = 'xyxy'\n", ""), "missing field `box_layout`");
        let head = "[detect]\nbox_layout = 'xyxy'\ncoordinates = 'pixels'\nhead = { output = 'o', score = 4, strides = [8] }";
        check("", head, "detect.head.strides: give box_layout");
        check("", "[classify]\ntop_k = 20000", "classify.top_k");
    }

    proptest! {
        #[test]
        fn any_table_is_read_or_refused(
            key in "[a-z_]{1,12}",
            number in any::<i64>(),
            text in "[ -~]{0,20}",
            place in 0usize..3,
        ) {
            let mut table: toml::Table =
                toml::from_str(&format!("kind = 'image'\n[image]\n{DETECT}")).unwrap();
            let value = if text.len() % 2 == 0 { toml::Value::Integer(number) } else { toml::Value::String(text) };
            match place {
                0 => table.insert(key, value),
                1 => table["image"].as_table_mut().unwrap().insert(key, value),
                _ => table["detect"].as_table_mut().unwrap().insert(key, value),
            };
            let _ = Declared::read(&table);
        }
    }
}
