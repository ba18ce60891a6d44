//! Blobs, addressed by the SHA-256 of their bytes: a folder, or a bucket of S3.
//!
//! An upload goes to a temporary name while it is hashed, and to its hash when it is complete and durable: whoever finds
//! a blob finds all of it. Storing the same bytes twice stores them once. A process that dies leaves a temporary file,
//! which [`Store::clean`] removes a day later.
//!
//! What nobody names any more is [set aside](Store::set_aside) first, where readers find it still, and
//! [destroyed](Store::destroy) later. It knows nothing of Matrix, nor of who names what.

mod blob;
mod error;
mod folder;
mod hash;
mod s3;
mod sweep;
mod upload;

use std::{path::PathBuf, sync::Arc};

pub use blob::{Blob, BlobStream, LocalBlob};
pub use error::StoreError;
pub use hash::{Hash, HashError};
pub use s3::S3Config;
pub use upload::{Stored, Upload};

use bytes::Bytes;
use folder::Folder;
use s3::Bucket;

/// Where blobs are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(Arc<Folder>),
    Bucket(Arc<Bucket>),
}

impl Store {
    /// Keeps blobs in a folder, which is made if it does not exist. All processes of the media service need the same.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Ok(Self { place: Place::Folder(Arc::new(Folder::open(path.into())?)) })
    }

    /// Keeps blobs in a bucket; `scratch` is a folder of this process for what has to be read at random.
    pub fn s3(config: &S3Config, scratch: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Ok(Self { place: Place::Bucket(Arc::new(Bucket::open(config, scratch.into())?)) })
    }

    /// Begins an upload.
    pub async fn begin(&self) -> Result<Upload, StoreError> {
        match &self.place {
            Place::Folder(folder) => Upload::to_folder(Arc::clone(folder)).await,
            Place::Bucket(bucket) => Upload::to_bucket(Arc::clone(bucket)).await,
        }
    }

    /// Stores a blob that is in memory.
    pub async fn put(&self, bytes: Bytes) -> Result<Stored, StoreError> {
        let mut upload = self.begin().await?;
        upload.write(bytes).await?;
        upload.finish().await
    }

    /// Finds a blob, even one that is set aside.
    pub async fn find(&self, hash: Hash) -> Result<Option<Blob>, StoreError> {
        match &self.place {
            Place::Folder(folder) => Ok(folder.find(hash).await?.map(Blob::of_file)),
            Place::Bucket(bucket) => Ok(bucket.find(hash).await?.map(Blob::of_object)),
        }
    }
}

#[cfg(test)]
mod tests;
