//! Pictures made here, encoded in every format, against what is decoded; and what must be refused.

use std::io::Cursor;

use proptest::prelude::*;
use tenon_contract::FaultKind;
use tenon_vision::decode::Picture;
use tenon_vision::orientation::Orientation;

const WIDTH: u32 = 48;
const HEIGHT: u32 = 32;

/// A gradient, kind to codecs that lose something.
fn gradient() -> Vec<u8> {
    let pixel = |at: u32| {
        let (x, y) = (at % WIDTH, at / WIDTH);
        [(x * 5) as u8, (y * 7) as u8, 90]
    };
    (0..WIDTH * HEIGHT).flat_map(pixel).collect()
}

fn exif(number: u8) -> Vec<u8> {
    let mut bytes = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    bytes.extend([number, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn jpeg(progressive: bool, orientation: Option<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
    encoder.set_progressive(progressive);
    if let Some(number) = orientation {
        encoder.add_app_segment(1, exif(number)).unwrap();
    }
    encoder.encode(&gradient(), WIDTH as u16, HEIGHT as u16, jpeg_encoder::ColorType::Rgb).unwrap();
    bytes
}

fn png(pixels: &[u8], color: png::ColorType, (width, height): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(Cursor::new(&mut bytes), width, height);
    encoder.set_color(color);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

fn webp(pixels: &[u8], color: image_webp::ColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    image_webp::WebPEncoder::new(&mut bytes).encode(pixels, WIDTH, HEIGHT, color).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> Picture {
    let mut picture = Picture::default();
    picture.decode(bytes, 1 << 20).unwrap();
    picture
}

fn with_alpha(pixels: &[u8]) -> Vec<u8> {
    pixels.chunks(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 77]).collect()
}

#[test]
fn every_format_gives_its_pixels() {
    let check = |name: &str, bytes: &[u8], off: u8| {
        let picture = decode(bytes);
        assert_eq!((picture.width, picture.height), (WIDTH, HEIGHT), "{name}");
        assert_eq!(picture.orientation, Orientation::Upright, "{name}");
        let far = picture.pixels.iter().zip(gradient()).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        assert!(far <= off, "{name} is off by {far}");
    };
    let (pixels, size) = (gradient(), (WIDTH, HEIGHT));
    check("JPEG", &jpeg(false, None), 12);
    check("progressive JPEG", &jpeg(true, None), 12);
    check("PNG", &png(&pixels, png::ColorType::Rgb, size), 0);
    check("PNG with alpha", &png(&with_alpha(&pixels), png::ColorType::Rgba, size), 0);
    check("WebP", &webp(&pixels, image_webp::ColorType::Rgb8), 0);
    check("WebP with alpha", &webp(&with_alpha(&pixels), image_webp::ColorType::Rgba8), 0);
    let grey = decode(&png(&[5; 12], png::ColorType::Grayscale, (4, 3)));
    assert_eq!(grey.pixels, [5; 36]);
}

#[test]
fn the_orientation_of_a_camera_is_read() {
    for number in 1..=8 {
        let mut picture = decode(&jpeg(false, Some(number)));
        assert_eq!(Some(picture.orientation), Orientation::numbered(number.into()));
        let upright = if number > 4 { (HEIGHT, WIDTH) } else { (WIDTH, HEIGHT) };
        assert_eq!(picture.upright_size(), upright);
        picture.turn_upright();
        assert_eq!((picture.width, picture.height), upright);
    }
}

#[test]
fn what_is_no_picture_is_refused_with_its_reason() {
    let check = |bytes: &[u8], kind: FaultKind, expected: &str| {
        let fault = Picture::default().decode(bytes, 1000).unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.text.contains(expected), "{fault}");
    };
    check(b"", FaultKind::Invalid, "it is empty");
    check(b"GIF89a", FaultKind::Invalid, "no JPEG, PNG or WebP");
    check(
        &jpeg(false, None),
        FaultKind::TooLarge,
        "read JPEG: it is 48 x 32: exceeds the limit of 1000 pixels",
    );
    check(&webp(&gradient(), image_webp::ColorType::Rgb8), FaultKind::TooLarge, "read WebP: it is 48 x 32");
    check(&png(&gradient(), png::ColorType::Rgb, (WIDTH, HEIGHT)), FaultKind::TooLarge, "`max_pixels`");
    check(&jpeg(false, None)[..100], FaultKind::Invalid, "read JPEG: ");
}

#[test]
fn bombs_are_refused_by_their_dimensions() {
    // A header that promises 60,000 x 60,000 pixels, 10 GB, and holds none.
    let mut bomb = png(&[0; 3], png::ColorType::Rgb, (1, 1));
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let sum = {
        let mut crc = !0u32;
        for byte in &bomb[12..29] {
            crc ^= u32::from(*byte);
            (0..8).for_each(|_| crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 });
        }
        !crc
    };
    bomb[29..33].copy_from_slice(&sum.to_be_bytes());
    let mut jpeg = jpeg(false, None);
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    for bytes in [bomb, jpeg] {
        let mut picture = Picture::default();
        let fault = picture.decode(&bytes, 50_000_000).unwrap_err();
        assert_eq!(fault.kind, FaultKind::TooLarge, "{fault}");
        assert!(fault.text.contains("it is 60000 x 60000"), "{fault}");
        assert_eq!(picture.pixels.capacity(), 0, "no memory was taken");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn spoilt_pictures_are_pictures_or_a_text(
        format in 0usize..5,
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = match format {
            0 => jpeg(false, Some(6)),
            1 => jpeg(true, None),
            2 => png(&gradient(), png::ColorType::Rgb, (WIDTH, HEIGHT)),
            3 => webp(&gradient(), image_webp::ColorType::Rgb8),
            _ => webp(&with_alpha(&gradient()), image_webp::ColorType::Rgba8),
        };
        for (at, byte) in spoils {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut picture = Picture::default();
        if picture.decode(&bytes, 100_000).is_ok() {
            prop_assert_eq!(picture.pixels.len(), (picture.width * picture.height * 3) as usize);
        }
    }
}
