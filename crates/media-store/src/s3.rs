//! Blobs as objects of a bucket: `blobs/ab/<hash>`, `aside/<hash>` for what is to go, `tmp/` for what is being written.

mod connector;
mod upload;

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{
    GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use tokio::sync::Semaphore;

use crate::{BlobStream, Hash, StoreError, folder::blocking};
pub(crate) use upload::BucketUpload;

/// Bytes of a part of an upload.
pub(crate) const PART: usize = 8 << 20;
/// Parts that all uploads of a process hold together; further ones wait.
const PARTS: usize = 32;

/// Where a bucket is, and who may use it.
#[derive(Clone)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Region.
    pub region: String,
    /// URL of the service; empty for that of AWS.
    pub endpoint: String,
    /// Key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// Whether the bucket is part of the host name, and not of the path.
    pub virtual_hosted: bool,
    /// Authorities that are believed beside those of the system, PEM.
    pub ca_files: Vec<PathBuf>,
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: AmazonS3,
    scratch: PathBuf,
    parts: Arc<Semaphore>,
}

/// A blob that is there.
#[derive(Debug)]
pub(crate) struct FoundObject {
    bucket: Arc<Bucket>,
    path: Path,
    pub(crate) size: u64,
}

impl Bucket {
    pub(crate) fn open(config: &S3Config, scratch: PathBuf) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&scratch)
            .map_err(|source| StoreError::Folder { path: scratch.clone(), source })?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(&config.access_key_id)
            .with_secret_access_key(&config.secret_access_key)
            .with_virtual_hosted_style_request(config.virtual_hosted)
            .with_allow_http(config.endpoint.starts_with("http://"))
            .with_http_connector(connector::Connector::new(&config.ca_files)?);
        if !config.endpoint.is_empty() {
            builder = builder.with_endpoint(&config.endpoint);
        }
        let store = builder.build().map_err(|error| StoreError::Config(error.to_string()))?;
        Ok(Self { store, scratch, parts: Arc::new(Semaphore::new(PARTS)) })
    }

    fn path(hash: Hash) -> Path {
        let name = hash.to_string();
        Path::from(format!("blobs/{}/{name}", &name[..2]))
    }

    fn aside(hash: Hash) -> Path {
        Path::from(format!("aside/{hash}"))
    }

    pub(crate) async fn find(self: &Arc<Self>, hash: Hash) -> Result<Option<FoundObject>, StoreError> {
        for path in [Self::path(hash), Self::aside(hash), Self::path(hash)] {
            if let Some(meta) =
                present(self.store.head(&path).await).map_err(StoreError::bucket("find a blob"))?
            {
                return Ok(Some(FoundObject { bucket: Arc::clone(self), path, size: meta.size }));
            }
        }
        Ok(None)
    }

    pub(crate) async fn list(&self, part: u8, older_than: Duration) -> Result<Vec<Hash>, StoreError> {
        self.list_below(&format!("blobs/{part:02x}"), older_than).await
    }

    pub(crate) async fn list_aside(&self, older_than: Duration) -> Result<Vec<Hash>, StoreError> {
        self.list_below("aside", older_than).await
    }

    async fn list_below(&self, prefix: &str, older_than: Duration) -> Result<Vec<Hash>, StoreError> {
        let found: Vec<ObjectMeta> = self.old(prefix, older_than).await?;
        let hash = |meta: &ObjectMeta| Hash::from_hex(meta.location.filename()?);
        Ok(found.iter().filter_map(hash).collect())
    }

    async fn old(&self, prefix: &str, older_than: Duration) -> Result<Vec<ObjectMeta>, StoreError> {
        let prefix = Path::from(prefix);
        let is_old = |meta: &ObjectMeta| {
            let age = SystemTime::now().duration_since(meta.last_modified.into()).unwrap_or_default();
            age >= older_than
        };
        let listed = self.store.list(Some(&prefix)).try_filter(|meta| std::future::ready(is_old(meta)));
        listed.try_collect().await.map_err(StoreError::bucket("list blobs"))
    }

    pub(crate) async fn set_aside(&self, hash: Hash) -> Result<(), StoreError> {
        self.move_object(&Self::path(hash), &Self::aside(hash)).await
    }

    pub(crate) async fn put_back(&self, hash: Hash) -> Result<(), StoreError> {
        self.move_object(&Self::aside(hash), &Self::path(hash)).await
    }

    pub(crate) async fn destroy(&self, hash: Hash) -> Result<(), StoreError> {
        self.delete(&Self::aside(hash)).await
    }

    pub(crate) async fn clean(&self, older_than: Duration) -> Result<u64, StoreError> {
        let mut removed = 0;
        for meta in self.old("tmp", older_than).await? {
            self.delete(&meta.location).await?;
            removed += 1;
        }
        Ok(removed)
    }

    async fn move_object(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let copied = present(self.store.copy(from, to).await).map_err(StoreError::bucket("move a blob"))?;
        if copied.is_some() { self.delete(from).await } else { Ok(()) }
    }

    async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        present(self.store.delete(path).await).map(drop).map_err(StoreError::bucket("delete a blob"))
    }
}

/// What is absent is no failure.
fn present<T>(found: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl FoundObject {
    pub(crate) fn stream(self, range: Range<u64>) -> BlobStream {
        if range.is_empty() {
            return futures::stream::empty().boxed();
        }
        let begin = async move {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            let got = self.bucket.store.get_opts(&self.path, options).await;
            let got = got.map_err(StoreError::bucket("read a blob"))?;
            Ok(got.into_stream().map_err(StoreError::bucket("read a blob")))
        };
        futures::stream::once(begin).try_flatten().boxed()
    }

    /// Copies it into a file without a name.
    pub(crate) async fn into_file(self) -> Result<File, StoreError> {
        let path = self.bucket.scratch.join(hex::encode(rand::random::<[u8; 16]>()));
        let make = move || {
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        let mut file = blocking("copy a blob", make).await?;
        let size = self.size;
        let mut pieces = self.stream(0..size);
        while let Some(piece) = pieces.try_next().await? {
            file = blocking("copy a blob", move || file.write_all(&piece).map(|()| file)).await?;
        }
        blocking("copy a blob", move || file.seek(SeekFrom::Start(0)).map(|_| file)).await
    }
}
