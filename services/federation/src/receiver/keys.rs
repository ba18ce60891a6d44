//! Keys of this server and, as a notary, of others.

pub(crate) mod query;
pub(crate) mod server;
