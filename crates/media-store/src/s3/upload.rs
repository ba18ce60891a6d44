//! Uploading to a bucket, part by part.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload, path::Path};
use tokio::sync::OwnedSemaphorePermit;

use super::{Bucket, PART};
use crate::{Hash, StoreError};

/// An upload. What fits into one part is put at its place at once.
pub(crate) struct BucketUpload {
    bucket: Arc<Bucket>,
    part: Vec<Bytes>,
    length: usize,
    /// Held as long as there is a part in memory.
    permit: Option<OwnedSemaphorePermit>,
    large: Option<Large>,
}

struct Large {
    path: Path,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl std::fmt::Debug for BucketUpload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BucketUpload").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "parts of an unfinished upload stay in the bucket");
                }
            });
        }
    }
}

impl BucketUpload {
    pub(crate) async fn begin(bucket: Arc<Bucket>) -> Result<Self, StoreError> {
        Ok(Self { bucket, part: Vec::new(), length: 0, permit: None, large: None })
    }

    pub(crate) async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        if self.permit.is_none() {
            let permit = Arc::clone(&self.bucket.parts).acquire_owned().await;
            self.permit = Some(permit.map_err(|_| StoreError::Stopping)?);
        }
        self.length += piece.len();
        self.part.push(piece);
        if self.length >= PART {
            self.send_part().await?;
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        let payload: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
        self.length = 0;
        let permit = self.permit.take();
        if self.large.is_none() {
            let path = Path::from(format!("tmp/{}", hex::encode(rand::random::<[u8; 16]>())));
            let upload = self.bucket.store.put_multipart(&path).await;
            let upload = Some(upload.map_err(StoreError::bucket("begin an upload"))?);
            self.large = Some(Large { path, upload });
        }
        let upload =
            self.large.as_mut().and_then(|large| large.upload.as_mut()).ok_or(StoreError::Stopping)?;
        upload.put_part(payload).await.map_err(StoreError::bucket("write to an upload"))?;
        drop(permit);
        Ok(())
    }

    pub(crate) async fn finish(mut self, hash: Hash) -> Result<(), StoreError> {
        let store = &self.bucket.store;
        let to = Bucket::path(hash);
        if self.large.is_none() {
            let payload: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
            return store.put(&to, payload).await.map(drop).map_err(StoreError::bucket("finish an upload"));
        }
        if self.length > 0 {
            self.send_part().await?;
        }
        let Some(mut large) = self.large.take() else { return Err(StoreError::Stopping) };
        let Some(mut upload) = large.upload.take() else { return Err(StoreError::Stopping) };
        upload.complete().await.map_err(StoreError::bucket("finish an upload"))?;
        let store = &self.bucket.store;
        store.copy(&large.path, &to).await.map_err(StoreError::bucket("finish an upload"))?;
        self.bucket.delete(&large.path).await
    }
}
