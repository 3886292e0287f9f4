//! Detections painted onto their picture, for people to look at.

use tenon_contract::Fault;

use crate::decode::Picture;
use crate::sample::to_png;

/// What is painted.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// x_min, y_min, x_max, y_max in pixels of the upright picture.
    pub edges: [f32; 4],
    /// Decides the colour.
    pub class: i64,
    /// What stands at the box.
    pub text: String,
}

/// Side of a letter of the font, pixels.
const LETTER: u32 = 8;
/// Farthest from the corner that an edge is thought to lie, pixels.
const FARTHEST: i64 = 1 << 20;
/// Most letters of a text.
const LETTERS: usize = 48;
/// A picture this long on its longer side has text of the font's own size; larger ones have larger text.
const PLAIN_SIDE: u32 = 360;

/// Decodes an encoded picture, paints `marks` and gives it upright as PNG.
///
/// # Errors
/// It is no picture, or has more than `max_pixels` pixels.
pub fn annotate(bytes: &[u8], marks: &[Mark], max_pixels: u64) -> Result<Vec<u8>, Fault> {
    let mut picture = Picture::default();
    picture.decode(bytes, max_pixels)?;
    picture.turn_upright();
    let mut canvas = Canvas { width: picture.width, height: picture.height, pixels: &mut picture.pixels };
    let size = (canvas.width.max(canvas.height) / PLAIN_SIDE).clamp(1, 16);
    // The best on top: they come first.
    for mark in marks.iter().rev() {
        canvas.frame(mark, size);
    }
    for mark in marks.iter().rev() {
        canvas.caption(mark, size);
    }
    let (width, height) = (canvas.width, canvas.height);
    to_png(&picture.pixels, width, height)
}

struct Canvas<'a> {
    width: u32,
    height: u32,
    pixels: &'a mut [u8],
}

impl Canvas<'_> {
    /// Fills from the upper left corner up to, not with, the lower right one; what lies outside is left out.
    fn fill(&mut self, (left, top): (i64, i64), (right, bottom): (i64, i64), colour: [u8; 3]) {
        let clip = |at: i64, most: u32| at.clamp(0, most.into()) as usize;
        let (left, right) = (clip(left, self.width), clip(right, self.width));
        for y in clip(top, self.height)..clip(bottom, self.height) {
            let row = y * self.width as usize;
            if left < right {
                let row = &mut self.pixels[(row + left) * 3..(row + right) * 3];
                row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
            }
        }
    }

    fn frame(&mut self, mark: &Mark, size: u32) {
        let [left, top, right, bottom] = mark.edges.map(pixel);
        let thick = i64::from(size) * 2;
        let colour = colour(mark.class);
        let (right, bottom) = (right.max(left + thick), bottom.max(top + thick));
        self.fill((left, top), (right, top + thick), colour);
        self.fill((left, bottom - thick), (right, bottom), colour);
        self.fill((left, top), (left + thick, bottom), colour);
        self.fill((right - thick, top), (right, bottom), colour);
    }

    /// The text on a ground of the box's colour: above the box, or inside where there is no room.
    fn caption(&mut self, mark: &Mark, size: u32) {
        let letters: Vec<char> = mark.text.chars().take(LETTERS).collect();
        if letters.is_empty() {
            return;
        }
        let (size, letter) = (i64::from(size), i64::from(LETTER * size));
        let (wide, high) = (letters.len() as i64 * letter + 4 * size, letter + 4 * size);
        let [left, top, ..] = mark.edges.map(pixel);
        let left = left.min(i64::from(self.width) - wide).max(0);
        let top = if top >= high { top - high } else { top.max(0) };
        let ground = colour(mark.class);
        self.fill((left, top), (left + wide, top + high), ground);
        let ink = ink(ground);
        for (at, letter_shown) in letters.into_iter().enumerate() {
            let (x, y) = (left + 2 * size + at as i64 * letter, top + 2 * size);
            self.letter(letter_shown, (x, y), size, ink);
        }
    }

    fn letter(&mut self, letter: char, (x, y): (i64, i64), size: i64, ink: [u8; 3]) {
        for (row, bits) in (0..).zip(glyph(letter)) {
            for column in (0..i64::from(LETTER)).filter(|column| bits >> column & 1 == 1) {
                let (left, top) = (x + column * size, y + row * size);
                self.fill((left, top), (left + size, top + size), ink);
            }
        }
    }
}

