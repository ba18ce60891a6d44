//! Thumbnails that move: at most so many frames, as GIF.

use std::time::Instant;

use image::{
    AnimationDecoder as _, DynamicImage, Frame, Frames, ImageDecoder as _, ImageFormat, ImageResult,
    codecs::{
        gif::{GifDecoder, GifEncoder, Repeat},
        png::PngDecoder,
        webp::WebPDecoder,
    },
};

use super::{
    Size,
    scale::{Source, fit, limits},
};

/// Frames that are kept of an animation.
const MAX_FRAMES: usize = 60;
/// How fast it is encoded, and how badly: from 1 to 30.
const SPEED: i32 = 10;

/// Makes an animation smaller; `None` if it does not move, or cannot be told in time.
pub(super) fn scale(source: Source, format: ImageFormat, size: Size) -> Option<Vec<u8>> {
    let deadline = source.deadline;
    let frames = frames(source, format).ok().flatten()?;
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, SPEED);
    encoder.set_repeat(Repeat::Infinite).ok()?;
    let mut count = 0;
    for frame in frames.take(MAX_FRAMES) {
        if Instant::now() > deadline {
            return None;
        }
        let frame = frame.ok()?;
        let delay = frame.delay();
        let image = fit(&DynamicImage::ImageRgba8(frame.into_buffer()), size);
        encoder.encode_frame(Frame::from_parts(image.to_rgba8(), 0, 0, delay)).ok()?;
        count += 1;
    }
    drop(encoder);
    (count > 1).then_some(bytes)
}

fn frames(source: Source, format: ImageFormat) -> ImageResult<Option<Frames<'static>>> {
    Ok(match format {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(source)?;
            decoder.set_limits(limits())?;
            Some(decoder.into_frames())
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(source)?;
            decoder.set_limits(limits())?;
            if decoder.has_animation() { Some(decoder.into_frames()) } else { None }
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(source, limits())?;
            if decoder.is_apng()? { Some(decoder.apng()?.into_frames()) } else { None }
        }
        _ => None,
    })
}
