use std::io::Write as _;

use image::{GenericImageView as _, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

const BOUNDS: Bounds = Bounds { max_pixels: 32_000_000, budget: Duration::from_secs(10) };

fn size(width: u32, height: u32, method: ThumbnailMethod) -> Size {
    Size { width, height, method, animated: false }
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn picture(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
        Rgb([u8::try_from(x % 256).unwrap(), u8::try_from(y % 256).unwrap(), 80])
    }))
}

#[test]
fn images_of_four_formats_become_smaller() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
        let bytes = encoded(&picture(1000, 500), format);
        for (wanted, expected) in [
            (size(320, 240, ThumbnailMethod::Scale), (320, 160)),
            (size(96, 96, ThumbnailMethod::Crop), (96, 96)),
            (size(800, 600, ThumbnailMethod::Crop), (800, 500)),
        ] {
            let Ok(Scaled::Image { bytes, .. }) = scale(file(&bytes), wanted, BOUNDS) else {
                panic!("{format:?} {wanted:?}");
            };
            assert_eq!(
                image::load_from_memory(&bytes).unwrap().dimensions(),
                expected,
                "{format:?} {wanted:?}"
            );
        }
    }
}

#[test]
fn nothing_grows_and_the_same_is_made_of_the_same() {
    let small = encoded(&picture(30, 30), ImageFormat::Png);
    let scaled = scale(file(&small), size(32, 32, ThumbnailMethod::Crop), BOUNDS);
    assert!(matches!(scaled, Ok(Scaled::Original)));
    let large = encoded(&picture(700, 700), ImageFormat::Jpeg);
    let make = || match scale(file(&large), size(320, 240, ThumbnailMethod::Scale), BOUNDS) {
        Ok(Scaled::Image { bytes, content_type }) => (bytes, content_type),
        other => panic!("{other:?}"),
    };
    assert_eq!(make(), make());
    assert_eq!(make().1, "image/jpeg");
}

#[test]
fn what_is_transparent_stays_so() {
    let image = RgbaImage::from_pixel(500, 500, Rgba([1, 2, 3, 100]));
    let bytes = encoded(&DynamicImage::ImageRgba8(image), ImageFormat::Png);
    match scale(file(&bytes), size(96, 96, ThumbnailMethod::Crop), BOUNDS) {
        Ok(Scaled::Image { content_type, .. }) => assert_eq!(content_type, "image/png"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_image_or_too_large_is_not_decoded() {
    let wanted = size(96, 96, ThumbnailMethod::Crop);
    let unable = |bytes: &[u8]| scale(file(bytes), wanted, BOUNDS).unwrap_err();
    for no_image in [
        &b""[..],
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        b"<html></html>",
        b"BM\0\0\0\0",
        b"II*\0\0\0\0\0",
        b"\0\0\0\x20ftypavif\0\0\0\0",
        b"%PDF-1.4",
    ] {
        assert_eq!(unable(no_image), Unable::NoImage, "{no_image:?}");
    }
    // The head of a PNG of 60,000 × 60,000 pixels, and of one of 6,000 × 6,000.
    for edge in [60_000_u32, 6_000] {
        let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        let mut header = Vec::new();
        header.extend(edge.to_be_bytes());
        header.extend(edge.to_be_bytes());
        header.extend([8, 2, 0, 0, 0]);
        let mut summed = b"IHDR".to_vec();
        summed.extend(&header);
        bomb.extend(&header);
        bomb.extend(crc(&summed).to_be_bytes());
        bomb.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
        assert!(matches!(unable(&bomb), Unable::TooLarge | Unable::Broken), "{edge}");
    }
    let whole = encoded(&picture(600, 600), ImageFormat::Png);
    for end in [9, 40, whole.len() / 2] {
        assert_eq!(unable(&whole[..end]), Unable::Broken, "{end}");
    }
    let tight = Bounds { max_pixels: 600 * 600 - 1, ..BOUNDS };
    assert_eq!(scale(file(&whole), wanted, tight).unwrap_err(), Unable::TooLarge);
    let late = Bounds { budget: Duration::ZERO, ..BOUNDS };
    assert!(scale(file(&whole), wanted, late).is_err());
}

#[test]
fn animations_move_if_that_is_wanted() {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
    for shade in 0..80 {
        let frame = RgbaImage::from_pixel(200, 200, Rgba([shade * 3, 0, 0, 255]));
        encoder.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(encoder);
    let moving = Size { animated: true, ..size(96, 96, ThumbnailMethod::Crop) };
    let Ok(Scaled::Image { bytes: moved, content_type }) = scale(file(&bytes), moving, BOUNDS) else {
        panic!()
    };
    assert_eq!(content_type, "image/gif");
    let decoder = image::codecs::gif::GifDecoder::new(Cursor::new(moved)).unwrap();
    assert_eq!(image::AnimationDecoder::into_frames(decoder).count(), 60);
    let Ok(Scaled::Image { content_type, .. }) =
        scale(file(&bytes), Size { animated: false, ..moving }, BOUNDS)
    else {
        panic!()
    };
    assert_eq!(content_type, "image/jpeg");
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(u32::MAX, step)
}
