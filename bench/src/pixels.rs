//! JPEG to the pixels of a model's input with the fastest crates by themselves, as their documentation has it, memory
//! used again.

use anyhow::{Context as _, Result};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// A picture that is decoded and resized again and again.
pub(crate) struct Pixels {
    picture: Vec<u8>,
    width: u32,
    height: u32,
    decoded: Vec<u8>,
    resizer: Resizer,
}

impl Pixels {
    /// The JPEG `picture`, for an input of `width` x `height`.
    pub(crate) fn new(picture: Vec<u8>, width: u32, height: u32) -> Self {
        Self { picture, width, height, decoded: Vec::new(), resizer: Resizer::new() }
    }

    /// Bytes of the input.
    pub(crate) fn length(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }

    /// Decodes and resizes into `input`, RGB.
    ///
    /// # Errors
    /// The picture is none.
    pub(crate) fn write(&mut self, input: &mut [u8]) -> Result<()> {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&self.picture), options);
        decoder.decode_headers()?;
        self.decoded.resize(decoder.output_buffer_size().context("the picture has no size")?, 0);
        decoder.decode_into(&mut self.decoded)?;
        let (width, height) = decoder.dimensions().context("the picture has no size")?;
        let source = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, &self.decoded)?;
        let mut target = TypedImage::<U8x3>::from_buffer(self.width, self.height, input)?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Ok(self.resizer.resize_typed(&source, &mut target, &options)?)
    }
}
