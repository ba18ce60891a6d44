//! Reading a blob.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
    ops::Range,
    pin::Pin,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};

use crate::{
    StoreError,
    folder::{FoundFile, blocking},
    s3::FoundObject,
};

/// Bytes that are read at a time: a download holds no more than two of these.
const PIECE: u64 = 128 * 1024;

/// Pieces of a blob, in order.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// A blob that is there.
#[derive(Debug)]
pub struct Blob {
    size: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(File),
    Object(FoundObject),
}

/// A blob as a file of this machine, for whoever reads it at random. One that was copied for that is gone when it is
/// dropped.
pub type LocalBlob = File;

impl Blob {
    pub(crate) fn of_file(found: FoundFile) -> Self {
        Self { size: found.size, source: Source::File(found.file) }
    }

    pub(crate) fn of_object(found: FoundObject) -> Self {
        Self { size: found.size, source: Source::Object(found) }
    }

    /// Size, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads a part of it, piece by piece, as fast as the pieces are taken.
    #[must_use]
    pub fn stream(self, range: Range<u64>) -> BlobStream {
        match self.source {
            Source::File(file) => read_file(file, range),
            Source::Object(object) => object.stream(range),
        }
    }

    /// Makes it a file of this machine.
    pub async fn into_file(self) -> Result<LocalBlob, StoreError> {
        match self.source {
            Source::File(file) => Ok(file),
            Source::Object(object) => object.into_file().await,
        }
    }
}

fn read_file(file: File, range: Range<u64>) -> BlobStream {
    let pieces = stream::try_unfold((Some(file), range, false), |(file, range, is_placed)| async move {
        let Some(mut file) = file.filter(|_| range.start < range.end) else { return Ok(None) };
        let length = (range.end - range.start).min(PIECE);
        let read = move || {
            if !is_placed {
                file.seek(SeekFrom::Start(range.start))?;
            }
            let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            Read::by_ref(&mut file).take(length).read_to_end(&mut piece)?;
            Ok((file, Bytes::from(piece)))
        };
        let (file, piece) = blocking("read a blob", read).await?;
        let got = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if got < length {
            return Err(StoreError::Truncated);
        }
        Ok(Some((piece, (Some(file), range.start + got..range.end, true))))
    });
    pieces.boxed()
}
