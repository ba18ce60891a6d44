//! The file of the signing key: `ed25519 <version> <unpadded base64 of the seed>`, readable by its owner alone.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rand::TryRngCore as _;

use crate::signing::{KeyParseError, SigningKey};

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("failed to read the signing key {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not hold a key.
    #[error("the signing key {path} is malformed")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyParseError,
    },
    /// A new one cannot be written.
    #[error("failed to write the signing key {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gives no randomness for a new one.
    #[error("failed to get random bytes for a new signing key")]
    Random(#[source] rand::rand_core::OsError),
}

/// Reads the key of a file; if there is no such file, makes a key and writes it.
///
/// Several processes may do so at once: the file appears whole or not at all, and all end up with the same key.
///
/// # Errors
///
/// Fails if the file cannot be read or written, or holds something else.
pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyFileError> {
    match load(path) {
        Err(KeyFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            load(path)
        }
        loaded => loaded,
    }
}

/// Reads the key of a file.
///
/// # Errors
///
/// Fails if the file cannot be read, or holds something else.
pub fn load(path: &Path) -> Result<SigningKey, KeyFileError> {
    let text =
        fs::read_to_string(path).map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    SigningKey::parse(&text).map_err(|source| KeyFileError::Parse { path: path.to_owned(), source })
}

fn create(path: &Path) -> Result<(), KeyFileError> {
    let mut random = [0; 36];
    rand::rngs::OsRng.try_fill_bytes(&mut random).map_err(KeyFileError::Random)?;
    let mut seed = [0; 32];
    seed.copy_from_slice(&random[..32]);
    let version: String = random[32..].iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let key = SigningKey::from_seed(&format!("a_{version}"), &seed)
        .map_err(|source| KeyFileError::Parse { path: path.to_owned(), source })?;
    write_once(path, key.to_file_text().as_bytes())
        .map_err(|source| KeyFileError::Write { path: path.to_owned(), source })
}

/// Writes a file that nobody has written before, for its owner alone. A file that is there by now stays as it is.
fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&temporary)?;
    linked
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::{KeyFileError, load_or_create};

    #[test]
    fn key_is_made_once_and_then_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let made = load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap().public_key(), made.public_key());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn file_with_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        fs::write(&path, "hello").unwrap();
        assert!(matches!(load_or_create(&path), Err(KeyFileError::Parse { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello");
    }
}
