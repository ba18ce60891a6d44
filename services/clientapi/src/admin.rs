//! Admin endpoints in the dialect that operators' tools know.

pub(crate) mod register;
pub(crate) mod whois;
