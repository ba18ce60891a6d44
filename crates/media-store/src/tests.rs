//! A folder of blobs. A bucket has the same promises.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::{Hash, Store, Stored};

async fn store(store: &Store, bytes: &[u8], step: usize) -> Stored {
    let mut upload = store.begin().await.unwrap();
    for piece in bytes.chunks(step) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.finish().await.unwrap()
}

async fn read(store: &Store, hash: Hash, range: std::ops::Range<u64>) -> Option<Vec<u8>> {
    let blob = store.find(hash).await.unwrap()?;
    let pieces: Vec<Bytes> = blob.stream(range).try_collect().await.unwrap();
    Some(pieces.concat())
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn what_is_stored_is_read_whole_and_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Store::folder(folder.path()).unwrap();
    for length in [0_usize, 1, 1000, 300_000, 1_000_000] {
        let bytes = pattern(length);
        let stored = store(&blobs, &bytes, 7_777).await;
        let size = u64::try_from(length).unwrap();
        assert_eq!((stored.hash.0, stored.size), (Sha256::digest(&bytes).into(), size));
        assert_eq!(read(&blobs, stored.hash, 0..size).await.unwrap(), bytes, "{length}");
        for (start, end) in [(0, 1), (1, 2), (130_000, 270_000), (size.saturating_sub(1), size)] {
            if end <= size {
                let part = &bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
                assert_eq!(read(&blobs, stored.hash, start..end).await.unwrap(), part, "{start}..{end}");
            }
        }
    }
    assert!(blobs.find(Hash([7; 32])).await.unwrap().is_none());
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_and_nothing_is_left_of_what_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Store::folder(folder.path()).unwrap();
    let bytes = pattern(600_000);
    let one = store(&blobs, &bytes, 1_000).await;
    let other = store(&blobs, &bytes, 600_000).await;
    assert_eq!(one, other);
    assert_eq!((files(&folder.path().join("blobs")), files(&folder.path().join("tmp"))), (1, 0));
    let mut upload = blobs.begin().await.unwrap();
    upload.write(Bytes::from(bytes)).await.unwrap();
    assert_eq!(files(&folder.path().join("tmp")), 1);
    drop(upload);
    assert_eq!((files(&folder.path().join("blobs")), files(&folder.path().join("tmp"))), (1, 0));
}

#[tokio::test]
async fn what_is_set_aside_is_found_until_it_is_destroyed() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Store::folder(folder.path()).unwrap();
    let stored = store(&blobs, b"blob", 9).await;
    let (hash, at_once) = (stored.hash, Duration::ZERO);
    assert!(blobs.list(hash.0[0], Duration::from_secs(3_600)).await.unwrap().is_empty());
    assert_eq!(blobs.list(hash.0[0], at_once).await.unwrap()[0], hash);
    blobs.set_aside(hash).await.unwrap();
    blobs.set_aside(hash).await.unwrap();
    assert!(blobs.list(hash.0[0], at_once).await.unwrap().is_empty());
    assert!(blobs.list_aside(Duration::from_secs(3_600)).await.unwrap().is_empty());
    assert_eq!(read(&blobs, hash, 0..4).await.unwrap(), b"blob");
    blobs.put_back(hash).await.unwrap();
    assert_eq!(blobs.list(hash.0[0], at_once).await.unwrap().len(), 1);
    blobs.set_aside(hash).await.unwrap();
    // Whoever stores it again has it, whatever becomes of what was set aside.
    store(&blobs, b"blob", 9).await;
    blobs.destroy(hash).await.unwrap();
    assert_eq!(read(&blobs, hash, 0..4).await.unwrap(), b"blob");
    blobs.set_aside(hash).await.unwrap();
    blobs.destroy(hash).await.unwrap();
    blobs.destroy(hash).await.unwrap();
    assert!(blobs.find(hash).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_killed_process_left_is_cleaned_up() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Store::folder(folder.path()).unwrap();
    fs::write(folder.path().join("tmp/left"), b"half").unwrap();
    assert_eq!(blobs.clean(Duration::from_secs(3_600)).await.unwrap(), 0);
    assert_eq!(blobs.clean(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(files(folder.path()), 0);
}
