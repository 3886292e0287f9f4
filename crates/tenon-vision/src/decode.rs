//! Encoded pictures to RGB: JPEG, PNG and WebP, told apart by their first bytes.
//!
//! Dimensions are read first; what has more pixels than allowed is refused before a pixel is computed or
//! memory for it taken. The pixels stay as they are stored; what turns them upright comes with them, because
//! it is cheaper to turn the resized picture.

use std::io::Cursor;

use png::Transformations;
use tenon_contract::{Fault, FaultKind};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::orientation::Orientation;

/// Longest side of a picture, whatever its number of pixels.
pub const SIDE_LIMIT: u32 = 65_535;
/// Most passes over the pixels that a progressive JPEG may ask for.
const SCANS: usize = 100;
/// Memory for what a PNG keeps beside its pixels.
const CHUNK_BYTES: usize = 8 << 20;

/// A decoded picture.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Columns as stored.
    pub width: u32,
    /// Rows as stored.
    pub height: u32,
    /// What turns it upright.
    pub orientation: Orientation,
    /// RGB, row by row. Memory is kept from picture to picture.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Width and height of the upright picture.
    pub fn upright_size(&self) -> (u32, u32) {
        self.orientation.turned((self.width, self.height))
    }

    /// Turns the pixels upright.
    pub fn turn_upright(&mut self) {
        if self.orientation != Orientation::Upright {
            self.pixels = self.orientation.upright(&self.pixels, self.width, self.height);
            (self.width, self.height) = self.upright_size();
            self.orientation = Orientation::Upright;
        }
    }

    /// Decodes `bytes` into this picture, whose memory is used again.
    ///
    /// # Errors
    /// `Invalid` where it is no picture or a broken one, with the format and the decoder's words;
    /// `TooLarge` where it has more than `max_pixels` pixels.
    pub fn decode(&mut self, bytes: &[u8], max_pixels: u64) -> Result<(), Fault> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => self.jpeg(bytes, max_pixels).map_err(|fault| fault.during("read JPEG")),
            [0x89, b'P', b'N', b'G', ..] => {
                self.png(bytes, max_pixels).map_err(|fault| fault.during("read PNG"))
            }
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                self.webp(bytes, max_pixels).map_err(|fault| fault.during("read WebP"))
            }
            [] => Err(Fault::invalid("read picture: it is empty")),
            _ => Err(Fault::invalid("read picture: it is no JPEG, PNG or WebP")),
        }
    }

    fn jpeg(&mut self, bytes: &[u8], max_pixels: u64) -> Result<(), Fault> {
        let side = SIDE_LIMIT as usize;
        let options = DecoderOptions::default()
            .set_max_width(side)
            .set_max_height(side)
            .jpeg_set_max_scans(SCANS)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(broken)?;
        let (width, height) = decoder.dimensions().ok_or_else(|| Fault::invalid("it has no dimensions"))?;
        self.begin(width as u64, height as u64, max_pixels)?;
        self.orientation = decoder.exif().map_or(Orientation::Upright, |exif| Orientation::of_exif(exif));
        let length = decoder.output_buffer_size().unwrap_or(0);
        if decoder.output_colorspace() != Some(ColorSpace::RGB) || length != self.pixels.len() {
            return Err(Fault::invalid("its colours cannot be given as RGB"));
        }
        decoder.decode_into(&mut self.pixels).map_err(broken)
    }

    fn png(&mut self, bytes: &[u8], max_pixels: u64) -> Result<(), Fault> {
        let limits = png::Limits { bytes: CHUNK_BYTES };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let header = decoder.read_header_info().map_err(broken)?;
        let (width, height) = (u64::from(header.width), u64::from(header.height));
        self.begin(width, height, max_pixels)?;
        // What was allowed by its pixels may be taken for them.
        decoder.set_limits(png::Limits { bytes: CHUNK_BYTES + self.pixels.len() * 3 });
        let mut reader = decoder.read_info().map_err(broken)?;
        let exif = reader.info().exif_metadata.as_deref();
        self.orientation = exif.map_or(Orientation::Upright, Orientation::of_exif);
        let channels = reader.output_color_type().0.samples();
        if channels == 3 {
            reader.next_frame(&mut self.pixels).map_err(broken)?;
            return Ok(());
        }
        let mut other = vec![0; self.pixels.len() / 3 * channels];
        reader.next_frame(&mut other).map_err(broken)?;
        to_rgb(&other, channels, &mut self.pixels);
        Ok(())
    }

    fn webp(&mut self, bytes: &[u8], max_pixels: u64) -> Result<(), Fault> {
        let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
        let (width, height) = decoder.dimensions();
        self.begin(width.into(), height.into(), max_pixels)?;
        decoder.set_memory_limit(CHUNK_BYTES + self.pixels.len() * 2);
        let exif = decoder.exif_metadata().map_err(broken)?;
        self.orientation = exif.map_or(Orientation::Upright, |exif| Orientation::of_exif(&exif));
        if !decoder.has_alpha() {
            return decoder.read_image(&mut self.pixels).map_err(broken);
        }
        let mut other = vec![0; self.pixels.len() / 3 * 4];
        decoder.read_image(&mut other).map_err(broken)?;
        to_rgb(&other, 4, &mut self.pixels);
        Ok(())
    }

    /// Checks the dimensions, and takes memory for the pixels.
    fn begin(&mut self, width: u64, height: u64, max_pixels: u64) -> Result<(), Fault> {
        if width == 0 || height == 0 {
            return Err(Fault::invalid(format!("it is {width} x {height}: it has no pixels")));
        }
        let side = u64::from(SIDE_LIMIT);
        if width > side || height > side || width * height > max_pixels {
            return Err(Fault::new(
                FaultKind::TooLarge,
                format!(
                    "it is {width} x {height}: exceeds the limit of {max_pixels} pixels (`max_pixels`) or of \
                     {side} on a side"
                ),
            ));
        }
        (self.width, self.height) = (width as u32, height as u32);
        self.pixels.clear();
        self.pixels.resize((width * height) as usize * 3, 0);
        Ok(())
    }
}

fn broken(error: impl std::fmt::Display + std::fmt::Debug) -> Fault {
    let mut text = error.to_string();
    if text.trim().is_empty() {
        text = format!("{error:?}");
    }
    Fault::invalid(text.trim().trim_end_matches('.').chars().take(200).collect::<String>())
}

/// Grey to RGB; an alpha channel is left out, as in the tools with which models are trained.
fn to_rgb(other: &[u8], channels: usize, rgb: &mut [u8]) {
    for (pixel, from) in rgb.chunks_exact_mut(3).zip(other.chunks_exact(channels)) {
        match channels {
            1 | 2 => pixel.fill(from[0]),
            _ => pixel.copy_from_slice(&from[..3]),
        }
    }
}
