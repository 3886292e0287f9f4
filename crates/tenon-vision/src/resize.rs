//! From the pixels of a picture to those of a model's input, and the geometry that leads back.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::Deserialize;

use crate::decode::Picture;
use crate::orientation::Orientation;

/// How a picture gets into the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Width and height each to its own measure; proportions are lost.
    #[default]
    Stretch,
    /// The whole picture in its proportions, with padding where it leaves room.
    Letterbox,
    /// The whole picture in its proportions, without padding: the input is as large as the picture then.
    Inside,
    /// The input filled in the picture's proportions; what reaches beyond is cut off.
    Cover,
    /// No resizing: the input is as large as the picture.
    AsIs,
}

/// Where a letterboxed picture lies, and which part of one that covers the input is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// In the middle.
    #[default]
    Center,
    /// At the upper left corner.
    TopLeft,
}

/// How pixels between pixels are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the pixels that one replaces.
    Box,
    /// Linear in both directions.
    #[default]
    Bilinear,
    /// Cubic (Catmull-Rom).
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

/// Everything that resizing needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// Width and height to fit; none where the picture stays as it is.
    pub size: Option<(u32, u32)>,
    /// How to fit.
    pub fit: Fit,
    /// Where to lie.
    pub position: Position,
    /// RGB of the padding.
    pub padding: [u8; 3],
    /// How to interpolate.
    pub filter: Filter,
    /// Whether a filter widens when a picture shrinks, so that every pixel counts.
    pub antialias: bool,
}

/// How a place in the input is a place in the upright original: `input = original * scale + offset`, pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Width and height of the upright original.
    pub original: (u32, u32),
    /// Width and height of the input.
    pub input: (u32, u32),
    /// Along x and y.
    pub scale: (f32, f32),
    /// Along x and y.
    pub offset: (f32, f32),
}

impl Geometry {
    /// Numbers that stand for a geometry in a tensor.
    pub const LENGTH: usize = 8;

    /// As numbers.
    pub fn to_numbers(self) -> [f32; Self::LENGTH] {
        let Self { original, input, scale, offset } = self;
        [
            original.0 as f32,
            original.1 as f32,
            input.0 as f32,
            input.1 as f32,
            scale.0,
            scale.1,
            offset.0,
            offset.1,
        ]
    }

    /// From its numbers; `None` where they are too few or no geometry.
    pub fn of_numbers(numbers: &[f32]) -> Option<Self> {
        let numbers: [f32; Self::LENGTH] = numbers.try_into().ok()?;
        let sound = numbers.iter().all(|number| number.is_finite())
            && numbers[..6].iter().all(|number| *number > 0.0);
        sound.then_some(Self {
            original: (numbers[0] as u32, numbers[1] as u32),
            input: (numbers[2] as u32, numbers[3] as u32),
            scale: (numbers[4], numbers[5]),
            offset: (numbers[6], numbers[7]),
        })
    }
}

/// What part of the original goes where in the input.
struct Placement {
    /// Left, top, width, height in the original.
    from: (f64, f64, f64, f64),
    /// Left, top, width, height in the input.
    to: (u32, u32, u32, u32),
    /// Width and height of the input.
    input: (u32, u32),
}

impl Resize {
    /// Width and height of the input for an upright original of `original`.
    pub fn input_size(&self, original: (u32, u32)) -> (u32, u32) {
        self.place(original).input
    }

