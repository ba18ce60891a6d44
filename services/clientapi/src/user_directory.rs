//! Finding users.

pub(crate) mod search_users;
