//! What operators' tools ask of this server in the dialect they know.

pub(crate) mod register;
pub(crate) mod whois;
