//! Thumbnails: made when they are asked for, once, and kept as blobs of their own.

mod animation;
mod scale;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use moka::future::Cache;
use plexus_matrix_http::MatrixError;
use plexus_media_store::Hash;
use plexus_proto::{
    log::v1::{MediaThumbnail, ThumbnailMethod},
    media::v1::Media as Row,
};
use plexus_service::config::MediaConfig;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{Media, id::MediaUri, metrics, receive::failed, rows::uploader, serve::File};
pub(crate) use scale::dimensions;
use scale::{Bounds, Scaled, Unable};

/// How long one may take, and how long one more waits for its turn.
const BUDGET: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(20);
/// What came of attempts is remembered: of so many, for so long.
const REMEMBERED: u64 = 10_000;
const REMEMBER: Duration = Duration::from_secs(600);
/// The sizes that there are: what is asked for gets the next larger one.
const CROPPED: [(u32, u32); 5] = [(32, 32), (96, 96), (320, 240), (640, 480), (800, 600)];
const SCALED: [(u32, u32); 3] = [(320, 240), (640, 480), (800, 600)];

/// A size that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) method: ThumbnailMethod,
    /// Whether it may move.
    pub(crate) animated: bool,
}

impl Size {
    /// The size for what is asked for.
    pub(crate) fn for_request(
        width: u32,
        height: u32,
        method: ThumbnailMethod,
        animated: bool,
    ) -> Result<Self, MatrixError> {
        if width == 0 || height == 0 {
            return Err(MatrixError::invalid_param("`width` and `height` must be at least 1"));
        }
        let sizes: &[(u32, u32)] = match method {
            ThumbnailMethod::Crop => &CROPPED,
            ThumbnailMethod::Scale => &SCALED,
            ThumbnailMethod::Unspecified => {
                return Err(MatrixError::invalid_param("there is no such method"));
            }
        };
        let next = sizes.iter().find(|size| size.0 >= width && size.1 >= height);
        let (width, height) = *next.unwrap_or(&sizes[sizes.len() - 1]);
        Ok(Self { width, height, method, animated })
    }

    fn is_of(self, thumbnail: &MediaThumbnail) -> bool {
        (self.width, self.height, self.animated) == (thumbnail.width, thumbnail.height, thumbnail.animated)
            && thumbnail.method() == self.method
    }
}

/// Makes thumbnails. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Thumbnails {
    bounds: Bounds,
    turns: Arc<Semaphore>,
    made: Cache<(Hash, Size), Made>,
}

/// What came of an attempt.
#[derive(Debug, Clone)]
enum Made {
    /// The image is no larger than that.
    Original,
    /// A thumbnail that is stored.
    Stored { hash: Hash, content_type: String },
    /// There can be none.
    Unable(Unable),
}

impl Thumbnails {
    pub(crate) fn new(config: &MediaConfig) -> Self {
        let half = std::thread::available_parallelism().map_or(1, |count| count.get() / 2).max(1);
        let at_once = if config.thumbnails_at_once == 0 { half } else { config.thumbnails_at_once };
        Self {
            bounds: Bounds { max_pixels: config.max_image_pixels, budget: BUDGET },
            turns: Arc::new(Semaphore::new(at_once)),
            made: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBER).build(),
        }
    }
}

impl Media {
    /// Finds or makes a thumbnail of media that is ready.
    pub(crate) async fn thumbnail_of(
        &self,
        uri: &MediaUri,
        row: &Row,
        size: Size,
    ) -> Result<File, MatrixError> {
        self.touch(uploader(row).as_deref(), uri, row.accessed_ts);
        if let Some(known) = row.thumbnails.iter().find(|known| size.is_of(known))
            && let Ok(hash) = Hash::try_from(&known.sha256[..])
        {
            return self.open_thumbnail(hash, known.content_type.clone()).await;
        }
        let blob = row.blob.as_ref().ok_or_else(MatrixError::internal)?;
        let of = Hash::try_from(&blob.sha256[..]).map_err(|_| MatrixError::internal())?;
        let making = self.make(uri, row, of, size);
        // Whoever asks for the same meanwhile waits for it.
        let made = self.thumbnails.made.try_get_with((of, size), making).await;
        match made.map_err(|error| (*error).clone())? {
            Made::Original => {
                let content_type = blob.content_type.clone();
                self.open_blob(of, content_type, blob.file_name.clone()).await
            }
            Made::Stored { hash, content_type } => self.open_thumbnail(hash, content_type).await,
            Made::Unable(unable) => {
                let message = format!("There can be no thumbnail of this media: {unable}");
                Err(MatrixError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", message))
            }
        }
    }

    async fn open_thumbnail(&self, hash: Hash, content_type: String) -> Result<File, MatrixError> {
        let extension = content_type.strip_prefix("image/").unwrap_or("png").to_owned();
        self.open_blob(hash, content_type, format!("thumbnail.{extension}")).await
    }

    async fn make(&self, uri: &MediaUri, row: &Row, of: Hash, size: Size) -> Result<Made, MatrixError> {
        let turn = timeout(PATIENCE, Arc::clone(&self.thumbnails.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(MatrixError::busy()) };
        let file = self.open_blob(of, String::new(), String::new()).await?.blob;
        let file = file.into_file().await.map_err(|error| failed(&error))?;
        let bounds = self.thumbnails.bounds;
        let work = spawn_blocking(move || {
            let _turn = turn;
            scale::scale(file, size, bounds)
        });
        // A panic of a decoder is that it cannot decode.
        let scaled = work.await.unwrap_or_else(|error| {
            tracing::warn!(%error, hash = %of, "an image could not be decoded");
            Err(Unable::Broken)
        });
        let (bytes, content_type) = match scaled {
            Ok(Scaled::Original) => {
                metrics::thumbnail("original");
                return Ok(Made::Original);
            }
            Ok(Scaled::Image { bytes, content_type }) => (bytes, content_type),
            Err(unable) => {
                metrics::thumbnail("unable");
                return Ok(Made::Unable(unable));
            }
        };
        metrics::thumbnail("made");
        let stored = self.store.put(Bytes::from(bytes)).await.map_err(|error| failed(&error))?;
        let thumbnail = MediaThumbnail {
            width: size.width,
            height: size.height,
            method: size.method.into(),
            animated: size.animated,
            content_type: content_type.to_owned(),
            size: stored.size,
            sha256: Bytes::copy_from_slice(&stored.hash.0),
        };
        // Without its row it is made again, tomorrow.
        if let Err(error) = self.rows.add_thumbnail(row, uri, of, thumbnail).await {
            tracing::debug!(%error, %uri, "a thumbnail is not noted");
        }
        Ok(Made::Stored { hash: stored.hash, content_type: content_type.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_larger_size_is_taken() {
        let size = |width, height, method| {
            let size = Size::for_request(width, height, method, false).unwrap();
            (size.width, size.height)
        };
        let (crop, scale) = (ThumbnailMethod::Crop, ThumbnailMethod::Scale);
        for (width, height, method, expected) in [
            (1, 1, crop, (32, 32)),
            (32, 32, crop, (32, 32)),
            (33, 1, crop, (96, 96)),
            (97, 97, crop, (320, 240)),
            (10_000, 10_000, crop, (800, 600)),
            (1, 1, scale, (320, 240)),
            (320, 241, scale, (640, 480)),
            (800, 600, scale, (800, 600)),
            (u32::MAX, 1, scale, (800, 600)),
        ] {
            assert_eq!(size(width, height, method), expected, "{width}x{height} {method:?}");
        }
        assert!(Size::for_request(0, 5, crop, false).is_err());
    }
}
