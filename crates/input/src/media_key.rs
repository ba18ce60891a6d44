//! Whose command a command on media is.

use std::fmt;

use ruma::{ServerName, UserId};

/// The key of commands on media: one partition decides on a row, and so everybody has to name it alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKey<'a> {
    /// A user of this server uploaded it.
    Uploader(&'a UserId),
    /// Nobody here did: it is cached of another server, or this server stored it by itself.
    Uri {
        /// Server name.
        server_name: &'a ServerName,
        /// Media ID: its characters are to be checked before.
        media_id: &'a str,
    },
}

impl fmt::Display for MediaKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uploader(user_id) => f.write_str(user_id.as_str()),
            Self::Uri { server_name, media_id } => write!(f, "mxc://{server_name}/{media_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::MediaKey;

    #[test]
    fn a_key_is_the_uploader_or_the_uri() {
        assert_eq!(MediaKey::Uploader(user_id!("@a:b.c")).to_string(), "@a:b.c");
        let uri = MediaKey::Uri { server_name: server_name!("b.c:8448"), media_id: "x_-Y" };
        assert_eq!(uri.to_string(), "mxc://b.c:8448/x_-Y");
    }
}