/// The pixel of an edge. What lies far outside is kept near, so that sums stay sums.
fn pixel(edge: f32) -> i64 {
    (edge.round() as i64).clamp(-FARTHEST, FARTHEST)
}

/// Rows of a letter, the lowest bit at the left. What the font does not have is a question mark.
fn glyph(letter: char) -> [u8; 8] {
    use font8x8::legacy::{BASIC_LEGACY, LATIN_LEGACY};
    let code = letter as usize;
    let found = match code {
        0x20..0x7f => BASIC_LEGACY.get(code),
        0xa0..0x100 => LATIN_LEGACY.get(code - 0xa0),
        _ => None,
    };
    found.copied().unwrap_or(BASIC_LEGACY[b'?' as usize])
}

/// Colours of neighbouring classes lie far apart: steps of the golden angle around the circle of hues.
fn colour(class: i64) -> [u8; 3] {
    let hue = (class.rem_euclid(1000) as f32 * 0.618_034).fract() * 6.0;
    let channel = |shift: f32| {
        let distance = ((hue + shift) % 6.0 - 3.0).abs();
        ((distance - 1.0).clamp(0.0, 1.0) * 200.0 + 55.0) as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

/// Black or white, whichever is read better on `ground`.
fn ink(ground: [u8; 3]) -> [u8; 3] {
    let light = u32::from(ground[0]) * 3 + u32::from(ground[1]) * 6 + u32::from(ground[2]);
    if light > 1280 { [0; 3] } else { [255; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grey(width: u32, height: u32) -> Vec<u8> {
        to_png(&vec![128; (width * height * 3) as usize], width, height).unwrap()
    }

    fn decoded(bytes: &[u8]) -> Picture {
        let mut picture = Picture::default();
        picture.decode(bytes, 1 << 24).unwrap();
        picture
    }

    #[test]
    fn boxes_and_letters_are_there() {
        let mark = Mark { edges: [20.0, 40.0, 80.0, 90.0], class: 3, text: "I".to_owned() };
        let picture = decoded(&annotate(&grey(100, 100), &[mark], 1 << 20).unwrap());
        let at = |x: usize, y: usize| {
            let at = (y * 100 + x) * 3;
            [picture.pixels[at], picture.pixels[at + 1], picture.pixels[at + 2]]
        };
        let ground = colour(3);
        assert_eq!((at(20, 60), at(79, 60), at(50, 40), at(50, 89)), (ground, ground, ground, ground));
        assert_eq!((at(50, 60), at(10, 10), at(80, 60)), ([128; 3], [128; 3], [128; 3]));
        // The stem of an I stands in the middle of its letter, two pixels inside the ground.
        assert_eq!((at(20, 30), at(25, 33)), (ground, ink(ground)));
    }

    #[test]
    fn colours_of_neighbours_differ() {
        for class in 0..100 {
            let (a, b) = (colour(class), colour(class + 1));
            let far: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b))).sum();
            assert!(far > 60, "{class}: {a:?} {b:?}");
        }
    }

    proptest! {
        #[test]
        fn any_mark_can_be_painted(
            edges in prop::array::uniform4(any::<f32>()),
            class in any::<i64>(),
            text in ".{0,60}",
            width in 1u32..40,
            height in 1u32..40,
        ) {
            let painted = annotate(&grey(width, height), &[Mark { edges, class, text }], 1 << 20).unwrap();
            prop_assert_eq!(decoded(&painted).width, width);
        }
    }
}
