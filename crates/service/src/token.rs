//! Tokens: secrets that callers of gRPC show.
//!
//! There are two, so that neither opens what the other is for: services show that of `[rpc]` to room servers, operators
//! show that of `[operator]`. A listener never goes without one, also on loopback: other users of a machine, and web
//! pages in their browsers, reach that too.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::config::CallConfig;

/// Shorter ones may be guessed.
const MIN_CHARACTERS: usize = 16;
/// Longer ones do not fit into a header with ease.
const MAX_CHARACTERS: usize = 1024;

/// A secret that callers show.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error(
        "there is no token: {} does not exist; the room server makes it on its first start. Copy it to where it is \
         needed, for its owner alone to read, or set `token` in [{table}]",
        path.display()
    )]
    Missing {
        /// Table of the configuration.
        table: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It is none.
    #[error(
        "the token {place} must have {MIN_CHARACTERS} to {MAX_CHARACTERS} visible ASCII characters, and no spaces"
    )]
    Malformed {
        /// Where it was found.
        place: String,
    },
    /// The file cannot be read.
    #[error("cannot read the token in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file cannot be made.
    #[error(
        "cannot make a token in {}; set `token_file` in [{table}] to a file in a folder that this user may write to",
        path.display()
    )]
    Make {
        /// Table of the configuration.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Token {
    /// Takes a text as a token.
    pub fn new(text: &str, place: &str) -> Result<Self, TokenError> {
        let fits = (MIN_CHARACTERS..=MAX_CHARACTERS).contains(&text.len());
        if fits && text.chars().all(|character| character.is_ascii_graphic()) {
            return Ok(Self(Arc::from(text)));
        }
        Err(TokenError::Malformed { place: place.to_owned() })
    }

    /// Makes one at random.
    #[must_use]
    pub fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(Arc::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }

    /// The token as callers show it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Finds the token of a table, for those who show it.
pub fn find(table: &'static str, config: &CallConfig) -> Result<Token, TokenError> {
    if !config.token.is_empty() {
        return Token::new(&config.token, &format!("in [{table}]"));
    }
    let path = &config.token_file;
    read(path)?.ok_or_else(|| TokenError::Missing { table, path: path.clone() })
}

/// Finds the token of a table, for those to whom it is shown: makes it in its file if there is none yet.
pub fn find_or_make(table: &'static str, config: &CallConfig) -> Result<Token, TokenError> {
    match find(table, config) {
        Err(TokenError::Missing { .. }) => {}
        found => return found,
    }
    let path = &config.token_file;
    let failed = |source| TokenError::Make { table, path: path.clone(), source };
    make(path).map_err(failed)?;
    tracing::info!(file = %path.display(), "made a token of [{table}]");
    // Another process may have made it at the same time; what is in the file counts.
    read(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn read(path: &Path) -> Result<Option<Token>, TokenError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|source| TokenError::Read { path: path.to_owned(), source })?,
    };
    if fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
        tracing::warn!(file = %path.display(), "every user of this machine may read the token: make its mode 0600");
    }
    Token::new(text.trim(), &format!("in {}", path.display())).map(Some)
}

/// Makes the file whole or not at all, readable only by us, and leaves one alone that exists.
fn make(path: &Path) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        writeln!(file, "{}", Token::random().as_str())?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let removed = fs::remove_file(&temporary);
    written.and(removed)
}

#[cfg(test)]
mod tests;