    fn place(&self, original: (u32, u32)) -> Placement {
        let whole = (0.0, 0.0, f64::from(original.0), f64::from(original.1));
        let all = |(width, height): (u32, u32)| Placement {
            from: whole,
            to: (0, 0, width, height),
            input: (width, height),
        };
        let Some(size) = self.size else { return all(original) };
        let ratios = (f64::from(size.0) / f64::from(original.0), f64::from(size.1) / f64::from(original.1));
        let scaled = |ratio: f64| {
            let side = |length: u32, most: u32| ((f64::from(length) * ratio).round() as u32).clamp(1, most);
            (side(original.0, size.0), side(original.1, size.1))
        };
        let middle = |free: f64| if self.position == Position::Center { free / 2.0 } else { 0.0 };
        match self.fit {
            Fit::AsIs => all(original),
            Fit::Stretch => all(size),
            Fit::Inside => all(scaled(ratios.0.min(ratios.1))),
            Fit::Letterbox => {
                let (width, height) = scaled(ratios.0.min(ratios.1));
                let left = middle(f64::from(size.0 - width)) as u32;
                let top = middle(f64::from(size.1 - height)) as u32;
                Placement { from: whole, to: (left, top, width, height), input: size }
            }
            Fit::Cover => {
                let ratio = ratios.0.max(ratios.1);
                let width = (f64::from(size.0) / ratio).min(whole.2);
                let height = (f64::from(size.1) / ratio).min(whole.3);
                let from = (middle(whole.2 - width), middle(whole.3 - height), width, height);
                Placement { from, to: (0, 0, size.0, size.1), input: size }
            }
        }
    }

