//! Blobs as files: `blobs/ab/cd/<hash>`, `aside/<hash>` for what is to go, `tmp/` for what is being written.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::task::spawn_blocking;

use crate::{Hash, StoreError};

/// A folder of blobs.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// An open blob.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) file: File,
    pub(crate) size: u64,
}

impl Folder {
    pub(crate) fn open(root: PathBuf) -> Result<Self, StoreError> {
        for part in ["blobs", "aside", "tmp"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(|source| StoreError::Folder { path, source })?;
        }
        Ok(Self { root })
    }

    /// Where a blob lies.
    fn path(&self, hash: Hash) -> PathBuf {
        let name = hash.to_string();
        self.root.join("blobs").join(&name[..2]).join(&name[2..4]).join(name)
    }

    fn aside(&self, hash: Hash) -> PathBuf {
        self.root.join("aside").join(hash.to_string())
    }

    /// Makes a file for an upload, for its owner alone to read.
    pub(crate) fn temporary(&self) -> io::Result<(PathBuf, File)> {
        let path = self.root.join("tmp").join(hex::encode(rand::random::<[u8; 16]>()));
        let file = File::options().write(true).read(true).create_new(true).mode(0o640).open(&path)?;
        Ok((path, file))
    }

    /// Gives a complete file its name. What was there has the same bytes; its age begins anew.
    pub(crate) fn keep(&self, temporary: &Path, file: &File, hash: Hash) -> io::Result<()> {
        file.sync_all()?;
        let path = self.path(hash);
        let folder = path.parent().unwrap_or(&self.root);
        if let Err(error) = fs::create_dir(folder) {
            match error.kind() {
                io::ErrorKind::AlreadyExists => {}
                io::ErrorKind::NotFound => {
                    fs::create_dir_all(folder)?;
                    sync_folder(&self.root.join("blobs"))?;
                }
                _ => return Err(error),
            }
            if let Some(above) = folder.parent() {
                sync_folder(above)?;
            }
        } else if let Some(above) = folder.parent() {
            sync_folder(above)?;
        }
        fs::rename(temporary, &path)?;
        sync_folder(folder)
    }

    pub(crate) async fn find(&self, hash: Hash) -> Result<Option<FoundFile>, StoreError> {
        let (path, aside) = (self.path(hash), self.aside(hash));
        let open = move || {
            // It may be moved between the two looks, so the first place is looked at twice.
            for path in [&path, &aside, &path] {
                match File::open(path) {
                    Ok(file) => {
                        let size = file.metadata()?.len();
                        return Ok(Some(FoundFile { file, size }));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        };
        blocking("open a blob", open).await
    }

    /// Lists blobs of one of the 256 parts that nobody has stored for that long.
    pub(crate) async fn list(&self, part: u8, older_than: Duration) -> Result<Vec<Hash>, StoreError> {
        let folder = self.root.join("blobs").join(hex::encode([part]));
        let list = move || {
            let mut listed = Vec::new();
            for inner in entries(&folder)? {
                for blob in entries(&inner)? {
                    listed.extend(old_blob(&blob, older_than)?);
                }
            }
            Ok(listed)
        };
        blocking("list blobs", list).await
    }

    /// Lists blobs that were set aside that long ago.
    pub(crate) async fn list_aside(&self, older_than: Duration) -> Result<Vec<Hash>, StoreError> {
        let folder = self.root.join("aside");
        let list = move || {
            let mut listed = Vec::new();
            for blob in entries(&folder)? {
                listed.extend(old_blob(&blob, older_than)?);
            }
            Ok(listed)
        };
        blocking("list blobs", list).await
    }

    /// Sets a blob aside. Its age begins anew.
    pub(crate) async fn set_aside(&self, hash: Hash) -> Result<(), StoreError> {
        let (path, aside) = (self.path(hash), self.aside(hash));
        let move_away = move || {
            match File::options().append(true).open(&path) {
                Ok(file) => file.set_modified(SystemTime::now())?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
            absent_is_fine(fs::rename(path, aside))
        };
        blocking("set a blob aside", move_away).await
    }

    /// Puts a blob back that was set aside.
    pub(crate) async fn put_back(&self, hash: Hash) -> Result<(), StoreError> {
        let (path, aside) = (self.path(hash), self.aside(hash));
        let put_back = move || {
            if path.exists() {
                absent_is_fine(fs::remove_file(aside))
            } else {
                absent_is_fine(fs::rename(aside, path))
            }
        };
        blocking("put a blob back", put_back).await
    }

    /// Destroys a blob that was set aside.
    pub(crate) async fn destroy(&self, hash: Hash) -> Result<(), StoreError> {
        let aside = self.aside(hash);
        blocking("destroy a blob", move || absent_is_fine(fs::remove_file(aside))).await
    }

    /// Removes what uploads have left that ended long ago.
    pub(crate) async fn clean(&self, older_than: Duration) -> Result<u64, StoreError> {
        let folder = self.root.join("tmp");
        let clean = move || {
            let mut removed = 0;
            for path in entries(&folder)? {
                if age(&path)?.is_some_and(|age| age >= older_than) {
                    absent_is_fine(fs::remove_file(path))?;
                    removed += 1;
                }
            }
            Ok(removed)
        };
        blocking("clean up", clean).await
    }
}

/// Does what waits for the disk where that holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(|_| StoreError::Stopping)?.map_err(StoreError::io(what))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn age(path: &Path) -> io::Result<Option<Duration>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.modified()?.elapsed().unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn old_blob(path: &Path, older_than: Duration) -> io::Result<Option<Hash>> {
    let hash = path.file_name().and_then(|name| Hash::from_hex(name.to_str()?));
    let age = age(path)?;
    Ok(hash.filter(|_| age.is_some_and(|age| age >= older_than)))
}
