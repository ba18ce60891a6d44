//! Servers that a client names as being in a room.

use ruma::OwnedServerName;
use serde::Deserialize;

/// Most servers that are taken.
const MAX: usize = 20;

/// The query of requests to come into a room.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Via {
    #[serde(default)]
    via: Vec<String>,
    /// What `via` was once called.
    #[serde(default)]
    server_name: Vec<String>,
}

impl Via {
    /// The servers, as far as they are some.
    pub(crate) fn servers(self) -> Vec<OwnedServerName> {
        let named = self.via.into_iter().chain(self.server_name);
        named.filter_map(|name| name.try_into().ok()).take(MAX).collect()
    }
}
