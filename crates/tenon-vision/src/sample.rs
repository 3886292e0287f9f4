//! Pictures made from a number, for proofs of models that come without examples.

use std::io::Cursor;

use tenon_contract::Fault;

/// Width and height of the first picture; further ones differ a little, so that sizes are not taken for
/// granted.
const SIZE: (u32, u32) = (320, 240);

/// A picture as PNG: a gradient with some rectangles on it, always the same for the same number.
///
/// # Errors
/// The encoder refused.
pub fn picture(number: usize) -> Result<Vec<u8>, Fault> {
    let step = (number % 8) as u32;
    let (width, height) = (SIZE.0 - step * 8, SIZE.1 + step * 8);
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            pixels.extend([(x * 255 / width) as u8, (y * 255 / height) as u8, (16 * step) as u8]);
        }
    }
    let mut state = number as u64;
    for _ in 0..12 {
        let mut draw = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as u32) % below
        };
        let (left, top) = (draw(width - 8), draw(height - 8));
        let (right, bottom) = (left + 4 + draw(width - left - 4), top + 4 + draw(height - top - 4));
        let colour = [draw(256) as u8, draw(256) as u8, draw(256) as u8];
        for y in top..bottom.min(height) {
            for x in left..right.min(width) {
                let at = ((y * width + x) * 3) as usize;
                pixels[at..at + 3].copy_from_slice(&colour);
            }
        }
    }
    to_png(&pixels, width, height)
}

/// RGB as PNG, quickly rather than small.
///
/// # Errors
/// The pixels are too few, or the encoder refused.
pub fn to_png(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, Fault> {
    let fault = |error: png::EncodingError| Fault::internal(format!("write PNG: {error}"));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(Cursor::new(&mut bytes), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(pixels).map_err(fault)?;
    writer.finish().map_err(fault)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Picture;

    #[test]
    fn pictures_are_pictures_and_always_the_same() {
        for number in 0..10 {
            let bytes = picture(number).unwrap();
            assert_eq!(bytes, picture(number).unwrap());
            let mut decoded = Picture::default();
            decoded.decode(&bytes, 1 << 20).unwrap();
            assert_eq!(decoded.pixels.len() as u32, decoded.width * decoded.height * 3);
        }
        assert_ne!(picture(0).unwrap(), picture(1).unwrap());
    }
}
