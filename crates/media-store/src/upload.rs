//! Storing a blob, piece by piece.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    Hash, StoreError,
    folder::{Folder, blocking},
    s3::{Bucket, BucketUpload},
};

/// Bytes that are gathered before they are written: an upload to a folder holds no more, and one piece.
const GATHERED: usize = 256 * 1024;

/// A blob that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its hash.
    pub hash: Hash,
    /// Size, in bytes.
    pub size: u64,
}

/// An upload. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    gathered: Vec<Bytes>,
    waiting: usize,
    size: u64,
    /// `None` while a piece is being written, and after that failed.
    writer: Option<Writer>,
}

#[derive(Debug)]
enum Writer {
    Folder(FolderWriter),
    Bucket(Box<(Sha256, BucketUpload)>),
}

#[derive(Debug)]
struct FolderWriter {
    folder: Arc<Folder>,
    file: File,
    path: Temporary,
    hasher: Sha256,
}

/// A temporary file, which goes when it is dropped.
#[derive(Debug)]
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(%error, path = %path.display(), "an unfinished upload stays for a day");
        }
    }
}

impl Upload {
    fn new(writer: Writer) -> Self {
        Self { gathered: Vec::new(), waiting: 0, size: 0, writer: Some(writer) }
    }

    pub(crate) async fn to_folder(folder: Arc<Folder>) -> Result<Self, StoreError> {
        let make = move || {
            let (path, file) = folder.temporary()?;
            Ok(FolderWriter { folder, file, path: Temporary(Some(path)), hasher: Sha256::new() })
        };
        Ok(Self::new(Writer::Folder(blocking("begin an upload", make).await?)))
    }

    pub(crate) async fn to_bucket(bucket: Arc<Bucket>) -> Result<Self, StoreError> {
        let upload = BucketUpload::begin(bucket).await?;
        Ok(Self::new(Writer::Bucket(Box::new((Sha256::new(), upload)))))
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes a piece. Returns when there is room for the next one.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.size += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.waiting += piece.len();
        self.gathered.push(piece);
        if self.waiting >= GATHERED {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let pieces = std::mem::take(&mut self.gathered);
        self.waiting = 0;
        let writer = match self.writer.take().ok_or(StoreError::Stopping)? {
            Writer::Folder(mut writer) => {
                let write = move || {
                    for piece in &pieces {
                        writer.hasher.update(piece);
                        writer.file.write_all(piece)?;
                    }
                    Ok(writer)
                };
                Writer::Folder(blocking("write to an upload", write).await?)
            }
            Writer::Bucket(mut writer) => {
                for piece in pieces {
                    writer.0.update(&piece);
                    writer.1.write(piece).await?;
                }
                Writer::Bucket(writer)
            }
        };
        self.writer = Some(writer);
        Ok(())
    }

    /// Ends it: the blob is durable, and found by its hash, when this returns.
    pub async fn finish(mut self) -> Result<Stored, StoreError> {
        self.flush().await?;
        let size = self.size;
        match self.writer.take().ok_or(StoreError::Stopping)? {
            Writer::Folder(mut writer) => {
                let keep = move || {
                    let hash = Hash(writer.hasher.finalize().into());
                    if let Some(path) = &writer.path.0 {
                        writer.folder.keep(path, &writer.file, hash)?;
                    }
                    drop(writer.path.0.take());
                    Ok(hash)
                };
                Ok(Stored { hash: blocking("finish an upload", keep).await?, size })
            }
            Writer::Bucket(writer) => {
                let (hasher, upload) = *writer;
                let hash = Hash(hasher.finalize().into());
                upload.finish(hash).await?;
                Ok(Stored { hash, size })
            }
        }
    }
}