    /// Writes a picture into `canvas`, RGB of [`Resize::input_size`], turned upright.
    ///
    /// # Errors
    /// The canvas or the picture has another size than it says; never for a decoded picture.
    pub fn run(
        &self,
        picture: &mut Picture,
        resizer: &mut Resizer,
        scratch: &mut Vec<u8>,
        canvas: &mut [u8],
    ) -> Result<Geometry, String> {
        let original = picture.upright_size();
        let Placement { from, to, input } = self.place(original);
        if canvas.len() != input.0 as usize * input.1 as usize * 3 {
            return Err(format!("canvas of {} bytes for {} x {} pixels", canvas.len(), input.0, input.1));
        }
        let is_whole = (from.2, from.3) == (f64::from(original.0), f64::from(original.1));
        if !is_whole {
            picture.turn_upright();
        }
        let fills = (to.2, to.3) == input;
        if fills && picture.orientation == Orientation::Upright {
            self.scale(picture, from, resizer, (to.2, to.3), canvas)?;
        } else {
            let turned = picture.orientation.turned((to.2, to.3));
            scratch.clear();
            scratch.resize(to.2 as usize * to.3 as usize * 3, 0);
            let from = if is_whole { (0.0, 0.0, picture.width.into(), picture.height.into()) } else { from };
            self.scale(picture, from, resizer, turned, scratch)?;
            if picture.orientation != Orientation::Upright {
                *scratch = picture.orientation.upright(scratch, turned.0, turned.1);
            }
            if !fills {
                canvas.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&self.padding));
            }
            let rows = canvas.chunks_exact_mut(input.0 as usize * 3).skip(to.1 as usize);
            for (row, from) in rows.zip(scratch.chunks_exact(to.2 as usize * 3)) {
                row[to.0 as usize * 3..][..from.len()].copy_from_slice(from);
            }
        }
        let scale = (f64::from(to.2) / from.2, f64::from(to.3) / from.3);
        let offset = (f64::from(to.0) - from.0 * scale.0, f64::from(to.1) - from.1 * scale.1);
        Ok(Geometry {
            original,
            input,
            scale: (scale.0 as f32, scale.1 as f32),
            offset: (offset.0 as f32, offset.1 as f32),
        })
    }

    fn scale(
        &self,
        picture: &Picture,
        from: (f64, f64, f64, f64),
        resizer: &mut Resizer,
        (width, height): (u32, u32),
        into: &mut [u8],
    ) -> Result<(), String> {
        let is_whole = (from.2, from.3) == (f64::from(picture.width), f64::from(picture.height));
        if is_whole && (width, height) == (picture.width, picture.height) {
            into.copy_from_slice(&picture.pixels);
            return Ok(());
        }
        let filter = match self.filter {
            Filter::Nearest => None,
            Filter::Box => Some(FilterType::Box),
            Filter::Bilinear => Some(FilterType::Bilinear),
            Filter::Bicubic => Some(FilterType::CatmullRom),
            Filter::Lanczos => Some(FilterType::Lanczos3),
        };
        let algorithm = match (filter, self.antialias) {
            (None, _) => ResizeAlg::Nearest,
            (Some(filter), true) => ResizeAlg::Convolution(filter),
            (Some(filter), false) => ResizeAlg::Interpolation(filter),
        };
        let mut options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
        if !is_whole {
            options = options.crop(from.0, from.1, from.2, from.3);
        }
        let text = |error: &dyn std::fmt::Display| error.to_string();
        // The one pixel type that is used: the resizer for any type would bring the code of all of them.
        let source = TypedImageRef::<U8x3>::from_buffer(picture.width, picture.height, &picture.pixels)
            .map_err(|error| text(&error))?;
        let mut target =
            TypedImage::<U8x3>::from_buffer(width, height, into).map_err(|error| text(&error))?;
        resizer.resize_typed(&source, &mut target, &options).map_err(|error| text(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(fit: Fit, size: (u32, u32)) -> Resize {
        Resize {
            size: Some(size),
            fit,
            position: Position::Center,
            padding: [9, 9, 9],
            filter: Filter::Bilinear,
            antialias: true,
        }
    }

    /// Left half black, right half white.
    fn halves(width: u32, height: u32) -> Picture {
        let pixel = |at: u32| [if at % width < width / 2 { 0 } else { 255 }; 3];
        Picture {
            width,
            height,
            orientation: Orientation::Upright,
            pixels: (0..width * height).flat_map(pixel).collect(),
        }
    }

    fn run(resize: &Resize, picture: &mut Picture) -> (Vec<u8>, Geometry) {
        let (width, height) = resize.input_size(picture.upright_size());
        let mut canvas = vec![1; (width * height * 3) as usize];
        let geometry = resize.run(picture, &mut Resizer::new(), &mut Vec::new(), &mut canvas).unwrap();
        (canvas, geometry)
    }

    #[test]
    fn fits() {
        let check = |fit: Fit, input: (u32, u32), scale: (f32, f32), offset: (f32, f32)| {
            let (canvas, geometry) = run(&resize(fit, (20, 20)), &mut halves(40, 20));
            assert_eq!((geometry.original, geometry.input), ((40, 20), input), "{fit:?}");
            assert_eq!((geometry.scale, geometry.offset), (scale, offset), "{fit:?}");
            assert_eq!(Geometry::of_numbers(&geometry.to_numbers()), Some(geometry));
            canvas
        };
        check(Fit::Stretch, (20, 20), (0.5, 1.0), (0.0, 0.0));
        check(Fit::Inside, (20, 10), (0.5, 0.5), (0.0, 0.0));
        check(Fit::AsIs, (40, 20), (1.0, 1.0), (0.0, 0.0));
        let boxed = check(Fit::Letterbox, (20, 20), (0.5, 0.5), (0.0, 5.0));
        assert_eq!((&boxed[..3], &boxed[5 * 60..5 * 60 + 3]), (&[9; 3][..], &[0; 3][..]));
        let covered = check(Fit::Cover, (20, 20), (1.0, 1.0), (-10.0, 0.0));
        assert_eq!((&covered[9 * 3..][..3], &covered[10 * 3..][..3]), (&[0; 3][..], &[255; 3][..]));
    }

    #[test]
    fn a_turned_picture_is_resized_as_its_upright_twin() {
        for fit in [Fit::Stretch, Fit::Letterbox, Fit::Cover, Fit::Inside, Fit::AsIs] {
            for number in 1..=8 {
                let mut turned = halves(40, 30);
                turned.orientation = Orientation::numbered(number).unwrap();
                let mut upright = turned.clone();
                upright.turn_upright();
                let resize = resize(fit, (17, 23));
                let (a, b) = (run(&resize, &mut turned), run(&resize, &mut upright));
                assert_eq!(a.1, b.1, "{fit:?} {number}");
                let far = a.0.iter().zip(&b.0).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(far <= Some(2), "{fit:?} {number}: {far:?}");
            }
        }
    }

    #[test]
    fn pixels_of_the_right_size_are_not_touched() {
        let mut picture = halves(20, 20);
        let (canvas, _) = run(&resize(Fit::Stretch, (20, 20)), &mut picture);
        assert_eq!(canvas, picture.pixels);
    }
}
