//! Finding and removing what nobody names.

use std::time::Duration;

use crate::{Hash, Place, Store, StoreError};

impl Store {
    /// Lists blobs whose hash begins with this byte and that nobody has stored for that long.
    pub async fn list(&self, part: u8, older_than: Duration) -> Result<Vec<Hash>, StoreError> {
        match &self.place {
            Place::Folder(folder) => folder.list(part, older_than).await,
            Place::Bucket(bucket) => bucket.list(part, older_than).await,
        }
    }

    /// Lists blobs that were set aside that long ago.
    pub async fn list_aside(&self, older_than: Duration) -> Result<Vec<Hash>, StoreError> {
        match &self.place {
            Place::Folder(folder) => folder.list_aside(older_than).await,
            Place::Bucket(bucket) => bucket.list_aside(older_than).await,
        }
    }

    /// Sets a blob aside: readers find it still, and whoever stores it again has it back.
    pub async fn set_aside(&self, hash: Hash) -> Result<(), StoreError> {
        match &self.place {
            Place::Folder(folder) => folder.set_aside(hash).await,
            Place::Bucket(bucket) => bucket.set_aside(hash).await,
        }
    }

    /// Puts a blob back that was set aside.
    pub async fn put_back(&self, hash: Hash) -> Result<(), StoreError> {
        match &self.place {
            Place::Folder(folder) => folder.put_back(hash).await,
            Place::Bucket(bucket) => bucket.put_back(hash).await,
        }
    }

    /// Destroys what was set aside of a blob.
    pub async fn destroy(&self, hash: Hash) -> Result<(), StoreError> {
        match &self.place {
            Place::Folder(folder) => folder.destroy(hash).await,
            Place::Bucket(bucket) => bucket.destroy(hash).await,
        }
    }

    /// Removes what is left of uploads that ended that long ago; returns how many there were.
    pub async fn clean(&self, older_than: Duration) -> Result<u64, StoreError> {
        match &self.place {
            Place::Folder(folder) => folder.clean(older_than).await,
            Place::Bucket(bucket) => bucket.clean(older_than).await,
        }
    }
}
