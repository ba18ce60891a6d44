//! Decoding an image, making it smaller, and encoding it: within bounds, for threads that may block.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
    time::{Duration, Instant},
};

use image::{
    DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
    },
    imageops,
    metadata::Orientation,
};
use plexus_proto::log::v1::ThumbnailMethod;

use super::{Size, animation};

/// Memory of a decoder beside the image.
const MAX_ALLOC: u64 = 256 << 20;
/// Longest edge of an image.
const MAX_EDGE: u32 = 65_535;
/// Quality of JPEG.
const QUALITY: u8 = 80;

/// What an image may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_pixels: u64,
    pub(crate) budget: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Scaled {
    /// It is no larger than that.
    Original,
    /// A smaller one.
    Image { bytes: Vec<u8>, content_type: &'static str },
}

/// Why there is no thumbnail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unable {
    #[error("it is no PNG, JPEG, GIF or WebP")]
    NoImage,
    #[error("it has too many pixels")]
    TooLarge,
    #[error("it cannot be decoded")]
    Broken,
    #[error("it takes too long")]
    TooSlow,
}

/// A file that ends when its time is over: decoders read as they go.
pub(super) struct Source {
    reader: BufReader<File>,
    pub(super) deadline: Instant,
}

impl Source {
    fn check(&self) -> io::Result<()> {
        if Instant::now() > self.deadline { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.reader.read(buffer)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

impl Seek for Source {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.reader.seek(position)
    }
}

/// Makes an image smaller. Blocks.
pub(super) fn scale(file: File, size: Size, bounds: Bounds) -> Result<Scaled, Unable> {
    let deadline = Instant::now() + bounds.budget;
    let open = || -> Result<Source, Unable> {
        let file = file.try_clone().map_err(|_| Unable::Broken)?;
        let mut source = Source { reader: BufReader::new(file), deadline };
        source.seek(SeekFrom::Start(0)).map_err(|_| Unable::Broken)?;
        Ok(source)
    };
    let format = sniff(&mut open()?)?;
    let mut reader = ImageReader::with_format(open()?, format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(|_| Unable::Broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > bounds.max_pixels {
        return Err(Unable::TooLarge);
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    if width <= size.width && height <= size.height {
        return Ok(Scaled::Original);
    }
    if size.animated
        && let Some(bytes) = animation::scale(open()?, format, size)
    {
        return Ok(Scaled::Image { bytes, content_type: "image/gif" });
    }
    let image = DynamicImage::from_decoder(decoder).map_err(|_| too_slow(deadline))?;
    let mut image = fit(&image, turned(size, orientation));
    image.apply_orientation(orientation);
    if Instant::now() > deadline {
        return Err(Unable::TooSlow);
    }
    encode(&image, format)
}

/// The format by the first bytes, whatever was said of it.
fn sniff(source: &mut Source) -> Result<ImageFormat, Unable> {
    let mut head = Vec::new();
    Read::take(source, 32).read_to_end(&mut head).map_err(|_| Unable::Broken)?;
    match image::guess_format(&head) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Gif | ImageFormat::WebP)) => {
            Ok(format)
        }
        Ok(_) | Err(_) => Err(Unable::NoImage),
    }
}

/// Width, height and type of an image, by its head alone; `None` if it is none of the four formats.
pub(crate) fn dimensions(bytes: &[u8]) -> Option<(u32, u32, &'static str)> {
    let format = image::guess_format(bytes).ok()?;
    let content_type = match format {
        ImageFormat::Png => "image/png",
        ImageFormat::Jpeg => "image/jpeg",
        ImageFormat::Gif => "image/gif",
        ImageFormat::WebP => "image/webp",
        _ => return None,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let (width, height) = reader.into_dimensions().ok()?;
    Some((width, height, content_type))
}

pub(super) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_EDGE);
    limits.max_image_height = Some(MAX_EDGE);
    limits.max_alloc = Some(MAX_ALLOC);
    limits
}

fn too_slow(deadline: Instant) -> Unable {
    if Instant::now() > deadline { Unable::TooSlow } else { Unable::Broken }
}

/// The size before the image is turned.
fn turned(size: Size, orientation: Orientation) -> Size {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => Size { width: size.height, height: size.width, ..size },
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => size,
    }
}

/// Makes an image fit into a size, or fill it. It never grows.
pub(super) fn fit(image: &DynamicImage, size: Size) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    match size.method {
        ThumbnailMethod::Crop => {
            let (to_width, to_height) = (size.width.min(width), size.height.min(height));
            // The largest part of the middle that has the proportions.
            let (wide, high) =
                (u64::from(width) * u64::from(to_height), u64::from(height) * u64::from(to_width));
            let (part_width, part_height) = if wide > high {
                (share(height, to_width, to_height), height)
            } else {
                (width, share(width, to_height, to_width))
            };
            let part_width = part_width.clamp(1, width);
            let part_height = part_height.clamp(1, height);
            let (left, top) = ((width - part_width) / 2, (height - part_height) / 2);
            resize(&image.crop_imm(left, top, part_width, part_height), to_width, to_height)
        }
        ThumbnailMethod::Scale | ThumbnailMethod::Unspecified => {
            if width <= size.width && height <= size.height {
                return image.clone();
            }
            let is_wide =
                u64::from(width) * u64::from(size.height) > u64::from(height) * u64::from(size.width);
            let (to_width, to_height) = if is_wide {
                (size.width, share(size.width, height, width))
            } else {
                (share(size.height, width, height), size.height)
            };
            resize(image, to_width.max(1), to_height.max(1))
        }
    }
}

/// `of * numerator / denominator`, rounded.
fn share(of: u32, numerator: u32, denominator: u32) -> u32 {
    let denominator = u64::from(denominator.max(1));
    let value = (u64::from(of) * u64::from(numerator) + denominator / 2) / denominator;
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// First by whole boxes of pixels, which is fast, then with a filter.
fn resize(image: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    if image.width() >= width.saturating_mul(3) && image.height() >= height.saturating_mul(3) {
        let boxed = image.thumbnail_exact(width * 2, height * 2);
        return boxed.resize_exact(width, height, imageops::FilterType::Triangle);
    }
    image.resize_exact(width, height, imageops::FilterType::Triangle)
}

/// PNG stays PNG, as clients expect it; of other formats it is JPEG, unless the image can be seen through.
fn encode(image: &DynamicImage, format: ImageFormat) -> Result<Scaled, Unable> {
    let mut bytes = Vec::new();
    let is_clear =
        || image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel.0[3] < u8::MAX);
    if format == ImageFormat::Png || is_clear() {
        let encoder = PngEncoder::new_with_quality(
            Cursor::new(&mut bytes),
            CompressionType::Default,
            FilterType::Adaptive,
        );
        let image = if image.color().has_alpha() {
            DynamicImage::from(image.to_rgba8())
        } else {
            DynamicImage::from(image.to_rgb8())
        };
        image.write_with_encoder(encoder).map_err(|_| Unable::Broken)?;
        return Ok(Scaled::Image { bytes, content_type: "image/png" });
    }
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    image.to_rgb8().write_with_encoder(encoder).map_err(|_| Unable::Broken)?;
    Ok(Scaled::Image { bytes, content_type: "image/jpeg" })
}

#[cfg(test)]
mod tests;
