//! Questions about users, aliases, the directory and spaces of this server.

pub(crate) mod directory;
pub(crate) mod hierarchy;
pub(crate) mod openid;
pub(crate) mod profile;
pub(crate) mod public_rooms;
