//! Media IDs.

use std::fmt;

use plexus_events::mxc::is_media_id;
use plexus_matrix_http::MatrixError;
use ruma::{OwnedServerName, ServerName};

/// `mxc://{server_name}/{media_id}`, whose parts have been checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MediaUri {
    pub(crate) server_name: OwnedServerName,
    pub(crate) media_id: String,
}

impl MediaUri {
    /// Reads the parts of a path.
    pub(crate) fn parse(server_name: &str, media_id: String) -> Result<Self, MatrixError> {
        let server_name = ServerName::parse(server_name)
            .ok()
            .filter(|name| name.as_str().len() <= 255)
            .ok_or_else(|| MatrixError::invalid_param("The server name in the path is none"))?;
        if !is_media_id(&media_id) {
            return Err(not_found());
        }
        Ok(Self { server_name, media_id })
    }
}

impl fmt::Display for MediaUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "mxc://{}/{}", self.server_name, self.media_id)
    }
}

/// A new one: 24 characters at random.
pub(crate) fn new_media_id() -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>())
}

/// There is no such media, or nobody may know that there is.
pub(crate) fn not_found() -> MatrixError {
    MatrixError::not_found("There is no such media")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_ids_have_their_characters_only() {
        for good in ["a", "ABCabc019_-", &"x".repeat(255)] {
            assert!(is_media_id(good), "{good}");
        }
        for bad in ["", "..", "a/b", "a%2Fb", "a.b", "é", "a b", "a\0", &"x".repeat(256)] {
            assert!(!is_media_id(bad), "{bad}");
        }
        let (one, other) = (new_media_id(), new_media_id());
        assert!(is_media_id(&one) && one.len() == 24 && one != other);
    }
}
