//! How a stored picture must be turned to stand upright: the tag of EXIF that cameras write.

/// How the stored rows and columns lie, as numbered by EXIF (tag 0x0112).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orientation {
    /// 1: as stored.
    #[default]
    Upright,
    /// 2: mirrored left to right.
    Mirrored,
    /// 3: upside down.
    Half,
    /// 4: upside down and mirrored.
    HalfMirrored,
    /// 5: mirrored and turned: rows are columns.
    Transposed,
    /// 6: must be turned a quarter clockwise.
    Quarter,
    /// 7: mirrored and turned the other way.
    Transverse,
    /// 8: must be turned a quarter counterclockwise.
    ThreeQuarters,
}

/// Tag of the orientation in the first directory of the TIFF structure.
const TAG: u16 = 0x0112;
/// Most entries of a directory that are looked at.
const ENTRIES: usize = 512;

impl Orientation {
    /// From the bytes of an EXIF segment, with or without its mark. What cannot be read is upright: a broken
    /// tag is no reason to refuse a sound picture.
    pub fn of_exif(bytes: &[u8]) -> Self {
        let tiff = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
        Self::read(tiff).unwrap_or_default()
    }

    fn read(tiff: &[u8]) -> Option<Self> {
        let big = match tiff.get(..4)? {
            b"II*\0" => false,
            b"MM\0*" => true,
            _ => return None,
        };
        let u16_at = |at: usize| {
            let bytes: [u8; 2] = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
            Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let u32_at = |at: usize| {
            let bytes: [u8; 4] = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
            Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
        };
        let directory = u32_at(4)? as usize;
        let entries = usize::from(u16_at(directory)?).min(ENTRIES);
        let entry = |index: usize| directory.checked_add(2 + index * 12);
        let at = (0..entries).filter_map(entry).find(|at| u16_at(*at) == Some(TAG))?;
        // A SHORT stands in the entry itself.
        Self::numbered(u16_at(at.checked_add(8)?)?)
    }

    /// The orientation of a number of EXIF.
    pub fn numbered(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Upright,
            2 => Self::Mirrored,
            3 => Self::Half,
            4 => Self::HalfMirrored,
            5 => Self::Transposed,
            6 => Self::Quarter,
            7 => Self::Transverse,
            8 => Self::ThreeQuarters,
            _ => return None,
        })
    }

    /// Whether the upright picture is as wide as the stored one is high.
    pub fn swaps(self) -> bool {
        matches!(self, Self::Transposed | Self::Quarter | Self::Transverse | Self::ThreeQuarters)
    }

    /// Width and height of the upright picture, or the other way round.
    pub fn turned(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.swaps() { (height, width) } else { (width, height) }
    }

    /// The upright pixels (RGB, row by row) of a stored picture of `width` and `height`.
    pub fn upright(self, stored: &[u8], width: u32, height: u32) -> Vec<u8> {
        let (width, height) = (width as usize, height as usize);
        let (out_width, out_height) = if self.swaps() { (height, width) } else { (width, height) };
        let mut out = Vec::with_capacity(stored.len());
        for y in 0..out_height {
            for x in 0..out_width {
                let (sx, sy) = match self {
                    Self::Upright => (x, y),
                    Self::Mirrored => (width - 1 - x, y),
                    Self::Half => (width - 1 - x, height - 1 - y),
                    Self::HalfMirrored => (x, height - 1 - y),
                    Self::Transposed => (y, x),
                    Self::Quarter => (y, height - 1 - x),
                    Self::Transverse => (width - 1 - y, height - 1 - x),
                    Self::ThreeQuarters => (width - 1 - y, x),
                };
                let at = (sy * width + sx) * 3;
                out.extend_from_slice(&stored[at..at + 3]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn exif(big: bool, number: u16) -> Vec<u8> {
        let two = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let four = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut bytes = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(four(8));
        bytes.extend(two(2));
        for (tag, value) in [(0x010f, 9), (TAG, number)] {
            bytes.extend(two(tag));
            bytes.extend(two(3));
            bytes.extend(four(1));
            bytes.extend(two(value));
            bytes.extend([0, 0]);
        }
        bytes
    }

    #[test]
    fn tags_are_read_in_either_order_of_bytes() {
        for big in [true, false] {
            for number in 1..=8 {
                let found = Orientation::of_exif(&exif(big, number));
                assert_eq!(Some(found), Orientation::numbered(number));
                let marked = [b"Exif\0\0".as_slice(), &exif(big, number)].concat();
                assert_eq!(Orientation::of_exif(&marked), found);
            }
            assert_eq!(Orientation::of_exif(&exif(big, 9)), Orientation::Upright);
        }
        assert_eq!(Orientation::of_exif(b""), Orientation::Upright);
    }

    #[test]
    fn pixels_are_turned() {
        // Two columns, three rows; each pixel is its letter.
        let stored: Vec<u8> = b"abcdef".iter().flat_map(|letter| [*letter; 3]).collect();
        let check = |number: u16, expected: &str| {
            let upright = Orientation::numbered(number).unwrap().upright(&stored, 2, 3);
            let letters: String = upright.chunks(3).map(|pixel| char::from(pixel[0])).collect();
            assert_eq!(letters, expected, "orientation {number}");
        };
        check(1, "abcdef");
        check(2, "badcfe");
        check(3, "fedcba");
        check(4, "efcdab");
        check(5, "acebdf");
        check(6, "ecafdb");
        check(7, "fdbeca");
        check(8, "bdface");
    }

    proptest! {
        #[test]
        fn any_bytes_are_some_orientation(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..40) {
            let mut tag = exif(at % 2 == 0, 6);
            Orientation::of_exif(&bytes);
            tag.truncate(at);
            Orientation::of_exif(&tag);
            let mut spoilt = exif(false, 6);
            for (byte, other) in spoilt.iter_mut().skip(4).zip(&bytes) {
                *byte = *other;
            }
            Orientation::of_exif(&spoilt);
        }
    }
}
