//! Questions about users and aliases of this server.

pub(crate) mod directory;
pub(crate) mod profile;
