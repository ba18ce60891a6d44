//! Errors of reading and writing blobs.

use std::{io, path::PathBuf};

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be used.
    #[error("cannot use the folder of media {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("cannot {what}")]
    Io {
        /// The step that failed.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The bucket failed.
    #[error("cannot {what} in the bucket")]
    Bucket {
        /// The step that failed.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The configuration of the bucket does not work.
    #[error("the bucket cannot be used: {0}")]
    Config(String),
    /// A blob is shorter than it was: somebody else has changed it.
    #[error("the blob ended early")]
    Truncated,
    /// A task of the process ended.
    #[error("the process is stopping")]
    Stopping,
}

impl StoreError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn bucket(what: &'static str) -> impl Fn(object_store::Error) -> Self {
        move |source| Self::Bucket { what, source: Box::new(source) }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io { source, .. } | StoreError::Folder { source, .. } => source,
            other => Self::other(other),
        }
    }
}
